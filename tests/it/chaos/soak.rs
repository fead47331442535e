//! The soak: the chaos for as long as one wants, beside sessions that end in every way there is; `scripts/soak MINUTES`.
//!
//! Then nothing may be lost or twice, and the bridge is as big as it was: resident memory under the same load,
//! descriptors and threads at rest.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::*;
use crate::operation::leaks;

const MINUTE: Duration = Duration::from_secs(60);

/// By then the mailboxes have been full and the allocator has what it needs.
const WARM: Duration = Duration::from_secs(20);

/// How long what is still under way may take to end when the clients have left.
const SETTLED: Duration = Duration::from_secs(20);

/// Kilobytes that an allocator may come to hold more, whatever the bridge does.
const SLACK: u64 = 8 * 1024;

#[test]
#[ignore = "takes as long as one wants: scripts/soak MINUTES"]
fn soak() {
    let minutes = std::env::var("SOAK_MINUTES").expect("SOAK_MINUTES is set by scripts/soak");
    let length = MINUTE * minutes.parse().expect("SOAK_MINUTES is a number");
    let mut chaos = Chaos::start(seed(), Bridge::at, Scene::ROUGH);
    let rest = chaos.bridge.footprint();
    let figures = Arc::clone(&chaos.figures);
    let vitals = chaos.bridge.vitals();
    let (start, mut warm, mut minute) = (Instant::now(), None, 0);
    let ends = Ends::begin();

    chaos.run(|| {
        if warm.is_none() && start.elapsed() > WARM {
            warm = Some(vitals.resident_kib());
        }
        if start.elapsed() > MINUTE * (minute + 1) {
            minute += 1;
            say(&format!(
                "soak: after {minute} min, {} KB resident\n{figures}",
                vitals.resident_kib()
            ));
        }
        start.elapsed() > length
    });

    let (warm, end) = (warm.expect("it is over too soon"), vitals.resident_kib());
    let sessions = ends.stop();
    let is_back = |now: (usize, usize)| now.0 <= rest.0 && now.1 <= rest.1;
    let deadline = Instant::now() + SETTLED;
    wait_until(SETTLED * 2, || is_back(vitals.footprint()) || Instant::now() > deadline);
    let now = vitals.footprint();
    say(&format!(
        "soak: {minutes} min\n  resident, KB: {warm} after {WARM:?}, {end} at the end\n  \
         threads and descriptors at rest: {rest:?} before, {now:?} after\n  \
         sessions ended in every way, with nothing left: {sessions}\n"
    ));
    chaos.judge();
    assert!(is_back(now), "(threads, descriptors) were {rest:?}, are {now:?}");
    assert!(end <= warm + warm / 4 + SLACK, "it grows: {warm} KB, then {end} KB");
}

/// Sessions that end in every way, on a bridge of their own, until they are stopped.
struct Ends {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Ends {
    fn begin() -> Ends {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let work = move || leaks::repeat(|| stopped.load(Ordering::SeqCst));
        let thread = Builder::new().name("ends".into()).spawn(work).unwrap();
        Ends { stop, thread }
    }

    /// How many there were.
    fn stop(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("sessions that end leave nothing behind")
    }
}
