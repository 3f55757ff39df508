//! `cargo xtask test`: everything that is tested, and one line at the end that says how it went.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use crate::cargo::{FEATURES, cargo, succeed};
use crate::debian;
use crate::failure::Failure;
use crate::tally::Tally;

/// Provides what is needed, builds, tests; `arguments` go to `cargo test`.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    debian::provide()?;
    succeed(
        "build everything",
        &mut cargo(&["build", "--workspace", "--all-targets", FEATURES]),
    )?;
    let mut tally = Tally::default();
    let well = run_tests(arguments, &mut tally)?;
    if !well && tally.failed == 0 {
        eprintln!("error: a test program did not build or died before it could count; see above");
        tally.failed = 1;
    }
    println!("{}", tally.summary());
    if tally.failed == 0 {
        Ok(())
    } else {
        Err(Failure::new("not every test passed; the lines above say which"))
    }
}

/// Runs the tests and the examples in the documentation; says whether cargo was content.
fn run_tests(arguments: &[String], tally: &mut Tally) -> Result<bool, Failure> {
    let mut command = cargo(&["test", "--workspace", "--no-fail-fast", FEATURES]);
    let (for_cargo, for_tests) = split(arguments);
    command
        .args(for_cargo)
        .args(["--", "--show-output"])
        .args(for_tests);
    eprintln!("==> test");
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::new(format!("cannot start cargo: {error}")))?;
    read_lines(&mut child, tally)?;
    let status = child
        .wait()
        .map_err(|error| Failure::new(format!("lost cargo: {error}")))?;
    Ok(status.success())
}

/// Shows what the tests print as it comes, and counts.
fn read_lines(child: &mut Child, tally: &mut Tally) -> Result<(), Failure> {
    let Some(output) = child.stdout.take() else {
        return Ok(());
    };
    for line in BufReader::new(output).split(b'\n') {
        let line = line.map_err(|error| Failure::new(format!("cannot read the tests' output: {error}")))?;
        if let Some(shown) = tally.line(&String::from_utf8_lossy(&line)) {
            println!("{shown}");
        }
    }
    Ok(())
}

fn split(arguments: &[String]) -> (&[String], &[String]) {
    match arguments.iter().position(|argument| argument == "--") {
        Some(at) => (&arguments[..at], &arguments[at + 1..]),
        None => (arguments, &[]),
    }
}
