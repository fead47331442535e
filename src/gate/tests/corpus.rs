//! Heads and chunked bodies of the corpus, whole and damaged: a verdict each, never a panic, never a byte too many.

use std::io::Write as _;
use std::os::unix::net::UnixStream;

use proptest::prelude::*;

use super::super::bodies::Body;
use super::super::head::{end_of, framing, parse};
use super::super::reader::Reader;
use super::super::*;
use crate::corpus::{cases, damaged};
use crate::memory::Budget;

const BODY_MAX: usize = 1000;

fn reads(head: &[u8]) -> bool {
    parse(head).and_then(|head| framing(&head, BODY_MAX)).is_ok()
}

/// The chunked body at the begin of these bytes, and how many of them are left unread.
fn decoded(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(bytes).unwrap();
    drop(theirs);
    let mut reader = Reader::new(Arc::new(Socket(ours.into())));
    let mut body = Body::begin(&Budget::new(1 << 20));
    let deadline = Instant::now() + Duration::from_secs(5);
    reader.chunks(&mut body, BODY_MAX, deadline).ok()?;
    let mut rest = Body::begin(&Budget::new(1 << 20));
    while reader.take(1, &mut rest, deadline).is_ok() {}
    Some((body.to_vec(), rest.len()))
}

#[test]
fn the_corpus_is_taken_or_refused_as_it_says() {
    for (name, head) in cases("heads/good") {
        assert!(reads(&head), "{name}");
        assert_eq!(end_of(&head, 0), Some(head.len()), "{name}");
    }
    for (name, head) in cases("heads/bad") {
        assert!(!reads(&head), "{name}");
    }
    for (name, chunks) in cases("chunks/good") {
        assert_eq!(decoded(&chunks).map(|(_, left)| left), Some(0), "{name}");
    }
    for (name, chunks) in cases("chunks/bad") {
        assert!(decoded(&chunks).is_none(), "{name}");
    }
}

/// A body in chunks of these sizes, the last of the rest.
fn chunked(body: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = body;
    for &size in sizes.iter().chain([&body.len()]) {
        let (chunk, behind) = rest.split_at(size.min(rest.len()));
        if !chunk.is_empty() {
            bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        rest = behind;
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn a_damaged_head_has_no_control_character_left_when_it_is_taken(
        bytes in damaged(&["heads/good", "heads/bad"]),
    ) {
        let Some(end) = end_of(&bytes, 0) else { return Ok(()) };
        if let Ok(head) = parse(&bytes[..end]) {
            prop_assert!(head.target.bytes().all(|byte| byte.is_ascii_graphic()));
            for (name, value) in head.headers() {
                prop_assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert!(value.iter().all(|&byte| byte == b'\t' || byte >= b' ' && byte != 0x7f));
            }
            let _ = framing(&head, BODY_MAX);
        }
    }

    #[test]
    fn damaged_chunks_are_within_the_bound_when_they_are_taken(
        bytes in damaged(&["chunks/good", "chunks/bad"]),
    ) {
        if let Some((body, left)) = decoded(&bytes) {
            prop_assert!(body.len() <= BODY_MAX && body.len() + left < bytes.len());
        }
    }

    #[test]
    fn a_body_in_any_chunks_comes_out_whole_and_what_follows_is_left(
        body in prop::collection::vec(any::<u8>(), 0..BODY_MAX),
        sizes in prop::collection::vec(1..300_usize, 0..8),
        next in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let bytes = [chunked(&body, &sizes), next.clone()].concat();

        prop_assert_eq!(decoded(&bytes), Some((body, next.len())));
    }
}
