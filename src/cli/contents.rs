//! What every byte must be: computable from the page's number and how often it was changed.
//!
//! Version 0 of a page is its original. Version `v` is the original with a mask over it that
//! depends on seed, page and `v`; so a change can be undone, and a page can be checked without a
//! second copy of it.

use super::rng::{STEP, mix};

/// What is known of the originals.
#[derive(Debug)]
enum Originals {
    /// They were generated.
    Seeded,
    /// They are somebody's own: a hash of each page.
    Learned(Vec<u64>),
}

/// The contents that a memory object must have.
#[derive(Debug)]
pub(crate) struct Contents {
    seed: u64,
    length: u64,
    page_size: u64,
    originals: Originals,
}

impl Contents {
    /// Generated contents of `length` bytes.
    pub(crate) fn seeded(seed: u64, length: u64, page_size: u64) -> Self {
        Self {
            seed,
            length,
            page_size,
            originals: Originals::Seeded,
        }
    }

    /// Somebody's contents; `learn` must be called for each page, in order.
    pub(crate) fn learned(seed: u64, length: u64, page_size: u64) -> Self {
        Self {
            seed,
            length,
            page_size,
            originals: Originals::Learned(Vec::new()),
        }
    }

    /// The length in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The size of a page in bytes.
    pub(crate) fn page_size(&self) -> usize {
        self.page_size as usize
    }

    /// How many pages there are, the last perhaps not whole.
    pub(crate) fn pages(&self) -> u64 {
        self.length.div_ceil(self.page_size)
    }

    /// How many bytes of a page lie before the end.
    pub(crate) fn bytes_of(&self, page: u64) -> usize {
        let before = page.saturating_mul(self.page_size);
        self.page_size.min(self.length.saturating_sub(before)) as usize
    }

    /// Takes note of the next page's original.
    pub(crate) fn learn(&mut self, bytes: &[u8]) {
        if let Originals::Learned(hashes) = &mut self.originals {
            hashes.push(hash(words(bytes)));
        }
    }

    /// Writes the generated original of a page.
    pub(crate) fn generate(&self, page: u64, bytes: &mut [u8]) {
        let key = self.key(page, 0);
        bytes.fill(0);
        cover(key, bytes);
    }

    /// Turns one version of a page into another.
    pub(crate) fn change(&self, page: u64, from: u32, to: u32, bytes: &mut [u8]) {
        let end = self.bytes_of(page).min(bytes.len());
        for version in [from, to] {
            if version != 0 {
                cover(self.key(page, version), &mut bytes[..end]);
            }
        }
    }

    /// True if `bytes`, a page as it is in memory or in the file, is this version of the page.
    ///
    /// The buffer is left with the original in it. Bytes beyond the end must be zero.
    pub(crate) fn is_right(&self, page: u64, version: u32, bytes: &mut [u8]) -> bool {
        let end = self.bytes_of(page);
        if bytes.len() < end || bytes[end..].iter().any(|&byte| byte != 0) {
            return false;
        }
        self.change(page, version, 0, bytes);
        match &self.originals {
            Originals::Seeded => is_cover(self.key(page, 0), &bytes[..end]),
            Originals::Learned(hashes) => hashes.get(page as usize) == Some(&hash(words(&bytes[..end]))),
        }
    }

    fn key(&self, page: u64, version: u32) -> u64 {
        mix(mix(self.seed ^ page.wrapping_mul(STEP)) ^ u64::from(version))
    }
}

/// The mask of a key, word by word.
fn mask(key: u64) -> impl Iterator<Item = u64> {
    (1_u64..).map(move |at| mix(key.wrapping_add(at.wrapping_mul(STEP))))
}

/// Lays the mask over the bytes; a second time takes it away.
fn cover(key: u64, bytes: &mut [u8]) {
    for (chunk, word) in bytes.chunks_mut(8).zip(mask(key)) {
        for (byte, mask) in chunk.iter_mut().zip(word.to_le_bytes()) {
            *byte ^= mask;
        }
    }
}

fn is_cover(key: u64, bytes: &[u8]) -> bool {
    let mut pairs = bytes.chunks(8).zip(mask(key));
    pairs.all(|(chunk, word)| *chunk == word.to_le_bytes()[..chunk.len()])
}

/// The words of the bytes, the last filled up with zeros.
fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    })
}

fn hash(words: impl Iterator<Item = u64>) -> u64 {
    words.fold(STEP, |hash, word| mix(hash ^ word).wrapping_add(STEP))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 4096;

    fn object(length: u64) -> (Contents, Contents) {
        let seeded = Contents::seeded(7, length, PAGE);
        let mut learned = Contents::learned(7, length, PAGE);
        for page in 0..seeded.pages() {
            let mut bytes = vec![0; seeded.bytes_of(page)];
            seeded.generate(page, &mut bytes);
            learned.learn(&bytes);
        }
        (seeded, learned)
    }

    fn version(contents: &Contents, page: u64, version: u32) -> Vec<u8> {
        let mut bytes = vec![0; PAGE as usize];
        let end = contents.bytes_of(page);
        contents.generate(page, &mut bytes[..end]);
        contents.change(page, 0, version, &mut bytes);
        bytes
    }

    #[test]
    fn each_version_is_told_from_the_others() {
        let (seeded, learned) = object(2 * PAGE + 13);
        for contents in [&seeded, &learned] {
            for page in 0..3 {
                let written = version(&seeded, page, 2);
                assert!(contents.is_right(page, 2, &mut written.clone()));
                assert!(!contents.is_right(page, 1, &mut written.clone()));
                assert!(!contents.is_right((page + 1) % 3, 2, &mut written.clone()));
            }
        }
    }

    #[test]
    fn one_wrong_bit_is_seen_also_beyond_the_end() {
        let (seeded, learned) = object(PAGE + 13);
        for contents in [&seeded, &learned] {
            for at in [0, 12, 13, 4095] {
                let mut bytes = version(&seeded, 1, 3);
                bytes[at] ^= 1;
                assert!(!contents.is_right(1, 3, &mut bytes), "byte {at}");
            }
        }
    }

    #[test]
    fn a_change_can_be_undone() {
        let (seeded, _) = object(PAGE);
        let mut bytes = version(&seeded, 0, 9);
        seeded.change(0, 9, 0, &mut bytes);
        assert_eq!(bytes, version(&seeded, 0, 0));
    }
}
