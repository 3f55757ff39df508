//! Measurements of a file of the user's.

use crate::http_server::Server;
use crate::support::{Folder, bytes, run};
use serde_json::Value;

/// Two ways, each with figures that fit each other.
fn check(lines: &str, patterns: &[&str]) {
    let parse = |line: &str| -> Value { serde_json::from_str(line).expect("each line is JSON") };
    let lines: Vec<Value> = lines.lines().map(parse).collect();
    let ways: Vec<_> = lines
        .iter()
        .map(|line| (line["pattern"].as_str(), line["way"].as_str()))
        .collect();
    let expected: Vec<_> = patterns
        .iter()
        .flat_map(|pattern| [(Some(*pattern), Some("mmap")), (Some(*pattern), Some("ours"))])
        .collect();
    assert_eq!(ways, expected);
    for line in &lines {
        let number = |key: &str| line[key].as_f64().expect("a number");
        assert!(number("pages_per_second") > 0.0, "{line}");
        assert!(number("p50_us") <= number("p99_us"), "{line}");
        assert!(number("p99_us") <= number("max_us"), "{line}");
    }
}

#[test]
fn every_pattern_is_measured_both_ways() {
    let folder = Folder::new("bench-read");
    let file = folder.file(&bytes(3_000_001));
    let words = ["bench", file.to_str().unwrap(), "--json", "--resident", "1M"];
    let Some(run) = run(&words) else {
        return;
    };
    assert_eq!(run.code, Some(0), "{}", run.err);
    check(&run.out, &["sequential", "random", "skewed"]);
}

#[test]
fn writes_go_to_a_copy_that_is_removed() {
    let folder = Folder::new("bench-write");
    let before = bytes(2_000_000);
    let file = folder.file(&before);
    let place = folder.path().to_str().unwrap();
    let (path, pattern) = (file.to_str().unwrap(), ["--pattern", "random", "--threads", "2"]);
    let words = ["bench", path, "--json", "--write-ratio", "1", "--folder", place];
    let Some(run) = run(&[&words[..], &pattern].concat()) else {
        return;
    };
    assert_eq!(run.code, Some(0), "{}", run.err);
    check(&run.out, &["random"]);
    assert!(std::fs::read(&file).unwrap() == before, "the file was changed");
    assert_eq!(
        folder.path().read_dir().unwrap().count(),
        1,
        "the copy is still there"
    );
}

#[test]
fn a_url_is_paged_by_ranges_and_its_copy_is_removed() {
    let folder = Folder::new("bench-url");
    let server = Server::start(&bytes(600_001));
    let (url, place) = (server.url(), folder.path().to_str().unwrap());
    let words = ["bench", &url, "--json", "--resident", "1M", "--folder", place];
    let Some(run) = run(&words) else {
        return;
    };
    assert_eq!(run.code, Some(0), "{}", run.err);
    check(&run.out, &["sequential", "random", "skewed"]);
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "the copy stays");
}

#[test]
fn without_json_there_is_a_table() {
    let folder = Folder::new("bench-table");
    let file = folder.file(&bytes(50_000));
    let Some(run) = run(&["bench", file.to_str().unwrap(), "--pattern", "sequential"]) else {
        return;
    };
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(run.out.starts_with("pattern"), "{}", run.out);
    assert_eq!(run.out.lines().count(), 3, "{}", run.out);
}

#[test]
fn what_cannot_be_measured_is_said() {
    let folder = Folder::new("bench-errors");
    let file = folder.file(&bytes(10_000));
    let path = file.to_str().unwrap();
    let missing = folder.path().join("missing");
    for (words, code, part) in [
        (vec!["bench", missing.to_str().unwrap()], 3, "no such file"),
        (vec!["bench", path, "--resident", "64K"], 2, "at least 1 MiB"),
        (vec!["bench", "--pattern", "random"], 2, "<FILE|URL>"),
        (vec!["bench", "http://127.0.0.1:1/x"], 3, "cannot be read"),
        (
            vec!["bench", "http://127.0.0.1:1/x", "--write-ratio", "0.5"],
            2,
            "--write-ratio",
        ),
        (vec!["bench", path, "--quick"], 2, "--quick"),
        (vec!["bench", "--only", "nonsense"], 2, "nonsense"),
        (
            vec!["bench", path, "--write-ratio", "0.5", "--folder", "/nowhere"],
            3,
            "--folder",
        ),
    ] {
        let Some(run) = run(&words) else {
            continue;
        };
        assert_eq!(run.code, Some(code), "{words:?}: {}", run.err);
        assert!(run.err.contains(part), "{words:?}: {}", run.err);
    }
}
