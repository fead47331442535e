//! The scripted tests: our binary between a fake ActionCable server and a client that hides nothing.
//!
//! One module a behaviour, one fact a test, and the test's name says the sentence of the contract.

// A helper that fails is a test that fails: its panic names the line, which is all that is wanted.
#![allow(clippy::unwrap_used)]

mod acknowledging;
mod admin;
mod bodies;
mod bounds;
mod chaos;
mod clients;
mod cors;
mod credentials;
mod demo;
mod ending;
mod headers;
mod hostile;
mod leaks;
mod lifetimes;
mod limits;
mod listeners;
mod logs;
mod machine;
mod messages;
mod names;
mod navigations;
mod one_get;
mod opening;
mod options;
mod paths;
mod poll;
mod post;
mod raw;
mod reconnect;
mod requests;
mod resume;
mod secrets;
mod socket_files;
mod sse;
mod strict;
mod stuck;
mod support;
mod takeover;
mod tunnel;
mod upstreams;
mod weights;
