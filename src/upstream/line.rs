//! The order to close that a session gives its upstream, whatever its thread is doing just then.
//!
//! Owns: the order, and what it ends: the socket of the moment, or a wait.
//! Never: blocks.

use super::socket::UpstreamSocket;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock, Weak};

/// What the handle, the session's thread and that of its handshake share.
#[derive(Default)]
pub struct Line {
    /// The code and the reason of the close frame. It is there before `state` is locked to carry it out.
    order: OnceLock<(u16, &'static str)>,
    /// Held for a moment only, and for no I/O but a `shutdown`, which does not block.
    state: Mutex<LineState>,
}

#[derive(Default)]
struct LineState {
    /// The socket of the moment. Weak: it closes when its thread lets go of it.
    socket: Weak<UpstreamSocket>,
    /// Until there is a link. Not kept while it is up: 0.8 KB a session.
    wake: Option<Sender<()>>,
}

impl Line {
    pub fn is_closing(&self) -> bool {
        self.order.get().is_some()
    }

    pub fn order(&self) -> Option<(u16, &'static str)> {
        self.order.get().copied()
    }

    /// Ends the waits, reads and connects of now and of later. The first order counts.
    pub fn close(&self, code: u16, reason: &'static str) {
        let _ = self.order.set((code, reason));
        let state = self.state.lock();
        let socket = state.socket.upgrade();
        if let Some(wake) = &state.wake {
            // Full: it was told before.
            let _ = wake.try_send(());
            socket.iter().for_each(|socket| socket.cut());
        } else {
            socket.iter().for_each(|socket| socket.stop_reading());
        }
    }

    /// Has a message as soon as the session is to close, for as long as there is no link.
    pub fn closing(&self) -> Receiver<()> {
        let (wake, woken) = bounded(1);
        let mut state = self.state.lock();
        if self.is_closing() {
            let _ = wake.try_send(());
        }
        state.wake = Some(wake);
        woken
    }

    /// From now on `close` cuts `socket`. False when it is too late for that.
    pub fn watch(&self, socket: &Arc<UpstreamSocket>) -> bool {
        self.state.lock().socket = Arc::downgrade(socket);
        !self.is_closing()
    }

    /// From now on `close` leaves the sending side open, for the close frame. False when it is too late for that.
    pub fn up(&self) -> bool {
        self.state.lock().wake = None;
        !self.is_closing()
    }
}
