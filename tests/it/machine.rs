//! Limits of the machine: a thread that cannot be started is a 503, or the short stream, and nothing else.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::support::*;

/// Threads that the user may have: few enough to be met by a few dozen streams.
const THREADS: u32 = 40;

/// A user whom nobody else is: `ulimit -u` counts everything that runs under the same one.
fn lonely_user() -> u32 {
    static USERS: AtomicU32 = AtomicU32::new(0);
    0x4000_0000 + std::process::id() * 16 + USERS.fetch_add(1, Ordering::Relaxed)
}

/// The bridge as another user with few threads; `None` where this is not root, who is not bound by the limit.
fn constrained(name: &str, upstream: &str, options: &[&str]) -> Option<(Place, Bridge)> {
    if !rustix::process::geteuid().is_root() {
        skipped(&format!("{name}: only root can become another user"));
        return None;
    }
    let place = Place::new(name);
    let copy = place.socket().with_file_name("bridge");
    std::fs::copy(BINARY, &copy).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
    let user = lonely_user();
    let script =
        format!("ulimit -u {THREADS}; exec setpriv --reuid={user} --clear-groups \"$0\" \"$@\"");
    let mut command = Command::new("bash");
    command.args(["-c", &script]).arg(&copy);
    command.args(["-l", "127.0.0.1:0", "-s", upstream, "--stale-after", "60s"]).args(options);
    let bridge = Bridge::by(&mut command);
    Some((place, bridge))
}

/// Streams until there is no thread for another; what the one too many was told.
fn fill(bridge: &Bridge) -> (Vec<Stream>, Stream) {
    let mut streams = Vec::new();
    for n in 0..THREADS {
        let mut stream = bridge.get(&format!("/fill/{n}")).sse().stream();
        if stream.head.header("x-session-id").is_none() {
            return (streams, stream);
        }
        stream.expect_joined();
        streams.push(stream);
    }
    panic!("{} streams with {THREADS} threads", streams.len());
}

#[test]
fn a_thread_that_cannot_be_started_is_the_short_stream_or_a_503() {
    let upstream = Auto::start();
    let options = ["--max-sessions", "1000", "--max-connections", "1000"];
    let Some((_place, mut bridge)) = constrained("threads", &upstream.url(), &options) else {
        return;
    };

    let (mut streams, mut short) = fill(&bridge);

    short.expect_end();
    assert_eq!(short.head.header("content-type"), Some("text/event-stream"));
    let retry = short.retry.unwrap();
    assert!((5_000..=15_000).contains(&retry), "{retry}");
    assert!(streams.len() > 3, "{}", streams.len());
    let answer = bridge.get("/poll").begin().rest();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.to_lowercase().contains("retry-after"), "{answer}");
    assert!(bridge.lives());

    // Those who are there go on.
    for (n, stream) in streams.iter_mut().enumerate() {
        if n % 4 == 0 {
            expect_heard_when_room(&bridge, stream, n);
        }
    }
}

/// A POST needs a thread too: it may take a few tries until one is free.
fn expect_heard_when_room(bridge: &Bridge, stream: &mut Stream, n: usize) {
    let body = format!("[{}]", subscribe(CHAT));
    let path = format!("/fill/{n}");
    let status = bridge.post(&path, &body).send().status;
    assert!(matches!(status, 200 | 503), "{status}");
    if status == 200 {
        stream.expect("connected");
    }
}

#[test]
fn full_service_comes_back_when_the_crowd_has_gone() {
    let upstream = Auto::start();
    let options =
        ["--max-sessions", "1000", "--max-connections", "1000", "--resume-window", "100ms"];
    let Some((_place, mut bridge)) = constrained("service", &upstream.url(), &options) else {
        return;
    };

    for _ in 0..3 {
        let (streams, short) = fill(&bridge);
        let crowd = streams.len();
        drop((streams, short));
        wait_until(Duration::from_secs(10), || upstream.open() == 0);
        let mut again = Vec::new();
        for n in 0..crowd - 1 {
            let path = format!("/again/{n}");
            wait_until(PATIENCE, || {
                let mut stream = bridge.get(&path).sse().stream();
                let served = stream.head.header("x-session-id").is_some();
                if served {
                    stream.expect_joined();
                    again.push(stream);
                }
                served
            });
        }
        drop(again);
        wait_until(Duration::from_secs(10), || upstream.open() == 0);
    }
    assert!(bridge.lives());
}

#[test]
fn the_limit_of_threads_is_said_to_bind() {
    let upstream = Auto::start();
    let Some((_place, bridge)) = constrained("binds", &upstream.url(), &[]) else { return };

    let log = bridge.log();

    let line = log.lines().find(|line| line.contains("event=limits")).unwrap();
    assert!(line.contains(&format!("threads={THREADS}")), "{line}");
    assert!(line.contains("bound_by=\"processes of the user\""), "{line}");
}
