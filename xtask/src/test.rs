//! `cargo xtask test`: everything that is tested, and one line at the end that says how it went.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::cargo::{FEATURES, cargo, succeed};
use crate::debian;
use crate::failure::Failure;
use crate::tally::Tally;

/// How long the tests may run before they count as hanging.
const LIMIT: Duration = Duration::from_secs(20 * 60);

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
    let mut child = own_group(&mut command)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::new(format!("cannot start cargo: {error}")))?;
    if !follow(&mut child, tally) {
        end_group(&mut child);
        eprintln!(
            "error: the tests were stopped: they had run for {} minutes",
            LIMIT.as_secs() / 60
        );
        return Ok(false);
    }
    let status = child
        .wait()
        .map_err(|error| Failure::new(format!("lost cargo: {error}")))?;
    Ok(status.success())
}

/// Shows what the tests print as it comes, and counts; false if they took too long.
fn follow(child: &mut Child, tally: &mut Tally) -> bool {
    let deadline = Instant::now() + LIMIT;
    let lines = lines_of(child);
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if let Some(shown) = tally.line(&line) {
                    println!("{shown}");
                }
            }
            Err(RecvTimeoutError::Disconnected) => return true,
            Err(RecvTimeoutError::Timeout) => return false,
        }
    }
}

/// The lines that the child prints, read by a thread so that waiting for one can end.
fn lines_of(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        thread::spawn(move || {
            let lines = BufReader::new(output).split(b'\n').map_while(Result::ok);
            for line in lines {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        });
    }
    receiver
}

/// Puts what the command starts into a process group, so that all of it can be ended.
fn own_group(command: &mut Command) -> &mut Command {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    command
}

/// Ends the child and all that it started.
fn end_group(child: &mut Child) {
    let group = format!("-{}", child.id());
    let ended = Command::new("kill").args(["-KILL", "--", &group]).status();
    if !ended.is_ok_and(|status| status.success()) {
        // Not a system with process groups: at least nobody waits any more.
        let _ = child.kill();
    }
    let _ = child.wait();
}

fn split(arguments: &[String]) -> (&[String], &[String]) {
    match arguments.iter().position(|argument| argument == "--") {
        Some(at) => (&arguments[..at], &arguments[at + 1..]),
        None => (arguments, &[]),
    }
}
