//! nginx on either side: in front of the bridge for its clients, in front of Rails during a deploy.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::{Client, Road, room};
use crate::it::support::Bridge;
use crate::parts::{Nginx, Rails, Version};
use crate::tls::WEBSOCKET;

on_each_rails! {
    a_killed_client_that_comes_back_at_once_gets_a_stream_ten_times_of_ten,
    a_killed_client_that_comes_back_through_nginx_gets_a_stream_ten_times_of_ten,
    a_deploy_that_answers_404_for_20_seconds_ends_no_session,
}

/// A client that nobody wrote for this test.
struct Curl {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Curl {
    /// `curl -N` on the session `/ada`.
    fn start(address: SocketAddr) -> Curl {
        let mut command = Command::new("/usr/bin/curl");
        command.args(["--silent", "--no-buffer", "--include", "--max-time", "30"]);
        command.args(["--header", "Accept: text/event-stream", "--header", "Cookie: user=ada"]);
        command.args(["--header", &format!("Origin: http://{address}")]);
        command.arg(format!("http://{address}/ada"));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Curl { child, lines }
    }

    /// Reads the head and everything up to `joined`.
    fn expect_joined(&mut self) {
        assert_eq!(self.line().split(' ').nth(1), Some("200"));
        while !self.line().contains(r#""type":"joined""#) {}
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert_ne!(line, "", "the stream ended");
        line
    }
}

impl Drop for Curl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn come_back_ten_times(address: SocketAddr) {
    let mut curl = Curl::start(address);
    curl.expect_joined();
    for _ in 0..10 {
        drop(curl);
        let left = Instant::now();
        curl = Curl::start(address);
        assert!(left.elapsed() < Duration::from_millis(200), "the test is slower than its promise");
        curl.expect_joined();
    }
}

fn a_killed_client_that_comes_back_at_once_gets_a_stream_ten_times_of_ten(version: Version) {
    let rails = Rails::start(version);
    let bridge = Bridge::at(&rails.url(), &[]);

    come_back_ten_times(bridge.address);
}

fn a_killed_client_that_comes_back_through_nginx_gets_a_stream_ten_times_of_ten(version: Version) {
    let rails = Rails::start(version);
    let bridge = Bridge::at(&rails.url(), &[]);
    // Its buffering is left on: the bridge's own header has to turn that off.
    let host = "proxy_set_header Host $http_host; proxy_http_version 1.1;";
    let nginx = Nginx::before(bridge.address, host);

    come_back_ten_times(nginx.address);
}

fn a_deploy_that_answers_404_for_20_seconds_ends_no_session(version: Version) {
    let mut rails = Rails::start(version);
    let nginx = Nginx::before(rails.address, WEBSOCKET);
    let bridge = Bridge::at(&format!("ws://{}/cable", nginx.address), &["--stale-after", "6s"]);
    let users = [("ada", Road::Sse), ("bob", Road::Sse), ("cy", Road::Poll), ("dee", Road::Poll)];
    let mut clients = users.map(|(user, road)| {
        let (mut client, channel) =
            Client::enter(&bridge, road, user, &format!("/{user}"), &room("a"));
        client.expect_welcome(&channel);
        (client, channel)
    });

    nginx.close();
    rails.stop();
    for (client, channel) in &mut clients {
        assert_eq!(client.expect("disconnected"), *channel);
    }
    // The deploy takes its time, and the bridge is told 404 all along.
    let _ = crossbeam_channel::after(Duration::from_secs(20)).recv();
    rails.start_again();
    nginx.open();

    for (client, channel) in &mut clients {
        client.expect_welcome(channel);
    }
}
