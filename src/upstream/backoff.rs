//! How long to wait before the next attempt.

use std::time::Duration;

const FIRST_RETRY_MIN: Duration = Duration::from_millis(100);
const FIRST_RETRY_MAX: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(10);

pub fn pause_after(failures: u32) -> Duration {
    // Without random bytes the sessions come back together: late, but they come.
    backoff(failures, getrandom::u32().unwrap_or(u32::MAX))
}

/// How long to wait after `failures` attempts in a row that failed: 100 to 500 ms at first, then up to half as much again each
/// time, to 10 s: after an absence of 7 s, as Rails needs to start, that is another 3 s at most. `random` spreads the sessions
/// over the upper half, so that they do not come back all at once.
fn backoff(failures: u32, random: u32) -> Duration {
    let times = failures.min(16);
    let max = (FIRST_RETRY_MAX * 3_u32.pow(times) / 2_u32.pow(times)).min(RETRY_MAX);
    let min = if failures == 0 { FIRST_RETRY_MIN } else { max / 2 };
    min + (max - min).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_retry_comes_within_100_to_500_ms() {
        assert_eq!(backoff(0, 0), Duration::from_millis(100));
        assert_eq!(backoff(0, u32::MAX), Duration::from_millis(500));
    }

    #[test]
    fn later_ones_grow_by_half_up_to_ten_seconds() {
        for (failures, most) in [(1, 750), (2, 1_125), (4, 2_531), (7, 8_542), (8, 10_000)] {
            assert_eq!(backoff(failures, u32::MAX).as_millis(), most);
            assert_eq!(backoff(failures, 0).as_millis(), most / 2);
        }
        assert_eq!(backoff(u32::MAX, u32::MAX), RETRY_MAX);
    }

    #[test]
    fn randomness_spreads_them() {
        assert!(backoff(3, 1 << 30) < backoff(3, 1 << 31));
    }
}
