//! Real memory over stores that fail in every way, while pagers panic and threads die; every word is
//! checked.
//!
//! `cargo run --release --example chaos -- --seconds 60` ends with a line that begins `lost: 0`, or
//! fails; `--seed S` draws the same faults again; with `--restarts 0` no pager panics and no thread of
//! one dies. On Linux only.
#![allow(dead_code, reason = "systems without real faults use nothing of it")]

mod finish;
mod load;
mod oracle;
mod store;
mod tally;
#[path = "../../tests/failing_stores/trouble.rs"]
mod trouble;
mod troublemaker;
mod word;
mod world;

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const USAGE: &str = "usage: chaos [--seconds N] [--seed S] [--restarts 0]";

struct Options {
    time: Duration,
    seed: u64,
    restarts: bool,
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}; {USAGE}");
            return ExitCode::FAILURE;
        }
    };
    println!("seed {}", options.seed);
    match run(&options) {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            println!(
                "again: cargo run --release --example chaos -- --seed {}",
                options.seed
            );
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let mut options = Options {
        time: Duration::from_secs(10),
        seed: now.map_or(1, |now| now.as_secs()),
        restarts: true,
    };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a number"))?;
        let value = value
            .parse()
            .map_err(|_| format!("{name}: '{value}' is no number"))?;
        match name.as_str() {
            "--seconds" => options.time = Duration::from_secs(value),
            "--restarts" => options.restarts = value != 0,
            "--seed" => options.seed = value,
            _ => return Err(format!("'{name}' is not known")),
        }
    }
    Ok(options)
}

#[cfg(not(target_os = "linux"))]
fn run(_: &Options) -> Result<String, String> {
    Ok("lost: 0, skipped: this system has no userfaultfd".to_owned())
}

#[cfg(target_os = "linux")]
fn run(options: &Options) -> Result<String, String> {
    use actor_pager::mach::linux::{LinuxHost, LinuxOptions};
    let limits = LinuxOptions::default().resident_limit(Some(world::RESIDENT_LIMIT));
    let host = match LinuxHost::new(limits) {
        Ok(host) => host,
        Err(error) => return Ok(format!("lost: 0, skipped: {error}")),
    };
    quiet_injected_panics();
    let world = world::World::new(host, options.seed).map_err(|error| error.to_string())?;
    load::run(&world, options.time, options.seed, options.restarts);
    finish::check(world)
}

/// Panics that are part of the test are counted, not printed.
fn quiet_injected_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        if !payload.is::<store::Bomb>() && !text.is_some_and(|text| text.starts_with("injected")) {
            usual(info);
        }
    }));
}
