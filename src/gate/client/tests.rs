//! What a client is sent, and how its leaving is seen, over real sockets.

use std::io::Write;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::*;
use crate::gate::testing::*;
use crate::gate::ticket::Later;
use crate::gate::{Gate, Timeouts};

/// A gate whose `/later` runs this work with the sending half of a channel, and the receiving half.
fn gate_that<T: Send + 'static>(
    patience: Timeouts,
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
    client.begin(200, "")?;
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
    let (gate, _) = gate_that::<()>(Timeouts::USUAL, |client, _| {
        client.begin(200, "Content-Type: text/event-stream\r\n")?;
        client.write_all(b"data: 1\n\n")?;
        client.write_all(b"data: 2\n\n")?;
        client.end()
    });

    let mut peer = Peer::sends(&gate, [get("/later"), get("/")].concat());

    let got = peer.got_head();
    assert_eq!(got.header("Connection"), None);
    assert_eq!(got.header("Content-Length"), None);
    assert_eq!(got.header("Content-Type"), Some("text/event-stream"));
    assert_eq!(got.header("Transfer-Encoding"), Some("chunked"));
    let lines = ["9", "data: 1", "", "", "9", "data: 2", "", "", "0", ""];
    assert_eq!(lines.map(|_| peer.line()), lines);
    assert_eq!(peer.got().body, "hello", "the connection goes on");
}

#[test]
fn http_1_0_gets_no_chunks() {
    let (gate, _) = gate_that::<()>(Timeouts::USUAL, |client, _| {
        client.begin(200, "")?;
        client.write_all(b"one")?;
        client.end()
    });

    let request = "GET /later HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let mut peer = Peer::sends(&gate, request);

    let got = peer.got_head();
    assert_eq!(got.header("Connection"), Some("close"));
    assert_eq!(got.header("Transfer-Encoding"), None);
    assert_eq!(peer.rest(), b"one");
}

#[test]
fn a_body_that_is_not_ended_ends_without_its_last_chunk() {
    let (gate, _) = gate_that::<()>(Timeouts::USUAL, |client, _| {
        client.begin(200, "")?;
        client.write_all(b"one")
    });

    let mut peer = Peer::sends(&gate, get("/later"));

    assert_eq!(peer.got_head().status(), 200);
    assert_eq!(peer.rest(), b"3\r\none\r\n");
}

#[test]
fn an_earlier_watch_that_is_dropped_takes_nothing_away_from_a_later_one() {
    let (gate, told) = gate_that(Timeouts::USUAL, |client, tell| {
        let (wake, woken) = bounded(1);
        let earlier = client.on_disconnect(|| {});
        let _later = client.on_disconnect(move || wake.send(()).unwrap());
        drop(earlier);
        tell.send(false).unwrap();
        tell.send(woken.recv_timeout(SOON).is_ok()).unwrap();
        Ok(())
    });

    let peer = Peer::sends(&gate, get("/later"));
    assert_eq!(told.recv_timeout(SOON), Ok(false));
    peer.leave();

    assert_eq!(told.recv_timeout(2 * SOON), Ok(true));
}

#[test]
fn a_fin_is_seen_at_once_and_a_pipelined_request_is_none() {
    let (gate, told) = gate_that(Timeouts::USUAL, |client, tell| {
        let (wake, woken) = bounded(8);
        let _watch = client.on_disconnect(move || wake.send(()).unwrap());
        tell.send((client.handle().has_left(), 0)).unwrap();
        woken.recv().unwrap();
        tell.send((client.handle().has_left(), woken.len())).unwrap();
        Ok(())
    });

    let peer = Peer::sends(&gate, [get("/later"), get("/")].concat());
    assert_eq!(told.recv_timeout(SOON), Ok((false, 0)));
    peer.leave();

    assert_eq!(told.recv_timeout(SOON), Ok((true, 0)));
}

#[test]
fn a_client_that_left_before_the_watch_is_told_at_once_each_time() {
    let (gate, told) = gate_that(Timeouts::USUAL, |client, tell| {
        for _ in 0..2 {
            let (wake, woken) = bounded(1);
            let _watch = client.on_disconnect(move || wake.send(()).unwrap());
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
    let (gate, told) = gate_that(Timeouts::USUAL, |client, tell| {
        let (wake, woken) = bounded(1);
        let _watch = client.on_disconnect(move || wake.send(()).unwrap());
        client.answer(Answer::new(200))?;
        woken.recv().unwrap();
        tell.send(client.handle().has_left()).unwrap();
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
    let (give, given) = bounded::<Arc<dyn ListenerClient>>(1);
    let (tell, told) = bounded(1);
    let web = Web::with_later(move |_| -> Later {
        let (give, tell) = (give.clone(), tell.clone());
        Box::new(move |client| {
            give.send(client.handle()).unwrap();
            flood(client, &tell)
        })
    });
    let gate = web.open();
    let mut peer = Peer::sends(&gate, get("/later"));
    assert_eq!(peer.got_head().status(), 200);
    let handle = given.recv_timeout(SOON).unwrap();
    assert!(!handle.has_left());

    let start = Instant::now();
    handle.cut();

    assert_eq!(told.recv_timeout(SOON), Ok(io::ErrorKind::BrokenPipe));
    assert!(start.elapsed() < SOON);
    assert!(handle.has_left());
}

#[test]
fn cut_wakes_work_that_waits() {
    let (gate, told) = gate_that(Timeouts::USUAL, |client, tell| {
        let (wake, woken) = bounded(1);
        let _watch = client.on_disconnect(move || wake.send(()).unwrap());
        tell.send(Some(client.handle())).unwrap();
        woken.recv().unwrap();
        tell.send(None).unwrap();
        Ok(())
    });
    let mut peer = Peer::sends(&gate, get("/later"));

    let handle = told.recv_timeout(SOON).unwrap().unwrap();
    handle.cut();

    assert!(told.recv_timeout(SOON).unwrap().is_none());
    assert!(peer.rest().is_empty());
}

#[test]
fn a_handle_does_not_keep_the_connection_open() {
    let (gate, told) = gate_that(Timeouts::USUAL, |client, tell| {
        tell.send(client.handle()).unwrap();
        client.begin(200, "")
    });
    let mut peer = Peer::sends(&gate, get("/later"));
    let handle = told.recv_timeout(SOON).unwrap();

    assert_eq!(peer.got_head().status(), 200);
    assert!(peer.rest().is_empty());
    drop(peer);

    assert!(eventually(|| gate.connections() == 0));
    assert!(handle.has_left());
    handle.cut();
}

#[test]
fn work_that_panics_or_says_nothing_is_a_500() {
    let (panics, _) = gate_that::<()>(Timeouts::USUAL, |_, _| panic!("a test asked for it"));
    let (silent, _) = gate_that::<()>(Timeouts::USUAL, |_, _| Ok(()));

    for gate in [panics, silent] {
        let mut peer = Peer::sends(&gate, get("/later"));
        assert_eq!(peer.got().status(), 500);
        assert!(peer.rest().is_empty());
    }
}

#[test]
fn work_that_fails_closes_the_connection() {
    let (gate, _) = gate_that::<()>(Timeouts::USUAL, |_, _| Err(io::Error::other("gone")));

    assert!(Peer::sends(&gate, get("/later")).rest().is_empty());
}

#[test]
fn a_second_answer_is_an_error_and_is_not_sent() {
    let (gate, told) = gate_that(Timeouts::USUAL, |client, tell| {
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
    let (gate, _) = gate_that::<()>(Timeouts::USUAL, |client, _| {
        client.answer(Answer::new(200).with("X-Odd", "a\r\nb\0c"))
    });

    let got = Peer::sends(&gate, get("/later")).got();

    assert_eq!(got.header("X-Odd"), Some("a  b c"));
}

#[test]
fn an_answer_on_its_way_to_a_reader_that_is_slow_arrives_whole() {
    let (gate, _) = gate_that::<()>(Timeouts::USUAL, |client, _| {
        client.answer(Answer::new(200).body(vec![b'x'; 20_000_000]))
    });
    let mut peer = Peer::connect(&gate);
    peer.stream.write_all(get("/later").as_bytes()).unwrap();

    assert_eq!(peer.got().body.len(), 20_000_000);
}
