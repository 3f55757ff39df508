//! `cargo xtask explore`: every state that the core can reach with few pages.

use crate::cargo::{cargo, succeed};
use crate::failure::Failure;

/// Builds the core's explorations with optimizations and runs them all; each fails unless its space
/// closes. `arguments` go to the tests.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let mut command = cargo(&[
        "test",
        "--quiet",
        "--release",
        "--package",
        "actor-pager",
        "--lib",
    ]);
    command.args(["object::tests::explore", "--", "--nocapture"]);
    command.args(arguments);
    succeed("explore every state of the core", &mut command)
}
