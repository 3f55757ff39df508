//! One pager of a replay: its pages, where its data is, and what its store holds.

use std::collections::BTreeMap;

use actor_pager::object::{DataId, PageIndex};

use super::world::{ALL, Memory, PagerSim};

impl PagerSim {
    pub(crate) fn new_memory(
        &mut self,
        first: u64,
        tags: Vec<String>,
        thread: u64,
        returned: bool,
    ) -> DataId {
        let left = (first..first + tags.len() as u64).collect();
        self.memory.push(Memory {
            first,
            tags,
            thread,
            returned,
            left,
            outcomes: BTreeMap::new(),
        });
        DataId(self.memory.len() as u32 - 1)
    }

    pub(crate) fn tag(&self, data: DataId, page: PageIndex) -> String {
        let memory = &self.memory[data.0 as usize];
        let at = page.0.wrapping_sub(memory.first) as usize;
        memory.tags.get(at).cloned().unwrap_or_default()
    }

    /// A page of memory goes where it ends: once only.
    pub(crate) fn end_page(&mut self, data: DataId, page: PageIndex) -> bool {
        self.memory[data.0 as usize].left.remove(&page.0)
    }

    /// The data of a failed write of `page` is kept.
    pub(crate) fn keeps(&self, page: u64) -> bool {
        self.object.kept_pages(ALL).any(|kept| kept.page.0 == page)
    }

    pub(crate) fn is_busy(&self, page: u64) -> bool {
        self.object.page_state(PageIndex(page)).is_busy()
    }

    /// What is stored was offered by a user.
    pub(crate) fn offered_stored(&self, page: u64) -> bool {
        self.offered.contains(&self.stored(page))
    }

    pub(crate) fn stored(&self, page: u64) -> String {
        self.store
            .get(&page)
            .cloned()
            .unwrap_or_else(|| format!("D{page}"))
    }
}
