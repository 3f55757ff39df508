//! Lives of memory objects from seeds: a legal or illegal kernel, clients, users who call
//! everything, and a store that fails, delays, reorders and panics; every byte is checked.
//!
//! `cargo run --release --example simulate -- --seeds 100000 --steps 300` lives the seeds 0 to
//! 99999; `--seed S` lives one and prints what happens.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

mod acts;
mod copies;
mod finish;
mod simulation;
mod store;

use simulation::{Plan, Simulation, Wrong};

const USAGE: &str = "usage: simulate [--seeds N] [--steps N] [--threads N] [--first S] [--seed S]";

struct Options {
    seeds: u64,
    steps: u64,
    threads: u64,
    first: u64,
    only: Option<u64>,
}

fn main() -> ExitCode {
    match options() {
        Ok(options) if options.only.is_some() => one(&options),
        Ok(options) => many(&options),
        Err(error) => {
            eprintln!("{error}; {USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        seeds: 1000,
        steps: 300,
        threads: 2,
        first: 0,
        only: None,
    };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a number"))?;
        let value = value
            .parse()
            .map_err(|_| format!("{name}: '{value}' is no number"))?;
        match name.as_str() {
            "--seeds" => options.seeds = value,
            "--steps" => options.steps = value,
            "--threads" => options.threads = value,
            "--first" => options.first = value,
            "--seed" => options.only = Some(value),
            _ => return Err(format!("'{name}' is not known")),
        }
    }
    Ok(options)
}

/// Every fourth seed gets a kernel that errs.
fn plan(seed: u64, steps: u64) -> Plan {
    Plan {
        seed,
        steps,
        illegal: seed % 4 == 3,
    }
}

fn one(options: &Options) -> ExitCode {
    let mut life = Simulation::new(plan(options.only.unwrap_or(0), options.steps));
    life.trace = true;
    match life.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => report(life.plan, &wrong),
    }
}

fn report(plan: Plan, wrong: &Wrong) -> ExitCode {
    let Plan { seed, steps, .. } = plan;
    println!("seed {seed} fails at step {}: {}", wrong.step, wrong.what);
    println!("replay: cargo run --release --example simulate -- --steps {steps} --seed {seed}");
    ExitCode::FAILURE
}

fn many(options: &Options) -> ExitCode {
    let next = AtomicU64::new(options.first);
    let end = options.first + options.seeds;
    let failed = Mutex::new(None);
    let total = Mutex::new(simulation::Counts::default());
    std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| live_some(&next, end, options.steps, &failed, &total));
        }
    });
    if let Some((plan, wrong)) = failed.into_inner().ok().flatten() {
        return report(plan, &wrong);
    }
    println!(
        "{} seeds of {} steps: {:?}",
        options.seeds,
        options.steps,
        total.into_inner().ok()
    );
    ExitCode::SUCCESS
}

fn live_some(
    next: &AtomicU64,
    end: u64,
    steps: u64,
    failed: &Mutex<Option<(Plan, Wrong)>>,
    total: &Mutex<simulation::Counts>,
) {
    let mut counts = simulation::Counts::default();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            break;
        }
        let plan = plan(seed, steps);
        let lived = std::panic::catch_unwind(|| {
            let mut life = Simulation::new(plan);
            (life.run(), life.counts)
        });
        let wrong = match lived {
            Ok((Ok(()), life)) => {
                counts.add(&life);
                continue;
            }
            Ok((Err(wrong), _)) => wrong,
            Err(_) => Wrong {
                step: 0,
                what: "it panics".into(),
            },
        };
        next.store(end, Ordering::Relaxed);
        if let Ok(mut failed) = failed.lock() {
            failed.get_or_insert((plan, wrong));
        }
    }
    if let Ok(mut total) = total.lock() {
        total.add(&counts);
    }
}
