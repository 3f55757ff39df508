//! An actor-model external pager: you supply the pages, threads touch real memory.

pub mod backend;
pub mod mach;
pub mod object;
pub mod plan;
