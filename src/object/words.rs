//! Mach's words, shared by every layer: protections, return modes, copy strategies, page errors.

use std::fmt;

/// A set of accesses (`vm_prot_t`), in the bits Mach uses on the wire.
///
/// As a `lock_value` it names the accesses that are *prohibited*.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Prot(u32);

impl Prot {
    /// No access (`VM_PROT_NONE`).
    pub const NONE: Self = Self(0);
    /// Reading (`VM_PROT_READ`).
    pub const READ: Self = Self(1);
    /// Writing (`VM_PROT_WRITE`).
    pub const WRITE: Self = Self(2);
    /// Reading and writing; what a write fault asks for.
    pub const READ_WRITE: Self = Self(3);
    /// Leave the lock as it is (`VM_PROT_NO_CHANGE`).
    pub const NO_CHANGE: Self = Self(8);

    /// The set with these bits, as they come from the wire.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The bits, as they go to the wire.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// True if every access of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True if writing is in the set.
    pub const fn writes(self) -> bool {
        self.contains(Self::WRITE)
    }
}

impl fmt::Debug for Prot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("none"),
            1 => f.write_str("read"),
            2 => f.write_str("write"),
            3 => f.write_str("read|write"),
            8 => f.write_str("no_change"),
            bits => write!(f, "prot({bits:#x})"),
        }
    }
}

/// Which pages a lock request makes the kernel return (`memory_object_return_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShouldReturn {
    /// None (`MEMORY_OBJECT_RETURN_NONE`).
    None,
    /// The dirty ones (`MEMORY_OBJECT_RETURN_DIRTY`).
    Dirty,
    /// The dirty and the precious ones (`MEMORY_OBJECT_RETURN_ALL`).
    All,
}

/// How the kernel copies a memory object (`memory_object_copy_strategy_t`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CopyStrategy {
    /// A copy is made at once (`MEMORY_OBJECT_COPY_NONE`).
    #[default]
    None,
    /// The pager is asked to make the copy (`MEMORY_OBJECT_COPY_CALL`).
    Call,
    /// Copy on write (`MEMORY_OBJECT_COPY_DELAY`).
    Delay,
    /// The object is temporary and need not be copied (`MEMORY_OBJECT_COPY_TEMPORARY`).
    Temporary,
}

/// What went wrong with a page, in the kinds a client can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PageError {
    /// The store could not read or write (EIO); every other error of a store counts as this.
    #[error("input/output error (EIO)")]
    Io,
    /// No space left in the store (ENOSPC).
    #[error("no space left in the store (ENOSPC)")]
    NoSpace,
    /// The quota of the owner is used up (EDQUOT).
    #[error("quota exceeded (EDQUOT)")]
    Quota,
}

/// The name of a port as the pager knows it: a control port, a name port, a reply port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortName(pub u64);

impl PortName {
    /// No port (`MACH_PORT_NULL`).
    pub const NULL: Self = Self(0);

    /// True for every port but the null port.
    pub const fn is_valid(self) -> bool {
        self.0 != 0
    }
}
