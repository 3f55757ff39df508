//! What every word may hold: words that say where they belong and how new they are.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// The version a slot is at: each write first says that it begins, and then that it is done.
#[derive(Debug, Default)]
struct Slot {
    begun: AtomicU32,
    done: AtomicU32,
}

/// The versions of all slots of one object.
#[derive(Debug)]
pub(crate) struct Oracle {
    object: u64,
    slots: Vec<Slot>,
}

/// A number drawn from a number (splitmix64).
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl Oracle {
    pub(crate) fn new(object: u64, slots: usize) -> Self {
        Self {
            object,
            slots: (0..slots).map(|_| Slot::default()).collect(),
        }
    }

    /// The word of a version: its upper half is the version, its lower half a checksum of the place.
    fn word(&self, slot: usize, version: u32) -> u64 {
        if version == 0 {
            return 0;
        }
        let check = mix(mix(self.object << 32 | slot as u64) ^ u64::from(version));
        u64::from(version) << 32 | check >> 32
    }

    /// The next word of a slot; only its owner asks.
    pub(crate) fn begin(&self, slot: usize) -> u64 {
        let version = self.slots[slot].begun.fetch_add(1, SeqCst) + 1;
        self.word(slot, version)
    }

    /// The word that was begun last is in the slot.
    pub(crate) fn done(&self, slot: usize) {
        let slot = &self.slots[slot];
        slot.done.store(slot.begun.load(SeqCst), SeqCst);
    }

    /// The oldest version that may be seen from now on.
    pub(crate) fn oldest(&self, slot: usize) -> u32 {
        self.slots[slot].done.load(SeqCst)
    }

    /// Checks a word that was seen after [`oldest`](Self::oldest) was asked.
    pub(crate) fn check(&self, slot: usize, oldest: u32, word: u64) -> Result<(), String> {
        let (version, newest) = ((word >> 32) as u32, self.slots[slot].begun.load(SeqCst));
        if self.word(slot, version) == word && (oldest..=newest).contains(&version) {
            return Ok(());
        }
        Err(format!(
            "object {} slot {slot}: word {word:#x}, version {version} of {oldest} to {newest}",
            self.object
        ))
    }
}
