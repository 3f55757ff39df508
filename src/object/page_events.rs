//! What the kernel says of pages: checked here, then served page by page.

use super::memory_object::{Life, MemoryObject};
use super::page::PageState;
use super::waiting::Waiting;
use super::{DataId, Effect, Event, PageError, PageIndex, PageRange, PortName, Prot, RangeError, Refusal};

/// Where a message points, as it came.
#[derive(Clone, Copy)]
struct Place {
    control: PortName,
    offset: u64,
    length: u64,
}

impl MemoryObject {
    pub(crate) fn page_event(&mut self, event: Event, effects: &mut Vec<Effect>) {
        match event {
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
            Event::DataReturn { .. } => self.return_event(event, effects),
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
            Event::Init { .. }
            | Event::ChangeCompleted { .. }
            | Event::Terminate { .. }
            | Event::NoSenders
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

    fn return_event(&mut self, event: Event, effects: &mut Vec<Effect>) {
        if let Event::DataReturn {
            control,
            offset,
            length,
            data,
            dirty,
            kernel_copy,
        } = event
        {
            self.data_return(
                Place {
                    control,
                    offset,
                    length,
                },
                data,
                dirty,
                kernel_copy,
                effects,
            );
        }
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
            let doubted = false;
            self.arrive(
                page,
                Waiting::Request {
                    control,
                    access,
                    doubted,
                },
            );
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
            self.locks.seen_back(page);
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
            // The mark may be of a later flush: what the kernel was given between the two is still there.
            if self.locks.flushes(page) {
                continue;
            }
            match self.page_state(page) {
                PageState::Resident { flushing: true, .. } => {
                    self.failures.forget(page);
                    self.evicted(page);
                }
                PageState::Returning {
                    flushing: true, told, ..
                } => {
                    let (kernel_copy, flushing) = (false, false);
                    let state = PageState::Returning {
                        kernel_copy,
                        flushing,
                        told,
                    };
                    self.set_state(page, state);
                }
                PageState::Absent
                | PageState::Filling { .. }
                | PageState::Resident { flushing: false, .. }
                | PageState::Unlocking { .. }
                | PageState::Returning { flushing: false, .. }
                | PageState::Failed { .. } => {}
            }
        }
        self.scratch = pages;
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
