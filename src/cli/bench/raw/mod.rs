//! The least that could do the same work: one thread that reads a userfaultfd, and a few lines for
//! each fault. Nothing here uses the library.

mod evict;
mod fill;
mod kernel;
mod pool;
mod region;
mod server;
mod tracked;

pub(crate) use evict::Evicting;
pub(crate) use fill::{FromMemory, MinorFaults, RunsFromFile};
pub(crate) use kernel::FileMapping;
pub(crate) use pool::FromDisk;
pub(crate) use tracked::{FirstWrites, PlainWrites};
