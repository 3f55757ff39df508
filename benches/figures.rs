//! `cargo bench --bench figures`: all rows in full; results go to `target/bench/figures.json`.
//!
//! Arguments are passed on to `actor-pager bench`, so `cargo bench --bench figures -- --quick` works.

use std::error::Error;
use std::path::Path;
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let results = folder.join("figures.json");
    // Cargo adds `--bench`, which is for harnesses with tests in them.
    let passed_on = std::env::args_os().skip(1).filter(|arg| arg != "--bench");
    let status = Command::new(env!("CARGO_BIN_EXE_actor-pager"))
        .arg("bench")
        .args(passed_on)
        .arg("--save")
        .arg(&results)
        .arg("--folder")
        .arg(&folder)
        .status()?;
    if !status.success() {
        return Err(format!("the bench ended with {status}").into());
    }
    Ok(())
}
