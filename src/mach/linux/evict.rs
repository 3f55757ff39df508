//! Frames: getting them, and giving pages up for them.

use std::time::{Duration, Instant};

use super::budget::Room;
use super::kill_point;
use super::object::{LinuxObject, Phase};
use super::page_table::flag::{DIRTY, LENT, PRECIOUS, RESIDENT, UNSAVED, WRITING};
use crate::mach::eviction::{EvictionPolicy, S3Fifo};
use crate::object::{PageIndex, PageRange};

/// Pages that are given up together, at least.
pub(super) const BATCH: u64 = 32;
/// Frames after which an object lets the next in the line go first.
const QUANTUM: u64 = 64;
/// How often others are asked for frames before an object gives up its own, whatever its share.
const PATIENCE: u32 = 8;
/// When to look again for frames, should nobody call.
const RETRY: Duration = Duration::from_millis(10);

/// What becomes of a page that must go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Drop,
    HandBack { dirty: bool },
}

impl LinuxObject {
    /// Reserves frames for `pages` pages; makes room if there is none. False: wait in the line.
    pub(super) fn frames(&mut self, pages: u64) -> bool {
        let bytes = pages << self.size.shift();
        if self.host.budget.reserve(&self.share, bytes) {
            return self.granted_frames(pages);
        }
        self.make_room(pages.max(BATCH));
        if self.host.budget.reserve(&self.share, bytes) {
            return self.granted_frames(pages);
        }
        self.count(|stats| &stats.frame_waits, 1);
        self.host.budget.starve(&self.share);
        // Frames may have come free in between, and the call with them gone to nobody.
        self.host.budget.reserve(&self.share, bytes) && self.granted_frames(pages)
    }

    /// Reserves a frame for a page that nobody waits for yet: others may be evicted, but not waited for.
    pub(super) fn spare_frame(&mut self) -> bool {
        let bytes = self.size.bytes();
        if self.shortage.is_stuck() {
            return false;
        }
        if self.host.budget.reserve(&self.share, bytes) {
            return true;
        }
        self.make_room(BATCH);
        self.host.budget.reserve(&self.share, bytes)
    }

    fn granted_frames(&mut self, pages: u64) -> bool {
        self.granted += pages;
        self.asked = 0;
        if self.granted >= QUANTUM {
            self.granted = 0;
            self.host.budget.sated(&self.share);
        }
        true
    }

    fn make_room(&mut self, pages: u64) {
        self.fill_holes();
        let bytes = pages << self.size.shift();
        match self.host.clone().budget.room_for(&self.share, bytes) {
            Room::Own(bytes) => {
                self.evict((bytes >> self.size.shift()).max(1));
                self.clean_ahead();
            }
            // Should the others have nothing to give, this object goes on alone.
            Room::Others if self.asked >= PATIENCE => {
                self.evict(pages);
            }
            Room::Others => self.asked += 1,
        }
    }

    /// When to try again to get frames, if any are waited for.
    pub(super) fn retry_at(&mut self) -> Option<Instant> {
        let starving = self.phase == Phase::Ready && self.waits.queued().is_some();
        starving.then(|| Instant::now() + RETRY)
    }

    /// Gives up what others asked for.
    pub(super) fn give_wanted(&mut self) {
        let wanted = self.share.take_wanted();
        if wanted > 0 && !self.evict((wanted >> self.size.shift()).max(1)) {
            self.host.budget.pass_over(&self.share);
        }
    }

    /// Where there is a bound by now, pages are counted before some have to go.
    pub(super) fn heed_bound(&mut self) {
        if self.policy.is_none() && self.host.budget.is_bounded() {
            self.ensure_policy();
            self.memory.make_sparse();
            self.memory.forget_own(0, self.memory.length());
        }
    }

    /// Gives pages up: clean ones at once, dirty ones by handing them back first. False if none may go.
    pub(super) fn evict(&mut self, pages: u64) -> bool {
        self.ensure_policy();
        let mut victims = std::mem::take(&mut self.scratch.victims);
        victims.clear();
        self.choose(pages as usize, &mut victims);
        victims.retain(|&page| self.preserve_victim(page));
        victims.sort_unstable();
        self.spaces.evicted(&victims);
        let mut rest = &victims[..];
        while let Some(&first) = rest.first() {
            let fate = self.fate(first);
            let run = (0..).zip(rest).take_while(|&(at, &page)| {
                at < LONGEST_RUN && page.0 == first.0 + at && self.fate(page) == fate
            });
            let length = run.count();
            rest = &rest[length..];
            self.give_up(PageRange::with_len(first, length as u64), fate);
        }
        let any = !victims.is_empty();
        self.scratch.victims = victims;
        self.fill_holes();
        any
    }

    /// Without a bound nobody kept account of the pages until some had to go.
    fn ensure_policy(&mut self) {
        if self.policy.is_some() {
            return;
        }
        let mut policy = S3Fifo::default();
        let mut rest = self.pages;
        let kind = |bits: u8| (bits & RESIDENT != 0).then_some(());
        while let Some((run, ())) = self.table.first_run(rest, LONGEST_RUN, kind) {
            rest = PageRange::new(run.end(), rest.end());
            run.iter().for_each(|page| policy.inserted(page));
        }
        self.policy = Some(Box::new(policy));
    }

    fn choose(&mut self, pages: usize, victims: &mut Vec<PageIndex>) {
        let (table, waits) = (&self.table, &self.waits);
        let Some(policy) = &mut self.policy else { return };
        // Some dirty pages are on their way out at any time, but never most of them.
        let most = (table.resident() / 4).max(2 * BATCH);
        let mut away = table.away();
        let precious = self.notify_on_evict;
        let mut may_evict = |page: PageIndex| {
            let bits = table.get(page);
            if bits & RESIDENT == 0 || bits & (LENT | WRITING) != 0 || waits.contains(page) {
                return false;
            }
            let costs = precious || bits & (DIRTY | PRECIOUS) != 0;
            away += u64::from(costs);
            !costs || away <= most
        };
        policy.victims(pages, &mut may_evict, victims);
    }

    fn fate(&self, page: PageIndex) -> Fate {
        match self.table.get(page) {
            bits if bits & DIRTY != 0 => Fate::HandBack { dirty: true },
            bits if bits & PRECIOUS != 0 || self.notify_on_evict => Fate::HandBack { dirty: false },
            _ => Fate::Drop,
        }
    }

    fn give_up(&mut self, run: PageRange, fate: Fate) {
        match fate {
            Fate::Drop => {
                self.count(|stats| &stats.evicted_clean, run.len());
                self.drop_pages(run);
            }
            Fate::HandBack { dirty } => {
                self.count(|stats| &stats.evicted_dirty, run.len());
                self.hand_back(run, dirty, false);
            }
        }
    }

    /// Gives every resident page up: nobody uses the object any more.
    pub(super) fn give_everything_up(&mut self) {
        self.learn_writes(self.pages, true);
        let mut rest = self.pages;
        let notify = self.notify_on_evict;
        let kind = move |bits: u8| {
            (bits & RESIDENT != 0).then_some((bits & DIRTY != 0, notify || bits & PRECIOUS != 0))
        };
        while let Some((run, (dirty, precious))) = self.table.first_run(rest, LONGEST_RUN, kind) {
            rest = PageRange::new(run.end(), rest.end());
            let fate = match (dirty, precious) {
                (false, false) => Fate::Drop,
                (dirty, _) => Fate::HandBack { dirty },
            };
            self.give_up(run, fate);
        }
        self.fill_holes();
    }

    /// Gives up the pages of a range that may go.
    pub(super) fn give_range_up(&mut self, range: PageRange) {
        self.learn_writes(range, true);
        let notify = self.notify_on_evict;
        let kind = move |bits: u8| {
            let idle = bits & (RESIDENT | LENT | WRITING) == RESIDENT;
            idle.then_some((bits & DIRTY != 0, notify || bits & PRECIOUS != 0))
        };
        let mut rest = range;
        while let Some((run, (dirty, precious))) = self.table.first_run(rest, LONGEST_RUN, kind) {
            rest = PageRange::new(run.end(), rest.end());
            let fate = match (dirty, precious) {
                (false, false) => Fate::Drop,
                (dirty, _) => Fate::HandBack { dirty },
            };
            self.give_up(run, fate);
        }
        self.fill_holes();
    }

    /// Drops every page, modifications too.
    pub(super) fn drop_everything(&mut self) {
        let mut rest = self.pages;
        let kind = |bits: u8| (bits & RESIDENT != 0).then_some(());
        while let Some((run, ())) = self.table.first_run(rest, LONGEST_RUN, kind) {
            rest = PageRange::new(run.end(), rest.end());
            self.drop_pages(run);
        }
        self.fill_holes();
    }

    /// Takes pages out of the cache; their memory is freed by the next `fill_holes`, or when the pager
    /// releases it.
    pub(super) fn drop_pages(&mut self, run: PageRange) {
        for page in run.iter() {
            let lent = self.table.has(page, LENT);
            let left = if lent {
                self.table.get(page) & (LENT | WRITING | UNSAVED)
            } else {
                0
            };
            self.table.put(page, left);
            if !lent {
                self.add_hole(page);
            }
            self.policy_removed(page);
            self.ask_again(page);
        }
    }

    pub(super) fn policy_removed(&mut self, page: PageIndex) {
        if let Some(policy) = &mut self.policy {
            policy.removed(page);
        }
    }

    pub(super) fn policy_inserted(&mut self, page: PageIndex) {
        if let Some(policy) = &mut self.policy {
            policy.inserted(page);
        }
    }

    /// A page that went away while somebody waited for its lock or the end of its write: they want the
    /// page itself now.
    pub(super) fn ask_again(&mut self, page: PageIndex) {
        use super::waits::Stage;
        let stage = self.waits.get(page).map(|wait| wait.stage);
        if matches!(stage, Some(Stage::Unlocking | Stage::Held)) {
            self.waits.enqueue(page);
        }
    }

    /// A page that was believed resident is not there: a client punched it out.
    pub(super) fn forget_page(&mut self, page: PageIndex) {
        if self.table.has(page, RESIDENT) {
            self.drop_pages(PageRange::single(page));
        }
    }

    fn add_hole(&mut self, page: PageIndex) {
        if self.pins.hold(page) {
            return self.pins.put_off(page);
        }
        match self.holes.last_mut() {
            Some(last) if last.end() == page => *last = PageRange::new(last.start(), page.next()),
            Some(_) | None => self.holes.push(PageRange::single(page)),
        }
    }

    /// A frame is not needed by its page any more: a request that still waits for the page keeps it.
    pub(super) fn free_page(&mut self, page: PageIndex) {
        self.add_hole(page);
    }

    /// Frees the pages that were given up, in every mapping of every process.
    pub(super) fn fill_holes(&mut self) {
        if self.holes.is_empty() {
            return;
        }
        let mut holes = std::mem::take(&mut self.holes);
        let mut freed = 0;
        for hole in holes.drain(..) {
            kill_point::pass("dropped");
            if let Err(error) = self.memory.punch(hole.offset(self.size), hole.bytes(self.size)) {
                tracing::error!(object = %self.share.name, ?hole, %error, "cannot free pages");
            }
            freed += hole.bytes(self.size) - self.kept_by_requests(hole);
        }
        self.holes = holes;
        self.host.budget.release(&self.share, freed);
    }

    /// Frames that pass from freed pages to requests for the same pages.
    fn kept_by_requests(&mut self, hole: PageRange) -> u64 {
        if self.waits.is_empty() {
            return 0;
        }
        let mut kept = 0;
        for page in hole.iter() {
            if let Some(wait) = self.waits.get_mut(page)
                && wait.stage == super::waits::Stage::Requested
                && !wait.reserved
            {
                wait.reserved = true;
                kept += self.size.bytes();
            }
        }
        kept
    }
}

/// Pages per return at most.
pub(super) const LONGEST_RUN: u64 = 256;
