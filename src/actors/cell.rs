//! What must survive a pager's actor: its engine, the calls nobody has served yet, the results
//! nobody has taken in yet.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::attempts::JobId;
use super::engine::JobReport;
use super::messages::{UserCall, Wake};
use super::pager::PagerAddress;
use super::pool::Work;
use super::registry::PagerId;
use super::work::PagerWork;

/// The result of an attempt at a job: `PagesRead`, `PagesWritten`, …, with data or an error code.
pub(crate) struct JobAnswer {
    pub(crate) id: JobId,
    /// `None`: the worker died.
    pub(crate) report: Option<JobReport>,
    /// What the worker had been given, to be let go by whoever takes the result.
    _spent: Option<Work>,
}

impl JobAnswer {
    pub(crate) fn of(work: Work, report: JobReport) -> Self {
        Self {
            id: work.id(),
            report: Some(report),
            _spent: Some(work),
        }
    }

    pub(crate) fn none(id: JobId) -> Self {
        Self {
            id,
            report: None,
            _spent: None,
        }
    }
}

/// How many patient results wake the actor.
const ANSWERS_PER_WAKE: usize = 16;
/// How many do where each comes sooner than a wake-up takes.
const QUICK_ANSWERS_PER_WAKE: usize = 64;
/// Of so many that are under way, another one.
const BACKLOG_PER_ANSWER: usize = 16;
/// No more than so many times as many are enough in any case.
const MOST_TIMES: usize = 8;
/// How many results are many.
const BACKLOG: usize = 64;
/// How many are many where each comes sooner than a wake-up takes.
const QUICK_BACKLOG: usize = 8;

/// How soon the actor must hear of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// At once.
    Now,
    /// Together with others, as long as many more are expected.
    WithOthers,
    /// The same, and the others come soon.
    WithOthersSoon,
}

/// What results wait for before they wake the actor.
#[derive(Clone, Copy)]
struct Patience {
    /// So many of them are enough.
    together: usize,
    /// So many others must be on their way.
    others: usize,
}

impl Patience {
    /// Of no results.
    const ENDLESS: Self = Self {
        together: usize::MAX,
        others: 0,
    };

    /// Of results of both kinds.
    fn with(self, other: Self) -> Self {
        Self {
            together: self.together.min(other.together),
            others: self.others.max(other.others),
        }
    }
}

impl Notice {
    fn patience(self) -> Patience {
        let (together, others) = match self {
            Self::Now => (1, usize::MAX),
            Self::WithOthers => (ANSWERS_PER_WAKE, BACKLOG),
            Self::WithOthersSoon => (QUICK_ANSWERS_PER_WAKE, QUICK_BACKLOG),
        };
        Patience { together, others }
    }
}

struct Inbox {
    calls: VecDeque<UserCall>,
    answers: VecDeque<JobAnswer>,
    patience: Patience,
    closed: bool,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            calls: VecDeque::new(),
            answers: VecDeque::new(),
            patience: Patience::ENDLESS,
            closed: false,
        }
    }
}

impl Inbox {
    /// True if the actor must take the results now, with so many jobs under way.
    fn is_due(&self, flying: usize) -> bool {
        let waiting = self.answers.len();
        let others = flying.saturating_sub(waiting);
        // Whoever waits for many waits long: a little longer is all the same.
        let together = self.patience.together;
        let together = together
            .max(others / BACKLOG_PER_ANSWER)
            .min(together.saturating_mul(MOST_TIMES));
        waiting > 0 && (waiting >= together || others < self.patience.others)
    }
}

/// A pager without its actor. The actor is woken when there is something in the inbox; when the
/// actor or its thread dies, another takes its place and finds everything here.
pub(crate) struct PagerCell {
    pub(crate) id: PagerId,
    pub(crate) name: String,
    /// Which of the bucket's arbiters runs the actor.
    pub(crate) arbiter: AtomicUsize,
    inbox: Mutex<Inbox>,
    work: Mutex<PagerWork>,
    address: Mutex<Option<PagerAddress>>,
    woken: AtomicBool,
    /// The jobs under way whose results the actor waits for, those in the inbox included. What was given up
    /// or taken back is not among them: other results must not wait for it.
    flying: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PagerCell {
    pub(crate) fn new(id: PagerId, name: String, arbiter: usize, work: PagerWork) -> Self {
        Self {
            id,
            name,
            arbiter: AtomicUsize::new(arbiter),
            inbox: Mutex::default(),
            work: Mutex::new(work),
            address: Mutex::default(),
            woken: AtomicBool::new(false),
            flying: AtomicUsize::new(0),
        }
    }

    /// Adds a call; after the end it is dropped, which tells its caller.
    pub(crate) fn call(&self, call: UserCall) {
        let mut inbox = lock(&self.inbox);
        if !inbox.closed {
            inbox.calls.push_back(call);
            drop(inbox);
            self.wake();
        }
    }

    /// The actor begins jobs whose results will be [added](Self::answer).
    pub(crate) fn begins(&self, jobs: usize) {
        self.flying.fetch_add(jobs, Ordering::Relaxed);
    }

    /// The actor says at the end of a turn how many jobs it waits for: results that waited for others may
    /// wait in vain by now.
    pub(crate) fn waits_for(&self, flying: usize) {
        self.flying.store(flying, Ordering::Relaxed);
        let due = lock(&self.inbox).is_due(flying);
        if due {
            self.wake();
        }
    }

    /// Adds the result of a job; nobody takes it if the pager has ended.
    pub(crate) fn answer(&self, answer: JobAnswer, notice: Notice) {
        let mut inbox = lock(&self.inbox);
        if inbox.closed {
            return;
        }
        inbox.patience = inbox.patience.with(notice.patience());
        inbox.answers.push_back(answer);
        let due = inbox.is_due(self.flying.load(Ordering::Relaxed));
        drop(inbox);
        if due {
            self.wake();
        }
    }

    /// Takes the oldest result, or else the oldest call. Results are fetched all at once: `fetched` is where
    /// the rest of them stand until the next time, and must live as long as this cell.
    pub(crate) fn next(&self, fetched: &mut VecDeque<JobAnswer>) -> Option<Incoming> {
        if let Some(answer) = fetched.pop_front() {
            return Some(Incoming::Answer(answer));
        }
        let mut inbox = lock(&self.inbox);
        std::mem::swap(&mut inbox.answers, fetched);
        inbox.patience = Patience::ENDLESS;
        if let Some(answer) = fetched.pop_front() {
            return Some(Incoming::Answer(answer));
        }
        inbox.calls.pop_front().map(Incoming::Call)
    }

    /// True if the actor was told to look into the inbox and has not begun to.
    pub(crate) fn is_called(&self) -> bool {
        self.woken.load(Ordering::Relaxed)
    }

    /// Says that the actor is about to look into the inbox.
    pub(crate) fn awake(&self) {
        self.woken.store(false, Ordering::SeqCst);
    }

    /// Gives the cell a new actor.
    pub(crate) fn house(&self, address: PagerAddress) {
        *lock(&self.address) = Some(address);
        self.awake();
        self.wake();
    }

    /// The pager has ended: no call is taken any more.
    pub(crate) fn close(&self) {
        let mut inbox = lock(&self.inbox);
        inbox.closed = true;
        inbox.calls.clear();
        drop(inbox);
        *lock(&self.address) = None;
    }

    /// The pager's work; only its actor takes it, so nobody waits for it.
    pub(crate) fn work(&self) -> MutexGuard<'_, PagerWork> {
        lock(&self.work)
    }

    fn wake(&self) {
        if !self.woken.swap(true, Ordering::SeqCst)
            && let Some(address) = &*lock(&self.address)
        {
            address.do_send(Wake);
        }
    }
}

/// What comes in.
pub(crate) enum Incoming {
    Call(UserCall),
    Answer(JobAnswer),
}
