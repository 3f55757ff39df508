//! What a pager does about a store that fails: how often, how long, and then what.

use std::time::Duration;

use super::engine::UnsavedLimit;

/// Waiting times that double from attempt to attempt, with jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Before the second attempt.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Backoff {
    /// How long to wait after `attempts` attempts: between half of the doubled time and all of it.
    ///
    /// `noise` is any number; callers that use different ones do not come back all at once.
    pub fn after(&self, attempts: u32, noise: u64) -> Duration {
        let doubled = self.first.saturating_mul(1 << attempts.saturating_sub(1).min(20));
        let whole = doubled.min(self.longest);
        let half = whole / 2;
        let share = f64::from((mix(noise) >> 32) as u32) / f64::from(u32::MAX);
        half + half.mul_f64(share)
    }
}

/// Spreads the bits of `value` (splitmix64).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// At most `failures` within `period`; one more, and the pager is quarantined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intensity {
    /// How many.
    pub failures: usize,
    /// Within how long.
    pub period: Duration,
}

/// What a pager does about a store that fails.
///
/// A write that fails is never given up: its pages stay in memory and are tried again with
/// `write_backoff`, for as long as the pager lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailurePolicy {
    /// How often a read is tried before the faulting thread sees its error; at least once.
    pub read_attempts: u32,
    /// How long the faulting thread waits between two attempts of its read.
    pub read_backoff: Backoff,
    /// How long failed writes wait for the next attempt.
    pub write_backoff: Backoff,
    /// How long a call of the store may take. A read that takes longer is tried on another worker,
    /// then answered with EIO; a write that takes longer counts as failed, and its pages are not
    /// written again before the call has returned, so that it cannot overwrite newer data. Nor are they
    /// read before (flushed meanwhile, they are not in memory any more): the store may have older data
    /// until then. Such a read waits as long again, for each of its attempts, then is answered with EIO.
    pub deadline: Duration,
    /// How long a thread waits for memory for its page, where the system has none, before it gets EIO.
    /// Meanwhile pages are given up, and nothing is lost.
    pub memory_deadline: Duration,
    /// How many panics, overdue calls and restarts are taken before the pager is quarantined.
    pub intensity: Intensity,
    /// How long the supervisor waits before it has a broken store made anew.
    pub restart_backoff: Backoff,
    /// How many pages may wait for a store that cannot take them, and what writers of clean pages meet
    /// beyond that. `None`: no limit but the bound on resident memory.
    pub unsaved_limit: Option<UnsavedLimit>,
}

impl Default for FailurePolicy {
    fn default() -> Self {
        let short = Backoff {
            first: Duration::from_millis(5),
            longest: Duration::from_secs(1),
        };
        let long = Backoff {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(10),
        };
        Self {
            read_attempts: 1,
            read_backoff: short,
            write_backoff: long,
            deadline: Duration::from_secs(30),
            memory_deadline: Duration::from_secs(30),
            intensity: Intensity {
                failures: 10,
                period: Duration::from_secs(10),
            },
            restart_backoff: short,
            unsaved_limit: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_the_longest_and_is_never_shorter_than_half() {
        let backoff = Backoff {
            first: Duration::from_millis(10),
            longest: Duration::from_millis(80),
        };
        for (attempts, whole) in [(1, 10), (2, 20), (3, 40), (4, 80), (5, 80), (60, 80)] {
            for noise in 0..100 {
                let wait = backoff.after(attempts, noise);
                let whole = Duration::from_millis(whole);
                assert!(whole / 2 <= wait && wait <= whole, "{attempts}: {wait:?}");
            }
        }
        assert_ne!(backoff.after(4, 1), backoff.after(4, 2));
    }
}
