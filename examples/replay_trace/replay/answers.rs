//! The scripted answers of the user's callbacks.

use serde_json::Value;

use super::canon::PAGE;
use super::trace::number;

#[derive(Default)]
pub(crate) struct Answers {
    queue: Vec<Value>,
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
    pub(crate) fn extend(&mut self, answers: &[Value]) {
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
        let answer = self.queue.remove(at);
        let error = answer["error"].as_str().filter(|error| *error != "success");
        Some(Scripted {
            hold: answer["hold"] == true,
            error: error.map(str::to_owned),
            data: answer["data"].as_str().map(str::to_owned),
            write_lock: answer["write_lock"] == true,
            written: answer["written"]
                .as_u64()
                .or(answer["error"].is_string().then(|| number(&answer["written"]))),
            calls: answer["calls"].as_str().map(str::to_owned),
            drops_weak: answer["drops_its_weak_reference"] == true,
        })
    }

    pub(crate) fn callback(&mut self, what: &str, pager: &str, page: u64) -> Scripted {
        self.take("callback", what, pager, page).unwrap_or_default()
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
