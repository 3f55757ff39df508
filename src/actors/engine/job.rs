//! Work for the store, and its results: what travels between a pager and the backend pool.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};

use super::HeldRun;
use super::outline::Outline;
use crate::backend::{Backend, BackendError, PageBuffer, PageOutcome, ReadRun, WriteError, WriteRun};
use crate::object::{OpId, PageError, PageRange, PageSize, Prot, RequestToken};

thread_local! {
    /// Room for what is copied before it is written.
    static ROOM: Cell<Option<PageBuffer>> = const { Cell::new(None) };
}

/// Bytes that are copied at a time, unless a page is longer.
const ROOM_BYTES: usize = 1 << 18;

/// One call of a [`Backend`], to be made where blocking is allowed.
#[derive(Debug)]
pub enum Job {
    /// [`Backend::read_pages`].
    Read {
        /// The operation of the core.
        op: OpId,
        /// The pages.
        range: PageRange,
        /// What the faulting thread wants to do.
        access: Prot,
        /// Memory for them; it comes back in the result.
        buffer: PageBuffer,
    },
    /// [`Backend::write_pages`].
    Write {
        /// The operation of the core.
        op: OpId,
        /// The pages.
        range: PageRange,
        /// The memory that holds them.
        run: HeldRun,
    },
    /// [`Backend::unlock_pages`].
    Unlock {
        /// The operation of the core.
        op: OpId,
        /// The pages.
        range: PageRange,
    },
    /// [`Backend::notify_evict`].
    NotifyEvict {
        /// The pages.
        range: PageRange,
    },
    /// [`Backend::sync`].
    Sync {
        /// The user's request that waits for it.
        token: RequestToken,
    },
    /// [`Backend::restart`].
    Restart,
    /// [`Backend::drop_weak`].
    DropWeak,
    /// [`Backend::clear_user_data`].
    ClearUserData,
}

/// The result of a [`Job`].
#[derive(Debug)]
pub enum JobDone {
    /// A read ended.
    PagesRead {
        /// The operation of the core.
        op: OpId,
        /// The pages.
        range: PageRange,
        /// Their memory.
        buffer: PageBuffer,
        /// What became of each.
        outcomes: Vec<PageOutcome>,
    },
    /// A write ended.
    PagesWritten {
        /// The operation of the core.
        op: OpId,
        /// How many pages from the first on are in the store.
        written: u64,
        /// Why the next one is not.
        error: Option<PageError>,
    },
    /// An unlock ended.
    PagesUnlocked {
        /// The operation of the core.
        op: OpId,
        /// Granted, or why not.
        result: Result<(), PageError>,
    },
    /// The user was told of an eviction.
    EvictNotified,
    /// Everything written before is durable, or not.
    Synced {
        /// The user's request that waits for it.
        token: RequestToken,
        /// Done, or why not.
        result: Result<(), PageError>,
    },
    /// The store was told to make itself anew.
    Restarted {
        /// Done, or why not.
        result: Result<(), PageError>,
    },
    /// The user was asked to drop weak references.
    WeakDropped,
    /// The user's data is cleared.
    UserDataCleared,
}

/// The outcome of a job, and whether the user's code panicked in it.
#[derive(Debug)]
pub struct JobReport {
    /// For the pager.
    pub done: JobDone,
    /// What the panic said, for the supervisor.
    pub panic: Option<String>,
}

impl Job {
    /// Makes the call. A panic in the user's code becomes the error EIO.
    ///
    /// The buffer of a read goes into the result; the memory of a write stays here.
    pub fn run(&mut self, backend: &dyn Backend, page_size: PageSize) -> JobReport {
        match self {
            Self::Read {
                op,
                range,
                access: _,
                buffer,
            } => read(backend, page_size, *op, *range, std::mem::take(buffer)),
            Self::Write { op, range, run } => write(backend, page_size, *op, *range, run),
            Self::Unlock { op, range } => {
                let (result, panic) = asked(|| backend.unlock_pages(*range, page_size));
                JobReport {
                    done: JobDone::PagesUnlocked { op: *op, result },
                    panic,
                }
            }
            Self::NotifyEvict { range } => {
                told(JobDone::EvictNotified, || backend.notify_evict(*range, page_size))
            }
            Self::Sync { token } => {
                let (result, panic) = asked(|| backend.sync());
                JobReport {
                    done: JobDone::Synced {
                        token: *token,
                        result,
                    },
                    panic,
                }
            }
            Self::Restart => {
                let (result, panic) = asked(|| backend.restart());
                JobReport {
                    done: JobDone::Restarted { result },
                    panic,
                }
            }
            Self::DropWeak => told(JobDone::WeakDropped, || backend.drop_weak()),
            Self::ClearUserData => told(JobDone::UserDataCleared, || backend.clear_user_data()),
        }
    }

    /// What the job is about.
    pub(crate) fn outline(&self) -> Outline {
        match *self {
            Self::Read {
                op, range, access, ..
            } => Outline::Read { op, range, access },
            Self::Write { op, range, .. } => Outline::Write { op, range },
            Self::Unlock { op, range } => Outline::Unlock { op, range },
            Self::NotifyEvict { range } => Outline::NotifyEvict { range },
            Self::Sync { token } => Outline::Sync { token },
            Self::Restart => Outline::Restart,
            Self::DropWeak => Outline::DropWeak,
            Self::ClearUserData => Outline::ClearUserData,
        }
    }

    /// The answer that stands in for the result of a job that was never begun.
    pub fn failed(&self, error: PageError) -> JobDone {
        self.outline().failed(error)
    }
}

fn read(
    backend: &dyn Backend,
    page_size: PageSize,
    op: OpId,
    range: PageRange,
    mut buffer: PageBuffer,
) -> JobReport {
    let mut outcomes = Vec::new();
    buffer.fill(0);
    let mut run = ReadRun::new(range, page_size, &mut buffer, &mut outcomes);
    let (result, panic) = caught(|| backend.read_pages(&mut run));
    run.finish(result);
    JobReport {
        done: JobDone::PagesRead {
            op,
            range,
            buffer,
            outcomes,
        },
        panic,
    }
}

fn write(backend: &dyn Backend, page_size: PageSize, op: OpId, range: PageRange, run: &HeldRun) -> JobReport {
    let mut room = ROOM.take().unwrap_or_else(|| PageBuffer::zeroed(ROOM_BYTES));
    let (result, panic) = caught(|| {
        let is_live = run.is_live();
        if is_live && !backend.takes_moving_pages() {
            return write_live(backend, page_size, range, run, &mut room).map_err(Failure::Write);
        }
        let bytes = match !is_live && run.copy(range, page_size, &mut room) {
            true => &room[..],
            false => run.bytes(range, page_size),
        };
        let pages = WriteRun::new(range, page_size, bytes);
        backend.write_pages(&pages).map_err(Failure::Write)
    });
    ROOM.set(Some(room));
    let (written, error) = match result {
        Ok(()) => (range.len(), None),
        // Whoever fails and counts every page as written, or more, cannot be believed.
        Err(Failure::Write(error)) if error.written >= range.len() => (0, Some(error.source.page_error())),
        Err(Failure::Write(error)) => (error.written, Some(error.source.page_error())),
        Err(Failure::Panic) => (0, Some(PageError::Io)),
    };
    JobReport {
        done: JobDone::PagesWritten { op, written, error },
        panic,
    }
}

/// Writes pages that go on changing: as much at a time as there is room for a copy of.
fn write_live(
    backend: &dyn Backend,
    page_size: PageSize,
    range: PageRange,
    run: &HeldRun,
    room: &mut PageBuffer,
) -> Result<(), WriteError> {
    if room.capacity() < page_size.bytes() as usize {
        *room = PageBuffer::zeroed(page_size.bytes() as usize);
    }
    let most = (room.capacity() >> page_size.shift()) as u64;
    let mut start = range.start();
    while start < range.end() {
        let part = PageRange::with_len(start, most).intersection(range);
        let before = part.start().0 - range.start().0;
        let counted = |WriteError { written, source }: WriteError| WriteError {
            // As below: a part that failed was not written as a whole.
            written: before + if written < part.len() { written } else { 0 },
            source,
        };
        if !run.copy(part, page_size, room) {
            return Err(counted(BackendError::from(PageError::Io).into()));
        }
        backend
            .write_pages(&WriteRun::new(part, page_size, room))
            .map_err(counted)?;
        start = part.end();
    }
    Ok(())
}

/// A call whose answer is yes, or why not.
fn asked(call: impl FnOnce() -> Result<(), BackendError>) -> (Result<(), PageError>, Option<String>) {
    let (result, panic) = caught(call);
    (result.map_err(|error| error.page_error()), panic)
}

/// A call without an answer.
fn told(done: JobDone, call: impl FnOnce()) -> JobReport {
    let (_, panic) = asked(|| {
        call();
        Ok(())
    });
    JobReport { done, panic }
}

/// A write that failed by itself, or by a panic.
enum Failure {
    Write(WriteError),
    Panic,
}

/// An error type that a panic can be turned into.
trait FromPanic {
    fn from_panic() -> Self;
}

impl FromPanic for BackendError {
    fn from_panic() -> Self {
        PageError::Io.into()
    }
}

impl FromPanic for Failure {
    fn from_panic() -> Self {
        Self::Panic
    }
}

fn caught<E: FromPanic>(call: impl FnOnce() -> Result<(), E>) -> (Result<(), E>, Option<String>) {
    match panic::catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => (result, None),
        Err(payload) => (Err(E::from_panic()), Some(panic_text(&*payload))),
    }
}

/// What a panic said.
pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        return (*text).to_owned();
    }
    payload
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
