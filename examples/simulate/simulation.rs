//! One simulated life of a memory object: kernel, clients, users and store from one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use actor_pager::actors::engine::{Engine, Job, Outcome, Output, Parts, UnsavedPages};
use actor_pager::mach::ObjectSpec;
use actor_pager::mach::eviction::Share;
use actor_pager::mach::sim::{SimClient, SimHost, SimMapping, SimOptions, SimRng};
use actor_pager::object::{
    FailedPagePolicy, MemoryObject, ObjectOptions, PageIndex, PageRange, PageSize, Prot, RequestToken,
};

use crate::copies::MappedCopy;
use crate::store::{PAGE, Store};

/// What a simulation is made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) steps: u64,
    /// The kernel also sends what no kernel sends.
    pub(crate) illegal: bool,
}

/// What went wrong, and when.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) step: u64,
    pub(crate) what: String,
}

/// A client thread.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Thread {
    Idle,
    Reads { offset: u64 },
    Writes { offset: u64, value: u64 },
}

/// See the head of this file.
pub(crate) struct Simulation {
    pub(crate) plan: Plan,
    pub(crate) rng: SimRng,
    pub(crate) engine: Engine,
    pub(crate) client: SimClient,
    pub(crate) store: Arc<Store>,
    pub(crate) pages: u64,
    pub(crate) mappings: Vec<SimMapping>,
    pub(crate) threads: [Thread; 3],
    pub(crate) jobs: Vec<Job>,
    pub(crate) waiting: BTreeSet<RequestToken>,
    pub(crate) answered: BTreeMap<RequestToken, Outcome>,
    /// Copies that have not ended, those that never fault and those that are mapped.
    pub(crate) copies: BTreeSet<RequestToken>,
    pub(crate) mapped_copies: Vec<MappedCopy>,
    /// What went wrong since the last check.
    pub(crate) wrong: Option<String>,
    pub(crate) unsaved: Vec<UnsavedPages>,
    /// Flushed since the last call of the store that wrote them ended.
    pub(crate) flushed: BTreeSet<PageIndex>,
    pub(crate) retry: bool,
    pub(crate) inhibited: bool,
    pub(crate) over: bool,
    pub(crate) step: u64,
    pub(crate) trace: bool,
    pub(crate) counts: Counts,
    next: u64,
}

/// What happened, to see that something did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) jobs: u64,
    pub(crate) failures: u64,
    pub(crate) accesses: u64,
    pub(crate) answers: u64,
    pub(crate) evictions: u64,
    pub(crate) refused: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.jobs += other.jobs;
        self.failures += other.failures;
        self.accesses += other.accesses;
        self.answers += other.answers;
        self.evictions += other.evictions;
        self.refused += other.refused;
    }
}

impl Simulation {
    pub(crate) fn new(plan: Plan) -> Self {
        let mut rng = SimRng::new(plan.seed);
        let pages = 2 + rng.below(7);
        let limit = 2 + rng.below(pages);
        let host = SimHost::new(SimOptions {
            seed: rng.any(),
            resident_limit: rng.chance(60).then_some(limit),
            request_run: 1 + rng.below(4),
            return_run: 1 + rng.below(32),
            lend_returns: rng.chance(50),
        });
        let (page_size, length) = (PageSize::KIB_4, pages * PAGE as u64);
        let notify_on_evict = rng.chance(30);
        let kernel = host.create(ObjectSpec {
            name: "simulated".into(),
            length,
            page_size,
            notify_on_evict,
            memory_deadline: std::time::Duration::from_secs(60),
            share: Share::default(),
        });
        let mut options = ObjectOptions::new(page_size);
        options.may_cache = rng.chance(30);
        options.notify_on_evict = notify_on_evict;
        options.failed_page = if rng.chance(50) {
            FailedPagePolicy::Error
        } else {
            FailedPagePolicy::SupplyKept
        };
        options.retry_on_sync = rng.chance(70);
        options.extent = rng.chance(70).then_some(length);
        options.max_run = 1 + rng.below(8);
        let (client, store) = (kernel.client(), Arc::new(Store::new(pages)));
        let (object, backend) = (MemoryObject::new(options), store.clone());
        let engine = Engine::new(Parts {
            object,
            kernel: Box::new(kernel),
            backend,
            page_size,
            unsaved_limit: None,
        });
        Self {
            plan,
            rng,
            engine,
            client,
            store,
            pages,
            mappings: Vec::new(),
            threads: [Thread::Idle; 3],
            jobs: Vec::new(),
            waiting: BTreeSet::new(),
            answered: BTreeMap::new(),
            copies: BTreeSet::new(),
            mapped_copies: Vec::new(),
            wrong: None,
            unsaved: Vec::new(),
            flushed: BTreeSet::new(),
            retry: false,
            inhibited: false,
            over: false,
            step: 0,
            trace: false,
            counts: Counts::default(),
            next: 0,
        }
    }

    /// Lives the whole life; says what went wrong first.
    pub(crate) fn run(&mut self) -> Result<(), Wrong> {
        for step in 0..self.plan.steps {
            self.step = step;
            self.act();
            self.check().map_err(|what| Wrong { step, what })?;
        }
        self.finish().map_err(|what| Wrong {
            step: self.plan.steps,
            what,
        })
    }

    /// A number that was not used before.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The token of a user's request that must be answered.
    pub(crate) fn token(&mut self) -> RequestToken {
        let token = RequestToken(self.fresh());
        self.waiting.insert(token);
        token
    }

    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>4}  {}", self.step, what());
        }
    }

    /// The engine hears the kernel, and what it wants done is taken up.
    pub(crate) fn hear(&mut self) -> bool {
        if self.trace {
            self.client
                .unheard()
                .iter()
                .for_each(|upcall| self.tell(|| format!("kernel: {upcall:?}")));
        }
        let mut context = Context::from_waker(Waker::noop());
        let heard = self.engine.poll_kernel(&mut context).is_ready();
        heard | self.take_outputs()
    }

    pub(crate) fn take_outputs(&mut self) -> bool {
        let mut any = false;
        while let Some(output) = self.engine.next_output() {
            any = true;
            self.tell(|| format!("engine: {}", short(&output)));
            match output {
                Output::Job(job) => self.jobs.push(job),
                Output::Answer(token, outcome) => self.answer(token, outcome),
                Output::Copied(token, _) => {
                    self.counts.answers += 1;
                    if !self.copies.remove(&token) {
                        self.wrong = Some(format!("the copy {token:?} ended twice"));
                    }
                }
                Output::RetryLater { .. } => self.retry = true,
                Output::PortDestroyed => self.over = true,
                Output::Refused(_) => self.counts.refused += 1,
                Output::Mapped(token, mapped) => self.copy_mapped(token, mapped),
                Output::Terminated | Output::NoSenders => {}
            }
        }
        any
    }

    fn answer(&mut self, token: RequestToken, outcome: Outcome) {
        self.counts.answers += 1;
        if let Outcome::Unsaved(unsaved) = &outcome {
            self.unsaved.extend(unsaved.iter().cloned());
        }
        let expected = self.waiting.remove(&token);
        if self.answered.insert(token, outcome).is_some() || !expected {
            self.wrong = Some(format!("{token:?} was answered twice"));
        }
    }

    /// Lets every client thread go as far as it can.
    pub(crate) fn run_threads(&mut self) -> bool {
        let mut any = false;
        for at in 0..self.threads.len() {
            if !matches!(self.threads[at], Thread::Idle) && self.run_thread(self.threads[at]) {
                self.threads[at] = Thread::Idle;
                any = true;
            }
        }
        any
    }

    /// True if the thread's access is over, well or not.
    fn run_thread(&mut self, thread: Thread) -> bool {
        let Some(mapping) = self.mappings.first().copied() else {
            return true;
        };
        let access = match thread {
            Thread::Idle => return false,
            Thread::Reads { offset } => self.client.try_read(mapping, offset, &mut [0; 8]),
            Thread::Writes { offset, value } => self.client.try_write(mapping, offset, &value.to_le_bytes()),
        };
        if access.is_ready() {
            self.counts.accesses += 1;
            self.counts.failures += u64::from(matches!(access, Poll::Ready(Err(_))));
            self.tell(|| format!("{thread:?}: {access:?}"));
        }
        access.is_ready()
    }

    pub(crate) fn map(&mut self) {
        let range = PageRange::with_len(PageIndex(0), self.pages);
        self.mappings.push(self.client.map(range, Prot::READ_WRITE));
    }

    /// The invariants that hold between any two steps.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.engine.object().check_invariants()?;
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        self.check_jobs()?;
        match self.client.first_mismatch() {
            Some(mismatch) if !self.plan.illegal => Err(mismatch.to_string()),
            Some(_) | None => Ok(()),
        }
    }

    /// Never two calls of the store on one page.
    fn check_jobs(&self) -> Result<(), String> {
        let mut busy = 0u64;
        for range in self.jobs.iter().filter_map(touched) {
            for page in range.iter().filter(|page| page.0 < 64) {
                if busy & (1 << page.0) != 0 {
                    return Err(format!("two calls of the store touch page {}", page.0));
                }
                busy |= 1 << page.0;
            }
        }
        Ok(())
    }
}

/// The pages that a call of the store touches.
fn touched(job: &Job) -> Option<PageRange> {
    if let Job::Read { range, .. } | Job::Write { range, .. } | Job::Unlock { range, .. } = job {
        Some(*range)
    } else {
        None
    }
}

fn short(output: &Output) -> String {
    if let Output::Job(Job::Read { op, range, .. }) = output {
        format!("read {op:?} {range:?}")
    } else if let Output::Job(Job::Write { op, range, .. }) = output {
        format!("write {op:?} {range:?}")
    } else if let Output::Copied(token, copied) = output {
        format!("copied {token:?} {} {:?}", copied.copied, copied.failure)
    } else if let Output::Answer(token, Outcome::Unsaved(_)) = output {
        format!("answer {token:?} with unsaved pages")
    } else {
        format!("{output:?}")
    }
}
