//! Running programs: cargo above all.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::failure::Failure;

/// The features that build and are tested on Linux.
pub(crate) const FEATURES: &str = "--all-features";

/// The workspace's directory.
pub(crate) fn workspace() -> PathBuf {
    let xtask = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().map_or_else(|| xtask.clone(), PathBuf::from)
}

/// The cargo that runs us, in the workspace, without standard input.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(workspace())
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end; an exit code other than 0 is a failure.
pub(crate) fn succeed(what: &str, command: &mut Command) -> Result<(), Failure> {
    eprintln!("==> {what}");
    let status = command
        .status()
        .map_err(|error| Failure::new(format!("{what}: cannot start: {error}")))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("{what}: {status}; the lines above say why")))
    }
}
