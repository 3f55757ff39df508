//! What a job ends with: a table, or one JSON object.

use std::time::Duration;

use serde_json::{Value, json};

use super::figures::Figures;
use super::progress::{Lap, output};
use super::score::Count;
use super::size::Size;

/// How a job went.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) size: Size,
    pub(crate) resident_limit: Size,
    pub(crate) threads: u16,
    pub(crate) seed: u64,
    pub(crate) figures: Figures,
    pub(crate) count: Count,
    pub(crate) laps: Vec<Lap>,
    pub(crate) time: Duration,
}

impl Report {
    /// True if every byte was right and the bound was kept.
    pub(crate) fn is_right(&self) -> bool {
        self.count.is_right() && self.bound_kept()
    }

    /// Prints it to standard output.
    pub(crate) fn print(&self, json: bool) {
        if json {
            output(&format!("{}\n", self.json()));
        } else {
            output(&self.table());
        }
    }

    fn bound_kept(&self) -> bool {
        self.figures.resident_high_water <= self.resident_limit
    }

    fn table(&self) -> String {
        let mut table = format!(
            "\n{} under a bound of {}, {} threads, seed {}\n\n",
            self.size, self.resident_limit, self.threads, self.seed
        );
        for (name, value) in self.rows() {
            table.push_str(&format!("  {name:<24}{value:>16}\n"));
        }
        table.push_str(&format!("\n{}\n", self.verdict()));
        table
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let Self { figures, count, .. } = self;
        vec![
            ("faults", figures.faults.to_string()),
            ("pages in", figures.pages_in.to_string()),
            ("pages out", figures.pages_out.to_string()),
            ("evictions", figures.evictions.to_string()),
            ("resident, at most", figures.resident_high_water.to_string()),
            ("fault latency p50", micros(figures.p50)),
            ("fault latency p99", micros(figures.p99)),
            ("fault latency max", micros(figures.max)),
            ("errors met", count.met.to_string()),
            ("errors recovered", count.recovered.to_string()),
            ("pages read", count.reads.to_string()),
            ("pages written", count.writes.to_string()),
            ("throughput", format!("{:.1} MB/s", self.rate())),
            ("time", format!("{:.2} s", self.time.as_secs_f64())),
        ]
    }

    fn verdict(&self) -> String {
        let Count {
            wrong, lost, named, ..
        } = &self.count;
        if !self.count.is_right() {
            return format!("WRONG: {wrong} pages with wrong bytes, {lost} not to be had; first: {named:?}");
        }
        if !self.bound_kept() {
            return format!("WRONG: more than {} was resident", self.resident_limit);
        }
        "every byte is right, in memory and in the file".to_owned()
    }

    /// Millions of bytes per second over the phases that go over pages.
    fn rate(&self) -> f64 {
        let moving = self.laps.iter().filter(|lap| lap.bytes > 0);
        let (bytes, time) = moving.fold((0, Duration::ZERO), |(bytes, time), lap| {
            (bytes + lap.bytes, time + lap.time)
        });
        bytes as f64 / 1e6 / time.as_secs_f64().max(1e-9)
    }

    fn json(&self) -> Value {
        let Self { figures, count, .. } = self;
        json!({
            "right": self.is_right(),
            "size": self.size.0,
            "resident_limit": self.resident_limit.0,
            "threads": self.threads,
            "seed": self.seed,
            "faults": figures.faults,
            "pages_in": figures.pages_in,
            "pages_out": figures.pages_out,
            "evictions": figures.evictions,
            "resident_high_water": figures.resident_high_water.0,
            "latency_us": {
                "p50": number(figures.p50),
                "p99": number(figures.p99),
                "max": number(figures.max),
            },
            "errors_met": count.met,
            "errors_recovered": count.recovered,
            "pages_read": count.reads,
            "pages_written": count.writes,
            "pages_wrong": count.wrong,
            "pages_lost": count.lost,
            "first_bad_pages": count.named,
            "mb_per_s": self.rate(),
            "seconds": self.time.as_secs_f64(),
            "phases": self.laps.iter().map(phase).collect::<Vec<_>>(),
        })
    }
}

fn phase(lap: &Lap) -> Value {
    json!({
        "name": lap.name,
        "pages": lap.pages,
        "seconds": lap.time.as_secs_f64(),
        "mb_per_s": lap.rate(),
    })
}

fn number(latency: Duration) -> f64 {
    latency.as_nanos() as f64 / 1e3
}

fn micros(latency: Duration) -> String {
    format!("{:.1} µs", number(latency))
}
