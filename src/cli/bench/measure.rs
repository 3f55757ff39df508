//! Rounds, alternating, and their medians.

use std::time::{Duration, Instant};

use super::error::BenchError;
use super::rows::{Ground, Row};
use super::side::Side;

/// The medians of a row, in microseconds for each access.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) work: &'static str,
    pub(crate) about: &'static str,
    pub(crate) at_most: f64,
    pub(crate) raw_us: f64,
    pub(crate) ours_us: f64,
    pub(crate) mmap_us: Option<f64>,
    /// The rounds of the raw handler and of the library, in order.
    pub(crate) rounds: Vec<(f64, f64)>,
}

impl Figures {
    /// How many times the raw handler's time the library takes.
    pub(crate) fn ratio(&self) -> f64 {
        self.ours_us / self.raw_us
    }

    /// True if the ratio is as low as it is to be.
    pub(crate) fn is_reached(&self) -> bool {
        self.ratio() <= self.at_most
    }
}

/// How long to go on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// The most rounds.
    pub(crate) rounds: usize,
    /// When no more rounds are begun once there are enough.
    pub(crate) until: Option<Instant>,
}

/// A median of fewer rounds would say nothing.
const LEAST_ROUNDS: usize = 3;

impl Pace {
    fn goes_on(self, done: usize) -> bool {
        let in_time = self.until.is_none_or(|until| Instant::now() < until);
        done < self.rounds && (in_time || done < LEAST_ROUNDS)
    }
}

/// Measures a row in rounds, after one that does not count.
pub(crate) fn measure(row: &Row, ground: &Ground, pace: Pace) -> Result<Figures, BenchError> {
    row.cpus.run(|| {
        let mut contest = (row.make)(ground)?;
        let per_access = |time: Duration| time.as_secs_f64() * 1e6 / contest.accesses as f64;
        let (raw, ours) = (&mut *contest.raw, &mut *contest.ours);
        let mut pairs = Vec::new();
        let mut plain = Vec::new();
        while pairs.is_empty() || pace.goes_on(pairs.len() - 1) {
            // Whoever comes second may find warmer caches: take turns.
            let (first, second) = if pairs.len() % 2 == 0 {
                let raw_time = round(raw)?;
                (raw_time, round(ours)?)
            } else {
                let ours_time = round(ours)?;
                (round(raw)?, ours_time)
            };
            pairs.push((per_access(first), per_access(second)));
            if let Some(mmap) = contest.mmap.as_mut().filter(|_| plain.len() <= LEAST_ROUNDS) {
                plain.push(per_access(round(&mut **mmap)?));
            }
        }
        pairs.remove(0);
        Ok(Figures {
            work: row.work,
            about: row.about,
            at_most: row.at_most,
            raw_us: median(pairs.iter().map(|pair| pair.0)),
            ours_us: median(pairs.iter().map(|pair| pair.1)),
            mmap_us: (!plain.is_empty()).then(|| median(plain.into_iter().skip(1))),
            rounds: pairs,
        })
    })?
}

fn round(side: &mut dyn Side) -> Result<Duration, BenchError> {
    side.reset()?;
    side.run()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_the_time_is_used_up_three_rounds_are_enough() {
        let late = Pace {
            rounds: 5,
            until: Some(Instant::now()),
        };
        assert_eq!((0..9).filter(|&done| late.goes_on(done)).count(), 3);
        let free = Pace { until: None, ..late };
        assert_eq!((0..9).filter(|&done| free.goes_on(done)).count(), 5);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 100.0].into_iter()), 3.0);
        assert_eq!(median([4.0, 1.0, 2.0, 100.0].into_iter()), 3.0);
    }
}
