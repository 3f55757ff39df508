//! The actors: one per pager, one supervisor per bucket, a pool of blocking ones for the store.
//!
//! This is the only folder that names actix.

pub mod engine;
mod house;
mod local;
mod messages;
mod pager;
mod pool;
mod registry;
mod supervisor;

pub(crate) use house::{House, HousePlan};
pub(crate) use local::{block_on, is_bucket_thread};
pub(crate) use messages::{BucketCall, Control, Reply, Request, UserCall};
pub(crate) use pager::{PagerActor, PagerAddress, PagerParts};
pub(crate) use registry::{Entry, Registry, SharedRegistry};

pub use registry::PagerId;
