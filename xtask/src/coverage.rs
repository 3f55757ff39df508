//! `cargo xtask coverage`: how many lines of the core its tests run.

use crate::cargo::{cargo, succeed, workspace};
use crate::failure::Failure;

/// The tests that are counted: those of the core alone.
const TESTS: [&str; 5] = [
    "object_rules",
    "object_table",
    "object_random",
    "object_memory",
    "golden_traces",
];

/// Builds the tests of the core with the compiler's instrumentation, runs them, and lists each file with
/// its lines; fails under 95 of a hundred. `arguments` go to `cargo tarpaulin`.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let tools = workspace().join("target/tools");
    let mut install = cargo(&["install", "--quiet", "--locked", "cargo-tarpaulin", "--root"]);
    install.arg(&tools);
    succeed("install cargo-tarpaulin, if it is not there", &mut install)?;
    let mut command = std::process::Command::new(tools.join("bin/cargo-tarpaulin"));
    command
        .current_dir(workspace())
        .env("OBJECT_SEEDS", "100")
        .args(["tarpaulin", "--engine", "llvm", "--skip-clean"])
        .args(["--target-dir", "target/coverage"])
        .args(["--include-files", "src/object/*"])
        .args(["--out", "Json", "--output-dir", "target/coverage"])
        .args(["--fail-under", "95"]);
    for test in TESTS {
        command.args(["--test", test]);
    }
    command.args(arguments);
    succeed("run the core's tests and count their lines", &mut command)
}
