//! Replays recordings of the original library through `MemoryObject`, step by step.

mod answers;
mod canon;
mod copy;
mod effects;
mod ending;
mod jobs;
mod messages;
mod rules;
mod trace;
mod verdict;
mod world;

pub use verdict::{Outcome, replay};
