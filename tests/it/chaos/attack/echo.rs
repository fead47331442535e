//! An honest user who talks and waits for the echo: how long that takes, by phase.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::tick;
use parking_lot::Mutex;

use crate::support::{CHAT, Request, send, subscribe};

const PATH: &str = "/honest-echo-of-the-attack";

const PACE: Duration = Duration::from_millis(50);

/// Before, during and after the attack.
pub const PHASES: [&str; 3] = ["before", "during", "after"];

#[derive(Default)]
pub struct Echoes {
    pub phase: AtomicUsize,
    pub stop: AtomicBool,
    waits: [Mutex<Vec<Duration>>; PHASES.len()],
    /// POSTs that were told to come again.
    busy: AtomicUsize,
}

impl Echoes {
    /// Talks until it is stopped. What does not come back within five seconds is a failure.
    pub fn run(&self, bridge: SocketAddr) {
        let mut stream = Request::new(bridge, "GET", PATH).sse().stream();
        stream.expect_joined();
        self.post(bridge, &subscribe(CHAT));
        stream.expect("connected");
        for (number, _) in tick(PACE).iter().enumerate() {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let data = format!(r#"{{"n":{number}}}"#);
            let asked = Instant::now();
            self.post(bridge, &send(CHAT, &data));
            let came = loop {
                let event = stream.next();
                if event.name() == "message" {
                    break event.json();
                }
            };
            let phase = self.phase.load(Ordering::SeqCst);
            self.waits[phase].lock().push(asked.elapsed());
            assert!(came.raw("message").contains(&data), "an echo of something else");
        }
    }

    fn post(&self, bridge: SocketAddr, item: &str) {
        loop {
            let asked = Request::new(bridge, "POST", PATH).body(&format!("[{item}]")).begin();
            let response = asked.response();
            if response.status != 503 {
                assert_eq!(response.done()[0].raw("error"), "null");
                return;
            }
            self.busy.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// How many there were in this phase, and in milliseconds p50, p99 and the longest.
    pub fn figures(&self, phase: usize) -> (usize, [f64; 3]) {
        let mut waits = self.waits[phase].lock().clone();
        waits.sort_unstable();
        let at = |share: usize| {
            let at = (waits.len() * share / 100).min(waits.len().saturating_sub(1));
            waits.get(at).map_or(0.0, |wait| wait.as_secs_f64() * 1000.0)
        };
        (waits.len(), [at(50), at(99), at(100)])
    }

    pub fn busy(&self) -> usize {
        self.busy.load(Ordering::SeqCst)
    }
}
