//! What the kernel says: checked here, then served page by page.

use super::attributes::Attributes;
use super::memory_object::{Life, MemoryObject};
use super::page::{Page, PageState};
use super::session::Session;
use super::waiting::Waiting;
use super::{
    Answer, DataId, Effect, Event, PageError, PageIndex, PageRange, PortName, Prot, RangeError, Refusal,
};

/// Where a message points, as it came.
#[derive(Clone, Copy)]
struct Place {
    control: PortName,
    offset: u64,
    length: u64,
}

impl MemoryObject {
    pub(crate) fn kernel_event(&mut self, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Init {
                control,
                name,
                page_size,
            } => self.init(Session { control, name }, page_size, effects),
            Event::DataRequest {
                control,
                offset,
                length,
                access,
            } => self.data_request(
                Place {
                    control,
                    offset,
                    length,
                },
                access,
                effects,
            ),
            Event::DataReturn {
                control,
                offset,
                length,
                data,
                dirty,
                kernel_copy,
            } => self.data_return(
                Place {
                    control,
                    offset,
                    length,
                },
                data,
                dirty,
                kernel_copy,
                effects,
            ),
            Event::DataUnlock {
                control,
                offset,
                length,
                access,
            } => self.data_unlock(
                Place {
                    control,
                    offset,
                    length,
                },
                access,
                effects,
            ),
            Event::LockCompleted {
                control,
                offset,
                length,
            } => self.lock_completed(
                Place {
                    control,
                    offset,
                    length,
                },
                effects,
            ),
            Event::ChangeCompleted {
                may_cache,
                copy_strategy,
            } => self.change_completed(
                Attributes {
                    may_cache,
                    copy_strategy,
                },
                effects,
            ),
            Event::Terminate { control, name } => self.terminate(Session { control, name }, effects),
            Event::NoSenders => self.kernel_gone(effects),
            Event::Lock { .. }
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

    fn data_request(&mut self, place: Place, access: Prot, effects: &mut Vec<Effect>) {
        let range = match self.check(place) {
            Ok(range) if self.life == Life::Open => range,
            Ok(_) => return refuse_request(place, Refusal::WrongState, effects),
            Err(refusal) => return refuse_request(place, refusal, effects),
        };
        let control = place.control;
        let inside = self.inside(range);
        for page in inside.iter() {
            self.arrive(page, Waiting::Request { control, access });
        }
        self.flush(effects);
        self.refuse_outside(place, inside, range, effects);
    }

    fn data_return(
        &mut self,
        place: Place,
        data: DataId,
        dirty: bool,
        kernel_copy: bool,
        effects: &mut Vec<Effect>,
    ) {
        let range = match self.check(place) {
            Ok(range) => range,
            Err(refusal) => {
                effects.push(Effect::ReleaseWhole { data });
                return effects.push(Effect::Refused(refusal));
            }
        };
        let seq = self.take_seq();
        let inside = self.inside(range);
        for page in inside.iter() {
            let control = place.control;
            self.arrive(
                page,
                Waiting::Return {
                    control,
                    data,
                    dirty,
                    kernel_copy,
                    seq,
                },
            );
        }
        if inside != range {
            let outside = PageRange::new(inside.end(), range.end());
            effects.push(Effect::Release { data, range: outside });
            effects.push(Effect::Refused(Refusal::OutsideExtent));
        }
    }

    fn data_unlock(&mut self, place: Place, access: Prot, effects: &mut Vec<Effect>) {
        let range = match self.check(place) {
            Ok(_) if self.life != Life::Open => return refuse_request(place, Refusal::WrongState, effects),
            Ok(_) if !access.writes() => return refuse_request(place, Refusal::BadAccess, effects),
            Ok(range) => range,
            Err(refusal) => return refuse_request(place, refusal, effects),
        };
        let control = place.control;
        let inside = self.inside(range);
        for page in inside.iter() {
            self.arrive(page, Waiting::Unlock { control });
        }
        self.flush(effects);
        self.refuse_outside(place, inside, range, effects);
    }

    fn lock_completed(&mut self, place: Place, effects: &mut Vec<Effect>) {
        if self.sessions.control() != Some(place.control) {
            return effects.push(Effect::Refused(Refusal::WrongControl));
        }
        let range = self.options.page_size.pages_exact(place.offset, place.length);
        let confirmed = range
            .ok()
            .and_then(|range| Some((range, self.locks.confirm(range, self.next_seq)?)));
        match confirmed {
            Some((range, true)) => self.flushed(range),
            Some((_, false)) => {}
            None => effects.push(Effect::Refused(Refusal::Unmatched)),
        }
    }

    /// The kernel has dropped what it held of `range` when the flush was sent.
    fn flushed(&mut self, range: PageRange) {
        let pages = self.take_known(range);
        for &page in &pages {
            match self.page_state(page) {
                PageState::Resident { flushing: true, .. } => {
                    self.failures.take_kept(page);
                    self.evicted(page);
                }
                PageState::Returning { flushing: true, .. } => {
                    let (kernel_copy, flushing) = (false, false);
                    self.set_state(
                        page,
                        PageState::Returning {
                            kernel_copy,
                            flushing,
                        },
                    );
                }
                PageState::Absent
                | PageState::Filling
                | PageState::Resident { flushing: false, .. }
                | PageState::Unlocking { .. }
                | PageState::Returning { flushing: false, .. }
                | PageState::Failed { .. } => {}
            }
        }
        self.scratch = pages;
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
            },
            PageState::Returning { .. } => PageState::Returning {
                kernel_copy: false,
                flushing: false,
            },
            PageState::Failed { .. } => PageState::Failed { kernel_copy: false },
            PageState::Absent | PageState::Filling => known.state,
        };
        if known.state.is_unsaved() {
            self.failures.take_kept(page);
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

    /// The pages that a message names, if it may.
    fn check(&self, place: Place) -> Result<PageRange, Refusal> {
        let size = self.options.page_size;
        match self.sessions.control() {
            None => return Err(Refusal::WrongState),
            Some(control) if control != place.control => return Err(Refusal::WrongControl),
            Some(_) => {}
        }
        if place.length == 0 || !place.length.is_multiple_of(size.bytes()) {
            return Err(Refusal::BadLength);
        }
        let range = size
            .pages_exact(place.offset, place.length)
            .map_err(|error| match error {
                RangeError::Misaligned { .. } | RangeError::PageSize(_) => Refusal::Misaligned,
                RangeError::Overflow { .. } => Refusal::Overflow,
            })?;
        if range.len() > self.options.max_request {
            return Err(Refusal::BadLength);
        }
        Ok(range)
    }

    /// The part of `range` that lies inside the extent.
    fn inside(&self, range: PageRange) -> PageRange {
        let size = self.options.page_size.bytes();
        let end = self
            .options
            .extent
            .map_or(u64::MAX, |extent| extent.div_ceil(size));
        range.intersection(PageRange::new(PageIndex(0), PageIndex(end)))
    }

    pub(crate) fn is_inside(&self, page: PageIndex) -> bool {
        !self.inside(PageRange::single(page)).is_empty()
    }

    fn refuse_outside(&self, place: Place, inside: PageRange, range: PageRange, effects: &mut Vec<Effect>) {
        if inside == range {
            return;
        }
        let end = place.offset + place.length;
        let offset = inside.end().offset(self.options.page_size).max(place.offset);
        let length = end - offset;
        refuse_request(
            Place {
                offset,
                length,
                ..place
            },
            Refusal::OutsideExtent,
            effects,
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

fn refuse_request(place: Place, refusal: Refusal, effects: &mut Vec<Effect>) {
    if place.control.is_valid() {
        effects.push(Effect::DataError {
            control: place.control,
            offset: place.offset,
            length: place.length,
            error: PageError::Io,
        });
    }
    effects.push(Effect::Refused(refusal));
}

fn refuse_session(session: Session, refusal: Refusal, effects: &mut Vec<Effect>) {
    effects.push(Effect::ReleasePorts {
        control: session.control,
        name: session.name,
    });
    effects.push(Effect::Refused(refusal));
}
