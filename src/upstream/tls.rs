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

/// As much of the names in a certificate as a sentence repeats, in characters.
const NAMES_SHOWN: usize = 80;

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

/// What rustls calls it, what it is, and what to do about it.
#[rustfmt::skip] // one fault a line
const FAULTS: [(&str, &str); 18] = [
    ("UnknownIssuer", "'s certificate is from an authority that is not trusted here: name its PEM file in SSL_CERT_FILE, and let the upstream send the certificates in between"),
    ("CaUsedAsEndEntity", "'s certificate is an authority's own (CA:TRUE): make it with basicConstraints=critical,CA:FALSE, or let the authority sign one"),
    ("EndEntityUsedAsCa", "'s certificate is signed by one that is no authority: make that one with basicConstraints=critical,CA:TRUE"),
    ("UnsupportedCertVersion", "'s certificate is of version 1: make it with a subjectAltName, which makes it version 3"),
    ("NotValidForName", "'s certificate has no name in its subjectAltName, and a CN does not count: make it with subjectAltName=DNS: and the name in --server, or IP: and the address"),
    ("Expired", "'s certificate has expired: renew it, or set this machine's clock"),
    ("NotValidYet", "'s certificate is not valid yet: set the clock of this machine, or of the one that made it"),
    ("InvalidPurpose", "'s certificate is not one for servers: make it with extendedKeyUsage=serverAuth, or without any"),
    ("BadSignature", "'s certificate is not signed by the authority that is trusted here under that name: name the PEM file of the one that did in SSL_CERT_FILE"),
    ("UnsupportedSignatureAlgorithm", "'s certificate is signed in a way that is not secure or not known: make it with RSA of 2048 bits or ECDSA, and SHA-256"),
    ("InvalidMessage", " does not speak TLS there; if that is meant, write ws:// in --server"),
    ("PeerIncompatible", " has to speak TLS 1.2 or 1.3"),
    ("AlertReceived(ProtocolVersion", " has to speak TLS 1.2 or 1.3"),
    ("AlertReceived(HandshakeFailure", " has to speak TLS 1.2 or 1.3 with a usual cipher"),
    ("AlertReceived(CertificateRequired", " asks for a client certificate, which the bridge has not"),
    ("AlertReceived(BadCertificate", " asks for a client certificate, which the bridge has not"),
    ("AlertReceived(UnrecognisedName", " does not know the name that --server has"),
    ("AlertReceived(InternalError", " has a fault of its own: look into its log"),
];

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
        let names: String =
            names.collect::<Vec<_>>().join(", ").chars().take(NAMES_SHOWN).collect();
        return format!(
            "the upstream's certificate is for {names}: write a name that it has in --server, or make one whose \
                 subjectAltName has the name in --server"
        );
    }
    // Of an error of the library beneath, which is an `Other`, only the name can be had.
    let name = format!("{tls:?}").replacen("InvalidCertificate(", "", 1);
    let name = name.trim_start_matches("Other(OtherError(");
    let fault = FAULTS.iter().find(|(fault, _)| name.starts_with(fault));
    fault.map_or_else(|| tls.to_string(), |(_, sentence)| format!("the upstream{sentence}"))
}
