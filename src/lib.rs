//! An actor-model external pager: you supply the pages, threads touch real memory.
//!
//! A [`Bucket`] starts threads and sets the bound on resident memory. [`Bucket::create_pager`] puts a
//! [`Backend`](backend::Backend), your store, behind a [`Pager`]; [`Pager::map`] gives a [`Mapping`]:
//! real addresses, whose pages come from the store when they are touched and go back to it when they
//! were changed. Errors of the store are errors of pages: typed, healing, each told exactly once.
//!
//! ```
//! use actor_pager::backend::MemoryBackend;
//! use actor_pager::mach::sim::{SimHost, SimOptions};
//! use actor_pager::{Bucket, PagerOptions, Protection, Wait};
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A simulated kernel runs everywhere. Without `.kernel(…)`, it is the system's own, with real
//! // addresses: `mapping.as_ptr()`.
//! let kernel = Arc::new(SimHost::new(SimOptions::default()));
//! let bucket = Bucket::builder().kernel(kernel).start()?;
//! let pager = bucket.create_pager(MemoryBackend::new(1 << 20), PagerOptions::default())?;
//! let mapping = pager.map_all_blocking(Protection::ReadWrite)?;
//! mapping.write_at(5000, b"hello")?;
//! pager.sync_blocking(Wait::Yes)?;
//! assert_eq!(pager.backend().read(5000, 5), b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! | module | what is in it |
//! |---|---|
//! | [`backend`] | the trait a store implements, and ready-made stores |
//! | [`error`] | the errors of each call |
//! | [`object`] | the protocol of one memory object, pure; words, ranges |
//! | [`mach`] | the kernels: Linux's, and a simulated one for tests |
//! | [`actors`] | what drives an object: one actor per pager, a supervisor, a pool |
//! | [`plan`] | access plans that are recorded, saved and loaded again |
//! | `takeover` | pager processes that can be killed and succeeded, and their keeper (Linux) |

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
#[cfg(target_os = "linux")]
pub mod takeover;

pub use actors::engine::{BackPressure, UnsavedLimit, UnsavedPages};
pub use actors::{Backoff, BucketEvent, EventKind, Events, FailurePolicy, Intensity, PagerId, Placement};
pub use bucket::{Bucket, BucketBuilder};
pub use mach::KernelNews;
pub use mach::stream::Advice;
pub use mapping::{Mapping, Protection};
pub use pager::{AnyPager, Pager, PagerOptions, Wait, WeakPager};
pub use plan::{Plan, PlanError};
pub use port::Port;

/// The example in the README is built with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
