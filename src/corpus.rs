//! The corpus under `tests/corpus`: what parsers have met and may meet, by what they are to make of it.
//!
//! A file a case, in `KIND/VERDICT/`; a new one is found by itself. `damaged` makes more of them.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use std::fs;
use std::path::Path;

/// The cases of `KIND/VERDICT`, each with its name.
pub fn cases(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(folder);
    let files = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
    let cases: Vec<_> =
        files.map(|file| (file.display().to_string(), fs::read(&file).unwrap())).collect();
    assert!(!cases.is_empty(), "no case in {}", folder.display());
    cases
}

/// What may have become of one byte.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Changed(u8),
    Gone,
    Before(u8),
    /// It and all behind it are gone.
    Cut,
}

/// A case of any of these folders, with a few bytes damaged; those with a meaning are the likeliest.
pub fn damaged(folders: &[&str]) -> impl Strategy<Value = Vec<u8>> {
    let cases: Vec<Vec<u8>> =
        folders.iter().flat_map(|folder| cases(folder)).map(|(_, case)| case).collect();
    let byte = prop_oneof![
        any::<u8>(),
        proptest::sample::select(b"\0\t\r\n \"\\{}[]:,;.0u9aA\x7f\x80\xff".to_vec()),
    ];
    let damage = prop_oneof![
        byte.clone().prop_map(Damage::Changed),
        Just(Damage::Gone),
        byte.prop_map(Damage::Before),
        Just(Damage::Cut),
    ];
    let damages = vec((any::<Index>(), damage), 1..5);
    (proptest::sample::select(cases), damages).prop_map(|(case, damages)| {
        damages.into_iter().fold(case, |mut bytes, (place, damage)| {
            if bytes.is_empty() {
                return bytes;
            }
            let at = place.index(bytes.len());
            match damage {
                Damage::Changed(byte) => bytes[at] = byte,
                Damage::Gone => drop(bytes.remove(at)),
                Damage::Before(byte) => bytes.insert(at, byte),
                Damage::Cut => bytes.truncate(at),
            }
            bytes
        })
    })
}
