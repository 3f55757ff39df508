//! Tests of the core that look inside: its whole state is canonicalised and explored.

mod canonical;
mod explore;
mod surroundings;
