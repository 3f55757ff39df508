//! `pager_memcpy` in a replay: what is copied up to the first page that cannot be had.

use actor_pager::object::{PageIndex, PageState};
use serde_json::Value;

use super::canon::{PAGE, What};
use super::effects::error_name;
use super::trace::number;
use super::world::World;

impl World {
    /// Faults the pages in, one after another, and copies.
    pub(crate) fn copy(&mut self, pager: usize, step: u64, action: &Value) {
        let (offset, length) = (number(&action["offset"]), number(&action["length"]));
        let access = if action["direction"] == "write" {
            "read|write"
        } else {
            "read"
        };
        let end = offset + length;
        let mut result = "success";
        let mut copied = length;
        for page in offset / PAGE..end.div_ceil(PAGE) {
            if let Some(error) = self.fault(pager, step, page, access) {
                result = error;
                copied = (page * PAGE).saturating_sub(offset);
                break;
            }
        }
        let what = What::Returned {
            call: "memcpy".to_owned(),
            step,
            result: format!("{result} {copied}"),
        };
        self.see(pager, step, what);
    }

    fn fault(&mut self, pager: usize, step: u64, page: u64, access: &str) -> Option<&'static str> {
        let object = &self.pagers[pager].object;
        if let PageState::Resident { .. } = object.page_state(PageIndex(page)) {
            return None;
        }
        let control = object.control().map(|control| self.port_name(control));
        let message = serde_json::json!({
            "op": "data_request", "control": control, "offset": page * PAGE, "length": PAGE, "access": access,
        });
        self.begin_message(pager, step, &message);
        while self.step_thread(step) {}
        self.finish_thread(step);
        let error = self.pagers[pager].object.page_error(PageIndex(page));
        error.map(error_name)
    }
}
