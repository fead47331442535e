//! The scripted tests: our binary between a fake ActionCable server and a client that hides nothing.
//!
//! One folder a theme, one module a behaviour, one fact a test, and the test's name says the sentence of the
//! contract (`src/api.md`); `tests/README.md` says which rule is shown where.

// A helper that fails is a test that fails: its panic names the line, which is all that is wanted.
#![allow(clippy::unwrap_used)]

/// Which request is what, whatever the session.
mod requests {
    mod clients;
    mod cors;
    mod navigations;
    mod paths;
}

/// The first request of a session, and what of it reaches the server.
mod opening {
    mod credentials;
    mod first_request;
    mod headers;
    mod strict;
}

/// A session: what it tells, who listens to it, how long it lives, how it ends.
mod sessions {
    mod ending;
    mod lifetimes;
    mod listeners;
    mod messages;
    mod takeover;
}

/// Server-Sent Events.
mod streams {
    mod form;
    mod one_get;
    mod raw;
    mod resume;
    mod stuck;
}

/// Long polls.
mod polls {
    mod acknowledging;
    mod answers;
}

/// What a POST asks of the server.
mod posts {
    mod bodies;
    mod items;
}

/// The link to the server: made, lost, made anew, and servers that misbehave.
mod upstream {
    mod hostile;
    mod names;
    mod places;
    mod reconnect;
    mod subscriptions;
}

/// What happens at each limit, and what the process may weigh.
mod limits {
    mod each;
    mod kept;
    mod machine;
    mod weights;
}

/// Clients that mean harm, or speak no HTTP.
mod hostile {
    mod http;
    mod requests;
}

/// The command line, the log, the metrics, and that nothing leaks.
mod operation {
    mod admin;
    mod demo;
    pub mod leaks;
    mod logs;
    mod options;
    mod secrets;
    mod socket_files;
    mod stderr;
}

mod chaos;
mod support;
mod tunnel;
