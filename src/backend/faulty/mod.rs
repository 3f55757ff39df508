//! A store that fails on purpose, so that users can test how they recover.

mod control;
mod gate;
mod plan;

use std::sync::Arc;
use std::thread;

pub use control::{FaultControl, FaultCounts};
pub use gate::Point;
pub use plan::{CallKind, Fault, FaultRates};

use self::control::Shared;
use self::plan::Strike;
use super::{Backend, BackendError, PageBuffer, ReadRun, WriteError, WriteRun};
use crate::object::{PageError, PageIndex, PageRange, PageSize};

/// Wraps a store and makes its calls fail, wait, panic, hang, stop half-way or tear a page.
///
/// Faults come from three sources: [rates](FaultControl::set_rates), drawn from the seed so that
/// the n-th call of a kind on a page always meets the same fault, whatever other threads do;
/// [scripts](FaultControl::fail_next) for one call; and [broken ranges](FaultControl::fail) that
/// last until [healed](FaultControl::heal). With none of them set, the wrapper changes nothing.
#[derive(Debug)]
pub struct FaultyBackend<B> {
    inner: B,
    shared: Arc<Shared>,
}

impl<B: Backend> FaultyBackend<B> {
    /// Wraps `inner`; faults are told to the [`FaultControl`].
    ///
    /// Dropping the control releases every parked and hanging call, and lets none hang or park
    /// from then on, so that a test always ends.
    pub fn new(inner: B, seed: u64) -> (Self, FaultControl) {
        let shared = Arc::new(Shared::new(seed));
        let control = FaultControl::new(Arc::clone(&shared));
        (Self { inner, shared }, control)
    }

    /// The store behind the faults.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// Carries out what a fault does before the call's own work; the rest of it is returned.
    fn begin(&self, kind: CallKind, range: PageRange) -> Result<Option<Strike>, BackendError> {
        self.shared.park(Point::Before(kind), range);
        let strike = self.shared.draw(kind, range);
        match strike.map(|strike| strike.fault) {
            Some(Fault::Error(error)) if strike.is_some_and(|strike| strike.range == range) => {
                return Err(error.into());
            }
            Some(Fault::Panic) => injected_panic(kind),
            Some(Fault::Delay(time)) => thread::sleep(time),
            Some(Fault::Hang) => self.shared.hang(),
            Some(Fault::Error(_) | Fault::Short | Fault::Torn) | None => {}
        }
        Ok(strike)
    }

    /// Does a call that cannot stop half-way.
    fn whole(
        &self,
        kind: CallKind,
        range: PageRange,
        call: impl FnOnce() -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        if let Some(Strike {
            fault: Fault::Error(error),
            ..
        }) = self.begin(kind, range)?
        {
            return Err(error.into());
        }
        let result = call();
        self.shared.park(Point::After(kind), range);
        result
    }

    fn read_faulty(&self, run: &mut ReadRun<'_>, strike: Option<Strike>) -> Result<(), BackendError> {
        self.inner.read_pages(run)?;
        let struck = strike.map_or(PageRange::default(), |strike| strike.range);
        match strike.map(|strike| strike.fault) {
            Some(Fault::Error(error)) => {
                struck.iter().for_each(|page| run.fail(page, error));
                return Ok(());
            }
            Some(Fault::Short) => {}
            Some(Fault::Torn) => {
                let from = run.buffer().len() / 2;
                run.buffer()[from..].fill(0xA5);
            }
            Some(Fault::Delay(_) | Fault::Panic | Fault::Hang) | None => return Ok(()),
        }
        run.filled(run.range().len() / 2);
        Err(stopped())
    }

    fn write_faulty(&self, run: &WriteRun<'_>, strike: Option<Strike>) -> Result<(), WriteError> {
        let half = run.range().len() / 2;
        match strike.map(|strike| strike.fault) {
            Some(Fault::Error(error)) => {
                let struck = strike.map_or(run.range(), |strike| strike.range);
                return self.write_up_to(run, struck.start(), error);
            }
            Some(Fault::Short) => self.inner.write_pages(&run.first(half))?,
            Some(Fault::Torn) => {
                self.inner.write_pages(&run.first(half))?;
                self.tear(run, PageRange::with_len(run.first(half).range().end(), 1));
            }
            Some(Fault::Delay(_) | Fault::Panic | Fault::Hang) | None => {
                return self.inner.write_pages(run);
            }
        }
        Err(WriteError {
            written: half,
            source: stopped(),
        })
    }

    /// Writes the pages before `bad`, and fails there.
    fn write_up_to(&self, run: &WriteRun<'_>, bad: PageIndex, error: PageError) -> Result<(), WriteError> {
        let written = bad.0.saturating_sub(run.range().start().0);
        if written > 0 {
            self.inner.write_pages(&run.first(written))?;
        }
        Err(WriteError {
            written,
            source: error.into(),
        })
    }

    /// Writes the first half of one page. It counts as not written, whatever becomes of it.
    fn tear(&self, run: &WriteRun<'_>, page: PageRange) {
        let Some(new) = run.page(page.start()) else {
            return;
        };
        let mut bytes = PageBuffer::zeroed(new.len());
        let mut outcomes = Vec::new();
        let mut old = ReadRun::new(page, run.page_size(), &mut bytes, &mut outcomes);
        if self.inner.read_pages(&mut old).is_ok() {
            let half = new.len() / 2;
            bytes[..half].copy_from_slice(&new[..half]);
            let torn = WriteRun::new(page, run.page_size(), &bytes);
            drop(self.inner.write_pages(&torn));
        }
    }
}

impl<B: Backend> Backend for FaultyBackend<B> {
    fn extent(&self) -> u64 {
        self.inner.extent()
    }

    fn read_pages(&self, run: &mut ReadRun<'_>) -> Result<(), BackendError> {
        let strike = self.begin(CallKind::Read, run.range())?;
        let result = self.read_faulty(run, strike);
        self.shared.park(Point::After(CallKind::Read), run.range());
        result
    }

    /// Goes by the rates and scripts of [`CallKind::TryRead`]; where a fault of
    /// [`CallKind::Read`] or a hold could strike, it leaves the pages to `read_pages`.
    fn try_read_pages(&self, run: &mut ReadRun<'_>) -> Option<Result<(), BackendError>> {
        if self.shared.may_strike(CallKind::Read, run.range()) {
            return None;
        }
        let strike = self.shared.draw(CallKind::TryRead, run.range());
        match strike.map(|strike| strike.fault) {
            None => self.inner.try_read_pages(run),
            Some(Fault::Error(error)) if strike.is_some_and(|strike| strike.range == run.range()) => {
                Some(Err(error.into()))
            }
            Some(Fault::Error(_) | Fault::Short | Fault::Torn) => Some(self.read_faulty(run, strike)),
            Some(Fault::Panic) => injected_panic(CallKind::TryRead),
            // Waiting is what an inline read never does.
            Some(Fault::Delay(_) | Fault::Hang) => None,
        }
    }

    fn write_pages(&self, run: &WriteRun<'_>) -> Result<(), WriteError> {
        let strike = self.begin(CallKind::Write, run.range())?;
        let result = self.write_faulty(run, strike);
        self.shared.park(Point::After(CallKind::Write), run.range());
        result
    }

    fn unlock_pages(&self, range: PageRange, page_size: PageSize) -> Result<(), BackendError> {
        self.whole(CallKind::Unlock, range, || {
            self.inner.unlock_pages(range, page_size)
        })
    }

    fn notify_evict(&self, range: PageRange, page_size: PageSize) {
        self.inner.notify_evict(range, page_size);
    }

    fn sync(&self) -> Result<(), BackendError> {
        self.whole(CallKind::Sync, plan::EVERY_PAGE, || self.inner.sync())
    }

    fn restart(&self) -> Result<(), BackendError> {
        self.inner.restart()
    }

    fn clear_user_data(&self) {
        self.inner.clear_user_data();
    }

    fn drop_weak(&self) {
        self.inner.drop_weak();
    }
}

fn stopped() -> BackendError {
    BackendError::Io(std::io::Error::other("injected: stopped half-way"))
}

/// Stands for a bug in a user's store.
fn injected_panic(kind: CallKind) -> ! {
    std::panic::panic_any(format!("injected panic in {kind:?}"))
}
