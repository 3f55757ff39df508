//! The userfaultfds of this process, by number: forked children must not keep copies of them.
//!
//! A copy in a child keeps a userfaultfd alive that its owner has closed. Its mappings stay registered
//! with it, nobody reads it, and the next fork or unmapping waits for ever. So the child gives every copy
//! up before it does anything else, and no descriptor comes or goes while a fork is being prepared.
//!
//! Everything is atomic: the child may neither lock nor allocate.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

/// Descriptors with a higher number are not known; systems allow a million at most, unless told otherwise.
const MOST: usize = 1 << 20;
const WORD: usize = u64::BITS as usize;

/// One bit for each number.
static OURS: [AtomicU64; MOST / WORD] = [const { AtomicU64::new(0) }; MOST / WORD];
/// Words that were ever used.
static USED: AtomicUsize = AtomicUsize::new(0);
/// Threads that open or close one just now.
static CHANGING: AtomicUsize = AtomicUsize::new(0);

/// Waits until no fork is under way; none begins before the value is dropped.
#[derive(Debug)]
pub(super) struct Change;

impl Change {
    /// `busy` tells whether a fork is under way, `pause` waits a little.
    pub(super) fn begin(busy: impl Fn() -> bool, pause: impl Fn()) -> Self {
        loop {
            CHANGING.fetch_add(1, SeqCst);
            if !busy() {
                return Self;
            }
            CHANGING.fetch_sub(1, SeqCst);
            pause();
        }
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        CHANGING.fetch_sub(1, SeqCst);
    }
}

/// True while a descriptor comes or goes.
pub(super) fn are_changing() -> bool {
    CHANGING.load(SeqCst) > 0
}

fn place(fd: RawFd) -> Option<(usize, u64)> {
    let fd = usize::try_from(fd).ok().filter(|&fd| fd < MOST)?;
    Some((fd / WORD, 1 << (fd % WORD)))
}

/// This number is a userfaultfd's from now on.
pub(super) fn note(fd: RawFd) {
    if let Some((word, bit)) = place(fd) {
        OURS[word].fetch_or(bit, SeqCst);
        USED.fetch_max(word + 1, SeqCst);
    }
}

/// This number is about to be free.
pub(super) fn forget(fd: RawFd) {
    if let Some((word, bit)) = place(fd) {
        OURS[word].fetch_and(!bit, SeqCst);
    }
}

/// For a child: takes every number out of the table. Neither locks nor allocates.
pub(super) fn take_all(mut take: impl FnMut(RawFd)) {
    // The threads that were changing something are not in the child.
    CHANGING.store(0, SeqCst);
    for (word, bits) in OURS.iter().enumerate().take(USED.load(SeqCst)) {
        let mut bits = bits.swap(0, SeqCst);
        while bits != 0 {
            take((word * WORD) as RawFd + bits.trailing_zeros() as RawFd);
            bits &= bits - 1;
        }
    }
}
