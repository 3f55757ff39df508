//! Every recording of the original library under `tests/data/traces` replays, or differs by design
//! in a way that docs/differences.md has a row for.

#[path = "../examples/replay_trace/replay/mod.rs"]
mod replay;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn recordings() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/traces");
    let mut files = Vec::new();
    for folder in ["handmade", "random"] {
        let entries = std::fs::read_dir(root.join(folder)).expect("the recordings are there");
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    files
}

#[test]
fn every_recording_passes() {
    let files = recordings();
    assert!(
        files.len() >= 380,
        "recordings are missing: {} found",
        files.len()
    );
    let mut differs = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        let outcome = replay::replay(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        differs.extend(outcome.differs.map(|what| format!("{}: {what}", outcome.name)));
    }
    assert!(differs.is_empty(), "{}", differs.join("\n"));
}

#[test]
fn every_difference_has_its_row() {
    let rows =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/differences.md")).unwrap();
    let mut used: BTreeMap<&str, String> = BTreeMap::new();
    for file in recordings() {
        let outcome = replay::replay(&std::fs::read_to_string(&file).unwrap()).unwrap();
        for row in outcome.rows {
            used.entry(row).or_insert_with(|| outcome.name.clone());
        }
    }
    for (row, trace) in used {
        assert!(
            rows.contains(&format!("`{row}`")),
            "{trace} differs by `{row}`, which has no row"
        );
    }
}

/// The comparison is not blind: a recording that says something else is told to differ, and where.
#[test]
fn a_changed_recording_differs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/traces/handmade");
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let changes = [
        ("read_ok.json", r#""pages":["D0"]"#, r#""pages":["D9"]"#),
        (
            "return_dirty.json",
            r#""call":"write_page""#,
            r#""call":"unlock_page""#,
        ),
        ("sync_waits_for_write.json", r#""flush":false"#, r#""flush":true"#),
        (
            "return_dirty_notify.json",
            r#""call":"notify_evict""#,
            r#""call":"dropweak""#,
        ),
        (
            "unlock_fails_EIO.json",
            r#""lock":"write","precious""#,
            r#""lock":"none","precious""#,
        ),
    ];
    for (name, from, to) in changes {
        let text = read(name);
        assert!(text.contains(from), "{name} has no {from}");
        let outcome = replay::replay(&text.replace(from, to)).unwrap();
        assert!(
            outcome.differs.is_some(),
            "{name} passes although {from} became {to}"
        );
    }
}
