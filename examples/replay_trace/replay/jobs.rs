//! The user's callbacks: each thread does what it was asked one after another, and may be held.

use std::collections::VecDeque;

use actor_pager::object::{
    CopyStrategy, DataId, Event, LockKind, OpId, PageError, PageIndex, PageRange, PagesSupplied, Reference,
};

use super::answers::{Scripted, kind};
use super::canon::{PAGE, Seen, What};
use super::world::World;

/// Something a thread was asked to do.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    Read {
        op: OpId,
        range: PageRange,
    },
    Write {
        op: OpId,
        range: PageRange,
        data: DataId,
    },
    Unlock {
        op: OpId,
        range: PageRange,
    },
    Notify {
        range: PageRange,
    },
}

/// A callback that was called and has not returned.
#[derive(Debug)]
pub(crate) struct Running {
    what: &'static str,
    page: u64,
    answer: Scripted,
}

/// A thread of the original: named by its step.
#[derive(Default)]
pub(crate) struct Thread {
    pub(crate) jobs: VecDeque<(usize, Job)>,
    pub(crate) running: Option<Running>,
    pub(crate) held: bool,
    pub(crate) waits_for_call: bool,
    /// What it did since it was held right after a call of the kernel.
    pub(crate) unseen: Option<Vec<Seen>>,
    /// It holds a reference to this pager while it works.
    pub(crate) works_on: Option<usize>,
    outcomes: Vec<(u64, Option<String>)>,
}

impl Thread {
    /// Evictions are told when everything else is done.
    pub(crate) fn enqueue(&mut self, pager: usize, job: Job) {
        let done = usize::from(self.running.is_some());
        let waiting = self.jobs.iter().skip(done);
        let last = waiting
            .take_while(|(_, job)| !matches!(job, Job::Notify { .. }))
            .count()
            + done;
        let at = if matches!(job, Job::Notify { .. }) {
            self.jobs.len()
        } else {
            last
        };
        self.jobs.insert(at.min(self.jobs.len()), (pager, job));
    }
}

/// Something that waits for a release step.
pub(crate) struct Held {
    pub(crate) kind: &'static str,
    pub(crate) what: String,
    pub(crate) pager: usize,
    pub(crate) page: u64,
    pub(crate) thread: u64,
    /// The message that was held, with the step it came with.
    pub(crate) message: Option<serde_json::Value>,
}

impl World {
    /// Lets a thread do one thing; false if it cannot.
    pub(crate) fn step_thread(&mut self, id: u64) -> bool {
        let Some(thread) = self.threads.get_mut(&id) else {
            return false;
        };
        if thread.held || thread.waits_for_call {
            return false;
        }
        if let Some(running) = thread.running.take() {
            self.callback_returned(id, running);
            return true;
        }
        let Some((pager, job)) = thread.jobs.pop_front() else {
            return false;
        };
        self.begin_callback(id, pager, job);
        true
    }

    fn begin_callback(&mut self, id: u64, pager: usize, job: Job) {
        let (what, page) = match &job {
            Job::Read { range, .. } => ("read_page", range.start()),
            Job::Unlock { range, .. } => ("unlock_page", range.start()),
            Job::Notify { range } => ("notify_evict", range.start()),
            Job::Write { op, range, data } => return self.begin_write(id, pager, *op, *range, *data),
        };
        let seen = match what {
            "read_page" => What::ReadPage { page: page.0 },
            "unlock_page" => What::UnlockPage { page: page.0 },
            _ => What::NotifyEvict { page: page.0 },
        };
        self.call(id, pager, job, what, page, seen);
    }

    /// Calls a callback; the job stays in front until it has returned.
    fn call(&mut self, id: u64, pager: usize, job: Job, what: &'static str, page: PageIndex, seen: What) {
        self.see(pager, id, seen);
        let name = self.pagers[pager].name.clone();
        let answer = self.answers.callback(what, &name, page.0, id);
        let calls = answer.calls.clone();
        let held = answer.hold;
        if let Some(thread) = self.threads.get_mut(&id) {
            thread.jobs.push_front((pager, job));
            thread.held = held;
            thread.waits_for_call = calls.is_some();
            thread.running = Some(Running {
                what,
                page: page.0,
                answer,
            });
        }
        if held {
            self.held.push(Held {
                kind: "callback",
                what: what.to_owned(),
                pager,
                page: page.0,
                thread: id,
                message: None,
            });
        }
        if let Some(call) = calls {
            self.call_from_callback(id, pager, &call);
        }
    }

    fn call_from_callback(&mut self, id: u64, pager: usize, call: &str) {
        let token = self.token(pager, call, id);
        let (offset, length) = self.extent;
        let event = if call == "sync" {
            Event::Lock {
                token,
                kind: LockKind::Sync,
                offset,
                length,
                wait: true,
            }
        } else {
            Event::ChangeAttributes {
                token,
                may_cache: !self.pagers[pager].object.attributes().may_cache,
                copy_strategy: CopyStrategy::None,
                wait: true,
            }
        };
        self.feed(pager, id, event);
    }

    /// Pages that were tried already are not tried again; then in bulk, then one by one.
    fn begin_write(&mut self, id: u64, pager: usize, op: OpId, range: PageRange, data: DataId) {
        let tried = &self.pagers[pager].memory[data.0 as usize].outcomes;
        let Some(page) = range.iter().find(|page| !tried.contains_key(&page.0)) else {
            return self.report_write(id, pager, op, range, data);
        };
        let job = Job::Write { op, range, data };
        let fresh = range.iter().all(|page| !tried.contains_key(&page.0));
        let bulk_tried = self
            .threads
            .get(&id)
            .is_some_and(|thread| thread.outcomes.iter().any(|(page, _)| *page == u64::MAX));
        if self.bulk && fresh && !bulk_tried {
            let tags = range
                .iter()
                .map(|page| self.pagers[pager].tag(data, page))
                .collect();
            let seen = What::WritePages { page: page.0, tags };
            return self.call(id, pager, job, "write_pages", page, seen);
        }
        let tag = self.pagers[pager].tag(data, page);
        self.call(
            id,
            pager,
            job,
            "write_page",
            page,
            What::WritePage { page: page.0, tag },
        );
    }

    fn callback_returned(&mut self, id: u64, running: Running) {
        let Some((pager, job)) = self
            .threads
            .get_mut(&id)
            .and_then(|thread| thread.jobs.pop_front())
        else {
            return;
        };
        let page = PageIndex(running.page);
        let error = running.answer.error.clone();
        match job {
            Job::Read { op, range } => {
                self.again(id, pager, range, |range| Job::Read { op, range });
                let result = match error {
                    Some(error) => Err(page_error(&error)),
                    None => Ok(self.read_data(id, pager, page, &running.answer)),
                };
                let range = PageRange::single(page);
                self.feed(pager, id, Event::PagesRead { op, range, result });
            }
            Job::Write { op, range, data } => {
                self.written(id, pager, data, range, &running);
                self.front(id, pager, Job::Write { op, range, data });
            }
            Job::Unlock { op, range } => {
                let result = error.map_or(Ok(()), |error| Err(page_error(&error)));
                let sim = &mut self.pagers[pager];
                if result.is_ok() {
                    sim.unlocked.insert(page.0);
                    sim.refused.remove(&page.0);
                } else {
                    sim.refused.insert(page.0);
                }
                self.again(id, pager, range, |range| Job::Unlock { op, range });
                self.feed(pager, id, Event::PagesUnlocked { op, result });
            }
            Job::Notify { range } => self.again(id, pager, range, |range| Job::Notify { range }),
        }
    }

    /// Goes on with the rest of a run.
    fn again(&mut self, id: u64, pager: usize, range: PageRange, job: impl Fn(PageRange) -> Job) {
        let rest = PageRange::new(range.start().next(), range.end());
        if !rest.is_empty() {
            self.front(id, pager, job(rest));
        }
    }

    fn front(&mut self, id: u64, pager: usize, job: Job) {
        self.threads.entry(id).or_default().jobs.push_front((pager, job));
    }

    fn read_data(&mut self, id: u64, pager: usize, page: PageIndex, answer: &Scripted) -> PagesSupplied {
        let sim = &mut self.pagers[pager];
        let tag = answer.data.clone().unwrap_or_else(|| sim.stored(page.0));
        PagesSupplied {
            data: sim.new_memory(page.0, vec![tag], id, false),
            write_lock: answer.write_lock,
        }
    }

    fn written(&mut self, id: u64, pager: usize, data: DataId, range: PageRange, running: &Running) {
        let pages: Vec<u64> = if running.what == "write_pages" {
            if let Some(thread) = self.threads.get_mut(&id) {
                thread.outcomes.push((u64::MAX, None));
            }
            let written = running.answer.written.unwrap_or(0) / PAGE;
            range.iter().map(|page| page.0).take(written as usize).collect()
        } else {
            vec![running.page]
        };
        let failed = running
            .answer
            .error
            .clone()
            .filter(|_| running.what == "write_page");
        for page in pages {
            let tag = self.pagers[pager].tag(data, PageIndex(page));
            let sim = &mut self.pagers[pager];
            sim.memory[data.0 as usize].outcomes.insert(page, failed.clone());
            if let Some(error) = &failed {
                sim.bad.insert(page, kind(error));
                sim.was_bad.insert(page);
                sim.healed.remove(&page);
            } else {
                sim.store.insert(page, tag);
                if sim.bad.remove(&page).is_some() {
                    sim.healed.insert(page);
                }
            }
        }
    }

    fn report_write(&mut self, id: u64, pager: usize, op: OpId, range: PageRange, data: DataId) {
        if let Some(thread) = self.threads.get_mut(&id)
            && thread.jobs.is_empty()
        {
            thread.outcomes.clear();
        }
        let outcomes = self.pagers[pager].memory[data.0 as usize].outcomes.clone();
        let failed = |page: &PageIndex| outcomes.get(&page.0).cloned().flatten();
        let bad = range
            .iter()
            .find_map(|page| failed(&page).map(|error| (page, error)));
        let (written, error) = match bad {
            Some((page, error)) => (page.0 - range.start().0, Some(page_error(&error))),
            None => (range.len(), None),
        };
        self.feed(pager, id, Event::PagesWritten { op, written, error });
    }

    /// Ends a thread that has nothing left to do.
    pub(crate) fn finish_thread(&mut self, id: u64) -> bool {
        let Some(thread) = self.threads.get(&id) else {
            return false;
        };
        if thread.held || thread.running.is_some() || !thread.jobs.is_empty() || thread.unseen.is_some() {
            return false;
        }
        let works_on = thread.works_on;
        let waits = self.held.iter().any(|held| held.thread == id);
        if waits || self.pagers.iter().any(|pager| pager.waits_for(id)) {
            return false;
        }
        self.threads.remove(&id);
        let Some(pager) = works_on else {
            return true;
        };
        if self.pagers[pager].handling == Some(id) {
            self.pagers[pager].handling = None;
        }
        self.drop_reference(pager, id, Reference::Work);
        true
    }

    /// The thread made a call that the script holds: what it does next is not seen until the release.
    pub(crate) fn hold_kernel_call(&mut self, pager: usize, thread: u64, call: &str, page: u64) {
        let name = self.pagers[pager].name.clone();
        let scripted = self.answers.take("kernel_call", call, &name, page);
        if !scripted.is_some_and(|answer| answer.hold) {
            return;
        }
        self.threads.entry(thread).or_default().unseen = Some(Vec::new());
        self.held.push(Held {
            kind: "kernel_call",
            what: call.to_owned(),
            pager,
            page,
            thread,
            message: None,
        });
    }
}

fn page_error(error: &str) -> PageError {
    match kind(error) {
        "ENOSPC" => PageError::NoSpace,
        "EDQUOT" => PageError::Quota,
        _ => PageError::Io,
    }
}
