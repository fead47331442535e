//! Limits of the machine: a thread that cannot be started is a 503, or the short stream, and nothing else.
//!
//! Under `ulimit -u` as another user, under `pids.max` of a cgroup, and under both.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::support::*;

const OPTIONS: [&str; 4] = ["--max-sessions", "1000", "--max-connections", "1000"];

/// Lifetimes so short that a crowd which leaves is gone at once.
const BRIEF: [&str; 6] =
    ["--max-sessions", "1000", "--max-connections", "1000", "--resume-window", "100ms"];

/// How a bridge gets no more than so many threads.
#[derive(Clone, Copy, Default)]
struct Bound {
    user: Option<u32>,
    group: Option<u32>,
}

const USER: Bound = Bound { user: Some(200), group: None };
const GROUP: Bound = Bound { user: None, group: Some(200) };
const BOTH: Bound = Bound { user: Some(200), group: Some(200) };

/// Few enough to be met by a dozen streams.
const FEW: Bound = Bound { user: Some(40), group: None };

impl Bound {
    fn threads(self) -> u32 {
        self.user.into_iter().chain(self.group).min().unwrap()
    }
}

/// A bridge that is bound. In the order in which they have to go.
struct Bounded {
    bridge: Bridge,
    group: Option<Pids>,
    _place: Place,
    bound: Bound,
}

/// A user whom nobody else is: `ulimit -u` counts everything that runs under the same one.
fn lonely_user() -> u32 {
    static USERS: AtomicU32 = AtomicU32::new(0);
    0x4000_0000 + std::process::id() * 16 + USERS.fetch_add(1, Ordering::Relaxed)
}

/// The bridge with few threads; `None` where that cannot be arranged: root alone can become another user, and it is not
/// bound by the limit itself.
fn bounded(name: &str, bound: Bound, upstream: &str, options: &[&str]) -> Option<Bounded> {
    if !rustix::process::geteuid().is_root() {
        skipped(&format!("limits::machine::{name}: only root can become another user"));
        return None;
    }
    let group = bound.group.and_then(|max| Pids::create(name, max));
    if bound.group.is_some() && group.is_none() {
        skipped(&format!("limits::machine::{name}: no cgroup with pids.max can be made here"));
        return None;
    }
    let place = Place::new(name);
    let copy = place.socket().with_file_name("bridge");
    std::fs::copy(BINARY, &copy).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut script = String::new();
    if let Some(group) = &group {
        script += &format!("echo $$ > {}\n", group.procs().display());
    }
    if let Some(threads) = bound.user {
        let user = lonely_user();
        script += &format!(
            "ulimit -u {threads}\nexec setpriv --reuid={user} --clear-groups \"$0\" \"$@\"\n"
        );
    }
    let mut command = Command::new("bash");
    command.args(["-ec", &format!("{script}exec \"$0\" \"$@\"")]).arg(&copy);
    command.args(["-l", "127.0.0.1:0", "-s", upstream, "--stale-after", "60s"]).args(options);
    let bridge = Bridge::by(&mut command);
    Some(Bounded { bridge, group, _place: place, bound })
}

/// Streams until there is no thread for another, even when none rests that waits for another handshake; what the one too many
/// was told.
fn fill(bounded: &Bounded) -> (Vec<Stream>, Stream) {
    let (mut streams, mut refused_at) = (Vec::new(), None);
    for n in 0..bounded.bound.threads() {
        let mut stream = bounded.bridge.get(&format!("/fill/{n}")).sse().stream();
        if stream.head.header("x-session-id").is_none() {
            if refused_at == Some(streams.len()) {
                return (streams, stream);
            }
            refused_at = Some(streams.len());
            bounded.bridge.at_rest();
            continue;
        }
        stream.expect_joined();
        streams.push(stream);
    }
    panic!("{} streams with {} threads", streams.len(), bounded.bound.threads());
}

/// What the one too many is told; those who are there go on.
fn expect_refusals(name: &str, bound: Bound) {
    let upstream = Auto::start();
    let Some(mut bounded) = bounded(name, bound, &upstream.url(), &OPTIONS) else { return };

    let (mut streams, mut short) = fill(&bounded);

    short.expect_end();
    assert_eq!(short.head.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let retry = short.retry.unwrap();
    assert!((5_000..=15_000).contains(&retry), "{retry}");
    // Each has two threads, and some are the bridge's own.
    let least = bound.threads() as usize / 2 - 17;
    assert!(streams.len() >= least, "{} streams", streams.len());
    let poll = bounded.bridge.get("/poll").send();
    poll.refused(503);
    assert!(poll.header("retry-after").is_some());
    for (n, stream) in streams.iter_mut().enumerate() {
        if n % 4 == 0 {
            expect_heard_when_room(&bounded.bridge, stream, n);
        }
    }
    if let Some(group) = &bounded.group {
        assert!(group.current() <= bound.threads());
        assert!(bound.user.is_some() || group.refused() > 0, "the group did not bind");
    }
    assert!(bounded.bridge.lives());
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

/// The crowd leaves, and as many others are served, again and again.
fn expect_full_service_again(name: &str, bound: Bound, rounds: usize) {
    let upstream = Auto::start();
    let Some(mut bounded) = bounded(name, bound, &upstream.url(), &BRIEF) else { return };

    for _ in 0..rounds {
        let (streams, short) = fill(&bounded);
        let crowd = streams.len();
        drop((streams, short));
        wait_until(Duration::from_secs(10), || upstream.open() == 0);
        let again: Vec<Stream> =
            (0..crowd - 1).map(|n| served_soon(&bounded.bridge, &format!("/again/{n}"))).collect();
        drop(again);
        wait_until(Duration::from_secs(10), || upstream.open() == 0);
    }
    assert!(bounded.bridge.lives());
}

fn served_soon(bridge: &Bridge, path: &str) -> Stream {
    let mut served = None;
    wait_until(PATIENCE, || {
        let mut stream = bridge.get(path).sse().stream();
        if stream.head.header("x-session-id").is_some() {
            stream.expect_joined();
            served = Some(stream);
        }
        served.is_some()
    });
    served.unwrap()
}

#[test]
fn a_thread_that_cannot_be_started_is_the_short_stream_or_a_503() {
    expect_refusals("few", FEW);
}

#[test]
fn under_ulimit_u_of_200_as_another_user_it_is_so() {
    expect_refusals("user", USER);
}

#[test]
fn under_pids_max_of_200_it_is_so() {
    expect_refusals("group", GROUP);
}

#[test]
fn under_pids_max_of_200_and_ulimit_u_of_200_as_another_user_it_is_so() {
    expect_refusals("both", BOTH);
}

#[test]
fn full_service_comes_back_when_the_crowd_has_gone() {
    expect_full_service_again("few-again", FEW, 3);
}

#[test]
fn full_service_comes_back_under_ulimit_u_of_200() {
    expect_full_service_again("user-again", USER, 2);
}

#[test]
fn full_service_comes_back_under_pids_max_of_200() {
    expect_full_service_again("group-again", GROUP, 2);
}

#[test]
fn the_limit_of_threads_is_said_to_bind() {
    for (name, bound, by) in
        [("user-binds", FEW, "processes of the user"), ("group-binds", GROUP, "pids")]
    {
        let upstream = Auto::start();
        let Some(bounded) = bounded(name, bound, &upstream.url(), &[]) else { continue };

        let log = bounded.bridge.log();

        let line = log.lines().find(|line| line.contains("event=limits")).unwrap();
        assert!(line.contains(&format!("bound_by=\"{by}\"")), "{line}");
        let threads = line.split("threads=").nth(1).unwrap();
        let threads: u32 = threads.split(' ').next().unwrap().parse().unwrap();
        // What the shell takes of a group counts too.
        assert!((bound.threads() - 3..=bound.threads()).contains(&threads), "{line}");
    }
}
