//! `cargo bench --bench figures`: all rows in full; results go to `target/bench/figures.json`,
//! and as a plot to `target/bench/figures.svg`.
//!
//! Arguments are passed on to `actor-pager bench`, so `cargo bench --bench figures -- --quick` works.

use std::error::Error;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let results = folder.join("figures.json");
    // Cargo adds `--bench`, which is for harnesses with tests in them.
    let passed_on = std::env::args_os().skip(1).filter(|arg| arg != "--bench");
    let status = Command::new(env!("CARGO_BIN_EXE_actor-pager"))
        .arg("bench")
        .args(passed_on)
        .arg("--save")
        .arg(&results)
        .arg("--folder")
        .arg(&folder)
        .status()?;
    if !status.success() {
        return Err(format!("the bench ended with {status}").into());
    }
    let rows: Value = serde_json::from_str(&std::fs::read_to_string(&results)?)?;
    std::fs::write(folder.join("figures.svg"), plot(&rows))?;
    Ok(())
}

/// A bar for each row: the ratio, against the most it may be.
fn plot(results: &Value) -> String {
    let rows: Vec<&Value> = results.as_array().into_iter().flatten().collect();
    let height = 40 + 28 * rows.len();
    let mut svg = format!("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"640\" height=\"{height}\"");
    svg.push_str(" font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n");
    svg.push_str(
        "<text x=\"8\" y=\"20\">times the raw handler's time; the line is the most it may be</text>\n",
    );
    for (at, row) in rows.iter().enumerate() {
        let number = |key: &str| row[key].as_f64().unwrap_or(0.0);
        let (ratio, at_most) = (number("ratio"), number("at_most"));
        let (top, width) = (36 + 28 * at, (ratio * 150.0).min(440.0));
        let color = if ratio <= at_most { "#4a8" } else { "#c64" };
        let (text, mark) = (top + 14, 120.0 + at_most * 150.0);
        let name = row["work"].as_str().unwrap_or("");
        svg.push_str(&format!(
            "<text x=\"8\" y=\"{text}\">{name}</text>\n\
             <rect x=\"120\" y=\"{top}\" width=\"{width:.1}\" height=\"18\" fill=\"{color}\"/>\n\
             <line x1=\"{mark:.1}\" x2=\"{mark:.1}\" y1=\"{top}\" y2=\"{}\" stroke=\"black\"/>\n\
             <text x=\"{:.1}\" y=\"{text}\">{ratio:.2}</text>\n",
            top + 18,
            126.0 + width,
        ));
    }
    svg.push_str("</svg>\n");
    svg
}
