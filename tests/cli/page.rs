//! `actor-pager page` on files of the user's.

use std::fs;

use crate::support::{Folder, bytes, run};
use serde_json::Value;

#[test]
fn a_file_of_odd_length_is_read_and_left_alone() {
    let folder = Folder::new("odd");
    let content = bytes(3 * 1024 * 1024 + 777);
    let file = folder.file(&content);
    let Some(run) = run(&["page", file.to_str().unwrap(), "--resident", "1M"]) else {
        return;
    };
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(run.out.contains("every byte is right"), "{}", run.out);
    assert!(fs::read(&file).unwrap() == content, "the file was changed");
}

#[test]
fn a_file_that_may_be_written_is_the_same_at_the_end() {
    let folder = Folder::new("writable");
    let content = bytes(2 * 1024 * 1024 + 1);
    let file = folder.file(&content);
    let words = [
        "page",
        file.to_str().unwrap(),
        "--writable",
        "--write-ratio",
        "0.9",
        "--resident",
        "1M",
        "--json",
    ];
    let Some(run) = run(&words) else {
        return;
    };
    assert_eq!(run.code, Some(0), "{}", run.err);
    let report: Value = serde_json::from_str(&run.out).unwrap();
    assert!(report["pages_written"].as_u64().unwrap() > 512, "{report}");
    assert!(report["pages_out"].as_u64().unwrap() > 0, "{report}");
    assert!(
        fs::read(&file).unwrap() == content,
        "the file was not changed back"
    );
}

#[test]
fn a_file_of_one_byte_is_a_page() {
    let folder = Folder::new("one");
    let file = folder.file(b"x");
    let Some(run) = run(&[
        "page",
        file.to_str().unwrap(),
        "--pattern",
        "random",
        "--accesses",
        "100",
    ]) else {
        return;
    };
    assert_eq!(run.code, Some(0), "{}", run.err);
}
