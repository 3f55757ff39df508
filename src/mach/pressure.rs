//! Scarce memory: who tells of it, and how much of a bound is used meanwhile.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::kernel::KernelHost;

/// Something that knows when memory is scarce.
pub trait PressureSource: Send {
    /// Waits until memory is scarce, or `most` has passed; true if it was scarce since the last call.
    fn wait(&mut self, most: Duration) -> io::Result<bool>;
}

type Open = dyn Fn() -> io::Result<Box<dyn PressureSource>> + Send + Sync;

/// How a bucket follows the scarcity of memory: off unless given to `BucketBuilder::pressure`.
///
/// Each time memory is scarce an eighth less of the bound may be used, down to a quarter of it unless
/// said otherwise; each [interval](Self::interval) without scarcity gives a part of it back.
#[derive(Clone)]
pub struct Pressure {
    open: Arc<Open>,
    least: u32,
    interval: Duration,
}

impl Pressure {
    /// Follows the source that `open` makes when the bucket starts.
    pub fn new(open: impl Fn() -> io::Result<Box<dyn PressureSource>> + Send + Sync + 'static) -> Self {
        Self {
            open: Arc::new(open),
            least: 250,
            interval: Duration::from_millis(100),
        }
    }

    /// How much of the bound may be used however scarce memory is, in thousandths (1 to 1000).
    pub fn least(mut self, thousandths: u32) -> Self {
        self.least = thousandths.clamp(1, 1000);
        self
    }

    /// How long memory must not have been scarce before more may be used; 100 ms unless said otherwise.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(1));
        self
    }

    /// Begins to follow; ends with the value that is returned.
    pub(crate) fn follow(&self, kernel: Arc<dyn KernelHost>) -> io::Result<Following> {
        let mut source = (self.open)()?;
        let (mut governor, interval) = (Governor::new(self.least), self.interval);
        let ended = Arc::new(AtomicBool::new(false));
        let stop = ended.clone();
        let body = move || {
            while !stop.load(Relaxed) {
                let before = governor.granted;
                match source.wait(interval) {
                    Ok(true) => governor.scarce(),
                    Ok(false) => governor.calm(),
                    Err(error) => {
                        tracing::error!(%error, "memory pressure is not followed any more");
                        return kernel.grant_memory(ALL);
                    }
                }
                if governor.granted != before {
                    tracing::debug!(thousandths = governor.granted, "of the bound may be used");
                    kernel.grant_memory(governor.granted);
                }
                if governor.granted < before {
                    // What goes now shows only in a while.
                    thread::park_timeout(interval);
                }
            }
        };
        let thread = thread::Builder::new().name("pressure".into()).spawn(body)?;
        Ok(Following {
            ended,
            thread: Some(thread),
        })
    }
}

/// All of a bound, in thousandths.
const ALL: u32 = 1000;

/// How much of the bound may be used, in thousandths.
#[derive(Debug)]
struct Governor {
    least: u32,
    granted: u32,
}

impl Governor {
    fn new(least: u32) -> Self {
        Self { least, granted: ALL }
    }

    /// An eighth less.
    fn scarce(&mut self) {
        self.granted = (self.granted - self.granted / 8).max(self.least);
    }

    /// More again, but slower than it went away.
    fn calm(&mut self) {
        self.granted = (self.granted + ALL / 40).min(ALL);
    }
}

/// A thread that follows pressure; it ends with this value.
pub(crate) struct Following {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.ended.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A source that panicked has said so.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shrinks_fast_to_the_least_and_grows_slowly_to_all() {
        let mut governor = Governor::new(300);
        governor.scarce();
        assert_eq!(governor.granted, 875);
        (0..100).for_each(|_| governor.scarce());
        assert_eq!(governor.granted, 300);
        governor.calm();
        assert_eq!(governor.granted, 325);
        (0..100).for_each(|_| governor.calm());
        assert_eq!(governor.granted, ALL);
    }
}
