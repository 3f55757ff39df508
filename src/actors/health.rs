//! How often a pager failed of late, and what follows: the restart intensity of a supervisor.

use std::collections::VecDeque;
use std::time::Instant;

use super::policy::Intensity;

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Try again; this many failures are within the period.
    Restart(u32),
    /// Too many: leave it alone.
    Quarantine,
}

/// The failures of one pager within the period.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failures: VecDeque<Instant>,
}

impl Health {
    /// Counts a failure.
    pub(crate) fn failed(&mut self, now: Instant, intensity: Intensity) -> Verdict {
        while self
            .failures
            .front()
            .is_some_and(|&then| now.duration_since(then) > intensity.period)
        {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        if self.failures.len() > intensity.failures {
            self.failures.clear();
            return Verdict::Quarantine;
        }
        Verdict::Restart(self.failures.len() as u32)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_failure_too_many_within_the_period_means_quarantine() {
        let intensity = Intensity {
            failures: 2,
            period: Duration::from_secs(1),
        };
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut health = Health::default();
        assert_eq!(health.failed(at(0), intensity), Verdict::Restart(1));
        assert_eq!(health.failed(at(100), intensity), Verdict::Restart(2));
        assert_eq!(health.failed(at(1050), intensity), Verdict::Restart(2));
        assert_eq!(health.failed(at(1060), intensity), Verdict::Quarantine);
        assert_eq!(health.failed(at(1070), intensity), Verdict::Restart(1));
    }
}
