//! One page: its states, what may be trusted in each, and who makes each transition.
//!
//! ```text
//!            start_read            answer_read               start_unlock
//!   Absent ------------> Filling ---------------> Resident <--------------> Unlocking
//!     ^  ^                  |  (fails: Absent)    |  ^  ^     end_unlock
//!     |  +------------------+                     |  |  |
//!     |     evicted, confirm_flush                |  |  +---- supply_kept ----+
//!     +-------------------------------------------+  |                        |
//!     |                       start_write |          | page_written           |
//!     |                                   v          | (kernel kept a copy)   |
//!     +------------------------------- Returning ----+                        |
//!        page_written (no copy kept)      |   ^                               |
//!                         page_not_written|   | start_write (retry, newer data)
//!                                         v   |                               |
//!                                        Failed ------------------------------+
//! ```
//!
//! An offered page goes to `Resident` from `Absent` alone (`offer_page`); a flush takes a
//! `Failed` page to `Absent` (`discard_kept`); a shutdown hands its data back (`hand_back`).

use super::PageError;

/// The state a page is in: always exactly one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PageState {
    /// Neither the kernel nor the pager holds it. Trust: the store has the newest data.
    #[default]
    Absent,
    /// A read is in flight. Trust: the store has the newest data; the kernel waits.
    Filling {
        /// The kernel may have been answered already, by an offer.
        doubted: bool,
    },
    /// It was supplied. Trust: if the kernel no longer holds it, the store has the newest data,
    /// unless `unsaved`; then the kernel holds it, as precious.
    Resident {
        /// It was supplied write-locked and no unlock was granted since.
        write_locked: bool,
        /// The store does not have this data: it must be written when it comes back, clean or not.
        unsaved: bool,
        /// A flush of it is on its way to the kernel.
        flushing: bool,
        /// It was supplied though the kernel may not have waited for it, because a user offered it or
        /// the request had perhaps been answered, and the kernel has not returned it since. It was
        /// supplied as precious: a request that comes now was sent before the kernel had it.
        offered: bool,
    },
    /// An unlock is in flight. Trust: as for `Resident`, write-locked.
    Unlocking {
        /// As for `Resident`.
        unsaved: bool,
        /// As for `Resident`.
        flushing: bool,
        /// As for `Resident`.
        offered: bool,
    },
    /// A write of data that the kernel returned is in flight. Trust: the newest data is in the
    /// write's memory, or in a return that waits behind it.
    Returning {
        /// The kernel kept a copy, clean in its eyes, which it may drop at any time.
        kernel_copy: bool,
        /// A flush of that copy is on its way to the kernel.
        flushing: bool,
        /// That the kernel gave the page up was told already (`pager_notify_evict`).
        told: bool,
    },
    /// The write failed. Trust: the newest data is in memory that the pager keeps.
    Failed {
        /// The kernel kept a copy, clean in its eyes, which it may drop at any time; otherwise that
        /// it gave the page up was told.
        kernel_copy: bool,
    },
}

impl PageState {
    /// The state of a page that was supplied without a lock and is in the store.
    pub(crate) const CLEAN: Self = Self::Resident {
        write_locked: false,
        unsaved: false,
        flushing: false,
        offered: false,
    };

    /// True while an operation is in flight: whatever comes waits its turn.
    pub fn is_busy(self) -> bool {
        match self {
            Self::Filling { .. } | Self::Unlocking { .. } | Self::Returning { .. } => true,
            Self::Absent | Self::Resident { .. } | Self::Failed { .. } => false,
        }
    }

    /// True if the kernel holds the only copy of the newest data.
    pub fn is_unsaved(self) -> bool {
        match self {
            Self::Resident { unsaved, .. } | Self::Unlocking { unsaved, .. } => unsaved,
            Self::Absent | Self::Filling { .. } | Self::Returning { .. } | Self::Failed { .. } => false,
        }
    }

    /// True if the kernel was given it as precious and did not return it: it never drops it silently.
    pub(crate) fn is_held(self) -> bool {
        matches!(
            self,
            Self::Resident { offered: true, .. }
                | Self::Resident {
                    unsaved: true,
                    flushing: false,
                    ..
                }
        )
    }

    /// The same state with a flush of the kernel's copy under way.
    pub(crate) fn with_flush(self) -> Self {
        match self {
            Self::Resident {
                write_locked,
                unsaved,
                offered,
                ..
            } => Self::Resident {
                write_locked,
                unsaved,
                flushing: true,
                offered,
            },
            Self::Unlocking { unsaved, offered, .. } => Self::Unlocking {
                unsaved,
                flushing: true,
                offered,
            },
            Self::Returning {
                kernel_copy, told, ..
            } => Self::Returning {
                kernel_copy,
                flushing: kernel_copy,
                told,
            },
            Self::Absent | Self::Filling { .. } | Self::Failed { .. } => self,
        }
    }

    /// The same state, where the store's data is good enough.
    pub(crate) fn saved(self) -> Self {
        match self {
            Self::Resident {
                write_locked,
                flushing,
                offered,
                ..
            } => Self::Resident {
                write_locked,
                unsaved: false,
                flushing,
                offered,
            },
            Self::Unlocking {
                flushing, offered, ..
            } => Self::Unlocking {
                unsaved: false,
                flushing,
                offered,
            },
            Self::Absent | Self::Filling { .. } | Self::Returning { .. } | Self::Failed { .. } => self,
        }
    }

    fn code(self) -> u16 {
        let flags = |a: bool, b: bool, c: bool| u16::from(a) << 3 | u16::from(b) << 4 | u16::from(c) << 5;
        match self {
            Self::Absent => 0,
            Self::Filling { doubted } => 1 | flags(doubted, false, false),
            Self::Resident {
                write_locked,
                unsaved,
                flushing,
                offered,
            } => 2 | flags(write_locked, unsaved, flushing) | u16::from(offered) << 6,
            Self::Unlocking {
                unsaved,
                flushing,
                offered,
            } => 3 | flags(offered, unsaved, flushing),
            Self::Returning {
                kernel_copy,
                flushing,
                told,
            } => 4 | flags(kernel_copy, told, flushing),
            Self::Failed { kernel_copy } => 5 | flags(kernel_copy, false, false),
        }
    }

    fn from_code(code: u16) -> Self {
        let flag = |bit: u16| code & 1 << bit != 0;
        match code & 7 {
            1 => Self::Filling { doubted: flag(3) },
            2 => Self::Resident {
                write_locked: flag(3),
                unsaved: flag(4),
                flushing: flag(5),
                offered: flag(6),
            },
            3 => Self::Unlocking {
                unsaved: flag(4),
                flushing: flag(5),
                offered: flag(3),
            },
            4 => Self::Returning {
                kernel_copy: flag(3),
                told: flag(4),
                flushing: flag(5),
            },
            5 => Self::Failed { kernel_copy: flag(3) },
            _ => Self::Absent,
        }
    }
}

/// The codes of `Filling`, `Unlocking` and `Returning`.
const BUSY_CODES: u16 = 1 << 1 | 1 << 3 | 1 << 4;

/// All that is remembered of one page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Page {
    /// Its state.
    pub state: PageState,
    /// Its last failure; none after a success (`pager_get_error`).
    pub error: Option<PageError>,
    /// An unlock was refused: what the next request for write access gets, once.
    pub refusal: Option<PageError>,
}

impl Page {
    /// The page in two bytes; 0 for a page that nothing is known of.
    pub(crate) fn pack(self) -> u16 {
        self.state.code() | error_code(self.error) << 8 | error_code(self.refusal) << 10
    }

    /// True if an operation is in flight on a packed page.
    pub(crate) fn is_busy_packed(bits: u16) -> bool {
        BUSY_CODES & 1 << (bits & 7) != 0
    }

    #[inline]
    pub(crate) fn unpack(bits: u16) -> Self {
        if bits & !7 == 0 && bits & 7 < 2 {
            // Absent or filling, and nothing else is known: what most faults find.
            let state = if bits == 0 {
                PageState::Absent
            } else {
                PageState::Filling { doubted: false }
            };
            return Self {
                state,
                ..Self::default()
            };
        }
        Self::unpack_all(bits)
    }

    fn unpack_all(bits: u16) -> Self {
        Self {
            state: PageState::from_code(bits),
            error: error_from(bits >> 8),
            refusal: error_from(bits >> 10),
        }
    }
}

fn error_code(error: Option<PageError>) -> u16 {
    match error {
        None => 0,
        Some(PageError::Io) => 1,
        Some(PageError::NoSpace) => 2,
        Some(PageError::Quota) => 3,
    }
}

fn error_from(bits: u16) -> Option<PageError> {
    match bits & 3 {
        1 => Some(PageError::Io),
        2 => Some(PageError::NoSpace),
        3 => Some(PageError::Quota),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_that_can_be_packed_comes_back_the_same() {
        let mut seen = std::collections::BTreeSet::new();
        for bits in 0..1 << 12 {
            let page = Page::unpack(bits);
            assert_eq!(Page::unpack(page.pack()), page);
            assert_eq!(Page::is_busy_packed(page.pack()), page.state.is_busy());
            seen.insert(page.pack());
        }
        // 1 + 2 + 16 + 8 + 8 + 2 states, with 4 errors and 4 refusals each.
        assert_eq!(seen.len(), 37 * 16);
        assert_eq!(Page::default().pack(), 0);
    }
}
