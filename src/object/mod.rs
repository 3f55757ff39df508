//! One memory object, pure: no actor, no operating system, no clock, no thread, no I/O.
//!
//! A [`MemoryObject`] takes one [`Event`] at a time and says what is to be done as [`Effect`]s.
//! Whoever drives it (an actor, a simulation, a replayed trace) carries the effects out in order.

mod attributes;
mod backend_events;
mod batch;
mod effect;
mod event;
mod failures;
mod held;
mod invariants;
mod kernel_events;
mod lock;
mod lock_requests;
mod memory_object;
mod number_hasher;
mod ops;
mod options;
mod page;
mod page_events;
mod page_map;
mod range;
mod references;
mod serve;
mod session;
#[cfg(test)]
mod tests;
mod user_events;
mod waiting;
mod words;

pub use attributes::Attributes;
pub use effect::{Answer, Effect, FailedPages, PageFate, Refusal};
pub use event::{Event, LockKind, PagesSupplied};
pub use memory_object::{KeptPage, MemoryObject, ObjectState};
pub(crate) use number_hasher::NumberHasher;
pub use options::{FailedPagePolicy, ObjectOptions};
pub use page::{Page, PageState};
pub use range::{PageIndex, PageRange, PageSize, RangeError};
pub use references::{Consequence, NoSuchReference, Reference, References};
pub use words::{CopyStrategy, PageError, PortName, Prot, ShouldReturn};

/// Page memory that somebody holds for the core: a run of pages, named by whoever drives the core.
///
/// Every page of it is named in exactly one `DataSupply`, `Release` or [`PageFate::HandedBack`] in
/// the end, or all of it in one `ReleaseWhole`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DataId(pub u32);

/// A backend operation in flight, named by the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(pub u64);

/// A user's request, named by whoever drives the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestToken(pub u64);
