//! The upstream of the attack: honest clients' links go to the feed, others get an echo, or what their query asks for.
//!
//! Owns: one accepting thread, one small thread a link.
//! At the limit: whoever behaves badly lets go after `HOLD_MAX`, whatever the bridge does.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::chaos::feed::Arrivals;
use crate::support::{Auto, CHAT, FakeUpstream, Link, quote};

/// Enough for a handshake and a frame.
const STACK: usize = 128 * 1024;

/// How long one that behaves badly holds on to its link.
const HOLD_MAX: Duration = Duration::from_secs(15);

/// Honest links that wait to be taken by the feed.
const WAITING_MAX: usize = 64;

type Misbehaviour = fn(&mut Link);

/// `?bad=N` asks for one of these.
pub const MISBEHAVIOURS: [Misbehaviour; 14] = [
    never_answers_the_handshake,
    answers_the_handshake_without_end,
    answers_200,
    answers_101_with_a_wrong_key,
    never_welcomes,
    says_what_nobody_understands,
    announces_20_mb,
    sends_fragments_without_end,
    breaks_the_protocol,
    leaves_right_after_the_welcome,
    floods_and_never_reads,
    never_answers_the_close,
    refuses_after_the_welcome,
    pings_without_end,
];

pub struct Crossing {
    pub url: String,
    arrivals: Receiver<Link>,
}

/// A link that did not hold for 5 s makes the next pause longer: 10 s and a handshake at most.
const BACK_OFF_MAX: Duration = Duration::from_secs(12);

impl Crossing {
    pub fn start() -> Crossing {
        let upstream = FakeUpstream::start();
        let url = upstream.url();
        let (honest, arrivals) = bounded(WAITING_MAX);
        let auto = Arc::new(Auto::start());
        let accept = move || accept(&upstream.into_listener(), &honest, &auto);
        Builder::new().name("crossing".into()).spawn(accept).unwrap();
        Crossing { url, arrivals }
    }

    /// The honest clients' links.
    pub fn arrivals(&self) -> Arrivals {
        let arrivals = self.arrivals.clone();
        Box::new(move || {
            let mut link = arrivals.recv_timeout(BACK_OFF_MAX).expect("an honest client's link");
            link.welcome();
            link
        })
    }
}

/// For as long as the process lives: it is the test's.
fn accept(listener: &TcpListener, honest: &Sender<Link>, auto: &Arc<Auto>) {
    while let Ok((stream, _)) = listener.accept() {
        let (honest, auto) = (honest.clone(), Arc::clone(auto));
        let serve = move || {
            // Under attack a session may be over before its handshake was read.
            if let Ok(link) = Link::try_arrive(stream) {
                serve(link, &honest, &auto);
            }
        };
        Builder::new().name("crossing-link".into()).stack_size(STACK).spawn(serve).unwrap();
    }
}

fn serve(mut link: Link, honest: &Sender<Link>, auto: &Auto) {
    let query = link.handshake.target().split_once('?').map_or("", |(_, query)| query).to_owned();
    match query.split_once('=') {
        Some(("client", _)) => honest.send(link).unwrap(),
        Some(("bad", number)) => {
            MISBEHAVIOURS[number.parse::<usize>().unwrap() % MISBEHAVIOURS.len()](&mut link);
        }
        _ => auto.adopt(link),
    }
}

/// Until the bridge lets go.
fn hold(link: &Link) {
    let mut stream = link.stream();
    stream.set_read_timeout(Some(HOLD_MAX)).unwrap();
    let mut waste = [0; 4096];
    while matches!(stream.read(&mut waste), Ok(1..)) {}
}

/// Again and again, `most` times, until the bridge takes no more.
fn pour(link: &Link, bytes: &[u8], most: usize) {
    let mut stream = link.stream();
    let _ = (0..most).take_while(|_| stream.write_all(bytes).is_ok()).count();
}

/// The link may be over at any time: that is no trouble of this side's.
fn welcomed(link: &mut Link) {
    link.upgrade();
    pour(link, &text(r#"{"type":"welcome"}"#), 1);
}

/// A text frame.
fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    [&[0x81, 126], &length[..], text.as_bytes()].concat()
}

fn never_answers_the_handshake(link: &mut Link) {
    hold(link);
}

fn answers_the_handshake_without_end(link: &mut Link) {
    pour(link, b"HTTP/1.1 101 X\r\n", 1);
    pour(link, &[b'x'; 4096], 1000);
}

fn answers_200(link: &mut Link) {
    pour(link, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 1);
}

fn answers_101_with_a_wrong_key(link: &mut Link) {
    let head = "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    pour(link, format!("{head}Sec-WebSocket-Accept: x\r\n\r\n").as_bytes(), 1);
}

fn never_welcomes(link: &mut Link) {
    link.upgrade();
    hold(link);
}

fn says_what_nobody_understands(link: &mut Link) {
    welcomed(link);
    pour(link, &[0x82, 3, 0, 1, 2], 20);
    for nonsense in ["{", "[]", r#"{"type":7}"#, r#"{"type":"new"}"#, r#"{"identifier":{}}"#] {
        pour(link, &text(nonsense), 20);
    }
    let stranger = format!(r#"{{"identifier":{},"message":1}}"#, quote(CHAT));
    pour(link, &text(&stranger), 200);
    hold(link);
}

fn announces_20_mb(link: &mut Link) {
    welcomed(link);
    pour(link, &[0x81, 127, 0, 0, 0, 0, 0x01, 0x31, 0x2d, 0], 1);
    hold(link);
}

fn sends_fragments_without_end(link: &mut Link) {
    welcomed(link);
    let piece = [&[0x00, 126, 0x40, 0][..], &[b' '; 0x4000]].concat();
    pour(link, &[0x01, 1, b'"'], 1);
    pour(link, &piece, 1200);
}

fn breaks_the_protocol(link: &mut Link) {
    welcomed(link);
    pour(link, &[0xc1, 0x01, b'x'], 1);
    hold(link);
}

fn leaves_right_after_the_welcome(link: &mut Link) {
    welcomed(link);
}

fn floods_and_never_reads(link: &mut Link) {
    welcomed(link);
    pour(link, &text(&format!(r#"{{"type":"new","x":"{}"}}"#, "x".repeat(60_000))), 40);
    // What the bridge has to say stays in the socket until it lets go of that.
    let _ = crossbeam_channel::after(Duration::from_secs(2)).recv();
}

fn never_answers_the_close(link: &mut Link) {
    welcomed(link);
    hold(link);
}

fn refuses_after_the_welcome(link: &mut Link) {
    welcomed(link);
    pour(link, &text(r#"{"type":"disconnect","reason":"unauthorized","reconnect":false}"#), 1);
    hold(link);
}

fn pings_without_end(link: &mut Link) {
    welcomed(link);
    pour(link, &[&[0x89, 125][..], &[7; 125]].concat(), 5_000);
}
