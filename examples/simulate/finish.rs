//! The end of a life: the store works again, and everything must come to rest with every byte right.

use actor_pager::actors::engine::Outcome;
use actor_pager::object::{Answer, Event, LockKind, PageIndex};

use crate::simulation::{Simulation, Thread};
use crate::store::{Fate, PAGE};

/// How many rounds everything may take to come to rest.
const ROUNDS: usize = 2000;
/// How many of them nothing may happen in: threads that wait for a frame ask more than once.
const IDLE_ROUNDS: usize = 80;

impl Simulation {
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        if self.inhibited {
            self.inhibited = false;
            self.engine.resume();
            self.engine.hear();
        }
        self.tell(|| "the store works again".to_owned());
        self.come_to_rest()?;
        if self.plan.illegal {
            return Ok(());
        }
        // Reports what failed before; what failed is written by then.
        self.sync()?;
        if !self.over {
            let outcome = self.sync()?;
            if !matches!(outcome, Outcome::Answer(Answer::Done)) {
                return Err(format!(
                    "nothing fails any more, but a second sync says {outcome:?}"
                ));
            }
        }
        self.check_store()
    }

    fn sync(&mut self) -> Result<Outcome, String> {
        let token = self.token();
        let (offset, length) = (0, self.pages * PAGE as u64);
        self.engine.handle(Event::Lock {
            token,
            kind: LockKind::Sync,
            offset,
            length,
            wait: true,
        });
        self.come_to_rest()?;
        self.answered
            .remove(&token)
            .ok_or_else(|| "a sync was not answered".to_owned())
    }

    /// Serves everything until nothing is left to do.
    fn come_to_rest(&mut self) -> Result<(), String> {
        let mut idle = 0;
        for _ in 0..ROUNDS {
            self.take_outputs();
            let mut any = self.hear();
            while !self.jobs.is_empty() {
                self.end_job(0, Fate::Succeeds);
                self.take_outputs();
                any = true;
            }
            if std::mem::take(&mut self.retry) {
                self.engine.handle(Event::RetryWrites);
                any = true;
            }
            any |= self.run_threads();
            self.engine.settle();
            any |= self.take_outputs();
            self.check()?;
            idle = if any { 0 } else { idle + 1 };
            if idle > IDLE_ROUNDS {
                return self.check_rest();
            }
        }
        Err("it does not come to rest".into())
    }

    fn check_rest(&self) -> Result<(), String> {
        if self.plan.illegal {
            // A request that a forged message answered or ended hangs by the kernel's own fault.
            return Ok(());
        }
        if let Some(thread) = self.threads.iter().find(|thread| !matches!(thread, Thread::Idle)) {
            return Err(format!(
                "a thread hangs: {thread:?}; pages asked for: {:?}",
                self.client.awaited()
            ));
        }
        if let Some(token) = self.waiting.first() {
            return Err(format!("{token:?} was never answered"));
        }
        if let Some(token) = self.copies.first() {
            return Err(format!("the copy {token:?} never ended"));
        }
        if !self.engine.is_quiet() {
            return Err("nothing is left to do, but the engine says that it is busy".into());
        }
        Ok(())
    }

    /// What the pager was last given is in the store, or was handed back.
    fn check_store(&self) -> Result<(), String> {
        for page in (0..self.pages).map(PageIndex) {
            let Some(expected) = self.client.expected(page) else {
                continue;
            };
            let stored = self.store.page(page).unwrap_or_default();
            let saved = self.unsaved.iter().rfind(|unsaved| unsaved.range.contains(page));
            let saved = saved.map(|unsaved| {
                let at = (page.0 - unsaved.range.start().0) as usize * PAGE;
                &unsaved.bytes[at..at + PAGE]
            });
            if stored != expected && saved != Some(&expected[..]) {
                let at = stored.iter().zip(&expected).position(|(a, b)| a != b);
                return Err(format!(
                    "page {} is not in the store as it was returned (byte {at:?})",
                    page.0
                ));
            }
        }
        Ok(())
    }
}
