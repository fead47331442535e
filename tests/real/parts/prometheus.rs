//! A Prometheus of our own, which scrapes one address each second and keeps what it finds in its test's folder.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use super::{Folder, Server, free_port};
use crate::it::support::{Json, Request};

pub struct Prometheus {
    address: SocketAddr,
    _server: Server,
}

impl Prometheus {
    pub fn scraping(target: SocketAddr) -> Prometheus {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let folder = Folder::new();
        let (file, data) = (folder.path("prometheus.yml"), folder.path("data"));
        fs::write(&file, configuration(target)).unwrap();
        let mut command = Command::new("/usr/bin/prometheus");
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", data.display()));
        command.arg(format!("--web.listen-address={address}"));
        let mut server = Server::start_in(folder, &mut command);
        server.wait_until_up(|| {
            TcpStream::connect(address).is_ok()
                && Request::new(address, "GET", "/-/ready").send().status == 200
        });
        Prometheus { address, _server: server }
    }

    /// The value of an expression without spaces that has one; `None` while it has none.
    pub fn value(&self, expression: &str) -> Option<f64> {
        let target = format!("/api/v1/query?query={}", escaped(expression));
        let answer = Json::parse(&Request::new(self.address, "GET", &target).send().text());
        assert_eq!(answer.text("status"), "success", "{expression}");
        let results = Json::parse(answer.raw("data")).list("result");
        assert!(results.len() < 2, "{expression} has {} values", results.len());
        let (_, value): (f64, String) =
            serde_json::from_str(results.first()?.raw("value")).unwrap();
        Some(value.parse().unwrap())
    }
}

fn configuration(target: SocketAddr) -> String {
    format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\n\
         scrape_configs: [{{ job_name: bridge, static_configs: [{{ targets: ['{target}'] }}] }}]\n"
    )
}

/// As a query wants it.
fn escaped(expression: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => (byte as char).to_string(),
        _ => format!("%{byte:02X}"),
    };
    expression.bytes().map(escape).collect()
}
