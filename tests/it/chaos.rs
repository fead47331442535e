//! Chaos: clients that are cut off at random bytes, and still every message comes once, in order, or is told as gone.
//!
//! The upstream sends numbered messages; clients read them over streams, over polls, and over both in turn; a proxy
//! cuts their connections in the middle of events, heads and JSON, with a FIN or a reset, or so that the bridge
//! does not see it. `CHAOS_SEED` repeats what a seed chose. `SOAK_MINUTES` is how long the soak goes on.

mod attack;
mod client;
mod feed;
mod figures;
mod memory;
mod proxy;
mod rng;
mod soak;
mod wire;

use std::io::Write;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::*;
use client::{Client, Kind, Network, Place};
use feed::{Arrivals, Feed, Flow, Sent};
use figures::Figures;
use proxy::Proxy;
use rng::Rng;

/// A queue that floods overflow, by count alone; signs of life within the clients' patience; forgetting by age at work.
const OPTIONS: [&str; 8] = [
    "--max-queue",
    "256",
    "--max-queue-bytes",
    "100000000",
    "--heartbeat",
    "1s",
    "--resume-window",
    "3s",
];

/// Messages that the bridge keeps for each: its `--max-queue`.
const KEPT: usize = 256;

/// Of a hundred messages of a client, so many come at least; the others fall to the floods.
const SHARE_MIN: u64 = 25;

const WORST: &str = "of 100, who got least got";

/// How long a client may take to get what is left when the upstream is through.
const LATE: Duration = Duration::from_secs(15);

/// The chaos goes on until it has been through enough, so long at least, and on a slow machine so long at most.
const AT_LEAST: Duration = Duration::from_secs(10);
const AT_MOST: Duration = Duration::from_secs(45);

/// Who the clients are, what their network does to them, and what the upstream sends.
struct Scene {
    options: &'static [&'static str],
    /// Half of them read streams, a quarter polls, a quarter both in turn.
    clients: usize,
    network: fn(usize) -> Network,
    flow: Flow,
}

impl Scene {
    const ROUGH: Scene = Scene {
        options: &OPTIONS,
        clients: 24,
        network: |_| Network::Rough,
        flow: Flow { pace: Duration::from_millis(5), floods: true },
    };

    fn kind(&self, client: usize) -> Kind {
        match client * 4 / self.clients {
            0 | 1 => Kind::Streams,
            2 => Kind::Polls,
            _ => Kind::Both,
        }
    }
}

#[test]
fn through_a_network_that_cuts_at_random_bytes_every_message_comes_once_and_in_order() {
    let mut chaos = Chaos::start(seed(), Bridge::alone, Scene::ROUGH);
    let figures = Arc::clone(&chaos.figures);
    let start = Instant::now();

    chaos.run(move || start.elapsed() > if figures.are_enough() { AT_LEAST } else { AT_MOST });

    chaos.judge();
}

/// The seed of this run, from the environment, or from the clock.
fn seed() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let given = std::env::var("CHAOS_SEED").ok();
    given.map_or(since.as_micros() as u64, |seed| seed.parse().expect("CHAOS_SEED is a number"))
}

/// One bridge, its upstream, and all the clients.
struct Chaos {
    bridge: Bridge,
    feed: Option<Feed>,
    clients: Vec<Client>,
    /// What opened the sessions: they stay until the clients begin, however long the opening of all takes.
    openers: Vec<Stream>,
    figures: Arc<Figures>,
    seed: u64,
    /// For each client, how many messages came, and how many there were.
    came: Vec<(u64, u64)>,
}

impl Chaos {
    fn start(seed: u64, bridge: fn(&str, &[&str]) -> Bridge, scene: Scene) -> Chaos {
        let upstream = FakeUpstream::start();
        let bridge = bridge(&upstream.url(), scene.options);
        Chaos::with(seed, bridge, Box::new(move || upstream.welcome()), scene)
    }

    /// Opens a session for each client; `arrivals` are the welcomed links of these and of no other sessions.
    fn with(seed: u64, bridge: Bridge, mut arrivals: Arrivals, scene: Scene) -> Chaos {
        say(&format!("chaos: CHAOS_SEED={seed}\n"));
        let figures = Arc::new(Figures::default());
        let sent = Arc::new(Sent::new(scene.clients));
        let (mut clients, mut links, mut openers) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..scene.clients {
            let (kind, path) = (scene.kind(number), format!("/chaos-{number}"));
            let (place, session_id, link, opener) =
                open(&bridge, &mut arrivals, &path, kind, number);
            links.push(link);
            openers.extend(opener);
            let proxy = Proxy::new(bridge.address, Arc::clone(&figures));
            let rng = Rng::new(seed, number as u64 + 1);
            let network = (scene.network)(number);
            let (sent, figures) = (Arc::clone(&sent), Arc::clone(&figures));
            let client = Client {
                number,
                kind,
                path,
                session_id,
                network,
                proxy,
                rng,
                sent,
                figures,
                place,
            };
            clients.push(client);
        }
        let rng = Rng::new(seed, 0);
        let figures_of_feed = Arc::clone(&figures);
        let feed = Feed { arrivals, links, sent, rng, figures: figures_of_feed, flow: scene.flow };
        Chaos { bridge, feed: Some(feed), clients, openers, figures, seed, came: Vec::new() }
    }

    /// Until `enough` says so, and everybody has what is left.
    fn run(&mut self, enough: impl FnMut() -> bool) {
        self.openers.clear();
        let clients: Vec<JoinHandle<(u64, u64)>> = self.clients.drain(..).map(begin).collect();
        let feed = self.feed.take().map(|feed| feed.run(enough));
        self.came = clients.into_iter().map(|client| client.join().expect("a client")).collect();
        self.feed = feed;
    }

    fn judge(&self) {
        let share = |(came, sent): &(u64, u64)| came * 100 / sent;
        let worst = self.came.iter().map(share).min().unwrap_or(0);
        let figures = &self.figures;
        say(&format!("chaos: CHAOS_SEED={}\n{figures}  {WORST:<26} {worst:>9}\n", self.seed));
        self.figures.judge();
        assert_eq!(figures.busy.get(), 0, "a bridge with room for all was busy");
        // What is dropped is told, but who gets nothing else is not served.
        assert!(worst >= SHARE_MIN, "somebody starves: {:?}", self.came);
    }
}

fn begin(client: Client) -> JoinHandle<(u64, u64)> {
    let name = format!("client-{}", client.number);
    Builder::new().name(name).spawn(move || client.run()).unwrap()
}

/// Opens a client's session, as its kind would, with one confirmed channel.
fn open(
    bridge: &Bridge,
    arrivals: &mut Arrivals,
    path: &str,
    kind: Kind,
    number: usize,
) -> (Place, String, Link, Option<Stream>) {
    let mut place = Place::default();
    if kind == Kind::Polls {
        let body = format!("[{}]", subscribe(CHAT));
        let asked = bridge.post(&format!("{path}?poll-queue=1&client={number}"), &body).begin();
        let mut link = arrivals();
        let session_id = asked.response().done()[0].text("session_id");
        link.subscribed(CHAT);
        return (place, session_id, link, None);
    }
    let asked = bridge.get(&format!("{path}?client={number}")).sse().begin();
    let mut link = arrivals();
    let mut stream = asked.stream();
    stream.expect_joined();
    bridge.subscribe(path, CHAT);
    link.subscribed(CHAT);
    stream.expect("connected");
    (place.id, place.msg_id) = (stream.last_id.clone(), 1);
    (place, stream.session_id(), link, Some(stream))
}

/// To the real stderr: a test that passes says it too.
fn say(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
