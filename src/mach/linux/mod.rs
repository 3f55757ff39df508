//! The Linux kernel: userfaultfd for the faults, a memfd for the pages of each object.
//!
//! | file | what |
//! |---|---|
//! | `host` | makes objects; options |
//! | `object` | one object: the protocol's calls and upcalls |
//! | `client` | mappings, and copies that never fault |
//! | `faults`, `supply`, `returns`, `evict`, `poison` | what the object does, by subject |
//! | `page_table`, `waits` | what is known of each page; who waits for it |
//! | `spaces`, `space`, `messages` | address spaces, their mappings, and their messages |
//! | `budget` | the bound, shared by the objects of a host |
//! | `reissue` | says everything again to a pager that knows nothing |
//! | `forks` | who reads messages while a thread forks |
//! | `journal`, `inherit`, `attachment` | objects that outlive their pager's process; clients elsewhere |
//! | `uffd`, `message`, `view`, `memory`, `journal`, `forks` | the only files that say `unsafe` |
//! | `probe` | what the machine can do |

mod attachment;
mod budget;
mod client;
mod evict;
mod faults;
mod forks;
mod host;
mod inherit;
mod journal;
mod limits;
mod memory;
mod message;
mod messages;
mod object;
mod page_table;
mod poison;
mod probe;
mod reissue;
mod returns;
mod space;
mod spaces;
mod supply;
mod uffd;
mod view;
mod waits;

pub use attachment::{Attachment, address_space_ended, is_userfaultfd};
pub use host::{LinuxHost, LinuxOptions};
pub use inherit::{Lasting, RemoteClient, RemoteClients};
pub use limits::lift_limits;
