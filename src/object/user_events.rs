//! What the users ask for: lock requests and shutdown go to `lock_requests`; offers and attributes.

use super::attributes::Attributes;
use super::batch::Tell;
use super::memory_object::{Life, MemoryObject};
use super::page::{Page, PageState};
use super::{Answer, DataId, Effect, Event, PageIndex, PortName, Prot, Refusal, RequestToken};

/// A page that a user offers, as it came.
struct Offered {
    offset: u64,
    data: DataId,
    precious: bool,
    write_lock: bool,
}

impl MemoryObject {
    pub(crate) fn user_event(&mut self, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Lock {
                token,
                kind,
                offset,
                length,
                wait,
            } => {
                let range = self.options.page_size.pages_around(offset, length);
                match range {
                    _ if self.life == Life::ShutDown => answer(token, Answer::ShutDown, effects),
                    Err(_) => answer(token, Answer::Rejected(Refusal::Overflow), effects),
                    Ok(range) if range.is_empty() => answer(token, Answer::Done, effects),
                    Ok(range) => self.lock(token, kind, range, wait, effects),
                }
            }
            Event::Offer {
                token,
                offset,
                data,
                precious,
                write_lock,
            } => {
                let offered = Offered {
                    offset,
                    data,
                    precious,
                    write_lock,
                };
                self.offer(token, offered, effects);
            }
            Event::ChangeAttributes {
                token,
                may_cache,
                copy_strategy,
                wait,
            } => {
                let to = Attributes {
                    may_cache,
                    copy_strategy,
                };
                self.change_attributes(token, to, wait, effects);
            }
            Event::Shutdown { token, extent } => self.shutdown(token, extent, effects),
            Event::RetryWrites => self.retry_writes(),
            Event::Init { .. }
            | Event::DataRequest { .. }
            | Event::DataReturn { .. }
            | Event::DataUnlock { .. }
            | Event::LockCompleted { .. }
            | Event::ChangeCompleted { .. }
            | Event::Terminate { .. }
            | Event::NoSenders
            | Event::PagesRead { .. }
            | Event::PagesWritten { .. }
            | Event::PagesUnlocked { .. } => {}
        }
    }

    fn offer(&mut self, token: RequestToken, offered: Offered, effects: &mut Vec<Effect>) {
        let size = self.options.page_size;
        let page = size.page_of(offered.offset);
        let refusal = match self.sessions.control() {
            Some(control) if self.life == Life::Open => {
                if page.offset(size) != offered.offset {
                    Refusal::Misaligned
                } else if !self.is_inside(page) {
                    Refusal::OutsideExtent
                } else {
                    self.offer_page(page, control, &offered);
                    return answer(token, Answer::Done, effects);
                }
            }
            Some(_) | None => Refusal::WrongState,
        };
        effects.push(Effect::ReleaseWhole { data: offered.data });
        answer(token, Answer::Rejected(refusal), effects);
    }

    /// Supplies an offered page that nobody holds; otherwise the kernel has it, or what is on its way
    /// is newer, and the offer is ignored.
    fn offer_page(&mut self, page: PageIndex, control: PortName, offered: &Offered) {
        let &Offered {
            data,
            precious,
            write_lock,
            ..
        } = offered;
        if self.page_state(page) != PageState::Absent {
            return self.release(page, data);
        }
        // It answers a request that was not answered yet, also one that was to get a refusal.
        let known = self.pages.get(page);
        let state = PageState::Resident {
            write_locked: write_lock,
            unsaved: precious,
            flushing: false,
            offered: true,
        };
        let refusal = None;
        self.pages.set(
            page,
            Page {
                state,
                refusal,
                ..known
            },
        );
        let lock = if write_lock { Prot::WRITE } else { Prot::NONE };
        // Else it might be dropped silently, and a request sent before it came looks like one after.
        let precious = true;
        let what = Tell::Supply { data, lock, precious };
        self.tell(page, control, what);
    }

    fn change_attributes(
        &mut self,
        token: RequestToken,
        to: Attributes,
        wait: bool,
        effects: &mut Vec<Effect>,
    ) {
        if self.life == Life::ShutDown {
            return answer(token, Answer::ShutDown, effects);
        }
        if self.attributes.is_idle(to, wait) {
            return answer(token, Answer::Done, effects);
        }
        self.attributes.current = to;
        let Some(control) = self.sessions.control() else {
            return answer(token, Answer::Done, effects);
        };
        effects.push(Effect::ChangeAttributes {
            control,
            may_cache: to.may_cache,
            copy_strategy: to.copy_strategy,
            reply: wait,
        });
        if wait {
            self.attributes.wait(token, to);
        } else {
            answer(token, Answer::Done, effects);
        }
    }
}

pub(crate) fn answer(token: RequestToken, answer: Answer, effects: &mut Vec<Effect>) {
    effects.push(Effect::Answer { token, answer });
}
