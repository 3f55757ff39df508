//! `cargo xtask chaos`: a third of the time in simulation, the rest with real memory; stores that fail
//! in every way, pagers that panic, threads that die.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::cargo::{cargo, succeed};
use crate::failure::Failure;

/// Lives of one run of the simulation: a second or so.
const LIVES: u64 = 2000;

/// What is asked for.
struct Plan {
    seconds: u64,
    seed: u64,
    /// 0: no pager panics and no thread dies.
    restarts: u64,
}

impl Plan {
    fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut plan = Self {
            seconds: 60,
            seed: now.map_or(1, |now| now.as_secs()),
            restarts: 1,
        };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let value = arguments.next().and_then(|value| value.parse().ok());
            let value = value.ok_or_else(|| Failure::new(format!("chaos: {name} needs a number")))?;
            match name.as_str() {
                "--seconds" => plan.seconds = value,
                "--seed" => plan.seed = value,
                "--restarts" => plan.restarts = value,
                _ => {
                    let sentence =
                        format!("chaos: {name} is not known; there are --seconds, --seed and --restarts");
                    return Err(Failure::new(sentence));
                }
            }
        }
        Ok(plan)
    }
}

/// Runs both parts; the last line is the real one's and begins with `lost: 0` if all is well.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let plan = Plan::parse(arguments)?;
    let build = ["build", "--quiet", "--release", "--package", "actor-pager"];
    let mut command = cargo(&build);
    command.args(["--example", "simulate", "--example", "chaos"]);
    succeed("build the load", &mut command)?;
    simulate(&plan)?;
    let seconds = plan.seconds - plan.seconds / 3;
    let mut command = example("chaos");
    for (name, value) in [
        ("--seconds", seconds),
        ("--seed", plan.seed),
        ("--restarts", plan.restarts),
    ] {
        command.args([name, &value.to_string()]);
    }
    succeed("real memory over failing stores", &mut command)
}

/// Lives from seeds that nobody has tried yet.
fn simulate(plan: &Plan) -> Result<(), Failure> {
    let end = Instant::now() + Duration::from_secs(plan.seconds / 3);
    let mut first = plan.seed.wrapping_mul(LIVES) & (u64::MAX >> 16);
    while Instant::now() < end {
        let mut command = example("simulate");
        command.args(["--first", &first.to_string(), "--seeds", &LIVES.to_string()]);
        succeed("simulated lives over failing stores", &mut command)?;
        first += LIVES;
    }
    Ok(())
}

fn example(name: &str) -> std::process::Command {
    let mut command = cargo(&["run", "--quiet", "--release", "--package", "actor-pager"]);
    command.args(["--example", name, "--"]);
    command
}
