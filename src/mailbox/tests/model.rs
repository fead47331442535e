//! The mailbox beside a plain list that never forgets: whatever is done to both, the mailbox gives what the list has,
//! or says how much of it is gone.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// What can be done to a mailbox. Where a number names a place or a listener, it is taken modulo those there are.
#[derive(Clone, Debug)]
enum Deed {
    /// An event of so many bytes.
    Push(usize),
    Tell,
    Attach(u64),
    /// One listener looks.
    Next(usize),
    Detach(usize),
    /// What one listener was handed is written.
    Confirm(usize),
    /// One listener is given everything up to a place, in its own way.
    Give(usize, u64),
    SetSent(u64),
    ForgetThrough(u64),
    ForgetOldest,
    /// So many milliseconds pass, then what is old is forgotten.
    ForgetByAge(u64),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        8 => (0..30_usize).prop_map(Deed::Push),
        1 => (5_000..20_000_usize).prop_map(Deed::Push),
        2 => Just(Deed::Tell),
        2 => any::<u64>().prop_map(Deed::Attach),
        10 => any::<usize>().prop_map(Deed::Next),
        1 => any::<usize>().prop_map(Deed::Detach),
        1 => any::<usize>().prop_map(Deed::Confirm),
        1 => (any::<usize>(), any::<u64>()).prop_map(|(reader, place)| Deed::Give(reader, place)),
        1 => any::<u64>().prop_map(Deed::SetSent),
        1 => any::<u64>().prop_map(Deed::ForgetThrough),
        1 => Just(Deed::ForgetOldest),
        4 => (0..40_000_u64).prop_map(Deed::ForgetByAge),
    ]
}

/// A listener, as the model sees it.
struct Reader {
    key: Key,
    cursor: u64,
    sent: u64,
    /// The place and the number of each notice that is still to come.
    notices: VecDeque<(u64, u64)>,
    /// Its last look found nothing.
    waits: bool,
    /// It was called since.
    called: bool,
}

struct Model {
    mailbox: Mailbox,
    bounds: Bounds,
    list: Vec<Arc<str>>,
    gone: u64,
    sent: u64,
    told: u64,
    readers: Vec<Reader>,
    now: Instant,
    /// At each time that old events were looked for: what every listener had been sent.
    safe: Vec<(Instant, u64)>,
}

impl Model {
    fn new(bounds: Bounds) -> Model {
        Model {
            mailbox: Mailbox::new(bounds),
            bounds,
            list: Vec::new(),
            gone: 0,
            sent: 0,
            told: 0,
            readers: Vec::new(),
            now: Instant::now(),
            safe: Vec::new(),
        }
    }

    fn last(&self) -> u64 {
        self.list.len() as u64
    }

    fn kept(&self) -> &[Arc<str>] {
        &self.list[self.gone as usize..]
    }

    fn reader(&self, number: usize) -> Option<usize> {
        (!self.readers.is_empty()).then(|| number % self.readers.len())
    }

    fn place(&self, number: u64) -> u64 {
        number % (self.last() + 1)
    }

    fn run(&mut self, deed: &Deed) {
        match *deed {
            Deed::Push(size) => self.push(size),
            Deed::Tell => self.tell(),
            Deed::Attach(place) => self.attach(self.place(place)),
            Deed::Next(number) => {
                if let Some(at) = self.reader(number) {
                    self.look(at);
                }
            }
            Deed::Detach(number) => {
                if let Some(at) = self.reader(number) {
                    let reader = self.readers.remove(at);
                    self.mailbox.detach(reader.key);
                    assert!(is_nothing(&self.mailbox.next(reader.key, |_| true)));
                }
            }
            Deed::Confirm(number) => {
                if let Some(at) = self.reader(number) {
                    self.mailbox.confirm(self.readers[at].key);
                    self.confirm(at);
                }
            }
            Deed::Give(number, place) => {
                if let Some(at) = self.reader(number) {
                    self.give(at, place);
                }
            }
            Deed::SetSent(place) => {
                self.mailbox.set_delivered(place);
                self.sent = self.sent.max(place.min(self.last()));
            }
            Deed::ForgetThrough(place) => {
                let place = self.place(place);
                self.mailbox.forget_through(place);
                self.gone = self.gone.max(place);
            }
            Deed::ForgetOldest => {
                let more = self.kept().len() > 1;
                assert_eq!(self.mailbox.forget_oldest(), more);
                self.gone += u64::from(more);
            }
            Deed::ForgetByAge(millis) => self.age(Duration::from_millis(millis)),
        }
    }

    fn push(&mut self, size: usize) {
        let event: Arc<str> = format!("{} {}", self.last() + 1, "x".repeat(size)).into();
        self.mailbox.push(&[&event]);
        self.list.push(event);
        // The longest end of what was kept that is within the bounds, the newest always.
        let fits = |kept: &[Arc<str>]| {
            let bytes: usize = kept.iter().map(|event| cost(event.len())).sum();
            kept.len() == 1 || kept.len() <= self.bounds.events && bytes <= self.bounds.bytes
        };
        while !fits(self.kept()) {
            self.gone += 1;
        }
    }

    fn tell(&mut self) {
        self.told += 1;
        self.mailbox.tell(&Notice { name: None, data: self.told.to_string().into() });
        let last = self.last();
        for reader in &mut self.readers {
            reader.notices.push_back((last, self.told));
            if reader.notices.len() > NOTICES_MAX {
                reader.notices.pop_front();
            }
        }
    }

    fn attach(&mut self, cursor: u64) {
        let key = self.mailbox.attach(cursor);
        let notices = VecDeque::new();
        self.readers.push(Reader {
            key,
            cursor,
            sent: cursor,
            notices,
            waits: false,
            called: false,
        });
    }

    fn confirm(&mut self, at: usize) {
        let reader = &mut self.readers[at];
        reader.sent = reader.cursor;
        self.sent = self.sent.max(reader.sent);
    }

    fn give(&mut self, at: usize, place: u64) {
        let place = self.place(place).max(self.readers[at].cursor);
        self.mailbox.set_cursor(self.readers[at].key, place);
        self.readers[at].cursor = place;
    }

    fn look(&mut self, at: usize) {
        let next = self.mailbox.next(self.readers[at].key, |_| true);
        self.confirm(at);
        let (list, gone, last) = (&self.list, self.gone, self.last());
        let reader = &mut self.readers[at];
        (reader.waits, reader.called) = (false, false);
        match next {
            Next::Events { missed, events } => {
                assert_eq!(missed, gone.saturating_sub(reader.cursor));
                assert!(missed > 0 || events.len() > 0);
                reader.cursor += missed;
                check_batch(&events);
                for (place, event) in events.after(0) {
                    assert_eq!(place, reader.cursor + 1);
                    assert_eq!(event, &*list[reader.cursor as usize]);
                    assert!(reader.notices.front().is_none_or(|(told_at, _)| place <= *told_at));
                    reader.cursor = place;
                }
            }
            Next::Notice { place, notice } => {
                let (told_at, number) = reader.notices.pop_front().unwrap();
                assert_eq!((place, &*notice.data), (reader.cursor, &*number.to_string()));
                assert!(told_at <= place && gone <= place);
            }
            Next::NoRoom => panic!("there is always room"),
            Next::Nothing => {
                assert_eq!((reader.cursor, reader.notices.len()), (last, 0));
                reader.waits = true;
            }
        }
    }

    fn age(&mut self, passed: Duration) {
        self.now += passed;
        self.mailbox.forget_by_age(self.now, WINDOW);
        let gone = self.mailbox.missed(0);
        let safe = self.readers.iter().map(|reader| reader.sent).min();
        if gone > self.gone {
            // What every listener was sent, two windows ago already, and those that there are now too.
            assert!(safe.is_some_and(|safe| gone <= safe));
            let long_ago = |at: Instant| self.now.duration_since(at) >= WINDOW * 2;
            assert!(self.safe.iter().any(|(at, safe)| long_ago(*at) && gone <= *safe));
        }
        self.safe.extend(safe.map(|safe| (self.now, safe)));
        assert!(gone >= self.gone);
        self.gone = gone;
    }

    /// What is so after every deed.
    fn check(&mut self, cursor: u64) {
        let called = self.mailbox.take_wake();
        self.readers.iter_mut().for_each(|reader| reader.called |= called);
        let mailbox = &self.mailbox;
        assert_eq!((mailbox.last(), mailbox.delivered()), (self.last(), self.sent));
        let given = self.readers.iter().map(|reader| reader.cursor).fold(self.sent, u64::max);
        assert_eq!(mailbox.handed_out(), given);
        let cursor = self.place(cursor);
        assert_eq!(mailbox.missed(cursor), self.gone.saturating_sub(cursor));
        let first = cursor.max(self.gone);
        let due = (first + 1..).zip(self.list[first as usize..].iter().map(|event| &**event));
        assert!(mailbox.first_after(cursor, usize::MAX).eq(due));
        let bytes: usize = self.kept().iter().map(|event| cost(event.len())).sum();
        assert_eq!(mailbox.bytes(), bytes);
        let newest = self.kept().last().map_or(0, |event| cost(event.len()));
        assert_eq!(mailbox.spare_bytes(), bytes - newest);
        let waiting = self.readers.iter().flat_map(|reader| &reader.notices);
        let waiting: usize = waiting.map(|(_, number)| number.to_string().len()).sum();
        assert_eq!(mailbox.notice_bytes(), waiting);
        for reader in self.readers.iter().filter(|reader| reader.waits) {
            let something = reader.cursor < self.last() || !reader.notices.is_empty();
            assert!(!something || reader.called, "a listener was not called");
        }
    }
}

/// One event, or no more than fit a batch.
fn check_batch(events: &Log) {
    assert!(events.len() <= 1 || events.bytes() <= BATCH_BYTES);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn whatever_is_done_a_listener_gets_each_event_once_and_in_order_or_is_told_that_it_is_gone(
        deeds in vec((deed(), any::<u64>()), 0..150),
        events in 1..12_usize,
        bytes in prop_oneof![1..2_000_usize, Just(usize::MAX)],
    ) {
        let mut model = Model::new(Bounds { events, bytes });
        for (deed, cursor) in &deeds {
            model.run(deed);
            model.check(*cursor);
        }
    }
}
