//! The static binary in a root folder that holds nothing else: no libc, no trusted roots, no /etc, no /proc.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::client::{Client, Road, dressed, opening, room};
use crate::it::support::Bridge;
use crate::parts::{
    Certificate, Folder, Rails, Version, needs_files, needs_root, on, target_folder,
};
use crate::tls::encrypted;

#[test]
fn the_static_binary_reaches_localhost_from_an_empty_root() {
    in_empty_root(|root, rails| {
        let bridge = root.bridge(&format!("ws://localhost:{}/cable", rails.address.port()));

        let (mut ada, channel) = Client::enter(&bridge, Road::Sse, "ada", "/ada", &room("a"));

        ada.expect_welcome(&channel);
    });
}

#[test]
fn the_static_binary_trusts_the_authority_that_it_is_given() {
    in_empty_root(|root, rails| {
        let certificate = Certificate::make();
        let nginx = encrypted(&rails, &certificate);
        root.give(&certificate.authority(), AUTHORITY);
        let bridge = root.bridge(&format!("wss://localhost:{}/cable", nginx.address.port()));

        let (mut ada, channel) = Client::enter(&bridge, Road::Sse, "ada", "/ada", &room("a"));

        ada.expect_welcome(&channel);
    });
}

#[test]
fn the_static_binary_falls_back_on_roots_of_its_own_and_names_a_certificate_that_they_do_not_vouch_for()
 {
    in_empty_root(|root, rails| {
        let nginx = encrypted(&rails, &Certificate::make());
        let bridge = root.bridge(&format!("wss://localhost:{}/cable", nginx.address.port()));

        let answer = dressed(&bridge, opening(&bridge, Road::Poll, "/ada"), "ada").send();

        let error = answer.refused(502);
        assert!(error.contains("certificate"), "{error}");
    });
}

const AUTHORITY: &str = "authority.pem";

struct Root(Folder);

impl Root {
    /// By a link: a copy that another test's new process still holds open for writing cannot be executed.
    fn give(&self, file: &Path, name: &str) {
        fs::hard_link(file, self.0.path(name)).unwrap();
    }

    /// The bridge, for which this folder is the whole file system.
    fn bridge(&self, url: &str) -> Bridge {
        let mut command = Command::new("/usr/sbin/chroot");
        command.arg(self.0.path("")).args(["/bridge", "-l", "127.0.0.1:0", "-s", url]);
        command.env_clear();
        if self.0.path(AUTHORITY).exists() {
            command.env("SSL_CERT_FILE", format!("/{AUTHORITY}"));
        }
        Bridge::by(&mut command)
    }
}

fn in_empty_root(fact: fn(Root, Rails)) {
    let binary = target_folder().join("static/actioncable-to-eventsource");
    if needs_files(std::slice::from_ref(&binary)) && needs_root() {
        on(Version::V6_1, |version| {
            let root = Root(Folder::new());
            root.give(&binary, "bridge");
            fact(root, Rails::start(version));
        });
    }
}
