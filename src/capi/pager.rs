//! A pager as C sees it: counted references, and a pager behind them once it is used.

use std::cell::Cell;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::backend::CBackend;
use super::bucket::{CBucket, report};
use super::callbacks::Callbacks;
use super::codes::{EDEADLK, ESHUTDOWN, Errno, HasErrno, of_page};
use super::ports;
use super::table::{PAGERS, Table};
use crate::actors::engine::UnsavedPages;
use crate::backend::{Backend, WriteRun};
use crate::error::ShutdownError;
use crate::object::PageSize;
use crate::pager::{Pager, PagerOptions};

/// The program's own state.
pub(super) enum Upi {
    /// What `pager_create` was given.
    Given(usize),
    /// What `pager_create_alloc` made.
    Made(Box<[u128]>),
}

/// What keeps a pager alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// `ports_port_ref`.
    Reference,
    /// `ports_port_ref_weak`: only its name.
    Weak,
    /// A send right to its port, or a mapping.
    Right,
}

pub(super) struct CPager {
    upi: Upi,
    callbacks: &'static Callbacks,
    bucket: Arc<CBucket>,
    state: Mutex<State>,
    /// Held while the pager behind is made, which asks the program for the extent.
    making: Mutex<()>,
    /// Where the object ends, once the program was asked: never again, on a thread that must not wait.
    end: OnceLock<u64>,
}

thread_local! {
    /// The pager that this thread makes, whose extent the program is being asked for.
    static MAKING: Cell<*const CPager> = const { Cell::new(ptr::null()) };
}

struct State {
    options: PagerOptions,
    phase: Phase,
    references: u64,
    weak: u64,
    rights: u64,
    /// `pager_dropweak` was called since somebody last held more than a weak reference.
    asked: bool,
    /// `pager_clear_user_data` was called.
    cleared: bool,
    /// What a shutdown could not write; the next one tries again.
    unsaved: Vec<UnsavedPages>,
}

/// The extent is asked for on first use, because programs fill their state in after `pager_create`.
enum Phase {
    Unused,
    Live(Pager<CBackend>),
    Ended,
}

/// What is left to do when a hold was dropped.
enum Next {
    Nothing,
    AskToDropWeak,
    End(Phase),
    Forget,
}

impl CPager {
    /// A pager with one reference; its handle.
    pub(super) fn create(
        bucket: Arc<CBucket>,
        upi: Upi,
        callbacks: &'static Callbacks,
        options: PagerOptions,
    ) -> usize {
        let state = State {
            options,
            phase: Phase::Unused,
            references: 1,
            weak: 0,
            rights: 0,
            asked: false,
            cleared: false,
            unsaved: Vec::new(),
        };
        PAGERS.insert(Arc::new(Self {
            upi,
            callbacks,
            bucket,
            state: Mutex::new(state),
            making: Mutex::new(()),
            end: OnceLock::new(),
        }))
    }

    pub(super) fn handle(self: &Arc<Self>) -> usize {
        Table::handle(self)
    }

    pub(super) fn upi(&self) -> usize {
        match &self.upi {
            Upi::Given(address) => *address,
            Upi::Made(memory) => memory.as_ptr().expose_provenance(),
        }
    }

    pub(super) fn callbacks(&self) -> &'static Callbacks {
        self.callbacks
    }

    /// True if the pager is one of `bucket`'s and not gone.
    pub(super) fn is_in(&self, bucket: &Arc<CBucket>) -> bool {
        Arc::ptr_eq(&self.bucket, bucket) && !self.lock().cleared
    }

    /// Where the object ends, in whole pages; 0 where the program does not say.
    pub(super) fn extent(&self) -> u64 {
        *self.end.get_or_init(|| {
            let page = self.lock().options.page_size.bytes();
            let (offset, size) = self.callbacks.report_extent(self.upi()).unwrap_or((0, 0));
            let end = offset.saturating_add(size);
            end.checked_next_multiple_of(page).unwrap_or(end)
        })
    }

    /// The pager behind, made if it is not yet there.
    pub(super) fn pager(self: &Arc<Self>) -> Result<Pager<CBackend>, Errno> {
        if MAKING.get() == Arc::as_ptr(self) {
            return Err(EDEADLK);
        }
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let options = {
            let state = self.lock();
            match &state.phase {
                Phase::Live(pager) => return Ok(pager.clone()),
                Phase::Ended => return Err(ESHUTDOWN),
                Phase::Unused => state.options.clone(),
            }
        };
        let backend = CBackend(Arc::clone(self));
        let bucket = self.bucket.start()?;
        let before = MAKING.replace(Arc::as_ptr(self));
        let made = bucket.create_pager(backend, options);
        MAKING.set(before);
        let pager = made.map_err(|error| {
            report("the first use of a pager", &error);
            error.errno()
        })?;
        self.lock().phase = Phase::Live(pager.clone());
        Ok(pager)
    }

    /// The pager behind, if it has been used.
    pub(super) fn used(&self) -> Option<Pager<CBackend>> {
        match &self.lock().phase {
            Phase::Live(pager) => Some(pager.clone()),
            Phase::Unused | Phase::Ended => None,
        }
    }

    /// Changes how the pager will be made; false if it has been.
    pub(super) fn change_options(&self, change: impl FnOnce(&mut PagerOptions)) -> bool {
        let mut state = self.lock();
        let unused = matches!(state.phase, Phase::Unused);
        if unused {
            change(&mut state.options);
        }
        unused
    }

    /// True if nobody can use the pager any more.
    pub(super) fn is_ended(&self) -> bool {
        matches!(self.lock().phase, Phase::Ended)
    }

    /// Shuts a pager down that was never used.
    pub(super) fn end_unused(&self) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Unused) {
            state.phase = Phase::Ended;
        }
    }

    /// Shuts the pager behind down (`pager_shutdown`); again, it writes what could not be written.
    pub(super) fn shutdown(&self, used: &Pager<CBackend>) -> Result<(), Errno> {
        let mut unsaved = std::mem::take(&mut self.lock().unsaved);
        if unsaved.is_empty() {
            match used.shutdown_blocking() {
                Ok(()) => return Ok(()),
                Err(ShutdownError::Pages(pages)) => unsaved = pages,
                Err(error) => return Err(error.errno()),
            }
        } else {
            let size = used.page_size();
            unsaved.retain_mut(|pages| !write_again(used.backend(), pages, size));
        }
        let errno = unsaved.first().map(|pages| of_page(pages.error));
        self.lock().unsaved = unsaved;
        errno.map_or(Ok(()), Err)
    }

    pub(super) fn hold(&self, hold: Hold) {
        let mut state = self.lock();
        *state.count(hold) += 1;
        if hold != Hold::Weak {
            state.asked = false;
        }
    }

    /// Drops a hold, and does what follows if it was the last; one that is not held is ignored.
    pub(super) fn release(self: &Arc<Self>, hold: Hold) {
        {
            let mut state = self.lock();
            let count = state.count(hold);
            let Some(less) = count.checked_sub(1) else {
                return;
            };
            *count = less;
        }
        loop {
            let next = self.lock().next();
            match next {
                Next::Nothing => return,
                Next::AskToDropWeak => self.callbacks.dropweak(self.upi()),
                Next::End(Phase::Live(pager)) => drop(pager),
                Next::End(Phase::Unused | Phase::Ended) => self.clear(),
                Next::Forget => return self.forget(),
            }
        }
    }

    /// Tells the program that its pager is gone.
    pub(super) fn clear(self: &Arc<Self>) {
        if std::mem::replace(&mut self.lock().cleared, true) {
            return;
        }
        for pages in std::mem::take(&mut self.lock().unsaved) {
            let UnsavedPages { range, error, .. } = pages;
            eprintln!("actor-pager: a pager ends whose pages {range:?} could not be written: {error}");
        }
        self.callbacks.clear_user_data(self.upi());
        if matches!(self.lock().next(), Next::Forget) {
            self.forget();
        }
    }

    fn forget(self: &Arc<Self>) {
        ports::forget(self);
        PAGERS.remove(self);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn count(&mut self, hold: Hold) -> &mut u64 {
        match hold {
            Hold::Reference => &mut self.references,
            Hold::Weak => &mut self.weak,
            Hold::Right => &mut self.rights,
        }
    }

    fn next(&mut self) -> Next {
        if self.references > 0 || self.rights > 0 {
            return Next::Nothing;
        }
        if self.weak > 0 {
            let asked = std::mem::replace(&mut self.asked, true);
            return if asked { Next::Nothing } else { Next::AskToDropWeak };
        }
        if self.cleared {
            return Next::Forget;
        }
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Ended => Next::Nothing,
            phase @ (Phase::Unused | Phase::Live(_)) => Next::End(phase),
        }
    }
}

/// Writes pages that a shutdown handed back; true if they are all in the store.
fn write_again(store: &CBackend, pages: &mut UnsavedPages, size: PageSize) -> bool {
    let written = store.write_pages(&WriteRun::new(pages.range, size, &pages.bytes));
    match written {
        Ok(()) => true,
        Err(error) => {
            pages.error = error.source.page_error();
            false
        }
    }
}
