//! Names of upstreams: those that do not resolve, and those with several addresses.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::support::*;

/// The bridge, in a world whose hosts file has these lines; `None` where it cannot be given one.
fn with_hosts(name: &str, hosts: &str, url: &str) -> Option<(Place, Bridge)> {
    let probe = Command::new("unshare").args(["-m", "true"]).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        skipped(&format!("names::{name}: no mount namespace can be made here"));
        return None;
    }
    let place = Place::new(name);
    let file = place.socket().with_file_name("hosts");
    std::fs::write(&file, hosts).unwrap();
    let mut command = Command::new("unshare");
    let script = r#"mount --bind "$0" /etc/hosts && exec "$@""#;
    command.args(["-m", "sh", "-c", script]).arg(&file).arg(BINARY);
    command.args(["-l", "127.0.0.1:0", "-s", url, "--connect-timeout", "4s"]);
    let bridge = Bridge::by(&mut command);
    Some((place, bridge))
}

const MANY: &str =
    "127.0.0.1 localhost\n127.0.0.2 many.test\n127.0.0.3 many.test\n127.0.0.4 many.test\n";

#[test]
fn of_the_addresses_of_a_name_all_are_tried() {
    // Whichever of them it is: the others refuse.
    for address in ["127.0.0.2", "127.0.0.3", "127.0.0.4"] {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("ws://many.test:{port}/cable");
        let Some((_place, bridge)) = with_hosts(address, MANY, &url) else { return };
        let asked = bridge.get("/a").sse().begin();

        assert!(readable(&listener, PATIENCE), "{address} was not tried");
        let mut link = Link::arrive(listener.accept().unwrap().0);
        link.welcome();

        asked.stream().expect_joined();
    }
}

#[test]
fn a_name_none_of_whose_addresses_listens_is_502() {
    let kept = FakeUpstream::absent();
    let port = kept.host().split(':').nth(1).unwrap().to_owned();
    let url = format!("ws://many.test:{port}/cable");
    let Some((_place, bridge)) = with_hosts("none", MANY, &url) else { return };

    bridge.get("/a").send().refused(502);
}

#[test]
fn of_several_addresses_all_are_tried() {
    // `localhost` is 127.0.0.1 and ::1, and only the second one listens.
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        skipped("of_several_addresses_all_are_tried: no IPv6 here");
        return;
    };
    let port = listener.local_addr().unwrap().port();
    let bridge = Bridge::at(&format!("ws://localhost:{port}/cable"), &[]);
    let asked = bridge.get("/a").sse().begin();

    assert!(readable(&listener, PATIENCE));
    let mut link = Link::arrive(listener.accept().unwrap().0);
    link.welcome();

    asked.stream().expect_joined();
}

#[test]
fn a_name_that_does_not_resolve_is_502_for_a_poll() {
    let bridge = Bridge::at("ws://no-such-name.invalid/cable", &["--connect-timeout", "2s"]);

    bridge.get("/a").send().refused(502);
}
