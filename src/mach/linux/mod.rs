//! The Linux kernel: userfaultfd for the faults, a memfd for the pages of each object.
//!
//! | file | what |
//! |---|---|
//! | `host` | makes objects; options |
//! | `object` | one object: the protocol's calls and upcalls |
//! | `client` | mappings, and copies that never fault |
//! | `faults`, `supply`, `returns`, `evict`, `poison` | what the object does, by subject |
//! | `clean` | what is written back ahead of need |
//! | `copies`, `copy` | private copies, on write or at once |
//! | `page_table`, `waits` | what is known of each page; who waits for it |
//! | `spaces`, `space`, `messages` | address spaces, their mappings, and their messages |
//! | `budget`, `shortage` | the bound, shared by the objects of a host; what happens when the system has less |
//! | `reissue` | says everything again to a pager that knows nothing |
//! | `forks`, `descriptors` | who reads messages while a thread forks; what children must not inherit |
//! | `journal`, `inherit`, `attachment` | objects that outlive their pager's process; clients elsewhere |
//! | `uffd`, `message`, `view`, `memory`, `journal`, `forks`, `pagemap` | the only files that say `unsafe` |
//! | `huge` | memory in huge pages |
//! | `pressure` | who tells that memory is scarce |
//! | `probe` | what the machine can do |
//! | `tracking`, `pagemap`, `replace` | which pages were written to, where no fault tells |
//!
//! # What clients may do to their mappings
//!
//! `mremap`, `munmap` and `fork` raise events that the kernel waits for, so that the table of mappings is
//! always true. `madvise` raises none, on purpose: `MADV_DONTNEED` loses nothing of a shared mapping, and
//! a page that `MADV_REMOVE` punched out is missed at the next touch and asked for again. So error
//! markers can be dropped without waiting for an event of our own.
//!
//! Forking is safe while pages are served: see `forks`. Children get the mappings where
//! [`LinuxOptions::inherit`] asks for it and there is the privilege for fork events (`CAP_SYS_PTRACE`).
//! Otherwise they do not get them at all; the alternative is zeros.
//!
//! # Copies
//!
//! A private copy has a memfd, an address space table and a userfaultfd of its own, registered for missing
//! faults alone, and is filled by writing to the memfd. See `copies` for how the object's pages are kept
//! still. Its pages are no frames of the budget. Forked children do not get it.
//!
//! # What is deliberately absent
//!
//! * Huge pages for objects of smaller pages: see `huge`.
//! * Asynchronous dirty tracking under a bound, or where forked children get the mappings: see
//!   [`DirtyTracking`].
//! * Read locks: a lock that prohibits reading is kept as one that prohibits writing.
//! * A read-only mapping that cannot be made writable: `mprotect` by the client is not refused, but its
//!   writes are tracked and written back like any others.

mod attachment;
mod budget;
mod calls;
mod cgroup;
mod clean;
mod client;
mod copies;
mod copy;
mod descriptors;
mod end;
mod evict;
mod faults;
mod forks;
mod host;
mod huge;
mod inherit;
mod journal;
mod kill_point;
mod limits;
mod memory;
mod message;
mod messages;
mod object;
mod page_table;
mod pagemap;
mod pins;
mod poison;
mod pressure;
mod probe;
mod reissue;
mod replace;
mod returns;
mod share;
mod shortage;
mod space;
mod spaces;
mod supply;
mod tracking;
mod uffd;
mod view;
mod waits;

pub use attachment::{Attachment, address_space_ended, is_userfaultfd};
pub use cgroup::control_group_share;
pub use host::{DirtyTracking, LinuxHost, LinuxOptions};
pub use inherit::{Lasting, RemoteClient, RemoteClients};
pub use limits::lift_limits;
