//! `cargo xtask simulate`: many seeded lives of a pager under the simulated kernel, every byte checked.

use crate::cargo::{cargo, succeed};
use crate::failure::Failure;

/// Thirty million steps: more than a minute on two cores.
const ALL: &[&str] = &["--seeds", "100000", "--steps", "300"];

/// Builds the simulation with optimizations and runs it; `arguments` go to it instead of [`ALL`].
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let mut command = cargo(&["run", "--quiet", "--release", "--package", "actor-pager"]);
    command.args(["--example", "simulate", "--"]);
    if arguments.is_empty() {
        command.args(ALL);
    } else {
        command.args(arguments);
    }
    succeed("simulate lives of a pager", &mut command)
}
