//! The checks of copies; each takes a fresh object.

use std::task::Poll;

use actor_pager::mach::{Call, KernelError, KernelHost, RawMapping, Touch, Upcall};
use actor_pager::object::{CopyStrategy, PageError, PageIndex, PageRange, Prot, ShouldReturn};

use crate::hand::{Hand, PAGE, pages};

type Check = fn(&dyn KernelHost);

/// Every check of copies and its name.
pub(crate) const ALL: [(&str, Check); 6] = [
    ("a copy waits for ready", a_copy_waits_for_ready),
    ("a copy keeps what a flush drops", a_copy_keeps_what_a_flush_drops),
    (
        "an error is told to the copy and heals",
        an_error_is_told_to_the_copy_and_heals,
    ),
    ("a copy goes while it waits", a_copy_goes_while_it_waits),
    ("a pending copy keeps its object", a_pending_copy_keeps_its_object),
    ("a whole copy keeps nothing", a_whole_copy_keeps_nothing),
];

fn set_strategy(hand: &mut Hand, copy_strategy: CopyStrategy) {
    let change = Call::ChangeAttributes {
        control: hand.control,
        may_cache: false,
        copy_strategy,
        reply: false,
    };
    hand.kernel.call(change).unwrap();
}

fn map_copy(hand: &mut Hand, range: PageRange) -> RawMapping {
    match hand.kernel.map_copy(range, Prot::READ_WRITE) {
        Poll::Ready(Ok(copy)) => copy,
        other @ (Poll::Pending | Poll::Ready(Err(_))) => panic!("no copy: {other:?}"),
    }
}

fn delayed(host: &dyn KernelHost) -> Hand {
    let mut hand = Hand::ready(host);
    // So that changes of attributes do not end the object.
    hand.kernel.map(pages(63, 1), Prot::READ).unwrap();
    set_strategy(&mut hand, CopyStrategy::Delay);
    hand
}

fn load(hand: &mut Hand, copy: &RawMapping, page: u64) -> u8 {
    assert_eq!(
        hand.kernel.touch_copy(copy, pages(page, 1), Prot::READ),
        Touch::Ready
    );
    let mut byte = [0];
    hand.kernel.load(copy, page * PAGE, &mut byte).unwrap();
    byte[0]
}

fn a_copy_waits_for_ready(host: &dyn KernelHost) {
    let mut hand = Hand::initialised(host);
    let range = pages(0, 4);
    assert!(hand.kernel.map_copy(range, Prot::READ).is_pending());
    let ready = |copy_strategy| Call::Ready {
        control: hand.control,
        may_cache: false,
        copy_strategy,
    };
    hand.kernel.call(ready(CopyStrategy::Call)).unwrap();
    let refused = hand.kernel.map_copy(range, Prot::READ);
    assert!(
        matches!(
            refused,
            Poll::Ready(Err(KernelError::CopyStrategy(CopyStrategy::Call)))
        ),
        "{refused:?}"
    );
}

fn a_copy_keeps_what_a_flush_drops(host: &dyn KernelHost) {
    let mut hand = delayed(host);
    hand.fill(1, 1);
    hand.store(1, 2);
    let copy = map_copy(&mut hand, pages(0, 4));
    assert_eq!(hand.kernel.finish_copy(&copy), Touch::Ready);
    hand.lock(pages(0, 4), ShouldReturn::None, true, Prot::NO_CHANGE);
    hand.hear();
    hand.fill(1, 1);
    assert_eq!((load(&mut hand, &copy, 1), hand.load(1)), (2, 1));
    let write = hand.kernel.touch_copy(&copy, pages(1, 1), Prot::READ_WRITE);
    assert_eq!(write, Touch::Ready);
    hand.kernel.store(&copy, PAGE, &[3]).unwrap();
    assert_eq!((load(&mut hand, &copy, 1), hand.load(1)), (3, 1));
}

fn an_error_is_told_to_the_copy_and_heals(host: &dyn KernelHost) {
    let mut hand = delayed(host);
    let copy = map_copy(&mut hand, pages(0, 4));
    let touch = |hand: &mut Hand| hand.kernel.touch_copy(&copy, pages(2, 1), Prot::READ_WRITE);
    assert_eq!(touch(&mut hand), Touch::Pending);
    hand.hear();
    hand.fail(2, PageError::NoSpace);
    let failed = Touch::Failed {
        page: PageIndex(2),
        error: PageError::NoSpace,
    };
    assert_eq!(touch(&mut hand), failed);
    assert_eq!(touch(&mut hand), Touch::Pending, "the next touch asks again");
    hand.hear();
    hand.supply(2, &[5; PAGE as usize], Prot::NONE, false);
    assert_eq!(touch(&mut hand), Touch::Ready);
    assert_eq!(load(&mut hand, &copy, 2), 5);
}

fn a_copy_goes_while_it_waits(host: &dyn KernelHost) {
    let mut hand = delayed(host);
    let copy = map_copy(&mut hand, pages(0, 4));
    let touch = hand.kernel.touch_copy(&copy, pages(2, 1), Prot::READ_WRITE);
    assert_eq!(touch, Touch::Pending);
    hand.hear();
    hand.kernel.unmap(&copy).unwrap();
    hand.supply(2, &[5; PAGE as usize], Prot::NONE, false);
    assert_eq!(hand.load(2), 5, "the object has what was asked for");
    assert!(matches!(
        hand.kernel.touch_copy(&copy, pages(2, 1), Prot::READ),
        Touch::Failed { .. }
    ));
}

fn terminates(hand: &mut Hand) -> bool {
    let upcalls = hand.hear();
    upcalls
        .iter()
        .any(|upcall| matches!(upcall, Upcall::Terminate { .. }))
}

fn a_pending_copy_keeps_its_object(host: &dyn KernelHost) {
    let mut hand = Hand::ready(host);
    let mapping = hand.kernel.map(pages(63, 1), Prot::READ).unwrap();
    set_strategy(&mut hand, CopyStrategy::Delay);
    hand.fill(0, 1);
    let copy = map_copy(&mut hand, pages(0, 2));
    hand.kernel.unmap(&mapping).unwrap();
    assert!(!terminates(&mut hand));
    assert_eq!(load(&mut hand, &copy, 0), 1);
    hand.kernel.unmap(&copy).unwrap();
    assert!(terminates(&mut hand));
}

fn a_whole_copy_keeps_nothing(host: &dyn KernelHost) {
    let mut hand = Hand::ready(host);
    let mapping = hand.kernel.map(pages(63, 1), Prot::READ).unwrap();
    for page in 0..2 {
        hand.fill(page, 7);
    }
    let copy = map_copy(&mut hand, pages(0, 2));
    let mut turns = 0;
    while hand.kernel.finish_copy(&copy) == Touch::Pending {
        turns += 1;
        assert!(turns < 10, "the pages are there");
    }
    hand.kernel.unmap(&mapping).unwrap();
    assert!(terminates(&mut hand));
    assert_eq!((load(&mut hand, &copy, 0), load(&mut hand, &copy, 1)), (7, 7));
    hand.kernel.unmap(&copy).unwrap();
}
