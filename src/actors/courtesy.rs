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
/// Whoever keeps the processor as long as this computes, and does so again.
const SLICE: Duration = Duration::from_millis(1);
/// After that there is no round for so many times as long.
const REST: u32 = 30;
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
    /// No round before this.
    rests_until: Option<Instant>,
}

impl Courtesy {
    /// Lets others run and looks, as long as it pays; `look` takes in what there is.
    /// False if nothing was there at last, true if there may be more.
    pub(super) fn exchange(&mut self, mut look: impl FnMut() -> Found) -> bool {
        if !self.thrift.may_try() {
            return false;
        }
        let mut start = Instant::now();
        if self.rests_until.is_some_and(|until| start < until) {
            return false;
        }
        for _ in 0..MOST {
            thread::yield_now();
            let found = look();
            let end = Instant::now();
            if !self.paid(found, start, end) {
                return found != Found::Nothing;
            }
            start = end;
        }
        true
    }

    /// Whether a round paid.
    fn paid(&mut self, found: Found, start: Instant, end: Instant) -> bool {
        let took = end.duration_since(start);
        self.rests_until = (took >= SLICE).then(|| end + took * REST);
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
        let start = Instant::now();
        assert!(courtesy.paid(Found::Some, start, start));
        assert!(courtesy.thrift.may_try() && courtesy.rests_until.is_none());
        let end = start + LONGEST;
        assert!(!courtesy.paid(Found::Some, start, end), "others waited meanwhile");
        assert!(!courtesy.thrift.may_try() && courtesy.rests_until.is_none());
        assert!(
            !courtesy.paid(Found::Some, start, start + SLICE),
            "somebody computes"
        );
        assert_eq!(courtesy.rests_until, Some(start + SLICE + SLICE * REST));
    }
}
