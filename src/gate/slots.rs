//! The connections that are open, and which of them only waits.
//!
//! Owns: the cap, the order in which connections rest, and the end of resting ones when the gate closes.
//! A connection rests until its first or its next request is there, with its body. The one that has rested longest makes room.
//! When full of connections that work, or that came just now: the new one is not admitted.

use super::socket::Socket;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Evicted connections whose threads have not ended yet, each with its descriptor. With so many, none is admitted over the cap.
pub(super) const LEAVING_MAX: usize = 8;

pub(super) struct Slots {
    max: usize,
    /// How long a connection rests before it can be evicted: a client that came just now is about to speak.
    patience: Duration,
    /// Guards the counts below; no socket is touched while it is held.
    state: Mutex<Occupancy>,
}

#[derive(Default)]
struct Occupancy {
    open: usize,
    closing: bool,
    /// How often a connection began to rest; the number of the last one.
    rests: u64,
    /// By their numbers, and since when.
    resting: BTreeMap<u64, (Instant, Arc<Socket>)>,
}

impl Slots {
    pub(super) fn new(max: usize, patience: Duration) -> Arc<Slots> {
        Arc::new(Slots { max, patience, state: Mutex::default() })
    }

    /// A slot for a new connection, at rest. None: there is no room, and no resting connection that could make some.
    pub(super) fn admit(self: &Arc<Self>, socket: &Arc<Socket>, now: Instant) -> Option<Slot> {
        let mut state = self.state.lock();
        if state.open >= self.max + LEAVING_MAX {
            return None;
        }
        let is_full = state.open >= self.max;
        let evicted = if is_full { Some(state.evict(now, self.patience)?) } else { None };
        state.open += 1;
        let resting = state.rest(socket, now);
        drop(state);
        if let Some(evicted) = evicted {
            evicted.cut();
        }
        Some(Slot { slots: self.clone(), resting })
    }

    /// Cuts the few connections that have rested longest, if they have rested long enough.
    pub(super) fn evict(&self, now: Instant) {
        for _ in 0..LEAVING_MAX {
            let evicted = self.state.lock().evict(now, self.patience);
            let Some(evicted) = evicted else { return };
            evicted.cut();
        }
    }

    /// Cuts the connections that rest; from now on none does. Whether it was open.
    pub(super) fn close(&self) -> bool {
        let mut state = self.state.lock();
        let was_closing = std::mem::replace(&mut state.closing, true);
        let resting = std::mem::take(&mut state.resting);
        drop(state);
        for (_, socket) in resting.into_values() {
            socket.cut();
        }
        !was_closing
    }

    pub(super) fn is_closing(&self) -> bool {
        self.state.lock().closing
    }

    pub(super) fn count(&self) -> usize {
        self.state.lock().open
    }
}

impl Occupancy {
    /// None: the gate is closing.
    fn rest(&mut self, socket: &Arc<Socket>, now: Instant) -> Option<u64> {
        if self.closing {
            return None;
        }
        self.rests += 1;
        self.resting.insert(self.rests, (now, socket.clone()));
        Some(self.rests)
    }

    fn evict(&mut self, now: Instant, patience: Duration) -> Option<Arc<Socket>> {
        let oldest = self.resting.first_entry()?;
        let rested = now.saturating_duration_since(oldest.get().0);
        (rested >= patience).then(|| oldest.remove().1)
    }
}

/// What one open connection takes of the cap, until it is dropped.
pub(super) struct Slot {
    slots: Arc<Slots>,
    /// While it rests.
    resting: Option<u64>,
}

impl Slot {
    /// The connection waits for its next request. False: the gate is closing, and it should too.
    pub(super) fn idle(&mut self, socket: &Arc<Socket>, now: Instant) -> bool {
        self.resting = self.slots.state.lock().rest(socket, now);
        self.resting.is_some()
    }

    /// A request is whole. False: the connection was evicted before it was, and is cut already.
    pub(super) fn busy(&mut self) -> bool {
        let resting = self.resting.take();
        resting.is_none_or(|number| self.slots.state.lock().resting.remove(&number).is_some())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // It rests no more.
        self.busy();
        self.slots.state.lock().open -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(250);

    fn client() -> (Arc<Socket>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Arc::new(Socket(ours.into())), theirs)
    }

    #[test]
    fn over_the_cap_the_one_that_rested_longest_makes_room() {
        let slots = Slots::new(2, PATIENCE);
        let start = Instant::now();
        let (first, _a) = client();
        let (second, _b) = client();
        let mut one = slots.admit(&first, start).unwrap();
        let mut two = slots.admit(&second, start + Duration::from_millis(10)).unwrap();

        let (third, _c) = client();
        assert!(slots.admit(&third, start + PATIENCE).is_some());

        assert!(first.has_left(), "the first one is cut");
        assert!(!one.busy());
        assert!(two.busy());
    }

    #[test]
    fn a_connection_that_came_just_now_or_works_is_not_evicted() {
        let slots = Slots::new(2, PATIENCE);
        let start = Instant::now();
        let (first, _a) = client();
        let (second, _b) = client();
        let mut works = slots.admit(&first, start).unwrap();
        assert!(works.busy());
        let _fresh = slots.admit(&second, start + PATIENCE).unwrap();

        let (third, _c) = client();
        assert!(slots.admit(&third, start + PATIENCE).is_none());
        assert_eq!(slots.count(), 2);
    }

    #[test]
    fn a_slot_is_free_again_when_its_connection_ends() {
        let slots = Slots::new(1, PATIENCE);
        let now = Instant::now();
        let (first, _a) = client();
        let (second, _b) = client();

        drop(slots.admit(&first, now));

        assert_eq!(slots.count(), 0);
        assert!(slots.admit(&second, now).is_some());
    }

    #[test]
    fn evictions_that_do_not_end_are_bounded() {
        let slots = Slots::new(1, Duration::ZERO);
        let now = Instant::now();
        let admitted: Vec<_> = (0..20)
            .map_while(|_| {
                let (socket, peer) = client();
                slots.admit(&socket, now).map(|slot| (slot, peer))
            })
            .collect();

        assert_eq!(admitted.len(), 1 + LEAVING_MAX);
    }

    #[test]
    fn closing_cuts_what_rests_and_lets_the_others_work() {
        let slots = Slots::new(8, PATIENCE);
        let now = Instant::now();
        let (rests, _a) = client();
        let (works, _b) = client();
        let _one = slots.admit(&rests, now).unwrap();
        let mut two = slots.admit(&works, now).unwrap();
        two.busy();

        slots.close();

        assert!(rests.has_left());
        assert!(!works.has_left());
        assert!(!two.idle(&works, now));
    }
}
