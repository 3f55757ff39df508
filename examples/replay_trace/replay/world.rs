//! The surroundings of the core in a replay: pagers, their stores, threads, the bucket's queue.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use actor_pager::object::{
    CopyStrategy, DataId, Event, FailedPagePolicy, MemoryObject, ObjectOptions, PageIndex, PageRange,
    PageSize, PortName, References, RequestToken,
};
use serde_json::Value;

use super::answers::Answers;
use super::canon::{Seen, What};
use super::jobs::{Held, Thread};
use super::trace::Trace;

/// Page memory that the core names.
pub(crate) struct Memory {
    pub(crate) first: u64,
    pub(crate) tags: Vec<String>,
    /// The step that the data came with.
    pub(crate) thread: u64,
    /// It came from the kernel or a user, not from a read.
    pub(crate) returned: bool,
    /// Pages that were neither supplied nor released nor handed back yet.
    pub(crate) left: BTreeSet<u64>,
    /// Outcomes of writes that were tried and not yet asked for.
    pub(crate) outcomes: BTreeMap<u64, Option<String>>,
}

/// Something that waits for its turn on a page, as the kernel sent it.
pub(crate) enum Arrival {
    Request(u64),
    Unlock(u64),
    Return(DataId),
}

/// How the confirmation of a lock request is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirms {
    /// As it is.
    One,
    /// Twice: the original's shutdown asks twice.
    Two,
    /// Not at all: the original did not ask for it.
    Unasked,
}

/// One pager with its surroundings.
pub(crate) struct PagerSim {
    pub(crate) name: String,
    pub(crate) object: MemoryObject,
    pub(crate) references: References,
    pub(crate) store: BTreeMap<u64, String>,
    pub(crate) memory: Vec<Memory>,
    pub(crate) arrivals: BTreeMap<u64, VecDeque<Arrival>>,
    /// Lock requests that the kernel will confirm: offset, length, and how that is recorded.
    pub(crate) confirmations: Vec<(u64, u64, Confirms)>,
    /// Calls that have not returned: name and step.
    pub(crate) calls: BTreeMap<RequestToken, (String, u64)>,
    pub(crate) inbox: VecDeque<(u64, Value)>,
    pub(crate) handling: Option<u64>,
    last_message: Option<u64>,
    pub(crate) port_destroyed: bool,
    /// The newest data of each page that the kernel returned, in order.
    pub(crate) returned: BTreeMap<u64, Vec<String>>,
    /// Pages whose last write failed, and those that were written well after that.
    pub(crate) bad: BTreeMap<u64, &'static str>,
    /// Pages of which a write failed since the last init: the original never takes that back.
    pub(crate) was_bad: BTreeSet<u64>,
    /// Pages that the kernel was asked for because it asked for them.
    pub(crate) checked: BTreeSet<u64>,
    pub(crate) healed: BTreeSet<u64>,
    pub(crate) shutting_down: bool,
    /// The step of the last terminate.
    pub(crate) terminated: Option<u64>,
    /// Pages of which a flush was sent.
    pub(crate) flush_sent: BTreeSet<u64>,
    /// What a shutdown handed back.
    pub(crate) handed_back: BTreeMap<u64, String>,
    /// Attribute changes that the kernel has not confirmed.
    pub(crate) attribute_confirmations: Vec<(bool, CopyStrategy)>,
    /// Pages whose last unlock was refused.
    pub(crate) refused: BTreeSet<u64>,
    /// Pages of which an unlock was granted.
    pub(crate) unlocked: BTreeSet<u64>,
    /// Tags of the pages that users offered.
    pub(crate) offered: BTreeSet<String>,
    /// Pages that users offered.
    pub(crate) ever_offered: BTreeSet<u64>,
    /// Pages that a flush was asked to drop.
    pub(crate) flushed: BTreeSet<u64>,
}

/// Everything of one replay.
pub(crate) struct World {
    pub(crate) pagers: Vec<PagerSim>,
    pub(crate) ports: Vec<String>,
    pub(crate) answers: Answers,
    pub(crate) threads: BTreeMap<u64, Thread>,
    pub(crate) held: Vec<Held>,
    /// When the handler of each message ended, in the recording.
    ended: BTreeMap<u64, u64>,
    ops: BTreeMap<u64, String>,
    now: u64,
    pub(crate) log: Vec<Seen>,
    pub(crate) bulk: bool,
    pub(crate) workers: bool,
    pub(crate) started: bool,
    pub(crate) inhibited: Option<u64>,
    pub(crate) inhibit_done: bool,
    pub(crate) late: Vec<(usize, u64, Value)>,
    pub(crate) extent: (u64, u64),
    pub(crate) options: ObjectOptions,
    pub(crate) first_store: BTreeMap<u64, String>,
    /// Threads whose message or call was refused in this step.
    pub(crate) refused: BTreeSet<u64>,
    /// All that was done in this step.
    pub(crate) did: Vec<Seen>,
    /// Tags of the pages that users offered.
    pub(crate) offered: BTreeSet<String>,
    /// Pages whose data was kept at some time, by tag.
    pub(crate) kept_once: BTreeSet<String>,
    /// What broke an invariant of the replay.
    pub(crate) broken: Vec<String>,
    next_token: u64,
}

/// Every page there can be.
pub(crate) const ALL: PageRange = PageRange::new(PageIndex(0), PageIndex(u64::MAX));

/// As many objects as the original's workers handle at once.
const WORKERS: usize = 10;

impl World {
    pub(crate) fn new(trace: &Trace) -> Self {
        let mut options = ObjectOptions::new(PageSize::KIB_4);
        options.may_cache = trace.may_cache;
        options.copy_strategy = copy_strategy(&trace.copy_strategy);
        options.notify_on_evict = trace.notify_on_evict;
        options.failed_page = FailedPagePolicy::Error;
        options.retry_on_sync = false;
        Self {
            pagers: Vec::new(),
            ports: vec!["null".to_owned()],
            answers: Answers::bind(trace),
            ended: trace.ended.clone(),
            ops: trace.ops.clone(),
            now: 0,
            threads: BTreeMap::new(),
            held: Vec::new(),
            log: Vec::new(),
            bulk: trace.bulk,
            workers: trace.workers,
            started: !trace.workers,
            inhibited: None,
            inhibit_done: false,
            late: Vec::new(),
            extent: trace.extent,
            options,
            first_store: trace.store.iter().cloned().collect(),
            refused: BTreeSet::new(),
            did: Vec::new(),
            offered: BTreeSet::new(),
            kept_once: BTreeSet::new(),
            broken: Vec::new(),
            next_token: 0,
        }
    }

    /// A step begins; `u64::MAX` for the time after the last.
    pub(crate) fn begin_step(&mut self, step: u64, answers: &[Value]) {
        self.now = step;
        self.answers.begin(step, answers);
    }

    /// What the step did whose thread this is.
    pub(crate) fn op_of(&self, thread: u64) -> &str {
        self.ops.get(&thread).map_or("", String::as_str)
    }

    /// True while the original was still at the message of this step.
    pub(crate) fn is_open(&self, step: u64) -> bool {
        self.ended.get(&step).copied().unwrap_or(u64::MAX) > self.now
    }

    /// True if `what` was done to the page in this step.
    pub(crate) fn did_supply(&self, pager: &str, page: u64) -> bool {
        let mut did = self.did.iter();
        did.any(|seen| seen.pager == pager && matches!(seen.what, What::Supply { page: p, .. } if p == page))
    }

    pub(crate) fn create(&mut self, name: &str) {
        self.pagers.push(PagerSim {
            name: name.to_owned(),
            object: MemoryObject::new(self.options),
            references: References::new(),
            store: self.first_store.clone(),
            memory: Vec::new(),
            arrivals: BTreeMap::new(),
            confirmations: Vec::new(),
            calls: BTreeMap::new(),
            inbox: VecDeque::new(),
            handling: None,
            last_message: None,
            port_destroyed: false,
            returned: BTreeMap::new(),
            bad: BTreeMap::new(),
            was_bad: BTreeSet::new(),
            checked: BTreeSet::new(),
            healed: BTreeSet::new(),
            shutting_down: false,
            terminated: None,
            flush_sent: BTreeSet::new(),
            handed_back: BTreeMap::new(),
            attribute_confirmations: Vec::new(),
            refused: BTreeSet::new(),
            unlocked: BTreeSet::new(),
            offered: BTreeSet::new(),
            ever_offered: BTreeSet::new(),
            flushed: BTreeSet::new(),
        });
    }

    pub(crate) fn pager(&self, action: &Value) -> Option<usize> {
        let name = action["pager"].as_str().unwrap_or("P0");
        self.pagers.iter().position(|pager| pager.name == name)
    }

    pub(crate) fn port(&mut self, name: &str) -> PortName {
        let at = self
            .ports
            .iter()
            .position(|port| port == name)
            .unwrap_or_else(|| {
                self.ports.push(name.to_owned());
                self.ports.len() - 1
            });
        PortName(at as u64)
    }

    pub(crate) fn port_name(&self, port: PortName) -> String {
        self.ports.get(port.0 as usize).cloned().unwrap_or_default()
    }

    pub(crate) fn token(&mut self, pager: usize, call: &str, step: u64) -> RequestToken {
        self.next_token += 1;
        let token = RequestToken(self.next_token);
        self.pagers[pager].calls.insert(token, (call.to_owned(), step));
        token
    }

    /// Notes an event of a thread; a thread that is held is not seen to go on.
    pub(crate) fn see(&mut self, pager: usize, thread: u64, what: What) {
        let pager = self.pagers[pager].name.clone();
        let seen = Seen { pager, thread, what };
        match self
            .threads
            .get_mut(&thread)
            .and_then(|thread| thread.unseen.as_mut())
        {
            Some(unseen) => unseen.push(seen),
            None => self.log.push(seen),
        }
    }

    /// Feeds the core one event and carries its effects out, as thread `thread`.
    pub(crate) fn feed(&mut self, pager: usize, thread: u64, event: Event) {
        let mut effects = Vec::new();
        self.pagers[pager].object.handle(event, &mut effects);
        if let Err(broken) = self.pagers[pager].object.check_invariants() {
            self.broken.push(broken);
        }
        for effect in effects {
            self.carry_out(pager, thread, effect);
        }
        self.note_kept(pager);
    }

    fn note_kept(&mut self, pager: usize) {
        let sim = &self.pagers[pager];
        let kept = sim
            .object
            .kept_pages(ALL)
            .map(|kept| sim.tag(kept.data, kept.page));
        self.kept_once.extend(kept);
    }

    /// Lets everything run that can.
    pub(crate) fn run(&mut self) {
        loop {
            let mut moved = self.deliver_some(false);
            let threads: Vec<u64> = self.threads.keys().copied().collect();
            for thread in threads {
                while self.step_thread(thread) {
                    moved = true;
                }
                moved |= self.finish_thread(thread);
            }
            moved |= self.finish_inhibit();
            if !moved && !self.deliver_some(true) {
                return;
            }
        }
    }

    /// Takes messages out of the queues: one of an object at a time, as long as that goes on.
    fn deliver_some(&mut self, all: bool) -> bool {
        let mut moved = false;
        for pager in 0..self.pagers.len() {
            let busy = self
                .pagers
                .iter()
                .filter(|pager| pager.handling.is_some())
                .count();
            let sim = &mut self.pagers[pager];
            // As long as the original's worker was at the last message, the next one waited.
            let kept = sim
                .last_message
                .is_some_and(|last| self.ended.get(&last).copied().unwrap_or(u64::MAX) > self.now);
            if !self.started || kept || busy >= WORKERS || sim.handling.is_some() && !all {
                continue;
            }
            if let Some((step, action)) = sim.inbox.pop_front() {
                sim.handling = Some(step);
                sim.last_message = Some(step);
                self.begin_message(pager, step, &action);
                moved = true;
            }
        }
        moved
    }

    fn finish_inhibit(&mut self) -> bool {
        let idle = self
            .pagers
            .iter()
            .all(|pager| pager.handling.is_none() && pager.inbox.is_empty());
        let Some(step) = self.inhibited.filter(|_| idle && !self.inhibit_done) else {
            return false;
        };
        self.inhibit_done = true;
        self.see_return(step, "inhibit_workers", "success");
        true
    }

    pub(crate) fn see_return(&mut self, step: u64, call: &str, result: &str) {
        self.log.push(Seen {
            pager: "P0".to_owned(),
            thread: step,
            what: What::Returned {
                call: call.to_owned(),
                step,
                result: result.to_owned(),
            },
        });
    }
}

pub(crate) fn copy_strategy(name: &str) -> CopyStrategy {
    match name {
        "CALL" => CopyStrategy::Call,
        "DELAY" => CopyStrategy::Delay,
        "TEMPORARY" => CopyStrategy::Temporary,
        _ => CopyStrategy::None,
    }
}

pub(crate) fn copy_name(strategy: CopyStrategy) -> &'static str {
    match strategy {
        CopyStrategy::None => "NONE",
        CopyStrategy::Call => "CALL",
        CopyStrategy::Delay => "DELAY",
        CopyStrategy::Temporary => "TEMPORARY",
    }
}
