//! What may be typed after `scripts/bench`, and how long each measurement is for it.
//!
//! Never: reads the environment. A word that it does not know stops the start.

use std::path::PathBuf;
use std::time::Duration;

const USAGE: &str = "usage: scripts/bench [--quick] [--rounds N] [--only PREFIX] [--bridge PATH]";

pub struct Options {
    pub quick: bool,
    pub rounds: usize,
    /// Only the measurements whose name starts so.
    pub only: String,
    /// The bridge to measure.
    pub bridge: PathBuf,
    pub sizes: Sizes,
}

/// How much is done for each figure. The processor time of a process comes in hundredths of a second: each figure is made from
/// some thirty of them at least.
pub struct Sizes {
    pub paced: Duration,
    /// Messages at full speed, over all sessions.
    pub flood: u32,
    pub poll_flood: u32,
    pub bursts: u32,
    pub echoes: u32,
    pub idle: Duration,
}

const QUICK: Sizes = Sizes {
    paced: Duration::from_secs(3),
    flood: 600_000,
    poll_flood: 150_000,
    bursts: 10,
    echoes: 5000,
    idle: Duration::from_secs(15),
};

const FULL: Sizes = Sizes {
    paced: Duration::from_secs(10),
    flood: 2_000_000,
    poll_flood: 600_000,
    bursts: 40,
    echoes: 20_000,
    idle: Duration::from_secs(60),
};

impl Options {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
        let bridge = PathBuf::from(env!("CARGO_BIN_EXE_actioncable-to-eventsource"));
        let mut options =
            Options { quick: false, rounds: 3, only: String::new(), bridge, sizes: FULL };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word}: a value is missing; {USAGE}"));
            match word.as_str() {
                "--quick" => (options.quick, options.sizes) = (true, QUICK),
                "--rounds" => options.rounds = rounds(&value()?)?,
                "--only" => options.only = value()?,
                "--bridge" => options.bridge = value()?.into(),
                _ => return Err(format!("{word}: unknown; {USAGE}")),
            }
        }
        Ok(options)
    }
}

fn rounds(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(rounds @ 1..=100) => Ok(rounds),
        _ => Err(format!("--rounds {text}: a number from 1 to 100 is due")),
    }
}
