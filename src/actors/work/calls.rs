//! What users, and the supervisor, ask of a pager.

use super::{Again, Condition, Intake, PagerWork, Waiting};
use crate::actors::engine::{Copy, Engine, Job};
use crate::actors::messages::{Control, Reply, Request, UserCall};
use crate::error::MapError;
use crate::mach::RawMapping;
use crate::object::{Consequence, Event, LockKind, ObjectState, PageRange, Prot, Reference};

impl PagerWork {
    /// Takes in a call.
    pub(crate) fn call(&mut self, call: UserCall) {
        match call {
            UserCall::Control(control) => self.control(control),
            UserCall::Request(request) if self.takes_requests() => self.serve(request),
            UserCall::Request(request) => self.kept.push_back(request),
        }
    }

    fn takes_requests(&self) -> bool {
        matches!(self.intake, Intake::Open) && self.condition != Condition::Stunned && !self.reviving
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Lock {
                kind,
                offset,
                length,
                wait,
                reply,
            } => {
                let durable = wait && kind != LockKind::Flush;
                self.request(reply, durable, |token| Event::Lock {
                    token,
                    kind,
                    offset,
                    length,
                    wait,
                });
            }
            Request::Copy {
                offset,
                buffer,
                access,
                of,
                reply,
            } => {
                let token = self.token(|_| Waiting::Copied(reply));
                self.turn(|engine| engine.copy(Copy::new(token, offset, buffer, access).of(of)));
            }
            Request::Populate {
                offset,
                length,
                reply,
            } => {
                let token = self.token(|_| Waiting::Copied(reply));
                self.turn(|engine| engine.copy(Copy::populate(token, offset, length)));
            }
            Request::Offer {
                page,
                bytes,
                precious,
                write_lock,
                reply,
            } => {
                let token = self.token(|_| Waiting::Answer { reply, again: None });
                self.turn(|engine| engine.offer(token, page, bytes, precious, write_lock));
            }
            Request::ChangeAttributes {
                may_cache,
                copy_strategy,
                wait,
                reply,
            } => {
                self.request(reply, false, |token| Event::ChangeAttributes {
                    token,
                    may_cache,
                    copy_strategy,
                    wait,
                });
            }
            Request::Map { range, prot, reply } => self.map(range, prot, reply),
            Request::MapCopy { range, prot, reply } => {
                let token = self.token(|_| Waiting::Mapped(reply));
                self.turn(|engine| engine.map_copy(token, range, prot));
            }
            Request::Shutdown { reply } => {
                let extent = self.extent();
                self.request(reply, true, |token| Event::Shutdown { token, extent });
            }
        }
    }

    /// Maps pages. What the user does next may need the object: where the kernel's `Init` is not yet
    /// answered, they are told with the next look at what the kernel says.
    fn map(&mut self, range: PageRange, prot: Prot, reply: Reply<super::Mapped>) {
        let mapped = self.parts.engine.kernel().map(range, prot);
        let early = self.parts.engine.object().state() == ObjectState::NotInit;
        if early && mapped.is_ok() {
            self.mapped.push((reply, mapped));
        } else {
            let _ = reply.send(mapped);
        }
        self.turn(|_| ());
    }

    /// Makes a request of the core and remembers who waits for it.
    fn request(
        &mut self,
        reply: Reply<super::Outcome>,
        durable: bool,
        event: impl Fn(super::RequestToken) -> Event,
    ) {
        let mut again = None;
        let token = self.token(|token| {
            let event = event(token);
            again = Some(Again { event, durable });
            Waiting::Answer {
                reply,
                again: again.clone(),
            }
        });
        if let Some(again) = again {
            self.turn(|engine| again.ask(engine, token));
        }
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::PageError { page, reply } => {
                let error = self.parts.engine.object().page_error(page);
                // Whoever asks has seen the error: the next touch is to ask the store again.
                self.parts.engine.kernel().heal(page);
                let _ = reply.send(error);
            }
            Control::Residency { reply } => {
                let _ = reply.send(self.parts.engine.kernel().residency());
            }
            Control::Unmap { mapping, reply } => self.unmap(&mapping, reply),
            Control::Added(reference) => drop(self.references.add(reference)),
            Control::Dropped(reference) => self.dropped(reference),
            Control::AddWeak => drop(self.references.add_weak()),
            Control::WeakDropped => {
                if self.references.drop_weak() == Ok(Consequence::Clear) {
                    self.farewell();
                }
            }
            Control::Advise { range, advice } => {
                self.parts.engine.kernel().advise(range, advice);
                self.turn(|_| ());
            }
            Control::Record => self.parts.engine.record(),
            Control::TakePlan { reply } => {
                let _ = reply.send(self.parts.engine.take_plan());
            }
            Control::Hold { range, reply } => {
                self.parts.engine.hold(range);
                let _ = reply.send(());
            }
            Control::Release { range, reply } => {
                let mut released = false;
                self.turn(|engine| released = engine.release_hold(range));
                let _ = reply.send(released);
            }
            Control::Inhibit { reply } => self.inhibit(reply),
            Control::Close { reply } => self.close_intake(reply),
            Control::Resume { reply } => {
                self.resume();
                let _ = reply.send(());
            }
            Control::Restart => self.restart(),
            Control::RestartBackend => self.restart_backend(),
            Control::Quarantine => self.quarantine(),
            Control::Revive => self.revive(),
        }
    }

    /// A copy is mapped, or cannot be.
    pub(super) fn copy_mapped(&mut self, token: super::RequestToken, mapped: Result<RawMapping, MapError>) {
        let Some(Waiting::Mapped(reply)) = self.waiting.remove(&token) else {
            return;
        };
        if let Err(Ok(mapping)) = reply.send(mapped)
            && let Err(error) = self.parts.engine.kernel().unmap(&mapping)
        {
            tracing::warn!(%error, "a copy that nobody waits for could not be taken down");
        }
    }

    fn unmap(&mut self, mapping: &RawMapping, reply: Reply<()>) {
        if let Err(error) = self.parts.engine.kernel().unmap(mapping) {
            tracing::warn!(%error, "a mapping could not be taken down");
        }
        let _ = reply.send(());
        self.turn(|_| ());
    }

    fn dropped(&mut self, reference: Reference) {
        match self.references.drop_one(reference) {
            Ok(Consequence::Clear) => self.farewell(),
            Ok(Consequence::DropWeak) => self.launch(Job::DropWeak, 0),
            Ok(Consequence::None) => {}
            Err(error) => tracing::warn!(%error, "references were miscounted"),
        }
    }

    fn inhibit(&mut self, reply: Reply<()>) {
        match &mut self.intake {
            Intake::Open => {
                self.parts.engine.inhibit();
                self.intake = Intake::Draining(vec![reply]);
                self.finish_draining();
            }
            Intake::Draining(replies) => replies.push(reply),
            Intake::Drained | Intake::Closing(_) | Intake::Closed => drop(reply.send(())),
        }
    }

    /// Every pager has finished, so that none needs the frames of another any more.
    fn close_intake(&mut self, reply: Reply<()>) {
        match &mut self.intake {
            Intake::Drained => {
                self.intake = Intake::Closing(vec![reply]);
                self.finish_draining();
            }
            Intake::Closing(replies) => replies.push(reply),
            // It was resumed meanwhile, or is closed already.
            Intake::Open | Intake::Draining(_) | Intake::Closed => drop(reply.send(())),
        }
    }

    fn resume(&mut self) {
        self.intake = Intake::Open;
        self.parts.engine.resume();
        self.turn(Engine::hear);
        self.serve_kept();
    }

    /// Serves the requests that waited, in order.
    pub(super) fn serve_kept(&mut self) {
        while self.takes_requests()
            && let Some(request) = self.kept.pop_front()
        {
            self.serve(request);
        }
    }
}
