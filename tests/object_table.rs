//! The whole table of page state × event, printed and compared with `tests/data/page_table.txt`.
//!
//! Run with `UPDATE_TABLE=1` to write the file anew.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::fmt::Write as _;
use std::path::Path;

use actor_pager::object::{
    CopyStrategy, DataId, Effect, Event, LockKind, MemoryObject, ObjectOptions, OpId, PageError, PageIndex,
    PageRange, PageSize, PagesSupplied, PortName, Prot, RequestToken,
};

const CONTROL: PortName = PortName(1);
const PAGE: u64 = 4096;

/// An object with one page of interest, and the operation in flight on it.
struct Subject {
    object: MemoryObject,
    op: OpId,
    next: u32,
}

impl Subject {
    fn new() -> Self {
        let mut options = ObjectOptions::new(PageSize::KIB_4);
        options.notify_on_evict = true;
        let mut subject = Self {
            object: MemoryObject::new(options),
            op: OpId(0),
            next: 0,
        };
        subject.feed(Event::Init {
            control: CONTROL,
            name: PortName(2),
            page_size: PAGE,
        });
        subject
    }

    fn feed(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.object.handle(event, &mut effects);
        for effect in &effects {
            if let Effect::Read { op, .. } | Effect::Write { op, .. } | Effect::Unlock { op, .. } = effect {
                self.op = *op;
            }
        }
        effects
    }

    fn data(&mut self) -> DataId {
        self.next += 1;
        DataId(self.next)
    }

    fn request(&mut self, access: Prot) -> Event {
        Event::DataRequest {
            control: CONTROL,
            offset: 0,
            length: PAGE,
            access,
        }
    }

    fn returned(&mut self, dirty: bool, kernel_copy: bool) -> Event {
        Event::DataReturn {
            control: CONTROL,
            offset: 0,
            length: PAGE,
            data: self.data(),
            dirty,
            kernel_copy,
        }
    }

    fn unlock(&mut self) -> Event {
        Event::DataUnlock {
            control: CONTROL,
            offset: 0,
            length: PAGE,
            access: Prot::WRITE,
        }
    }

    fn offer(&mut self, precious: bool) -> Event {
        Event::Offer {
            token: RequestToken(7),
            offset: 0,
            data: self.data(),
            precious,
            write_lock: false,
        }
    }

    fn lock(&mut self, kind: LockKind) -> Event {
        Event::Lock {
            token: RequestToken(8),
            kind,
            offset: 0,
            length: PAGE,
            wait: true,
        }
    }

    fn read(&mut self, result: Result<bool, PageError>) -> Event {
        let data = self.data();
        Event::PagesRead {
            op: self.op,
            range: PageRange::single(PageIndex(0)),
            result: result.map(|write_lock| PagesSupplied { data, write_lock }),
        }
    }

    fn written(&mut self, error: Option<PageError>) -> Event {
        Event::PagesWritten {
            op: self.op,
            written: u64::from(error.is_none()),
            error,
        }
    }

    fn unlocked(&mut self, result: Result<(), PageError>) -> Event {
        Event::PagesUnlocked { op: self.op, result }
    }
}

type Recipe = (&'static str, fn(&mut Subject));
type Happening = (&'static str, fn(&mut Subject) -> Event);

fn resident(subject: &mut Subject, write_lock: bool) {
    let event = subject.request(Prot::READ);
    subject.feed(event);
    let event = subject.read(Ok(write_lock));
    subject.feed(event);
}

fn returning(subject: &mut Subject, kernel_copy: bool) {
    resident(subject, false);
    let event = subject.returned(true, kernel_copy);
    subject.feed(event);
}

fn failed(subject: &mut Subject, kernel_copy: bool) {
    returning(subject, kernel_copy);
    let event = subject.written(Some(PageError::NoSpace));
    subject.feed(event);
}

/// How each state is come by.
const CONFIRMED: Event = Event::LockCompleted {
    control: CONTROL,
    offset: 0,
    length: PAGE,
};

const STATES: &[Recipe] = &[
    ("absent", |_| {}),
    ("absent, unlock refused", |s| {
        resident(s, true);
        let event = s.unlock();
        s.feed(event);
        let event = s.unlocked(Err(PageError::Quota));
        s.feed(event);
        let event = s.returned(false, false);
        s.feed(event);
    }),
    ("filling", |s| {
        let event = s.request(Prot::READ);
        s.feed(event);
    }),
    ("filling, doubted", |s| {
        // Offered, flushed, and asked for before the kernel had heard of either.
        let events = [s.offer(false), s.lock(LockKind::Flush), s.request(Prot::READ)];
        for event in events {
            s.feed(event);
        }
        for _ in 0..2 {
            s.feed(CONFIRMED);
        }
    }),
    ("resident", |s| resident(s, false)),
    ("resident, write-locked", |s| resident(s, true)),
    ("resident, unsaved", |s| {
        let event = s.offer(true);
        s.feed(event);
    }),
    ("resident, flushing", |s| {
        resident(s, false);
        let event = s.lock(LockKind::Flush);
        s.feed(event);
    }),
    ("unlocking", |s| {
        resident(s, true);
        let event = s.unlock();
        s.feed(event);
    }),
    ("unlocking, offered", |s| {
        let events = [s.offer(false), s.unlock()];
        for event in events {
            s.feed(event);
        }
    }),
    ("returning, copy kept", |s| returning(s, true)),
    ("returning", |s| returning(s, false)),
    ("returning, wanted", |s| {
        returning(s, false);
        let event = s.request(Prot::READ);
        s.feed(event);
    }),
    ("failed, copy kept", |s| failed(s, true)),
    ("failed", |s| failed(s, false)),
];

const EVENTS: &[Happening] = &[
    ("data_request read", |s| s.request(Prot::READ)),
    ("data_request write", |s| s.request(Prot::READ_WRITE)),
    ("data_return dirty, copy kept", |s| s.returned(true, true)),
    ("data_return dirty", |s| s.returned(true, false)),
    ("data_return clean, copy kept", |s| s.returned(false, true)),
    ("data_return clean", |s| s.returned(false, false)),
    ("data_unlock", |s| s.unlock()),
    ("offer", |s| s.offer(false)),
    ("offer precious", |s| s.offer(true)),
    ("sync", |s| s.lock(LockKind::Sync)),
    ("flush", |s| s.lock(LockKind::Flush)),
    ("return", |s| s.lock(LockKind::Return)),
    ("lock_completed", |_| CONFIRMED),
    ("change_completed", |_| Event::ChangeCompleted {
        may_cache: true,
        copy_strategy: CopyStrategy::None,
    }),
    ("retry_writes", |_| Event::RetryWrites),
    ("shutdown", |_| Event::Shutdown {
        token: RequestToken(9),
        extent: PAGE,
    }),
    ("terminate", |_| Event::Terminate {
        control: CONTROL,
        name: PortName(2),
    }),
    ("no_senders", |_| Event::NoSenders),
    ("init", |_| Event::Init {
        control: PortName(3),
        name: PortName(4),
        page_size: PAGE,
    }),
    ("pages_read", |s| s.read(Ok(false))),
    ("pages_read failed", |s| s.read(Err(PageError::Io))),
    ("pages_written", |s| s.written(None)),
    ("pages_written failed", |s| s.written(Some(PageError::Io))),
    ("pages_unlocked", |s| s.unlocked(Ok(()))),
    ("pages_unlocked refused", |s| s.unlocked(Err(PageError::NoSpace))),
];

fn table() -> String {
    let mut table = String::new();
    for (state, recipe) in STATES {
        writeln!(table, "== {state}").unwrap();
        for (event, make) in EVENTS {
            let mut subject = Subject::new();
            recipe(&mut subject);
            let event_value = make(&mut subject);
            let effects = subject.feed(event_value);
            subject.object.check_invariants().unwrap();
            let page = subject.object.page(PageIndex(0));
            writeln!(table, "{event}: {page:?}").unwrap();
            for effect in effects {
                writeln!(table, "    {effect:?}").unwrap();
            }
        }
    }
    table
}

#[test]
fn every_state_meets_every_event_as_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/page_table.txt");
    let table = table();
    print!("{table}");
    if std::env::var_os("UPDATE_TABLE").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    for (number, (got, expected)) in table.lines().zip(expected.lines()).enumerate() {
        assert_eq!(got, expected, "line {} of the table", number + 1);
    }
    assert_eq!(table.lines().count(), expected.lines().count());
}
