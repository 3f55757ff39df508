//! The host: makes objects, and holds what they share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::budget::{Budget, FEWEST_PAGES};
use super::huge::HugeFiles;
use super::memory::Memory;
use super::object::LinuxObject;
use super::pagemap::Pagemap;
use super::probe::Capabilities;
use super::share::ObjectShare;
use super::spaces::Spaces;
use super::tracking::Asking;
use super::uffd::Uffd;
use super::view::ClientView;
use crate::mach::eviction::{EvictionPolicy, S3Fifo};
use crate::mach::kernel::{KernelError, KernelHost, ObjectKernel, ObjectSpec, RawMapping};
use crate::mach::stats::StatsSnapshot;
use crate::mach::stream::StreamDetector;
use crate::object::{PageIndex, PageRange, PageSize, PortName};

/// The longest object: what fits into an address space twice, with room to spare.
const LONGEST_OBJECT: u64 = 1 << 45;

/// How writes to clean pages are noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DirtyTracking {
    /// [`Async`](Self::Async), unless [`LinuxOptions::inherit`] lets forked children have the mappings: their
    /// page tables cannot be asked.
    #[default]
    Auto,
    /// By a fault for each first write.
    Sync,
    /// By asking the page tables when it matters, several times cheaper, as long as an object can do with
    /// it: where resident bytes are bounded, evictions are told, or objects are taken over it begins with
    /// `Sync`, and when a write lock appears it changes to `Sync` by itself.
    ///
    /// Forked children do not get the mappings, whatever [`LinuxOptions::inherit`] says. What a client
    /// changed by `mprotect` is undone by the change to `Sync`, and its mappings must not be unmapped or
    /// moved at that time other than through the library.
    Async,
}

/// How a [`LinuxHost`] is to work.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinuxOptions {
    /// Resident bytes of all objects together at most; none means as much as there is.
    pub resident_limit: Option<u64>,
    /// Pages that are asked for and mapped together where no stream is seen, in aligned windows; 1 means
    /// each by itself.
    pub fault_around: u64,
    /// Pages that are asked for ahead in a stream of faults at most; 1 means none. Never more than an
    /// eighth of the bound.
    pub read_ahead: u64,
    /// How writes to clean pages are noticed.
    pub dirty_tracking: DirtyTracking,
    /// Forked children get the mappings, and share their pages; takes the privilege for fork events
    /// (`CAP_SYS_PTRACE`), without which they never do. Otherwise nothing is mapped there in a child.
    pub inherit: bool,
    /// Dirty pages that are written back ahead of need at a time, at most, while memory is full: those that
    /// are nearest to eviction, and their neighbours. 0 means that dirty pages are written when their
    /// frames are wanted.
    pub clean_ahead: u64,
    /// Objects of 2 MiB pages, and private copies of them, get memory in huge pages where the system has
    /// them; takes the privilege to mount (`CAP_SYS_ADMIN`), without which memory is as ever. Smaller
    /// pages never do, as the system may not be able to give back part of a huge page.
    pub huge_pages: bool,
}

impl Default for LinuxOptions {
    fn default() -> Self {
        Self {
            resident_limit: None,
            fault_around: 1,
            read_ahead: 64,
            dirty_tracking: DirtyTracking::Auto,
            inherit: false,
            clean_ahead: 64,
            huge_pages: false,
        }
    }
}

impl LinuxOptions {
    /// Bounds the resident bytes.
    pub fn resident_limit(mut self, bytes: Option<u64>) -> Self {
        self.resident_limit = bytes;
        self
    }

    /// Sets the pages that are asked for ahead in a stream at most.
    pub fn read_ahead(mut self, pages: u64) -> Self {
        self.read_ahead = pages;
        self
    }

    /// Sets how writes to clean pages are noticed.
    pub fn dirty_tracking(mut self, how: DirtyTracking) -> Self {
        self.dirty_tracking = how;
        self
    }

    /// Sets whether forked children get the mappings.
    pub fn inherit(mut self, inherit: bool) -> Self {
        self.inherit = inherit;
        self
    }

    /// Sets the dirty pages that are written back ahead of need at a time.
    pub fn clean_ahead(mut self, pages: u64) -> Self {
        self.clean_ahead = pages;
        self
    }

    /// Sets whether objects of 2 MiB pages get memory in huge pages.
    pub fn huge_pages(mut self, huge: bool) -> Self {
        self.huge_pages = huge;
        self
    }

    /// Sets the pages that are asked for and mapped together.
    pub fn fault_around(mut self, pages: u64) -> Self {
        self.fault_around = pages;
        self
    }
}

/// The Linux kernel by userfaultfd: real memory, real faults.
#[derive(Clone, Debug)]
pub struct LinuxHost {
    pub(super) shared: Arc<Shared>,
}

/// Each object takes two descriptors: as many are allowed as this process may have.
fn lift_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        let current = limit.maximum;
        let lifted = Rlimit {
            current,
            maximum: limit.maximum,
        };
        // Where that is refused, creating an object says so in its turn.
        let _ = setrlimit(Resource::Nofile, lifted);
    }
}

/// A mapping whose object is gone; its owner still has to take it down.
#[derive(Debug)]
struct Orphan {
    view: ClientView,
    uffd: Weak<Uffd>,
    /// Of a copy that was whole.
    _memory: Option<Arc<Memory>>,
}

/// What all objects of a host share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: LinuxOptions,
    pub(super) capabilities: Capabilities,
    pub(super) budget: Budget,
    /// Where writes can be tracked without faults.
    pagemap: Option<Arc<Pagemap>>,
    /// Where memory may be had in huge pages.
    pub(super) huge: Option<HugeFiles>,
    numbers: AtomicU64,
    orphans: Mutex<HashMap<u64, Vec<Orphan>>>,
}

impl Shared {
    /// A control port and a name port that were never used before.
    pub(super) fn new_ports(&self) -> (PortName, PortName) {
        let first = self.numbers.fetch_add(2, Relaxed);
        (PortName(first), PortName(first + 1))
    }

    pub(super) fn new_id(&self) -> u64 {
        self.numbers.fetch_add(1, Relaxed)
    }

    /// True if forked children are to get mappings, and can be followed.
    pub(super) fn children_inherit(&self) -> bool {
        self.options.inherit && self.capabilities.forks
    }

    /// Nothing is ever evicted where there is no bound.
    pub(super) fn policy(&self) -> Option<Box<dyn EvictionPolicy>> {
        let bounded = self.budget.is_bounded();
        bounded.then(|| Box::new(S3Fifo::default()) as Box<dyn EvictionPolicy>)
    }

    /// What an object tracks writes with, if not with faults.
    fn asking(&self, spec: &ObjectSpec) -> Option<Asking> {
        let pagemap = self.pagemap.clone()?;
        let (bounded, inherit) = (self.budget.is_bounded(), self.children_inherit());
        let how = self.options.dirty_tracking;
        how.begins_async(spec, bounded, inherit)
            .then(|| Asking::new(pagemap))
    }

    /// Follows the faults of a new mapping of `range`.
    pub(super) fn streams(&self, range: PageRange, size: PageSize) -> StreamDetector {
        let most = (self.budget.limit() >> size.shift()) / 8;
        StreamDetector::new(range, self.options.read_ahead.min(most))
    }

    /// Dirty pages that may be on their way to the store ahead of need.
    pub(super) fn clean_ahead(&self) -> u64 {
        self.options.clean_ahead
    }

    /// The pages that are asked for together with `page`.
    pub(super) fn window(&self, page: PageIndex, object: PageRange) -> PageRange {
        let pages = self.options.fault_around.max(1);
        let start = PageIndex(page.0 - page.0 % pages);
        PageRange::with_len(start, pages).intersection(object)
    }

    /// Takes the mappings of an object that is going.
    /// Their `memory` is kept for them; without it nothing of theirs can be read any more.
    pub(super) fn adopt(&self, spaces: &mut Spaces, memory: Option<Arc<Memory>>) {
        let Some(space) = spaces.own() else { return };
        let uffd = Arc::downgrade(&space.uffd);
        let mut orphans = self.orphans.lock().unwrap_or_else(PoisonError::into_inner);
        for mapping in space.take_all() {
            orphans.entry(mapping.id).or_default().push(Orphan {
                view: mapping.view,
                uffd: uffd.clone(),
                _memory: memory.clone(),
            });
        }
    }
}

impl LinuxHost {
    /// Looks whether this machine can do it; an error says what is missing and what to do.
    pub fn new(options: LinuxOptions) -> Result<Self, KernelError> {
        let capabilities = Capabilities::probe()?;
        lift_descriptor_limit();
        let shared = Shared {
            budget: Budget::new(options.resident_limit),
            huge: options.huge_pages.then(HugeFiles::here).flatten(),
            options,
            capabilities,
            pagemap: capabilities
                .tracks_async()
                .then(Pagemap::open)
                .and_then(Result::ok)
                .map(Arc::new),
            numbers: AtomicU64::new(1),
            orphans: Mutex::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// What each object that lives has done so far, with its name.
    pub fn object_stats(&self) -> Vec<(String, StatsSnapshot)> {
        let shares = self.shared.budget.shares();
        shares
            .iter()
            .map(|share| (share.name.clone(), share.stats.snapshot()))
            .collect()
    }

    /// Bytes resident or reserved now.
    pub fn resident_bytes(&self) -> u64 {
        self.shared.budget.used()
    }

    /// The most bytes there ever were.
    pub fn high_water_bytes(&self) -> u64 {
        self.shared.budget.high_water()
    }

    pub(super) fn check(&self, spec: &ObjectSpec) -> Result<usize, KernelError> {
        let page = spec.page_size.bytes();
        let system = rustix::param::page_size() as u64;
        if !page.is_multiple_of(system) {
            return Err(KernelError::Unsupported {
                what: format!("pages of {page} bytes are smaller than the system's of {system}"),
                remedy: "use larger pages for the object".to_owned(),
            });
        }
        if spec.length > LONGEST_OBJECT {
            return Err(KernelError::Unsupported {
                what: format!(
                    "an object of {} bytes does not fit into the address space",
                    spec.length
                ),
                remedy: format!("use objects of at most {LONGEST_OBJECT} bytes"),
            });
        }
        let limit = self.shared.budget.limit();
        if limit / page < FEWEST_PAGES {
            return Err(KernelError::Unsupported {
                what: format!("a bound of {limit} bytes is less than {FEWEST_PAGES} pages of {page} bytes"),
                remedy: "raise the bound or use smaller pages".to_owned(),
            });
        }
        Ok(spec.length.max(1).next_multiple_of(page) as usize)
    }
}

impl KernelHost for LinuxHost {
    fn create_object(&self, spec: ObjectSpec) -> Result<Box<dyn ObjectKernel>, KernelError> {
        let length = self.check(&spec)?;
        let asking = self.shared.asking(&spec);
        let uffd = match asking {
            Some(_) => self.shared.capabilities.open_async()?,
            None => self.shared.capabilities.open()?,
        };
        let share = Arc::new(ObjectShare::new(&spec));
        let memory = self.shared.memory(&spec.name, length, (spec.page_size, &share));
        let memory = memory.map_err(|source| KernelError::System {
            call: "memfd_create",
            source,
        })?;
        self.shared.budget.join(&share);
        let mut spaces = Spaces::new(uffd, spec.page_size, length as u64, share.clone());
        spaces.unseen = asking.is_some();
        let mut object = LinuxObject::new(self.shared.clone(), share, memory, spaces, &spec);
        object.asking = asking;
        Ok(Box::new(object))
    }

    fn unmap_orphan(&self, mapping: &RawMapping) {
        let mut orphans = self.shared.orphans.lock().unwrap_or_else(PoisonError::into_inner);
        for Orphan { view, uffd, _memory } in orphans.remove(&mapping.id).unwrap_or_default() {
            if let Some(uffd) = uffd.upgrade() {
                // Nobody reads its events any more.
                let _ = uffd.unregister(view.address(), view.length());
            }
            if let Err(error) = view.unmap() {
                tracing::error!(%error, "cannot unmap");
            }
        }
    }

    fn set_resident_limit(&self, bytes: Option<u64>) -> Result<(), KernelError> {
        let least = self.shared.budget.least();
        if bytes.is_some_and(|bytes| bytes < least) {
            return Err(KernelError::Unsupported {
                what: format!(
                    "a bound of {} bytes is less than {FEWEST_PAGES} of the largest pages in use",
                    bytes.unwrap_or_default()
                ),
                remedy: format!("set a bound of at least {least} bytes"),
            });
        }
        self.shared.budget.set_ceiling(bytes);
        Ok(())
    }

    fn grant_memory(&self, thousandths: u32) {
        self.shared.budget.grant(thousandths);
    }

    fn resident_limit(&self) -> Option<u64> {
        let budget = &self.shared.budget;
        budget.is_bounded().then(|| budget.limit())
    }

    fn stats(&self) -> StatsSnapshot {
        let budget = &self.shared.budget;
        let mut stats = budget.stats();
        stats.resident_bytes = budget.used();
        stats.resident_high_water = budget.high_water();
        stats
    }

    fn describe(&self) -> String {
        self.shared.capabilities.describe()
    }
}
