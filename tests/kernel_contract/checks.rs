//! The checks; each takes a fresh object.

use actor_pager::mach::{Call, KernelHost, Touch, Upcall};
use actor_pager::object::{CopyStrategy, PageError, PageIndex, PortName, Prot, ShouldReturn};

use crate::hand::{Hand, PAGE, pages};

type Check = fn(&dyn KernelHost);

/// Every check and its name.
pub(crate) const ALL: [(&str, Check); 10] = [
    ("a fault waits for ready", a_fault_waits_for_ready),
    ("a page is asked for once", a_page_is_asked_for_once),
    ("an error is told and heals", an_error_is_told_and_heals),
    ("a store asks for the unlock", a_store_asks_for_the_unlock),
    (
        "a sync returns what is dirty and keeps it",
        a_sync_returns_what_is_dirty_and_keeps_it,
    ),
    ("a flush drops what was stored", a_flush_drops_what_was_stored),
    (
        "a return gives back, then asks again",
        a_return_gives_back_then_asks_again,
    ),
    ("precious pages come back clean", precious_pages_come_back_clean),
    (
        "an unknown control port is refused",
        an_unknown_control_port_is_refused,
    ),
    (
        "a change of attributes is confirmed",
        a_change_of_attributes_is_confirmed,
    ),
];

fn a_fault_waits_for_ready(host: &dyn KernelHost) {
    let mut hand = Hand::initialised(host);
    assert_eq!(hand.touch(1, Prot::READ), Touch::Pending);
    assert!(
        hand.hear().is_empty(),
        "nothing is asked for before the pager is ready"
    );
}

fn a_page_is_asked_for_once(host: &dyn KernelHost) {
    let mut hand = Hand::ready(host);
    assert_eq!(hand.touch(3, Prot::READ), Touch::Pending);
    assert_eq!(hand.touch(3, Prot::READ), Touch::Pending);
    let upcalls = hand.hear();
    let asked = upcalls.iter().filter(|upcall| covers(upcall, 3));
    assert_eq!(asked.count(), 1, "{upcalls:?}");
    hand.supply(3, &[7; PAGE as usize], Prot::NONE, false);
    assert_eq!(hand.load(3), 7);
}

fn covers(upcall: &Upcall, page: u64) -> bool {
    let at = page * PAGE;
    matches!(upcall, Upcall::DataRequest { offset, length, .. } if *offset <= at && at < offset + length)
}

fn an_error_is_told_and_heals(host: &dyn KernelHost) {
    let mut hand = Hand::ready(host);
    assert_eq!(hand.touch(2, Prot::READ), Touch::Pending);
    hand.hear();
    hand.fail(2, PageError::NoSpace);
    let failed = Touch::Failed {
        page: PageIndex(2),
        error: PageError::NoSpace,
    };
    assert_eq!(hand.touch(2, Prot::READ), failed);
    assert_eq!(
        hand.touch(2, Prot::READ),
        Touch::Pending,
        "the next touch asks again"
    );
    assert!(hand.hear().iter().any(|upcall| covers(upcall, 2)));
    hand.supply(2, &[5; PAGE as usize], Prot::NONE, false);
    assert_eq!(hand.load(2), 5);
}

fn a_store_asks_for_the_unlock(host: &dyn KernelHost) {
    let mut hand = Hand::ready(host);
    let _ = hand.touch(4, Prot::READ);
    hand.hear();
    hand.supply(4, &[1; PAGE as usize], Prot::WRITE, false);
    assert_eq!(hand.load(4), 1);
    assert_eq!(hand.touch(4, Prot::READ_WRITE), Touch::Pending);
    let upcalls = hand.hear();
    let [Upcall::DataUnlock { offset, access, .. }] = upcalls[..] else {
        panic!("one unlock, not {upcalls:?}");
    };
    assert_eq!((offset, access.writes()), (4 * PAGE, true));
    hand.lock(pages(4, 1), ShouldReturn::None, false, Prot::NONE);
    hand.store(4, 9);
    assert_eq!(hand.load(4), 9);
}

/// The offsets, lengths in pages, and first bytes of what is returned; and that it is confirmed last.
fn returned(upcalls: &[Upcall]) -> Vec<(u64, u64, u8, bool, bool)> {
    assert!(
        matches!(upcalls.last(), Some(Upcall::LockCompleted { .. })),
        "{upcalls:?}"
    );
    let returns = upcalls.iter().filter_map(|upcall| match upcall {
        Upcall::DataReturn {
            offset,
            data,
            dirty,
            kernel_copy,
            ..
        } => {
            let count = data.len() as u64 / PAGE;
            Some((offset / PAGE, count, data.bytes()[0], *dirty, *kernel_copy))
        }
        Upcall::Init { .. } | Upcall::DataRequest { .. } | Upcall::DataUnlock { .. } => None,
        Upcall::LockCompleted { .. } | Upcall::SupplyCompleted { .. } | Upcall::Terminate { .. } => None,
        Upcall::ChangeCompleted { .. } | Upcall::Copy { .. } | Upcall::NoSenders => None,
    });
    returns.collect()
}

fn a_sync_returns_what_is_dirty_and_keeps_it(host: &dyn KernelHost) {
    let mut hand = Hand::ready(host);
    for page in [0, 1, 3] {
        hand.fill(page, 1);
        hand.store(page, 2);
    }
    hand.fill(2, 1);
    hand.lock(pages(0, 8), ShouldReturn::All, false, Prot::NO_CHANGE);
    let upcalls = hand.hear();
    assert_eq!(returned(&upcalls), [(0, 2, 2, true, true), (3, 1, 2, true, true)]);
    assert_eq!(hand.load(0), 2, "the page stays readable");
    release(&mut hand, &upcalls);
    hand.lock(pages(0, 8), ShouldReturn::All, false, Prot::NO_CHANGE);
    assert_eq!(returned(&hand.hear()), [], "what was returned is clean");
}

fn release(hand: &mut Hand, upcalls: &[Upcall]) {
    for upcall in upcalls {
        if let Upcall::DataReturn { offset, data, .. } = upcall {
            let range = pages(offset / PAGE, data.len() as u64 / PAGE);
            hand.kernel.write_begins(data, range);
            hand.kernel.write_ended(data, range);
            hand.kernel.release(data, range);
        }
    }
}

fn a_flush_drops_what_was_stored(host: &dyn KernelHost) {
    let mut hand = Hand::ready(host);
    hand.fill(0, 1);
    hand.store(0, 2);
    hand.lock(pages(0, 1), ShouldReturn::None, true, Prot::NO_CHANGE);
    assert_eq!(returned(&hand.hear()), []);
    assert_eq!(hand.touch(0, Prot::READ), Touch::Pending);
    hand.hear();
    hand.supply(0, &[1; PAGE as usize], Prot::NONE, false);
    assert_eq!(hand.load(0), 1);
}

fn a_return_gives_back_then_asks_again(host: &dyn KernelHost) {
    let mut hand = Hand::ready(host);
    hand.fill(0, 1);
    hand.store(0, 2);
    hand.lock(pages(0, 4), ShouldReturn::All, true, Prot::NO_CHANGE);
    let upcalls = hand.hear();
    assert_eq!(returned(&upcalls), [(0, 1, 2, true, false)]);
    assert_eq!(hand.touch(0, Prot::READ), Touch::Pending);
    assert!(hand.hear().iter().any(|upcall| covers(upcall, 0)));
    release(&mut hand, &upcalls);
    hand.supply(0, &[2; PAGE as usize], Prot::NONE, false);
    assert_eq!(hand.load(0), 2);
}

fn precious_pages_come_back_clean(host: &dyn KernelHost) {
    let mut hand = Hand::ready(host);
    let _ = hand.touch(0, Prot::READ);
    hand.hear();
    hand.supply(0, &[6; PAGE as usize], Prot::NONE, true);
    hand.lock(pages(0, 1), ShouldReturn::Dirty, false, Prot::NO_CHANGE);
    assert_eq!(returned(&hand.hear()), []);
    for _ in 0..2 {
        hand.lock(pages(0, 1), ShouldReturn::All, false, Prot::NO_CHANGE);
        let upcalls = hand.hear();
        assert_eq!(returned(&upcalls), [(0, 1, 6, false, true)], "every time");
        release(&mut hand, &upcalls);
    }
}

fn an_unknown_control_port_is_refused(host: &dyn KernelHost) {
    let mut hand = Hand::ready(host);
    let control = PortName(hand.control.0 ^ 0x5555);
    let ready = Call::Ready {
        control,
        may_cache: true,
        copy_strategy: CopyStrategy::None,
    };
    assert!(hand.kernel.call(ready).is_err());
    assert!(hand.hear().is_empty());
}

fn a_change_of_attributes_is_confirmed(host: &dyn KernelHost) {
    let mut hand = Hand::ready(host);
    let (control, copy_strategy) = (hand.control, CopyStrategy::None);
    let change = Call::ChangeAttributes {
        control,
        may_cache: true,
        copy_strategy,
        reply: true,
    };
    hand.kernel.call(change).unwrap();
    let upcalls = hand.hear();
    assert!(
        matches!(upcalls[..], [Upcall::ChangeCompleted { may_cache: true, .. }]),
        "{upcalls:?}"
    );
}
