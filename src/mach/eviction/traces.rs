//! Synthetic traces, the same for the same seed.

use crate::object::PageIndex;

/// A small generator of random numbers (SplitMix64), for traces and patterns that can be repeated.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator for `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`; 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u64
    }

    /// Puts `items` into random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}

/// `length` accesses to `pages` pages, the k-th most wanted in proportion to `1 / k^skew`.
pub fn zipf(pages: u64, skew: f64, length: usize, seed: u64) -> Vec<PageIndex> {
    let mut random = Random::new(seed);
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=pages)
        .map(|rank| {
            sum += (rank as f64).powf(-skew);
            sum
        })
        .collect();
    let mut pages: Vec<u64> = (0..pages).collect();
    random.shuffle(&mut pages);
    let draw = |random: &mut Random| {
        let at = random.bits() as f64 / u64::MAX as f64 * sum;
        sums.partition_point(|&sum| sum < at)
            .min(sums.len().saturating_sub(1))
    };
    (0..length)
        .filter_map(|_| pages.get(draw(&mut random)).copied().map(PageIndex))
        .collect()
}

/// Accesses to a hot set of `hot` pages, every other one, between those of a scan through `pages` pages.
pub fn scan_and_hot_set(hot: u64, pages: u64, length: usize, seed: u64) -> Vec<PageIndex> {
    let mut random = Random::new(seed);
    let mut scan = (0..pages).cycle();
    let mut access = |at: usize| match at % 2 {
        0 => random.below(hot),
        _ => hot + scan.next().unwrap_or(0),
    };
    (0..length).map(|at| PageIndex(access(at))).collect()
}

/// The pages from 0 on, `pages` of them, again and again.
pub fn loop_over(pages: u64, length: usize) -> Vec<PageIndex> {
    (0..pages).map(PageIndex).cycle().take(length).collect()
}
