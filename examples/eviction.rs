//! Hit ratios of the replacement policies, beside the best that knows the future.
//!
//! `cargo run --release --example eviction` runs synthetic traces;
//! `cargo run --release --example eviction -- FILE…` runs recorded plans (`Pager::record_plan`, `Plan::save`).
//! A plan holds the pages that were asked for: record it under a bound of a few pages, so that it has nearly
//! every access, and not only the first one of each page.

use std::collections::HashSet;
use std::error::Error;
use std::path::Path;

use actor_pager::mach::eviction::replay::{hit_ratio, optimum};
use actor_pager::mach::eviction::traces::{loop_over, scan_and_hot_set, zipf};
use actor_pager::mach::eviction::{Clock, EvictionPolicy, Fifo, S3Fifo};
use actor_pager::object::{PageIndex, PageRange};
use actor_pager::plan::Plan;

const LENGTH: usize = 400_000;

fn main() -> Result<(), Box<dyn Error>> {
    println!(
        "{:<28}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "trace", "resident", "FIFO", "CLOCK", "S3-FIFO", "optimum"
    );
    let files: Vec<_> = std::env::args_os().skip(1).collect();
    if files.is_empty() {
        synthetic();
    }
    for file in files {
        let plan = Plan::load(Path::new(&file))?;
        let trace: Vec<PageIndex> = plan.runs().iter().copied().flat_map(PageRange::iter).collect();
        print_rows(&file.to_string_lossy(), &trace);
    }
    Ok(())
}

fn synthetic() {
    for skew in [0.6, 0.8, 1.0, 1.2] {
        print_rows(&format!("Zipf, skew {skew}"), &zipf(50_000, skew, LENGTH, 1));
    }
    print_rows("scan + hot set", &scan_and_hot_set(2000, 50_000, LENGTH, 2));
    print_rows("loop", &loop_over(20_000, LENGTH));
}

/// One row for each size of memory: a hundredth, a tenth and three tenths of the pages of the trace.
fn print_rows(name: &str, trace: &[PageIndex]) {
    let pages = trace.iter().collect::<HashSet<_>>().len();
    for percent in [1, 10, 30] {
        let capacity = (pages * percent / 100).max(1);
        let ratio = |policy: &mut dyn EvictionPolicy| hit_ratio(policy, capacity, 1, trace);
        let ratios = [
            ratio(&mut Fifo::default()),
            ratio(&mut Clock::default()),
            ratio(&mut S3Fifo::default()),
            optimum(capacity, trace),
        ];
        let columns: String = ratios
            .iter()
            .map(|ratio| format!("{:>8.1}%", ratio * 100.0))
            .collect();
        println!("{name:<28}{capacity:>9}{columns}");
    }
}
