//! Kernel, store and users around an explored object: what may happen next, and what must hold.

use std::collections::BTreeSet;

use super::asked::Asked;
use super::canonical::Canonical;
use crate::object::failures::Kept;
use crate::object::ops::OpKind;
use crate::object::waiting::Waiting;
use crate::object::{
    Answer, DataId, Effect, Event, MemoryObject, OpId, PageError, PageFate, PageIndex, PageRange,
    PagesSupplied, RequestToken,
};

pub(super) const PAGE: u64 = 4096;

/// An object, and what was given to it and not yet back.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) object: MemoryObject,
    pub(super) pages: u64,
    next: u32,
    held: BTreeSet<(DataId, u64)>,
    tokens: BTreeSet<RequestToken>,
    asked: Asked,
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
            asked: Asked::default(),
        }
    }

    /// Feeds one event; says which promise is broken.
    pub(super) fn feed(&mut self, event: Event) -> Result<Vec<Effect>, String> {
        self.give(&event);
        self.asked.ask(&self.object, &event);
        let mut effects = Vec::new();
        self.object.handle(event, &mut effects);
        for effect in &effects {
            self.take(effect)?;
            self.asked.answer(effect);
        }
        self.object.check_invariants()?;
        self.asked.check(&self.object)?;
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

    /// The state without names.
    pub(super) fn canonical(&self) -> Canonical {
        Canonical::of(&self.object, self.pages)
    }

    /// Ends everything that is in flight and confirms everything, until a state `is_known` to run empty
    /// or nothing is left to be done: then nothing may be left waiting.
    pub(super) fn drain(
        &mut self,
        ending: Ending,
        mut is_known: impl FnMut(&Self) -> bool,
    ) -> Result<(), String> {
        for _ in 0..1000 {
            let event = if let Some(&(op, run, kind)) = self.in_flight().first() {
                self.ending(op, run, kind, ending)
            } else if let Some(event) = self.confirmation() {
                event
            } else {
                break;
            };
            self.feed(event)?;
            if is_known(self) {
                return Ok(());
            }
        }
        match () {
            () if !self.object.is_idle() => Err("operations never end".to_owned()),
            () if self.object.queues.iter().next().is_some() => Err("something waits for ever".to_owned()),
            () if self.object.locks.iter().next().is_some() => Err("a lock request never ends".to_owned()),
            () if !self.tokens.is_empty() => Err(format!("{:?} are never answered", self.tokens)),
            () => Ok(()),
        }
    }

    fn confirmation(&self) -> Option<Event> {
        let attributes = self.object.attributes.pending_values().next();
        let lock = self.completions().into_iter().next();
        lock.or(attributes.map(|values| Event::ChangeCompleted {
            may_cache: values.may_cache,
            copy_strategy: values.copy_strategy,
        }))
    }

    pub(super) fn data(&mut self) -> DataId {
        self.next += 1;
        DataId(self.next)
    }

    pub(super) fn token(&mut self) -> RequestToken {
        self.next += 1;
        RequestToken(u64::from(self.next))
    }
}
