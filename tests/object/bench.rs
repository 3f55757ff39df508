//! A bench for one object: short words for its events, and what came of them.

use std::collections::HashMap;

use actor_pager::object::{
    Answer, CopyStrategy, DataId, Effect, Event, FailedPagePolicy, LockKind, MemoryObject, ObjectOptions,
    OpId, PageError, PageIndex, PageRange, PageSize, PagesSupplied, PortName, Prot, RequestToken,
    ShouldReturn,
};

pub(crate) const CONTROL: PortName = PortName(1);
pub(crate) const PAGE: u64 = 4096;

/// The pages from `start` up to but not including `end`.
pub(crate) fn range(start: u64, end: u64) -> PageRange {
    PageRange::new(PageIndex(start), PageIndex(end))
}

/// An object of 16 pages whose store is asked for runs of 4 at most, and what it has said so far.
pub(crate) struct Bench {
    pub(crate) object: MemoryObject,
    seen: Vec<Effect>,
    reads: Vec<(OpId, PageRange)>,
    writes: Vec<(OpId, PageRange, DataId)>,
    unlocks: Vec<OpId>,
    stored: HashMap<u64, DataId>,
    next: u32,
}

impl Bench {
    pub(crate) fn new(policy: FailedPagePolicy, notify_on_evict: bool) -> Self {
        let mut options = ObjectOptions::new(PageSize::KIB_4);
        options.failed_page = policy;
        options.notify_on_evict = notify_on_evict;
        options.extent = Some(16 * PAGE);
        options.max_run = 4;
        Self {
            object: MemoryObject::new(options),
            seen: Vec::new(),
            reads: Vec::new(),
            writes: Vec::new(),
            unlocks: Vec::new(),
            stored: HashMap::new(),
            next: 0,
        }
    }

    /// A bench whose kernel has said init.
    pub(crate) fn ready() -> Self {
        let mut bench = Self::new(FailedPagePolicy::SupplyKept, false);
        bench.init(CONTROL, PAGE);
        bench
    }

    pub(crate) fn feed(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.object.handle(event, &mut effects);
        assert_eq!(self.object.check_invariants(), Ok(()));
        for effect in &effects {
            if let Effect::Read { op, range, .. } = effect {
                self.reads.push((*op, *range))
            } else if let Effect::Write { op, range, data } = effect {
                self.writes.push((*op, *range, *data))
            } else if let Effect::Unlock { op, .. } = effect {
                self.unlocks.push(*op)
            }
        }
        self.seen.extend(effects.iter().cloned());
        effects
    }

    pub(crate) fn init(&mut self, control: PortName, page_size: u64) -> Vec<Effect> {
        let name = PortName(control.0 + 1);
        self.feed(Event::Init {
            control,
            name,
            page_size,
        })
    }

    pub(crate) fn request(&mut self, page: u64, count: u64, access: Prot) -> Vec<Effect> {
        self.feed(Event::DataRequest {
            control: CONTROL,
            offset: page * PAGE,
            length: count * PAGE,
            access,
        })
    }

    pub(crate) fn resident(&mut self, page: u64) {
        self.request(page, 1, Prot::READ_WRITE);
        self.read_all();
    }

    pub(crate) fn returned(&mut self, page: u64, count: u64, dirty: bool, kernel_copy: bool) -> DataId {
        let data = self.new_data();
        self.feed(Event::DataReturn {
            control: CONTROL,
            offset: page * PAGE,
            length: count * PAGE,
            data,
            dirty,
            kernel_copy,
        });
        data
    }

    pub(crate) fn unlock(&mut self, page: u64, count: u64) -> Vec<Effect> {
        self.feed(Event::DataUnlock {
            control: CONTROL,
            offset: page * PAGE,
            length: count * PAGE,
            access: Prot::WRITE,
        })
    }

    pub(crate) fn offer(&mut self, page: u64, precious: bool, write_lock: bool) -> RequestToken {
        let (token, data) = (self.token(), self.new_data());
        self.feed(Event::Offer {
            token,
            offset: page * PAGE,
            data,
            precious,
            write_lock,
        });
        token
    }

    pub(crate) fn lock(&mut self, kind: LockKind, page: u64, count: u64) -> RequestToken {
        self.lock_event(kind, page, count, true)
    }

    pub(crate) fn lock_without_waiting(&mut self, kind: LockKind, page: u64, count: u64) -> RequestToken {
        self.lock_event(kind, page, count, false)
    }

    fn lock_event(&mut self, kind: LockKind, page: u64, count: u64, wait: bool) -> RequestToken {
        let token = self.token();
        self.feed(Event::Lock {
            token,
            kind,
            offset: page * PAGE,
            length: count * PAGE,
            wait,
        });
        token
    }

    pub(crate) fn change(&mut self, may_cache: bool, wait: bool) -> RequestToken {
        let token = self.token();
        self.feed(Event::ChangeAttributes {
            token,
            may_cache,
            copy_strategy: CopyStrategy::None,
            wait,
        });
        token
    }

    pub(crate) fn confirm_change(&mut self, may_cache: bool) -> Vec<Effect> {
        self.feed(Event::ChangeCompleted {
            may_cache,
            copy_strategy: CopyStrategy::None,
        })
    }

    pub(crate) fn shutdown(&mut self, pages: u64) -> RequestToken {
        let token = self.token();
        let extent = pages * PAGE;
        self.feed(Event::Shutdown { token, extent });
        token
    }

    pub(crate) fn confirm(&mut self, page: u64, count: u64) -> Vec<Effect> {
        self.confirm_as(CONTROL, page, count)
    }

    pub(crate) fn confirm_as(&mut self, control: PortName, page: u64, count: u64) -> Vec<Effect> {
        self.feed(Event::LockCompleted {
            control,
            offset: page * PAGE,
            length: count * PAGE,
        })
    }

    /// Ends all reads well; gives the events, to be sent again.
    pub(crate) fn read_all(&mut self) -> Vec<Event> {
        self.end_reads(Ok(false))
    }

    pub(crate) fn read_locked(&mut self) {
        self.end_reads(Ok(true));
    }

    pub(crate) fn fail_reads(&mut self, error: PageError) {
        self.end_reads(Err(error));
    }

    fn end_reads(&mut self, result: Result<bool, PageError>) -> Vec<Event> {
        let reads = std::mem::take(&mut self.reads);
        let mut events = Vec::new();
        for (op, range) in reads {
            let event = self.read_event(op, range, result);
            events.push(event.clone());
            self.feed(event);
        }
        events
    }

    /// Ends a part of the read `at`, counted from 0, among those in flight.
    pub(crate) fn read_part(&mut self, at: usize, range: PageRange, result: Result<bool, PageError>) {
        let event = self.read_event(self.reads[at].0, range, result);
        self.feed(event);
    }

    fn read_event(&mut self, op: OpId, range: PageRange, result: Result<bool, PageError>) -> Event {
        let data = self.new_data();
        let result = result.map(|write_lock| PagesSupplied { data, write_lock });
        Event::PagesRead { op, range, result }
    }

    /// Ends all writes well, also those that begin thereby.
    pub(crate) fn write_all(&mut self) {
        while !self.writes.is_empty() {
            self.write_one();
        }
    }

    /// Ends the oldest write well.
    pub(crate) fn write_one(&mut self) {
        let count = self.writes[0].1.len();
        self.write_partly(count, None);
    }

    /// Fails all writes that are in flight.
    pub(crate) fn fail_writes(&mut self, error: PageError) {
        while !self.writes.is_empty() {
            self.write_partly(0, Some(error));
        }
    }

    /// Ends the oldest write after `written` pages.
    pub(crate) fn write_partly(&mut self, written: u64, error: Option<PageError>) {
        let (op, range, data) = self.writes.remove(0);
        for page in range.iter().take(written as usize) {
            self.stored.insert(page.0, data);
        }
        self.feed(Event::PagesWritten { op, written, error });
    }

    pub(crate) fn end_unlock(&mut self, result: Result<(), PageError>) {
        let op = self.unlocks.remove(0);
        self.feed(Event::PagesUnlocked { op, result });
    }

    pub(crate) fn new_data(&mut self) -> DataId {
        self.next += 1;
        DataId(self.next)
    }

    pub(crate) fn token(&mut self) -> RequestToken {
        self.next += 1;
        RequestToken(u64::from(self.next))
    }

    /// The data that was last written for a page.
    pub(crate) fn stored(&self, page: u64) -> Option<DataId> {
        self.stored.get(&page).copied()
    }

    pub(crate) fn saw(&self, effect: &Effect) -> bool {
        self.seen.contains(effect)
    }

    pub(crate) fn answer(&self, token: RequestToken) -> Option<Answer> {
        self.seen.iter().rev().find_map(|effect| {
            if let Effect::Answer { token: t, answer } = effect
                && *t == token
            {
                Some(answer.clone())
            } else {
                None
            }
        })
    }

    /// The errors that the kernel was told since the last time, page by page.
    pub(crate) fn errors(&mut self) -> Vec<(u64, PageError)> {
        let mut errors = Vec::new();
        self.seen.retain(|effect| {
            if let Effect::DataError {
                offset,
                length,
                error,
                ..
            } = effect
            {
                errors.extend((offset / PAGE..(offset + length) / PAGE).map(|page| (page, *error)));
                false
            } else {
                true
            }
        });
        errors
    }

    /// The evictions that were told since the last time.
    pub(crate) fn evicted(&mut self) -> Vec<u64> {
        let mut pages = Vec::new();
        self.seen.retain(|effect| {
            if let Effect::NotifyEvict { range } = effect {
                pages.extend(range.iter().map(|page| page.0));
                false
            } else {
                true
            }
        });
        pages
    }

    /// The lock requests since the last time: pages, what is to be returned, whether to flush.
    pub(crate) fn lock_requests(&mut self) -> Vec<(PageRange, ShouldReturn, bool)> {
        let mut requests = Vec::new();
        self.seen.retain(|effect| {
            if let Effect::LockRequest {
                offset,
                length,
                should_return,
                should_flush,
                ..
            } = effect
            {
                let pages = range(offset / PAGE, (offset + length) / PAGE);
                requests.push((pages, *should_return, *should_flush));
                false
            } else {
                true
            }
        });
        requests
    }

    /// The last supply of a page: to whom, and what.
    pub(crate) fn supplied(&self, page: u64) -> Option<(PortName, DataId)> {
        self.supply(page).map(|(control, data, _)| (control, data))
    }

    pub(crate) fn supplied_precious(&self, page: u64) -> Option<bool> {
        self.supply(page).map(|(_, _, precious)| precious)
    }

    fn supply(&self, page: u64) -> Option<(PortName, DataId, bool)> {
        self.seen.iter().rev().find_map(|effect| {
            if let Effect::DataSupply {
                control,
                range,
                data,
                precious,
                ..
            } = effect
                && range.contains(PageIndex(page))
            {
                Some((*control, *data, *precious))
            } else {
                None
            }
        })
    }

    /// The runs that are being read.
    pub(crate) fn reads(&self) -> Vec<PageRange> {
        self.reads.iter().map(|(_, range)| *range).collect()
    }

    /// The runs that are being written.
    pub(crate) fn writes(&self) -> Vec<PageRange> {
        self.writes.iter().map(|(_, range, _)| *range).collect()
    }
}
