//! What the program says when it cannot do what it is asked.

use crate::support::{Folder, run};

/// One sentence on standard error that has these words in it, nothing on standard output, this
/// exit code.
fn refuses(words: &[&str], code: i32, parts: &[&str]) {
    let Some(run) = run(words) else {
        return;
    };
    assert_eq!(run.code, Some(code), "{words:?}: {}", run.err);
    assert!(run.err.starts_with("error: "), "{words:?}: {}", run.err);
    assert!(run.out.is_empty(), "{words:?}: {}", run.out);
    for part in parts {
        assert!(
            run.err.contains(part),
            "{words:?}: `{part}` is not in: {}",
            run.err
        );
    }
}

#[test]
fn files_that_cannot_be_paged_are_named_with_the_reason() {
    let folder = Folder::new("errors");
    let (path, empty) = (folder.path(), folder.file(b""));
    let missing = path.join("missing");
    refuses(
        &["page", missing.to_str().unwrap()],
        3,
        &["missing", "no such file"],
    );
    refuses(&["page", path.to_str().unwrap()], 3, &["directory"]);
    refuses(&["page", empty.to_str().unwrap()], 3, &["empty"]);
    refuses(&["page", "/dev/null"], 3, &["/dev/null"]);
}

#[test]
fn a_bound_that_is_too_small_is_refused_with_the_least() {
    refuses(&["demo", "--resident", "64K"], 2, &["64 KiB", "at least 1 MiB"]);
    refuses(&["demo", "--size", "1K"], 2, &["1 KiB", "--size at least"]);
}

#[test]
fn words_that_make_no_sense_are_refused() {
    refuses(&["demo", "--size", "12Q"], 2, &["12Q", "32M"]);
    refuses(&["demo", "--write-ratio", "2"], 2, &["from 0 to 1"]);
    refuses(&["demo", "--threads", "0"], 2, &["--threads"]);
    refuses(&["page", "file", "--write-ratio", "0.5"], 2, &["--writable"]);
    refuses(&["nonsense"], 2, &["nonsense"]);
}

#[test]
fn a_place_without_room_is_refused_before_anything_is_written() {
    refuses(&["demo", "--size", "1000000T"], 3, &["do not fit", "--folder"]);
    refuses(
        &["demo", "--folder", "/nowhere/at/all"],
        3,
        &["/nowhere/at/all", "--folder"],
    );
}

#[test]
fn help_names_every_option_and_exit_code() {
    let run = run(&["page", "--help"]).unwrap();
    assert_eq!(run.code, Some(0));
    let options = [
        "--resident",
        "--threads",
        "--pattern",
        "--write-ratio",
        "--seed",
        "--json",
        "--writable",
    ];
    for part in options.iter().chain(&["Exit codes:"]) {
        assert!(run.out.contains(part), "{part}");
    }
}
