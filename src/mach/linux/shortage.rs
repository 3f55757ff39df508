//! The system has no memory for pages, whatever the bound says: a limit on the process, a full machine.
//!
//! Nothing is lost by it and nobody is told a lie: pages are given up as under a bound, and a page that
//! did not fit is asked for again. Attempts that fail come less and less often; only a thread that has
//! waited too long gets an error.

use std::io;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::evict::BATCH;
use super::object::{LinuxObject, Phase};
use super::waits::Stage;
use crate::mach::kernel::KernelNews;
use crate::object::{PageError, PageIndex};

/// Between two attempts, at first.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// Between two attempts, at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// How long no memory must have been refused for the shortage to be over.
const CALM: Duration = Duration::from_secs(1);
/// One page in so many is given up at a time.
const SHARE: u64 = 16;

/// True if a system call found no memory.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    let none = [Errno::NOMEM, Errno::NOSPC].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|errno| none.contains(&errno))
}

/// How short of memory an object is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shortage {
    /// How long threads wait.
    patience: Duration,
    /// When memory was refused last.
    last: Option<Instant>,
    /// No page has come since memory was refused: when to try next.
    next: Option<Instant>,
    pause: Duration,
    /// Pages are to be given up.
    relief: bool,
}

impl Shortage {
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            patience,
            last: None,
            next: None,
            pause: FIRST_PAUSE,
            relief: false,
        }
    }

    /// True from the first refusal until there was none for a while.
    pub(super) fn is_on(&self) -> bool {
        self.last.is_some()
    }

    /// True if no page has come since the last refusal.
    pub(super) fn is_stuck(&self) -> bool {
        self.next.is_some()
    }

    /// True if a page may be asked for; where nothing goes on, one at a time.
    pub(super) fn may_try(&mut self) -> bool {
        let Some(next) = self.next else { return true };
        let now = Instant::now();
        if now < next {
            return false;
        }
        self.next = Some(now + LONGEST_PAUSE);
        true
    }

    /// A page had memory.
    pub(super) fn page_came(&mut self) {
        if self.next.take().is_some() {
            self.pause = FIRST_PAUSE;
        }
    }

    /// How long whoever needs memory waits for it.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// When there is something to be done.
    pub(super) fn due(&self) -> Option<Instant> {
        let over = self.last.map(|last| last + CALM);
        self.next.into_iter().chain(over).min()
    }

    /// Memory was refused now; true if it was not before.
    fn refused(&mut self, now: Instant) -> bool {
        self.next = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.relief = true;
        self.last.replace(now).is_none()
    }

    fn is_over(&self, now: Instant) -> bool {
        let calm = |last| now.duration_since(last) >= CALM;
        !self.is_stuck() && self.last.is_some_and(calm)
    }
}

impl LinuxObject {
    /// The system refused memory for a page, which is in the line again.
    pub(super) fn run_short(&mut self) {
        self.count(|stats| &stats.memory_refused, 1);
        if self.shortage.refused(Instant::now()) {
            self.news.push_back(KernelNews::MemoryShort);
        }
        // The next turn gives pages up.
        self.share.wake();
    }

    /// Does what can be done about a shortage; says when it is over.
    pub(super) fn relieve(&mut self) {
        if !self.shortage.is_on() {
            return;
        }
        let now = Instant::now();
        if std::mem::take(&mut self.shortage.relief) {
            self.give_some_up();
        }
        self.disappoint(now);
        if self.waits.queued().is_none() && !self.copies_are_short() {
            // Nobody needs memory any more.
            self.shortage.page_came();
        }
        if self.shortage.is_over(now) {
            self.shortage.last = None;
            self.news.push_back(KernelNews::MemoryBack);
            self.share.wake();
        }
    }

    fn give_some_up(&mut self) {
        let pages = (self.table.resident() / SHARE).max(BATCH);
        let before = self.table.resident();
        self.host
            .budget
            .ask_others(&self.share, pages << self.size.shift());
        self.evict(pages);
        if self.table.resident() < before {
            // There is memory now.
            self.shortage.next = self.shortage.next.map(|_| Instant::now());
        }
    }

    /// Whoever has waited too long for memory gets an error.
    fn disappoint(&mut self, now: Instant) {
        if !self.shortage.is_stuck() || self.phase != Phase::Ready {
            return;
        }
        let patience = self.shortage.patience;
        let too_long = |page: &PageIndex| {
            let wait = self.waits.get(*page);
            wait.is_some_and(|wait| {
                wait.stage == Stage::Queued && now.saturating_duration_since(wait.since) >= patience
            })
        };
        let pages: Vec<_> = self.waits.all().into_iter().filter(too_long).collect();
        for page in pages {
            self.fail(page, PageError::Io);
        }
    }
}
