//! A small ActionCable server on 127.0.0.1, for a first try and for debugging without Rails.
//!
//! Confirms every channel but `RejectedChannel`, sends each `send` back to every subscriber of the same identifier, tells the
//! time each second on `ClockChannel`, and as Turbo's markup on `Turbo::StreamsChannel`, and pings as Rails does.
//! Owns: its listener, two threads a connection (one reads, one writes what is queued for it, and pings), and a clock.
//! `demo/room` knows the subscriptions.
//! Never: waits for a client. One whose queue is full is cut off.

mod room;
mod wire;

use crate::report::{clock, debug};
use crate::upstream::Url;
use crossbeam_channel::{after, bounded, tick};
use room::{DemoRoom, Member, Peer};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Weak};
use std::thread::Builder;
use std::time::Duration;
use tungstenite::Message;
use wire::DemoSocket;

/// Messages queued for one client. It reads slower than others write: it is cut off.
const QUEUE_MAX: usize = 1024;

/// How long the accept loop rests after an error; what it is short of, descriptors, comes back.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// A client's JSON is taken apart on this stack, as deep as serde_json allows.
const READER_STACK: usize = 512 * 1024;
const WRITER_STACK: usize = 128 * 1024;

/// Starts the server on a free port; it runs as long as the process does.
pub fn start() -> io::Result<Url> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let url = format!("ws://{}/cable", listener.local_addr()?);
    let room = Arc::new(DemoRoom::default());
    let weak = Arc::downgrade(&room);
    let thread = |name: &str| Builder::new().name(name.to_owned()).stack_size(WRITER_STACK);
    thread("demo-clock").spawn(move || run_clock(&weak))?;
    thread("demo-accept").spawn(move || accept(&listener, &room))?;
    Ok(Url::parse(&url).expect("an address and a path make a URL"))
}

fn run_clock(room: &Weak<DemoRoom>) {
    for _ in tick(Duration::from_secs(1)) {
        let Some(room) = room.upgrade() else { return };
        let now = clock();
        room.tell("ClockChannel", &wire::time(now));
        room.tell("Turbo::StreamsChannel", &wire::turbo_time(now));
    }
}

fn accept(listener: &TcpListener, room: &Arc<DemoRoom>) {
    for (number, stream) in listener.incoming().enumerate() {
        let started = stream.and_then(DemoSocket::new).and_then(|socket| {
            let room = Arc::clone(room);
            let reader = Builder::new().name(format!("demo-read-{number}"));
            reader.stack_size(READER_STACK).spawn(move || {
                // After a close frame the writer still has the answer to send, and cuts by itself.
                if let Err(error) = serve(number, &socket, &room) {
                    debug!("event=demo-end connection={number} error=\"{error}\"");
                    socket.cut();
                }
            })
        });
        if let Err(error) = started {
            debug!("event=demo-accept error=\"{error}\"");
            let _ = after(ACCEPT_REST).recv();
        }
    }
}

fn serve(number: usize, socket: &DemoSocket, room: &DemoRoom) -> io::Result<()> {
    let mut incoming = wire::handshake(socket)?;
    let (queue, outgoing) = bounded(QUEUE_MAX);
    let writing = socket.clone();
    let writer = Builder::new().name(format!("demo-write-{number}")).stack_size(WRITER_STACK);
    writer.spawn(move || wire::write(writing, &outgoing))?;
    let mut member = Member::enter(room, Peer { number, queue, socket: socket.clone() });
    loop {
        match incoming.read().map_err(io::Error::other)? {
            Message::Text(text) => member.obey(&text),
            Message::Ping(data) => member.tell(Message::Pong(data)),
            Message::Close(frame) => {
                member.tell(Message::Close(frame));
                return Ok(());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
