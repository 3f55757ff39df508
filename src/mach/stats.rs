//! Counters and fault latencies: cheap to keep, readable from any thread.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What a kernel has done so far, as plain numbers. Pages are object pages.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct StatsSnapshot {
            $($(#[doc = $doc])+ pub $name: u64,)+
            /// How long faults took, from their arrival at the pager.
            pub latency: LatencySnapshot,
            /// Bytes of pages that are resident, over all objects; the host fills this in.
            pub resident_bytes: u64,
            /// The most bytes that were resident at a time; the host fills this in.
            pub resident_high_water: u64,
        }

        /// What a kernel has done so far; shared and live.
        #[derive(Debug, Default)]
        pub struct Stats {
            $(pub(crate) $name: AtomicU64,)+
            pub(crate) latency: Latency,
        }

        impl Stats {
            /// The numbers of now.
            pub fn snapshot(&self) -> StatsSnapshot {
                StatsSnapshot {
                    $($name: self.$name.load(Relaxed),)+
                    latency: self.latency.snapshot(),
                    resident_bytes: 0,
                    resident_high_water: 0,
                }
            }
        }

        impl StatsSnapshot {
            /// Adds the numbers of another object.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
                self.latency.add(&other.latency);
                self.resident_bytes += other.resident_bytes;
                self.resident_high_water = self.resident_high_water.max(other.resident_high_water);
            }
        }
    };
}

counters! {
    /// Faults on absent pages.
    faults_missing,
    /// Faults on pages that were in the cache.
    faults_minor,
    /// Faults of writers on write-protected pages.
    faults_protected,
    /// Data requests sent.
    requests,
    /// Pages that came in.
    pages_in,
    /// Dirty pages that were handed back.
    pages_out,
    /// Clean pages that were dropped to make room.
    evicted_clean,
    /// Dirty or precious pages that were handed back to make room.
    evicted_dirty,
    /// Dirty pages that were written back ahead of need.
    cleaned_ahead,
    /// Times that a fault had to wait for a frame.
    frame_waits,
    /// Times that the system had no memory for pages.
    memory_refused,
    /// Memories of objects and copies that were to be in huge pages and are not.
    huge_refused,
    /// Error markers set.
    poisons,
    /// Error markers dropped again.
    heals,
    /// ioctls repeated because an event waited to be read.
    retries,
    /// Forked address spaces taken on.
    forks,
    /// Mappings moved or taken down by clients.
    remaps,
}

impl Stats {
    pub(crate) fn count(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Relaxed);
    }
}

/// Sub-buckets per power of two: an error of at most an eighth.
const FINE: usize = 4;
const BUCKETS: usize = 48 * FINE;

/// A histogram of durations in logarithmic buckets.
#[derive(Debug)]
pub(crate) struct Latency {
    buckets: [AtomicU64; BUCKETS],
    max: AtomicU64,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            max: AtomicU64::new(0),
        }
    }
}

impl Latency {
    pub(crate) fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanos)].fetch_add(1, Relaxed);
        self.max.fetch_max(nanos, Relaxed);
    }

    fn snapshot(&self) -> LatencySnapshot {
        LatencySnapshot {
            counts: self.buckets.iter().map(|count| count.load(Relaxed)).collect(),
            max: self.max.load(Relaxed),
        }
    }
}

fn bucket(nanos: u64) -> usize {
    let nanos = nanos.max(FINE as u64);
    let power = nanos.ilog2() as usize;
    let fine = (nanos >> (power - FINE.ilog2() as usize)) as usize & (FINE - 1);
    (power * FINE + fine).min(BUCKETS - 1)
}

/// The middle of a bucket, in nanoseconds.
fn middle(bucket: usize) -> u64 {
    let (power, fine) = (bucket / FINE, (bucket % FINE) as u64);
    let step = (1u64 << power) / FINE as u64;
    (1u64 << power) + step * fine + step / 2
}

/// Fault latencies as they were at some moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencySnapshot {
    counts: Vec<u64>,
    max: u64,
}

impl LatencySnapshot {
    /// How many faults were measured.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// The duration that a share of the faults (0.5 for the median, 0.99) did not exceed, to within an
    /// eighth; zero where nothing was measured.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = ((self.count() as f64) * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted.max(1) {
                return Duration::from_nanos(middle(bucket).min(self.max));
            }
        }
        self.max()
    }

    /// Adds the durations of another.
    pub fn add(&mut self, other: &Self) {
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.max = self.max.max(other.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_an_eighth() {
        let latency = Latency::default();
        for micros in 1..=1000 {
            latency.record(Duration::from_micros(micros));
        }
        let snapshot = latency.snapshot();
        assert_eq!(snapshot.count(), 1000);
        for (share, micros) in [(0.5, 500.0), (0.99, 990.0)] {
            let found = snapshot.quantile(share).as_secs_f64() * 1e6;
            assert!((found / micros - 1.0).abs() < 0.125, "{share}: {found}");
        }
        assert_eq!(snapshot.max(), Duration::from_millis(1));
    }
}
