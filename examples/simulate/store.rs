//! A store that does what the simulation tells it to, call by call.

use std::sync::{Mutex, MutexGuard, PoisonError};

use actor_pager::backend::{Backend, BackendError, ReadRun, WriteError, WriteRun};
use actor_pager::object::{PageError, PageIndex, PageRange, PageSize};

pub(crate) const PAGE: usize = 4096;

/// What the next call does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fate {
    #[default]
    Succeeds,
    /// Fails; a write first writes this many pages, and leaves garbage in the next.
    Fails(PageError, u64),
    Panics,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Store {
    extent: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pages: Vec<Vec<u8>>,
    fate: Fate,
    lock_reads: bool,
    inline: bool,
}

impl Store {
    pub(crate) fn new(pages: u64) -> Self {
        let pages: Vec<_> = (0..pages).map(|page| vec![page as u8; PAGE]).collect();
        let extent = (pages.len() * PAGE) as u64;
        Self {
            extent,
            state: Mutex::new(State {
                pages,
                ..State::default()
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn next_call(&self, fate: Fate, lock_reads: bool, inline: bool) {
        let mut state = self.state();
        (state.fate, state.lock_reads, state.inline) = (fate, lock_reads, inline);
    }

    pub(crate) fn page(&self, page: PageIndex) -> Option<Vec<u8>> {
        self.state().pages.get(page.0 as usize).cloned()
    }

    /// The fate of this call, once; panics without a message where it says so.
    fn meet(&self) -> Result<(), (PageError, u64)> {
        match std::mem::take(&mut self.state().fate) {
            Fate::Succeeds => Ok(()),
            Fate::Fails(error, after) => Err((error, after)),
            Fate::Panics => std::panic::resume_unwind(Box::new("the store panics on purpose")),
        }
    }
}

impl Backend for Store {
    fn extent(&self) -> u64 {
        self.extent
    }

    fn read_pages(&self, run: &mut ReadRun<'_>) -> Result<(), BackendError> {
        let met = self.meet();
        let state = self.state();
        for (count, page) in run.range().iter().enumerate() {
            if met.is_err_and(|(_, after)| count as u64 >= after) {
                break;
            }
            if let (Some(target), Some(source)) = (run.page_mut(page), state.pages.get(page.0 as usize)) {
                target.copy_from_slice(source);
            }
            if state.lock_reads {
                run.write_lock(page);
            }
        }
        let (error, after) = match met {
            Ok(()) => return Ok(()),
            Err(met) => met,
        };
        run.filled(after);
        Err(error.into())
    }

    fn try_read_pages(&self, run: &mut ReadRun<'_>) -> Option<Result<(), BackendError>> {
        let inline = self.state().inline;
        inline.then(|| self.read_pages(run))
    }

    fn write_pages(&self, run: &WriteRun<'_>) -> Result<(), WriteError> {
        let met = self.meet();
        let mut state = self.state();
        for (count, page) in run.range().iter().enumerate() {
            let Some(target) = state.pages.get_mut(page.0 as usize) else {
                continue;
            };
            match met {
                Err((error, after)) if count as u64 >= after => {
                    // Half a page, as a disk leaves it when the power goes.
                    target[PAGE / 2..].fill(0xee);
                    return Err(WriteError {
                        written: after,
                        source: error.into(),
                    });
                }
                Ok(()) | Err(_) => target.copy_from_slice(run.page(page).unwrap_or_default()),
            }
        }
        Ok(())
    }

    fn unlock_pages(&self, _range: PageRange, _page_size: PageSize) -> Result<(), BackendError> {
        self.meet().map_err(|(error, _)| error.into())
    }

    fn sync(&self) -> Result<(), BackendError> {
        self.meet().map_err(|(error, _)| error.into())
    }
}
