//! All attacks at once, beside honest users who must not notice; `scripts/attack MINUTES`.
//!
//! Fifty honest clients with numbered messages, half of them on streams, the others on polls or on both, some of them cut
//! off now and then; one more who talks and measures the echo. First they are alone, then attacked, then alone again.
//! Fails if one of them loses a message or sees it twice, if the bridge ends, or if its memory, its descriptors or its
//! threads do not come back.

mod attacker;
mod crowds;
mod drain;
mod echo;
mod requests;
mod sessions;
mod upstream;

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use attacker::{Attack, Attacker};
use echo::{Echoes, PHASES};
use figures::Count;
use upstream::Crossing;

const MINUTE: Duration = Duration::from_secs(60);

/// How long the honest ones are alone at first.
const CALM: Duration = Duration::from_secs(20);

/// By then what attackers left behind must be gone: a body's 30 s, a linger, a session's `-S`.
const CALM_AGAIN: Duration = Duration::from_secs(60);

/// Handshakes that are under way, and connections of the honest ones that are on their way out.
const AFLOAT: (usize, usize) = (12, 12);

/// Kilobytes that an allocator may come to hold more, whatever the bridge does.
const SLACK: u64 = 16 * 1024;

/// The slowest of a hundred echoes under attack.
const ECHO_MAX_MS: f64 = 1000.0;

/// Limits that the attackers reach, each of them.
const SCENE: Scene = Scene {
    options: &[
        "--max-sessions",
        "300",
        "--max-connections",
        "900",
        "--max-memory",
        "50000000",
        "--max-queue",
        "256",
        "--heartbeat",
        "1s",
        "--resume-window",
        "10s",
        "-S",
        "10s",
        "--connect-timeout",
        "2s",
    ],
    clients: 50,
    network: |client| if client % 3 == 0 { Network::Steady } else { Network::Gentle },
    flow: Flow { pace: Duration::from_millis(15), floods: false },
};

const ATTACKS: [Attack; 27] = [
    ("silent connections", 5, crowds::silent),
    ("bursts of connections", 1, crowds::bursts),
    ("slow heads", 1, crowds::slow_heads),
    ("slow bodies", 1, crowds::slow_bodies),
    ("slow chunks", 1, crowds::slow_chunks),
    ("stuck readers", 2, crowds::stuck_readers),
    ("floods of ids", 30, crowds::floods_of_ids),
    ("hoards", 4, crowds::hoards),
    ("expectations", 5, crowds::expectations),
    ("huge lengths", 10, requests::huge_lengths),
    ("header floods", 5, requests::header_floods),
    ("heads without end", 5, requests::heads_without_end),
    ("cut requests", 40, requests::cut_requests),
    ("departures", 20, requests::departures),
    ("smugglers", 10, requests::smugglers),
    ("bad chunks", 10, requests::bad_chunks),
    ("tiny chunks", 1, requests::tiny_chunks),
    ("no HTTP", 20, requests::no_http),
    ("pipelines", 2, requests::pipelines),
    ("bad JSON", 10, requests::bad_json),
    ("strangers", 20, requests::strangers),
    ("bad upstreams", 10, sessions::bad_upstreams),
    ("takeovers", 10, sessions::takeovers),
    ("forged ids", 10, sessions::forged_ids),
    ("tunnels", 3, sessions::tunnels),
    ("channels", 1, sessions::channels),
    ("ends", 10, sessions::ends),
];

#[test]
#[ignore = "takes as long as one wants: scripts/attack MINUTES"]
fn attack() {
    let minutes = std::env::var("ATTACK_MINUTES").expect("ATTACK_MINUTES is set by scripts/attack");
    let length = MINUTE * minutes.parse().expect("ATTACK_MINUTES is a number");
    let seed = seed();
    let upstream = Crossing::start();
    let bridge = Bridge::at(&upstream.url, SCENE.options);
    let mut chaos = Chaos::with(seed, bridge, upstream.arrivals(), SCENE);
    let rest = chaos.bridge.footprint();
    let echoes = Arc::new(Echoes::default());
    let talker = talk(&chaos, &echoes);
    let army = Army::of(&ATTACKS, chaos.bridge.address, &chaos.figures);
    let drill = Drill { army, vitals: chaos.bridge.vitals(), echoes: echoes.clone() };
    let over = Arc::new(AtomicBool::new(false));
    let (ended, figures) = (Arc::clone(&over), Arc::clone(&chaos.figures));
    let director = move || {
        let seen = drill.run(seed, length, &figures);
        ended.store(true, Ordering::SeqCst);
        seen
    };
    let director = Builder::new().name("director".into()).spawn(director).unwrap();

    chaos.run(|| over.load(Ordering::SeqCst) || director.is_finished());

    let seen = director.join().expect("the attack went through");
    echoes.stop.store(true, Ordering::SeqCst);
    talker.join().expect("every echo came");
    chaos.bridge.delete("/honest-echo-of-the-attack").send();
    wait_until(CALM_AGAIN, || chaos.bridge.descriptors() <= rest.1);
    let now = chaos.bridge.footprint();
    say(&format!(
        "attack: {minutes} min\n{seen}  threads and descriptors at rest: {rest:?} before, {now:?} after\n{}",
        chaos.figures
    ));
    chaos.expect_everything();
    seen.judge(&echoes);
    assert!(now.0 <= rest.0 + AFLOAT.0, "threads are left: {} of {}", now.0, rest.0);
    assert!(chaos.bridge.lives());
}

fn talk(chaos: &Chaos, echoes: &Arc<Echoes>) -> JoinHandle<()> {
    let (address, echoes) = (chaos.bridge.address, Arc::clone(echoes));
    Builder::new().name("talker".into()).spawn(move || echoes.run(address)).unwrap()
}

impl Chaos {
    /// Nobody lost anything, and nothing was dropped: there was room for all of it.
    fn expect_everything(&self) {
        self.figures.expect_nothing_wrong();
        assert_eq!(self.figures.dropped.get(), 0, "messages were dropped");
        assert!(self.came.iter().all(|(came, sent)| came == sent), "{:?}", self.came);
        assert!(self.figures.resumes.get() > 0 && self.figures.restarts.get() > 0);
    }
}

/// Attackers, one of each kind.
struct Army {
    kinds: Vec<(Attack, Arc<Count>)>,
    bridge: std::net::SocketAddr,
    figures: Arc<Figures>,
}

impl Army {
    fn of(kinds: &[Attack], bridge: std::net::SocketAddr, figures: &Arc<Figures>) -> Army {
        let kinds = kinds.iter().map(|attack| (*attack, Arc::default())).collect();
        Army { kinds, bridge, figures: Arc::clone(figures) }
    }

    fn begin(&self, seed: u64, stopped: &Arc<AtomicBool>) -> Vec<JoinHandle<()>> {
        let begin = |(number, (attack, count)): (usize, &(Attack, Arc<Count>))| {
            let attacker = Attacker {
                bridge: self.bridge,
                name: attack.0,
                rng: Rng::new(seed, 1000 + number as u64),
                held: Vec::new(),
                round: 0,
                count: Arc::clone(count),
                figures: Arc::clone(&self.figures),
            };
            attacker.begin(*attack, Arc::clone(stopped))
        };
        self.kinds.iter().enumerate().map(begin).collect()
    }
}

/// The three phases.
struct Drill {
    army: Army,
    vitals: Vitals,
    echoes: Arc<Echoes>,
}

/// What the bridge held: KiB that are resident, threads, descriptors.
type Held = (u64, usize, usize);

/// What was seen of the bridge.
struct Seen {
    phases: [Held; PHASES.len()],
    peak_kib: u64,
    text: String,
}

impl Drill {
    fn run(&self, seed: u64, length: Duration, figures: &Figures) -> Seen {
        pause(CALM);
        let before = self.held();
        let stopped = Arc::new(AtomicBool::new(false));
        let army = self.army.begin(seed, &stopped);
        let start = Instant::now();
        self.echoes.phase.store(1, Ordering::SeqCst);
        let (mut during, mut minute) = (before, 0);
        while start.elapsed() < length {
            pause(Duration::from_millis(500));
            let now = self.held();
            during = (during.0.max(now.0), during.1.max(now.1), during.2.max(now.2));
            if start.elapsed() > MINUTE * (minute + 1) {
                minute += 1;
                let strikes: u64 = self.army.kinds.iter().map(|(_, count)| count.get()).sum();
                say(&format!("attack: after {minute} min, {strikes} attacks, {now:?}\n{figures}"));
                say(&figures.complaints());
            }
        }
        stopped.store(true, Ordering::SeqCst);
        army.into_iter().for_each(|attacker| attacker.join().expect("an attacker"));
        self.echoes.phase.store(2, Ordering::SeqCst);
        let ended = Instant::now();
        let is_back = || fits(self.held(), before);
        while ended.elapsed() < CALM_AGAIN && !is_back() {
            pause(Duration::from_millis(100));
        }
        let calm = ended.elapsed();
        // The echoes of the last phase want some time too.
        pause(CALM.saturating_sub(calm));
        let mut seen = Seen {
            phases: [before, during, self.held()],
            peak_kib: self.vitals.peak_kib(),
            text: String::new(),
        };
        seen.tell(self, calm);
        seen
    }

    fn held(&self) -> Held {
        let (threads, descriptors) = self.vitals.footprint();
        (self.vitals.resident_kib(), threads, descriptors)
    }
}

/// Whether it is as before, but for what comes and goes.
fn fits(now: Held, before: Held) -> bool {
    now.0 <= before.0 + before.0 / 4 + SLACK
        && now.1 <= before.1 + AFLOAT.0
        && now.2 <= before.2 + AFLOAT.1
}

/// Nothing to block on: it is time that has to pass.
fn pause(length: Duration) {
    let _ = crossbeam_channel::after(length).recv();
}

impl Seen {
    fn tell(&mut self, drill: &Drill, calm: Duration) {
        for ((name, ..), count) in &drill.army.kinds {
            let _ = writeln!(self.text, "  {name:<26} {:>9}", count.get());
        }
        for (phase, name) in PHASES.iter().enumerate() {
            let (kib, threads, descriptors) = self.phases[phase];
            let (echoes, [p50, p99, longest]) = drill.echoes.figures(phase);
            let most = if phase == 1 { " at most" } else { "" };
            let _ = writeln!(
                self.text,
                "  {name}:{most} {kib} KiB resident, {threads} threads, {descriptors} descriptors; \
                 {echoes} echoes, ms: p50 {p50:.1}, p99 {p99:.1}, longest {longest:.1}"
            );
        }
        let (peak, busy) = (self.peak_kib, drill.echoes.busy());
        let _ = writeln!(
            self.text,
            "  peak {peak} KiB resident; back to what it was after {:.1} s; {busy} echoes told 503",
            calm.as_secs_f64()
        );
    }

    fn judge(&self, echoes: &Echoes) {
        let [before, _, after] = self.phases;
        assert!(fits(after, before), "it does not come back: {before:?}, then {after:?}");
        let (_, [_, p99, _]) = echoes.figures(1);
        assert!(p99 < ECHO_MAX_MS, "an honest echo took {p99} ms under attack");
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
