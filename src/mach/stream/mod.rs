//! Streams of faults in a mapping: what comes next, and how far to read ahead.
//!
//! A detector watches the faults of one mapping. Where they follow each other at equal distances,
//! forward, backward or strided, it answers each with a window of pages that doubles up to a bound.
//! Where pages of a window leave unused, the window shrinks.

mod detector;
#[cfg(test)]
mod tests;
mod window;

pub use detector::StreamDetector;
pub use window::Window;

/// What a user says about coming accesses to a range (`madvise`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Advice {
    /// Nothing special: watch the faults.
    #[default]
    Normal,
    /// In order: full windows from the first fault on, forward where nothing else was seen.
    Sequential,
    /// In no order: never more than the page that faulted.
    Random,
    /// Soon: bring the range in now. A request, not a pattern: a detector ignores it.
    WillNeed,
    /// Not soon: the range may leave now. A request, not a pattern: a detector ignores it.
    DontNeed,
    /// Now, and wait until the range is there. A request, not a pattern: a detector ignores it.
    Populate,
}
