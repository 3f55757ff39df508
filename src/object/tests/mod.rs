//! Tests of the core that look inside: its whole state is canonicalised and explored.

mod asked;
mod canonical;
mod events;
mod explore;
mod surroundings;
