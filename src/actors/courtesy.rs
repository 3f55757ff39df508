//! Letting others run after a turn, to see whether they want something at once.
//!
//! A thread that got its page and waits for this processor runs, touches the next page and stops there. Whoever
//! looks then, before sleeping, saves falling asleep and being woken.

use std::thread;
use std::time::{Duration, Instant};

use super::thrift::Thrift;

/// If a round takes longer than this, somebody keeps the processor who does not fault all the time, and others wait
/// for the pager meanwhile.
const LONGEST: Duration = Duration::from_micros(150);
/// How often in a row at most, before other actors of the thread have their turn.
const MOST: u32 = 16;

/// What a look brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing.
    Nothing,
    /// News, sooner than a wake-up would have brought it.
    Some,
    /// So much that others had better not be waited for again.
    Plenty,
}

/// Whether that paid lately.
#[derive(Debug, Default)]
pub(super) struct Courtesy {
    thrift: Thrift,
}

impl Courtesy {
    /// Lets others run and looks, as long as it pays; `look` takes in what there is.
    /// False if nothing was there at last, true if there may be more.
    pub(super) fn exchange(&mut self, mut look: impl FnMut() -> Found) -> bool {
        if !self.thrift.may_try() {
            return false;
        }
        let mut start = Instant::now();
        for _ in 0..MOST {
            thread::yield_now();
            let found = look();
            let end = Instant::now();
            if !self.paid(found, end.duration_since(start)) {
                return found != Found::Nothing;
            }
            start = end;
        }
        true
    }

    /// Whether a round paid that took so long.
    fn paid(&mut self, found: Found, took: Duration) -> bool {
        let paid = found == Found::Some && took < LONGEST;
        match paid {
            true => self.thrift.paid(),
            false => self.thrift.in_vain(),
        }
        paid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often others are let run before an exchange ends, where each look brings `found`.
    fn rounds(courtesy: &mut Courtesy, found: Found) -> u32 {
        let mut rounds = 0;
        courtesy.exchange(|| {
            rounds += 1;
            found
        });
        rounds
    }

    #[test]
    fn whoever_finds_nothing_stops_and_tries_less_often() {
        let mut courtesy = Courtesy::default();
        let tried: Vec<_> = (0..6).map(|_| rounds(&mut courtesy, Found::Nothing)).collect();
        assert_eq!(tried, [1, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn whoever_finds_many_at_once_may_as_well_sleep() {
        let mut courtesy = Courtesy::default();
        assert_eq!(rounds(&mut courtesy, Found::Plenty), 1);
        assert_eq!(rounds(&mut courtesy, Found::Some), 0);
    }

    #[test]
    fn a_round_pays_that_is_short_and_finds_something() {
        let mut courtesy = Courtesy::default();
        assert!(courtesy.paid(Found::Some, Duration::ZERO));
        assert!(courtesy.thrift.may_try());
        assert!(!courtesy.paid(Found::Some, LONGEST), "others waited meanwhile");
        assert!(!courtesy.thrift.may_try());
    }
}
