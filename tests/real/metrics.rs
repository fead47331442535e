//! `/metrics` as those see it for whom it is: promtool, and a Prometheus that scrapes it.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::client::{Client, Road, room};
use crate::it::support::{Bridge, PATIENCE, Request, wait_until};
use crate::parts::{Prometheus, Rails, Version, needs_files, on};

/// Two scrapes and what a busy machine adds.
const SCRAPE_PATIENCE: Duration = Duration::from_secs(30);

/// The bridge in front of Rails, and where its metrics are.
struct Watched {
    _rails: Rails,
    bridge: Bridge,
    admin: SocketAddr,
}

impl Watched {
    fn start(version: Version) -> Watched {
        let rails = Rails::start(version);
        let bridge = Bridge::at(&rails.url(), &["--admin", "127.0.0.1:0"]);
        bridge.wait_for_log("door=admin");
        let log = bridge.log();
        let line = log.lines().find(|line| line.contains("door=admin")).unwrap();
        let address = line.split(' ').find_map(|word| word.strip_prefix("address=")).unwrap();
        Watched { _rails: rails, admin: address.parse().unwrap(), bridge }
    }

    fn page(&self) -> String {
        Request::new(self.admin, "GET", "/metrics").send().text()
    }
}

fn on_both_programs(fact: impl FnOnce(Version)) {
    let programs = ["/usr/bin/promtool", "/usr/bin/prometheus"];
    if needs_files(&programs.map(PathBuf::from)) {
        on(Version::V6_1, fact);
    }
}

#[test]
fn promtool_has_no_complaint() {
    on_both_programs(|version| {
        let watched = Watched::start(version);
        let (mut ada, channel) =
            Client::enter(&watched.bridge, Road::Sse, "ada", "/ada", &room("a"));
        ada.expect_welcome(&channel);

        let mut command = Command::new("/usr/bin/promtool");
        command.args(["check", "metrics"]).stdin(Stdio::piped());
        let mut promtool = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        promtool.stdin.take().unwrap().write_all(watched.page().as_bytes()).unwrap();
        let said = promtool.wait_with_output().unwrap();

        assert_eq!(String::from_utf8_lossy(&said.stderr), "");
        assert_eq!(String::from_utf8_lossy(&said.stdout), "");
        assert!(said.status.success());
    });
}

#[test]
fn prometheus_finds_the_sessions_the_listeners_and_the_messages() {
    on_both_programs(|version| {
        let watched = Watched::start(version);
        let prometheus = Prometheus::scraping(watched.admin);
        let enter = |road, user, path| {
            let (mut client, channel) =
                Client::enter(&watched.bridge, road, user, path, &room("a"));
            client.expect_welcome(&channel);
            client
        };
        let mut ada = enter(Road::Sse, "ada", "/ada");
        let _bob = enter(Road::Sse, "bob", "/bob");
        let _eve = enter(Road::Poll, "eve", "/eve");
        ada.act(&room("a"), r#"{"action":"burst","count":100}"#);
        (0..100).for_each(|_| drop(ada.received()));

        // A greeting and a `connected` for each of them, and the hundred.
        for (expression, value) in [
            ("up", 1.0),
            ("actioncable_sessions", 3.0),
            (r#"actioncable_sessions_by_state{state="connected"}"#, 3.0),
            ("sum(actioncable_sessions_by_state)", 3.0),
            (r#"actioncable_listeners{kind="stream"}"#, 2.0),
            (r#"actioncable_upstream_connects_total{outcome="up"}"#, 3.0),
            ("sum(actioncable_upstream_connects_total)", 3.0),
            ("actioncable_upstream_losses_total", 0.0),
            ("actioncable_messages_delivered_total", 106.0),
            ("actioncable_messages_dropped_total", 0.0),
            ("actioncable_messages_received_total>=bool(106)", 1.0),
            ("actioncable_received_bytes_total>bool(actioncable_messages_received_total)", 1.0),
            ("actioncable_delivered_bytes_total>bool(actioncable_messages_delivered_total)", 1.0),
            ("time()-process_start_time_seconds<bool(300)", 1.0),
            ("process_open_fds>=bool(8)", 1.0),
        ] {
            wait_until(SCRAPE_PATIENCE, || prometheus.value(expression) == Some(value));
        }
        drop(ada);
        wait_until(PATIENCE, || {
            watched.page().contains("actioncable_listeners{kind=\"stream\"} 1")
        });
        wait_until(SCRAPE_PATIENCE, || {
            prometheus.value(r#"actioncable_listeners{kind="stream"}"#) == Some(1.0)
        });
    });
}
