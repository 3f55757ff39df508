//! Letting others run after a turn, to see whether they want something at once.
//!
//! A thread that got its page and waits for this processor runs, touches the next page and stops there. Whoever
//! looks then, before sleeping, saves falling asleep and being woken.

use std::thread;
use std::time::{Duration, Instant};

use super::thrift::Thrift;

/// Whoever keeps the processor longer than this does not fault all the time: others wait for the pager meanwhile.
const LONGEST: Duration = Duration::from_micros(50);
/// How often in a row at most, before other actors of the thread have their turn.
const MOST: u32 = 16;

/// Whether that paid lately.
#[derive(Debug, Default)]
pub(super) struct Courtesy {
    thrift: Thrift,
}

impl Courtesy {
    /// Lets others run and looks, as long as it pays; `look` takes a turn if there is something to do and says
    /// whether there was. False if nothing was left to do, true if another look may pay.
    pub(super) fn exchange(&mut self, mut look: impl FnMut() -> bool) -> bool {
        for _ in 0..MOST {
            if !self.thrift.may_try() {
                return false;
            }
            let start = Instant::now();
            thread::yield_now();
            let soon = start.elapsed() < LONGEST;
            let found = look();
            match found && soon {
                true => self.thrift.paid(),
                false => self.thrift.in_vain(),
            }
            if !found {
                return false;
            }
        }
        true
    }
}
