//! The main job, on a small file.

use crate::support::{Folder, run};
use serde_json::Value;

/// A few words that make the job small.
const SMALL: [&str; 5] = ["demo", "--size", "6000001", "--resident", "1M"];

fn demo(more: &[&str]) -> Option<crate::support::Run> {
    run(&[&SMALL, more].concat())
}

#[test]
fn every_byte_is_right_although_the_store_fails() {
    let Some(run) = demo(&["--json"]) else {
        return;
    };
    assert_eq!(run.code, Some(0), "{}", run.err);
    let report: Value = serde_json::from_str(&run.out).unwrap();
    let number = |name: &str| report[name].as_u64().unwrap();
    assert_eq!(report["right"], true);
    assert!(number("evictions") > 0, "the file is larger than the bound");
    assert!(number("resident_high_water") <= 1 << 20, "{report}");
    assert!(
        number("errors_met") >= 3,
        "an error, a panic, a full disk: {report}"
    );
    assert_eq!(number("errors_met"), number("errors_recovered"));
}

#[test]
fn without_a_terminal_there_is_a_line_per_phase_and_a_table() {
    let Some(run) = demo(&[]) else {
        return;
    };
    assert_eq!(run.code, Some(0), "{}", run.err);
    for words in [
        "make the file",
        "sequential",
        "skewed",
        "failing store",
        "check file",
    ] {
        assert_eq!(run.out.matches(words).count(), 1, "{words}: {}", run.out);
    }
    assert!(run.out.contains("fault latency p99"), "{}", run.out);
    assert!(
        run.out
            .trim_end()
            .ends_with("every byte is right, in memory and in the file")
    );
}

#[test]
fn copies_do_the_same() {
    let Some(run) = demo(&["--copies", "--threads", "2"]) else {
        return;
    };
    assert_eq!(run.code, Some(0), "{}", run.err);
}

#[test]
fn the_file_is_removed() {
    let folder = Folder::new("removed");
    let Some(run) = demo(&["--folder", folder.path().to_str().unwrap()]) else {
        return;
    };
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

#[test]
fn a_thread_that_touches_a_page_that_cannot_be_had_ends_with_a_sentence() {
    let Some(run) = demo(&["--touch-bad-page"]) else {
        return;
    };
    assert_eq!(run.code, Some(5), "{}", run.err);
    assert!(
        run.err.contains("could not provide page 0") && run.err.contains("--copies"),
        "{}",
        run.err
    );
}
