//! Take-over: the process that serves pages can be killed, and its clients do not notice.
//!
//! Three roles, each a process:
//!
//! - the **keeper** holds a duplicate of everything that must outlive a pager: the memory and the
//!   journal of each object, the userfaultfd of each client. It does nothing else ([`Keeper`]).
//! - the **pager process** serves an object. It makes memory and journal if the keeper has none, and
//!   takes them over otherwise ([`Host`], a kernel host for a [`Bucket`](crate::Bucket)).
//! - **clients** map an object and touch it ([`Client`]).
//!
//! The protocol is in `docs/takeover.md`; `wire` is its letter.
//!
//! Deliberately absent: a keeper that dies is not replaced (the pager goes on and says so); clients are
//! trusted as far as the permissions of the keeper's socket reach.

mod client;
mod error;
mod host;
mod keeper;
mod link;
mod wire;

pub use client::{Client, RemoteMapping};
pub use error::TakeoverError;
pub use host::Host;
pub use keeper::{Keeper, Notice};
pub use wire::{Refusal, Shape};
