//! A short run of the chaos load: real memory over stores that fail in every way.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::path::PathBuf;
use std::process::Command;

/// The example's program, which `cargo test` builds next to the tests'.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().with_file_name("examples").join("chaos")
}

#[test]
fn five_seconds_of_failing_stores_lose_nothing() {
    let run = Command::new(program())
        .args(["--seconds", "5", "--seed", "7", "--restarts", "0"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&run.stdout);
    let last = text.lines().last().unwrap_or_default();
    if last.contains("skipped") {
        println!("{last}");
    }
    assert!(
        run.status.success() && last.starts_with("lost: 0,"),
        "{text}{}",
        String::from_utf8_lossy(&run.stderr)
    );
}
