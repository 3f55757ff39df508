//! Outstanding sync, flush and return requests, and what each still waits for.

use super::{LockKind, PageError, PageIndex, PageRange, PortName, Prot, RequestToken};

/// What a lock request was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// A user waits for it.
    User(RequestToken, LockKind),
    /// The object is being shut down.
    Shutdown,
    /// Nobody waits, but the core wants to know when the pages are gone.
    Notice,
    /// The kernel asked for a page that it should have.
    Held(Held),
}

/// A request of a page that the kernel holds, until the kernel shows whether it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Held {
    pub(crate) page: PageIndex,
    pub(crate) control: PortName,
    pub(crate) access: Prot,
    pub(crate) sight: Sight,
}

/// What the kernel has shown of a page since it asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sight {
    /// Nothing: if it stays so, the kernel has lost the page and waits for an answer.
    Missing,
    /// The page came back: it was there, and its supply answered the request.
    Seen,
    /// As `Seen`, and the kernel has asked for the page once more since.
    AskedAgain,
}

impl Purpose {
    /// The user's request that is answered at the end.
    pub(crate) fn token(self) -> Option<RequestToken> {
        match self {
            Self::User(token, _) => Some(token),
            Self::Shutdown | Self::Notice | Self::Held(_) => None,
        }
    }
}

/// A failed write that a lock request has to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) page: PageIndex,
    pub(crate) error: PageError,
    /// The request itself dropped the data.
    pub(crate) dropped: bool,
}

/// One lock request that is not over.
///
/// It is over when the kernel has confirmed it and every write of its range has ended that was
/// taken on before the confirmation; a shutdown, when no write is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LockWait {
    pub(crate) purpose: Purpose,
    /// The pages whose writes are waited for.
    pub(crate) range: PageRange,
    /// The pages that the kernel was asked for.
    pub(crate) asked: PageRange,
    pub(crate) flushes: bool,
    /// `None` until the kernel confirms; then the number of the first write not waited for.
    pub(crate) closed_at: Option<u64>,
    /// Pages of writes that it waits for.
    pub(crate) pending: u64,
    /// What it has to report.
    pub(crate) failed: Vec<Failure>,
}

impl LockWait {
    pub(crate) fn waits_for(&self, page: PageIndex, seq: u64) -> bool {
        self.range.contains(page) && self.counts(seq)
    }

    /// True if writes with this number are waited for.
    ///
    /// A shutdown waits for every write, whenever it began: what fails is handed back with its answer.
    pub(crate) fn counts(&self, seq: u64) -> bool {
        self.purpose == Purpose::Shutdown || self.closed_at.is_none_or(|closed| seq < closed)
    }

    fn is_over(&self) -> bool {
        self.closed_at.is_some() && self.pending == 0
    }

    /// Each page is reported once, with its last error.
    fn report(&mut self, page: PageIndex, error: PageError) {
        let failure = Failure {
            page,
            error,
            dropped: false,
        };
        match self.failed.iter_mut().find(|failed| failed.page == page) {
            Some(failed) => *failed = failure,
            None => self.failed.push(failure),
        }
    }
}

/// The lock requests of an object, in the order in which they were made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Locks {
    waits: Vec<LockWait>,
}

impl Locks {
    pub(crate) fn add(&mut self, wait: LockWait) {
        self.waits.push(wait);
    }

    /// The kernel returned a page that it had asked for: it had it.
    pub(crate) fn seen_back(&mut self, page: PageIndex) {
        for wait in &mut self.waits {
            if let Purpose::Held(held) = &mut wait.purpose
                && held.page == page
            {
                held.sight = Sight::Seen;
            }
        }
    }

    /// The kernel asks for a page; true if it is being asked already whether it holds it. So no
    /// page has more than one such question open, whatever the kernel does.
    pub(crate) fn asks_again(&mut self, page: PageIndex, control: PortName, access: Prot) -> bool {
        for wait in self.waits.iter_mut().filter(|wait| wait.closed_at.is_none()) {
            if let Purpose::Held(held) = &mut wait.purpose
                && held.page == page
                && held.control == control
            {
                if held.sight == Sight::Seen {
                    (held.sight, held.access) = (Sight::AskedAgain, access);
                }
                return true;
            }
        }
        false
    }

    /// A page write was taken on: whoever is still open waits for it.
    pub(crate) fn write_begins(&mut self, page: PageIndex, seq: u64) {
        for wait in self.waits.iter_mut().filter(|wait| wait.waits_for(page, seq)) {
            wait.pending += 1;
        }
    }

    /// A page write ended; true if somebody was there to be told of the failure.
    pub(crate) fn write_ended(&mut self, page: PageIndex, seq: u64, error: Option<PageError>) -> bool {
        let mut told = false;
        for wait in self.waits.iter_mut().filter(|wait| wait.waits_for(page, seq)) {
            wait.pending = wait.pending.saturating_sub(1);
            if let (Some(error), true) = (error, wait.purpose != Purpose::Notice) {
                wait.report(page, error);
                told = true;
            }
        }
        told
    }

    /// The kernel confirms a request of `range`: the first that was made. What it flushes is returned.
    pub(crate) fn confirm(&mut self, range: PageRange, next_seq: u64) -> Option<bool> {
        let mut open = self.waits.iter_mut().filter(|wait| wait.closed_at.is_none());
        let wait = open.find(|wait| wait.asked == range)?;
        wait.closed_at = Some(next_seq);
        Some(wait.flushes)
    }

    /// True if a flush of `page` is under way in the kernel.
    pub(crate) fn flushes(&self, page: PageIndex) -> bool {
        let mut open = self.waits.iter().filter(|wait| wait.closed_at.is_none());
        open.any(|wait| wait.flushes && wait.asked.contains(page))
    }

    /// The kernel is gone: it confirms nothing any more.
    pub(crate) fn confirm_all(&mut self, next_seq: u64) {
        for wait in &mut self.waits {
            wait.closed_at.get_or_insert(next_seq);
        }
    }

    /// Takes the first request that is over.
    pub(crate) fn take_over(&mut self) -> Option<LockWait> {
        let at = self.waits.iter().position(LockWait::is_over)?;
        Some(self.waits.remove(at))
    }

    /// Takes the first request, over or not.
    pub(crate) fn take_first(&mut self) -> Option<LockWait> {
        (!self.waits.is_empty()).then(|| self.waits.remove(0))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &LockWait> + '_ {
        self.waits.iter()
    }

    pub(crate) fn bytes(&self) -> usize {
        let failed = |wait: &LockWait| wait.failed.capacity() * size_of::<Failure>();
        self.waits.capacity() * size_of::<LockWait>() + self.waits.iter().map(failed).sum::<usize>()
    }
}
