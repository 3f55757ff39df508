//! The scripted answers of the user's callbacks, each bound to the call that it was recorded for.
//!
//! An answer is used up by the first call that fits, in the recording. Where the replay calls
//! otherwise by design, the answers must not slip to other calls: so each recorded call is given its
//! answer beforehand, and a call that was not recorded succeeds at once.

use std::collections::BTreeMap;

use serde_json::Value;

use super::canon::{self, PAGE};
use super::trace::{Trace, number, text_of};

#[derive(Default)]
pub(crate) struct Answers {
    /// What holds messages and calls of the kernel.
    queue: Vec<Value>,
    recorded: Vec<Recorded>,
    /// The step that is being done.
    now: u64,
}

/// A callback that was recorded.
struct Recorded {
    call: String,
    pager: String,
    page: u64,
    /// The step whose thread called it.
    thread: u64,
    /// The step in which it was called.
    at: u64,
    /// The step in which it was let go, if it was held.
    let_go: u64,
    answer: Scripted,
}

/// What a callback does when it is called.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scripted {
    pub(crate) hold: bool,
    pub(crate) error: Option<String>,
    pub(crate) data: Option<String>,
    pub(crate) write_lock: bool,
    /// Bytes.
    pub(crate) written: Option<u64>,
    pub(crate) calls: Option<String>,
    pub(crate) drops_weak: bool,
}

impl Answers {
    /// Gives each recorded call its answer.
    pub(crate) fn bind(trace: &Trace) -> Self {
        let mut script = Self::default();
        let mut recorded = Vec::new();
        for step in &trace.steps {
            script.extend(&step.answers);
            for event in &step.then {
                if event["ev"] == "callback" {
                    recorded.push(script.bind_one(event, step.number, &trace.owners));
                } else if event["ev"] == "callback_done" {
                    let_go(&mut recorded, event, step.number);
                }
            }
        }
        Self {
            recorded,
            ..Self::default()
        }
    }

    fn bind_one(&mut self, event: &Value, at: u64, owners: &BTreeMap<u64, String>) -> Recorded {
        let call = text_of(&event["call"]);
        let pager = canon::pager_of(event, owners);
        let page = number(&event["offset"]) / PAGE;
        Recorded {
            answer: self.take("callback", &call, &pager, page).unwrap_or_default(),
            call,
            pager,
            page,
            thread: number(&event["step"]),
            at,
            let_go: u64::MAX,
        }
    }

    /// A step begins.
    pub(crate) fn begin(&mut self, step: u64, answers: &[Value]) {
        self.now = step;
        self.extend(answers);
    }

    fn extend(&mut self, answers: &[Value]) {
        self.queue.extend_from_slice(answers);
    }

    /// The answer for this invocation: the first that fits is used up.
    pub(crate) fn take(&mut self, kind: &str, what: &str, pager: &str, page: u64) -> Option<Scripted> {
        let fits = |answer: &Value| {
            answer[kind] == what
                && answer["pager"].as_str().is_none_or(|name| name == pager)
                && answer["offset"]
                    .as_u64()
                    .is_none_or(|offset| offset == page * PAGE)
        };
        let at = self.queue.iter().position(fits)?;
        Some(scripted(&self.queue.remove(at)))
    }

    /// The answer for a callback that `thread` calls: that of the recorded call which it stands for.
    pub(crate) fn callback(&mut self, call: &str, pager: &str, page: u64, thread: u64) -> Scripted {
        let now = self.now;
        // The same thread's, or one of a thread that was there already; at its time, or early.
        let rank = |recorded: &Recorded| {
            let same = recorded.thread == thread;
            let fits = (recorded.call.as_str(), recorded.pager.as_str(), recorded.page)
                == (call, pager, page)
                && recorded.thread <= now
                && (same || recorded.at >= now);
            fits.then_some((recorded.at != now, !same, recorded.at))
        };
        let best = (0..self.recorded.len())
            .filter_map(|at| Some((rank(&self.recorded[at])?, at)))
            .min();
        let Some((_, at)) = best else {
            return Scripted::default();
        };
        let Recorded { answer, let_go, .. } = self.recorded.remove(at);
        // What is called only after it was let go is not held.
        let hold = answer.hold && let_go > now;
        Scripted { hold, ..answer }
    }
}

/// Notes when a call that was held was let go.
fn let_go(recorded: &mut [Recorded], event: &Value, at: u64) {
    let (thread, page) = (number(&event["step"]), number(&event["offset"]) / PAGE);
    let held = recorded.iter_mut().find(|call| {
        call.let_go == u64::MAX
            && call.thread == thread
            && call.page == page
            && event["call"] == call.call.as_str()
    });
    if let Some(held) = held {
        held.let_go = at;
    }
}

fn scripted(answer: &Value) -> Scripted {
    let error = answer["error"].as_str().filter(|error| *error != "success");
    Scripted {
        hold: answer["hold"] == true,
        error: error.map(str::to_owned),
        data: answer["data"].as_str().map(str::to_owned),
        write_lock: answer["write_lock"] == true,
        written: answer["written"]
            .as_u64()
            .or(answer["error"].is_string().then(|| number(&answer["written"]))),
        calls: answer["calls"].as_str().map(str::to_owned),
        drops_weak: answer["drops_its_weak_reference"] == true,
    }
}

/// The name of an error, as callers tell them apart.
pub(crate) fn kind(error: &str) -> &'static str {
    match error {
        "ENOSPC" => "ENOSPC",
        "EDQUOT" => "EDQUOT",
        _ => "EIO",
    }
}
