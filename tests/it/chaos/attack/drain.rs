//! SIGTERM while attackers are at it, each kind alone and all of them at once: exit 0 within the contract's five seconds.

use super::*;
use rustix::process::Signal;
use std::thread;

const DRAIN_MAX: Duration = Duration::from_secs(5);

/// How long the attackers are at it before the signal.
const BEFORE: Duration = Duration::from_secs(3);

/// Bridges that are attacked and drained at a time.
const AT_ONCE: usize = 14;

#[test]
#[ignore = "takes half a minute: scripts/attack MINUTES"]
fn a_drain_under_each_kind_takes_five_seconds_at_most() {
    let (seed, upstream) = (seed(), Crossing::start());
    say(&format!("drains: CHAOS_SEED={seed}\n"));
    let mut drills: Vec<(&str, &[Attack])> =
        ATTACKS.iter().map(|attack| (attack.0, std::slice::from_ref(attack))).collect();
    drills.push(("all at once", &ATTACKS));

    let mut wrong = Vec::new();
    for some in drills.chunks(AT_ONCE) {
        wrong.extend(thread::scope(|scope| {
            let drains: Vec<_> = some
                .iter()
                .map(|(name, kinds)| scope.spawn(|| drain(name, kinds, &upstream.url, seed)))
                .collect();
            let ends = drains.into_iter().filter_map(|drain| drain.join().expect("a drain"));
            ends.collect::<Vec<String>>()
        }));
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Attacks a bridge of its own and ends it meanwhile; what is wrong with that end.
fn drain(name: &str, kinds: &[Attack], url: &str, seed: u64) -> Option<String> {
    let mut bridge = Bridge::at(url, SCENE.options);
    let stopped = Arc::new(AtomicBool::new(false));
    let figures = Arc::new(Figures::default());
    let army = Army::of(kinds, bridge.address, &figures).begin(seed, &stopped);
    pause(BEFORE);

    bridge.signal(Signal::TERM);
    let start = Instant::now();
    let code = bridge.exit_code(2 * DRAIN_MAX);
    let took = start.elapsed();

    stopped.store(true, Ordering::SeqCst);
    army.into_iter().for_each(|attacker| attacker.join().expect("an attacker"));
    let end = format!("drain under {name}: exit {code:?} after {:.2} s", took.as_secs_f64());
    say(&format!("{end}\n"));
    (code != Some(0) || took >= DRAIN_MAX).then_some(end)
}
