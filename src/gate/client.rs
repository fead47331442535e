//! The client's real socket, in the hands of the work that waits.
//!
//! Owns: what was said to the client so far (nothing, a whole answer, the begin of a body).
//! Never: waits for the client longer than a stuck write, or lets a second answer follow the first.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::answer::{Answer, Manner, text};
use super::socket::Socket;
use super::table::Table;
use super::watch::{Watch, Watcher};

/// The client of one request, on its own thread.
pub struct Client {
    pub(super) socket: Arc<Socket>,
    watcher: Arc<Watcher>,
    table: Arc<Table>,
    manner: Manner,
    stuck: Duration,
    said: Said,
}

/// What the client was told so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Nothing,
    /// A whole answer; the connection goes on.
    Whole,
    /// A body that ends with the connection, or an answer that says so.
    Last,
}

impl Client {
    pub(super) fn new(
        socket: Arc<Socket>,
        watcher: Arc<Watcher>,
        table: Arc<Table>,
        manner: Manner,
        stuck: Duration,
    ) -> Client {
        Client { socket, watcher, table, manner, stuck, said: Said::Nothing }
    }

    pub(super) fn said(&self) -> Said {
        self.said
    }

    /// Sends a whole answer. The connection is kept if the client wants it and the gate is not closing.
    pub fn answer(&mut self, answer: Answer) -> io::Result<()> {
        let manner = self.manner_now();
        self.say_whole(manner, &manner.whole(&answer))
    }

    /// Sends an answer after which the connection ends.
    pub(super) fn answer_last(&mut self, answer: &Answer) -> io::Result<()> {
        let manner = self.manner.closing();
        self.say_whole(manner, &manner.whole(answer))
    }

    /// Sends the bytes of a whole answer that was encoded in this manner.
    pub(super) fn say_whole(&mut self, manner: Manner, bytes: &[u8]) -> io::Result<()> {
        self.say(if manner.keep { Said::Whole } else { Said::Last })?;
        self.socket.write_all(bytes, self.stuck)
    }

    /// Sends the head of an answer whose body ends with the connection; the body goes through `write_all`.
    pub fn begin(&mut self, status: u16, headers: &[(&'static str, String)]) -> io::Result<()> {
        self.say(Said::Last)?;
        let bytes = self.manner.closing().head(status, text(headers), None);
        self.socket.write_all(&bytes, self.stuck)
    }

    /// Sends bytes of the body. `TimedOut` when the client takes none of them for 30 s; nobody's time is lost
    /// by that but this thread's. To a HEAD nothing is sent.
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.manner.head_only {
            return Ok(());
        }
        self.socket.write_all(bytes, self.stuck)
    }

    /// A handle for other threads. It does not keep the socket open.
    pub fn hangup(&self) -> Hangup {
        Hangup(Arc::downgrade(&self.socket))
    }

    /// While the guard lives, `wake` is called, once, when the client's FIN, RST or an error is seen; at once if
    /// it is there already; a `cut` counts too. It runs on the one thread that watches all clients: wake somebody and return.
    /// One watch at a time: a later one takes the place of an earlier one.
    pub fn on_leave(&self, wake: impl Fn() + Send + Sync + 'static) -> Watch {
        self.watcher.watch(&self.socket, Arc::new(wake))
    }

    pub(super) fn manner_now(&self) -> Manner {
        if self.manner.keep && self.table.is_closing() {
            self.manner.closing()
        } else {
            self.manner
        }
    }

    fn say(&mut self, what: Said) -> io::Result<()> {
        if self.said != Said::Nothing {
            return Err(io::Error::other("the client has its answer already"));
        }
        self.said = what;
        Ok(())
    }
}

impl io::Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Client::write_all(self, bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sees and ends one client's connection from another thread.
#[derive(Clone)]
pub struct Hangup(Weak<Socket>);

impl Hangup {
    /// Whether the client's FIN or RST is here, or the connection is over. Never waits.
    pub fn has_left(&self) -> bool {
        self.0.upgrade().is_none_or(|socket| socket.has_left())
    }

    /// Ends the connection. A write to it that is stuck ends at once, and what its client has not taken is gone.
    pub fn cut(&self) {
        if let Some(socket) = self.0.upgrade() {
            socket.reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Instant;

    use crossbeam_channel::{Receiver, Sender, bounded};

    use super::*;
    use crate::gate::testing::*;
    use crate::gate::{Gate, Later, Patience};

    /// A gate whose `/later` runs this work with the sending half of a channel, and the receiving half.
    fn gate_that<T: Send + 'static>(
        patience: Patience,
        work: fn(&mut Client, &Sender<T>) -> io::Result<()>,
    ) -> (Gate, Receiver<T>) {
        let (tell, told) = bounded(8);
        let web = Web::with_later(move |_| -> Later {
            let tell = tell.clone();
            Box::new(move |client| work(client, &tell))
        });
        (Arc::new(web).open_with(LIMITS, patience), told)
    }

    /// Streams more than any buffer holds, and tells how that ended.
    fn flood(client: &mut Client, tell: &Sender<io::ErrorKind>) -> io::Result<()> {
        client.begin(200, &[])?;
        let error = loop {
            if let Err(error) = client.write_all(&[b'x'; 100_000]) {
                break error;
            }
        };
        tell.send(error.kind()).unwrap();
        Err(error)
    }

    #[test]
    fn a_stream_is_written_on_the_real_socket_and_ends_with_the_connection() {
        let (gate, _) = gate_that::<()>(Patience::USUAL, |client, _| {
            client.begin(200, &[("Content-Type", "text/event-stream".to_owned())])?;
            client.write_all(b"data: 1\n\n")?;
            client.write_all(b"data: 2\n\n")
        });

        let mut peer = Peer::sends(&gate, get("/later"));

        let got = peer.got_head();
        assert_eq!(got.header("Connection"), Some("close"));
        assert_eq!(got.header("Content-Length"), None);
        assert_eq!(got.header("Content-Type"), Some("text/event-stream"));
        assert_eq!(peer.rest(), b"data: 1\n\ndata: 2\n\n");
    }

    #[test]
    fn a_fin_is_seen_at_once_and_a_pipelined_request_is_none() {
        let (gate, told) = gate_that(Patience::USUAL, |client, tell| {
            let (wake, woken) = bounded(8);
            let _watch = client.on_leave(move || wake.send(()).unwrap());
            tell.send((client.hangup().has_left(), 0)).unwrap();
            woken.recv().unwrap();
            tell.send((client.hangup().has_left(), woken.len())).unwrap();
            Ok(())
        });

        let peer = Peer::sends(&gate, [get("/later"), get("/")].concat());
        assert_eq!(told.recv_timeout(SOON), Ok((false, 0)));
        peer.leave();

        assert_eq!(told.recv_timeout(SOON), Ok((true, 0)));
    }

    #[test]
    fn a_client_that_left_before_the_watch_is_told_at_once_each_time() {
        let (gate, told) = gate_that(Patience::USUAL, |client, tell| {
            for _ in 0..2 {
                let (wake, woken) = bounded(1);
                let _watch = client.on_leave(move || wake.send(()).unwrap());
                woken.recv().unwrap();
            }
            tell.send(()).unwrap();
            client.answer(Answer::new(200))
        });

        let mut peer = Peer::sends(&gate, get("/later"));
        peer.leave();

        assert_eq!(told.recv_timeout(SOON), Ok(()));
        assert_eq!(peer.got().status(), 200, "it may still read");
    }

    #[test]
    fn a_reset_is_seen_too() {
        let (gate, told) = gate_that(Patience::USUAL, |client, tell| {
            let (wake, woken) = bounded(1);
            let _watch = client.on_leave(move || wake.send(()).unwrap());
            client.answer(Answer::new(200))?;
            woken.recv().unwrap();
            tell.send(client.hangup().has_left()).unwrap();
            Ok(())
        });

        let peer = Peer::sends(&gate, get("/later"));
        // Closed with an unread answer in it, a socket sends a reset.
        peer.stream.peek(&mut [0]).unwrap();
        drop(peer);

        assert_eq!(told.recv_timeout(SOON), Ok(true));
    }

    #[test]
    fn a_stuck_write_ends_by_itself() {
        let (gate, told) = gate_that(BRISK, flood);

        let _peer = Peer::sends(&gate, get("/later"));

        assert_eq!(told.recv_timeout(SOON), Ok(io::ErrorKind::TimedOut));
    }

    #[test]
    fn cut_ends_a_stuck_write_at_once() {
        let (give, given) = bounded::<Hangup>(1);
        let (tell, told) = bounded(1);
        let web = Web::with_later(move |_| -> Later {
            let (give, tell) = (give.clone(), tell.clone());
            Box::new(move |client| {
                give.send(client.hangup()).unwrap();
                flood(client, &tell)
            })
        });
        let gate = web.open();
        let mut peer = Peer::sends(&gate, get("/later"));
        assert_eq!(peer.got_head().status(), 200);
        let hangup = given.recv_timeout(SOON).unwrap();
        assert!(!hangup.has_left());

        let start = Instant::now();
        hangup.cut();

        assert_eq!(told.recv_timeout(SOON), Ok(io::ErrorKind::BrokenPipe));
        assert!(start.elapsed() < SOON);
        assert!(hangup.has_left());
    }

    #[test]
    fn cut_wakes_work_that_waits() {
        let (gate, told) = gate_that(Patience::USUAL, |client, tell| {
            let (wake, woken) = bounded(1);
            let _watch = client.on_leave(move || wake.send(()).unwrap());
            tell.send(Some(client.hangup())).unwrap();
            woken.recv().unwrap();
            tell.send(None).unwrap();
            Ok(())
        });
        let mut peer = Peer::sends(&gate, get("/later"));

        let hangup = told.recv_timeout(SOON).unwrap().unwrap();
        hangup.cut();

        assert!(told.recv_timeout(SOON).unwrap().is_none());
        assert!(peer.rest().is_empty());
    }

    #[test]
    fn a_handle_does_not_keep_the_connection_open() {
        let (gate, told) = gate_that(Patience::USUAL, |client, tell| {
            tell.send(client.hangup()).unwrap();
            client.begin(200, &[])
        });
        let mut peer = Peer::sends(&gate, get("/later"));
        let hangup = told.recv_timeout(SOON).unwrap();

        assert_eq!(peer.got_head().status(), 200);
        assert!(peer.rest().is_empty());
        drop(peer);

        assert!(eventually(|| gate.connections() == 0));
        assert!(hangup.has_left());
        hangup.cut();
    }

    #[test]
    fn work_that_panics_or_says_nothing_is_a_500() {
        let (panics, _) = gate_that::<()>(Patience::USUAL, |_, _| panic!("a test asked for it"));
        let (silent, _) = gate_that::<()>(Patience::USUAL, |_, _| Ok(()));

        for gate in [panics, silent] {
            let mut peer = Peer::sends(&gate, get("/later"));
            assert_eq!(peer.got().status(), 500);
            assert!(peer.rest().is_empty());
        }
    }

    #[test]
    fn work_that_fails_closes_the_connection() {
        let (gate, _) = gate_that::<()>(Patience::USUAL, |_, _| Err(io::Error::other("gone")));

        assert!(Peer::sends(&gate, get("/later")).rest().is_empty());
    }

    #[test]
    fn a_second_answer_is_an_error_and_reaches_nobody() {
        let (gate, told) = gate_that(Patience::USUAL, |client, tell| {
            client.answer(Answer::new(200).body("one"))?;
            tell.send(client.answer(Answer::new(200).body("two")).is_err()).unwrap();
            Ok(())
        });
        let mut peer = Peer::sends(&gate, get("/later"));

        assert_eq!(peer.got().body, "one");
        assert_eq!(told.recv_timeout(SOON), Ok(true));
        peer.send(get("/"));
        assert_eq!(peer.got().body, "hello");
    }

    #[test]
    fn a_control_character_in_a_header_becomes_a_space() {
        let (gate, _) = gate_that::<()>(Patience::USUAL, |client, _| {
            client.answer(Answer::new(200).with("X-Odd", "a\r\nb\0c"))
        });

        let got = Peer::sends(&gate, get("/later")).got();

        assert_eq!(got.header("X-Odd"), Some("a  b c"));
    }

    #[test]
    fn an_answer_on_its_way_to_a_reader_that_is_slow_arrives_whole() {
        let (gate, _) = gate_that::<()>(Patience::USUAL, |client, _| {
            client.answer(Answer::new(200).body(vec![b'x'; 20_000_000]))
        });
        let mut peer = Peer::connect(&gate);
        peer.stream.write_all(get("/later").as_bytes()).unwrap();

        assert_eq!(peer.got().body.len(), 20_000_000);
    }
}
