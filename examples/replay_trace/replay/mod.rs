//! Replays recordings of the original library through `MemoryObject`, step by step.

mod answers;
mod calls;
mod canon;
mod copy;
mod difference;
mod effects;
mod ending;
mod jobs;
mod kernel_rules;
mod messages;
mod pager_sim;
mod parted;
mod rules;
mod store_rules;
mod trace;
mod verdict;
mod world;

pub(crate) use verdict::replay;
