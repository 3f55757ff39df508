//! The actors: one per pager, one supervisor per bucket, a pool of blocking ones for the store.
//!
//! This is the only folder that names actix.

mod attempts;
mod cell;
mod courtesy;
pub mod engine;
mod events;
mod flight;
mod health;
mod house;
mod line;
mod local;
mod messages;
mod pager;
mod placement;
mod policy;
mod pool;
mod registry;
mod spin;
mod supervisor;
mod thrift;
mod work;

pub(crate) use cell::PagerCell;
pub(crate) use house::{House, HousePlan};
pub(crate) use local::{block_on, is_bucket_thread};
pub(crate) use messages::{BucketCall, Control, Reply, Request, UserCall};
pub(crate) use pager::PagerActor;
pub(crate) use registry::{Registry, SharedRegistry};
pub(crate) use work::{PagerParts, PagerWork};

pub use events::{BucketEvent, EventKind, Events};
pub use placement::Placement;
pub use policy::{Backoff, FailurePolicy, Intensity};
pub use registry::PagerId;
