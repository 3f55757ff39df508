//! Finds the streams among the faults of one mapping.

use super::{Advice, Window};
use crate::object::{PageIndex, PageRange};

/// How many streams are followed at once.
const STREAMS: usize = 4;
/// The largest distance between two pages of a stream.
const MAX_STRIDE: u64 = 256;
/// The window of a stream that was just found.
const FIRST_WINDOW: u64 = 4;
/// How many ranges can have advice of their own; the oldest gives way.
const ADVISED: usize = 8;

/// Follows a few streams of faults of one mapping, in constant time and space.
#[derive(Clone, Debug)]
pub struct StreamDetector {
    within: PageRange,
    max_window: u64,
    streams: [Stream; STREAMS],
    faults: u64,
    /// Pages that a window may have as long as windows are used up.
    trust: u64,
    advised: Vec<(PageRange, Advice)>,
}

/// One stream, or one lonely fault that may become one.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    /// The first page of it.
    first: PageIndex,
    /// The latest page that faulted.
    last: PageIndex,
    /// The page that faults next if the stream goes on; only with a stride.
    next: PageIndex,
    /// From one page to the next; 0 while not known.
    stride: i64,
    /// Pages to bring in at a time; 0 for a stream that is only a guess.
    window: u64,
    /// Pages dropped unused since the window last changed.
    unused: u64,
    /// The window shrank after the latest fault: it is not to grow at the next one.
    shrunk: bool,
    /// The number of the latest fault, from 1; 0 for no stream.
    seen: u64,
}

impl StreamDetector {
    /// A detector for a mapping of the pages `within`, with windows of up to `max_window` pages.
    pub fn new(within: PageRange, max_window: u64) -> Self {
        Self {
            within,
            max_window: max_window.max(1),
            streams: [Stream::default(); STREAMS],
            faults: 0,
            trust: max_window.max(1),
            advised: Vec::new(),
        }
    }

    /// Changes the bound of the windows.
    pub fn set_max_window(&mut self, pages: u64) {
        self.max_window = pages.max(1);
        self.trust = self.max_window;
    }

    /// Takes advice about a range; later advice wins over earlier.
    pub fn advise(&mut self, range: PageRange, advice: Advice) {
        match advice {
            Advice::Normal | Advice::Sequential | Advice::Random => {}
            Advice::WillNeed | Advice::DontNeed | Advice::Populate => return,
        }
        self.advised.retain(|(old, _)| old.intersection(range) != *old);
        if self.advised.len() == ADVISED {
            self.advised.remove(0);
        }
        self.advised.push((range, advice));
    }

    /// Which pages to bring in at a fault on `page`: that page first, perhaps others of its stream.
    pub fn on_fault(&mut self, page: PageIndex) -> Window {
        match self.advice_for(page) {
            Advice::Random => Window::single(page),
            Advice::Sequential => self.follow(page, true),
            Advice::Normal | Advice::WillNeed | Advice::DontNeed | Advice::Populate => {
                self.follow(page, false)
            }
        }
    }

    /// A page that was brought in ahead of need leaves without having been used.
    pub fn on_dropped_unused(&mut self, page: PageIndex) {
        let brought_in = |stream: &&mut Stream| stream.window > 1 && stream.has_passed(page);
        let latest = self
            .streams
            .iter_mut()
            .filter(brought_in)
            .max_by_key(|stream| stream.seen);
        if let Some(stream) = latest {
            stream.shrink();
        }
    }

    /// A page leaves, used or not. Where it lies ahead in the latest window of a stream that has not come to
    /// the end of that window, it counts as unused: later windows of the mapping are half as long, until
    /// windows are used up again.
    pub fn on_evicted(&mut self, page: PageIndex) {
        let stalled = |stream: &&mut Stream| stream.is_inside(page);
        for stream in self.streams.iter_mut().filter(stalled) {
            let judged = stream.shrunk;
            stream.shrink();
            if stream.shrunk && !judged {
                self.trust = (self.trust / 2).max(1);
            }
        }
    }

    fn advice_for(&self, page: PageIndex) -> Advice {
        let latest = self.advised.iter().rev().find(|(range, _)| range.contains(page));
        latest.map_or(Advice::Normal, |(_, advice)| *advice)
    }

    fn follow(&mut self, page: PageIndex, eager: bool) -> Window {
        if self.streams.iter().any(|stream| stream.is_inside(page)) {
            return Window::single(page);
        }
        self.faults += 1;
        let now = self.faults;
        let at = self.stream_for(page);
        let stream = &mut self.streams[at];
        if stream.uses_up(page) {
            self.trust = (self.trust * 2).min(self.max_window);
        }
        let most = if eager { self.max_window } else { self.trust };
        stream.advance(page, most);
        stream.seen = now;
        if eager {
            stream.assume_forward(most);
        }
        let window = Window::new(page, stream.stride, stream.window, self.within);
        stream.next = PageIndex(page.0.wrapping_add_signed(stream.stride * window.count() as i64));
        window
    }

    /// The stream that `page` goes on, or the one to give up for it.
    fn stream_for(&mut self, page: PageIndex) -> usize {
        let live = |stream: &Stream| stream.seen > 0;
        let expects = |stream: &Stream| live(stream) && stream.stride != 0 && stream.next == page;
        let near = |stream: &Stream| live(stream) && page.0.abs_diff(stream.last.0) <= MAX_STRIDE;
        if let Some(at) = self.streams.iter().position(expects) {
            return at;
        }
        let candidates = self.streams.iter().enumerate().filter(|(_, stream)| near(stream));
        if let Some((at, _)) = candidates.min_by_key(|(_, stream)| page.0.abs_diff(stream.last.0)) {
            return at;
        }
        let by_age = self
            .streams
            .iter()
            .enumerate()
            .min_by_key(|(_, stream)| stream.seen);
        let at = by_age.map_or(0, |(at, _)| at);
        self.streams[at] = Stream::starting(page);
        at
    }
}

impl Stream {
    fn starting(page: PageIndex) -> Self {
        Self {
            first: page,
            last: page,
            ..Self::default()
        }
    }

    /// True if a fault on `page` says that the latest window was used to its end.
    fn uses_up(&self, page: PageIndex) -> bool {
        self.seen > 0 && self.window > 0 && self.stride != 0 && self.next == page
    }

    /// Takes the next fault into account.
    fn advance(&mut self, page: PageIndex, most: u64) {
        let step = page.0.wrapping_sub(self.last.0) as i64;
        let goes_on = self.stride != 0 && self.next == page;
        if self.seen == 0 || step == 0 {
            // A fresh stream, or the same page once more: nothing is known yet.
        } else if goes_on && self.window > 0 {
            let grown = if self.shrunk { self.window } else { self.window * 2 };
            self.window = grown.min(most);
            self.shrunk = false;
            self.unused = 0;
        } else if goes_on || step.unsigned_abs() == 1 {
            self.found(step, most);
        } else {
            *self = Self::starting(self.last);
            self.stride = step;
        }
        self.last = page;
    }

    fn found(&mut self, stride: i64, most: u64) {
        self.first = self.last;
        self.stride = stride;
        self.window = FIRST_WINDOW.min(most);
        self.unused = 0;
    }

    /// As the user says that accesses are in order, a first fault is the start of a stream.
    fn assume_forward(&mut self, most: u64) {
        if self.window == 0 {
            self.stride = 1;
        }
        self.window = most;
    }

    /// True if `page` is of the latest window, behind the page that faulted: several threads on
    /// one stream run into it before it is there, and say nothing new.
    fn is_inside(&self, page: PageIndex) -> bool {
        self.window > 1 && page != self.last && self.has_passed(page) && {
            let (from_last, to_next) = (page.0.abs_diff(self.last.0), self.next.0.abs_diff(self.last.0));
            from_last < to_next && (page > self.last) == (self.stride > 0)
        }
    }

    /// True if the stream brought `page` in.
    fn has_passed(&self, page: PageIndex) -> bool {
        let (low, high) = if self.stride < 0 {
            (self.next.0.wrapping_add(1), self.first.0 + 1)
        } else {
            (self.first.0, self.next.0)
        };
        PageRange::new(PageIndex(low), PageIndex(high)).contains(page)
            && page
                .0
                .abs_diff(self.first.0)
                .is_multiple_of(self.stride.unsigned_abs().max(1))
    }

    /// Halves the window once for every half window that was dropped unused.
    fn shrink(&mut self) {
        self.unused += 1;
        if self.unused * 2 >= self.window {
            self.window = (self.window / 2).max(1);
            self.shrunk = true;
            self.unused = 0;
        }
    }
}
