//! What the pager counted, as it is shown.

use std::time::Duration;

use actor_pager::mach::StatsSnapshot;

use super::size::Size;

/// The pager's own figures.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// Faults of every kind.
    pub(crate) faults: u64,
    /// Pages read from the store.
    pub(crate) pages_in: u64,
    /// Pages handed back to be written.
    pub(crate) pages_out: u64,
    /// Pages that made room for others.
    pub(crate) evictions: u64,
    /// The most page memory that was resident at a time.
    pub(crate) resident_high_water: Size,
    /// Latency that half of the faults did not exceed.
    pub(crate) p50: Duration,
    /// Latency that 99 of 100 faults did not exceed.
    pub(crate) p99: Duration,
    /// The longest fault.
    pub(crate) max: Duration,
}

impl Figures {
    /// The figures in a bucket's statistics.
    pub(crate) fn of(stats: &StatsSnapshot) -> Self {
        Self {
            faults: stats.faults_missing + stats.faults_minor + stats.faults_protected,
            pages_in: stats.pages_in,
            pages_out: stats.pages_out,
            evictions: stats.evicted_clean + stats.evicted_dirty,
            resident_high_water: Size(stats.resident_high_water),
            p50: stats.latency.quantile(0.5),
            p99: stats.latency.quantile(0.99),
            max: stats.latency.max(),
        }
    }
}
