//! Carries the core's effects out: what the kernel would see, what the callbacks are called for.

use std::collections::VecDeque;

use actor_pager::object::{
    Answer, DataId, Effect, FailedPages, PageError, PageFate, PageIndex, PageRange, PageSize, PortName, Prot,
    Reference, ShouldReturn,
};

use super::canon::{PAGE, What};
use super::jobs::Job;
use super::world::{Arrival, Confirms, PagerSim, World, copy_name};

impl World {
    pub(crate) fn carry_out(&mut self, pager: usize, thread: u64, effect: Effect) {
        match effect {
            Effect::Read { .. }
            | Effect::Write { .. }
            | Effect::Unlock { .. }
            | Effect::NotifyEvict { .. } => {
                self.begin_job(pager, thread, effect);
            }
            Effect::Ready {
                control,
                may_cache,
                copy_strategy,
            } => {
                let control = self.port_name(control);
                let attributes = format!("may_cache={may_cache} copy={}", copy_name(copy_strategy));
                self.see(pager, thread, What::Ready { control, attributes });
            }
            Effect::ChangeAttributes {
                may_cache,
                copy_strategy,
                reply,
                ..
            } => {
                let attributes = format!("may_cache={may_cache} copy={}", copy_name(copy_strategy));
                if reply {
                    self.pagers[pager]
                        .attribute_confirmations
                        .push((may_cache, copy_strategy));
                }
                self.see(pager, thread, What::ChangeAttributes { attributes, reply });
            }
            Effect::DataSupply { .. } | Effect::DataError { .. } => self.answer_kernel(pager, thread, effect),
            Effect::LockRequest { .. } => self.lock_request(pager, thread, &effect),
            Effect::Release { data, range } => {
                for page in range.iter() {
                    self.release(pager, thread, data, page);
                }
            }
            Effect::ReleaseWhole { data } => {
                let left: Vec<u64> = self.pagers[pager].memory[data.0 as usize]
                    .left
                    .iter()
                    .copied()
                    .collect();
                for page in left {
                    self.release(pager, thread, data, PageIndex(page));
                }
            }
            Effect::Answer { token, answer } => {
                if let Some((call, step)) = self.pagers[pager].calls.remove(&token) {
                    self.call_ended(pager, call, step, &answer);
                }
            }
            Effect::DestroyPort => {
                self.destroy_port(pager, thread);
                self.drop_reference(pager, thread, Reference::SendRights);
            }
            Effect::Destroy { .. } | Effect::ReleasePorts { .. } | Effect::WritesFailed { .. } => {}
            Effect::Refused(_) => {
                self.refused.insert(thread);
                self.pagers[pager].forget_thread(thread);
            }
        }
    }

    fn begin_job(&mut self, pager: usize, thread: u64, effect: Effect) {
        let (thread, job) = if let Effect::Read { op, range, .. } = effect {
            (
                self.asked_by(pager, range).unwrap_or(thread),
                Job::Read { op, range },
            )
        } else if let Effect::Write { op, range, data } = effect {
            for page in range.iter() {
                self.forget_return(pager, data, page);
            }
            let owner = self.pagers[pager].memory[data.0 as usize].thread;
            (owner, Job::Write { op, range, data })
        } else if let Effect::Unlock { op, range } = effect {
            let owner = self.unlocked_by(pager, range).unwrap_or(thread);
            (owner, Job::Unlock { op, range })
        } else if let Effect::NotifyEvict { range } = effect {
            (thread, Job::Notify { range })
        } else {
            return;
        };
        self.threads.entry(thread).or_default().enqueue(pager, job);
    }

    fn answer_kernel(&mut self, pager: usize, thread: u64, effect: Effect) {
        if let Effect::DataSupply {
            control,
            range,
            data,
            lock,
            precious,
        } = effect
        {
            for page in range.iter() {
                self.supply(pager, thread, (control, lock, precious), data, page);
            }
        } else if let Effect::DataError {
            control,
            offset,
            length,
            error,
        } = effect
        {
            let pages = PageSize::KIB_4.pages_around(offset, length).unwrap_or_default();
            let control = self.port_name(control);
            for page in pages.iter().take(64) {
                self.forget_request(pager, page);
                let what = What::Error {
                    control: control.clone(),
                    page: page.0,
                    error: error_name(error).to_owned(),
                };
                self.see(pager, thread, what);
            }
            self.hold_kernel_call(pager, thread, "data_error", offset / PAGE);
        }
    }

    fn supply(
        &mut self,
        pager: usize,
        thread: u64,
        (control, lock, precious): (PortName, Prot, bool),
        data: DataId,
        page: PageIndex,
    ) {
        let tag = self.pagers[pager].tag(data, page);
        self.forget_request(pager, page);
        self.end_of_page(pager, data, page);
        let what = What::Supply {
            control: self.port_name(control),
            page: page.0,
            tag,
            lock: prot_name(lock).to_owned(),
            precious,
        };
        self.see(pager, thread, what);
    }

    fn lock_request(&mut self, pager: usize, thread: u64, effect: &Effect) {
        let &Effect::LockRequest {
            offset,
            length,
            should_return,
            should_flush,
            lock,
            reply,
            ..
        } = effect
        else {
            return;
        };
        if !reply {
            self.pagers[pager].forget_unlocks(offset / PAGE, length / PAGE);
        }
        if should_flush {
            let pages = offset / PAGE..(offset / PAGE).saturating_add(length / PAGE);
            self.pagers[pager].flush_sent.extend(pages.take(4096));
        }
        if reply {
            let twice = self.pagers[pager]
                .calls
                .values()
                .any(|(call, step)| call == "shutdown" && *step == thread);
            let waits = self.pagers[pager].calls.values().any(|(_, step)| *step == thread);
            let stands_for = match (twice, waits) {
                (true, _) => Confirms::Two,
                (false, true) => Confirms::One,
                (false, false) => Confirms::Unasked,
            };
            let sim = &mut self.pagers[pager];
            sim.confirmations.push((offset, length, stands_for));
            if stands_for == Confirms::Unasked && !should_flush {
                sim.checked.insert(offset / PAGE);
            }
        }
        let what = What::LockRequest {
            offset,
            length,
            should_return: match should_return {
                ShouldReturn::None => "none",
                ShouldReturn::Dirty => "dirty",
                ShouldReturn::All => "all",
            }
            .to_owned(),
            flush: should_flush,
            lock: prot_name(lock).to_owned(),
            reply,
        };
        self.see(pager, thread, what);
        self.hold_kernel_call(pager, thread, "lock_request", offset / PAGE);
    }

    fn release(&mut self, pager: usize, thread: u64, data: DataId, page: PageIndex) {
        self.forget_return(pager, data, page);
        self.end_of_page(pager, data, page);
        if self.pagers[pager].memory[data.0 as usize].returned {
            let tag = self.pagers[pager].tag(data, page);
            self.see(pager, thread, What::Released { tag });
        }
    }

    fn end_of_page(&mut self, pager: usize, data: DataId, page: PageIndex) {
        if !self.pagers[pager].end_page(data, page) {
            self.broken
                .push(format!("page {} of {data:?} was given away twice", page.0));
        }
    }

    fn call_ended(&mut self, pager: usize, call: String, step: u64, answer: &Answer) {
        if let Answer::Rejected(_) = answer {
            self.refused.insert(step);
        }
        if let Answer::Failed(failed) = answer {
            self.hand_back(pager, failed);
            let mut pages: Vec<u64> = failed
                .iter()
                .flat_map(|run| run.range.iter())
                .map(|page| page.0)
                .collect();
            let all = pages.len();
            pages.dedup();
            if pages.len() != all {
                self.broken.push(format!("{call} reports a page twice"));
            }
        }
        if let Some(thread) = self.threads.get_mut(&step)
            && thread.waits_for_call
        {
            thread.waits_for_call = false;
            return;
        }
        let result = String::new();
        self.see(pager, step, What::Returned { call, step, result });
    }

    fn hand_back(&mut self, pager: usize, failed: &[FailedPages]) {
        for run in failed {
            if let PageFate::HandedBack(data) = run.fate {
                for page in run.range.iter() {
                    self.end_of_page(pager, data, page);
                    let tag = self.pagers[pager].tag(data, page);
                    self.pagers[pager].handed_back.insert(page.0, tag);
                }
            }
        }
    }

    pub(crate) fn destroy_port(&mut self, pager: usize, thread: u64) {
        if !std::mem::replace(&mut self.pagers[pager].port_destroyed, true) {
            self.see(pager, thread, What::PortDestroyed);
        }
    }

    fn asked_by(&self, pager: usize, range: PageRange) -> Option<u64> {
        let arrivals = self.pagers[pager].arrivals.get(&range.start().0)?;
        arrivals.iter().find_map(|arrival| match arrival {
            Arrival::Request(thread) => Some(*thread),
            Arrival::Unlock(_) | Arrival::Return(_) => None,
        })
    }

    fn unlocked_by(&mut self, pager: usize, range: PageRange) -> Option<u64> {
        let arrivals = self.pagers[pager].arrivals.get_mut(&range.start().0)?;
        let at = arrivals
            .iter()
            .position(|arrival| matches!(arrival, Arrival::Unlock(_)))?;
        match arrivals.remove(at)? {
            Arrival::Unlock(thread) => Some(thread),
            Arrival::Request(_) | Arrival::Return(_) => None,
        }
    }

    fn forget_return(&mut self, pager: usize, data: DataId, page: PageIndex) {
        if let Some(arrivals) = self.pagers[pager].arrivals.get_mut(&page.0) {
            arrivals.retain(|arrival| !matches!(arrival, Arrival::Return(id) if *id == data));
        }
    }

    /// The requests in front of every return that waits are answered.
    pub(crate) fn forget_request(&mut self, pager: usize, page: PageIndex) {
        let Some(arrivals) = self.pagers[pager].arrivals.get_mut(&page.0) else {
            return;
        };
        let mut rest = VecDeque::new();
        let mut passed = false;
        for arrival in arrivals.drain(..) {
            passed |= matches!(arrival, Arrival::Return(_));
            if passed || !matches!(arrival, Arrival::Request(_)) {
                rest.push_back(arrival);
            }
        }
        *arrivals = rest;
    }
}

impl PagerSim {
    /// The unlocks of these pages that wait are answered.
    fn forget_unlocks(&mut self, first: u64, count: u64) {
        for (_, arrivals) in self.arrivals.range_mut(first..first.saturating_add(count)) {
            arrivals.retain(|arrival| !matches!(arrival, Arrival::Unlock(_)));
        }
    }

    /// What came with this message was refused: nothing else will come of it.
    fn forget_thread(&mut self, step: u64) {
        for arrivals in self.arrivals.values_mut() {
            arrivals.retain(|arrival| match arrival {
                Arrival::Request(thread) | Arrival::Unlock(thread) => *thread != step,
                Arrival::Return(_) => true,
            });
        }
    }
}

pub(crate) fn error_name(error: PageError) -> &'static str {
    match error {
        PageError::Io => "EIO",
        PageError::NoSpace => "ENOSPC",
        PageError::Quota => "EDQUOT",
    }
}

fn prot_name(prot: Prot) -> &'static str {
    match prot.bits() {
        0 => "none",
        1 => "read",
        2 => "write",
        3 => "read|write",
        _ => "no_change",
    }
}
