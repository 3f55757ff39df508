//! The state of an object without names: two objects with the same canonical state behave alike.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::object::attributes::Attributes;
use crate::object::failures::Kept;
use crate::object::lock::Purpose;
use crate::object::memory_object::Life;
use crate::object::ops::OpKind;
use crate::object::waiting::Waiting;
use crate::object::{DataId, MemoryObject, PageError, PageIndex, PageRange, PortName};

/// Everything that decides what an object will do, as a hash of 128 bits: with ten million states, two
/// that differ get the same one with a probability below 10⁻²⁴.
///
/// Data, operations, tokens, control ports and write numbers are named in the order in which they
/// are met. Of a write number nothing counts but which pages share it, and which of the lock requests
/// that the kernel has confirmed it comes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Canonical(u64, u64);

struct Naming {
    words: Vec<u32>,
    data: Names<DataId>,
    seqs: Names<u64>,
    controls: Names<PortName>,
    /// The numbers at which lock requests were closed, in order.
    closed: Vec<u64>,
}

/// Names by order of appearance; few at a time.
struct Names<T>(Vec<T>);

impl<T: PartialEq> Names<T> {
    fn of(&mut self, value: T) -> u32 {
        let at = self.0.iter().position(|known| *known == value);
        at.unwrap_or_else(|| {
            self.0.push(value);
            self.0.len() - 1
        }) as u32
    }
}

impl Canonical {
    pub(super) fn of(object: &MemoryObject, pages: u64) -> Self {
        let mut closed: Vec<_> = object.locks.iter().filter_map(|wait| wait.closed_at).collect();
        closed.sort_unstable();
        closed.dedup();
        let mut naming = Naming {
            words: Vec::with_capacity(64),
            data: Names(Vec::new()),
            seqs: Names(Vec::new()),
            controls: Names(vec![PortName::default()]),
            closed,
        };
        naming.head(object);
        (0..pages).for_each(|page| naming.page(object, PageIndex(page)));
        naming.ops(object);
        naming.locks(object);
        Self(hash(0, &naming.words), hash(1, &naming.words))
    }
}

fn hash(salt: u8, words: &[u32]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (salt, words).hash(&mut hasher);
    hasher.finish()
}

impl Naming {
    fn put(&mut self, word: u32) {
        self.words.push(word);
    }

    fn data(&mut self, data: DataId) {
        let name = self.data.of(data);
        self.put(name);
    }

    fn seq(&mut self, seq: u64) {
        let name = self.seqs.of(seq);
        let before = self.closed.partition_point(|closed| *closed <= seq) as u32;
        self.put(name * 16 + before);
    }

    fn control(&mut self, control: PortName) {
        let name = self.controls.of(control);
        self.put(name);
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
            Waiting::Request { access, doubted, .. } => {
                self.put(5000 + 10 * u32::from(doubted) + access.bits())
            }
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
                Purpose::Held(held) => 7003 + held.sight as u32 + 4 * held.access.bits(),
            });
            if let Purpose::Held(held) = wait.purpose {
                self.control(held.control);
            }
            self.put((wait.asked.start().0 * 8 + wait.asked.end().0) as u32);
            self.put(u32::from(wait.flushes));
            self.put(wait.pending as u32);
            match wait.closed_at {
                Some(seq) => {
                    let rank = self.closed.partition_point(|closed| *closed < seq) as u32;
                    self.put(7101 + rank);
                }
                None => self.put(7100),
            }
            for failure in &wait.failed {
                self.put(7200 + failure.page.0 as u32 * 2 + u32::from(failure.dropped));
            }
        }
    }
}
