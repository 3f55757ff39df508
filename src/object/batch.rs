//! Effects on single pages, gathered into runs.
//!
//! The core decides page by page; neighbours that need the same become one effect. What is done to
//! one page keeps its order.

use super::ops::{Op, OpKind, Ops};
use super::{DataId, Effect, PageError, PageIndex, PageRange, PageSize, PortName, Prot, ShouldReturn};

/// What is to be done with one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Ask the store.
    Begin { control: PortName, what: Begin },
    /// Tell the kernel.
    Tell { control: PortName, what: Tell },
    /// The memory is needed no more.
    Release { data: DataId },
    /// The kernel gave the page up.
    Evicted,
    /// The write failed.
    WriteFailed { error: PageError },
}

/// What the store is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    Read {
        access: Prot,
    },
    Write {
        data: DataId,
        kernel_copy: bool,
        seq: u64,
    },
    Unlock,
}

/// What the kernel is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tell {
    Supply {
        data: DataId,
        lock: Prot,
        precious: bool,
    },
    Error(PageError),
    /// Lift the lock.
    Grant,
    /// The unlock was refused: drop the page, so that the thread that waits asks again.
    Refuse {
        should_return: ShouldReturn,
    },
    /// Return what the store does not have.
    Fetch,
    /// As `Fetch`, and say when it is done: each page is confirmed by itself.
    Check(PageIndex),
}

/// The actions of one event, in the order in which they were asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batches {
    open: Vec<(Action, PageRange)>,
}

/// How far back a run is looked for that a page could join.
const LOOK_BACK: usize = 8;

impl Batches {
    pub(crate) fn push(&mut self, page: PageIndex, action: Action) {
        for (open, range) in self.open.iter_mut().rev().take(LOOK_BACK) {
            if *open == action && range.end() == page {
                *range = PageRange::new(range.start(), page.next());
                return;
            }
            // What is needed no more may go at any time: it parts no run.
            let in_order = !matches!(open, Action::Release { .. });
            if in_order && range.contains(page) {
                break;
            }
        }
        self.open.push((action, PageRange::single(page)));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Turns the actions into effects; runs are cut to `max_run` pages where the store is asked.
    pub(crate) fn flush(&mut self, ops: &mut Ops, size: PageSize, max_run: u64, effects: &mut Vec<Effect>) {
        for (action, range) in self.open.drain(..) {
            match action {
                Action::Begin { control, what } => begin_runs(control, what, range, max_run, ops, effects),
                Action::Tell { control, what } => effects.push(tell(control, what, range, size)),
                Action::Release { data } => effects.push(Effect::Release { data, range }),
                Action::Evicted => effects.push(Effect::NotifyEvict { range }),
                Action::WriteFailed { error } => effects.push(Effect::WritesFailed { range, error }),
            }
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.open.capacity() * size_of::<(Action, PageRange)>()
    }
}

fn begin_runs(
    control: PortName,
    what: Begin,
    range: PageRange,
    max_run: u64,
    ops: &mut Ops,
    effects: &mut Vec<Effect>,
) {
    let mut start = range.start();
    while start < range.end() {
        let run = PageRange::with_len(start, max_run).intersection(range);
        effects.push(begin(control, what, run, ops));
        start = run.end();
    }
}

fn begin(control: PortName, what: Begin, range: PageRange, ops: &mut Ops) -> Effect {
    let mut name = |kind| {
        ops.begin(Op {
            kind,
            control,
            left: range,
            more: Vec::new(),
        })
    };
    match what {
        Begin::Read { access } => Effect::Read {
            op: name(OpKind::Read),
            range,
            access,
        },
        Begin::Write {
            data,
            kernel_copy,
            seq,
        } => Effect::Write {
            op: name(OpKind::Write {
                data,
                kernel_copy,
                seq,
            }),
            range,
            data,
        },
        Begin::Unlock => Effect::Unlock {
            op: name(OpKind::Unlock),
            range,
        },
    }
}

fn tell(control: PortName, what: Tell, range: PageRange, size: PageSize) -> Effect {
    let reply = matches!(what, Tell::Check(_));
    let lock_request = |should_return, should_flush, lock| Effect::LockRequest {
        control,
        offset: range.offset(size),
        length: range.bytes(size),
        should_return,
        should_flush,
        lock,
        reply,
    };
    match what {
        Tell::Supply { data, lock, precious } => Effect::DataSupply {
            control,
            range,
            data,
            lock,
            precious,
        },
        Tell::Error(error) => Effect::DataError {
            control,
            offset: range.offset(size),
            length: range.bytes(size),
            error,
        },
        Tell::Grant => lock_request(ShouldReturn::None, false, Prot::NONE),
        Tell::Refuse { should_return } => lock_request(should_return, true, Prot::WRITE),
        Tell::Fetch | Tell::Check(_) => lock_request(ShouldReturn::All, false, Prot::NO_CHANGE),
    }
}
