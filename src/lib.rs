//! An actor-model external pager: you supply the pages, threads touch real memory.

pub mod actors;
pub mod backend;
mod bucket;
#[cfg(all(feature = "capi", target_os = "linux", target_pointer_width = "64"))]
mod capi;
pub mod error;
pub mod mach;
mod mapping;
pub mod object;
mod pager;
pub mod plan;
mod port;

pub use actors::engine::{BackPressure, UnsavedLimit, UnsavedPages};
pub use actors::{Backoff, BucketEvent, EventKind, Events, FailurePolicy, Intensity, PagerId};
pub use bucket::{Bucket, BucketBuilder};
pub use mach::stream::Advice;
pub use mapping::{Mapping, Protection};
pub use pager::{AnyPager, Pager, PagerOptions, Wait, WeakPager};
pub use plan::{Plan, PlanError};
pub use port::Port;
