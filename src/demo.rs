//! A small ActionCable server on 127.0.0.1, for a first try and for debugging without Rails.
//!
//! Confirms every channel but `RejectedChannel`, sends each `send` back to every subscriber of the same identifier, tells the
//! time each second on `ClockChannel`, and as Turbo's markup on `Turbo::StreamsChannel`, and pings as Rails does.
//! Owns: its listener, a thread a connection that reads and does what it is told, and a clock. `demo/room` knows the subscriptions.

mod room;
mod wire;

use crate::report::{clock, debug};
use crate::upstream::Url;
use crossbeam_channel::{after, tick};
use room::DemoRoom;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;
use tungstenite::Message;
use wire::DemoSocket;

/// Between two pings, in seconds, as Rails has it.
const PING_EACH: u64 = 3;

/// How long the accept loop rests after an error; what it is short of, descriptors, comes back.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// A client's JSON is taken apart on this stack, as deep as serde_json allows.
const STACK: usize = 512 * 1024;

/// Starts the server on a free port; it runs as long as the process does.
pub fn start() -> io::Result<Url> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let url = format!("ws://{}/cable", listener.local_addr()?);
    let room = Arc::new(DemoRoom::default());
    let clocks = Arc::clone(&room);
    Builder::new().name("demo-clock".to_owned()).spawn(move || run_clock(&clocks))?;
    Builder::new().name("demo-accept".to_owned()).spawn(move || accept(&listener, &room))?;
    Ok(Url::parse(&url).expect("an address and a path make a URL"))
}

fn run_clock(room: &DemoRoom) {
    for (second, _) in (1..).zip(tick(Duration::from_secs(1))) {
        let now = clock();
        room.tell("ClockChannel", &wire::time(now));
        room.tell("Turbo::StreamsChannel", &wire::turbo_time(now));
        if second % PING_EACH == 0 {
            let ping = Message::text(wire::ping(now));
            room.peers().iter().for_each(|peer| peer.lock().send(ping.clone()));
        }
    }
}

fn accept(listener: &TcpListener, room: &Arc<DemoRoom>) {
    for (number, stream) in listener.incoming().enumerate() {
        let started = stream.and_then(DemoSocket::new).and_then(|socket| {
            let room = Arc::clone(room);
            let reader = Builder::new().name(format!("demo-read-{number}")).stack_size(STACK);
            reader.spawn(move || {
                if let Err(error) = serve(&socket, &room) {
                    debug!("event=demo-end connection={number} error=\"{error}\"");
                }
                socket.cut();
            })
        });
        if let Err(error) = started {
            debug!("event=demo-accept error=\"{error}\"");
            let _ = after(ACCEPT_REST).recv();
        }
    }
}

fn serve(socket: &DemoSocket, room: &DemoRoom) -> io::Result<()> {
    let mut incoming = wire::handshake(socket)?;
    let peer = room.enter(socket);
    let ended = loop {
        match incoming.read() {
            Ok(Message::Text(text)) => room.obey(&peer, &text),
            Ok(Message::Ping(data)) => peer.lock().send(Message::Pong(data)),
            Ok(Message::Close(frame)) => {
                peer.lock().send(Message::Close(frame));
                break Ok(());
            }
            Ok(_) => {}
            Err(error) => break Err(io::Error::other(error)),
        }
    };
    room.leave(&peer);
    ended
}

#[cfg(test)]
mod tests;
