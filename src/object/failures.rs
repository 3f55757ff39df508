//! Failed writes: the data that is kept, and the failures that nobody was told of yet.

use std::collections::{BTreeMap, BTreeSet};

use super::lock::Failure;
use super::{DataId, FailedPages, PageError, PageFate, PageIndex, PageRange};

/// Where the data of a failed write is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kept {
    /// The pager keeps it.
    Here(DataId),
    /// It went back to the kernel, as precious.
    InKernel,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Failures {
    kept: BTreeMap<PageIndex, Kept>,
    unreported: BTreeMap<PageIndex, PageError>,
    /// Pages whose failure was told, and that no write has saved since.
    told: BTreeSet<PageIndex>,
}

impl Failures {
    pub(crate) fn keep(&mut self, page: PageIndex, kept: Kept) {
        self.kept.insert(page, kept);
    }

    pub(crate) fn kept(&self, page: PageIndex) -> Option<Kept> {
        self.kept.get(&page).copied()
    }

    pub(crate) fn is_keeping(&self) -> bool {
        !self.kept.is_empty()
    }

    pub(crate) fn take_kept(&mut self, page: PageIndex) -> Option<Kept> {
        self.kept.remove(&page)
    }

    pub(crate) fn kept_in(&self, range: PageRange) -> impl Iterator<Item = (PageIndex, Kept)> + '_ {
        self.kept
            .range(range.start()..range.end())
            .map(|(&page, &kept)| (page, kept))
    }

    /// Nothing of `page` is unsaved any more: its next failure is news.
    pub(crate) fn forget(&mut self, page: PageIndex) {
        self.kept.remove(&page);
        self.told.remove(&page);
    }

    pub(crate) fn was_told(&self, page: PageIndex) -> bool {
        self.told.contains(&page)
    }

    pub(crate) fn now_told(&mut self, page: PageIndex) {
        self.told.insert(page);
    }

    pub(crate) fn report_later(&mut self, page: PageIndex, error: PageError) {
        self.unreported.insert(page, error);
    }

    /// Takes the failures in `range` that nobody was told of, in order, appended to `into`.
    pub(crate) fn take_unreported(&mut self, range: PageRange, into: &mut Vec<Failure>) {
        let at = into.len();
        let unreported = self.unreported.range(range.start()..range.end());
        into.extend(unreported.map(|(&page, &error)| Failure {
            page,
            error,
            dropped: false,
        }));
        for failure in &into[at..] {
            self.unreported.remove(&failure.page);
            if self.kept.contains_key(&failure.page) {
                self.told.insert(failure.page);
            }
        }
    }

    pub(crate) fn unreported(&self) -> impl Iterator<Item = (PageIndex, PageError)> + '_ {
        self.unreported.iter().map(|(&page, &error)| (page, error))
    }

    pub(crate) fn bytes(&self) -> usize {
        let kept = size_of::<(PageIndex, Kept)>();
        let unreported = size_of::<(PageIndex, PageError)>();
        // Nodes of a B-tree are at least half full.
        2 * (self.kept.len() * kept
            + self.unreported.len() * unreported
            + self.told.len() * size_of::<PageIndex>())
    }
}

/// Gathers single pages, in order, into runs of the same error and fate.
pub(crate) fn runs(pages: impl Iterator<Item = (PageIndex, PageError, PageFate)>) -> Vec<FailedPages> {
    let mut runs: Vec<FailedPages> = Vec::new();
    for (page, error, fate) in pages {
        match runs.last_mut() {
            Some(run) if run.error == error && run.fate == fate && run.range.end() == page => {
                run.range = PageRange::new(run.range.start(), page.next());
            }
            _ => runs.push(FailedPages {
                range: PageRange::single(page),
                error,
                fate,
            }),
        }
    }
    runs
}
