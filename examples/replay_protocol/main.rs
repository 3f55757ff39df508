//! Replays recordings of a real GNU Mach kernel with the simulated kernel in its place.
//!
//! `cargo run --example replay_protocol -- FILE…` prints one line per scenario and fails if any
//! differs; without arguments it replays the recording that comes with the crate. What the pager
//! and the client did is taken from the recording; what the kernel said and what the client got is
//! compared with it, in order.
//!
//! A recording does not say which page a client touched, nor what some calls carried: every way to
//! understand it is followed, and the scenario passes if one of them agrees to the end.

use std::process::ExitCode;

mod client;
mod discover;
mod heard;
mod note;
mod pager;
mod record;
mod replay;
mod world;

use replay::Outcome;

const EMBEDDED: &str = include_str!("../../tests/data/gnumach/protocol.json");

fn main() -> ExitCode {
    let files: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|file| file.to_string_lossy().into_owned())
        .collect();
    let mut agrees = true;
    if files.is_empty() {
        agrees = replay_text("the embedded recording", EMBEDDED);
    }
    for file in &files {
        agrees &= match std::fs::read_to_string(file) {
            Ok(text) => replay_text(file, &text),
            Err(error) => {
                println!("differs {file}: the file cannot be read: {error}");
                false
            }
        };
    }
    if agrees {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn replay_text(file: &str, text: &str) -> bool {
    let scenarios = match record::parse(text) {
        Ok(scenarios) => scenarios,
        Err(error) => {
            println!("differs {file}: {error}");
            return false;
        }
    };
    let mut agrees = true;
    for (scenario, outcome) in scenarios.iter().zip(replay::replay(&scenarios)) {
        let name = &scenario.name;
        match outcome {
            Outcome::Pass(rows) if rows.is_empty() => println!("pass {name}"),
            Outcome::Pass(rows) => println!("pass {name} (differs by design: {})", rows.join(", ")),
            Outcome::Differs { event, why } => {
                println!("differs {name}: event {event}: {why}");
                agrees = false;
            }
        }
    }
    agrees
}
