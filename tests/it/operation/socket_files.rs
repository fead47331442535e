//! `-l unix:/path`: for the proxy beside the bridge, and for nobody else who is not in its group.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rustix::process::Signal;

use crate::support::*;

#[test]
fn a_unix_socket_can_be_listened_on() {
    let upstream = FakeUpstream::start();
    let place = Place::new("socket");

    let _child = place.bridge(&upstream.url(), &[]);

    assert!(place.get("/-/health").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_peer_on_a_unix_socket_has_no_address_to_append() {
    let upstream = FakeUpstream::start();
    let place = Place::new("peer");
    let _child = place.bridge(&upstream.url(), &[]);

    let _asked = place.begin("/a", "X-Forwarded-For: 192.0.2.1\r\n");

    let handshake = upstream.accept().handshake;
    assert_eq!(handshake.header("X-Forwarded-For").as_deref(), Some("192.0.2.1"));
}

#[test]
fn a_stale_socket_file_is_replaced() {
    let upstream = FakeUpstream::start();
    let place = Place::new("stale");
    drop(std::os::unix::net::UnixListener::bind(place.socket()).unwrap());

    let _child = place.bridge(&upstream.url(), &[]);

    assert!(place.get("/-/health").starts_with("HTTP/1.1 200"));
}

#[test]
fn what_a_killed_bridge_leaves_behind_is_replaced() {
    let upstream = FakeUpstream::start();
    let place = Place::new("killed");
    place.bridge(&upstream.url(), &[]).end();
    assert!(place.socket().exists());

    let _child = place.bridge(&upstream.url(), &[]);

    assert!(place.get("/-/health").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_live_socket_file_is_an_address_in_use_and_stays_who_it_was() {
    let upstream = FakeUpstream::start();
    let place = Place::new("live");
    let _live = place.bridge(&upstream.url(), &[]);

    let run = run(&["-l", &place.address()]);

    assert_eq!(run.code, 1);
    assert!(run.only_line().contains(&place.address()), "{}", run.err);
    assert!(place.get("/-/health").starts_with("HTTP/1.1 200"));
}

#[test]
fn the_file_is_gone_when_the_bridge_has_ended_in_order() {
    let upstream = FakeUpstream::start();
    let place = Place::new("gone");
    let mut child = place.bridge(&upstream.url(), &[]);

    child.signal(Signal::TERM);

    child.said();
    assert!(!place.socket().exists());
}

#[test]
fn a_socket_file_has_mode_0660_whatever_the_mask() {
    for mask in ["000", "077"] {
        let place = Place::new(&format!("mode-{mask}"));
        let script = format!(r#"umask {mask}; exec "$0" "$@""#);
        let mut command = Command::new("sh");
        command.args(["-c", &script, BINARY, "-l", &place.address()]);

        let _child = place.started(&mut command);

        let mode = std::fs::metadata(place.socket()).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o660, "with a mask of {mask}: {mode:o}");
    }
}

#[test]
fn a_file_that_is_no_socket_is_not_replaced() {
    let place = Place::new("file");
    std::fs::write(place.socket(), "precious").unwrap();

    let run = run(&["-l", &place.address()]);

    assert_eq!(run.code, 1);
    assert_eq!(std::fs::read_to_string(place.socket()).unwrap(), "precious");
}
