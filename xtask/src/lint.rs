//! `cargo xtask lint`: formatting, clippy, documentation, dependencies.

use crate::cargo::{FEATURES, cargo, succeed};
use crate::dependencies;
use crate::failure::Failure;

/// Runs every check, also after one failed, so that one run tells all.
pub(crate) fn run() -> Result<(), Failure> {
    let outcomes = [formatting(), clippy(), documentation(), dependencies::check()];
    let mut failures = 0;
    for failure in outcomes.into_iter().filter_map(Result::err) {
        eprintln!("error: {failure}");
        failures += 1;
    }
    match failures {
        0 => Ok(()),
        1 => Err(Failure::new("one check failed")),
        n => Err(Failure::new(format!("{n} checks failed"))),
    }
}

fn formatting() -> Result<(), Failure> {
    succeed("formatting", &mut cargo(&["fmt", "--all", "--check"]))
}

fn clippy() -> Result<(), Failure> {
    let arguments = [
        "clippy",
        "--workspace",
        "--all-targets",
        FEATURES,
        "--",
        "-D",
        "warnings",
    ];
    succeed("clippy", &mut cargo(&arguments))
}

fn documentation() -> Result<(), Failure> {
    let mut command = cargo(&["doc", "--workspace", "--no-deps", FEATURES]);
    succeed("documentation", command.env("RUSTDOCFLAGS", "-D warnings"))
}
