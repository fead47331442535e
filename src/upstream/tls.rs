//! What is trusted where the upstream is `wss://`, and what to do when its certificate is not.
//!
//! Owns: the roots (`SSL_CERT_FILE`, `SSL_CERT_DIR`, the machine's, those built in), the sentence for each failure of TLS.
//! Never: opens a socket. What is named in the environment and cannot be used is an error at the start, and never passed over.

use super::Url;
use super::socket::brief;
use crate::report::{self, debug, info};
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};
use rustls_native_certs::{CertificateResult, ErrorKind, load_certs_from_paths, load_native_certs};
use std::env;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What each connection begins with: the settings, and the name that the certificate must have.
pub type Tls = (Arc<ClientConfig>, ServerName<'static>);

const FILE: &str = "SSL_CERT_FILE";
const DIRECTORY: &str = "SSL_CERT_DIR";

pub fn tls(roots: RootCertStore, url: &Url) -> Result<Tls, report::Error> {
    let start = |why: String| report::Error::Start(format!("--server: {url}: {why}"));
    let name = ServerName::try_from(url.host.clone())
        .map_err(|_| start("the host is no name that a certificate can have".to_owned()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| start(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((Arc::new(config), name))
}

/// What the environment names; else what the machine trusts; else what is built in. An empty variable names nothing.
pub fn roots() -> Result<RootCertStore, report::Error> {
    let set = |variable| env::var_os(variable).filter(|value| !value.is_empty());
    let mut roots = RootCertStore::empty();
    if let Some(file) = set(FILE) {
        let file = Path::new(&file);
        take(&mut roots, FILE, file, load_certs_from_paths(Some(file), None))?;
    }
    let directories = set(DIRECTORY).unwrap_or_default();
    for directory in env::split_paths(&directories).filter(|path| !path.as_os_str().is_empty()) {
        take(&mut roots, DIRECTORY, &directory, load_certs_from_paths(None, Some(&directory)))?;
    }
    if roots.is_empty() {
        let native = load_native_certs();
        for error in &native.errors {
            debug!("event=roots-unreadable error={:?}", error.to_string());
        }
        roots.add_parsable_certificates(native.certs);
    }
    if roots.is_empty() {
        info!("event=roots source=built_in");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    Ok(roots)
}

/// Adds what was read from `path`, all of it or nothing: a root that is missing would be noticed much later.
fn take(
    roots: &mut RootCertStore,
    variable: &str,
    path: &Path,
    read: CertificateResult,
) -> Result<(), report::Error> {
    let wrong = |at: &Path, why: &dyn std::fmt::Display| {
        let at = at.display();
        Err(report::Error::Start(format!(
            "{variable}: {at}: {why}, name readable PEM files of the authority that signed the upstream's certificate"
        )))
    };
    match read.errors.first().map(|error| &error.kind) {
        Some(ErrorKind::Io { inner, path }) => return wrong(path, &brief(inner)),
        Some(_) => return wrong(path, &"is broken off or no PEM"),
        None => {}
    }
    match roots.add_parsable_certificates(read.certs) {
        (1.., 0) => Ok(()),
        (0, 0) => wrong(path, &"holds no certificate"),
        (_, bad) => wrong(path, &format_args!("{bad} of its certificates cannot be read")),
    }
}

/// In each line what rustls calls a fault, what it is, and what to do about it.
const FAULTS: &str = include_str!("faults.txt");

pub fn explain(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(tls) = tls else { return error.to_string() };
    let named = match tls {
        Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            presented, ..
        }) => presented.as_slice(),
        _ => &[],
    };
    if !named.is_empty() {
        // rustls writes them as `DnsName("a.example")`.
        let names = named.iter().map(|name| name.split('"').nth(1).unwrap_or(name));
        let names = names.collect::<Vec<_>>().join(", ");
        return format!(
            "the upstream's certificate is for {names:.80}: write a name that it has in --server, or make one whose \
                 subjectAltName has the name in --server"
        );
    }
    // Of an error of the library beneath, which is an `Other`, only the name can be had.
    let name = format!("{tls:?}").replacen("InvalidCertificate(", "", 1);
    let name = name.trim_start_matches("Other(OtherError(");
    let mut faults = FAULTS.lines().filter_map(|row| row.split_once(' '));
    let fault = faults.find(|(fault, _)| name.starts_with(fault));
    fault.map_or_else(|| tls.to_string(), |(_, sentence)| sentence.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_of_the_table_is_found() {
        use rustls::{AlertDescription, InvalidMessage, PeerIncompatible};
        let alerts = [
            AlertDescription::ProtocolVersion,
            AlertDescription::HandshakeFailure,
            AlertDescription::CertificateRequired,
            AlertDescription::BadCertificate,
            AlertDescription::UnrecognisedName,
            AlertDescription::InternalError,
        ];
        let certificate = [
            CertificateError::UnknownIssuer,
            CertificateError::NotValidForName,
            CertificateError::Expired,
            CertificateError::NotValidYet,
            CertificateError::InvalidPurpose,
            CertificateError::BadSignature,
        ];
        let mut faults = vec![
            Error::InvalidMessage(InvalidMessage::InvalidContentType),
            Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13),
        ];
        faults.extend(alerts.map(Error::AlertReceived));
        faults.extend(certificate.map(Error::InvalidCertificate));
        let told: Vec<_> =
            faults.into_iter().map(|fault| explain(&io::Error::other(fault))).collect();
        assert!(told.iter().all(|told| told.starts_with("the upstream")), "{told:?}");
        // The names of the library beneath, which cannot be made here.
        let beneath = [
            "CaUsedAsEndEntity",
            "EndEntityUsedAsCa",
            "UnsupportedCertVersion",
            "UnsupportedSignatureAlgorithm",
        ];
        for row in FAULTS.lines() {
            let (name, sentence) = row.split_once(' ').unwrap();
            let found = told.iter().any(|told| told == sentence);
            assert!(found || beneath.contains(&name), "{row}");
        }
    }
}
