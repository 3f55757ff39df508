//! Kernel, store and users around an explored object: what may happen next, and what must hold.

use std::collections::BTreeSet;

use crate::object::failures::Kept;
use crate::object::ops::OpKind;
use crate::object::waiting::Waiting;
use crate::object::{
    Answer, CopyStrategy, DataId, Effect, Event, LockKind, MemoryObject, OpId, PageError, PageFate,
    PageIndex, PageRange, PageSize, PagesSupplied, PortName, Prot, RequestToken,
};

pub(super) const PAGE: u64 = 4096;

/// The bounds of an exploration: what the surroundings do not do, or not any more.
pub(super) struct Bounds {
    pub(super) pages: u64,
    /// What waits for busy pages, at most.
    pub(super) queue: u64,
    /// Lock requests, and attribute changes, that wait.
    pub(super) locks: usize,
    pub(super) sessions: bool,
    pub(super) attributes: bool,
    pub(super) shutdown: bool,
}

/// An object, and what was given to it and not yet back.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) object: MemoryObject,
    pages: u64,
    next: u32,
    held: BTreeSet<(DataId, u64)>,
    tokens: BTreeSet<RequestToken>,
}

/// How operations end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Well,
    Badly,
}

impl Surroundings {
    pub(super) fn new(object: MemoryObject, pages: u64) -> Self {
        Self {
            object,
            pages,
            next: 0,
            held: BTreeSet::new(),
            tokens: BTreeSet::new(),
        }
    }

    /// Feeds one event; says which promise is broken.
    pub(super) fn feed(&mut self, event: Event) -> Result<Vec<Effect>, String> {
        self.give(&event);
        let mut effects = Vec::new();
        self.object.handle(event, &mut effects);
        for effect in &effects {
            self.take(effect)?;
        }
        self.object.check_invariants()?;
        self.check_held()?;
        let unanswered: BTreeSet<_> = self.object.unanswered().collect();
        if unanswered != self.tokens {
            return Err(format!(
                "{unanswered:?} are to be answered, {:?} wait",
                self.tokens
            ));
        }
        Ok(effects)
    }

    fn give(&mut self, event: &Event) {
        match *event {
            Event::DataReturn {
                offset, length, data, ..
            } => self.give_data(data, offset / PAGE, length.div_ceil(PAGE)),
            Event::Offer {
                token, offset, data, ..
            } => {
                self.tokens.insert(token);
                self.give_data(data, offset / PAGE, 1);
            }
            Event::PagesRead {
                range,
                result: Ok(PagesSupplied { data, .. }),
                ..
            } => self.give_data(data, range.start().0, range.len()),
            Event::Lock { token, .. }
            | Event::ChangeAttributes { token, .. }
            | Event::Shutdown { token, .. } => {
                self.tokens.insert(token);
            }
            Event::Init { .. }
            | Event::DataRequest { .. }
            | Event::DataUnlock { .. }
            | Event::LockCompleted { .. }
            | Event::ChangeCompleted { .. }
            | Event::Terminate { .. }
            | Event::NoSenders
            | Event::RetryWrites
            | Event::PagesRead { .. }
            | Event::PagesWritten { .. }
            | Event::PagesUnlocked { .. } => {}
        }
    }

    fn give_data(&mut self, data: DataId, first: u64, count: u64) {
        self.held.extend((first..first + count).map(|page| (data, page)));
    }

    fn take(&mut self, effect: &Effect) -> Result<(), String> {
        match effect {
            Effect::DataSupply { data, range, .. } | Effect::Release { data, range } => {
                self.take_range(*data, *range)
            }
            Effect::ReleaseWhole { data } => {
                let before = self.held.len();
                self.held.retain(|(held, _)| held != data);
                (self.held.len() < before)
                    .then_some(())
                    .ok_or_else(|| format!("{data:?} was not there"))
            }
            Effect::Answer { token, answer } => {
                if !self.tokens.remove(token) {
                    return Err(format!("{token:?} is answered twice"));
                }
                self.take_answer(answer)
            }
            Effect::Ready { .. }
            | Effect::DataError { .. }
            | Effect::LockRequest { .. }
            | Effect::ChangeAttributes { .. }
            | Effect::Destroy { .. }
            | Effect::ReleasePorts { .. }
            | Effect::Read { .. }
            | Effect::Write { .. }
            | Effect::Unlock { .. }
            | Effect::NotifyEvict { .. }
            | Effect::WritesFailed { .. }
            | Effect::DestroyPort
            | Effect::Refused(_) => Ok(()),
        }
    }

    fn take_answer(&mut self, answer: &Answer) -> Result<(), String> {
        let Answer::Failed(failed) = answer else {
            return Ok(());
        };
        let mut pages: Vec<_> = failed.iter().flat_map(|run| run.range.iter()).collect();
        pages.dedup();
        if pages.len() as u64 != failed.iter().map(|run| run.range.len()).sum::<u64>() {
            return Err("a failed page is reported twice in one answer".to_owned());
        }
        failed.iter().try_for_each(|run| match run.fate {
            PageFate::HandedBack(data) => self.take_range(data, run.range),
            PageFate::Kept | PageFate::Stored | PageFate::Dropped => Ok(()),
        })
    }

    fn take_range(&mut self, data: DataId, range: PageRange) -> Result<(), String> {
        for page in range.iter() {
            if !self.held.remove(&(data, page.0)) {
                return Err(format!("page {} of {data:?} is given away twice", page.0));
            }
        }
        Ok(())
    }

    /// What the object holds is what it was given and did not give back.
    fn check_held(&self) -> Result<(), String> {
        let mut holds = BTreeSet::new();
        for op in self.object.ops.iter() {
            if let OpKind::Write { data, .. } = op.kind {
                holds.extend(op.runs().flat_map(PageRange::iter).map(|page| (data, page.0)));
            }
        }
        for (page, item) in self.object.queues.iter() {
            if let Waiting::Return { data, .. } = item {
                holds.insert((data, page.0));
            }
        }
        for page in 0..self.pages {
            if let Some(Kept::Here(data)) = self.object.failures.kept(PageIndex(page)) {
                holds.insert((data, page));
            }
        }
        if holds == self.held {
            return Ok(());
        }
        Err(format!("holds {holds:?}, was given {:?}", self.held))
    }

    /// Everything that can happen, within the bounds of an exploration.
    pub(super) fn events(&mut self, bounds: &Bounds) -> Vec<Event> {
        let mut events = vec![Event::RetryWrites];
        self.session_events(bounds, &mut events);
        self.attribute_events(bounds, &mut events);
        self.lock_events(bounds, &mut events);
        let control = self.object.control().unwrap_or(PortName(9));
        let whole = PageRange::with_len(PageIndex(0), self.pages);
        let mut ranges: Vec<_> = whole.iter().map(PageRange::single).collect();
        ranges.extend((self.pages > 1).then_some(whole));
        let waiting = self.object.queues.iter().count() as u64;
        for range in ranges {
            let busy = range
                .iter()
                .filter(|page| self.object.page_state(*page).is_busy())
                .count() as u64;
            if busy == 0 || waiting + busy <= bounds.queue {
                self.page_events(control, range, &mut events);
            }
        }
        self.endings(&mut events);
        events
    }

    fn session_events(&self, bounds: &Bounds, events: &mut Vec<Event>) {
        let control = self.object.control();
        let dying = self.object.sessions.dying().count();
        if !bounds.sessions && (control.is_some() || dying > 0) {
            return;
        }
        let ports = [PortName(1), PortName(2)];
        let next = ports
            .into_iter()
            .find(|port| !self.object.sessions.dying().any(|dying| dying == *port));
        events.extend(next.map(|control| Event::Init {
            control,
            name: control,
            page_size: PAGE,
        }));
        if bounds.sessions && dying == 0 {
            events.extend(control.map(|control| Event::Terminate {
                control,
                name: control,
            }));
            events.push(Event::NoSenders);
        }
    }

    fn attribute_events(&mut self, bounds: &Bounds, events: &mut Vec<Event>) {
        if !bounds.attributes {
            return;
        }
        let may_cache = !self.object.attributes().may_cache;
        let copy_strategy = CopyStrategy::None;
        if self.object.attributes.waiting().count() < bounds.locks {
            events.push(Event::ChangeAttributes {
                token: self.token(),
                may_cache,
                copy_strategy,
                wait: true,
            });
        }
        for may_cache in [false, true] {
            events.push(Event::ChangeCompleted {
                may_cache,
                copy_strategy,
            });
        }
    }

    fn lock_events(&mut self, bounds: &Bounds, events: &mut Vec<Event>) {
        let (offset, length) = (0, self.pages * PAGE);
        for kind in [LockKind::Sync, LockKind::Flush, LockKind::Return] {
            for wait in [false, true] {
                if self.object.locks.iter().count() < bounds.locks {
                    events.push(Event::Lock {
                        token: self.token(),
                        kind,
                        offset,
                        length,
                        wait,
                    });
                }
            }
        }
        if let Some(control) = self.object.control().filter(|_| bounds.locks > 0) {
            events.push(Event::LockCompleted {
                control,
                offset,
                length,
            });
        }
        if bounds.shutdown && self.object.shutdown_tokens.is_empty() {
            events.push(Event::Shutdown {
                token: self.token(),
                extent: length,
            });
        }
    }

    fn page_events(&mut self, control: PortName, range: PageRange, events: &mut Vec<Event>) {
        let (offset, length) = (range.offset(PageSize::KIB_4), range.bytes(PageSize::KIB_4));
        for access in [Prot::READ, Prot::READ_WRITE] {
            events.push(Event::DataRequest {
                control,
                offset,
                length,
                access,
            });
        }
        events.push(Event::DataUnlock {
            control,
            offset,
            length,
            access: Prot::WRITE,
        });
        for (dirty, kernel_copy) in [(true, true), (true, false), (false, false)] {
            events.push(Event::DataReturn {
                control,
                offset,
                length,
                data: self.data(),
                dirty,
                kernel_copy,
            });
        }
        if range.len() == 1 {
            events.push(Event::Offer {
                token: self.token(),
                offset,
                data: self.data(),
                precious: true,
                write_lock: false,
            });
        }
    }

    /// The ends of operations, well, badly, and in part.
    fn endings(&mut self, events: &mut Vec<Event>) {
        for (op, run, kind) in self.in_flight() {
            for ending in [Ending::Well, Ending::Badly] {
                events.push(self.ending(op, run, kind, ending));
            }
            if run.len() > 1 {
                let first = PageRange::single(run.start());
                events.push(match kind {
                    OpKind::Write { .. } => Event::PagesWritten {
                        op,
                        written: 1,
                        error: Some(PageError::NoSpace),
                    },
                    OpKind::Read => self.ending(op, first, kind, Ending::Badly),
                    OpKind::Unlock => self.ending(op, run, kind, Ending::Badly),
                });
            }
        }
    }

    pub(super) fn in_flight(&self) -> Vec<(OpId, PageRange, OpKind)> {
        let ids = self.object.ops.ids();
        ids.filter_map(|(id, op)| Some((id, op.runs().find(|run| !run.is_empty())?, op.kind)))
            .collect()
    }

    pub(super) fn ending(&mut self, op: OpId, range: PageRange, kind: OpKind, ending: Ending) -> Event {
        let well = ending == Ending::Well;
        let error = PageError::Io;
        match kind {
            OpKind::Read => Event::PagesRead {
                op,
                range,
                result: if well {
                    Ok(PagesSupplied {
                        data: self.data(),
                        write_lock: false,
                    })
                } else {
                    Err(error)
                },
            },
            OpKind::Write { .. } => Event::PagesWritten {
                op,
                written: if well { range.len() } else { 0 },
                error: (!well).then_some(error),
            },
            OpKind::Unlock => Event::PagesUnlocked {
                op,
                result: if well { Ok(()) } else { Err(error) },
            },
        }
    }

    /// Ends everything that is in flight and confirms everything: nothing may be left waiting.
    pub(super) fn drain(&mut self, ending: Ending) -> Result<(), String> {
        for _ in 0..1000 {
            if let Some(&(op, run, kind)) = self.in_flight().first() {
                let event = self.ending(op, run, kind, ending);
                self.feed(event)?;
                continue;
            }
            let Some(event) = self.confirmation() else { break };
            self.feed(event)?;
        }
        match () {
            () if !self.object.is_idle() => Err("operations never end".to_owned()),
            () if self.object.queues.iter().next().is_some() => Err("something waits for ever".to_owned()),
            () if !self.tokens.is_empty() => Err(format!("{:?} are never answered", self.tokens)),
            () => Ok(()),
        }
    }

    fn confirmation(&self) -> Option<Event> {
        let control = self.object.control()?;
        let attributes = self.object.attributes.pending_values().next();
        let lock = self.object.locks.iter().find(|wait| wait.closed_at.is_none());
        let lock = lock.map(|wait| Event::LockCompleted {
            control,
            offset: wait.asked.offset(PageSize::KIB_4),
            length: wait.asked.bytes(PageSize::KIB_4),
        });
        lock.or(attributes.map(|values| Event::ChangeCompleted {
            may_cache: values.may_cache,
            copy_strategy: values.copy_strategy,
        }))
    }

    fn data(&mut self) -> DataId {
        self.next += 1;
        DataId(self.next)
    }

    fn token(&mut self) -> RequestToken {
        self.next += 1;
        RequestToken(u64::from(self.next))
    }
}
