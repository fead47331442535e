//! What a status in place of the 101 usually means, and what to do about it.
//!
//! Owns: the sentence for each status that Rails, puma, or a proxy or router in front of them is known to give, and which are
//! final. Never: shows the query of a `Location`: it is the client's, with its token.

use super::Down;

/// Characters of a `Location` that a sentence repeats.
const LOCATION_SHOWN: usize = 200;

/// 4xx is what the application says to this client; 408, 429 and all else may pass. `named`: `--host-header` is there.
pub fn of_status(status: u16, location: Option<&[u8]>, named: bool) -> Down {
    let meaning = match (status, location) {
        (300..=399, Some(location)) => of_redirect(location),
        (404, _) if named => NOT_FOUND_NAMED.to_owned(),
        _ => of_code(status).to_owned(),
    };
    let final_word = (400..500).contains(&status) && status != 408 && status != 429;
    let subject = if final_word {
        "the upstream answered the handshake"
    } else {
        "the handshake was answered"
    };
    let why = match meaning.as_str() {
        "" => format!("{subject} with {status}"),
        meaning => format!("{subject} with {status}: {meaning}"),
    };
    if final_word { Down::Denied { status, why } } else { Down::failed(&why) }
}

/// Rails compares the `Origin` with the `Host` that it is told.
const NOT_FOUND_NAMED: &str = "Rails says 404 to an Origin that \
    config.action_cable.allowed_request_origins does not allow, and with --host-header that has to name the site; a router \
    says it to a Host that it does not know, and Rails to a wrong path in --server";

fn of_code(status: u16) -> &'static str {
    match status {
        200..=299 => "what answers there is no ActionCable, correct the path in --server",
        300..=399 => {
            "the server sends the handshake elsewhere without a Location, correct --server"
        }
        400 => {
            "a proxy or puma cannot read the handshake, or a proxy in between takes its Upgrade header away"
        }
        401 => {
            "a login (HTTP Basic, most likely) stands before ActionCable, and this client showed none that it takes"
        }
        403 => {
            "a firewall or login before ActionCable says so, or Rails to a Host that config.hosts does not allow (see \
             --host-header)"
        }
        404 => {
            "Rails says 404 to an Origin that config.action_cable.allowed_request_origins does not allow, to a wrong path in \
             --server, and where a proxy takes the Upgrade header away; a router that goes by name says it to a Host that it \
             does not know, then give it one with --host-header"
        }
        405 => "what answers there takes no GET, correct the path in --server",
        408 => "it came too slowly for the server or for a proxy before it",
        413 | 431 => {
            "the client's headers, its cookies most likely, are longer than the server or a proxy takes"
        }
        421 => {
            "a router does not serve the client's Host, give it one that it knows with --host-header"
        }
        426 => {
            "a proxy in between takes the Upgrade header away, or the path in --server is no cable"
        }
        429 => "a limit of requests is reached, of a proxy or of the application",
        500 => "the application raised an error, its log says which",
        502 | 504 => "a proxy before the application does not reach it",
        503 => "no application server is up (a deploy, maintenance, or a router without one)",
        _ => "",
    }
}

fn of_redirect(location: &[u8]) -> String {
    let end = location.iter().position(|byte| b"?#".contains(byte)).unwrap_or(location.len());
    let shown: String =
        location[..end].escape_ascii().to_string().chars().take(LOCATION_SHOWN).collect();
    let tls = location.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https://"));
    if tls {
        return format!(
            "its Location is {shown}: config.force_ssl does that where X-Forwarded-Proto is not https, let the proxy before \
             the bridge set it; if the server itself speaks TLS, write wss:// in --server"
        );
    }
    format!(
        "its Location is {shown}: a login or a rule of a proxy stands before ActionCable, or the path in --server is another"
    )
}
