//! `cargo xtask takeover`: kills pager processes under load; ends with a line that begins `lost: 0`.

use crate::cargo::{FEATURES, cargo, succeed};
use crate::failure::Failure;

/// Builds the program and has it run the drill; `arguments` go to `actor-pager takeover`.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let mut command = cargo(&[
        "run",
        "--quiet",
        "--package",
        "actor-pager",
        FEATURES,
        "--",
        "takeover",
    ]);
    command.args(arguments);
    succeed("kill pager processes under load", &mut command)
}
