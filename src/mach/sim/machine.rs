//! The simulated machine: every object, the frames they share, and the names of ports.

use std::collections::BTreeMap;
use std::task::Waker;

use super::SimOptions;
use super::object::{Object, Stage};
use super::page::{Page, PageState, Worth};
use super::rng::SimRng;
use crate::mach::{ObjectSpec, Upcall};
use crate::object::{CopyStrategy, PageIndex, PortName};

/// One simulated kernel.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) options: SimOptions,
    pub(super) objects: BTreeMap<u64, Object>,
    pub(super) rng: SimRng,
    next: u64,
    /// The most frames ever in use.
    pub(super) high_water: u64,
}

impl Machine {
    pub(super) fn new(options: SimOptions) -> Self {
        Self {
            rng: SimRng::new(options.seed),
            options,
            objects: BTreeMap::new(),
            next: 0x10,
            high_water: 0,
        }
    }

    /// A number that was not used before: for ports, objects, mappings and the ages of pages.
    pub(super) fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn create(&mut self, spec: ObjectSpec) -> u64 {
        let id = self.fresh();
        let port = PortName(self.fresh());
        self.objects.insert(id, Object::new(spec, port));
        id
    }

    /// The wakers of the pagers that have messages waiting.
    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        let waiting = self
            .objects
            .values_mut()
            .filter(|object| !object.upcalls.is_empty());
        waiting.filter_map(|object| object.waker.take()).collect()
    }

    pub(super) fn frames_used(&self) -> u64 {
        let pages = self.objects.values().flat_map(|object| object.pages.values());
        pages.filter(|page| page.has_frame()).count() as u64
    }

    /// Makes sure that one more frame can be used; evicts a page where that is needed.
    pub(super) fn reserve_frame(&mut self) -> bool {
        let used = self.frames_used();
        if self.options.resident_limit.is_some_and(|limit| used >= limit) && !self.evict_some() {
            return false;
        }
        self.high_water = self.high_water.max(self.frames_used() + 1);
        true
    }

    /// Takes one page; true if its frame is free at once.
    fn evict_some(&mut self) -> bool {
        let Some((id, page, worth)) = self.choose_victim() else {
            self.end_graces();
            return false;
        };
        self.evict(id, page);
        worth == Worth::Nothing || !self.options.lend_returns
    }

    /// A page to evict: a random one, but a clean one first where dirty ones do not go at once.
    fn choose_victim(&mut self) -> Option<(u64, PageIndex, Worth)> {
        let all = self.evictable(|page| page.grace == 0);
        let clean: Vec<_> = all
            .iter()
            .copied()
            .filter(|(.., worth)| *worth == Worth::Nothing)
            .collect();
        if !self.options.lend_returns {
            return self.rng.pick(&all).copied();
        }
        match self.rng.pick(&clean) {
            Some(victim) => Some(*victim),
            None if self.lends() => None,
            None => self.rng.pick(&all).copied(),
        }
    }

    /// Memory pressure takes one page, whatever it is worth; false if there is none it may take.
    pub(super) fn press(&mut self) -> bool {
        let all = self.evictable(|_| true);
        let victim = self.rng.pick(&all).copied();
        victim.is_some_and(|(id, page, _)| self.evict(id, page))
    }

    /// Memory pressure takes this page, if it may.
    pub(super) fn press_on(&mut self, id: u64, page: PageIndex) -> bool {
        let object = self.objects.get(&id);
        // An object that was cut off from its pager has nobody to return pages to.
        let object = object.filter(|object| object.stage != Stage::Orphaned);
        let may = object.and_then(|object| object.pages.get(&page));
        may.is_some_and(Page::is_evictable) && self.evict(id, page)
    }

    /// Somebody was passed by: pages whose fault does not come back must not be kept for ever.
    fn end_graces(&mut self) {
        let pages = self
            .objects
            .values_mut()
            .flat_map(|object| object.pages.values_mut());
        pages.for_each(|page| page.grace = page.grace.saturating_sub(1));
    }

    fn evictable(&self, may: impl Fn(&Page) -> bool) -> Vec<(u64, PageIndex, Worth)> {
        let objects = self
            .objects
            .iter()
            .filter(|(_, object)| object.stage != Stage::Orphaned);
        let pages = objects.flat_map(|(id, object)| object.pages.iter().map(move |page| (*id, page)));
        let victims = pages.filter(|(_, (_, page))| page.is_evictable() && may(page));
        victims
            .map(|(id, (index, page))| (id, *index, page.worth()))
            .collect()
    }

    fn lends(&self) -> bool {
        let mut pages = self.objects.values().flat_map(|object| object.pages.values());
        pages.any(|page| matches!(page.state, PageState::Lent { .. }))
    }

    /// Initialises an object that a client starts to use, if that is the first time.
    pub(super) fn begin_use(&mut self, id: u64) {
        if self
            .objects
            .get(&id)
            .is_none_or(|object| object.stage != Stage::Unmapped)
        {
            return;
        }
        let (control, name) = (PortName(self.fresh()), PortName(self.fresh()));
        let Some(object) = self.objects.get_mut(&id) else {
            return;
        };
        if !object.pager_alive {
            object.stage = Stage::Orphaned;
            return;
        }
        (object.control, object.name) = (control, name);
        object.stage = Stage::Initialised;
        object.may_cache = false;
        object.copy_strategy = CopyStrategy::None;
        object.senders_watched = true;
        let page_size = object.spec.page_size.bytes();
        object.send(Upcall::Init {
            control,
            name,
            page_size,
        });
    }

    /// Gives the object up if nobody uses it, nothing is on its way, and it is not to be cached.
    pub(super) fn end_use(&mut self, id: u64) {
        let Some(object) = self.objects.get(&id) else {
            return;
        };
        if object.in_use() || object.stage == Stage::Unmapped {
            return;
        }
        let holds_pages = object.pages.values().any(Page::is_resident);
        let cached = object.stage == Stage::Ready && object.may_cache && holds_pages;
        // The thread that faults holds the object until its fault is answered.
        let held = object.stage != Stage::Orphaned && object.awaits_pager();
        if !cached && !held {
            self.terminate(id);
        }
    }

    /// Empties the object, page by page in the order they came, and tells the pager.
    fn terminate(&mut self, id: u64) {
        let orphaned = self
            .objects
            .get(&id)
            .is_some_and(|object| object.stage == Stage::Orphaned);
        if !orphaned {
            for page in self.pages_by_age(id) {
                self.evict(id, page);
            }
        }
        let Some(object) = self.objects.get_mut(&id) else {
            return;
        };
        object
            .pages
            .retain(|_, page| matches!(page.state, PageState::Lent { .. }));
        let (control, name) = (object.control, object.name);
        object.stage = Stage::Unmapped;
        if !orphaned {
            object.control = PortName::NULL;
            object.send(Upcall::Terminate { control, name });
        }
        self.check_senders(id);
    }

    fn pages_by_age(&self, id: u64) -> Vec<PageIndex> {
        let pages = self.objects.get(&id).map(|object| &object.pages);
        let mut pages: Vec<_> = pages
            .into_iter()
            .flatten()
            .map(|(index, page)| (page.born, *index))
            .collect();
        pages.sort_unstable();
        pages.into_iter().map(|(_, index)| index).collect()
    }

    /// Tells the pager when the last send right to its port is gone.
    pub(super) fn check_senders(&mut self, id: u64) {
        let Some(object) = self.objects.get_mut(&id) else {
            return;
        };
        let kernel_holds = matches!(object.stage, Stage::Initialised | Stage::Ready);
        if object.senders_watched && object.send_rights == 0 && !kernel_holds {
            object.senders_watched = false;
            object.send(Upcall::NoSenders);
        }
    }

    /// The pager dies: nobody answers faults any more, and nobody is told anything.
    pub(super) fn pager_died(&mut self, id: u64) {
        if let Some(object) = self.objects.get_mut(&id) {
            object.pager_alive = false;
            object.upcalls.clear();
            object.waker = None;
        }
        self.orphan(id);
    }

    /// Cuts the object off from its pager: faults that wait for it fail.
    pub(super) fn orphan(&mut self, id: u64) {
        let Some(object) = self.objects.get_mut(&id) else {
            return;
        };
        if object.stage != Stage::Unmapped {
            object.pages.retain(|_, page| page.is_resident());
            object.stage = Stage::Orphaned;
            self.end_use(id);
        }
    }
}
