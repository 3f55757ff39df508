//! The system refuses something at the worst moment: whatever it is, no page is lost for it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod gate;
mod linux_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use actor_pager::mach::KernelHost;
use actor_pager::mach::linux::{DirtyTracking, LinuxOptions};
use actor_pager::object::{PageIndex, PageRange, Prot, ShouldReturn};
use gate::{Kind, Verdict};
use linux_support::*;

fn page(index: u64) -> PageRange {
    PageRange::single(PageIndex(index))
}

fn synchronous() -> LinuxOptions {
    LinuxOptions::default().dirty_tracking(DirtyTracking::Sync)
}

/// Refuses calls of these kinds with this error while the switch is on; counts those that it refused.
#[derive(Clone, Default)]
struct Shortage {
    on: Arc<AtomicBool>,
    refused: Arc<AtomicU64>,
}

impl Shortage {
    fn set(&self, on: bool) {
        self.on.store(on, SeqCst);
    }

    fn refused(&self) -> u64 {
        self.refused.load(SeqCst)
    }

    fn judge(&self) -> Verdict {
        if !self.on.load(SeqCst) {
            return Verdict::Pass;
        }
        self.refused.fetch_add(1, SeqCst);
        Verdict::Refuse(libc::ENOMEM)
    }

    /// Runs `body` where memory for pages of a file is refused while the switch is on.
    fn of_pages(body: impl FnOnce(&Self) + Send) {
        let shortage = Self::default();
        let kind = Kind::of(libc::SYS_pwrite64);
        let judged = shortage.clone();
        gate::behind(&[kind], move |_| judged.judge(), || body(&shortage));
    }
}

#[test]
fn a_store_is_noticed_although_there_was_no_memory_to_protect_its_page() {
    let shortage = Shortage::default();
    let judged = shortage.clone();
    let judge = move |call: gate::Call| match call.field(2) {
        // To protect, not to lift a protection.
        1 => judged.judge(),
        _ => Verdict::Pass,
    };
    gate::behind(&[Kind::ioctl(gate::PROTECT)], judge, || {
        let Some(host) = host(synchronous()) else { return };
        let pager = Pager::new(&host, 8 * PAGE);
        let mapping = pager.map(Prot::READ_WRITE);
        for at in 0..8 {
            poke(&mapping, at * PAGE, 1);
        }
        shortage.set(true);
        pager.sync();
        assert!(shortage.refused() > 0, "nothing was to be protected");
        for at in 0..8 {
            poke(&mapping, at * PAGE, 2);
        }
        pager.sync();
        shortage.set(false);
        let store = pager.store.lock().unwrap();
        for at in 0..8 {
            assert_eq!(store.bytes[at * PAGE], 2, "the second store to page {at} is lost");
        }
    });
}

#[test]
fn a_page_that_a_child_must_not_write_to_is_not_lost_for_want_of_memory() {
    Shortage::of_pages(|shortage| {
        let Some(host) = host(synchronous()) else { return };
        if host.describe().contains("lose their mappings") {
            return println!("skipped: {}", host.describe());
        }
        let pager = Pager::new(&host, 8 * PAGE);
        let mapping = pager.map(Prot::READ_WRITE);
        // Page 1 is newer than the store has it, and nobody may write to it.
        poke(&mapping, PAGE, 77);
        pager.lock_request(page(1), ShouldReturn::None, false, Prot::WRITE);
        pager.store.lock().unwrap().refuse_unlock = true;
        shortage.set(true);
        let child = in_child(|| {
            if peek(&mapping, PAGE) != 77 {
                return 1;
            }
            poke(&mapping, PAGE, 78);
            0
        });
        assert_eq!(exit_code(child), 1000 + libc::SIGBUS);
        assert!(shortage.refused() > 0, "the page was not made anew");
        shortage.set(false);
        assert_eq!(peek(&mapping, PAGE), 77);
        pager.sync();
        assert_eq!(pager.store.lock().unwrap().bytes[PAGE], 77);
    });
}
