//! Results for people and for programs.

use serde_json::{Value, json};

use super::measure::Figures;

const BAR: usize = 24;

/// One line of JSON for a row.
pub(crate) fn line(figures: &Figures) -> String {
    // Written by hand to keep the order of the keys.
    format!(
        "{{\"work\": \"{}\", \"ratio\": {:.3}, \"raw_us\": {:.4}, \"ours_us\": {:.4}}}",
        figures.work,
        figures.ratio(),
        figures.raw_us,
        figures.ours_us
    )
}

/// Everything that is known of a row.
pub(crate) fn details(figures: &Figures) -> Value {
    json!({
        "work": figures.work,
        "about": figures.about,
        "ratio": figures.ratio(),
        "at_most": figures.at_most,
        "raw_us": figures.raw_us,
        "ours_us": figures.ours_us,
        "mmap_us": figures.mmap_us,
        "raw_rounds_us": figures.rounds.iter().map(|round| round.0).collect::<Vec<_>>(),
        "ours_rounds_us": figures.rounds.iter().map(|round| round.1).collect::<Vec<_>>(),
    })
}

/// The head of the table.
pub(crate) fn heading() -> String {
    format!(
        "{:<14}{:>9}{:>9}{:>9}{:>8}{:>9}  ours (█) against the most it may be (│)",
        "work", "raw µs", "ours µs", "mmap µs", "ratio", "at most"
    )
}

/// A row of the table, with a bar.
pub(crate) fn row(figures: &Figures) -> String {
    let mmap = figures
        .mmap_us
        .map_or_else(|| "-".to_owned(), |us| format!("{us:.2}"));
    format!(
        "{:<14}{:>9.2}{:>9.2}{mmap:>9}{:>8.2}{:>9.2}  {} {}",
        figures.work,
        figures.raw_us,
        figures.ours_us,
        figures.ratio(),
        figures.at_most,
        bar(figures.ratio(), figures.at_most),
        if figures.is_reached() { "" } else { "too slow" },
    )
}

/// A bar as long as the ratio, with a mark two thirds along, where it is to end at the latest.
fn bar(ratio: f64, at_most: f64) -> String {
    let mark = BAR * 2 / 3;
    let length = ((ratio / at_most * mark as f64).round() as usize).min(BAR);
    (0..BAR)
        .map(|at| match at {
            at if at == mark => '│',
            at if at < length => '█',
            _ => ' ',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(ours_us: f64) -> Figures {
        Figures {
            work: "random_hot_1",
            about: "",
            at_most: 1.25,
            raw_us: 10.0,
            ours_us,
            mmap_us: None,
            rounds: vec![(10.0, ours_us)],
        }
    }

    #[test]
    fn a_line_is_json_with_the_four_keys() {
        let line = line(&figures(12.0));
        let value: Value = serde_json::from_str(&line).unwrap();
        let expected = json!({"work": "random_hot_1", "ratio": 1.2, "raw_us": 10.0, "ours_us": 12.0});
        assert_eq!(value, expected);
    }

    #[test]
    fn the_bar_passes_the_mark_only_where_the_ratio_is_too_high() {
        let full = |ours| {
            bar(figures(ours).ratio(), 1.25)
                .chars()
                .collect::<Vec<_>>()
                .iter()
                .rposition(|&at| at == '█')
        };
        assert!(full(12.0) < Some(BAR * 2 / 3));
        assert!(full(20.0) > Some(BAR * 2 / 3));
        assert_eq!(bar(1000.0, 1.0).chars().count(), BAR);
    }

    #[test]
    fn rows_that_are_too_slow_say_so() {
        assert!(row(&figures(13.0)).contains("too slow"));
        assert!(!row(&figures(12.0)).contains("too slow"));
    }
}
