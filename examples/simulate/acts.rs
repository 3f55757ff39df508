//! What may happen in one step.

use actor_pager::actors::engine::{Copy, Job};
use actor_pager::backend::PageBuffer;
use actor_pager::mach::{PageData, Upcall};
use actor_pager::object::{
    CopyStrategy, Event, LockKind, PageError, PageIndex, PageRange, PageSize, PortName, Prot, RequestToken,
};

use crate::simulation::{Simulation, Thread};
use crate::store::{Fate, PAGE};

impl Simulation {
    /// One step: somebody does something.
    pub(crate) fn act(&mut self) {
        match self.rng.below(100) {
            0..30 => self.thread_begins(),
            30..50 => drop(self.hear()),
            50..72 => self.job_ends(),
            72..80 => self.pressure(),
            80..90 => self.user_calls(),
            90..93 => self.mapping_changes(),
            93..95 => self.retries(),
            95..97 => self.inhibition(),
            97..99 if self.plan.illegal => self.kernel_errs(),
            97 => self.second_kernel(),
            98 if self.rng.chance(5) => self.shutdown(),
            98 => self.use_copy(),
            _ => self.copies(),
        }
        self.run_threads();
        self.take_outputs();
    }

    fn offset(&mut self) -> u64 {
        self.rng.below(self.pages) * PAGE as u64 + self.rng.below(PAGE as u64 / 8) * 8
    }

    pub(crate) fn range(&mut self) -> (u64, u64) {
        let start = self.rng.below(self.pages);
        let count = 1 + self.rng.below(self.pages - start);
        (start * PAGE as u64, count * PAGE as u64)
    }

    fn thread_begins(&mut self) {
        if self.mappings.is_empty() {
            self.map();
        }
        let at = self.rng.below(self.threads.len() as u64) as usize;
        if matches!(self.threads[at], Thread::Idle) {
            let (offset, value) = (self.offset(), self.fresh());
            let writes = self.rng.chance(55);
            self.threads[at] = if writes {
                Thread::Writes { offset, value }
            } else {
                Thread::Reads { offset }
            };
            self.tell(|| format!("thread {at}: {:?}", self.threads[at]));
        }
    }

    fn fate(&mut self) -> Fate {
        let error = [PageError::Io, PageError::NoSpace, PageError::Quota][self.rng.below(3) as usize];
        match self.rng.below(100) {
            0..20 => Fate::Fails(error, 0),
            20..30 => Fate::Fails(error, 1 + self.rng.below(4)),
            30..35 => Fate::Panics,
            _ => Fate::Succeeds,
        }
    }

    /// The store finishes one of its calls, not always the oldest.
    fn job_ends(&mut self) {
        if !self.jobs.is_empty() {
            let at = self.rng.below(self.jobs.len() as u64) as usize;
            let fate = self.fate();
            self.end_job(at, fate);
        }
    }

    pub(crate) fn end_job(&mut self, at: usize, fate: Fate) {
        let mut job = self.jobs.swap_remove(at);
        let (lock_reads, inline) = (self.rng.chance(20), self.rng.chance(20));
        self.tell(|| format!("store: {job:?} {fate:?}"));
        self.store.next_call(fate, lock_reads, false);
        self.note_write(&job, fate);
        let report = job.run(&*self.store, PageSize::KIB_4);
        self.counts.jobs += 1;
        self.store.next_call(Fate::Succeeds, lock_reads, inline);
        self.engine.job_done(report.done);
    }

    /// What a failed write leaves of pages that were flushed meanwhile is what counts.
    fn note_write(&mut self, job: &Job, fate: Fate) {
        if let Job::Write { range, .. } = job {
            for page in range.iter() {
                if self.flushed.remove(&page) && fate != Fate::Succeeds {
                    self.forget(PageRange::single(page));
                }
            }
        }
    }

    fn pressure(&mut self) {
        let page = PageIndex(self.rng.below(self.pages));
        let taken = self.client.evict(PageRange::single(page));
        self.counts.evictions += taken;
        self.tell(|| format!("pressure on {page:?}: {taken}"));
    }

    fn user_calls(&mut self) {
        let token = self.token();
        let (offset, length) = self.range();
        let wait = self.rng.chance(70);
        let kind = match self.rng.below(10) {
            0..3 => LockKind::Sync,
            3 => LockKind::Flush,
            4..6 => LockKind::Return,
            6..8 => return self.offer(token, offset),
            _ => return self.change(token, wait),
        };
        self.tell(|| format!("user: {kind:?} {offset:#x}+{length:#x} wait={wait} {token:?}"));
        if kind == LockKind::Flush {
            // It also drops what the pager keeps because it could not be written: what is in the
            // store then, perhaps half a page of it, is what counts.
            let pages = PageRange::with_len(PageIndex(offset / PAGE as u64), length / PAGE as u64);
            self.forget(pages);
            self.flushed.extend(pages.iter());
        }
        if wait && self.rng.chance(30) {
            self.engine.make_durable(token);
        }
        self.engine.handle(Event::Lock {
            token,
            kind,
            offset,
            length,
            wait,
        });
    }

    /// A user offers what the page holds anyway, the newest that the pager was given, whatever is
    /// under way.
    fn offer(&mut self, token: RequestToken, offset: u64) {
        let page = PageIndex(offset / PAGE as u64);
        let Some(bytes) = self.client.expected(page) else {
            self.waiting.remove(&token);
            return;
        };
        let mut buffer = PageBuffer::zeroed(PAGE);
        buffer.copy_from_slice(&bytes);
        let (precious, write_lock) = (self.rng.chance(30), self.rng.chance(20));
        self.tell(|| format!("user: offer {page:?} precious={precious} lock={write_lock} {token:?}"));
        self.engine.offer(token, page, buffer, precious, write_lock);
    }

    fn change(&mut self, token: RequestToken, wait: bool) {
        let may_cache = self.rng.chance(50);
        let copy_strategy = match self.rng.below(10) {
            0 => CopyStrategy::Call,
            1 => CopyStrategy::Temporary,
            2..6 => CopyStrategy::Delay,
            _ => CopyStrategy::None,
        };
        self.tell(|| format!("user: may_cache={may_cache} {copy_strategy:?} wait={wait} {token:?}"));
        self.engine.handle(Event::ChangeAttributes {
            token,
            may_cache,
            copy_strategy,
            wait,
        });
    }

    fn copies(&mut self) {
        let token = RequestToken(self.fresh());
        self.copies.insert(token);
        let (offset, length) = (self.offset(), 8 * (1 + self.rng.below(600)));
        let length = length.min(self.pages * PAGE as u64 - offset) as usize;
        let access = if self.rng.chance(50) {
            Prot::READ
        } else {
            Prot::READ_WRITE
        };
        self.tell(|| format!("user: copy {offset:#x}+{length:#x} {access:?} {token:?}"));
        let buffer = vec![self.rng.any() as u8; length];
        self.engine.copy(Copy::new(token, offset, buffer, access));
    }

    fn mapping_changes(&mut self) {
        if self.mappings.len() < 2 && self.rng.chance(60) {
            return self.map();
        }
        if let Some(mapping) = self.mappings.pop() {
            self.tell(|| "unmap".to_owned());
            self.client.unmap(mapping);
        }
    }

    fn retries(&mut self) {
        if std::mem::take(&mut self.retry) {
            self.tell(|| "retry".to_owned());
            self.engine.handle(Event::RetryWrites);
        }
    }

    fn inhibition(&mut self) {
        self.inhibited = !self.inhibited;
        self.tell(|| format!("inhibited: {}", self.inhibited));
        if self.inhibited {
            self.engine.inhibit();
        } else {
            self.engine.resume();
            self.engine.hear();
        }
    }

    fn shutdown(&mut self) {
        let (token, extent) = (self.token(), self.pages * PAGE as u64);
        self.tell(|| format!("user: shutdown {token:?}"));
        self.engine.handle(Event::Shutdown { token, extent });
    }

    /// Another kernel wants to use the object while ours does: it must be refused.
    fn second_kernel(&mut self) {
        if self
            .client
            .attributes()
            .is_some_and(|attributes| attributes.ready)
        {
            let ports = self.client.second_kernel(4096);
            self.tell(|| format!("a second kernel: {ports:?}"));
        }
    }

    /// A message that no kernel sends.
    fn kernel_errs(&mut self) {
        let (known, name) = self.client.ports();
        let control = if self.rng.chance(70) {
            known
        } else {
            PortName(self.rng.below(40))
        };
        let (mut offset, mut length) = self.range();
        match self.rng.below(8) {
            0 => offset += 1 + self.rng.below(4095),
            1 => length += self.rng.below(4096),
            2 => (offset, length) = (self.rng.any(), self.rng.any()),
            3 => length = 0,
            _ => {}
        }
        let access = Prot::from_bits(self.rng.below(16) as u32);
        let (dirty, kernel_copy) = (self.rng.chance(50), self.rng.chance(50));
        let upcall = match self.rng.below(8) {
            0 => Upcall::Init {
                control,
                name,
                page_size: 1 << self.rng.below(20),
            },
            1 => Upcall::DataRequest {
                control,
                offset,
                length,
                access,
            },
            2 => {
                let data = PageData::Owned(vec![0x5a; (length % 70_000) as usize]);
                Upcall::DataReturn {
                    control,
                    offset,
                    data,
                    dirty,
                    kernel_copy,
                }
            }
            3 => Upcall::DataUnlock {
                control,
                offset,
                length,
                access,
            },
            4 => Upcall::LockCompleted {
                control,
                offset,
                length,
            },
            5 => Upcall::ChangeCompleted {
                may_cache: dirty,
                copy_strategy: CopyStrategy::Delay,
            },
            6 => Upcall::Terminate { control, name },
            _ => Upcall::NoSenders,
        };
        self.tell(|| format!("the kernel errs: {upcall:?}"));
        self.client.inject(upcall);
    }
}
