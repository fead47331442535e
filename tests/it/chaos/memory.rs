//! A box with little memory: each kind of client or server that makes the bridge hold much, and all of them at once.
//!
//! In memory cgroups without swap, with the bridge's defaults, and without one beside `--max-memory`. The bridge is never killed
//! and never over its bound, an honest session beside it loses nothing untold, and each refusal is one of the contract's.
//! `scripts/attack MINUTES` runs it from 10 minutes on, a minute each kind; with less in `ATTACK_MINUTES` it is one small group
//! for a minute in all.

mod kinds;
mod server;

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::*;
use kinds::{KINDS, Kind, Siege};
use rustix::process::Signal;
use server::Server;

const MIB: u64 = 1024 * 1024;

/// Bytes that one session and its connection may cost beside `--max-memory`.
const A_SLOT: u64 = 30_000;

/// A drain's bound, and how long before the end of a siege it begins.
const DRAIN_MAX: Duration = Duration::from_secs(5);
const DRAINED_AT: Duration = Duration::from_secs(6);

/// What the bridge may hold.
#[derive(Clone, Copy)]
enum Bound {
    /// Nine tenths of a cgroup of so many MiB.
    Group(u64),
    /// 1.25 times a `--max-memory` of so many MiB, 32 MiB, and something for each session.
    Option(u64),
}

const ALL: [Bound; 4] = [Bound::Group(32), Bound::Group(64), Bound::Group(256), Bound::Option(256)];

#[test]
#[ignore = "takes as long as one wants: scripts/attack MINUTES"]
fn attack_on_little_memory() {
    let minutes = std::env::var("ATTACK_MINUTES").expect("ATTACK_MINUTES is set by scripts/attack");
    let is_long = minutes.parse::<u32>().expect("ATTACK_MINUTES is a number") >= 10;
    let (bounds, length) = match is_long {
        true => (&ALL[..], Duration::from_secs(60)),
        false => (&ALL[..1], Duration::from_secs(10)),
    };
    let mut failed = Vec::new();
    for &bound in bounds {
        for kind in KINDS {
            failed.extend(besiege(bound, kind, length));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// A new bridge under one kind of attack; what was wrong.
fn besiege(bound: Bound, (name, kind): (&str, Kind), length: Duration) -> Option<String> {
    let server = Server::start();
    let Some((mut bridge, group)) = bounded(bound, &server.url) else {
        skipped("chaos::memory: no memory cgroup can be made here");
        return None;
    };
    let siege = Siege::new(bridge.address, Instant::now() + length, &server);
    let (over, heard) = (AtomicBool::new(false), AtomicU64::new(0));
    let vitals = bridge.vitals();
    let (held, most) = thread::scope(|scope| {
        let honest = scope.spawn(|| honest(&siege, &server, &over, &heard));
        let peak = scope.spawn(|| peak(group.as_ref(), vitals, &over));
        scope.spawn(|| kind(&siege));
        pause(length - DRAINED_AT);
        over.store(true, Ordering::SeqCst);
        siege.expect(drain(&mut bridge));
        siege.expect(honest.join().expect("the honest one"));
        peak.join().expect("the peak")
    });
    let (title, max) = match bound {
        Bound::Group(mib) => (format!("cgroup {mib} MiB"), mib * MIB / 10 * 9),
        Bound::Option(mib) => {
            (format!("--max-memory {mib} MiB"), mib * MIB / 4 * 5 + 32 * MIB + most * A_SLOT)
        }
    };
    let row = format!(
        "memory: {title:<20} {name:<32} peak {:>5.1} of {:>5.1} MiB, {most:>4} descriptors, {:>6} honest messages, {siege}\n",
        held as f64 / MIB as f64,
        max as f64 / MIB as f64,
        heard.load(Ordering::SeqCst),
    );
    say(&row);
    let wrong = siege.wrong();
    let is_right = held <= max && wrong.is_empty() && heard.load(Ordering::SeqCst) > 0;
    // The group goes after the process in it.
    drop(bridge);
    (!is_right).then(|| format!("{row}  {wrong:?}"))
}

/// Ends the bridge while the siege goes on: exit 0 within the contract's five seconds. One that was killed has another code.
fn drain(bridge: &mut Bridge) -> Result<(), String> {
    bridge.signal(Signal::TERM);
    let start = Instant::now();
    let code = bridge.exit_code(2 * DRAIN_MAX);
    let end = format!("drained in {:.2} s, exit {code:?}", start.elapsed().as_secs_f64());
    say(&format!("memory: {end}\n"));
    if code == Some(0) && start.elapsed() < DRAIN_MAX { Ok(()) } else { Err(end) }
}

fn bounded(bound: Bound, url: &str) -> Option<(Bridge, Option<Memory>)> {
    match bound {
        Bound::Option(mib) => {
            let max = (mib * MIB).to_string();
            Some((Bridge::alone(url, &["--stale-after", "6s", "--max-memory", &max]), None))
        }
        Bound::Group(mib) => {
            let group = Memory::create(&format!("{mib}"), mib * MIB)?;
            let script = format!("echo $$ > {}; exec \"$0\" \"$@\"", group.procs().display());
            let mut command = Command::new("sh");
            command.args(["-c", &script, BINARY, "-l", "127.0.0.1:0", "-s", url]);
            Some((Bridge::by(&mut command), Some(group)))
        }
    }
}

/// The most that was held, and the most descriptors, until it is over.
fn peak(group: Option<&Memory>, vitals: Vitals, over: &AtomicBool) -> (u64, u64) {
    let (mut held, mut descriptors) = (0, 0);
    while !over.load(Ordering::SeqCst) && vitals.are_there() {
        held = held.max(group.map_or_else(|| vitals.resident_kib() * 1024, Memory::held));
        descriptors = descriptors.max(vitals.footprint().1 as u64);
        pause(Duration::from_millis(20));
    }
    (held, descriptors)
}

/// A session that was there before, and gets a numbered message 20 times a second: none is missing that was not told.
fn honest(
    siege: &Siege<'_>,
    server: &Server,
    over: &AtomicBool,
    heard: &AtomicU64,
) -> Result<(), String> {
    let mut stream = siege.honest().stream().patient(Duration::from_secs(30));
    stream.expect_joined();
    stream.expect("connected");
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !over.load(Ordering::SeqCst) {
                number += 1;
                server.tell_honest(number);
                pause(Duration::from_millis(50));
            }
            // So that the reader sees that it is over.
            server.tell_honest(number + 1);
        });
        let (mut last, mut told) = (0, false);
        while !over.load(Ordering::SeqCst) {
            let Some(event) = stream.try_next() else {
                let over = over.load(Ordering::SeqCst);
                return if over { Ok(()) } else { Err("the honest stream ended".into()) };
            };
            told |= matches!(event.name(), "dropped" | "upstream");
            let json = event.json();
            if event.name() == "message" && json.kind() == "received" {
                let number: u64 = json.raw("message").parse().unwrap();
                if number != last + 1 && !told {
                    return Err(format!("{last} is followed by {number}, and nothing was told"));
                }
                (last, told) = (number, false);
                heard.fetch_add(1, Ordering::SeqCst);
            }
        }
        Ok(())
    })
}

/// Nothing to block on: it is time that has to pass.
fn pause(length: Duration) {
    let _ = crossbeam_channel::after(length).recv();
}
