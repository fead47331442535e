//! The bridge's own pages: what is served that is no session.
//!
//! Owns: `/`, everything under `/-/`, and the operator's `/metrics` and `/sessions`.
//! Never: changes a session.

mod files;
mod metrics;

use crate::gate::{Answer, Head};
use crate::session::Table;
use std::sync::Arc;

/// The page at this path, if there is one; `demo` is what the bridge was started with.
pub fn page(path: &str, head: &Head, demo: bool) -> Option<Answer> {
    let host = head.first("host").and_then(|host| std::str::from_utf8(host).ok());
    let host = host.unwrap_or("localhost");
    match path {
        "/" => Some(text(include_str!("pages/hint.txt").replace("HOST", host))),
        "/-/health" => Some(text("ok\n")),
        _ => files::file(path, head, demo),
    }
}

pub fn admin(path: &str, table: &Arc<Table>) -> Option<Answer> {
    match path {
        "/metrics" => Some(
            Answer::new(200)
                .with("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                .body(metrics::text(table)),
        ),
        "/sessions" => {
            let names: String = table.names().iter().map(|name| format!("{name}\n")).collect();
            Some(text(names))
        }
        _ => None,
    }
}

fn text(body: impl Into<Vec<u8>>) -> Answer {
    Answer::new(200)
        .with("Content-Type", "text/plain; charset=utf-8")
        .with("Cache-Control", "no-store")
        .body(body)
}
