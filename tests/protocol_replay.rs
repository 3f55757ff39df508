//! The simulated kernel behaves as real GNU Mach kernels were recorded to.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "../examples/replay_protocol/client.rs"]
mod client;
#[path = "../examples/replay_protocol/discover.rs"]
mod discover;
#[path = "../examples/replay_protocol/heard.rs"]
mod heard;
#[path = "../examples/replay_protocol/note.rs"]
mod note;
#[path = "../examples/replay_protocol/pager.rs"]
mod pager;
#[path = "../examples/replay_protocol/record.rs"]
mod record;
#[path = "../examples/replay_protocol/replay.rs"]
mod replay;
#[path = "../examples/replay_protocol/world.rs"]
mod world;

use replay::Outcome;

const RECORDING: &str = include_str!("data/gnumach/protocol.json");
const DIFFERENCES: &str = include_str!("../docs/differences.md");

fn outcomes(text: &str) -> Vec<(String, Outcome)> {
    let scenarios = record::parse(text).unwrap();
    let outcomes = replay::replay(&scenarios);
    scenarios
        .into_iter()
        .map(|scenario| scenario.name)
        .zip(outcomes)
        .collect()
}

#[test]
fn every_recorded_scenario_passes_or_has_a_row_that_says_why_not() {
    let outcomes = outcomes(RECORDING);
    assert_eq!(outcomes.len(), 40);
    for (name, outcome) in outcomes {
        match outcome {
            Outcome::Pass(rows) => {
                for row in rows {
                    assert!(
                        DIFFERENCES.contains(&format!("`{row}`")),
                        "{name}: no row for {row}"
                    );
                }
            }
            Outcome::Differs { event, why } => panic!("{name} differs at event {event}: {why}"),
        }
    }
}

/// A replay that accepts anything would show nothing: one changed number must be found.
#[test]
fn a_recording_of_another_kernel_differs() {
    for (scenario, message, argument, value) in [
        ("s01", "data_request", "access", "3"),
        ("s02", "data_request", "len", "0x2000"),
        ("s05", "data_return", "kernel_copy", "0"),
        ("s06", "lock_completed", "len", "0x1000"),
        ("s09", "data_unlock", "access", "2"),
        ("s13", "supply_completed", "result", "23"),
        ("s16", "data_return", "cnt", "0x2000"),
        ("s20", "change_completed", "copy", "1"),
        ("s32-", "data_return", "cnt", "0x28000"),
    ] {
        let changed = changed(scenario, |events| {
            let event = events.iter_mut().find(|event| event["msg"] == message).unwrap();
            event["args"][argument] = value.into();
        });
        assert_differs(scenario, &changed, &format!("{message} with {argument}={value}"));
    }
    for (scenario, message) in [
        ("s19", "data_return"),
        ("s22", "terminate"),
        ("s16", "lock_completed"),
    ] {
        let changed = changed(scenario, |events| {
            let at = events.iter().position(|event| event["msg"] == message).unwrap();
            events.remove(at);
        });
        assert_differs(scenario, &changed, &format!("no {message}"));
    }
}

fn changed(scenario: &str, change: impl FnOnce(&mut Vec<serde_json::Value>)) -> String {
    let mut recording: serde_json::Value = serde_json::from_str(RECORDING).unwrap();
    let scenarios = recording["scenarios"].as_array_mut().unwrap();
    let named = |value: &&mut serde_json::Value| value["scenario"].as_str().unwrap().starts_with(scenario);
    let found = scenarios.iter_mut().find(named).unwrap();
    change(found["events"].as_array_mut().unwrap());
    recording.to_string()
}

fn assert_differs(scenario: &str, recording: &str, what: &str) {
    let outcomes = outcomes(recording);
    let outcome = outcomes.iter().find(|(name, _)| name.starts_with(scenario));
    let differs = outcome.is_some_and(|(_, outcome)| matches!(outcome, Outcome::Differs { .. }));
    assert!(differs, "{scenario} with {what} must differ");
}

/// What cannot be read is told where it stands; the other scenarios are replayed all the same.
#[test]
fn what_is_no_recording_is_refused_with_a_reason() {
    for (text, reason) in [
        ("", "not JSON"),
        (r#"{"scenarios": [{"scenario": "s01", "ev"#, "not JSON"),
        ("7", "no list of scenarios"),
        (r#"{"scenarios": []}"#, "no scenarios"),
        (r#"{"scenarios": [3]}"#, "no name"),
        (
            r#"{"scenarios": [{"scenario": "s01", "events": 3}]}"#,
            "no events",
        ),
    ] {
        let error = record::parse(text).err().unwrap_or_default();
        assert!(error.contains(reason), "{text:?} gives {error:?}, not {reason:?}");
    }
    let text = r#"{"scenarios": [
        {"scenario": "s01", "events": [{"kind": "earthquake"}]},
        {"scenario": "s02", "events": [{"kind": "kernel_to_pager", "msg": "tremor", "args": {"off": "0x1000", "len": "0x1000"}}]},
        {"scenario": "s03", "events": [{"kind": "note", "text": "port A"}]},
        {"scenario": "s04", "events": [{"kind": "pager_to_kernel", "msg": "data_supply", "args": {"off": "0xffffffffffffffff"}}]}
    ]}"#;
    let outcomes = outcomes(text);
    let why = |at: usize| match &outcomes[at].1 {
        Outcome::Differs { event, why } => format!("event {event}: {why}"),
        Outcome::Pass(_) => "pass".to_owned(),
    };
    assert!(why(0).contains("event 1: an event of unknown kind"), "{}", why(0));
    assert!(why(1).contains("recorded tremor"), "{}", why(1));
    assert_eq!(why(2), "pass");
    assert!(why(3).contains("no object is as large"), "{}", why(3));
}
