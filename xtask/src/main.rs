//! The project's own commands: `cargo xtask test` and its siblings.

fn main() {}
