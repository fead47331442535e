//! How a thread waits for a message of another one.

use crossbeam_channel::{Receiver, never, select_biased};
use std::thread;
use std::time::Instant;

/// The next message, as `recv_deadline` gives it; none when the deadline has passed without one, or there is no sender left.
///
/// `recv_deadline` yields the processor four times before it sleeps, a selection does not. Four cost a sixth of the CPU time of
/// 100 sessions at 5,000 messages a second, and in a flood hold single messages up for half a second. One is worth its price: a
/// flood then needs a tenth less than without, since several messages go out in one turn.
pub fn receive<T>(receiver: &Receiver<T>, deadline: Instant) -> Option<T> {
    if let Ok(message) = receiver.try_recv() {
        return Some(message);
    }
    thread::yield_now();
    select_biased! {
        recv(receiver) -> message => message.ok(),
        // With one channel alone, the macro is `recv_timeout`.
        recv(never::<()>()) -> _ => None,
        default(deadline.saturating_duration_since(Instant::now())) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::bounded;
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_there_is_received_whatever_the_deadline() {
        let (sender, receiver) = bounded(1);
        sender.send(7).unwrap();

        assert_eq!(receive(&receiver, Instant::now()), Some(7));
    }

    #[test]
    fn it_waits_for_a_message_or_for_the_last_sender_to_go() {
        let (sender, receiver) = bounded(0);
        let other = thread::Builder::new().spawn(move || sender.send(7)).unwrap();

        let deadline = Instant::now() + LONG;
        assert_eq!(receive(&receiver, deadline), Some(7));
        assert_eq!(receive(&receiver, deadline), None);
        assert!(Instant::now() < deadline);
        other.join().unwrap().unwrap();
    }

    #[test]
    fn at_the_deadline_there_is_none() {
        let (_sender, receiver) = bounded::<()>(1);
        let deadline = Instant::now() + Duration::from_millis(20);

        assert_eq!(receive(&receiver, deadline), None);

        assert!(Instant::now() >= deadline);
    }
}
