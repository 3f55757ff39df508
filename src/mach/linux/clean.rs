//! Cleaning ahead of need: dirty pages near their eviction are written back while clients still have
//! them, so that their frames are free at once when they are wanted.

use super::evict::LONGEST_RUN;
use super::object::LinuxObject;
use super::page_table::flag::{DIRTY, LENT, RESIDENT, WRITING};
use crate::object::{PageIndex, PageRange};

impl LinuxObject {
    /// Begins to write back dirty pages that would be evicted soon, as long as few are under way.
    pub(super) fn clean_ahead(&mut self) {
        let most = self.host.clean_ahead();
        // Many at a time make long runs.
        let room = most.saturating_sub(self.table.kept());
        if room == 0 || room < most / 2 || self.table.dirty() == 0 || self.writes_unseen() {
            return;
        }
        let mut pages = std::mem::take(&mut self.scratch.victims);
        pages.clear();
        if let Some(policy) = &self.policy {
            policy.coming(most as usize, &mut pages);
        }
        pages.retain(|&page| self.may_clean(page));
        pages.sort_unstable();
        let mut left = room;
        let mut done = PageIndex(0);
        for &page in &pages {
            if page >= done && left > 0 {
                let run = self.dirty_run(page, left.min(LONGEST_RUN));
                done = run.end();
                left -= run.len();
                self.count(|stats| &stats.cleaned_ahead, run.len());
                self.hand_back(run, true, true);
            }
        }
        self.scratch.victims = pages;
    }

    fn may_clean(&self, page: PageIndex) -> bool {
        let bits = self.table.get(page);
        bits & (RESIDENT | DIRTY | LENT | WRITING) == RESIDENT | DIRTY && !self.waits.contains(page)
    }

    /// The page and its neighbours that can be written with it.
    fn dirty_run(&self, page: PageIndex, most: u64) -> PageRange {
        let mut run = PageRange::single(page);
        while run.len() < most && self.pages.contains(run.end()) && self.may_clean(run.end()) {
            run = PageRange::new(run.start(), run.end().next());
        }
        while run.len() < most && run.start().0 > 0 && self.may_clean(PageIndex(run.start().0 - 1)) {
            run = PageRange::new(PageIndex(run.start().0 - 1), run.end());
        }
        run
    }
}
