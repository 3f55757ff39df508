//! The program `actor-pager`.

fn main() {}
