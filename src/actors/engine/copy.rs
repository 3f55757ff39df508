//! Copies into and out of an object that never fault: `read_at` and `write_at`.

use crate::mach::{KernelError, ObjectKernel, RawMapping, Touch};
use crate::object::{PageError, PageIndex, PageRange, PageSize, Prot, RequestToken};

/// How many pages a copy asks for at once.
const WINDOW_PAGES: u64 = 64;
/// How many bytes one turn copies before other work gets its chance.
const TURN_BYTES: usize = 1 << 20;

/// A copy that a user waits for.
#[derive(Debug)]
pub struct Copy {
    /// To answer by.
    pub token: RequestToken,
    /// Where in the object the copy begins, in bytes.
    pub offset: u64,
    /// The bytes to store, or room for those to load.
    pub buffer: Vec<u8>,
    /// `READ` loads, `READ_WRITE` stores.
    pub access: Prot,
    /// The mapped copy whose pages are meant; the object's own where there is none.
    of: Option<RawMapping>,
    /// How many bytes; none of them is copied where there is no buffer.
    length: usize,
    done: usize,
}

/// How a copy ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Copied {
    /// The buffer; of a load, its first `copied` bytes are good.
    pub buffer: Vec<u8>,
    /// Exactly how many bytes were copied.
    pub copied: usize,
    /// The page that could not be had, and why.
    pub failure: Option<(PageIndex, PageError)>,
}

enum Step {
    Done,
    Failed(PageIndex, PageError),
    Waits,
    MoreLater,
}

impl Copy {
    /// A copy that has not begun.
    pub fn new(token: RequestToken, offset: u64, buffer: Vec<u8>, access: Prot) -> Self {
        let length = buffer.len();
        Self {
            token,
            offset,
            buffer,
            access,
            of: None,
            length,
            done: 0,
        }
    }

    /// The same with the pages of a mapped copy instead of the object's own.
    pub fn of(self, copy: Option<RawMapping>) -> Self {
        Self { of: copy, ..self }
    }

    /// A copy of nothing: it only brings the pages in.
    pub fn populate(token: RequestToken, offset: u64, length: usize) -> Self {
        Self {
            token,
            offset,
            buffer: Vec::new(),
            access: Prot::READ,
            of: None,
            length,
            done: 0,
        }
    }

    fn step(&mut self, kernel: &mut dyn ObjectKernel, size: PageSize) -> Step {
        let budget = self.done.saturating_add(TURN_BYTES);
        while self.done < self.length {
            if self.done >= budget {
                return Step::MoreLater;
            }
            let Ok(ahead) = size.pages_around(self.position(), (self.length - self.done) as u64) else {
                return Step::Failed(size.page_of(self.position()), PageError::Io);
            };
            let window = PageRange::with_len(ahead.start(), ahead.len().min(WINDOW_PAGES));
            match self.touch_some(kernel, window) {
                Ok(Found { ready, failed }) => {
                    if let Err(page) = self.transfer(kernel, ready, size) {
                        return Step::Failed(page, PageError::Io);
                    }
                    if let Some((page, error)) = failed {
                        return Step::Failed(page, error);
                    }
                }
                Err(step) => return step,
            }
        }
        Step::Done
    }

    fn position(&self) -> u64 {
        self.offset + self.done as u64
    }

    fn transfer(
        &mut self,
        kernel: &mut dyn ObjectKernel,
        ready: PageRange,
        size: PageSize,
    ) -> Result<(), PageIndex> {
        let at = self.position();
        let room = ready.end().offset(size) - at;
        let length = (self.length - self.done).min(room as usize);
        if self.buffer.is_empty() {
            self.done += length;
            return Ok(());
        }
        let part = &mut self.buffer[self.done..self.done + length];
        move_bytes(kernel, self.of.as_ref(), self.access, at, part).map_err(|error| {
            tracing::warn!(%error, "a copy into or out of resident pages failed");
            ready.start()
        })?;
        self.done += length;
        Ok(())
    }
}

/// Pages that can be copied now, and the one after them if it cannot be had.
struct Found {
    ready: PageRange,
    failed: Option<(PageIndex, PageError)>,
}

/// Copies between the buffer and pages that were found ready.
fn move_bytes(
    kernel: &mut dyn ObjectKernel,
    of: Option<&RawMapping>,
    access: Prot,
    at: u64,
    part: &mut [u8],
) -> Result<(), KernelError> {
    match (of, access.writes()) {
        (None, true) => kernel.copy_in(at, part),
        (None, false) => kernel.copy_out(at, part),
        (Some(copy), true) => kernel.store(copy, at, part),
        (Some(copy), false) => kernel.load(copy, at, part),
    }
}

impl Copy {
    /// Asks for the whole window, and settles for its first page where not all is there: so that a
    /// copy larger than the resident bound still comes to its end.
    ///
    /// A kernel may tell a failure only once: whichever touch it comes from, it ends the copy.
    fn touch_some(&self, kernel: &mut dyn ObjectKernel, window: PageRange) -> Result<Found, Step> {
        let mut asked = window;
        let mut touch = self.touch(kernel, asked);
        if touch == Touch::Pending && window.len() > 1 {
            asked = PageRange::single(window.start());
            touch = self.touch(kernel, asked);
        }
        match touch {
            Touch::Ready => Ok(Found {
                ready: asked,
                failed: None,
            }),
            Touch::Pending => Err(Step::Waits),
            Touch::Failed { page, error } if page <= window.start() => Err(Step::Failed(page, error)),
            Touch::Failed { page, error } => Ok(Found {
                ready: PageRange::new(window.start(), page),
                failed: Some((page, error)),
            }),
        }
    }

    fn touch(&self, kernel: &mut dyn ObjectKernel, pages: PageRange) -> Touch {
        match &self.of {
            None => kernel.touch(pages, self.access),
            Some(copy) => kernel.touch_copy(copy, pages, self.access),
        }
    }
}

/// The copies that wait for pages, in the order they came.
#[derive(Debug, Default)]
pub(super) struct Copies {
    waiting: Vec<Copy>,
    more: bool,
}

impl Copies {
    /// Adds a copy; it begins with the next [`advance`](Self::advance).
    pub(super) fn push(&mut self, copy: Copy) {
        self.waiting.push(copy);
    }

    /// True if no copy is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// True if some copy could go on at once but has had its share of this turn.
    pub(super) fn has_more(&self) -> bool {
        self.more
    }

    /// Lets every copy go as far as it can; hands those that ended to `ended`.
    pub(super) fn advance(
        &mut self,
        kernel: &mut dyn ObjectKernel,
        size: PageSize,
        mut ended: impl FnMut(RequestToken, Copied),
    ) {
        self.more = false;
        let mut at = 0;
        while at < self.waiting.len() {
            let failure = match self.waiting[at].step(kernel, size) {
                Step::Done => None,
                Step::Failed(page, error) => Some((page, error)),
                step @ (Step::Waits | Step::MoreLater) => {
                    self.more |= matches!(step, Step::MoreLater);
                    at += 1;
                    continue;
                }
            };
            let copy = self.waiting.remove(at);
            ended(
                copy.token,
                Copied {
                    buffer: copy.buffer,
                    copied: copy.done,
                    failure,
                },
            );
        }
    }
}
