//! Compares a replay with its recording.

use std::collections::BTreeSet;

use super::canon::{self, Seen};
use super::ending;
use super::rules::{Rule, Rules};
use super::trace::{Step, Trace};
use super::world::World;

/// The outcome of one replay.
pub(crate) struct Outcome {
    /// The trace's name.
    pub(crate) name: String,
    /// The differences that are by design: names of rows of docs/differences.md.
    pub(crate) rows: BTreeSet<Rule>,
    /// What differs otherwise; empty for a pass.
    pub(crate) differs: Option<String>,
}

/// Replays the trace in `text`.
pub(crate) fn replay(text: &str) -> Result<Outcome, String> {
    let trace = Trace::parse(text)?;
    let mut world = World::new(&trace);
    let mut rules = Rules::new(&trace);
    let mut differs = None;
    for step in &trace.steps {
        differs = compare(&mut world, &mut rules, &trace, step).err();
        if differs.is_some() {
            break;
        }
    }
    if differs.is_none() {
        differs = ending::finish(&mut world, &rules, &trace).err();
    }
    Ok(Outcome {
        name: trace.name,
        rows: rules.used(),
        differs,
    })
}

fn compare(world: &mut World, rules: &mut Rules, trace: &Trace, step: &Step) -> Result<(), String> {
    let fail = |what: String| Err(format!("step {}: {what}", step.number));
    world.begin_step(step.number, &step.answers);
    world.refused.clear();
    rules.before(world, step);
    world.act(step.number, &step.action);
    let mut expected: Vec<Seen> = step
        .then
        .iter()
        .flat_map(|event| canon::recorded(event, &trace.owners))
        .collect();
    let mut got = std::mem::take(&mut world.log);
    world.did.clone_from(&got);
    if let Some(broken) = world.broken.first() {
        return fail(broken.clone());
    }
    if std::env::var_os("DBG").is_some() {
        eprintln!("-- {} {}", step.number, step.action);
        for g in &got {
            eprintln!("     {} by {}", g, g.thread);
        }
        for p in &world.pagers {
            eprintln!(
                "   conf {:?} calls {:?} hand {:?}",
                p.confirmations, p.calls, p.handling
            );
        }
        eprintln!(
            "   held {:?}",
            world
                .held
                .iter()
                .map(|h| (h.what.clone(), h.page, h.thread))
                .collect::<Vec<_>>()
        );
    }
    cancel(&mut expected, &mut got);
    rules.explain(world, step, &mut expected, &mut got);
    match (expected.first(), got.first()) {
        (None, None) => Ok(()),
        (expected, got) => fail(format!("expected {}, got {}", tell(expected), tell(got))),
    }
}

/// Takes out what is in both.
pub(crate) fn cancel(expected: &mut Vec<Seen>, got: &mut Vec<Seen>) {
    expected.retain(|seen| match got.iter().position(|other| other == seen) {
        Some(at) => {
            got.remove(at);
            false
        }
        None => true,
    });
}

fn tell(seen: Option<&Seen>) -> String {
    seen.map_or("nothing".to_owned(), |seen| seen.to_string())
}
