//! The bridge's own pages: what is served that is no session.
//!
//! Owns: `/`, everything under `/-/`, and the operator's `/metrics` and `/sessions`.
//! Never: changes a session.

mod files;
mod metrics;

use crate::gate::{Answer, Head};
use crate::session::Table;
use std::sync::Arc;

const HINT: &str = "\
curl -N -H 'Accept: text/event-stream' 'http://HOST/try-me?channel=ClockChannel&raw=1'
shows a channel of the cable server; http://HOST/-/ is a page to try it with.

The path names your session: make up a long random one in place of try-me.
Without raw=1 each event is an object that says which channel it is of.
With an identifier that has more than a name:
  curl -N -G -H 'Accept: text/event-stream' http://HOST/ID --data-urlencode 'identifier={\"channel\":\"ChatChannel\",\"room\":1}'
Subscribe later, or send, in another terminal:
  curl http://HOST/ID -d '[{\"identifier\":{\"channel\":\"ChatChannel\"},\"subscribe\":true}]'
Poll instead of streaming:
  curl 'http://HOST/ID?channel=ChatChannel&timeout=25'
";

/// The page at this path, if there is one; `host` is how the client calls the bridge, `demo` what it was started with.
pub fn page(path: &str, host: &str, head: &Head, demo: bool) -> Option<Answer> {
    match path {
        "/" => Some(text(HINT.replace("HOST", host))),
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
