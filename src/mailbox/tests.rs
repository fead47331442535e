//! One behaviour of the mailbox a test; `model` has any of them in any order.

mod model;

use super::*;

const WINDOW: Duration = Duration::from_secs(30);

fn mailbox(events: usize, bytes: usize) -> Mailbox {
    Mailbox::new(Bounds { events, bytes })
}

/// With the events "1", "2", … in it.
fn filled(count: usize, events: usize) -> Mailbox {
    let mut mailbox = mailbox(events, usize::MAX);
    (1..=count).for_each(|n| mailbox.push(&[&n.to_string()]));
    mailbox
}

/// What a listener gets next, if that is events: how many are missing, and the places of those that come.
fn places(mailbox: &mut Mailbox, key: Key) -> (u64, Vec<u64>) {
    match mailbox.next(key, |_| true) {
        Next::Events { missed, events } => {
            (missed, events.after(0).map(|(place, _)| place).collect())
        }
        other => panic!("no events but {other:?}"),
    }
}

fn is_nothing(next: &Next) -> bool {
    matches!(next, Next::Nothing)
}

#[test]
fn a_listener_gets_what_lies_after_its_cursor() {
    let mut mailbox = filled(3, 10);
    let key = mailbox.attach(1);

    assert_eq!(places(&mut mailbox, key), (0, vec![2, 3]));
    assert!(is_nothing(&mailbox.next(key, |_| true)));
}

#[test]
fn a_listener_that_needs_what_is_gone_is_told_how_much_and_goes_on() {
    let mut mailbox = filled(10, 4);
    let key = mailbox.attach(2);

    assert_eq!(places(&mut mailbox, key), (4, vec![7, 8, 9, 10]));
}

#[test]
fn the_newest_event_is_kept_whatever_its_size() {
    let mut mailbox = mailbox(10, 100);
    mailbox.push(&["small"]);
    mailbox.push(&[&"x".repeat(1000)]);

    assert_eq!(mailbox.first_after(0, usize::MAX).map(|(place, _)| place).collect::<Vec<_>>(), [2]);
}

#[test]
fn what_a_listener_was_handed_counts_as_sent_when_it_comes_for_more() {
    let mut mailbox = filled(3, 10);
    let key = mailbox.attach(0);
    places(&mut mailbox, key);
    assert_eq!(mailbox.delivered(), 0);

    mailbox.next(key, |_| true);

    assert_eq!(mailbox.delivered(), 3);
}

#[test]
fn what_a_listener_was_handed_when_it_left_is_there_for_the_next() {
    let mut mailbox = filled(3, 10);
    let key = mailbox.attach(0);
    places(&mut mailbox, key);
    mailbox.detach(key);

    let next = mailbox.attach(mailbox.delivered());

    assert_eq!(places(&mut mailbox, next), (0, vec![1, 2, 3]));
}

#[test]
fn a_notice_comes_between_the_events_between_which_it_was_told() {
    let mut mailbox = filled(2, 10);
    let key = mailbox.attach(0);
    mailbox.tell(&Notice { name: Some("upstream"), data: "{}".into() });
    mailbox.push(&["3"]);

    assert_eq!(places(&mut mailbox, key), (0, vec![1, 2]));
    assert!(matches!(mailbox.next(key, |_| true), Next::Notice { place: 2, .. }));
    assert_eq!(places(&mut mailbox, key), (0, vec![3]));
}

#[test]
fn a_large_event_without_room_holds_up_no_notice_before_it_and_what_is_missed_is_told_with_it() {
    let mut mailbox = mailbox(1, usize::MAX);
    let early = mailbox.attach(0);
    mailbox.tell(&Notice { name: Some("upstream"), data: "{}".into() });
    let late = mailbox.attach(0);
    mailbox.push(&[&"x".repeat(BATCH_BYTES + 1)]);
    let has_no_room = |bytes| bytes <= BATCH_BYTES;

    assert!(matches!(mailbox.next(early, has_no_room), Next::Notice { place: 0, .. }));
    assert!(matches!(mailbox.next(early, has_no_room), Next::NoRoom));
    assert_eq!(places(&mut mailbox, early), (0, vec![1]));

    mailbox.push(&[&"x".repeat(BATCH_BYTES + 1)]);
    assert!(matches!(mailbox.next(late, has_no_room), Next::NoRoom));
    assert_eq!(places(&mut mailbox, late), (1, vec![2]));
}

#[test]
fn of_notices_that_are_too_large_the_newest_is_told() {
    let mut mailbox = mailbox(10, usize::MAX);
    let key = mailbox.attach(0);
    let half = NOTICE_BYTES_MAX / 2;
    for size in [half, half, half, 2 * NOTICE_BYTES_MAX, half, half] {
        mailbox.tell(&Notice { name: None, data: "x".repeat(size).into() });
    }
    assert_eq!(mailbox.notice_bytes(), 2 * half);

    mailbox.tell(&Notice { name: None, data: "x".repeat(2 * NOTICE_BYTES_MAX).into() });

    assert_eq!(mailbox.notice_bytes(), 2 * NOTICE_BYTES_MAX);
    assert!(matches!(mailbox.next(key, |_| true), Next::Notice { .. }));
    assert_eq!(mailbox.notice_bytes(), 0);
}

#[test]
fn of_too_many_notices_the_newest_are_told() {
    let mut mailbox = mailbox(10, 1000);
    let key = mailbox.attach(0);
    for number in 0..=NOTICES_MAX {
        mailbox.tell(&Notice { name: None, data: number.to_string().into() });
    }

    let told = std::iter::from_fn(|| match mailbox.next(key, |_| true) {
        Next::Notice { notice, .. } => Some(notice.data),
        _ => None,
    });

    let due = (1..=NOTICES_MAX).map(|number| Arc::from(number.to_string()));
    assert!(told.eq(due));
}

#[test]
fn what_every_listener_was_sent_two_windows_ago_is_forgotten() {
    let mut mailbox = filled(3, 10);
    let key = mailbox.attach(0);
    places(&mut mailbox, key);
    mailbox.next(key, |_| true);
    let start = Instant::now();

    (0..8).for_each(|quarter| mailbox.forget_by_age(start + WINDOW / 4 * quarter, WINDOW));
    assert_eq!(mailbox.missed(0), 0);
    mailbox.forget_by_age(start + WINDOW * 2, WINDOW);

    assert_eq!((mailbox.missed(0), mailbox.bytes()), (3, 0));
}

#[test]
fn what_one_of_the_listeners_was_not_sent_is_not_forgotten_by_age() {
    let mut mailbox = filled(3, 10);
    let quick = mailbox.attach(3);
    let _slow = mailbox.attach(1);
    mailbox.next(quick, |_| true);
    let start = Instant::now();

    (0..20).for_each(|quarter| mailbox.forget_by_age(start + WINDOW / 4 * quarter, WINDOW));

    assert_eq!(mailbox.missed(0), 1);
}

#[test]
fn without_a_listener_nothing_is_forgotten_by_age() {
    let mut mailbox = filled(3, 10);
    let key = mailbox.attach(3);
    mailbox.next(key, |_| true);
    let start = Instant::now();
    mailbox.forget_by_age(start, WINDOW);
    mailbox.detach(key);

    mailbox.forget_by_age(start + WINDOW * 10, WINDOW);

    assert_eq!(mailbox.missed(0), 0);
}
