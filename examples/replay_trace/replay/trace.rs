//! A recorded trace, as far as it is replayed. The format is JSON, one file a trace.

use std::collections::BTreeMap;

use serde_json::Value;

/// A recording of the original library.
pub(crate) struct Trace {
    pub(crate) name: String,
    pub(crate) defect: bool,
    pub(crate) undefined: bool,
    /// Thread schedules with another outcome were seen.
    pub(crate) unsteady: bool,
    pub(crate) workers: bool,
    pub(crate) bulk: bool,
    pub(crate) notify_on_evict: bool,
    pub(crate) may_cache: bool,
    pub(crate) copy_strategy: String,
    pub(crate) extent: (u64, u64),
    pub(crate) store: Vec<(u64, String)>,
    pub(crate) end_store: Option<Vec<(u64, String)>>,
    pub(crate) steps: Vec<Step>,
    /// In which step the handler of each message ended.
    pub(crate) ended: BTreeMap<u64, u64>,
    /// What each step does.
    pub(crate) ops: BTreeMap<u64, String>,
    /// The pager of each step.
    pub(crate) owners: BTreeMap<u64, String>,
}

/// One step: what is scripted, what is done, and what the original did then.
pub(crate) struct Step {
    pub(crate) number: u64,
    pub(crate) answers: Vec<Value>,
    pub(crate) action: Value,
    pub(crate) then: Vec<Value>,
    /// The steps whose threads were blocked when it was done.
    pub(crate) blocked: Vec<u64>,
}

impl Trace {
    /// Reads a trace; says what is wrong with it otherwise.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let json: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        let name = json["name"].as_str().ok_or("the trace has no name")?.to_owned();
        let steps = json["steps"].as_array().ok_or("the trace has no steps")?;
        let pager = &json["pager"];
        for (at, json) in steps.iter().enumerate() {
            sound(json).map_err(|error| format!("step {at} of the file: {error}"))?;
        }
        Ok(Self {
            name,
            defect: json["defect"].is_string(),
            undefined: !json["undefined_behaviour"].is_null() && json["undefined_behaviour"] != false,
            unsteady: json["schedules"]["other_outcome"].as_u64().unwrap_or(0) > 0,
            workers: json["delivery"] == "workers",
            bulk: json["bulk_write"] == "scripted",
            notify_on_evict: truth(&pager["notify_on_evict"]),
            may_cache: truth(&pager["may_cache"]),
            copy_strategy: text_of(&pager["copy_strategy"]),
            extent: (
                number(&pager["extent"]["offset"]),
                number(&pager["extent"]["size"]),
            ),
            store: pages(&json["backing_store"]).unwrap_or_default(),
            end_store: pages(&json["end_backing_store"]),
            ended: steps.iter().flat_map(ended).collect(),
            ops: steps
                .iter()
                .map(|json| (number(&json["step"]), text_of(&json["do"]["op"])))
                .collect(),
            steps: steps.iter().enumerate().map(step).collect(),
            owners: steps.iter().filter_map(owner).collect(),
        })
    }
}

fn owner(json: &Value) -> Option<(u64, String)> {
    Some((number(&json["step"]), json["do"]["pager"].as_str()?.to_owned()))
}

/// Every kind of event that is recorded.
const EVENTS: &[&str] = &[
    "kernel",
    "callback",
    "callback_done",
    "api_return",
    "server_return",
    "request_destroyed",
    "undeliverable",
    "message_held",
    "reply_sent",
    "memory",
    "port",
    "diagnostic",
    "page_fault",
    "pager_freed",
    "assertion_failed",
    "crash",
    "hang",
];

/// Says what of a step makes no sense.
fn sound(json: &Value) -> Result<(), String> {
    let action = &json["do"];
    if !action["op"].is_string() {
        return Err("it does not say what is done (`do` with an `op`)".to_owned());
    }
    let events = match &json["then"] {
        Value::Array(events) => events.as_slice(),
        Value::Null => &[],
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            return Err("`then` is no list".to_owned());
        }
    };
    for event in events {
        let kind = event["ev"]
            .as_str()
            .ok_or("an event does not say what it is (`ev`)")?;
        if !EVENTS.contains(&kind) {
            return Err(format!("an event of unknown kind: {kind}"));
        }
    }
    let list = |name: &str| json[name].is_array() || json[name].is_null();
    if !list("answers") || !list("blocked") {
        return Err("`answers` or `blocked` is no list".to_owned());
    }
    let parts = action["ops"].as_array().into_iter().flatten();
    let mut all = events.iter().chain(parts).chain([action]);
    let odd = |value: &Value| {
        ["offset", "length"]
            .iter()
            .any(|name| !value[*name].is_null() && !value[*name].is_u64())
    };
    match all.find(|value| odd(value)) {
        Some(value) => Err(format!("`offset` or `length` is no number of bytes in {value}")),
        None => Ok(()),
    }
}

/// The messages whose handlers ended in this step.
fn ended(json: &Value) -> Vec<(u64, u64)> {
    let events = json["then"].as_array().into_iter().flatten();
    events
        .filter(|event| event["ev"] == "server_return")
        .map(|event| (number(&event["step"]), number(&json["step"])))
        .collect()
}

fn step((at, json): (usize, &Value)) -> Step {
    Step {
        number: json["step"].as_u64().unwrap_or(at as u64),
        answers: json["answers"].as_array().cloned().unwrap_or_default(),
        action: json["do"].clone(),
        then: json["then"].as_array().cloned().unwrap_or_default(),
        blocked: json["blocked"]
            .as_array()
            .map(|list| list.iter().map(|thread| number(&thread["step"])).collect())
            .unwrap_or_default(),
    }
}

fn pages(json: &Value) -> Option<Vec<(u64, String)>> {
    let pages = json.as_object()?.iter();
    Some(
        pages
            .filter_map(|(page, tag)| Some((page.parse().ok()?, text_of(tag))))
            .collect(),
    )
}

/// A truth value, written as a number in places.
pub(crate) fn truth(json: &Value) -> bool {
    json.as_bool().unwrap_or_else(|| json.as_i64().unwrap_or(0) != 0)
}

/// A number; 0 if there is none.
pub(crate) fn number(json: &Value) -> u64 {
    json.as_u64().unwrap_or(0)
}

/// A text; empty if there is none.
pub(crate) fn text_of(json: &Value) -> String {
    json.as_str().unwrap_or_default().to_owned()
}

/// A list of texts.
pub(crate) fn texts(json: &Value) -> Vec<String> {
    json.as_array()
        .map(|list| list.iter().map(text_of).collect())
        .unwrap_or_default()
}
