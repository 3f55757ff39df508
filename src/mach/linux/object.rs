//! One object's kernel: its state, and the protocol's calls and upcalls.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Instant;

use tokio::time::Sleep;

use super::copy::PrivateCopy;
use super::host::Shared;
use super::inherit::RemoteClients;
use super::memory::Memory;
use super::page_table::PageTable;
use super::pins::Pins;
use super::poison::Poisons;
use super::share::ObjectShare;
use super::shortage::Shortage;
use super::space::Place;
use super::spaces::Spaces;
use super::tracking::{Asking, Live};
use super::waits::{PageMap, Waits};
use crate::mach::eviction::EvictionPolicy;
use crate::mach::kernel::{KernelError, KernelNews, ObjectSpec};
use crate::mach::message::Upcall;
use crate::mach::stats::Stats;
use crate::object::{CopyStrategy, PageError, PageIndex, PageRange, PageSize, PortName};

/// The kernel's side of one object.
///
/// Invariants, kept by the methods of this folder:
/// 1. A page takes a frame of the host's budget as long as it is resident, lent, or asked for with
///    `Wait::reserved`.
/// 2. A resident page that is clean, write-locked or being written is write-protected in every mapping
///    where it is mapped.
/// 3. A page that is lent stays in the memfd.
/// 4. A thread that waits is either noted in `waits`, or its fault is still to be read.
pub(super) struct LinuxObject {
    pub(super) host: Arc<Shared>,
    pub(super) share: Arc<ObjectShare>,
    pub(super) memory: Arc<Memory>,
    /// The same, as it is lent while clients go on writing to it.
    pub(super) live: Arc<Live>,
    pub(super) spaces: Spaces,
    pub(super) table: PageTable,
    /// Pages lent more than once: how often beyond the first.
    pub(super) lent_again: PageMap<u32>,
    pub(super) waits: Waits,
    pub(super) policy: Option<Box<dyn EvictionPolicy>>,
    pub(super) poisons: Poisons,
    /// What `vm_map` copied and nobody unmapped yet.
    pub(super) copies: Vec<PrivateCopy>,
    /// Errors for the next touch.
    pub(super) errors: HashMap<PageIndex, PageError>,
    /// Pages whose memory a call of the store may still read.
    pub(super) pins: Pins,
    /// Pages given up, to be freed together.
    pub(super) holes: Vec<PageRange>,
    pub(super) out: VecDeque<Upcall>,
    /// A poll is under way, which takes what is in `out` along.
    pub(super) polled: bool,
    pub(super) size: PageSize,
    /// Pages of the object.
    pub(super) pages: PageRange,
    pub(super) notify_on_evict: bool,
    pub(super) control: PortName,
    pub(super) name: PortName,
    pub(super) phase: Phase,
    pub(super) may_cache: bool,
    pub(super) copy_strategy: CopyStrategy,
    pub(super) timer: Option<Pin<Box<Sleep>>>,
    pub(super) scratch: Scratch,
    /// Where writes are tracked without faults.
    pub(super) asking: Option<Asking>,
    /// News of clients in other processes.
    pub(super) clients: Option<RemoteClients>,
    /// What was written and may still be mapped in the pager's own view: a span, and the pages of it.
    pub(super) written: (PageRange, u64),
    /// Frames got since this object stood in the line.
    pub(super) granted: u64,
    /// Where the system refuses memory for pages.
    pub(super) shortage: Shortage,
    /// What people should hear.
    pub(super) news: VecDeque<KernelNews>,
    /// How often others were asked for frames in vain.
    pub(super) asked: u32,
}

/// How far the protocol has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nobody has mapped the object.
    Idle,
    /// `Init` was sent.
    Initialising,
    /// `Ready` was received: pages may be asked for.
    Ready,
    /// Given up by the pager.
    Destroyed,
}

/// Lists that are used again and again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) faults: Vec<super::spaces::Fault>,
    pub(super) places: Vec<Place>,
    pub(super) pages: Vec<PageIndex>,
    pub(super) victims: Vec<PageIndex>,
    pub(super) copied: Vec<PageIndex>,
    /// Since when the threads waited that were served in this turn.
    pub(super) served: Vec<Instant>,
}

impl LinuxObject {
    pub(super) fn new(
        host: Arc<Shared>,
        share: Arc<ObjectShare>,
        memory: Memory,
        spaces: Spaces,
        spec: &ObjectSpec,
    ) -> Self {
        let policy = host.policy();
        if policy.is_some() {
            memory.make_sparse();
        }
        let pages = PageRange::with_len(PageIndex(0), memory.length() as u64 >> spec.page_size.shift());
        let memory = Arc::new(memory);
        Self {
            host,
            share,
            live: Arc::new(Live::new(&memory)),
            memory,
            spaces,
            table: PageTable::default(),
            lent_again: PageMap::default(),
            waits: Waits::default(),
            policy,
            poisons: Poisons::default(),
            copies: Vec::new(),
            errors: HashMap::new(),
            pins: Pins::default(),
            holes: Vec::new(),
            out: VecDeque::new(),
            polled: false,
            size: spec.page_size,
            pages,
            notify_on_evict: spec.notify_on_evict,
            control: PortName::NULL,
            name: PortName::NULL,
            phase: Phase::Idle,
            may_cache: false,
            copy_strategy: CopyStrategy::None,
            timer: None,
            scratch: Scratch::default(),
            asking: None,
            clients: None,
            written: (PageRange::default(), 0),
            granted: 0,
            shortage: Shortage::new(spec.memory_deadline),
            news: VecDeque::new(),
            asked: 0,
        }
    }

    pub(super) fn count(&self, counter: fn(&Stats) -> &std::sync::atomic::AtomicU64, by: u64) {
        Stats::count(counter(&self.share.stats), by);
    }

    /// Queues an upcall and makes sure that somebody polls for it, unless this is a poll.
    pub(super) fn say(&mut self, upcall: Upcall) {
        if self.out.is_empty() && !self.polled {
            self.share.wake();
        }
        self.out.push_back(upcall);
    }

    /// A thread that waited since then has its page.
    pub(super) fn served(&mut self, since: Instant) {
        self.scratch.served.push(since);
    }

    /// Records how long threads waited that were served since the last time: the clock is read once for all.
    pub(super) fn record_served(&mut self) {
        if self.scratch.served.is_empty() {
            return;
        }
        let now = Instant::now();
        for since in self.scratch.served.drain(..) {
            self.share
                .stats
                .latency
                .record(now.saturating_duration_since(since));
        }
    }

    /// Sends `Init` if that has not been done.
    pub(super) fn ensure_init(&mut self) {
        if self.phase != Phase::Idle {
            return;
        }
        self.phase = Phase::Initialising;
        (self.control, self.name) = self.host.new_ports();
        let (control, name, page_size) = (self.control, self.name, self.size.bytes());
        self.say(Upcall::Init {
            control,
            name,
            page_size,
        });
    }

    /// Sends `Terminate` if nothing keeps the object: no mapping, and no wish to stay cached.
    pub(super) fn terminate_if_unused(&mut self) {
        let active = matches!(self.phase, Phase::Initialising | Phase::Ready);
        if !active || self.may_cache {
            return;
        }
        self.spaces.sweep();
        if self.spaces.any_mapping() || self.copies_need_pages() {
            return;
        }
        self.give_everything_up();
        let (control, name) = (self.control, self.name);
        self.say(Upcall::Terminate { control, name });
        self.phase = Phase::Idle;
        (self.control, self.name) = (PortName::NULL, PortName::NULL);
    }

    /// Whole pages within the object.
    pub(super) fn pages_of(
        &self,
        offset: u64,
        length: u64,
        call: &'static str,
    ) -> Result<PageRange, KernelError> {
        let range = self.size.pages_exact(offset, length);
        range.map_err(|_| KernelError::BadArgument { call })
    }

    pub(super) fn change_attributes(&mut self, may_cache: bool, copy_strategy: CopyStrategy, reply: bool) {
        (self.may_cache, self.copy_strategy) = (may_cache, copy_strategy);
        if reply {
            self.say(Upcall::ChangeCompleted {
                may_cache,
                copy_strategy,
            });
        }
        self.terminate_if_unused();
    }

    /// What is to be done with the pages that nobody may have any more.
    pub(super) fn destroy(&mut self) {
        self.phase = Phase::Destroyed;
        self.force_all_copies();
        self.drop_everything();
        let mut pages = std::mem::take(&mut self.scratch.pages);
        self.waits.within(self.pages, &mut pages);
        for page in pages.drain(..) {
            self.fail(page, PageError::Io);
        }
        self.scratch.pages = pages;
    }

    /// Reads faults, resolves those that need nobody, and asks for the pages of the others.
    pub(super) fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        self.share.set_waker(cx.waker());
        self.take_news();
        self.see_writes_if_bounded();
        self.relieve();
        self.heed_bound();
        let more = self.spaces.poll(cx) | self.poll_copies(cx);
        self.take_faults();
        self.serve_copies();
        self.fill_holes();
        self.give_wanted();
        self.ask_for_queued();
        self.run_timer(cx);
        more
    }

    fn run_timer(&mut self, cx: &mut Context<'_>) {
        loop {
            if self.next_due().is_some() {
                self.heal_due(Instant::now());
            }
            let retry = self.retry_at().into_iter().chain(self.shortage.due()).min();
            let Some(due) = self.next_due().into_iter().chain(retry).min() else {
                self.timer = None;
                return;
            };
            let due = tokio::time::Instant::from_std(due);
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return;
            }
            // A retry for frames that comes due is a turn of its own.
            if retry.is_some_and(|retry| tokio::time::Instant::from_std(retry) == due) {
                cx.waker().wake_by_ref();
                return;
            }
        }
    }
}
