//! What may happen next to an explored object.

use super::surroundings::{Ending, PAGE, Surroundings};
use crate::object::ops::OpKind;
use crate::object::{
    CopyStrategy, Event, LockKind, PageError, PageIndex, PageRange, PageSize, PortName, Prot,
};

/// The bounds of an exploration: what the surroundings do not do, or not any more.
pub(super) struct Bounds {
    pub(super) pages: u64,
    /// Unlocks, offers, clean returns and requests for reading only; not only requests and dirty returns.
    pub(super) all_words: bool,
    /// What waits for busy pages, at most.
    pub(super) queue: u64,
    /// Lock requests, and attribute changes, that wait.
    pub(super) locks: usize,
    pub(super) sessions: bool,
    pub(super) attributes: bool,
    pub(super) shutdown: bool,
}

impl Surroundings {
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
                self.page_events(control, range, bounds, &mut events);
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
        events.extend(self.completions());
        if bounds.shutdown && self.object.shutdown_tokens.is_empty() {
            events.push(Event::Shutdown {
                token: self.token(),
                extent: length,
            });
        }
    }

    /// What the kernel can confirm: the oldest lock request of each range that it was asked for.
    pub(super) fn completions(&self) -> Vec<Event> {
        let open = self.object.locks.iter().filter(|wait| wait.closed_at.is_none());
        let mut asked: Vec<_> = open.map(|wait| wait.asked).collect();
        asked.sort_by_key(|range| (range.start(), range.end()));
        asked.dedup();
        let control = self.object.control();
        let completed = |range: PageRange| {
            Some(Event::LockCompleted {
                control: control?,
                offset: range.offset(PageSize::KIB_4),
                length: range.bytes(PageSize::KIB_4),
            })
        };
        asked.into_iter().filter_map(completed).collect()
    }

    fn page_events(&mut self, control: PortName, range: PageRange, bounds: &Bounds, events: &mut Vec<Event>) {
        let (offset, length) = (range.offset(PageSize::KIB_4), range.bytes(PageSize::KIB_4));
        let accesses = [Prot::READ_WRITE, Prot::READ];
        let returns = [(true, true), (true, false), (false, false)];
        let (few_accesses, few_returns) = if bounds.all_words { (2, 3) } else { (1, 2) };
        events.extend(accesses[..few_accesses].iter().map(|&access| Event::DataRequest {
            control,
            offset,
            length,
            access,
        }));
        for &(dirty, kernel_copy) in &returns[..few_returns] {
            events.push(Event::DataReturn {
                control,
                offset,
                length,
                data: self.data(),
                dirty,
                kernel_copy,
            });
        }
        if !bounds.all_words {
            return;
        }
        events.push(Event::DataUnlock {
            control,
            offset,
            length,
            access: Prot::WRITE,
        });
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
                        error: Some(PageError::Io),
                    },
                    OpKind::Read => self.ending(op, first, kind, Ending::Badly),
                    OpKind::Unlock => self.ending(op, run, kind, Ending::Badly),
                });
            }
        }
    }
}
