//! The program: arguments in, a job done, a report and an exit code out.

mod access;
mod args;
mod bench;
mod contents;
mod demo;
mod disk;
mod drill;
mod failure;
mod figures;
mod job;
#[cfg(target_os = "linux")]
mod keeper;
mod load;
mod memory;
mod page;
mod pattern;
mod progress;
mod report;
mod rng;
mod score;
mod sigbus;
mod size;
mod workfile;

use std::panic;
use std::process::ExitCode;
use std::thread;

use clap::Parser;

use args::{Arguments, Command, DemoArguments};
use failure::Failure;
use report::Report;

/// Runs the program.
pub(crate) fn run() -> ExitCode {
    say_panics_in_a_line();
    match Arguments::parse().command {
        None => conclude(demo::run(&DemoArguments::default()), false),
        Some(Command::Demo(arguments)) => conclude(demo::run(&arguments), arguments.job.json),
        Some(Command::Page(arguments)) => conclude(page::run(&arguments), arguments.job.json),
        Some(Command::Bench(arguments)) => bench::main(&arguments),
        #[cfg(target_os = "linux")]
        Some(Command::Keeper(command)) => keeper::run(&command),
    }
}

/// A panic in a store is caught and becomes an error of the page: one line is enough to say so.
fn say_panics_in_a_line() {
    panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        let thread = thread::current();
        let name = thread.name().unwrap_or("a worker");
        eprintln!("note: {name} panicked: {}", text.unwrap_or("it did not say why"));
    }));
}

/// Prints the report, or the error.
fn conclude(outcome: Result<Report, Failure>, json: bool) -> ExitCode {
    match outcome {
        Ok(report) => {
            report.print(json);
            ExitCode::from(u8::from(!report.is_right()))
        }
        Err(failure) => {
            eprintln!("error: {}", failure.sentence());
            ExitCode::from(failure.code())
        }
    }
}
