//! A kernel, a store and users around one object, driven by random numbers, with an oracle.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use actor_pager::object::{
    Answer, CopyStrategy, DataId, Effect, Event, LockKind, MemoryObject, ObjectOptions, OpId, PageError,
    PageFate, PageIndex, PageRange, PagesSupplied, PortName, Prot, RequestToken, ShouldReturn,
};

const CONTROL: PortName = PortName(1);
const PAGE: u64 = 4096;
const PAGES: u64 = 6;

/// Numbers that are the same for the same seed (splitmix64).
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A page as the kernel has it.
#[derive(Clone, Copy, Debug, Default)]
struct Cached {
    version: u64,
    dirty: bool,
    precious: bool,
    locked: bool,
}

/// An operation of the store that has not ended.
enum Op {
    Read(OpId, PageRange),
    Write(OpId, PageRange, DataId),
    Unlock(OpId),
}

pub(crate) struct Model {
    object: MemoryObject,
    random: Random,
    pub(crate) legal: bool,
    pub(crate) broken: Option<String>,
    cache: BTreeMap<u64, Cached>,
    waiting: BTreeSet<u64>,
    unlocking: BTreeSet<u64>,
    /// What the kernel was told and has not yet done.
    inbox: VecDeque<Effect>,
    ops: Vec<Op>,
    memory: BTreeMap<(DataId, u64), u64>,
    store: BTreeMap<u64, u64>,
    /// The newest version of each page that a client stored; none where a flush may have dropped it.
    newest: BTreeMap<u64, Option<u64>>,
    tokens: BTreeSet<RequestToken>,
    next: u64,
    down: bool,
}

impl Model {
    pub(crate) fn new(options: ObjectOptions, random: Random) -> Self {
        let mut model = Self {
            object: MemoryObject::new(options),
            random,
            legal: true,
            broken: None,
            cache: BTreeMap::new(),
            waiting: BTreeSet::new(),
            unlocking: BTreeSet::new(),
            inbox: VecDeque::new(),
            ops: Vec::new(),
            memory: BTreeMap::new(),
            store: BTreeMap::new(),
            newest: BTreeMap::new(),
            tokens: BTreeSet::new(),
            next: 0,
            down: false,
        };
        model.feed(Event::Init {
            control: CONTROL,
            name: CONTROL,
            page_size: PAGE,
        });
        model
    }

    fn fail(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn feed(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.object.handle(event, &mut effects);
        if let Err(broken) = self.object.check_invariants() {
            self.fail(broken);
        }
        for effect in effects {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Read { op, range, .. } => self.ops.push(Op::Read(op, range)),
            Effect::Write { op, range, data } => self.ops.push(Op::Write(op, range, data)),
            Effect::Unlock { op, .. } => self.ops.push(Op::Unlock(op)),
            Effect::DataSupply { .. }
            | Effect::DataError { .. }
            | Effect::LockRequest { .. }
            | Effect::ChangeAttributes { .. } => self.inbox.push_back(effect),
            Effect::Release { data, range } => self.release(data, range),
            Effect::ReleaseWhole { data } => self.memory.retain(|(held, _), _| *held != data),
            Effect::Answer { token, answer } => self.answered(token, &answer),
            Effect::DestroyPort => self.down = true,
            Effect::Ready { .. }
            | Effect::Destroy { .. }
            | Effect::ReleasePorts { .. }
            | Effect::NotifyEvict { .. }
            | Effect::WritesFailed { .. }
            | Effect::Refused(_) => {}
        }
    }

    fn release(&mut self, data: DataId, range: PageRange) {
        for page in range.iter() {
            if self.memory.remove(&(data, page.0)).is_none() {
                self.fail(format!(
                    "page {} of {data:?} is released and was not held",
                    page.0
                ));
            }
        }
    }

    fn answered(&mut self, token: RequestToken, answer: &Answer) {
        if !self.tokens.remove(&token) {
            self.fail(format!("{token:?} is answered twice"));
        }
        let Answer::Failed(failed) = answer else { return };
        for run in failed {
            if let PageFate::HandedBack(data) = run.fate {
                for page in run.range.iter() {
                    // The caller keeps it: as good as stored.
                    let version = self.memory.remove(&(data, page.0)).unwrap_or(u64::MAX);
                    self.store.insert(page.0, version);
                }
            }
        }
    }

    /// One thing happens.
    pub(crate) fn step(&mut self) {
        let page = self.random.below(PAGES);
        match self.random.below(14) {
            0..=2 => self.touch(page),
            3 | 4 => self.evict(page),
            5..=7 => self.kernel_goes_on(),
            8..=10 => self.store_goes_on(true),
            11 => {
                let kinds = [LockKind::Sync, LockKind::Sync, LockKind::Return, LockKind::Flush];
                let kind = kinds[self.random.below(4) as usize];
                self.lock(kind);
            }
            12 => self.feed(Event::RetryWrites),
            _ => self.change_attributes(),
        }
    }

    /// A client touches a page, to read or to write.
    fn touch(&mut self, page: u64) {
        let writes = self.random.one_in(2);
        let access = if writes { Prot::READ_WRITE } else { Prot::READ };
        let Some(cached) = self.cache.get(&page).copied() else {
            if self.waiting.insert(page) {
                self.request(page, access);
            }
            return;
        };
        if writes && cached.locked {
            if self.unlocking.insert(page) {
                self.feed(Event::DataUnlock {
                    control: CONTROL,
                    offset: page * PAGE,
                    length: PAGE,
                    access: Prot::WRITE,
                });
            }
        } else if writes {
            let version = self.fresh();
            let dirty = true;
            self.cache.insert(
                page,
                Cached {
                    version,
                    dirty,
                    ..cached
                },
            );
            self.newest.insert(page, Some(version));
        }
    }

    fn request(&mut self, page: u64, access: Prot) {
        self.feed(Event::DataRequest {
            control: CONTROL,
            offset: page * PAGE,
            length: PAGE,
            access,
        });
    }

    /// The kernel wants the frame: a clean page goes without a word, unless it is precious.
    fn evict(&mut self, page: u64) {
        if let Some(cached) = self.cache.remove(&page)
            && (cached.dirty || cached.precious)
        {
            self.give_back(page, cached, false);
        }
    }

    fn give_back(&mut self, page: u64, cached: Cached, kernel_copy: bool) {
        let data = DataId(self.fresh() as u32);
        self.memory.insert((data, page), cached.version);
        self.feed(Event::DataReturn {
            control: CONTROL,
            offset: page * PAGE,
            length: PAGE,
            data,
            dirty: cached.dirty,
            kernel_copy,
        });
    }

    /// The kernel does the first thing it was told.
    fn kernel_goes_on(&mut self) {
        match self.inbox.pop_front() {
            Some(Effect::DataSupply {
                range,
                data,
                lock,
                precious,
                ..
            }) => {
                for page in range.iter() {
                    self.supplied(page.0, data, lock, precious);
                }
            }
            Some(Effect::DataError { offset, length, .. }) => {
                for page in offset / PAGE..(offset.saturating_add(length) / PAGE).min(PAGES) {
                    self.waiting.remove(&page);
                }
            }
            Some(Effect::LockRequest {
                offset,
                length,
                should_return,
                should_flush,
                lock,
                reply,
                ..
            }) => {
                for page in offset / PAGE..(offset + length) / PAGE {
                    self.lock_page(page, should_return, should_flush, lock);
                }
                if reply {
                    self.feed(Event::LockCompleted {
                        control: CONTROL,
                        offset,
                        length,
                    });
                }
            }
            Some(Effect::ChangeAttributes {
                may_cache,
                copy_strategy,
                reply: true,
                ..
            }) => self.feed(Event::ChangeCompleted {
                may_cache,
                copy_strategy,
            }),
            Some(_) | None => {}
        }
    }

    fn supplied(&mut self, page: u64, data: DataId, lock: Prot, precious: bool) {
        let Some(version) = self.memory.remove(&(data, page)) else {
            return self.fail(format!("page {page} of {data:?} is supplied and was not held"));
        };
        if self.cache.contains_key(&page) || !self.waiting.remove(&page) {
            return;
        }
        let newest = self.newest.entry(page).or_insert(Some(0));
        if self.legal && newest.is_some_and(|newest| newest != version) {
            let newest = *newest;
            self.fail(format!(
                "page {page} is supplied as version {version}, newest is {newest:?}"
            ));
        }
        self.newest.insert(page, Some(version));
        let cached = Cached {
            version,
            dirty: false,
            precious,
            locked: lock.writes(),
        };
        self.cache.insert(page, cached);
    }

    fn lock_page(&mut self, page: u64, should_return: ShouldReturn, flush: bool, lock: Prot) {
        if lock != Prot::NO_CHANGE {
            self.unlocking.remove(&page);
        }
        let Some(cached) = self.cache.get_mut(&page) else {
            return;
        };
        if lock != Prot::NO_CHANGE {
            cached.locked = lock.writes();
        }
        let given = match should_return {
            ShouldReturn::None => false,
            ShouldReturn::Dirty => cached.dirty,
            ShouldReturn::All => cached.dirty || cached.precious,
        };
        let before = *cached;
        cached.dirty &= !given;
        cached.precious &= !given;
        if flush {
            self.cache.remove(&page);
        }
        if given {
            self.give_back(page, before, !flush);
        }
    }

    /// An operation of the store ends; now and then badly.
    fn store_goes_on(&mut self, may_fail: bool) {
        if self.ops.is_empty() {
            return;
        }
        let at = self.random.below(self.ops.len() as u64) as usize;
        let fails = may_fail && self.random.one_in(4);
        let error = [PageError::Io, PageError::NoSpace, PageError::Quota][self.random.below(3) as usize];
        match self.ops.swap_remove(at) {
            Op::Read(op, range) => self.end_read(op, range, fails.then_some(error)),
            Op::Write(op, range, data) => {
                let written = if fails {
                    self.random.below(range.len())
                } else {
                    range.len()
                };
                for page in range.iter().take(written as usize) {
                    match self.memory.get(&(data, page.0)) {
                        Some(version) => _ = self.store.insert(page.0, *version),
                        None => self.fail(format!("page {} of {data:?} is written and was not held", page.0)),
                    }
                }
                let error = fails.then_some(error);
                self.feed(Event::PagesWritten { op, written, error });
            }
            Op::Unlock(op) => {
                let result = if fails { Err(error) } else { Ok(()) };
                self.feed(Event::PagesUnlocked { op, result });
            }
        }
    }

    fn end_read(&mut self, op: OpId, range: PageRange, error: Option<PageError>) {
        let data = DataId(self.fresh() as u32);
        let write_lock = self.random.one_in(3);
        if error.is_none() {
            for page in range.iter() {
                let version = self.store.get(&page.0).copied().unwrap_or(0);
                self.memory.insert((data, page.0), version);
            }
        }
        let result = error.map_or(Ok(PagesSupplied { data, write_lock }), Err);
        self.feed(Event::PagesRead { op, range, result });
    }

    pub(crate) fn lock(&mut self, kind: LockKind) {
        let start = self.random.below(PAGES);
        let length = 1 + self.random.below(PAGES - start);
        let token = self.token();
        if kind == LockKind::Flush {
            for page in start..start + length {
                self.newest.insert(page, None);
            }
        }
        let wait = !self.random.one_in(4);
        self.feed(Event::Lock {
            token,
            kind,
            offset: start * PAGE,
            length: length * PAGE,
            wait,
        });
        if kind == LockKind::Flush {
            // What clients stored may be dropped until the flush is done: let it be done.
            while !self.inbox.is_empty() {
                self.kernel_goes_on();
            }
            for page in start..start + length {
                self.newest.insert(page, None);
            }
        }
    }

    fn change_attributes(&mut self) {
        let token = self.token();
        let may_cache = self.random.one_in(2);
        self.feed(Event::ChangeAttributes {
            token,
            may_cache,
            copy_strategy: CopyStrategy::None,
            wait: true,
        });
    }

    fn token(&mut self) -> RequestToken {
        let token = RequestToken(self.fresh());
        self.tokens.insert(token);
        token
    }

    /// Messages that no kernel should send.
    pub(crate) fn nonsense(&mut self) {
        let control = PortName(self.random.below(3));
        let part = 1 + self.random.below(3);
        let offset = self.random.below(PAGES * 2) * PAGE / part;
        let length = self.random.below(PAGES) * PAGE + self.random.below(2);
        let data = DataId(self.fresh() as u32);
        let event = match self.random.below(8) {
            0 => Event::DataRequest {
                control,
                offset,
                length,
                access: Prot::READ_WRITE,
            },
            1 => {
                let pages = offset / PAGE..offset / PAGE + length.div_ceil(PAGE);
                self.memory.extend(pages.map(|page| ((data, page), 0)));
                Event::DataReturn {
                    control,
                    offset,
                    length,
                    data,
                    dirty: self.random.one_in(2),
                    kernel_copy: self.random.one_in(2),
                }
            }
            2 => Event::DataUnlock {
                control,
                offset,
                length,
                access: Prot::from_bits(self.random.below(8) as u32),
            },
            3 => Event::LockCompleted {
                control,
                offset,
                length,
            },
            4 => Event::PagesWritten {
                op: OpId(self.random.below(5)),
                written: 1,
                error: None,
            },
            5 => Event::Terminate {
                control,
                name: control,
            },
            6 => Event::NoSenders,
            _ => Event::Init {
                control,
                name: control,
                page_size: PAGE << self.random.below(2),
            },
        };
        self.feed(event);
    }

    /// Everything ends, well.
    pub(crate) fn drain(&mut self) {
        for _ in 0..100_000 {
            if self.inbox.is_empty() && self.ops.is_empty() {
                break;
            }
            self.kernel_goes_on();
            self.store_goes_on(false);
        }
        if !self.object.is_idle() {
            self.fail("an operation never ends".to_owned());
        }
        if self.legal && !self.waiting.is_empty() {
            self.fail(format!("{:?} are waited for and never answered", self.waiting));
        }
        if self.legal && !self.tokens.is_empty() {
            self.fail(format!("{:?} are never answered", self.tokens));
        }
    }

    /// After a sync with a store that works, the newest data of every page is in it.
    pub(crate) fn settle(&mut self) {
        self.drain();
        self.feed(Event::RetryWrites);
        self.drain();
        let token = self.token();
        self.feed(Event::Lock {
            token,
            kind: LockKind::Sync,
            offset: 0,
            length: PAGES * PAGE,
            wait: true,
        });
        self.drain();
        self.check_store();
    }

    /// A shutdown with a store that works or not: what clients stored is in it, or with the caller.
    pub(crate) fn shut_down(&mut self) {
        let token = self.token();
        let extent = PAGES * PAGE;
        self.feed(Event::Shutdown { token, extent });
        for _ in 0..50 {
            let page = self.random.below(PAGES);
            self.touch(page);
            self.kernel_goes_on();
            self.store_goes_on(true);
        }
        self.drain();
        if !self.down {
            self.fail("the shutdown never ends".to_owned());
        }
        self.check_store();
    }

    fn check_store(&mut self) {
        for page in 0..PAGES {
            let stored = self.store.get(&page).copied().unwrap_or(0);
            let newest = self.newest.get(&page).copied().unwrap_or(Some(0));
            if newest.is_some_and(|newest| newest != stored) {
                let known = self.object.page(PageIndex(page));
                self.fail(format!(
                    "page {page}: {stored} is stored, newest is {newest:?}; {known:?}"
                ));
            }
        }
        if let Some(((data, page), _)) = self.memory.iter().next() {
            let what = format!("page {page} of {data:?} is held for ever");
            self.fail(what);
        }
    }
}
