//! All rows, one after the other.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::BenchArgs;
use super::error::BenchError;
use super::measure::{Figures, Pace, measure};
use super::report;
use super::rows::{Ground, ROWS, Row};

/// The time of a quick run; setting the rows up may take a little more.
const QUICK: Duration = Duration::from_secs(60);

/// Measures the rows that `args` name, and prints each when it is done.
pub(crate) fn run(args: &BenchArgs) -> Result<(), BenchError> {
    let rows = chosen(&args.only)?;
    let folder = args.folder.clone().unwrap_or_else(std::env::temp_dir);
    let ground = Ground::new(folder);
    let rounds = args.rounds.map_or(if args.quick { 5 } else { 9 }, usize::from);
    let mut all = Vec::new();
    if !args.json {
        println!("{}", report::heading());
    }
    let end = args.quick.then(|| Instant::now() + QUICK);
    for (at, row) in rows.iter().enumerate() {
        // What the rows before left over is for those to come.
        let share = |end: Instant| {
            let now = Instant::now();
            now + end.saturating_duration_since(now) / (rows.len() - at) as u32
        };
        let until = end.map(share);
        let figures = measure(row, &ground, Pace { rounds, until })?;
        println!(
            "{}",
            if args.json {
                report::line(&figures)
            } else {
                report::row(&figures)
            }
        );
        all.push(figures);
    }
    save(args, &all)
}

/// The rows with these names; all if there are none.
fn chosen(names: &[String]) -> Result<Vec<&'static Row>, BenchError> {
    if names.is_empty() {
        return Ok(ROWS.iter().collect());
    }
    let find = |name: &String| ROWS.iter().find(|row| row.work == name);
    names
        .iter()
        .map(|name| find(name).ok_or_else(|| BenchError::NoSuchRow(name.clone())))
        .collect()
}

fn save(args: &BenchArgs, all: &[Figures]) -> Result<(), BenchError> {
    let Some(path) = &args.save else {
        return Ok(());
    };
    let results = Value::Array(all.iter().map(report::details).collect());
    fs::write(path, format!("{results:#}\n")).map_err(|source| BenchError::File {
        path: path.clone(),
        source,
    })
}
