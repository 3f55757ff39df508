//! In which order threads go over their pages.

use super::rng::Rng;

/// An order of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Pattern {
    /// One after the other.
    Sequential,
    /// Each as likely as the next.
    Random,
    /// A few pages most of the time: half of the accesses go to a sixteenth of the pages.
    Skewed,
    /// The three in turn.
    All,
}

impl Pattern {
    /// The simple orders it consists of.
    pub(crate) fn parts(self) -> &'static [Self] {
        match self {
            Self::Sequential => &[Self::Sequential],
            Self::Random => &[Self::Random],
            Self::Skewed => &[Self::Skewed],
            Self::All => &[Self::Sequential, Self::Random, Self::Skewed],
        }
    }

    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Random => "random",
            Self::Skewed => "skewed",
            Self::All => "all",
        }
    }
}

/// Picks one page after the other.
#[derive(Debug)]
pub(crate) struct Picker {
    pattern: Pattern,
    pages: u64,
    rng: Rng,
    next: u64,
}

impl Picker {
    /// Picks among `pages` pages, which must not be 0.
    pub(crate) fn new(pattern: Pattern, pages: u64, seed: u64) -> Self {
        Self {
            pattern,
            pages,
            rng: Rng::new(seed),
            next: 0,
        }
    }

    /// The next page, counted from 0.
    pub(crate) fn pick(&mut self) -> u64 {
        match self.pattern {
            Pattern::Sequential | Pattern::All => self.step(),
            Pattern::Random => self.rng.below(self.pages),
            Pattern::Skewed => self.skewed(),
        }
    }

    /// True with this probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.rng.unit() < probability
    }

    fn step(&mut self) -> u64 {
        let page = self.next;
        self.next = (page + 1) % self.pages;
        page
    }

    /// The fourth power of a number below 1 is below 1/16 half of the time.
    fn skewed(&mut self) -> u64 {
        let rank = (self.rng.unit().powi(4) * self.pages as f64) as u64;
        // Neighbours in rank must not be neighbours in memory: spread them with a large prime.
        (u128::from(rank) * 2_654_435_761 % u128::from(self.pages)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picks(pattern: Pattern, pages: u64, count: usize) -> Vec<u64> {
        let mut picker = Picker::new(pattern, pages, 3);
        (0..count).map(|_| picker.pick()).collect()
    }

    #[test]
    fn every_pick_is_a_page_and_comes_again_from_its_seed() {
        for pattern in Pattern::All.parts() {
            let first = picks(*pattern, 7, 1000);
            assert!(first.iter().all(|&page| page < 7));
            assert_eq!(first, picks(*pattern, 7, 1000));
        }
    }

    #[test]
    fn sequential_goes_round() {
        assert_eq!(picks(Pattern::Sequential, 3, 5), [0, 1, 2, 0, 1]);
    }

    #[test]
    fn skewed_prefers_a_few_pages() {
        let mut counts = vec![0; 1600];
        for page in picks(Pattern::Skewed, 1600, 16_000) {
            counts[page as usize] += 1;
        }
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let hot: u64 = counts[..100].iter().sum();
        assert!((7_000..10_000).contains(&hot), "{hot}");
    }
}
