//! The system calls of the raw handlers, each a thin and safe wrapper.

mod affinity;
mod map;
mod memfd;
mod target;
mod uffd;

pub(crate) use affinity::{Cpus, deal, here};
pub(crate) use map::Map;
pub(crate) use memfd::{Memfd, TempFile};
pub(crate) use target::Target;
pub(crate) use uffd::{Fault, Mode, Uffd};

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;
