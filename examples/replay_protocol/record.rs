//! A recording: scenarios of events between pager, kernel and client, in the order they were seen.

use std::collections::BTreeMap;

use serde_json::Value;

/// One scenario.
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) events: Vec<Event>,
    /// The first event that makes no sense, counted from 1, and why.
    pub(crate) fault: Option<(usize, String)>,
}

/// The arguments of a message, as they were printed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Args(BTreeMap<String, String>);

/// One event.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// What the recorder did besides, or what it measured.
    Note(String),
    /// A message of the kernel's.
    Kernel { msg: String, args: Args },
    /// A call of the pager's.
    Pager { msg: String, args: Args },
    /// The client thread begins something.
    Begins { what: String, count: u64, value: u64 },
    /// The client thread is done.
    Done { code: u64, value: u64 },
    /// The client thread got an exception.
    Exception { code: u64 },
}

impl Args {
    /// The number of that name, decimal or hexadecimal.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name).and_then(|text| number(text))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

impl Event {
    /// True where the recorder or the client starts something new: what was expected before has come.
    pub(crate) fn starts_something(&self) -> bool {
        matches!(self, Self::Pager { .. } | Self::Begins { .. })
    }
}

/// Reads the scenarios of a file.
pub(crate) fn parse(text: &str) -> Result<Vec<Scenario>, String> {
    let file: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let scenarios = file.get("scenarios").unwrap_or(&file);
    let scenarios = scenarios.as_array().ok_or("the file has no list of scenarios")?;
    if scenarios.is_empty() {
        return Err("the file has no scenarios".to_owned());
    }
    scenarios.iter().map(scenario).collect()
}

fn scenario(value: &Value) -> Result<Scenario, String> {
    let name = text(value, "scenario")
        .or_else(|| text(value, "name"))
        .ok_or("a scenario has no name")?;
    let events = value
        .get("events")
        .and_then(Value::as_array)
        .ok_or("a scenario has no events")?;
    let mut read = Vec::new();
    let mut fault = None;
    for (at, value) in events.iter().enumerate() {
        match event(value) {
            Ok(event) if is_too_large(&event) => {
                fault.get_or_insert((at + 1, format!("no object is as large as {value}")));
            }
            Ok(event) => read.push(event),
            Err(why) => {
                fault.get_or_insert((at + 1, why));
            }
        }
    }
    Ok(Scenario {
        name,
        events: read,
        fault,
    })
}

/// The largest offset, and the longest range, that any object of a recording may have, in bytes.
const LARGEST: u64 = 1 << 40;
const LONGEST: u64 = 1 << 28;

/// True if a message points further than any object that can be simulated.
fn is_too_large(event: &Event) -> bool {
    match event {
        Event::Kernel { args, .. } | Event::Pager { args, .. } => {
            let beyond = |name: &str, most: u64| args.number(name).is_some_and(|number| number > most);
            beyond("off", LARGEST)
                || beyond("len", LONGEST)
                || beyond("cnt", LONGEST)
                || beyond("size", LONGEST)
        }
        Event::Begins { count, .. } => *count > LONGEST,
        Event::Note(text) => ["off ", "pages=", "n="]
            .iter()
            .any(|name| field(text, name) > Some(LARGEST)),
        Event::Done { .. } | Event::Exception { .. } => false,
    }
}

fn event(value: &Value) -> Result<Event, String> {
    let msg = || text(value, "msg").ok_or_else(|| format!("no message in {value}"));
    let words = || text(value, "text").ok_or_else(|| format!("no text in {value}"));
    match text(value, "kind").as_deref() {
        Some("note") => Ok(Event::Note(words()?)),
        Some("client") => client(&words()?),
        Some("kernel_to_pager") => Ok(Event::Kernel {
            msg: msg()?,
            args: args(value),
        }),
        Some("pager_to_kernel") => Ok(Event::Pager {
            msg: msg()?,
            args: args(value),
        }),
        Some("exception") => Ok(Event::Exception {
            code: args(value).number("code").unwrap_or(0),
        }),
        _ => Err(format!("an event of unknown kind: {value}")),
    }
}

fn client(words: &str) -> Result<Event, String> {
    if let Some(rest) = words.strip_prefix("done ") {
        let code = field(rest, "rc=").ok_or_else(|| format!("no result in '{words}'"))?;
        return Ok(Event::Done {
            code,
            value: field(rest, "val=").unwrap_or(0),
        });
    }
    let what = words.split(" n=").next().unwrap_or(words).trim().to_owned();
    let (count, value) = (field(words, " n=").unwrap_or(0), field(words, " v=").unwrap_or(0));
    Ok(Event::Begins { what, count, value })
}

fn args(value: &Value) -> Args {
    let object = value.get("args").and_then(Value::as_object);
    let printed = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Args(
        object
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), printed(value)))
            .collect(),
    )
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// The number that follows `name` in a line.
pub(crate) fn field(line: &str, name: &str) -> Option<u64> {
    let (_, rest) = line.split_once(name)?;
    let end = rest
        .find(|c: char| !c.is_ascii_alphanumeric())
        .unwrap_or(rest.len());
    number(&rest[..end])
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
