//! What the kernel has asked for: the object must know of it until it has answered.

use std::collections::BTreeSet;

use super::surroundings::PAGE;
use crate::object::lock::{Held, Purpose, Sight};
use crate::object::memory_object::Life;
use crate::object::ops::OpKind;
use crate::object::waiting::Waiting;
use crate::object::{Effect, Event, MemoryObject, PageIndex, PageRange, PortName, Prot};

/// A question of the kernel's about one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Question {
    Data,
    Unlock,
}

/// The questions that the object owes an answer: by control port and page, however often they were
/// asked. Being a function of the object's state, it makes no state different from another.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked(BTreeSet<(Question, PortName, u64)>);

impl Asked {
    /// The kernel asks; what is refused for its form is not meant here.
    pub(super) fn ask(&mut self, object: &MemoryObject, event: &Event) {
        let (question, control, offset, length) = if let Event::DataRequest {
            control,
            offset,
            length,
            ..
        } = *event
        {
            (Question::Data, control, offset, length)
        } else if let Event::DataUnlock {
            control,
            offset,
            length,
            ..
        } = *event
        {
            (Question::Unlock, control, offset, length)
        } else {
            return;
        };
        if object.life == Life::Open && object.control() == Some(control) {
            let pages = offset / PAGE..(offset + length) / PAGE;
            self.0.extend(pages.map(|page| (question, control, page)));
        }
    }

    /// The object says something to the kernel.
    pub(super) fn answer(&mut self, effect: &Effect) {
        let (question, control, pages) = if let Effect::DataSupply { control, range, .. } = *effect {
            (Question::Data, control, range.start().0..range.end().0)
        } else if let Effect::DataError {
            control,
            offset,
            length,
            ..
        } = *effect
        {
            (Question::Data, control, offset / PAGE..(offset + length) / PAGE)
        } else if let Effect::LockRequest {
            control,
            offset,
            length,
            lock,
            ..
        } = *effect
            && lock != Prot::NO_CHANGE
        {
            (Question::Unlock, control, offset / PAGE..(offset + length) / PAGE)
        } else {
            return;
        };
        for page in pages {
            self.0.remove(&(question, control, page));
        }
    }

    /// What was asked and not answered is known to the object still.
    pub(super) fn check(&mut self, object: &MemoryObject) -> Result<(), String> {
        let mut owed = BTreeSet::new();
        for op in object.ops.iter() {
            let question = match op.kind {
                OpKind::Read => Question::Data,
                OpKind::Unlock => Question::Unlock,
                OpKind::Write { .. } => continue,
            };
            owed.extend(
                op.runs()
                    .flat_map(PageRange::iter)
                    .map(|page| (question, op.control, page.0)),
            );
        }
        for (page, item) in object.queues.iter() {
            match item {
                Waiting::Request { control, .. } => owed.insert((Question::Data, control, page.0)),
                Waiting::Unlock { control } => owed.insert((Question::Unlock, control, page.0)),
                Waiting::Return { .. } => false,
            };
        }
        owed.extend(checked(object, &[Sight::Missing, Sight::AskedAgain]));
        // A page that came back had been there: its supply was the answer.
        let shown: BTreeSet<_> = checked(object, &[Sight::Seen]).collect();
        let before = std::mem::replace(&mut self.0, owed);
        let lost = before.into_iter().find(|&asked| {
            let (question, control, _) = asked;
            let is_gone = question == Question::Unlock && object.control() != Some(control);
            !self.0.contains(&asked) && !shown.contains(&asked) && !is_gone
        });
        match lost {
            Some(lost) => Err(format!("{lost:?} is forgotten without an answer")),
            None => Ok(()),
        }
    }
}

/// The pages that the kernel is asked whether it has them, as far as it has shown just that.
fn checked<'a>(
    object: &'a MemoryObject,
    sights: &'a [Sight],
) -> impl Iterator<Item = (Question, PortName, u64)> + 'a {
    object.locks.iter().filter_map(|wait| match wait.purpose {
        Purpose::Held(Held {
            page: PageIndex(page),
            control,
            sight,
            ..
        }) if sights.contains(&sight) => Some((Question::Data, control, page)),
        Purpose::Held(_) | Purpose::User(..) | Purpose::Shutdown | Purpose::Notice => None,
    })
}
