//! What a step does: messages of the kernel, calls of the user, releases.

use actor_pager::object::{Consequence, Event, PageIndex, PortName, Prot, Reference};
use serde_json::Value;

use super::canon::{PAGE, What};
use super::jobs::Held;
use super::trace::{number, text_of, texts, truth};
use super::world::{Arrival, Confirms, PagerSim, World, copy_strategy};

impl World {
    /// Does what a step says, then lets everything run.
    pub(crate) fn act(&mut self, step: u64, action: &Value) {
        self.act_one(step, action);
        self.run();
        self.confirm_unasked();
        self.run();
    }

    fn act_one(&mut self, step: u64, action: &Value) {
        let op = action["op"].as_str().unwrap_or_default();
        match op {
            "create" => self.create_step(action),
            "parallel" => {
                for action in action["ops"].as_array().into_iter().flatten() {
                    self.act_one(step, action);
                }
            }
            "release" => self.release_step(action),
            "start_workers" => self.started |= action["inject"].is_null(),
            "inhibit_workers" => self.inhibit(step, action),
            "resume_workers" => self.resume(step),
            _ => {
                let Some(pager) = self.pager(action) else {
                    return;
                };
                if action["from"] == "kernel" {
                    self.send(pager, step, action);
                } else {
                    self.user_call(pager, step, op, action);
                }
            }
        }
    }

    fn create_step(&mut self, action: &Value) {
        if action["inject"].is_null() {
            self.create(action["pager"].as_str().unwrap_or("P0"));
        }
    }

    fn inhibit(&mut self, step: u64, action: &Value) {
        if !action["inject"].is_null() {
            return self.see_return(step, "inhibit_workers", "ENOMEM");
        }
        if self.inhibited.is_none() {
            self.inhibited = Some(step);
            self.inhibit_done = false;
        }
    }

    fn resume(&mut self, step: u64) {
        if self.inhibited.take().is_some() {
            self.see_return(step, "resume_workers", "");
        }
        for (pager, step, action) in std::mem::take(&mut self.late) {
            self.pagers[pager].inbox.push_back((step, action));
        }
    }

    /// A message of the kernel: it goes to the queue, or is handled at once.
    fn send(&mut self, pager: usize, step: u64, action: &Value) {
        let unknown = !action["target"].is_null() || !action["message_id"].is_null();
        if unknown || self.pagers[pager].port_destroyed && action["op"] != "no_senders" {
            return;
        }
        let waits = action["queued_before_the_workers_start"] == true;
        let awaited = self.threads.values().any(|thread| thread.waits_for_call)
            && matches!(action["op"].as_str(), Some("lock_completed" | "change_completed"));
        if waits {
            self.started = false;
        }
        if awaited || !(self.workers || waits) {
            self.begin_message(pager, step, action);
        } else if self.inhibited.is_some() {
            self.late.push((pager, step, action.clone()));
        } else {
            self.pagers[pager].inbox.push_back((step, action.clone()));
        }
    }

    /// A message was received: it is handled now, unless the script holds it.
    pub(crate) fn begin_message(&mut self, pager: usize, step: u64, action: &Value) {
        let op = text_of(&action["op"]);
        self.pagers[pager].references.add(Reference::Work);
        let thread = self.threads.entry(step).or_default();
        thread.works_on = Some(pager);
        let name = self.pagers[pager].name.clone();
        let page = number(&action["offset"]) / PAGE;
        let scripted = self.answers.take("message", &op, &name, page);
        if scripted.is_some_and(|answer| answer.hold) {
            self.held.push(Held {
                kind: "message",
                what: op,
                pager,
                page,
                thread: step,
                message: Some(action.clone()),
            });
            return;
        }
        self.handle_message(pager, step, action);
    }

    fn handle_message(&mut self, pager: usize, step: u64, action: &Value) {
        let control = self.port(&text_of(&action["control"]));
        let (offset, length) = (number(&action["offset"]), number(&action["length"]));
        let event = match action["op"].as_str().unwrap_or_default() {
            "init" => Event::Init {
                control,
                name: self.port(&text_of(&action["name"])),
                page_size: number(&action["page_size"]),
            },
            "data_request" => {
                self.pagers[pager].arrive(offset / PAGE, length.div_ceil(PAGE), || Arrival::Request(step));
                Event::DataRequest {
                    control,
                    offset,
                    length,
                    access: prot(&action["access"]),
                }
            }
            "data_unlock" => {
                self.pagers[pager].arrive(offset / PAGE, length.div_ceil(PAGE), || Arrival::Unlock(step));
                Event::DataUnlock {
                    control,
                    offset,
                    length,
                    access: prot(&action["access"]),
                }
            }
            "data_return" => self.returned(pager, step, action),
            "lock_completed" => {
                self.confirm_in_front(pager, offset, length);
                if self.stands_for_two(pager, offset, length) {
                    return;
                }
                Event::LockCompleted {
                    control,
                    offset,
                    length,
                }
            }
            "change_completed" => self.changed(pager, action),
            "terminate" => {
                self.pagers[pager].kernel_is_gone(control);
                self.pagers[pager].terminated = Some(step);
                Event::Terminate {
                    control,
                    name: self.port(&text_of(&action["name"])),
                }
            }
            "no_senders" => return self.no_senders(pager, step, action),
            _ => return,
        };
        self.feed(pager, step, event);
    }

    fn returned(&mut self, pager: usize, step: u64, action: &Value) -> Event {
        let control = self.port(&text_of(&action["control"]));
        let offset = number(&action["offset"]);
        let tags = texts(&action["pages"]);
        let length = action["data_length"].as_u64().unwrap_or(tags.len() as u64 * PAGE);
        let dirty = truth(&action["dirty"]);
        let sim = &mut self.pagers[pager];
        if dirty
            && Some(control) == sim.object.control()
            && offset.is_multiple_of(PAGE)
            && length.is_multiple_of(PAGE)
        {
            for (tag, page) in tags.iter().zip(offset / PAGE..) {
                sim.returned.entry(page).or_default().push(tag.clone());
            }
        }
        let data = sim.new_memory(offset / PAGE, tags, step, true);
        sim.arrive(offset / PAGE, length.div_ceil(PAGE), || Arrival::Return(data));
        Event::DataReturn {
            control,
            offset,
            length,
            data,
            dirty,
            kernel_copy: truth(&action["kernel_copy"]),
        }
    }

    fn changed(&mut self, pager: usize, action: &Value) -> Event {
        let may_cache = truth(&action["may_cache"]);
        let copy_strategy = copy_strategy(&text_of(&action["copy_strategy"]));
        let waits = &mut self.pagers[pager].attribute_confirmations;
        if let Some(at) = waits.iter().position(|wait| *wait == (may_cache, copy_strategy)) {
            waits.remove(at);
        }
        Event::ChangeCompleted {
            may_cache,
            copy_strategy,
        }
    }

    /// The original's shutdown asks twice; what is asked once here is confirmed by the second.
    fn stands_for_two(&mut self, pager: usize, offset: u64, length: u64) -> bool {
        let waits = &mut self.pagers[pager].confirmations;
        let Some(at) = waits.iter().position(|wait| (wait.0, wait.1) == (offset, length)) else {
            return false;
        };
        let (_, _, confirms) = waits.remove(at);
        let twice = confirms == Confirms::Two;
        if twice {
            waits.push((offset, length, Confirms::One));
        }
        twice
    }

    /// The kernel confirms what the original would not have asked it to, once it is its turn.
    pub(crate) fn confirm_unasked(&mut self) {
        for pager in 0..self.pagers.len() {
            let waits = &self.pagers[pager].confirmations;
            let first = |at: &usize| {
                let same = |wait: &(u64, u64, Confirms)| (wait.0, wait.1) == (waits[*at].0, waits[*at].1);
                waits[*at].2 == Confirms::Unasked && !waits[..*at].iter().any(same)
            };
            let Some(at) = (0..waits.len()).find(first) else {
                continue;
            };
            self.confirm_one(pager, at);
            return self.confirm_unasked();
        }
    }

    /// What the original would not have asked for was confirmed before what comes now.
    fn confirm_in_front(&mut self, pager: usize, offset: u64, length: u64) {
        loop {
            let waits = &self.pagers[pager].confirmations;
            let first = waits.iter().position(|wait| (wait.0, wait.1) == (offset, length));
            let Some(at) = first.filter(|&at| waits[at].2 == Confirms::Unasked) else {
                return;
            };
            self.confirm_one(pager, at);
        }
    }

    fn confirm_one(&mut self, pager: usize, at: usize) {
        let (offset, length, _) = self.pagers[pager].confirmations.remove(at);
        if let Some(control) = self.pagers[pager].object.control() {
            let event = Event::LockCompleted {
                control,
                offset,
                length,
            };
            self.feed(pager, u64::MAX, event);
        }
        if self.pagers[pager].checked.contains(&(offset / PAGE)) {
            // The supply that crossed the request was its answer.
            self.forget_request(pager, PageIndex(offset / PAGE));
        }
    }

    fn no_senders(&mut self, pager: usize, step: u64, action: &Value) {
        if action["send_rights_exist_again"] == true {
            return;
        }
        if let Some(control) = self.pagers[pager].object.control() {
            self.pagers[pager].kernel_is_gone(control);
        }
        self.feed(pager, step, Event::NoSenders);
        self.drop_reference(pager, step, Reference::SendRights);
    }

    pub(crate) fn drop_reference(&mut self, pager: usize, step: u64, reference: Reference) {
        let consequence = self.pagers[pager].references.drop_one(reference);
        self.follow(pager, step, consequence.unwrap_or(Consequence::None));
    }

    pub(crate) fn follow(&mut self, pager: usize, step: u64, consequence: Consequence) {
        match consequence {
            Consequence::None => {}
            Consequence::DropWeak => {
                self.see(pager, step, What::DropWeak);
                let name = self.pagers[pager].name.clone();
                if self.answers.callback("dropweak", &name, 0, step).drops_weak {
                    let consequence = self.pagers[pager].references.drop_weak();
                    self.follow(pager, step, consequence.unwrap_or(Consequence::None));
                }
            }
            Consequence::Clear => {
                self.destroy_port(pager, step);
                self.see(pager, step, What::ClearUserData);
                self.see(pager, step, What::Freed);
            }
        }
    }

    fn release_step(&mut self, action: &Value) {
        let kind = ["callback", "kernel_call", "message"]
            .into_iter()
            .find(|kind| action[*kind].is_string());
        let Some(kind) = kind else { return };
        let name = action["pager"].as_str().unwrap_or("P0");
        let fits = |held: &Held| {
            held.kind == kind
                && action[kind] == held.what.as_str()
                && action["offset"]
                    .as_u64()
                    .is_none_or(|offset| offset / PAGE == held.page)
                && self.pagers[held.pager].name == name
        };
        let Some(at) = self.held.iter().position(fits) else {
            return;
        };
        let held = self.held.remove(at);
        self.let_go(held);
    }

    /// Lets something that is held go on.
    pub(crate) fn let_go(&mut self, held: Held) {
        if let Some(action) = &held.message {
            return self.handle_message(held.pager, held.thread, action);
        }
        let Some(thread) = self.threads.get_mut(&held.thread) else {
            return;
        };
        match held.kind {
            "callback" => thread.held = false,
            _ => {
                let unseen = thread.unseen.take().unwrap_or_default();
                self.log.extend(unseen);
            }
        }
    }
}

impl PagerSim {
    /// A kernel that is gone confirms nothing.
    fn kernel_is_gone(&mut self, control: PortName) {
        if self.object.control() == Some(control) {
            self.confirmations.clear();
            self.attribute_confirmations.clear();
            self.was_bad.clear();
        }
    }

    fn arrive(&mut self, first: u64, count: u64, arrival: impl Fn() -> Arrival) {
        if self.object.control().is_none() {
            return;
        }
        for page in first..first.saturating_add(count.min(64)) {
            self.arrivals.entry(page).or_default().push_back(arrival());
        }
    }

    /// True while something of this step waits for its turn.
    pub(crate) fn waits_for(&self, step: u64) -> bool {
        self.arrivals.values().flatten().any(|arrival| match arrival {
            Arrival::Request(thread) | Arrival::Unlock(thread) => *thread == step,
            Arrival::Return(data) => self.memory[data.0 as usize].thread == step,
        })
    }
}

fn prot(json: &Value) -> Prot {
    match json.as_str().unwrap_or_default() {
        "read" => Prot::READ,
        "write" => Prot::WRITE,
        "read|write" | "write|read" => Prot::READ_WRITE,
        _ => Prot::NONE,
    }
}
