//! What was injected, and what the bucket said about it.

use std::sync::atomic::Ordering::SeqCst;

use actor_pager::EventKind;
use actor_pager::backend::CallKind;

use crate::world::World;

/// Counts what happened.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) recovered: u64,
    pager_restarts: u64,
    pagers_moved: u64,
    quarantines: u64,
}

impl Tally {
    pub(crate) fn count(&mut self, kind: &EventKind) {
        let recovered = matches!(
            kind,
            EventKind::WritesRecovered
                | EventKind::BackendRestarted
                | EventKind::LateResult { .. }
                | EventKind::Revived
                | EventKind::PagerRestarted
        );
        self.recovered += u64::from(recovered);
        self.pager_restarts += u64::from(*kind == EventKind::PagerRestarted);
        self.pagers_moved += u64::from(*kind == EventKind::PagerMoved);
        self.quarantines += u64::from(*kind == EventKind::Quarantined);
    }

    /// Everything but the first words of the last line.
    pub(crate) fn summary(&self, world: &World) -> String {
        let counts: Vec<_> = world
            .objects
            .iter()
            .flat_map(|object| CallKind::ALL.map(|kind| object.control.counts(kind)))
            .collect();
        let sum = |of: fn(&actor_pager::backend::FaultCounts) -> u64| counts.iter().map(of).sum::<u64>();
        let deaths: u64 = world
            .objects
            .iter()
            .map(|object| object.store.deaths.load(SeqCst))
            .sum();
        format!(
            "operations: {}, faults: {} errors, {} delays, {} panics, {} hangs, {} short, {} torn, {} dead workers, \
             {} pagers restarted, {} moved, {} quarantined; recovered: {}",
            world.operations.load(SeqCst),
            sum(|count| count.errors),
            sum(|count| count.delays),
            sum(|count| count.panics),
            sum(|count| count.hangs),
            sum(|count| count.short),
            sum(|count| count.torn),
            deaths,
            self.pager_restarts,
            self.pagers_moved,
            self.quarantines,
            self.recovered,
        )
    }
}
