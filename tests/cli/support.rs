//! Runs the program and looks at what it says.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{env, fs, process};

/// What the program did.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs the program with these words; `None`, and a word why, where the system cannot page.
pub(crate) fn run(words: &[&str]) -> Option<Run> {
    let output = program(words);
    let run = Run {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    if run.code == Some(4) {
        println!("skipped: {}", run.err.trim());
        return None;
    }
    Some(run)
}

fn program(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_actor-pager"))
        .args(words)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

/// A folder that is gone when the test is over.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("actor-pager-test-{name}-{}", process::id()));
        fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A file with these bytes in it.
    pub(crate) fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.0.join("file");
        fs::write(&path, bytes).expect("a file can be written");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Bytes of which no two pages are the same.
pub(crate) fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at / 4096 * 7 + at % 251) as u8).collect()
}
