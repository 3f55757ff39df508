//! One object's part in the memory of its host.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::task::Waker;

use super::budget::{UNIT, lock};
use crate::mach::eviction::{Member, Share};
use crate::mach::kernel::ObjectSpec;
use crate::mach::stats::Stats;

/// An object that is asked to give up more than this gives it up in several turns.
const LARGEST_WISH: u64 = 4 << 20;

/// What a host knows of one object, whichever thread owns it.
#[derive(Debug)]
pub(super) struct ObjectShare {
    pub(super) name: String,
    pub(super) stats: Stats,
    /// The object's claim on the memory of the host; its floor is in units.
    pub(super) claim: Share,
    /// Bytes of a page.
    pub(super) page: u64,
    pub(super) used: AtomicU64,
    /// What the others were last told of `used`.
    pub(super) posted: AtomicU64,
    /// The object's seat among those that share.
    pub(super) seat: AtomicU32,
    /// Bytes that others would like this object to give up.
    pub(super) wanted: AtomicU64,
    /// In the line for frames.
    pub(super) waiting: AtomicBool,
    pub(super) waker: Mutex<Option<Waker>>,
}

impl ObjectShare {
    pub(super) fn new(spec: &ObjectSpec) -> Self {
        let page = spec.page_size.bytes();
        let floor = spec.share.floor.saturating_mul(page) >> UNIT;
        Self {
            name: spec.name.clone(),
            stats: Stats::default(),
            claim: Share { floor, ..spec.share },
            page,
            used: AtomicU64::new(0),
            posted: AtomicU64::new(0),
            seat: AtomicU32::new(u32::MAX),
            wanted: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
            waker: Mutex::new(None),
        }
    }

    /// Bytes reserved or held.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Makes the object's owner poll it.
    pub(super) fn wake(&self) {
        if let Some(waker) = &*lock(&self.waker) {
            waker.wake_by_ref();
        }
    }

    pub(super) fn set_waker(&self, waker: &Waker) {
        let mut slot = lock(&self.waker);
        if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    pub(super) fn member(&self) -> Member {
        Member(self.seat.load(Relaxed))
    }

    /// Asks the object's owner to give bytes up.
    pub(super) fn wish(&self, bytes: u64) {
        self.wanted.fetch_max(bytes.min(LARGEST_WISH), SeqCst);
        self.wake();
    }

    /// Takes the wish of others that this object gives bytes up.
    pub(super) fn take_wanted(&self) -> u64 {
        match self.wanted.load(Relaxed) {
            0 => 0,
            _ => self.wanted.swap(0, SeqCst),
        }
    }
}
