//! What the kernel says of the object as a whole: init, terminate, attributes, no senders.

use super::attributes::Attributes;
use super::memory_object::{Life, MemoryObject};
use super::page::{Page, PageState};
use super::session::Session;
use super::{Answer, Effect, Event, PageIndex, PageRange, Refusal};

impl MemoryObject {
    pub(crate) fn kernel_event(&mut self, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Init {
                control,
                name,
                page_size,
            } => self.init(Session { control, name }, page_size, effects),
            Event::ChangeCompleted {
                may_cache,
                copy_strategy,
            } => {
                let confirmed = Attributes {
                    may_cache,
                    copy_strategy,
                };
                self.change_completed(confirmed, effects);
            }
            Event::Terminate { control, name } => self.terminate(Session { control, name }, effects),
            Event::NoSenders => self.kernel_gone(effects),
            Event::DataRequest { .. }
            | Event::DataReturn { .. }
            | Event::DataUnlock { .. }
            | Event::LockCompleted { .. }
            | Event::Lock { .. }
            | Event::Offer { .. }
            | Event::ChangeAttributes { .. }
            | Event::Shutdown { .. }
            | Event::RetryWrites
            | Event::PagesRead { .. }
            | Event::PagesWritten { .. }
            | Event::PagesUnlocked { .. } => {}
        }
    }

    fn init(&mut self, session: Session, page_size: u64, effects: &mut Vec<Effect>) {
        let refusal = if self.life != Life::Open || !session.control.is_valid() {
            Refusal::WrongState
        } else if page_size != self.options.page_size.bytes() {
            Refusal::WrongPageSize
        } else if self.sessions.control().is_some() {
            Refusal::SecondKernel
        } else {
            self.sessions.begin(session);
            let Attributes {
                may_cache,
                copy_strategy,
            } = self.attributes.current;
            return effects.push(Effect::Ready {
                control: session.control,
                may_cache,
                copy_strategy,
            });
        };
        effects.push(Effect::Destroy {
            control: session.control,
        });
        refuse_session(session, refusal, effects);
    }

    fn change_completed(&mut self, confirmed: Attributes, effects: &mut Vec<Effect>) {
        effects.push(match self.attributes.confirm(confirmed) {
            Some(token) => Effect::Answer {
                token,
                answer: Answer::Done,
            },
            None => Effect::Refused(Refusal::Unmatched),
        });
    }

    fn terminate(&mut self, session: Session, effects: &mut Vec<Effect>) {
        match self.sessions.control() {
            Some(control) if control == session.control => self.kernel_gone(effects),
            Some(_) => refuse_session(session, Refusal::WrongControl, effects),
            None => refuse_session(session, Refusal::WrongState, effects),
        }
    }

    /// The kernel holds no page any more, and confirms nothing.
    fn kernel_gone(&mut self, effects: &mut Vec<Effect>) {
        if !self.sessions.end() {
            return;
        }
        let all = PageRange::new(PageIndex(0), PageIndex(u64::MAX));
        let pages = self.take_known(all);
        for &page in &pages {
            self.forget_kernel(page);
        }
        self.scratch = pages;
        self.locks.confirm_all(self.next_seq);
        while let Some(token) = self.attributes.take_first() {
            let answer = Answer::Done;
            effects.push(Effect::Answer { token, answer });
        }
    }

    fn forget_kernel(&mut self, page: PageIndex) {
        let known = self.pages.get(page);
        let state = match known.state {
            PageState::Resident { .. } => PageState::Absent,
            PageState::Unlocking { .. } => PageState::Unlocking {
                unsaved: false,
                flushing: false,
                offered: false,
            },
            PageState::Returning {
                kernel_copy, told, ..
            } => PageState::Returning {
                kernel_copy: false,
                flushing: false,
                told: told || kernel_copy,
            },
            PageState::Failed { .. } => PageState::Failed { kernel_copy: false },
            PageState::Absent | PageState::Filling { .. } => known.state,
        };
        if known.state.is_unsaved() {
            self.failures.forget(page);
        }
        let keep_error = matches!(state, PageState::Returning { .. } | PageState::Failed { .. });
        let error = known.error.filter(|_| keep_error);
        let refusal = None;
        self.pages.set(
            page,
            Page {
                state,
                error,
                refusal,
            },
        );
    }

    pub(crate) fn take_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq - 1
    }

    /// The known pages of `range`, in the scratch memory, which is to be put back.
    pub(crate) fn take_known(&mut self, range: PageRange) -> Vec<PageIndex> {
        let mut pages = std::mem::take(&mut self.scratch);
        pages.clear();
        self.pages.known(range, &mut pages);
        pages
    }
}

fn refuse_session(session: Session, refusal: Refusal, effects: &mut Vec<Effect>) {
    effects.push(Effect::ReleasePorts {
        control: session.control,
        name: session.name,
    });
    effects.push(Effect::Refused(refusal));
}
