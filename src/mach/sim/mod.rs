//! A simulated kernel: deterministic from a seed, true to GNU Mach, with an oracle inside.
//!
//! A [`SimHost`] makes objects. The pager gets the [`SimObject`], which is a
//! [`Kernel`](super::Kernel) and a [`Client`](super::Client); tests and users play the threads that
//! touch pages with a [`SimClient`], in a form that polls (for deterministic simulation) and in one
//! that blocks (for real threads). No clock, no thread and no chance takes part: the same seed and
//! the same calls give the same upcalls.
//!
//! Whatever a pager supplies is compared with what it was given before; see
//! [`SimClient::mismatches`].

mod access;
mod call;
mod client;
mod copy;
mod copy_client;
mod fault;
mod host;
mod loan;
mod machine;
mod object;
mod options;
mod oracle;
mod page;
mod pager_side;
mod reissue;
mod returns;
mod rights;
mod rng;
mod supply;

pub use access::AccessError;
pub use client::{SimAttributes, SimClient, SimMapping, SimPage};
pub use host::SimHost;
pub use options::SimOptions;
pub use oracle::Mismatch;
pub use pager_side::SimObject;
pub use rng::SimRng;
