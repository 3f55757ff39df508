//! One memory object, pure: no actor, no operating system, no clock, no thread, no I/O.
//!
//! A [`MemoryObject`] takes one [`Event`] at a time and says what is to be done as [`Effect`]s.
//! Whoever drives it (an actor, a simulation, a replayed trace) carries the effects out in order.

mod effect;
mod event;
mod range;
mod words;

pub use effect::{Answer, Effect, FailedPages, Refusal};
pub use event::{Event, LockKind, PagesSupplied};
pub use range::{PageIndex, PageRange, PageSize, RangeError};
pub use words::{CopyStrategy, PageError, PortName, Prot, ShouldReturn};

/// Page memory that somebody holds for the core: a run of pages, named by whoever drives the core.
///
/// Every page of it is named in exactly one `DataSupply` or `Release` in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DataId(pub u32);

/// A backend operation in flight, named by the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(pub u32);

/// A user's request, named by whoever drives the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestToken(pub u64);
