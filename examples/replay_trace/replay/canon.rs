//! Events in one form, whether recorded or made here: what is compared, and nothing else.
//!
//! Runs of pages are told page by page. Left out are what belongs to C alone (port reference
//! counts, results of message handlers, diagnostics), how often the extent is asked for, and how
//! the original's copy maps its windows.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::trace::{number, text_of, texts, truth};

pub(crate) const PAGE: u64 = 4096;

/// One event of a pager.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) pager: String,
    /// The step whose thread did it: not compared.
    pub(crate) thread: u64,
    pub(crate) what: What,
}

impl PartialEq for Seen {
    fn eq(&self, other: &Self) -> bool {
        (&self.pager, &self.what) == (&other.pager, &other.what)
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Ready {
        control: String,
        attributes: String,
    },
    Supply {
        control: String,
        page: u64,
        tag: String,
        lock: String,
        precious: bool,
    },
    Error {
        control: String,
        page: u64,
        error: String,
    },
    LockRequest {
        offset: u64,
        length: u64,
        should_return: String,
        flush: bool,
        lock: String,
        reply: bool,
    },
    ChangeAttributes {
        attributes: String,
        reply: bool,
    },
    ReadPage {
        page: u64,
    },
    WritePage {
        page: u64,
        tag: String,
    },
    WritePages {
        page: u64,
        tags: Vec<String>,
    },
    UnlockPage {
        page: u64,
    },
    NotifyEvict {
        page: u64,
    },
    DropWeak,
    ClearUserData,
    Freed,
    Released {
        tag: String,
    },
    PortDestroyed,
    Returned {
        call: String,
        step: u64,
        result: String,
    },
}

impl What {
    /// The page that is read, supplied or refused.
    pub(crate) fn served(&self) -> Option<u64> {
        if let Self::ReadPage { page } | Self::Supply { page, .. } | Self::Error { page, .. } = self {
            Some(*page)
        } else {
            None
        }
    }

    /// The page that is refused, with the error.
    pub(crate) fn error(&self) -> Option<(u64, &str)> {
        if let Self::Error { page, error, .. } = self {
            Some((*page, error))
        } else {
            None
        }
    }

    /// The first byte that a lock request is about, and the lock.
    pub(crate) fn lock(&self) -> Option<(u64, &str)> {
        if let Self::LockRequest { offset, lock, .. } = self {
            Some((*offset, lock))
        } else {
            None
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:?}", self.pager, self.what)
    }
}

/// The events that a recorded event stands for: none if it is not compared.
pub(crate) fn recorded(event: &Value, owners: &BTreeMap<u64, String>) -> Vec<Seen> {
    let pager = pager_of(event, owners);
    let thread = number(&event["step"]);
    let whats = match event["ev"].as_str().unwrap_or_default() {
        "kernel" => kernel(event),
        "callback" => callback(event),
        "api_return" => returned(event),
        "pager_freed" => vec![What::Freed],
        "memory" => texts(&event["pages"])
            .into_iter()
            .map(|tag| What::Released { tag })
            .collect(),
        "port" if event["call"] == "destroy_receive_right" => vec![What::PortDestroyed],
        _ => Vec::new(),
    };
    whats
        .into_iter()
        .map(|what| Seen {
            pager: pager.clone(),
            thread,
            what,
        })
        .collect()
}

/// The pager of an event: where it does not name it, that of the step whose thread made the event.
pub(crate) fn pager_of(event: &Value, owners: &BTreeMap<u64, String>) -> String {
    let owner = owners.get(&number(&event["step"])).map_or("P0", String::as_str);
    match event["call"].as_str() {
        Some("inhibit_workers" | "resume_workers") => "P0",
        _ => event["pager"].as_str().unwrap_or(owner),
    }
    .to_owned()
}

fn kernel(event: &Value) -> Vec<What> {
    let control = text_of(&event["control"]);
    let page = number(&event["offset"]) / PAGE;
    let reply = event["reply_to"].as_str().is_some_and(|port| port != "null");
    match event["call"].as_str().unwrap_or_default() {
        "ready" => vec![What::Ready {
            control,
            attributes: attributes(event),
        }],
        "data_supply" => texts(&event["pages"])
            .into_iter()
            .zip(page..)
            .map(|(tag, page)| What::Supply {
                control: control.clone(),
                page,
                tag,
                lock: text_of(&event["lock"]),
                precious: truth(&event["precious"]),
            })
            .collect(),
        "data_error" => (page..page + number(&event["length"]) / PAGE)
            .map(|page| What::Error {
                control: control.clone(),
                page,
                error: text_of(&event["error"]),
            })
            .collect(),
        "lock_request" => vec![What::LockRequest {
            offset: number(&event["offset"]),
            length: number(&event["length"]),
            should_return: text_of(&event["return"]),
            flush: truth(&event["flush"]),
            lock: text_of(&event["lock"]),
            reply,
        }],
        "change_attributes" => vec![What::ChangeAttributes {
            attributes: attributes(event),
            reply,
        }],
        _ => Vec::new(),
    }
}

/// Attributes as one text.
pub(crate) fn attributes(json: &Value) -> String {
    let may_cache = truth(&json["may_cache"]);
    format!("may_cache={may_cache} copy={}", text_of(&json["copy_strategy"]))
}

fn callback(event: &Value) -> Vec<What> {
    let page = number(&event["offset"]) / PAGE;
    match event["call"].as_str().unwrap_or_default() {
        "read_page" => vec![What::ReadPage { page }],
        "write_page" => vec![What::WritePage {
            page,
            tag: text_of(&event["data"]),
        }],
        "write_pages" => vec![What::WritePages {
            page,
            tags: texts(&event["pages"]),
        }],
        "unlock_page" => vec![What::UnlockPage { page }],
        "notify_evict" => vec![What::NotifyEvict { page }],
        "dropweak" => vec![What::DropWeak],
        "clear_user_data" => vec![What::ClearUserData],
        _ => Vec::new(),
    }
}

fn returned(event: &Value) -> Vec<What> {
    let call = text_of(&event["call"]);
    let result = match call.as_str() {
        "get_error" | "inhibit_workers" => text_of(&event["result"]),
        "memcpy" => format!("{} {}", text_of(&event["result"]), event["copied"]),
        "create" | "get_port" | "create_ro_port" | "start_workers" | "ports_claim_right" => {
            return Vec::new();
        }
        _ => String::new(),
    };
    vec![What::Returned {
        call,
        step: number(&event["step"]),
        result,
    }]
}
