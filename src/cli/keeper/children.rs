//! Processes of this program, and what they say.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use super::Failure;

/// Longer than anything takes that goes well.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process of this program; killed when dropped.
pub(super) struct Process {
    name: &'static str,
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Process {
    /// Starts this program with other arguments.
    pub(super) fn start(name: &'static str, arguments: &[&dyn AsRef<OsStr>]) -> Result<Self, Failure> {
        Self::start_to_die(name, arguments, None)
    }

    /// As [`start`](Self::start), to die at a named moment.
    pub(super) fn start_to_die(
        name: &'static str,
        arguments: &[&dyn AsRef<OsStr>],
        death: Option<String>,
    ) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.envs(death.map(|death| ("ACTOR_PAGER_DIE", death)));
        command.arg(name).stdin(Stdio::piped()).stdout(Stdio::piped());
        for argument in arguments {
            command.arg(argument);
        }
        let mut child = command.spawn()?;
        let input = child.stdin.take();
        let (send, lines) = channel();
        if let Some(output) = child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    // Nobody may be interested any more.
                    let _ = send.send(line);
                }
            });
        }
        Ok(Self {
            name,
            child,
            input,
            lines,
        })
    }

    /// Waits for the next line.
    pub(super) fn line(&mut self) -> Result<String, Failure> {
        let line = self.lines.recv_timeout(PATIENCE);
        line.map_err(|_| {
            let status = self.child.try_wait();
            format!("`{}` says nothing ({status:?})", self.name).into()
        })
    }

    /// Waits until it says something that begins with `start`.
    pub(super) fn wait_for(&mut self, start: &str) -> Result<(), Failure> {
        while !self.line()?.starts_with(start) {}
        Ok(())
    }

    /// Says a line to it.
    pub(super) fn tell(&mut self, line: &str) -> Result<(), Failure> {
        let input = self.input.as_mut().ok_or("there is no input")?;
        Ok(writeln!(input, "{line}")?)
    }

    /// Kills it (`SIGKILL`), and waits until it is gone.
    pub(super) fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// True if it ended by itself, well.
    pub(super) fn ended_well(&mut self) -> Result<bool, Failure> {
        Ok(self.child.wait()?.success())
    }

    /// True if it has not ended.
    pub(super) fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.kill();
    }
}
