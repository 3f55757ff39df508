//! The end of a pager that nobody holds any more.

use super::{Condition, Farewell, Outcome, PagerWork, Waiting};
use crate::actors::engine::Job;
use crate::actors::messages::Report;
use crate::object::{Answer, Event, LockKind};

impl PagerWork {
    /// Writes everything back and ends.
    pub(super) fn farewell(&mut self) {
        self.leaving = true;
        if self.reviving {
            return; // The new core would find nothing to write yet.
        }
        let token = self.token(|_| Waiting::Farewell(Farewell::Sync));
        let length = self.whole_length();
        let event = Event::Lock {
            token,
            kind: LockKind::Sync,
            offset: 0,
            length,
            wait: true,
        };
        self.turn(|engine| {
            engine.make_durable(token);
            engine.handle(event);
        });
    }

    pub(super) fn said_farewell(&mut self, stage: Farewell, outcome: &Outcome) {
        let done = matches!(outcome, Outcome::Answer(Answer::Done | Answer::ShutDown));
        match (stage, done) {
            (Farewell::Sync, true) => self.shut_down(),
            (Farewell::Shutdown, true) => self.launch(Job::ClearUserData, 0),
            (Farewell::Sync | Farewell::Shutdown, false) => {
                tracing::error!(
                    ?outcome,
                    "nobody holds a pager any more whose pages cannot be written; it keeps them"
                );
                self.retry_soon();
            }
        }
    }

    fn shut_down(&mut self) {
        let token = self.token(|_| Waiting::Farewell(Farewell::Shutdown));
        let extent = self.extent();
        self.turn(|engine| engine.handle(Event::Shutdown { token, extent }));
    }

    /// The extent in whole pages.
    fn whole_length(&mut self) -> u64 {
        self.extent().next_multiple_of(self.parts.page_size.bytes())
    }

    pub(super) fn end(&mut self) {
        self.condition = Condition::Ended;
        self.waiting.clear();
        self.kept.clear();
        self.parts
            .supervisor
            .do_send(Report::Ended { pager: self.parts.id });
    }
}
