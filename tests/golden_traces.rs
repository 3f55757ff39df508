//! Every recording of the original library under `tests/data/traces` replays, or differs by design
//! in a way that docs/differences.md has a row for; so do the sequences under `modelled`, which a
//! model of the original made (it foretells the recordings): neighbours of what was recorded.

#[path = "../examples/replay_trace/replay/mod.rs"]
mod replay;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn recordings() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/traces");
    let mut files = Vec::new();
    for folder in ["handmade", "modelled", "random"] {
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
        files.len() >= 430,
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

/// Whatever event of a recording is dropped, said twice or said of other data, it is noticed: all
/// but a few, which lie where a row lets the two go different ways.
#[test]
fn hardly_any_change_of_a_recording_passes() {
    let (mut changed, mut passed) = (0, Vec::new());
    for file in recordings().iter().step_by(5) {
        let text = std::fs::read_to_string(file).unwrap();
        let trace: serde_json::Value = serde_json::from_str(&text).unwrap();
        let steady = trace["schedules"]["other_outcome"] == 0;
        if !trace["defect"].is_null() || !trace["undefined_behaviour"].is_null() || !steady {
            continue;
        }
        for at in 0..3 {
            for change in [
                drop_event,
                repeat_event,
                |events: &mut Vec<serde_json::Value>, at| change_data(events, at),
            ] {
                let Some(what) = change_one(&trace, at, change) else {
                    continue;
                };
                changed += 1;
                let outcome = replay::replay(&what).unwrap();
                passed.extend(outcome.differs.is_none().then_some(outcome.name));
            }
        }
    }
    assert!(changed > 400, "only {changed} changes were made");
    assert!(
        passed.len() * 12 < changed,
        "{} of {changed} changes pass: {passed:?}",
        passed.len()
    );
}

type Change = fn(&mut Vec<serde_json::Value>, usize) -> bool;

fn drop_event(events: &mut Vec<serde_json::Value>, at: usize) -> bool {
    events.remove(at);
    true
}

fn repeat_event(events: &mut Vec<serde_json::Value>, at: usize) -> bool {
    let again = events[at].clone();
    events.insert(at, again);
    true
}

fn change_data(events: &mut [serde_json::Value], at: usize) -> bool {
    let has_data = events[at]["pages"].is_array();
    if has_data {
        events[at]["pages"][0] = "Z99".into();
    }
    has_data
}

/// The trace with one event changed: one that is compared, at the first, second or third quarter.
fn change_one(trace: &serde_json::Value, quarter: usize, change: Change) -> Option<String> {
    let mut trace = trace.clone();
    let steps = trace["steps"].as_array_mut()?;
    let is_told = |event: &serde_json::Value| {
        matches!(
            event["call"].as_str(),
            Some("data_supply" | "data_error" | "write_page" | "unlock_page" | "ready")
        )
    };
    let mut places = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let events = step["then"].as_array()?.iter().enumerate();
        places.extend(
            events
                .filter(|(_, event)| is_told(event))
                .map(|(at, _)| (number, at)),
        );
    }
    let &(step, at) = places.get(places.len() * (quarter + 1) / 4)?;
    let done = change(steps[step]["then"].as_array_mut()?, at);
    done.then(|| trace.to_string())
}

/// A file that is no recording gets a sentence that says why, whatever is in it.
#[test]
fn what_is_no_recording_is_refused_with_a_reason() {
    let step = |step: &str| format!(r#"{{"name": "bad", "steps": [{step}]}}"#);
    let huge = r#"{"do": {"op": "memcpy", "offset": 1e300, "length": 1}, "then": []}"#;
    for (text, reason) in [
        (String::new(), "not JSON"),
        (r#"{"name": "cut", "steps": ["#.to_owned(), "not JSON"),
        ("[1, 2]".to_owned(), "no name"),
        (r#"{"name": 7, "steps": []}"#.to_owned(), "no name"),
        (r#"{"name": "bad", "steps": 3}"#.to_owned(), "no steps"),
        (step("17"), "what is done"),
        (step(r#"{"do": {"op": "init"}, "then": 5}"#), "no list"),
        (
            step(r#"{"do": {"op": "init"}, "then": [{"ev": "earthquake"}]}"#),
            "unknown kind: earthquake",
        ),
        (step(huge), "no number of bytes"),
    ] {
        let error = replay::replay(&text).err().unwrap_or_default();
        assert!(error.contains(reason), "{text:?} gives {error:?}, not {reason:?}");
    }
    let wide = r#"{"do": {"op": "sync_some", "offset": 18446744073709551615, "length": 18446744073709551615}, "then": []}"#;
    assert!(replay::replay(&step(wide)).is_ok());
}
