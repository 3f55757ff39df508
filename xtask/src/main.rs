//! The project's own commands: `cargo xtask test` and its siblings.

mod capi;
mod cargo;
mod chaos;
mod coverage;
mod debian;
mod dependencies;
mod explore;
mod failure;
mod lint;
mod simulate;
mod takeover;
mod tally;
mod test;

use std::process::ExitCode;

use failure::Failure;

const HELP: &str = "\
Usage: cargo xtask COMMAND

Commands:
  test    Install what the tests need (Debian), build, run every test; ends with
          `N passed, N failed, N skipped`. Arguments are handed on to `cargo test`.
  lint    Formatting, clippy, documentation (warnings denied), dependencies.
  capi    Build the C interface and install it: libraries, headers, pkg-config file.
          --prefix DIR (/usr/local), --libdir DIR (PREFIX/lib), --includedir DIR
          (PREFIX/include), --debug. DESTDIR in the environment is put before them all.
  simulate [ARGUMENTS]
          Live 100 000 seeded lives of a pager under the simulated kernel and check every byte;
          a failure names its seed. Arguments go to the example `simulate` instead.
  explore
          Visit every state that the core can reach with few pages; fails unless the spaces close.
  coverage
          How many lines of the core its own tests run; fails under 95 %. Installs the tool for it
          below target/, which takes minutes the first time.
  chaos [--seconds N] [--seed S]
          Stores that fail in every way, pagers that panic, threads that die: a third of the time
          (60 seconds unless told otherwise) in simulation, the rest with real memory; every word
          is checked. Ends with a line that begins with `lost: 0`.
  takeover [--kills N]
          Kill pager processes under load (200 unless told otherwise) and check every byte;
          ends with a line that begins with `lost: 0`.
  help    This text.

Exit code: 0 if all is well, 1 if something failed, 2 if the command is unknown.
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_else(|| "help".to_owned());
    let rest: Vec<String> = arguments.collect();
    match run(&command, &rest) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(failure)) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
        None => {
            eprint!("error: there is no command `{command}`\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

/// Runs a command; `None` if there is none of that name.
fn run(command: &str, arguments: &[String]) -> Option<Result<(), Failure>> {
    Some(match command {
        "test" => test::run(arguments),
        "lint" => lint::run(),
        "simulate" => simulate::run(arguments),
        "explore" => explore::run(arguments),
        "coverage" => coverage::run(arguments),
        "chaos" => chaos::run(arguments),
        "takeover" => takeover::run(arguments),
        "capi" => capi::run(arguments),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        _ => return None,
    })
}
