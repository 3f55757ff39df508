//! The C interface: `mach.h`, `hurd/ports.h` and `hurd/pager.h` over [`Bucket`](crate::Bucket) and
//! [`Pager`](crate::Pager).
//!
//! The headers in `include/` say what each function does. Handles are looked up in tables, never
//! followed, so that one that is no longer good is an error and not a crash.

mod backend;
mod bucket;
mod callbacks;
mod codes;
mod lent;
mod mach_h;
mod mappings;
mod pager;
mod pager_h;
mod ports;
mod ports_h;
mod raw;
mod table;
mod waiting;
