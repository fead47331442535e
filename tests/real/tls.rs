//! An upstream behind TLS: nginx in front of puma, with a certificate that the test made.

use std::path::Path;
use std::process::Command;

use crate::client::{Client, Road, dressed, opening, room};
use crate::it::support::{BINARY, Bridge};
use crate::parts::{Certificate, Nginx, Rails, Version};

on_each_rails_and_road! {
    a_user_speaks_and_is_heard_over_wss,
    a_certificate_that_nobody_vouches_for_is_told_to_the_client,
}

/// What a WebSocket needs to pass nginx.
pub const WEBSOCKET: &str = r#"proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection "upgrade"; proxy_set_header Host $http_host;"#;

/// A TLS server in front of this one.
pub fn encrypted(rails: &Rails, certificate: &Certificate) -> Nginx {
    Nginx::with_tls(rails.address, &certificate.directives(), WEBSOCKET)
}

/// The bridge on a machine that trusts this authority and no other.
fn bridge(nginx: &Nginx, authority: &Path) -> Bridge {
    let url = format!("wss://localhost:{}/cable", nginx.address.port());
    let mut command = Command::new(BINARY);
    command.args(["-l", "127.0.0.1:0", "-s", &url]).env("SSL_CERT_FILE", authority);
    Bridge::by(&mut command)
}

fn a_user_speaks_and_is_heard_over_wss(version: Version, road: Road) {
    let (rails, certificate) = (Rails::start(version), Certificate::make());
    let nginx = encrypted(&rails, &certificate);
    let bridge = bridge(&nginx, &certificate.authority());

    let (mut ada, channel) = Client::enter(&bridge, road, "ada", "/ada", &room("a"));
    ada.expect_welcome(&channel);
    ada.act(&room("a"), r#"{"action":"burst","count":500}"#);

    for number in 1..=500 {
        assert_eq!(ada.received(), format!(r#"{{"number":{number}}}"#));
    }
    ada.act(&room("a"), r#"{"action":"speak","text":"hi"}"#);
    assert_eq!(ada.received(), r#"{"from":"ada","text":"hi"}"#);
}

fn a_certificate_that_nobody_vouches_for_is_told_to_the_client(version: Version, road: Road) {
    let (rails, certificate) = (Rails::start(version), Certificate::make());
    let nginx = encrypted(&rails, &certificate);
    let bridge = bridge(&nginx, &Certificate::make().authority());

    let asked = dressed(&bridge, opening(&bridge, road, "/ada"), "ada").begin();

    let told = match road {
        Road::Poll => asked.response().refused(502),
        Road::Sse => {
            let mut stream = asked.stream();
            stream.expect_joined();
            stream.expect_upstream("disconnected").text("reason")
        }
    };
    assert!(told.contains("certificate"), "{told}");
}
