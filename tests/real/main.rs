//! The bridge in front of real parts: Rails 6.1 and 7.2 on puma, Redis, nginx, TLS, an empty root; Prometheus beside it.
//!
//! One module a subject; `parts` runs the servers, `client` is one user on one of the two roads.
//! `scripts/check` installs what is needed. A test that lacks something says that it skipped; in CI it fails.

// A helper that fails is a test that fails: its panic names the line, which is all that is wanted.
#![allow(clippy::unwrap_used)]

// What the scripted tests stand on serves here too, but for its fake upstream.
#[allow(dead_code, unused_imports)]
#[path = "../it"]
mod it {
    pub mod support;
}

/// Makes each of these facts a test on both versions of Rails.
macro_rules! on_each_rails {
    ($($fact:ident),+ $(,)?) => {
        mod rails_6_1 {
            $(#[test] fn $fact() { $crate::parts::on($crate::parts::Version::V6_1, super::$fact) })+
        }
        mod rails_7_2 {
            $(#[test] fn $fact() { $crate::parts::on($crate::parts::Version::V7_2, super::$fact) })+
        }
    };
}

/// Makes each of these facts a test on both versions of Rails, over both roads.
macro_rules! on_each_rails_and_road {
    ($($fact:ident),+ $(,)?) => {
        mod by_sse {
            $(fn $fact(version: $crate::parts::Version) {
                super::$fact(version, $crate::client::Road::Sse)
            })+
            on_each_rails!($($fact),+);
        }
        mod by_poll {
            $(fn $fact(version: $crate::parts::Version) {
                super::$fact(version, $crate::client::Road::Poll)
            })+
            on_each_rails!($($fact),+);
        }
    };
}

mod absence;
mod chat;
mod client;
mod empty_root;
mod metrics;
mod nginx;
mod opening;
mod orders;
mod parts;
mod processes;
mod tls;
