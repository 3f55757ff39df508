//! Goes through a recording event by event, with every world that still agrees with it.

use std::collections::HashSet;

use crate::record::{Event, Scenario};
use crate::world::{PAGE, Task, World};
use crate::{client, heard, note, pager};

/// How a scenario went.
pub(crate) enum Outcome {
    /// As recorded, but for these rows of the table of differences.
    Pass(Vec<&'static str>),
    /// Not as recorded, from the event of this number on (counted from 1).
    Differs { event: usize, why: String },
}

/// The most worlds that are followed at a time.
const WORLDS: usize = 2000;

/// Replays scenarios that were recorded one after the other on one machine.
pub(crate) fn replay(scenarios: &[Scenario]) -> Vec<Outcome> {
    let mut worlds = vec![World::new()];
    let mut reserve = Vec::new();
    let mut before = (0, String::new());
    let mut outcomes = Vec::new();
    for scenario in scenarios {
        if let Some((event, why)) = scenario.fault.clone() {
            outcomes.push(Outcome::Differs { event, why });
            before = (0, String::new());
            continue;
        }
        let number = number_of(&scenario.name);
        let follows = follows(&number, &before);
        if number.1.is_empty() || number.0 > before.0 {
            before = number;
        }
        if !follows {
            reserve = after_a_gap(scenario).into();
        }
        let other = run(&reserve, scenario).unwrap_or_default();
        match run(&worlds, scenario) {
            Ok(after) => {
                worlds = after;
                reserve = if scenario.events.iter().any(is_evidence) {
                    Vec::new()
                } else {
                    other
                };
            }
            Err(_) if !other.is_empty() => (worlds, reserve) = (other, Vec::new()),
            Err((event, why)) => {
                outcomes.push(Outcome::Differs { event, why });
                // What it left behind is not known.
                before = (0, String::new());
                continue;
            }
        }
        outcomes.push(Outcome::Pass(worlds[0].rows.iter().copied().collect()));
    }
    outcomes
}

/// True if nothing is missing between two scenarios; those with a letter were put in anywhere.
fn follows(number: &(usize, String), before: &(usize, String)) -> bool {
    if number.1.is_empty() {
        number.0 == before.0 + 1
    } else {
        number.0 <= before.0
    }
}

/// What the kernel says shows that it was in the state that was assumed.
fn is_evidence(event: &Event) -> bool {
    matches!(event, Event::Kernel { .. })
}

/// Scenarios in between are not in the file: what they left behind is not known. Either nothing, or
/// an object that is mapped, or one that is cached.
fn after_a_gap(scenario: &Scenario) -> [World; 3] {
    let length = mentioned(scenario);
    [
        World::new(),
        World::with_unknown(true, length),
        World::with_unknown(false, length),
    ]
}

/// How many pages an object must have at least to hold all that a scenario mentions.
fn mentioned(scenario: &Scenario) -> u64 {
    let pages = scenario.events.iter().filter_map(|event| match event {
        Event::Kernel { args, .. } | Event::Pager { args, .. } => {
            let length = args.number("len").or(args.number("cnt")).unwrap_or(0);
            Some(args.number("off")?.saturating_add(length).div_ceil(PAGE))
        }
        Event::Note(_) | Event::Begins { .. } | Event::Done { .. } | Event::Exception { .. } => None,
    });
    pages.max().unwrap_or(0).clamp(8, 256)
}

/// The number in a scenario's name, which counts them in the order they were recorded, and the
/// letter of one that was put in later.
fn number_of(name: &str) -> (usize, String) {
    let rest = name.trim_start_matches(char::is_alphabetic);
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let letter = rest[digits.len()..]
        .chars()
        .take_while(|c| c.is_alphabetic())
        .collect();
    (digits.parse().unwrap_or(0), letter)
}

fn run(starts: &[World], scenario: &Scenario) -> Result<Vec<World>, (usize, String)> {
    let length = mentioned(scenario);
    let mut worlds: Vec<World> = starts.iter().map(|world| world.at_start(length)).collect();
    if worlds.is_empty() {
        return Err((0, "there is no state to start from".into()));
    }
    for at in 0..scenario.events.len() {
        let next = follow(&worlds, &scenario.events, at);
        if next.is_empty() {
            return Err((at + 1, explain(&worlds[0], &scenario.events[at])));
        }
        worlds = next;
    }
    let last = worlds[0].clone();
    let done: Vec<World> = worlds.into_iter().filter_map(heard::nothing_left).collect();
    if done.is_empty() {
        return Err((
            scenario.events.len() + 1,
            format!("the recording ends, but {}", last.outlook()),
        ));
    }
    Ok(done)
}

/// Every world that agrees with one more event.
fn follow(worlds: &[World], events: &[Event], at: usize) -> Vec<World> {
    let mut seen = HashSet::new();
    let mut next = Vec::new();
    for world in worlds {
        for after in step(world, events, at) {
            if next.len() < WORLDS && seen.insert(after.signature()) {
                next.push(after);
            }
        }
    }
    next
}

fn step(world: &World, events: &[Event], at: usize) -> Vec<World> {
    let direct = understand(world, events, at);
    if !direct.is_empty() {
        return direct;
    }
    // The recorder prints a call when it has returned: what it caused may have been printed before.
    let early = |at| matches!(events.get(at), Some(Event::Pager { .. })) && !world.early.contains(&at);
    let next = (at + 1..events.len()).find(|at| events[*at].starts_something());
    let Some(call) = next.filter(|at| early(*at)) else {
        return heard::assume(world, events, at);
    };
    let mut worlds = pager::calls(world, events, call);
    worlds.iter_mut().for_each(|world| {
        world.early.insert(call);
    });
    let after: Vec<World> = worlds
        .iter()
        .flat_map(|world| understand(world, events, at))
        .collect();
    if after.is_empty() {
        heard::assume(world, events, at)
    } else {
        after
    }
}

fn understand(world: &World, events: &[Event], at: usize) -> Vec<World> {
    match &events[at] {
        Event::Note(text) => note::notes(world, text, events, at),
        Event::Kernel { msg, args } => heard::hears(world, msg, args),
        Event::Pager { .. } if world.early.contains(&at) => vec![world.clone()],
        Event::Pager { .. } => pager::calls(world, events, at),
        Event::Begins { what, count, value } => client::begins(world, (what, *count, *value), events, at),
        Event::Done { code, value } => client::done(world, *code, *value),
        Event::Exception { code } => client::exception(world, *code),
    }
}

fn explain(world: &World, event: &Event) -> String {
    let recorded = match event {
        Event::Note(text) => format!("recorded '{text}'"),
        Event::Kernel { msg, args } => format!("recorded {msg} {args:?}"),
        Event::Pager { msg, args } => format!("the call {msg} {args:?} has another result"),
        Event::Begins { what, .. } => format!("'{what}' cannot be carried out"),
        Event::Done { code, value } => format!("recorded done with code {code}, value {value:#x}"),
        Event::Exception { code } => format!("recorded exception with code {code}"),
    };
    format!("{recorded}; here {}", world.outlook())
}

impl World {
    fn at_start(&self, unknown_length: u64) -> Self {
        let mut world = self.clone();
        world.unknown_length = unknown_length;
        world.early.clear();
        world.rows.clear();
        world.free_text = false;
        world.pressed = false;
        world.refused_lock = false;
        world
    }

    /// What would come next, for people.
    fn outlook(&self) -> String {
        let task = match &self.task {
            Task::Idle => "the client is idle".to_owned(),
            Task::Over { code, .. } => format!("the client is done with code {code}"),
            Task::Read { .. } | Task::Write { .. } | Task::Copy { .. } | Task::Elsewhere => {
                "the client is busy".to_owned()
            }
        };
        match self.said.front() {
            Some((_, upcall)) => format!("the kernel says {upcall:?}, {task}"),
            None => format!("the kernel says nothing, {task}"),
        }
    }
}
