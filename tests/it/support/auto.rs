//! An upstream for tests that do not care: it welcomes everybody and confirms everything.
//!
//! Owns: one accepting thread, one small thread a connection, a ping every two seconds.
//! A `message` command comes back as a message of its channel; `broadcast` reaches every subscriber.

use std::collections::HashMap;
use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;
use std::time::Duration;

use crossbeam_channel::tick;
use parking_lot::Mutex;

use super::upstream::{Command, FakeUpstream, Link};
use super::{PATIENCE, quote};

/// Enough for one handshake and one frame; a thousand of them must not weigh.
const STACK: usize = 128 * 1024;
const PING: &str = r#"{"type":"ping","message":1}"#;

/// One connection. The lock guards whole frames; nothing else is done while it is held.
type Writer = Arc<Mutex<TcpStream>>;

#[derive(Default)]
struct Shared {
    open: AtomicUsize,
    /// Connections that ever came.
    came: AtomicUsize,
    /// By a number of ours: the connection and what it is subscribed to.
    links: Mutex<HashMap<usize, (Writer, Vec<String>)>>,
}

pub struct Auto {
    url: String,
    listener: TcpListener,
    shared: Arc<Shared>,
}

impl Auto {
    pub fn start() -> Auto {
        let upstream = FakeUpstream::start();
        let url = upstream.url();
        let listener = upstream.into_listener();
        let shared = Arc::new(Shared::default());
        let (inlet, table) = (listener.try_clone().unwrap(), Arc::clone(&shared));
        spawn("auto-accept", move || accept(&inlet, &table));
        let weak = Arc::downgrade(&shared);
        spawn("auto-ping", move || {
            for _ in tick(Duration::from_secs(2)) {
                let Some(shared) = weak.upgrade() else { return };
                shared.tell(PING, |_| true);
            }
        });
        Auto { url, listener, shared }
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Connections that the bridge holds now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Serves a connection that came elsewhere to its end, on the caller's thread.
    pub fn adopt(&self, link: Link) {
        self.shared.serve(|| Ok(link));
    }

    /// Sends a message to every connection that subscribed the identifier.
    pub fn broadcast(&self, identifier: &str, json: &str) {
        let wanted = |channels: &[String]| channels.iter().any(|c| c == identifier);
        self.shared.tell(&message(identifier, json), wanted);
    }
}

impl Drop for Auto {
    fn drop(&mut self) {
        // On Linux a shutdown wakes the thread that is blocked in accept.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        for (writer, _) in self.shared.links.lock().values() {
            let _ = writer.lock().shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn tell(&self, text: &str, wanted: impl Fn(&[String]) -> bool) {
        let links = self.links.lock();
        let writers: Vec<Writer> =
            links.values().filter(|(_, c)| wanted(c)).map(|(w, _)| Arc::clone(w)).collect();
        drop(links);
        for writer in writers {
            write(&writer, text);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept() else { return };
        let shared = Arc::clone(shared);
        spawn("auto-link", move || shared.serve(|| Link::try_arrive(stream)));
    }
}

impl Shared {
    /// A bridge that leaves in the middle of a handshake is no error here.
    fn serve(&self, arrive: impl FnOnce() -> std::io::Result<Link>) {
        let _open = Open::new(&self.open);
        let number = self.came.fetch_add(1, Ordering::SeqCst);
        if let Ok(link) = arrive() {
            converse(link, number, self);
        }
        self.links.lock().remove(&number);
    }
}

/// One connection is counted; until it is dropped, and be it by a panic.
struct Open<'a>(&'a AtomicUsize);

impl Open<'_> {
    fn new(count: &AtomicUsize) -> Open<'_> {
        count.fetch_add(1, Ordering::SeqCst);
        Open(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn converse(mut link: Link, number: usize, shared: &Shared) {
    let writer = Arc::new(Mutex::new(link.stream().try_clone().unwrap()));
    link.welcome();
    link.stream().set_read_timeout(None).unwrap();
    shared.links.lock().insert(number, (Arc::clone(&writer), Vec::new()));
    while let Some(text) = link.next_text() {
        obey(&Command::parse(&text), &writer, number, shared);
    }
}

fn obey(command: &Command, writer: &Writer, number: usize, shared: &Shared) {
    let identifier = &command.identifier;
    match command.command.as_str() {
        "subscribe" => {
            if let Some((_, channels)) = shared.links.lock().get_mut(&number) {
                channels.push(identifier.clone());
            }
            let identifier = quote(identifier);
            let text = format!(r#"{{"identifier":{identifier},"type":"confirm_subscription"}}"#);
            write(writer, &text);
        }
        "unsubscribe" => {
            if let Some((_, channels)) = shared.links.lock().get_mut(&number) {
                channels.retain(|c| c != identifier);
            }
        }
        _ => write(writer, &message(identifier, command.data.as_deref().unwrap_or("null"))),
    }
}

fn message(identifier: &str, json: &str) -> String {
    format!(r#"{{"identifier":{},"message":{json}}}"#, quote(identifier))
}

/// Writes one whole, unmasked text frame. A connection that has gone is no error here.
fn write(writer: &Writer, text: &str) {
    let mut frame = vec![0x81];
    match text.len() {
        len @ 0..126 => frame.push(len as u8),
        len @ 126..=0xffff => {
            frame.push(126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(text.as_bytes());
    let mut stream = writer.lock();
    let _ = stream.set_write_timeout(Some(PATIENCE));
    let _ = stream.write_all(&frame);
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    Builder::new().name(name.to_owned()).stack_size(STACK).spawn(work).unwrap();
}
