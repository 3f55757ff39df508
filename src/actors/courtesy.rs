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
            let paid = found == Found::Some && end.duration_since(start) < LONGEST;
            start = end;
            if !paid {
                self.thrift.in_vain();
                return found != Found::Nothing;
            }
            self.thrift.paid();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often others are let run before an exchange ends, where `look` finds something.
    fn rounds(courtesy: &mut Courtesy, mut look: impl FnMut(u32) -> Found) -> u32 {
        let mut rounds = 0;
        courtesy.exchange(|| {
            rounds += 1;
            look(rounds)
        });
        rounds
    }

    #[test]
    fn whoever_finds_something_each_time_looks_on_until_others_must_have_their_turn() {
        let mut courtesy = Courtesy::default();
        for _ in 0..3 {
            assert_eq!(rounds(&mut courtesy, |_| Found::Some), MOST);
        }
    }

    #[test]
    fn whoever_finds_nothing_stops_and_tries_less_often() {
        let mut courtesy = Courtesy::default();
        let tried: Vec<_> = (0..6)
            .map(|_| rounds(&mut courtesy, |_| Found::Nothing))
            .collect();
        assert_eq!(tried, [1, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn whoever_finds_many_at_once_may_as_well_sleep() {
        let mut courtesy = Courtesy::default();
        assert_eq!(rounds(&mut courtesy, |_| Found::Plenty), 1);
        assert_eq!(rounds(&mut courtesy, |_| Found::Some), 0);
    }

    #[test]
    fn a_round_that_takes_long_ends_the_exchange_whatever_it_finds() {
        let mut courtesy = Courtesy::default();
        let slow = |_| {
            let start = Instant::now();
            while start.elapsed() < LONGEST {}
            Found::Some
        };
        assert_eq!(rounds(&mut courtesy, slow), 1);
        assert_eq!(rounds(&mut courtesy, |_| Found::Some), 0);
    }
}
