//! One object's kernel: its state, and the protocol's calls and upcalls.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

use super::budget::ObjectShare;
use super::copy::PrivateCopy;
use super::host::Shared;
use super::inherit::RemoteClients;
use super::memory::Memory;
use super::page_table::PageTable;
use super::pins::Pins;
use super::poison::Poisons;
use super::space::Place;
use super::spaces::Spaces;
use super::tracking::Asking;
use super::waits::{PageMap, Waits};
use crate::mach::eviction::EvictionPolicy;
use crate::mach::kernel::{Kernel, KernelError, ObjectSpec};
use crate::mach::message::{Call, PageData, Upcall};
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
        let pages = PageRange::with_len(PageIndex(0), memory.length() as u64 >> spec.page_size.shift());
        Self {
            host,
            share,
            memory: Arc::new(memory),
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
        }
    }

    pub(super) fn count(&self, counter: fn(&Stats) -> &std::sync::atomic::AtomicU64, by: u64) {
        Stats::count(counter(&self.share.stats), by);
    }

    /// Queues an upcall and makes sure that somebody polls for it.
    pub(super) fn say(&mut self, upcall: Upcall) {
        if self.out.is_empty() {
            self.share.wake();
        }
        self.out.push_back(upcall);
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

    fn known_control(&self, control: PortName) -> Result<(), KernelError> {
        match control == self.control && control.is_valid() {
            true => Ok(()),
            false => Err(KernelError::UnknownControl(control)),
        }
    }

    fn dispatch(&mut self, call: Call<'_>) -> Result<(), KernelError> {
        match call {
            Call::Ready {
                may_cache,
                copy_strategy,
                ..
            } => {
                self.phase = Phase::Ready;
                (self.may_cache, self.copy_strategy) = (may_cache, copy_strategy);
                self.ask_for_queued();
                Ok(())
            }
            Call::DataSupply {
                range,
                pages,
                lock,
                precious,
                reply,
                ..
            } => self.data_supply(range, pages, lock, precious, reply),
            Call::DataUnavailable { offset, length, .. } => {
                let range = self.pages_of(offset, length, "data_unavailable")?;
                self.data_unavailable(range);
                Ok(())
            }
            Call::DataError {
                offset,
                length,
                error,
                ..
            } => {
                let range = self
                    .size
                    .pages_around(offset, length)
                    .map_err(|_| KernelError::BadArgument { call: "data_error" })?;
                self.data_error(range, error);
                Ok(())
            }
            Call::LockRequest {
                offset,
                length,
                should_return,
                should_flush,
                lock,
                reply,
                ..
            } => {
                let range = self.pages_of(offset, length, "lock_request")?;
                self.lock_request(range, should_return, should_flush, lock)?;
                if reply {
                    self.lock_completed(offset, length);
                }
                Ok(())
            }
            Call::ChangeAttributes {
                may_cache,
                copy_strategy,
                reply,
                ..
            } => {
                self.change_attributes(may_cache, copy_strategy, reply);
                Ok(())
            }
            Call::Destroy { .. } => {
                self.destroy();
                Ok(())
            }
        }
    }

    fn change_attributes(&mut self, may_cache: bool, copy_strategy: CopyStrategy, reply: bool) {
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
    fn destroy(&mut self) {
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
    fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        self.share.set_waker(cx.waker());
        self.take_news();
        self.see_writes_if_bounded();
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
            self.heal_due(Instant::now());
            let retry = self.retry_at();
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

impl Kernel for LinuxObject {
    fn call(&mut self, call: Call<'_>) -> Result<(), KernelError> {
        let control = match &call {
            Call::Ready { control, .. }
            | Call::DataSupply { control, .. }
            | Call::DataUnavailable { control, .. }
            | Call::DataError { control, .. }
            | Call::LockRequest { control, .. }
            | Call::ChangeAttributes { control, .. }
            | Call::Destroy { control } => *control,
        };
        self.known_control(control)?;
        let result = self.dispatch(call);
        self.after_call();
        result
    }

    fn poll_upcalls(&mut self, cx: &mut Context<'_>, out: &mut Vec<Upcall>) -> Poll<()> {
        if self.turn(cx) {
            cx.waker().wake_by_ref();
        }
        if self.out.is_empty() {
            return Poll::Pending;
        }
        out.extend(self.out.drain(..));
        Poll::Ready(())
    }

    fn write_begins(&mut self, data: &PageData, range: PageRange) {
        if let PageData::Cached { memory, .. } = data {
            let own = std::ptr::addr_eq(Arc::as_ptr(memory), Arc::as_ptr(&self.memory));
            self.begin_write(range, own);
        }
    }

    fn write_ended(&mut self, data: &PageData, range: PageRange) {
        if matches!(data, PageData::Cached { .. }) {
            self.end_write(range);
        }
    }

    fn release(&mut self, data: &PageData, range: PageRange) {
        if matches!(data, PageData::Cached { .. }) {
            self.take_back(range);
        }
    }

    fn pin(&mut self, range: PageRange) {
        self.pin(range);
    }

    fn unpin(&mut self, range: PageRange) {
        self.unpin(range);
    }

    fn settle(&mut self) {
        self.fill_holes();
    }

    fn reissue(&mut self) -> bool {
        self.say_again()
    }
}
