//! Replays recordings of the original library: `cargo run --example replay_trace -- FILE…`.
//!
//! One line per trace: `pass NAME`, `pass NAME (differs by design: ROWS)` or `differs NAME: WHERE`.
//! Without arguments the recordings under `tests/data/traces` are replayed. The exit code is 0 only
//! if every trace passes. The rows are those of `docs/differences.md`.

mod replay;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut files: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if files.is_empty() {
        files = embedded();
    }
    let failed = files.iter().filter(|file| !report(file)).count();
    println!("{} of {} traces pass", files.len() - failed, files.len());
    if failed == 0 && !files.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The recordings that come with the crate.
fn embedded() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/traces");
    let mut files = Vec::new();
    for folder in ["handmade", "random"] {
        let entries = std::fs::read_dir(root.join(folder))
            .into_iter()
            .flatten()
            .flatten();
        files.extend(
            entries
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|end| end == "json")),
        );
    }
    files.sort();
    files
}

/// Replays one file and prints its line; true if it passes.
fn report(file: &Path) -> bool {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            println!("differs {}: the file cannot be read: {error}", file.display());
            return false;
        }
    };
    match replay::replay(&text) {
        Err(error) => println!("differs {}: {error}", file.display()),
        Ok(outcome) => match outcome.differs {
            Some(differs) => println!("differs {}: {differs}", outcome.name),
            None if outcome.rows.is_empty() => {
                println!("pass {}", outcome.name);
                return true;
            }
            None => {
                let rows: Vec<&str> = outcome.rows.iter().copied().collect();
                println!("pass {} (differs by design: {})", outcome.name, rows.join(", "));
                return true;
            }
        },
    }
    false
}
