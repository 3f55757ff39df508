//! What the users call.

use actor_pager::object::{Consequence, Event, LockKind, PageIndex, Reference};
use serde_json::Value;

use super::canon::{PAGE, What};
use super::effects::error_name;
use super::trace::{number, text_of, truth};
use super::world::{World, copy_strategy};

impl World {
    pub(crate) fn user_call(&mut self, pager: usize, step: u64, op: &str, action: &Value) {
        let (mut offset, mut length) = (number(&action["offset"]), number(&action["length"]));
        if matches!(op, "sync" | "flush" | "return") {
            (offset, length) = self.extent;
        }
        let wait = truth(&action["wait"]);
        let lock = match op {
            "sync" | "sync_some" => Some(LockKind::Sync),
            "flush" | "flush_some" => Some(LockKind::Flush),
            "return" | "return_some" => Some(LockKind::Return),
            _ => None,
        };
        if let Some(kind) = lock {
            if kind == LockKind::Flush {
                let pages = offset / PAGE..offset.saturating_add(length).div_ceil(PAGE);
                self.pagers[pager].flushed.extend(pages.take(4096));
            }
            let token = self.token(pager, op, step);
            let event = Event::Lock {
                token,
                kind,
                offset,
                length,
                wait,
            };
            return self.feed(pager, step, event);
        }
        self.other_call(pager, step, op, action);
    }

    fn other_call(&mut self, pager: usize, step: u64, op: &str, action: &Value) {
        let returned = |result: &str| What::Returned {
            call: op.to_owned(),
            step,
            result: result.to_owned(),
        };
        match op {
            "offer_page" => self.offer(pager, step, action),
            "change_attributes" => {
                let token = self.token(pager, op, step);
                let event = Event::ChangeAttributes {
                    token,
                    may_cache: truth(&action["may_cache"]),
                    copy_strategy: copy_strategy(&text_of(&action["copy_strategy"])),
                    wait: truth(&action["wait"]),
                };
                self.feed(pager, step, event);
            }
            "shutdown" => {
                let token = self.token(pager, op, step);
                self.pagers[pager].shutting_down = true;
                let extent = self.extent.0 + self.extent.1;
                self.feed(pager, step, Event::Shutdown { token, extent });
            }
            "get_error" => {
                let page = PageIndex(number(&action["offset"]) / PAGE);
                let error = self.pagers[pager].object.page_error(page);
                self.see(pager, step, returned(error.map_or("success", error_name)));
            }
            "get_port" => {
                self.pagers[pager].references.add(Reference::SendRights);
            }
            "memcpy" => self.copy(pager, step, action),
            "ports_ref" => {
                self.pagers[pager].references.add(Reference::User);
                self.see(pager, step, returned(""));
            }
            "ports_ref_weak" => {
                self.pagers[pager].references.add_weak();
                self.see(pager, step, returned(""));
            }
            "ports_deref" => {
                self.drop_reference(pager, step, Reference::User);
                self.see(pager, step, returned(""));
            }
            "ports_deref_weak" => {
                let consequence = self.pagers[pager].references.drop_weak();
                self.follow(pager, step, consequence.unwrap_or(Consequence::None));
                self.see(pager, step, returned(""));
            }
            _ => {}
        }
    }

    fn offer(&mut self, pager: usize, step: u64, action: &Value) {
        let token = self.token(pager, "offer_page", step);
        let offset = number(&action["offset"]);
        let tags = vec![text_of(&action["data"])];
        self.offered.extend(tags.iter().cloned());
        self.pagers[pager].offered.extend(tags.iter().cloned());
        self.pagers[pager].ever_offered.insert(offset / PAGE);
        let data = self.pagers[pager].new_memory(offset / PAGE, tags, step, false);
        let event = Event::Offer {
            token,
            offset,
            data,
            precious: truth(&action["precious"]),
            write_lock: truth(&action["write_lock"]),
        };
        self.feed(pager, step, event);
    }
}
