//! The state of an object without names: two objects with the same canonical state behave alike.

use std::collections::BTreeMap;

use crate::object::attributes::Attributes;
use crate::object::failures::Kept;
use crate::object::lock::Purpose;
use crate::object::memory_object::Life;
use crate::object::ops::OpKind;
use crate::object::waiting::Waiting;
use crate::object::{DataId, MemoryObject, PageError, PageIndex, PageRange, PortName};

/// Everything that decides what an object will do, with data, operations, tokens and write numbers
/// named in the order in which they are met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Canonical(Vec<u32>);

struct Naming<'a> {
    words: &'a mut Vec<u32>,
    data: BTreeMap<DataId, u32>,
    seqs: BTreeMap<u64, u32>,
}

impl Canonical {
    pub(super) fn of(object: &MemoryObject, pages: u64) -> Self {
        let mut words = Vec::with_capacity(48);
        let mut naming = Naming {
            words: &mut words,
            data: BTreeMap::new(),
            seqs: seqs(object),
        };
        naming.head(object);
        (0..pages).for_each(|page| naming.page(object, PageIndex(page)));
        naming.ops(object);
        naming.locks(object);
        Self(words)
    }
}

/// The ranks of all write numbers in use.
fn seqs(object: &MemoryObject) -> BTreeMap<u64, u32> {
    let ops = object.ops.iter().filter_map(|op| match op.kind {
        OpKind::Write { seq, .. } => Some(seq),
        OpKind::Read | OpKind::Unlock => None,
    });
    let closed = object.locks.iter().filter_map(|wait| wait.closed_at);
    let queued = object.queues.seqs().map(|(_, seq)| seq);
    let mut all: Vec<u64> = ops.chain(closed).chain(queued).collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter().zip(0..).collect()
}

impl Naming<'_> {
    fn put(&mut self, word: u32) {
        self.words.push(word);
    }

    fn data(&mut self, data: DataId) {
        let next = self.data.len() as u32;
        let name = *self.data.entry(data).or_insert(next);
        self.put(name);
    }

    fn seq(&mut self, seq: u64) {
        let rank = self.seqs.get(&seq).copied().unwrap_or(u32::MAX);
        self.put(rank);
    }

    fn control(&mut self, control: PortName) {
        self.put(control.0 as u32);
    }

    fn head(&mut self, object: &MemoryObject) {
        self.put(match object.life {
            Life::Open => 0,
            Life::ShuttingDown => 1,
            Life::ShutDown => 2,
        });
        self.control(object.sessions.control().unwrap_or_default());
        for control in object.sessions.dying() {
            self.control(control);
        }
        self.put(1000 + object.shutdown_tokens.len() as u32);
        let attributes = object.attributes.pending_values();
        for Attributes { may_cache, .. } in std::iter::once(object.attributes.current).chain(attributes) {
            self.put(u32::from(may_cache));
        }
        self.put(2000);
    }

    fn page(&mut self, object: &MemoryObject, page: PageIndex) {
        self.put(u32::from(object.pages.get(page).pack()));
        match object.failures.kept(page) {
            Some(Kept::Here(data)) => self.data(data),
            Some(Kept::InKernel) => self.put(3000),
            None => self.put(3001),
        }
        let unreported = object.failures.unreported().find(|(at, _)| *at == page);
        self.error(unreported.map(|(_, error)| error));
        self.put(u32::from(object.failures.was_told(page)));
        for item in object.queues.of(page) {
            self.item(item);
        }
        self.put(4000);
    }

    fn error(&mut self, error: Option<PageError>) {
        self.put(match error {
            None => 0,
            Some(PageError::Io) => 1,
            Some(PageError::NoSpace) => 2,
            Some(PageError::Quota) => 3,
        });
    }

    fn item(&mut self, item: Waiting) {
        self.control(item.control());
        match item {
            Waiting::Request { access, .. } => self.put(5000 + access.bits()),
            Waiting::Unlock { .. } => self.put(5100),
            Waiting::Return {
                data,
                dirty,
                kernel_copy,
                seq,
                ..
            } => {
                self.put(5200 + u32::from(dirty) * 2 + u32::from(kernel_copy));
                self.data(data);
                self.seq(seq);
            }
        }
    }

    fn ops(&mut self, object: &MemoryObject) {
        let mut ops: Vec<_> = object.ops.iter().collect();
        ops.sort_by_key(|op| op.runs().map(PageRange::start).min());
        for op in ops {
            self.control(op.control);
            let mut runs: Vec<_> = op.runs().filter(|run| !run.is_empty()).collect();
            runs.sort_by_key(|run| run.start());
            for run in runs {
                self.put(6000 + (run.start().0 * 8 + run.end().0) as u32);
            }
            match op.kind {
                OpKind::Read => self.put(6100),
                OpKind::Unlock => self.put(6101),
                OpKind::Write {
                    data,
                    kernel_copy,
                    seq,
                } => {
                    self.put(6102 + u32::from(kernel_copy));
                    self.data(data);
                    self.seq(seq);
                }
            }
        }
    }

    fn locks(&mut self, object: &MemoryObject) {
        for wait in object.locks.iter() {
            self.put(match wait.purpose {
                Purpose::User(..) => 7000,
                Purpose::Shutdown => 7001,
                Purpose::Notice => 7002,
                Purpose::Held(held) => 7003 + u32::from(held.seen) + 2 * held.access.bits(),
            });
            self.put((wait.asked.start().0 * 8 + wait.asked.end().0) as u32);
            self.put(u32::from(wait.flushes));
            self.put(wait.pending as u32);
            match wait.closed_at {
                Some(seq) => self.seq(seq),
                None => self.put(7100),
            }
            for failure in &wait.failed {
                self.put(7200 + failure.page.0 as u32 * 2 + u32::from(failure.dropped));
            }
        }
    }
}
