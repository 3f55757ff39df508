//! The pagers under load: some are touched by real addresses, some only by calls.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use actor_pager::backend::FaultControl;
use actor_pager::error::CreateError;
use actor_pager::mach::KernelHost;
use actor_pager::{Backoff, Bucket, FailurePolicy, Intensity, Mapping, Pager, PagerOptions, Protection};

use crate::oracle::Oracle;
use crate::store::{Store, set_rates};
use crate::tally::Tally;
use crate::trouble::{Trouble, TroubledHost};

pub(crate) const PAGE: u64 = 4096;
pub(crate) const PAGES: u64 = 256;
/// Words that are checked, evenly spread over a page.
pub(crate) const SLOTS: u64 = 8;
/// A quarter of what there is.
pub(crate) const RESIDENT_LIMIT: u64 = PAGES * PAGE;
/// How many threads load; each owns every so many-th block of pages.
pub(crate) const THREADS: u64 = 8;
/// Pages of a block.
pub(crate) const BLOCK: u64 = 4;

/// What becomes of failures, and who may touch the pages how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Reads are tried until they succeed: threads may touch real addresses.
    Patient,
    /// Errors come through: only calls.
    Plain,
    /// Errors come through, and soon the pager is quarantined.
    Fragile,
}

/// A pager while it lives.
pub(crate) struct Life {
    pub(crate) pager: Pager<Store>,
    pub(crate) mapping: Option<Mapping>,
}

/// One object: its store lives as long as the test, its pager does not.
pub(crate) struct Object {
    pub(crate) kind: Kind,
    pub(crate) store: Arc<Store>,
    pub(crate) control: FaultControl,
    pub(crate) oracle: Oracle,
    pub(crate) life: RwLock<Option<Life>>,
}

pub(crate) struct World {
    pub(crate) bucket: Bucket,
    pub(crate) trouble: Arc<Trouble>,
    pub(crate) objects: Vec<Object>,
    pub(crate) operations: AtomicU64,
    pub(crate) over: AtomicBool,
    pub(crate) tally: Mutex<Tally>,
    wrong: Mutex<Vec<String>>,
}

fn policy(kind: Kind) -> FailurePolicy {
    let soon = Backoff {
        first: Duration::from_millis(1),
        longest: Duration::from_millis(20),
    };
    let failures = if kind == Kind::Fragile { 8 } else { usize::MAX };
    FailurePolicy {
        read_attempts: if kind == Kind::Patient { u32::MAX } else { 2 },
        read_backoff: soon,
        write_backoff: soon,
        deadline: Duration::from_millis(60),
        intensity: Intensity {
            failures,
            period: Duration::from_secs(1),
        },
        restart_backoff: soon,
        ..FailurePolicy::default()
    }
}

impl Object {
    fn new(number: u64, kind: Kind, seed: u64) -> Self {
        let locks_pages = kind != Kind::Patient;
        let (store, control) = Store::new(PAGES * PAGE, locks_pages, seed ^ number);
        set_rates(&control);
        Self {
            kind,
            store: Arc::new(store),
            control,
            oracle: Oracle::new(number, (PAGES * SLOTS) as usize),
            life: RwLock::new(None),
        }
    }

    /// Gives the object a pager.
    pub(crate) fn begin(&self, bucket: &Bucket) -> Result<Life, CreateError> {
        let options = PagerOptions {
            policy: policy(self.kind),
            ..PagerOptions::default()
        };
        let pager = bucket.create_pager_shared(self.store.clone(), options)?;
        let mapping = pager.map_all_blocking(Protection::ReadWrite).ok();
        Ok(Life { pager, mapping })
    }
}

impl World {
    pub(crate) fn new(host: impl KernelHost, seed: u64) -> Result<Self, Box<dyn std::error::Error>> {
        let trouble = Arc::new(Trouble::default());
        let host = Arc::new(TroubledHost::new(Arc::new(host), trouble.clone()));
        let bucket = Bucket::builder().workers(4).arbiters(2).kernel(host).start()?;
        let kinds = [Kind::Patient, Kind::Patient, Kind::Plain, Kind::Fragile];
        let numbered = (0..).zip(kinds);
        let objects: Vec<Object> = numbered
            .map(|(number, kind)| Object::new(number, kind, seed))
            .collect();
        for object in &objects {
            let life = object.begin(&bucket)?;
            *object.life.write().unwrap_or_else(PoisonError::into_inner) = Some(life);
        }
        Ok(Self {
            bucket,
            trouble,
            objects,
            operations: AtomicU64::new(0),
            over: AtomicBool::new(false),
            tally: Mutex::default(),
            wrong: Mutex::default(),
        })
    }

    /// Notes something that must not be.
    pub(crate) fn wrong(&self, what: String) {
        println!("wrong: {what}");
        self.wrong
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(what);
    }

    /// How many things were wrong.
    pub(crate) fn wrongs(&self) -> usize {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) fn check(&self, result: Result<(), String>) {
        if let Err(what) = result {
            self.wrong(what);
        }
    }
}
