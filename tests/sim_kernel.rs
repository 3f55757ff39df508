//! The simulated kernel, seen by a pager and its clients.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::task::Poll;

use actor_pager::mach::eviction::Share;
use actor_pager::mach::sim::{AccessError, SimClient, SimHost, SimMapping, SimObject, SimOptions};
use actor_pager::mach::{Call, Kernel, ObjectSpec, PageSlice, Upcall};
use actor_pager::object::{
    CopyStrategy, PageError, PageIndex, PageRange, PageSize, PortName, Prot, ShouldReturn,
};

const PAGE: u64 = 4096;

fn pages(start: u64, count: u64) -> PageRange {
    PageRange::with_len(PageIndex(start), count)
}

fn spec() -> ObjectSpec {
    ObjectSpec {
        name: "test".into(),
        length: 64 * PAGE,
        page_size: PageSize::KIB_4,
        notify_on_evict: false,
        memory_deadline: std::time::Duration::from_secs(60),
        share: Share::default(),
    }
}

/// A pager that answers by hand.
struct Hand {
    object: SimObject,
    client: SimClient,
    mapping: SimMapping,
    control: PortName,
}

impl Hand {
    fn ready(options: SimOptions) -> Self {
        let mut object = SimHost::new(options).create(spec());
        let client = object.client();
        let mapping = client.map(pages(0, 64), Prot::READ_WRITE);
        let control = match object.take_upcalls().as_slice() {
            [
                Upcall::Init {
                    control,
                    page_size: PAGE,
                    ..
                },
            ] => *control,
            other => panic!("no init, but {other:?}"),
        };
        let (may_cache, copy_strategy) = (false, CopyStrategy::None);
        object
            .call(Call::Ready {
                control,
                may_cache,
                copy_strategy,
            })
            .unwrap();
        Self {
            object,
            client,
            mapping,
            control,
        }
    }

    fn supply(&mut self, start: u64, bytes: &[u8], lock: Prot, precious: bool) {
        let range = pages(start, bytes.len() as u64 / PAGE);
        let (control, pages) = (self.control, PageSlice::Bytes(bytes));
        self.object
            .call(Call::DataSupply {
                control,
                range,
                pages,
                lock,
                precious,
                reply: false,
            })
            .unwrap();
    }

    fn fill(&mut self, page: u64, value: u8) {
        self.supply(page, &[value; PAGE as usize], Prot::NONE, false);
    }

    fn lock(&mut self, range: PageRange, should_return: ShouldReturn, should_flush: bool) {
        let (offset, length) = (range.start().0 * PAGE, range.len() * PAGE);
        let (control, lock, reply) = (self.control, Prot::NO_CHANGE, true);
        let call = Call::LockRequest {
            control,
            offset,
            length,
            should_return,
            should_flush,
            lock,
            reply,
        };
        self.object.call(call).unwrap();
    }

    fn read(&self, page: u64) -> Poll<Result<u8, AccessError>> {
        let mut byte = [0];
        let read = self.client.try_read(self.mapping, page * PAGE, &mut byte);
        read.map(|result| result.map(|()| byte[0]))
    }

    fn write(&self, page: u64, value: u8) -> Poll<Result<(), AccessError>> {
        self.client.try_write(self.mapping, page * PAGE, &[value])
    }

    /// The messages since the last time, in short.
    fn said(&mut self) -> Vec<String> {
        let upcalls = self.object.take_upcalls();
        upcalls.iter().map(short).collect()
    }
}

fn short(upcall: &Upcall) -> String {
    match upcall {
        Upcall::Init { .. } => "init".into(),
        Upcall::DataRequest {
            offset,
            length,
            access,
            ..
        } => {
            format!("request {}+{} {access:?}", offset / PAGE, length / PAGE)
        }
        Upcall::DataReturn {
            offset,
            data,
            dirty,
            kernel_copy,
            ..
        } => {
            let pages = data.len() as u64 / PAGE;
            format!(
                "return {}+{pages} dirty={dirty} copy={kernel_copy}",
                offset / PAGE
            )
        }
        Upcall::DataUnlock { offset, access, .. } => format!("unlock {} {access:?}", offset / PAGE),
        Upcall::LockCompleted { .. } => "lock completed".into(),
        Upcall::SupplyCompleted {
            result, error_offset, ..
        } => {
            format!("supply completed {result} {error_offset}")
        }
        Upcall::ChangeCompleted { .. } => "change completed".into(),
        Upcall::Copy { .. } => "copy".into(),
        Upcall::Terminate { .. } => "terminate".into(),
        Upcall::NoSenders => "no senders".into(),
    }
}

#[test]
fn a_fault_waits_for_ready_then_for_the_supply() {
    let mut object = SimHost::new(SimOptions::default()).create(spec());
    let client = object.client();
    let mapping = client.map(pages(0, 4), Prot::READ_WRITE);
    let mut byte = [0];
    assert!(client.try_read(mapping, 0, &mut byte).is_pending());
    assert_eq!(
        object.take_upcalls().iter().map(short).collect::<Vec<_>>(),
        ["init"]
    );
    let (control, _) = client.ports();
    object
        .call(Call::Ready {
            control,
            may_cache: false,
            copy_strategy: CopyStrategy::None,
        })
        .unwrap();
    assert!(client.try_read(mapping, 0, &mut byte).is_pending());
    assert_eq!(
        object.take_upcalls().iter().map(short).collect::<Vec<_>>(),
        ["request 0+1 read"]
    );
}

#[test]
fn one_request_however_often_a_page_is_touched() {
    let mut hand = Hand::ready(SimOptions::default());
    assert!(hand.read(3).is_pending());
    assert!(hand.read(3).is_pending());
    assert!(hand.write(3, 1).is_pending());
    assert_eq!(hand.said(), ["request 3+1 read"]);
    hand.fill(3, 9);
    assert_eq!(hand.read(3), Poll::Ready(Ok(9)));
}

#[test]
fn an_error_goes_to_one_touch_and_the_next_asks_again() {
    let mut hand = Hand::ready(SimOptions::default());
    assert!(hand.read(0).is_pending());
    let (control, error) = (hand.control, PageError::NoSpace);
    hand.object
        .call(Call::DataError {
            control,
            offset: 0,
            length: PAGE,
            error,
        })
        .unwrap();
    let failed = AccessError::Memory {
        page: PageIndex(0),
        error,
    };
    assert_eq!(hand.read(0), Poll::Ready(Err(failed)));
    assert!(hand.read(0).is_pending());
    assert_eq!(hand.said(), ["request 0+1 read", "request 0+1 read"]);
}

#[test]
fn a_store_to_a_locked_page_asks_for_the_unlock_once() {
    let mut hand = Hand::ready(SimOptions::default());
    hand.supply(1, &[5; PAGE as usize], Prot::WRITE, false);
    assert!(hand.write(1, 1).is_pending());
    assert!(hand.write(1, 1).is_pending());
    assert_eq!(hand.read(1), Poll::Ready(Ok(5)));
    assert_eq!(hand.said(), ["unlock 1 read|write"]);
}

#[test]
fn returns_are_cut_at_holes_kinds_and_32_pages() {
    let mut hand = Hand::ready(SimOptions::default());
    for page in 0..40 {
        hand.fill(page, 1);
        assert_eq!(hand.write(page, 2), Poll::Ready(Ok(())));
    }
    hand.supply(41, &[3; 2 * PAGE as usize], Prot::NONE, true);
    assert_eq!(hand.write(42, 4), Poll::Ready(Ok(())));
    hand.lock(pages(0, 64), ShouldReturn::All, false);
    let said = [
        "return 0+32 dirty=true copy=true",
        "return 32+8 dirty=true copy=true",
        "return 41+1 dirty=false copy=true",
        "return 42+1 dirty=true copy=true",
        "lock completed",
    ];
    assert_eq!(hand.said(), said);
}

#[test]
fn the_last_unmap_returns_page_by_page_and_ends_the_object() {
    let mut hand = Hand::ready(SimOptions::default());
    for page in [2, 0, 1] {
        hand.fill(page, 1);
        assert_eq!(hand.write(page, 2), Poll::Ready(Ok(())));
    }
    hand.client.make_send();
    assert!(hand.client.unmap(hand.mapping));
    let said = [2, 0, 1].map(|page| format!("return {page}+1 dirty=true copy=false"));
    assert_eq!(hand.said(), [said.to_vec(), vec!["terminate".into()]].concat());
    hand.client.drop_send();
    assert_eq!(hand.said(), ["no senders"]);
}

#[test]
fn frames_never_exceed_the_limit() {
    let options = SimOptions {
        resident_limit: Some(4),
        seed: 3,
        ..SimOptions::default()
    };
    let mut hand = Hand::ready(options);
    for page in 0..64 {
        assert!(hand.write(page, 7).is_pending());
        hand.fill(page, 1);
        assert_eq!(hand.write(page, 7), Poll::Ready(Ok(())));
    }
    assert_eq!(hand.client.residency().resident, 4);
    assert_eq!(hand.client.host().high_water(), 4);
    let returned = hand
        .said()
        .iter()
        .filter(|said| said.ends_with("dirty=true copy=false"))
        .count();
    assert_eq!(returned, 60);
}

#[test]
fn a_fault_waits_while_every_frame_is_asked_for() {
    let options = SimOptions {
        resident_limit: Some(1),
        ..SimOptions::default()
    };
    let mut hand = Hand::ready(options);
    assert!(hand.read(0).is_pending());
    assert!(hand.read(1).is_pending());
    assert_eq!(hand.said(), ["request 0+1 read"]);
    hand.fill(0, 1);
    assert!(hand.read(1).is_pending());
    assert!(
        hand.said().is_empty(),
        "the page stays until the fault that it came for has used it"
    );
    assert_eq!(hand.read(0), Poll::Ready(Ok(1)));
    assert!(hand.read(1).is_pending());
    assert_eq!(hand.said(), ["request 1+1 read"]);
}

#[test]
fn the_oracle_reports_a_page_that_lost_a_store() {
    let mut hand = Hand::ready(SimOptions::default());
    assert!(hand.write(0, 7).is_pending());
    hand.fill(0, 1);
    assert_eq!(hand.write(0, 7), Poll::Ready(Ok(())));
    hand.lock(pages(0, 1), ShouldReturn::All, true);
    assert!(hand.read(0).is_pending());
    hand.fill(0, 1);
    let [ref mismatch] = hand.client.mismatches()[..] else {
        panic!("exactly one page is wrong")
    };
    assert_eq!((mismatch.expected, mismatch.found, mismatch.at), (7, 1, 0));
}

#[test]
fn lent_pages_keep_their_frame_until_released_and_can_be_given_back() {
    let options = SimOptions {
        resident_limit: Some(1),
        lend_returns: true,
        ..SimOptions::default()
    };
    let mut hand = Hand::ready(options);
    hand.fill(0, 1);
    assert_eq!(hand.write(0, 2), Poll::Ready(Ok(())));
    assert!(hand.read(1).is_pending());
    let upcalls = hand.object.take_upcalls();
    let [Upcall::DataReturn { data, .. }] = &upcalls[..] else {
        panic!("one return, not {upcalls:?}")
    };
    assert_eq!(data.bytes()[0], 2);
    assert!(hand.read(1).is_pending());
    assert!(hand.read(0).is_pending());
    assert_eq!(hand.said(), ["request 0+1 read"]);
    let (control, range, lock) = (hand.control, pages(0, 1), Prot::NONE);
    let supply = |pages| Call::DataSupply {
        control,
        range,
        pages,
        lock,
        precious: false,
        reply: false,
    };
    hand.object.call(supply(PageSlice::Cached)).unwrap();
    assert_eq!(hand.read(0), Poll::Ready(Ok(2)));
    assert!(hand.object.call(supply(PageSlice::Cached)).is_err());
}

#[test]
fn a_released_loan_frees_its_frame() {
    let options = SimOptions {
        resident_limit: Some(1),
        lend_returns: true,
        ..SimOptions::default()
    };
    let mut hand = Hand::ready(options);
    hand.fill(0, 1);
    assert_eq!(hand.write(0, 2), Poll::Ready(Ok(())));
    assert!(hand.read(1).is_pending());
    let upcalls = hand.object.take_upcalls();
    let [Upcall::DataReturn { data, .. }] = &upcalls[..] else {
        panic!("one return, not {upcalls:?}")
    };
    hand.object.release(data, pages(0, 1));
    assert!(hand.read(1).is_pending());
    assert_eq!(hand.said(), ["request 1+1 read"]);
}

#[test]
fn a_dead_pager_leaves_what_is_resident() {
    let mut hand = Hand::ready(SimOptions::default());
    hand.fill(0, 1);
    assert!(hand.read(1).is_pending());
    let Hand {
        object,
        client,
        mapping,
        ..
    } = hand;
    drop(object);
    let mut byte = [0];
    assert_eq!(client.try_read(mapping, 0, &mut byte), Poll::Ready(Ok(())));
    let failed = AccessError::Memory {
        page: PageIndex(1),
        error: PageError::Io,
    };
    assert_eq!(
        client.try_read(mapping, PAGE, &mut byte),
        Poll::Ready(Err(failed))
    );
}

#[test]
fn a_blocked_thread_goes_on_when_the_page_comes() {
    let mut hand = Hand::ready(SimOptions::default());
    let (client, mapping) = (hand.client.clone(), hand.mapping);
    let thread = std::thread::spawn(move || {
        let mut byte = [0];
        client.read(mapping, 5 * PAGE, &mut byte).map(|()| byte[0])
    });
    while hand.said().is_empty() {
        std::thread::yield_now();
    }
    hand.fill(5, 42);
    assert_eq!(thread.join().unwrap(), Ok(42));
}

#[test]
fn equal_seeds_evict_equal_pages() {
    let run = |seed| {
        let options = SimOptions {
            resident_limit: Some(8),
            seed,
            ..SimOptions::default()
        };
        let mut hand = Hand::ready(options);
        for page in 0..64 {
            assert!(hand.write(page, 7).is_pending());
            hand.fill(page, 1);
            assert!(hand.write(page, 7).is_ready());
        }
        hand.said()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn a_pager_that_forgot_everything_is_told_everything_again() {
    let options = SimOptions {
        lend_returns: true,
        ..SimOptions::default()
    };
    let mut hand = Hand::ready(options);
    for page in 0..3 {
        hand.fill(page, page as u8);
        assert!(hand.write(page, 10 + page as u8).is_ready());
    }
    hand.lock(pages(0, 1), ShouldReturn::Dirty, false);
    hand.client.evict(pages(1, 1));
    hand.supply(4, &[4; PAGE as usize], Prot::WRITE, false);
    assert!(hand.read(3).is_pending() && hand.write(4, 1).is_pending());
    assert_eq!(
        hand.said().len(),
        5,
        "two returns, a completion, a request, an unlock"
    );

    let before = hand.control;
    hand.object.reissue();
    assert_eq!(hand.said(), ["init", "return 1+1 dirty=true copy=false"]);
    (hand.control, _) = hand.client.ports();
    assert_ne!(hand.control, before, "late calls of the pager before are refused");
    let ready = Call::Ready {
        control: hand.control,
        may_cache: false,
        copy_strategy: CopyStrategy::None,
    };
    hand.object.call(ready).unwrap();
    assert_eq!(hand.said(), ["request 3+1 read", "unlock 4 read|write"]);
    assert_eq!(hand.client.residency().dirty, 2, "pages 0 and 2");
    hand.fill(3, 33);
    assert_eq!(hand.read(3), Poll::Ready(Ok(33)));
    hand.lock(pages(0, 64), ShouldReturn::Dirty, false);
    assert_eq!(
        hand.said(),
        [
            "return 0+1 dirty=true copy=true",
            "return 2+1 dirty=true copy=true",
            "lock completed"
        ]
    );
    assert!(hand.client.mismatches().is_empty());
}

#[test]
fn a_pager_that_nobody_uses_is_told_nothing() {
    let mut object = SimHost::new(SimOptions::default()).create(spec());
    object.reissue();
    assert!(object.take_upcalls().is_empty());
}

#[test]
fn accesses_that_cannot_be_say_why() {
    let hand = Hand::ready(SimOptions::default());
    let some = hand.client.map(pages(2, 1), Prot::READ);
    let page = PageIndex(2);
    let write = hand.client.try_write(some, 2 * PAGE, &[1]);
    assert_eq!(write, Poll::Ready(Err(AccessError::Protection { page })));
    assert!(hand.client.unmap(some));
    let read = hand.client.try_read(some, 2 * PAGE, &mut [0]);
    assert_eq!(read, Poll::Ready(Err(AccessError::NotMapped { page })));
}
