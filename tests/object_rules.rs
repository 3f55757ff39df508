//! The rules of the core, one by one: above all where the original is at fault.

#[path = "object/bench.rs"]
mod bench;

use actor_pager::object::{
    Answer, CopyStrategy, Effect, Event, FailedPagePolicy, FailedPages, LockKind, ObjectState, PageError,
    PageFate, PageIndex, PageState, PortName, Prot, Refusal, RequestToken, ShouldReturn,
};
use bench::{Bench, CONTROL, PAGE, range};

#[test]
fn stores_up_to_the_flush_of_a_shutdown_are_kept() {
    let mut bench = Bench::ready();
    bench.resident(0);
    let shutdown = bench.shutdown(4);
    let asked = bench.lock_requests();
    assert_eq!(
        asked,
        [(range(0, 4), ShouldReturn::All, true)],
        "one request both returns and flushes"
    );
    let data = bench.returned(0, 1, true, false);
    bench.confirm(0, 4);
    assert_eq!(bench.answer(shutdown), None, "the write is still under way");
    bench.write_all();
    assert_eq!(bench.answer(shutdown), Some(Answer::Done));
    assert_eq!(bench.stored(0), Some(data));
    assert!(bench.saw(&Effect::DestroyPort));
}

#[test]
fn requests_during_shutdown_get_errors() {
    let mut bench = Bench::ready();
    bench.request(0, 1, Prot::READ);
    bench.shutdown(4);
    bench.request(1, 1, Prot::READ);
    assert_eq!(bench.errors(), [(1, PageError::Io)]);
    bench.read_all();
    assert_eq!(
        bench.errors(),
        [(0, PageError::Io)],
        "a read under way comes too late"
    );
    bench.confirm(0, 4);
    assert_eq!(bench.object.state(), ObjectState::ShutDown);
    bench.request(2, 1, Prot::READ);
    assert_eq!(bench.errors(), [(2, PageError::Io)]);
    let data = bench.returned(3, 1, true, false);
    bench.write_all();
    assert_eq!(
        bench.stored(3),
        Some(data),
        "what comes late is written all the same"
    );
}

#[test]
fn what_cannot_be_written_at_shutdown_is_handed_back() {
    let mut bench = Bench::ready();
    let shutdown = bench.shutdown(4);
    let data = bench.returned(0, 2, true, false);
    bench.confirm(0, 4);
    bench.fail_writes(PageError::NoSpace);
    let failed = FailedPages {
        range: range(0, 2),
        error: PageError::NoSpace,
        fate: PageFate::HandedBack(data),
    };
    assert_eq!(bench.answer(shutdown), Some(Answer::Failed(vec![failed])));
    assert_eq!(bench.object.kept_pages(range(0, 4)).count(), 0);
}

#[test]
fn a_shutdown_waits_for_what_is_tried_again_meanwhile() {
    let mut bench = Bench::ready();
    let shutdown = bench.shutdown(4);
    let data = bench.returned(0, 1, true, false);
    bench.returned(2, 1, true, false);
    bench.confirm(0, 4);
    bench.write_partly(0, Some(PageError::Io));
    bench.feed(Event::RetryWrites);
    assert_eq!(bench.writes(), [range(2, 3)], "the shutdown has tried itself");
    bench.lock(LockKind::Sync, 0, 1);
    bench.write_one();
    assert_eq!(bench.writes(), [range(0, 1)]);
    assert_eq!(
        bench.answer(shutdown),
        None,
        "what fails now would be lost otherwise"
    );
    bench.fail_writes(PageError::Io);
    let failed = FailedPages {
        range: range(0, 1),
        error: PageError::Io,
        fate: PageFate::HandedBack(data),
    };
    assert_eq!(bench.answer(shutdown), Some(Answer::Failed(vec![failed])));
}

#[test]
fn refused_messages_are_answered() {
    let mut bench = Bench::ready();
    let wrong = [
        (PortName(99), 0, PAGE, Refusal::WrongControl),
        (CONTROL, 0, 0, Refusal::BadLength),
        (CONTROL, 0, 100, Refusal::BadLength),
        (CONTROL, 7, PAGE, Refusal::Misaligned),
        (CONTROL, u64::MAX - PAGE + 1, PAGE, Refusal::Overflow),
        (CONTROL, 0, PAGE << 40, Refusal::BadLength),
        (CONTROL, 16 * PAGE, PAGE, Refusal::OutsideExtent),
    ];
    for (control, offset, length, refusal) in wrong {
        let events = [
            Event::DataRequest {
                control,
                offset,
                length,
                access: Prot::READ,
            },
            Event::DataUnlock {
                control,
                offset,
                length,
                access: Prot::WRITE,
            },
        ];
        for event in events {
            let effects = bench.feed(event.clone());
            let error = Effect::DataError {
                control,
                offset,
                length,
                error: PageError::Io,
            };
            assert_eq!(effects, [error, Effect::Refused(refusal)], "{event:?}");
        }
    }
    let effects = bench.feed(Event::DataUnlock {
        control: CONTROL,
        offset: 0,
        length: PAGE,
        access: Prot::READ,
    });
    assert!(effects.contains(&Effect::Refused(Refusal::BadAccess)));
}

#[test]
fn refused_returns_give_their_memory_back() {
    let mut bench = Bench::ready();
    for (control, offset, length) in [(PortName(99), 0, PAGE), (CONTROL, 1, PAGE), (CONTROL, 0, 1)] {
        let data = bench.new_data();
        let effects = bench.feed(Event::DataReturn {
            control,
            offset,
            length,
            data,
            dirty: true,
            kernel_copy: false,
        });
        assert_eq!(effects[0], Effect::ReleaseWhole { data });
    }
    let data = bench.returned(15, 2, true, false);
    assert!(bench.saw(&Effect::Release {
        data,
        range: range(16, 17)
    }));
    bench.write_all();
    assert_eq!(
        bench.stored(15),
        Some(data),
        "what lies inside the extent is written"
    );
    bench.object.set_extent(Some(17 * PAGE));
    let data = bench.returned(16, 1, true, false);
    bench.write_all();
    assert_eq!(bench.stored(16), Some(data));
}

#[test]
fn messages_out_of_time_are_refused() {
    let mut bench = Bench::new(FailedPagePolicy::SupplyKept, false);
    let early = bench.feed(Event::DataRequest {
        control: CONTROL,
        offset: 0,
        length: PAGE,
        access: Prot::READ,
    });
    assert!(early.contains(&Effect::Refused(Refusal::WrongState)));
    let nobody = bench.feed(Event::Terminate {
        control: CONTROL,
        name: CONTROL,
    });
    assert!(nobody.contains(&Effect::Refused(Refusal::WrongState)));
    let null = bench.feed(Event::DataRequest {
        control: PortName::NULL,
        offset: 0,
        length: PAGE,
        access: Prot::READ,
    });
    assert_eq!(
        null,
        [Effect::Refused(Refusal::WrongState)],
        "there is no port to answer to"
    );
    let size = bench.init(CONTROL, 2 * PAGE);
    assert!(size.contains(&Effect::Refused(Refusal::WrongPageSize)));
    assert!(size.contains(&Effect::Destroy { control: CONTROL }));
    bench.init(CONTROL, PAGE);
    assert_eq!(bench.object.state(), ObjectState::Ready);
    let second = bench.init(PortName(5), PAGE);
    assert!(second.contains(&Effect::Refused(Refusal::SecondKernel)));
    let wrong = bench.feed(Event::Terminate {
        control: PortName(5),
        name: PortName(5),
    });
    assert!(wrong.contains(&Effect::Refused(Refusal::WrongControl)));
    let unmatched = bench.confirm_as(PortName(5), 0, 1);
    assert!(unmatched.contains(&Effect::Refused(Refusal::WrongControl)));
    let unmatched = bench.confirm_as(CONTROL, 0, 1);
    assert!(unmatched.contains(&Effect::Refused(Refusal::Unmatched)));
}

#[test]
fn two_waiters_on_one_range_are_told_each_in_turn() {
    let mut bench = Bench::ready();
    let first = bench.lock(LockKind::Sync, 0, 4);
    let second = bench.lock(LockKind::Sync, 0, 4);
    bench.confirm(0, 4);
    assert_eq!(bench.answer(first), Some(Answer::Done));
    assert_eq!(bench.answer(second), None);
    let third = bench.lock(LockKind::Sync, 0, 4);
    bench.confirm(0, 4);
    assert_eq!(bench.answer(second), Some(Answer::Done));
    assert_eq!(bench.answer(third), None);
    assert_eq!(bench.object.unanswered().collect::<Vec<_>>(), [third]);
}

#[test]
fn a_sync_waits_for_writes_that_began_before_it() {
    let mut bench = Bench::ready();
    bench.returned(0, 1, true, false);
    bench.returned(0, 1, true, false);
    let sync = bench.lock(LockKind::Sync, 0, 1);
    let other = bench.lock(LockKind::Sync, 1, 1);
    bench.confirm(0, 1);
    bench.confirm(1, 1);
    assert_eq!(bench.answer(other), Some(Answer::Done), "ranges are half open");
    bench.returned(0, 1, true, false);
    bench.write_one();
    assert_eq!(
        bench.answer(sync),
        None,
        "a return that waited is still to be written"
    );
    bench.write_one();
    assert_eq!(
        bench.answer(sync),
        Some(Answer::Done),
        "what came after the confirmation is not waited for"
    );
}

#[test]
fn calls_are_answered_when_the_kernel_goes() {
    let ends = [
        Event::NoSenders,
        Event::Terminate {
            control: CONTROL,
            name: PortName(2),
        },
    ];
    for end in ends {
        let mut bench = Bench::ready();
        bench.returned(0, 1, true, false);
        let waits = bench.lock(LockKind::Sync, 0, 1);
        let done = bench.lock(LockKind::Return, 2, 1);
        let change = bench.change(true, true);
        bench.feed(end);
        assert_eq!(bench.answer(done), Some(Answer::Done));
        assert_eq!(bench.answer(change), Some(Answer::Done));
        assert_eq!(bench.answer(waits), None, "the write is still under way");
        bench.lock_requests();
        let late = bench.lock(LockKind::Sync, 0, 1);
        assert!(bench.lock_requests().is_empty(), "nobody is there to be asked");
        bench.write_all();
        assert_eq!(bench.answer(waits), Some(Answer::Done));
        assert_eq!(bench.answer(late), Some(Answer::Done));
        assert_eq!(bench.object.state(), ObjectState::NotInit);
    }
}

#[test]
fn a_new_kernel_is_served_while_the_last_one_is_being_served() {
    let mut bench = Bench::ready();
    let data = bench.returned(0, 1, true, false);
    bench.request(1, 1, Prot::READ);
    bench.feed(Event::Terminate {
        control: CONTROL,
        name: PortName(2),
    });
    let old = Effect::ReleasePorts {
        control: CONTROL,
        name: PortName(2),
    };
    assert!(!bench.saw(&old), "answers are still to come");
    let effects = bench.init(PortName(3), PAGE);
    assert!(matches!(effects[0], Effect::Ready { .. }));
    bench.feed(Event::DataRequest {
        control: PortName(3),
        offset: 0,
        length: PAGE,
        access: Prot::READ,
    });
    bench.write_all();
    assert!(
        bench
            .supplied(0)
            .is_some_and(|supplied| supplied == (PortName(3), data))
    );
    bench.read_all();
    assert!(
        bench.saw(&old),
        "now nothing is left to be said to the old kernel"
    );
}

#[test]
fn a_failed_write_is_kept_and_reported_once() {
    let mut bench = Bench::ready();
    let data = bench.returned(0, 2, true, false);
    bench.fail_writes(PageError::NoSpace);
    assert_eq!(bench.object.page_error(PageIndex(0)), Some(PageError::NoSpace));
    let kept: Vec<_> = bench
        .object
        .kept_pages(range(0, 4))
        .map(|kept| kept.data)
        .collect();
    assert_eq!(kept, [data, data]);
    assert_eq!(bench.object.unreported().count(), 2);

    let sync = bench.lock(LockKind::Sync, 0, 4);
    bench.confirm(0, 4);
    assert_eq!(bench.answer(sync), None, "it is tried again");
    bench.write_all();
    let failed = FailedPages {
        range: range(0, 2),
        error: PageError::NoSpace,
        fate: PageFate::Stored,
    };
    assert_eq!(bench.answer(sync), Some(Answer::Failed(vec![failed])));
    assert_eq!(bench.object.page_error(PageIndex(0)), None);

    let again = bench.lock(LockKind::Sync, 0, 4);
    bench.confirm(0, 4);
    assert_eq!(bench.answer(again), Some(Answer::Done));
    assert_eq!(bench.stored(0), Some(data));
}

#[test]
fn a_retry_that_fails_after_the_report_is_not_reported_again() {
    let mut bench = Bench::ready();
    bench.returned(0, 1, true, false);
    bench.fail_writes(PageError::NoSpace);
    let sync = bench.lock(LockKind::Sync, 0, 4);
    bench.confirm(0, 4);
    bench.fail_writes(PageError::NoSpace);
    assert!(matches!(bench.answer(sync), Some(Answer::Failed(_))));

    bench.feed(Event::RetryWrites);
    bench.fail_writes(PageError::NoSpace);
    assert_eq!(bench.object.unreported().count(), 0, "it was told");
    let saved = bench.lock(LockKind::Sync, 0, 4);
    bench.confirm(0, 4);
    bench.write_all();
    assert_eq!(
        bench.answer(saved),
        Some(Answer::Done),
        "everything is in the store"
    );

    bench.returned(0, 1, true, false);
    bench.fail_writes(PageError::NoSpace);
    assert_eq!(bench.object.unreported().count(), 1, "this is another failure");
}

#[test]
fn a_write_that_fails_under_a_sync_is_reported_by_it_alone() {
    let mut bench = Bench::ready();
    let sync = bench.lock(LockKind::Sync, 0, 4);
    bench.returned(1, 1, true, true);
    bench.confirm(0, 4);
    bench.fail_writes(PageError::Quota);
    let failed = FailedPages {
        range: range(1, 2),
        error: PageError::Quota,
        fate: PageFate::Kept,
    };
    assert_eq!(bench.answer(sync), Some(Answer::Failed(vec![failed])));
    assert_eq!(bench.object.unreported().count(), 0);
    bench.feed(Event::RetryWrites);
    bench.write_all();
    let again = bench.lock_without_waiting(LockKind::Sync, 0, 4);
    assert_eq!(bench.answer(again), Some(Answer::Done));
    assert_eq!(bench.object.page_state(PageIndex(1)), CLEAN);
}

const CLEAN: PageState = PageState::Resident {
    write_locked: false,
    unsaved: false,
    flushing: false,
    offered: false,
};

#[test]
fn a_flush_drops_what_was_kept_and_says_so() {
    for kernel_copy in [false, true] {
        let mut bench = Bench::ready();
        let data = bench.returned(0, 1, true, kernel_copy);
        bench.fail_writes(PageError::Io);
        let flush = bench.lock(LockKind::Flush, 0, 4);
        assert!(bench.saw(&Effect::Release {
            data,
            range: range(0, 1)
        }));
        bench.confirm(0, 4);
        let failed = FailedPages {
            range: range(0, 1),
            error: PageError::Io,
            fate: PageFate::Dropped,
        };
        assert_eq!(bench.answer(flush), Some(Answer::Failed(vec![failed])));
        assert_eq!(bench.object.page_state(PageIndex(0)), PageState::Absent);
    }
}

#[test]
fn a_flush_without_waiting_reports_at_once() {
    let mut bench = Bench::ready();
    bench.returned(0, 1, true, false);
    bench.fail_writes(PageError::Io);
    bench.request(0, 1, Prot::READ);
    let flush = bench.lock_without_waiting(LockKind::Flush, 0, 4);
    assert!(
        matches!(bench.answer(flush), Some(Answer::Failed(failed)) if failed[0].fate == PageFate::Dropped)
    );
    assert_eq!(
        bench.object.page_state(PageIndex(0)),
        CLEAN,
        "the kernel's only copy is no more wanted"
    );
}

#[test]
fn a_failed_write_outlives_terminate() {
    let mut bench = Bench::ready();
    let data = bench.returned(0, 1, true, false);
    bench.fail_writes(PageError::Io);
    bench.feed(Event::NoSenders);
    bench.init(CONTROL, PAGE);
    bench.request(0, 1, Prot::READ);
    assert_eq!(bench.supplied(0), Some((CONTROL, data)));
    assert!(bench.object.page_state(PageIndex(0)).is_unsaved());
}

#[test]
fn newer_data_heals_a_failed_page() {
    let mut bench = Bench::ready();
    let old = bench.returned(0, 1, true, true);
    bench.fail_writes(PageError::Io);
    let new = bench.returned(0, 1, true, false);
    assert!(bench.saw(&Effect::Release {
        data: old,
        range: range(0, 1)
    }));
    bench.write_all();
    assert_eq!(bench.object.page_error(PageIndex(0)), None);
    assert_eq!(bench.stored(0), Some(new));
}

#[test]
fn a_kept_page_does_not_part_a_run_of_writes() {
    let mut bench = Bench::ready();
    bench.returned(1, 1, true, true);
    bench.fail_writes(PageError::Io);
    bench.returned(0, 4, true, false);
    assert_eq!(bench.writes(), [range(0, 4)], "the store is asked once");
}

#[test]
fn a_request_during_a_write_that_fails() {
    let mut bench = Bench::ready();
    let data = bench.returned(0, 1, true, false);
    bench.request(0, 1, Prot::READ);
    bench.fail_writes(PageError::Io);
    assert_eq!(
        bench.supplied_precious(0),
        Some(true),
        "the kernel may not drop it without a word"
    );
    // It comes back clean, and is written all the same.
    let back = bench.returned(0, 1, false, false);
    bench.write_all();
    assert_eq!(bench.stored(0), Some(back));
    assert_ne!(data, back);

    let mut bench = Bench::new(FailedPagePolicy::Error, false);
    bench.init(CONTROL, PAGE);
    let data = bench.returned(0, 1, true, false);
    bench.request(0, 1, Prot::READ);
    bench.fail_writes(PageError::NoSpace);
    assert_eq!(bench.errors(), [(0, PageError::NoSpace)]);
    bench.feed(Event::RetryWrites);
    bench.write_all();
    assert_eq!(bench.stored(0), Some(data));
}

#[test]
fn retries_fetch_what_went_back_to_the_kernel() {
    let mut bench = Bench::ready();
    bench.returned(0, 1, true, false);
    bench.fail_writes(PageError::Io);
    bench.request(0, 1, Prot::READ);
    bench.lock_requests();
    bench.feed(Event::RetryWrites);
    assert_eq!(bench.lock_requests(), [(range(0, 1), ShouldReturn::All, false)]);
}

#[test]
fn every_eviction_is_told() {
    let mut bench = Bench::new(FailedPagePolicy::SupplyKept, true);
    bench.init(CONTROL, PAGE);
    bench.resident(0);
    assert_eq!(bench.supplied_precious(0), Some(true));
    bench.returned(0, 1, false, false);
    assert_eq!(bench.evicted(), [0], "given up clean");

    bench.resident(0);
    bench.returned(0, 1, true, false);
    assert!(bench.evicted().is_empty(), "the write is under way");
    bench.write_all();
    assert_eq!(bench.evicted(), [0], "given up dirty");

    bench.resident(0);
    bench.resident(1);
    bench.lock_without_waiting(LockKind::Flush, 0, 4);
    bench.resident(2);
    bench.confirm(0, 4);
    assert_eq!(
        bench.evicted(),
        [0, 1],
        "flushed; what was supplied after the flush stays"
    );

    bench.returned(2, 1, true, true);
    bench.lock(LockKind::Flush, 0, 4);
    bench.confirm(0, 4);
    bench.write_all();
    assert_eq!(bench.evicted(), [2], "the copy that was kept is flushed");

    bench.returned(3, 1, true, false);
    bench.fail_writes(PageError::Io);
    assert_eq!(
        bench.evicted(),
        [3],
        "the kernel gave it up although the write failed"
    );
    bench.feed(Event::RetryWrites);
    bench.write_all();
    assert!(bench.evicted().is_empty(), "and is not told again");

    bench.returned(4, 1, true, true);
    bench.fail_writes(PageError::Io);
    bench.returned(4, 1, false, false);
    assert_eq!(
        bench.evicted(),
        [4],
        "the copy of a page whose write failed is dropped"
    );
}

#[test]
fn two_flushes_of_one_page_are_told_apart() {
    let mut bench = Bench::new(FailedPagePolicy::SupplyKept, true);
    bench.init(CONTROL, PAGE);
    bench.resident(0);
    bench.lock(LockKind::Return, 0, 2);
    bench.returned(0, 1, true, false);
    bench.fail_writes(PageError::Io);
    assert_eq!(bench.evicted(), [0]);
    bench.request(0, 1, Prot::READ);
    bench.lock(LockKind::Return, 0, 1);
    bench.confirm(0, 2);
    assert!(
        bench.evicted().is_empty(),
        "the page was supplied after the first flush"
    );
    assert!(bench.object.page_state(PageIndex(0)).is_unsaved());
    let back = bench.returned(0, 1, false, false);
    bench.confirm(0, 1);
    bench.write_all();
    assert_eq!(bench.stored(0), Some(back), "nor is its data lost");
}

#[test]
fn a_request_shows_that_a_flush_is_done() {
    let mut bench = Bench::new(FailedPagePolicy::SupplyKept, true);
    bench.init(CONTROL, PAGE);
    bench.resident(0);
    bench.lock(LockKind::Flush, 0, 2);
    bench.request(0, 1, Prot::READ);
    assert_eq!(bench.evicted(), [0]);
}

#[test]
fn a_precious_offer_is_written_when_it_comes_back_clean() {
    let mut bench = Bench::ready();
    let offer = bench.offer(0, true, true);
    assert_eq!(bench.answer(offer), Some(Answer::Done));
    assert_eq!(bench.supplied_precious(0), Some(true));
    let data = bench.returned(0, 1, false, true);
    bench.write_all();
    assert_eq!(bench.stored(0), Some(data));
    bench.offer(1, false, false);
    bench.returned(1, 1, false, false);
    assert_eq!(bench.stored(1), None, "the store is said to have it");
}

#[test]
fn offers_out_of_place_are_refused() {
    let mut bench = Bench::new(FailedPagePolicy::SupplyKept, false);
    let early = bench.offer(0, false, false);
    assert_eq!(bench.answer(early), Some(Answer::Rejected(Refusal::WrongState)));
    bench.init(CONTROL, PAGE);
    let outside = bench.offer(16, false, false);
    assert_eq!(
        bench.answer(outside),
        Some(Answer::Rejected(Refusal::OutsideExtent))
    );
    let data = bench.new_data();
    let token = bench.token();
    bench.feed(Event::Offer {
        token,
        offset: 1,
        data,
        precious: false,
        write_lock: false,
    });
    assert_eq!(bench.answer(token), Some(Answer::Rejected(Refusal::Misaligned)));
    assert!(bench.saw(&Effect::ReleaseWhole { data }));
    bench.shutdown(0);
    let late = bench.offer(0, false, false);
    assert_eq!(bench.answer(late), Some(Answer::Rejected(Refusal::WrongState)));
}

#[test]
fn an_offer_of_a_kept_page_is_ignored() {
    let mut bench = Bench::ready();
    let data = bench.returned(0, 1, true, false);
    bench.fail_writes(PageError::Io);
    let offer = bench.offer(0, true, false);
    assert_eq!(bench.answer(offer), Some(Answer::Done));
    assert_eq!(bench.supplied(0), None);
    bench.feed(Event::RetryWrites);
    bench.write_all();
    assert_eq!(bench.stored(0), Some(data));
}

#[test]
fn an_offer_that_waited_for_a_kernel_that_is_gone_is_released() {
    let mut bench = Bench::ready();
    bench.request(0, 1, Prot::READ);
    bench.offer(0, false, false);
    bench.feed(Event::NoSenders);
    bench.read_all();
    assert_eq!(bench.object.page_state(PageIndex(0)), PageState::Absent);
}

#[test]
fn a_refused_unlock_is_seen_by_the_writer_once() {
    let mut bench = Bench::ready();
    bench.request(0, 1, Prot::READ);
    bench.read_locked();
    bench.unlock(0, 1);
    bench.end_unlock(Err(PageError::Quota));
    assert_eq!(bench.lock_requests(), [(range(0, 1), ShouldReturn::None, true)]);
    bench.request(0, 1, Prot::READ);
    bench.read_locked();
    assert_eq!(bench.errors(), [], "readers do not see it");
    bench.request(0, 1, Prot::READ_WRITE);
    assert_eq!(bench.errors(), [(0, PageError::Quota)]);
    assert_eq!(bench.object.page_error(PageIndex(0)), Some(PageError::Quota));
    bench.request(0, 1, Prot::READ_WRITE);
    bench.read_all();
    assert_eq!(bench.errors(), [], "only one request does");
}

#[test]
fn a_refused_unlock_does_not_lose_an_offered_page() {
    let mut bench = Bench::ready();
    bench.offer(0, true, true);
    bench.unlock(0, 1);
    bench.end_unlock(Err(PageError::NoSpace));
    assert_eq!(bench.lock_requests(), [(range(0, 1), ShouldReturn::All, true)]);
}

#[test]
fn a_granted_unlock_takes_a_refusal_back() {
    let mut bench = Bench::ready();
    bench.request(0, 1, Prot::READ);
    bench.read_locked();
    for result in [Err(PageError::NoSpace), Ok(())] {
        bench.unlock(0, 1);
        bench.end_unlock(result);
    }
    bench.request(0, 1, Prot::READ_WRITE);
    bench.read_all();
    assert_eq!(bench.errors(), []);
}

#[test]
fn an_unlock_of_a_kept_page_is_granted() {
    let mut bench = Bench::ready();
    bench.returned(0, 1, true, true);
    bench.fail_writes(PageError::Io);
    let effects = bench.unlock(0, 1);
    assert!(matches!(effects[0], Effect::LockRequest { lock: Prot::NONE, .. }));
}

#[test]
fn an_unlock_for_a_kernel_that_is_gone_says_nothing() {
    let mut bench = Bench::ready();
    bench.unlock(0, 1);
    bench.feed(Event::NoSenders);
    bench.lock_requests();
    bench.end_unlock(Err(PageError::Io));
    assert!(bench.lock_requests().is_empty());
}

#[test]
fn pages_are_served_in_turn() {
    let mut bench = Bench::ready();
    let first = bench.returned(0, 1, true, false);
    let second = bench.returned(0, 1, true, false);
    bench.request(0, 1, Prot::READ);
    bench.unlock(0, 1);
    bench.write_one();
    assert_eq!(bench.stored(0), Some(first));
    assert_eq!(
        bench.supplied(0),
        None,
        "newer data waits in front of the request"
    );
    bench.write_one();
    assert_eq!(bench.stored(0), Some(second));
    assert_eq!(bench.supplied(0), Some((CONTROL, second)));
    bench.end_unlock(Ok(()));
    assert!(bench.object.is_idle());
}

#[test]
fn requests_that_wait_for_one_page_are_answered_together() {
    let mut bench = Bench::ready();
    bench.request(0, 1, Prot::READ);
    bench.request(0, 1, Prot::READ);
    bench.read_all();
    assert!(bench.supplied(0).is_some());
    assert!(bench.object.is_idle());

    let data = bench.returned(1, 1, true, false);
    bench.request(1, 1, Prot::READ);
    bench.request(1, 1, Prot::READ);
    bench.fail_writes(PageError::Io);
    assert_eq!(bench.supplied(1), Some((CONTROL, data)));
    assert!(
        bench.object.is_idle(),
        "the store is not asked for what the kernel has just got"
    );
}

#[test]
fn one_slow_page_delays_no_other() {
    let mut bench = Bench::ready();
    bench.returned(2, 1, true, true);
    bench.returned(0, 3, true, false);
    assert_eq!(bench.writes(), [range(2, 3), range(0, 2)]);
    bench.request(3, 1, Prot::READ);
    assert_eq!(bench.reads(), [range(3, 4)]);
}

#[test]
fn a_request_of_many_pages_is_served_in_runs() {
    let mut bench = Bench::ready();
    bench.returned(2, 1, true, false);
    bench.request(0, 16, Prot::READ);
    assert_eq!(
        bench.reads(),
        [
            range(0, 2),
            range(3, 7),
            range(7, 11),
            range(11, 15),
            range(15, 16)
        ]
    );
    bench.read_part(1, range(4, 5), Ok(false));
    bench.read_part(1, range(3, 4), Err(PageError::NoSpace));
    assert_eq!(bench.errors(), [(3, PageError::NoSpace)]);
    bench.read_part(1, range(5, 7), Ok(true));
    assert!(bench.supplied(4).is_some() && bench.supplied(6).is_some());
    // The whole request reached beyond the extent: its end is refused.
    bench.request(14, 4, Prot::READ);
    assert_eq!(bench.errors(), [(16, PageError::Io), (17, PageError::Io)]);
}

#[test]
fn errors_keep_their_kind() {
    for error in [PageError::Io, PageError::NoSpace, PageError::Quota] {
        let mut bench = Bench::ready();
        bench.request(0, 1, Prot::READ);
        bench.fail_reads(error);
        assert_eq!(bench.errors(), [(0, error)]);
        assert_eq!(bench.object.page_error(PageIndex(0)), Some(error));
        bench.request(0, 1, Prot::READ);
        bench.read_all();
        assert_eq!(
            bench.object.page_error(PageIndex(0)),
            None,
            "none after a success"
        );
    }
}

#[test]
fn a_write_that_fails_in_the_middle_is_not_counted_as_written() {
    let mut bench = Bench::ready();
    let sync = bench.lock(LockKind::Sync, 0, 4);
    bench.confirm(0, 4);
    assert_eq!(bench.answer(sync), Some(Answer::Done));
    let data = bench.returned(0, 4, true, false);
    bench.write_partly(1, Some(PageError::NoSpace));
    assert_eq!(bench.writes(), [range(2, 4)], "the rest is tried by itself");
    bench.write_partly(0, None);
    assert_eq!(
        bench.object.page_error(PageIndex(2)),
        Some(PageError::Io),
        "nothing is not everything"
    );
    bench.write_all();
    assert_eq!(
        (bench.stored(0), bench.stored(1), bench.stored(2)),
        (Some(data), None, None)
    );
    assert_eq!(bench.stored(3), Some(data));
}

#[test]
fn late_answers_of_the_store_are_discarded() {
    let mut bench = Bench::ready();
    bench.request(0, 1, Prot::READ);
    let late = bench.read_all();
    for event in late {
        let effects = bench.feed(event);
        assert!(matches!(effects[0], Effect::ReleaseWhole { .. }));
        assert_eq!(effects[1], Effect::Refused(Refusal::Unmatched));
    }
}

#[test]
fn calls_after_shutdown_return_at_once() {
    let mut bench = Bench::ready();
    let change = bench.change(true, true);
    let first = bench.shutdown(0);
    assert_eq!(
        bench.answer(first),
        Some(Answer::Done),
        "an object of no length has nothing to write"
    );
    assert_eq!(
        bench.answer(change),
        Some(Answer::ShutDown),
        "nobody confirms it any more"
    );
    let again = bench.shutdown(4);
    let sync = bench.lock(LockKind::Sync, 0, 4);
    let change = bench.change(false, true);
    for token in [again, sync, change] {
        assert_eq!(bench.answer(token), Some(Answer::ShutDown));
    }
    let refused = bench.init(PortName(8), PAGE);
    assert!(refused.contains(&Effect::Refused(Refusal::WrongState)));
}

#[test]
fn two_shutdowns_and_a_sync_at_once_all_end() {
    let mut bench = Bench::ready();
    let first = bench.shutdown(4);
    let second = bench.shutdown(4);
    let sync = bench.lock(LockKind::Sync, 0, 2);
    bench.confirm(0, 4);
    assert_eq!(bench.answer(first), Some(Answer::Done));
    assert_eq!(bench.answer(second), Some(Answer::Done));
    assert_eq!(bench.answer(sync), Some(Answer::ShutDown));
}

#[test]
fn attribute_changes_keep_their_order() {
    let mut bench = Bench::new(FailedPagePolicy::SupplyKept, false);
    let early = bench.change(true, true);
    assert_eq!(
        bench.answer(early),
        Some(Answer::Done),
        "before init it is only remembered"
    );
    let ready = bench.init(CONTROL, PAGE);
    assert!(matches!(ready[0], Effect::Ready { may_cache: true, .. }));
    let off = bench.change(false, true);
    let on = bench.change(true, true);
    let same = bench.change(true, true);
    let unwaited = bench.change(false, false);
    assert_eq!(bench.answer(unwaited), Some(Answer::Done));
    bench.confirm_change(true);
    assert_eq!((bench.answer(off), bench.answer(on)), (None, Some(Answer::Done)));
    bench.confirm_change(true);
    bench.confirm_change(false);
    assert_eq!(bench.answer(same), Some(Answer::Done));
    assert_eq!(bench.answer(off), Some(Answer::Done));
    let effects = bench.confirm_change(false);
    assert_eq!(effects, [Effect::Refused(Refusal::Unmatched)]);
    let idle = bench.change(false, true);
    assert_eq!(
        bench.answer(idle),
        Some(Answer::Done),
        "nothing changes, nothing is pending"
    );
    assert_eq!(bench.object.attributes().copy_strategy, CopyStrategy::None);
}

#[test]
fn ranges_out_of_bounds_are_rejected() {
    let mut bench = Bench::ready();
    let token = RequestToken(900);
    for (offset, length, answer) in [
        (PAGE, u64::MAX, Answer::Rejected(Refusal::Overflow)),
        (PAGE, 0, Answer::Done),
    ] {
        bench.feed(Event::Lock {
            token,
            kind: LockKind::Flush,
            offset,
            length,
            wait: true,
        });
        assert_eq!(bench.answer(token), Some(answer));
    }
}

#[test]
fn an_offer_of_a_page_in_core_or_on_its_way_is_ignored() {
    let mut bench = Bench::ready();
    bench.resident(0);
    bench.request(1, 1, Prot::READ);
    bench.returned(2, 1, true, false);
    for page in 0..3 {
        let supplied = bench.supplied(page);
        let offer = bench.offer(page, true, false);
        assert_eq!(bench.answer(offer), Some(Answer::Done));
        assert_eq!(bench.supplied(page), supplied, "page {page}");
    }
    let newer = bench.returned(2, 1, true, false);
    bench.write_all();
    assert_eq!(bench.stored(2), Some(newer));
    assert_eq!(bench.supplied(2), None, "nobody asked for it");
}

#[test]
fn a_request_that_crosses_an_offer_reads_nothing() {
    let mut bench = Bench::ready();
    bench.offer(0, false, false);
    assert_eq!(bench.supplied_precious(0), Some(true), "else it might go unseen");
    bench.request(0, 1, Prot::READ_WRITE);
    assert_eq!(bench.reads(), []);
    assert_eq!(bench.lock_requests(), [(range(0, 1), ShouldReturn::All, false)]);
    let data = bench.returned(0, 1, true, false);
    bench.request(0, 1, Prot::READ);
    bench.confirm(0, 1);
    assert_eq!(bench.reads(), [], "the newer request waits for the write");
    bench.write_all();
    assert_eq!(bench.supplied(0), Some((CONTROL, data)));
    assert_eq!(bench.errors(), []);
}

#[test]
fn a_kernel_that_lost_an_offered_page_is_answered() {
    let mut bench = Bench::ready();
    bench.offer(0, false, false);
    bench.offer(1, true, false);
    for page in [0, 1] {
        bench.request(page, 1, Prot::READ);
        bench.request(page, 1, Prot::READ);
        bench.confirm(page, 1);
    }
    assert_eq!(bench.reads(), [range(0, 1)], "the store has it");
    assert_eq!(bench.errors(), [(1, PageError::Io)], "nobody has it");
    bench.request(1, 1, Prot::READ);
    assert_eq!(bench.reads(), [range(0, 1), range(1, 2)]);
}

#[test]
fn an_offer_that_a_flush_dropped_unseen_had_answered_its_request() {
    let mut bench = Bench::ready();
    // The kernel asks; the offer answers it before the request is heard, and is flushed again.
    bench.offer(0, false, false);
    let flush = bench.lock(LockKind::Flush, 0, 1);
    bench.request(0, 1, Prot::READ_WRITE);
    bench.confirm(0, 1);
    assert_eq!(bench.answer(flush), Some(Answer::Done));
    bench.confirm(0, 1);
    assert_eq!(bench.reads(), [range(0, 1)], "perhaps it waits all the same");
    bench.read_all();
    assert_eq!(bench.supplied_precious(0), Some(true), "perhaps it did not wait");
    // What it had asked for meanwhile is answered by that: then it wrote to the page, and gave it up.
    bench.request(0, 1, Prot::READ_WRITE);
    let newer = bench.returned(0, 1, true, false);
    bench.confirm(0, 1);
    bench.write_all();
    assert_eq!(bench.reads(), [], "what the store holds is older");
    assert_eq!(bench.stored(0), Some(newer));
    assert_eq!(bench.object.page_state(PageIndex(0)), PageState::Absent);
}

#[test]
fn an_offered_page_whose_unlock_is_refused_is_there_until_it_comes_back() {
    let mut bench = Bench::ready();
    bench.offer(0, false, true);
    bench.request(0, 1, Prot::READ_WRITE);
    bench.unlock(0, 1);
    bench.end_unlock(Err(PageError::NoSpace));
    let supplied = bench.supplied(0);
    bench.offer(0, false, false);
    assert_eq!(
        bench.supplied(0),
        supplied,
        "the kernel may still show what it has"
    );
    // What the kernel returned before it heard of the refusal, and after.
    bench.returned(0, 1, false, true);
    bench.confirm(0, 1);
    bench.returned(0, 1, false, false);
    bench.offer(0, false, false);
    assert_ne!(bench.supplied(0), supplied);
    assert_eq!(bench.writes(), [], "nobody wrote to it");
}

#[test]
fn an_offer_takes_a_refusal_back() {
    let mut bench = Bench::ready();
    bench.request(0, 1, Prot::READ_WRITE);
    bench.read_locked();
    bench.unlock(0, 1);
    bench.end_unlock(Err(PageError::NoSpace));
    // The writer asks again; before that is heard the offer answers it.
    bench.offer(0, false, false);
    bench.request(0, 1, Prot::READ_WRITE);
    let data = bench.returned(0, 1, true, false);
    bench.request(0, 1, Prot::READ_WRITE);
    bench.confirm(0, 1);
    bench.write_all();
    assert_eq!(bench.errors(), [], "an error would answer the newer request, too");
    assert_eq!(bench.supplied(0), Some((CONTROL, data)));
    assert_eq!(bench.reads(), []);
}

#[test]
fn a_failed_read_that_a_return_overtakes_is_not_told() {
    let mut bench = Bench::ready();
    bench.request(0, 1, Prot::READ);
    let data = bench.returned(0, 1, true, false);
    bench.fail_reads(PageError::Io);
    assert_eq!(bench.errors(), []);
    bench.write_all();
    assert_eq!(
        bench.supplied(0),
        Some((CONTROL, data)),
        "should anybody wait all the same"
    );
}

#[test]
fn a_kernel_that_confirms_nothing_is_asked_for_a_page_once_and_answered_when_it_does() {
    let mut bench = Bench::ready();
    let mut bytes = 0;
    for round in 0..100 {
        bench.offer(0, false, false);
        bench.request(0, 1, Prot::READ);
        bench.returned(0, 1, false, false);
        if round == 0 {
            bytes = bench.object.state_bytes();
        }
    }
    assert_eq!(bench.lock_requests().len(), 1);
    assert_eq!(bench.object.state_bytes(), bytes, "nothing piles up");
    bench.offer(0, false, false);
    bench.request(0, 1, Prot::READ);
    bench.confirm(0, 1);
    assert_eq!(bench.lock_requests().len(), 1, "it asked again since: so is it");
    assert_eq!(bench.errors(), []);
    bench.confirm(0, 1);
    assert_eq!(bench.reads(), [range(0, 1)], "it has lost the page");
}

#[test]
fn a_kernel_that_confirms_nothing_has_its_requests_answered_when_it_goes() {
    for gone in [
        Event::Terminate {
            control: CONTROL,
            name: PortName(2),
        },
        Event::NoSenders,
    ] {
        let mut bench = Bench::ready();
        bench.offer(0, false, false);
        bench.request(0, 1, Prot::READ);
        let sync = bench.lock(LockKind::Sync, 0, 4);
        let shutdown = bench.shutdown(4);
        assert_eq!((bench.errors(), bench.answer(sync)), (vec![], None));
        bench.feed(gone);
        assert_eq!(bench.errors(), [(0, PageError::Io)]);
        assert_eq!(bench.answer(sync), Some(Answer::Done));
        assert_eq!(bench.answer(shutdown), Some(Answer::Done));
    }
}

#[test]
fn a_request_that_waits_for_a_confirmation_is_answered_when_the_object_is_shut_down() {
    let mut bench = Bench::ready();
    bench.offer(0, false, false);
    bench.request(0, 1, Prot::READ);
    bench.shutdown(4);
    bench.confirm(0, 4);
    assert_eq!(bench.object.state(), ObjectState::ShutDown);
    assert_eq!(bench.errors(), [(0, PageError::Io)]);
}

#[test]
fn a_page_that_comes_back_during_an_unlock_was_there() {
    let mut bench = Bench::ready();
    bench.offer(0, true, true);
    bench.request(0, 1, Prot::READ_WRITE);
    bench.unlock(0, 1);
    bench.returned(0, 1, false, true);
    bench.confirm(0, 1);
    let supplied = bench.supplied(0);
    bench.end_unlock(Ok(()));
    // The page is written to before the write of what it held before ends.
    bench.write_all();
    assert_eq!(
        bench.supplied(0),
        supplied,
        "the offer answered the request: nothing else does"
    );
    assert_eq!(bench.errors(), []);
}

#[test]
fn a_kernel_that_is_gone_takes_no_data_with_it() {
    let mut bench = Bench::ready();
    bench.resident(0);
    let data = bench.returned(0, 1, true, true);
    bench.request(0, 1, Prot::READ_WRITE);
    bench.unlock(0, 1);
    let supplied = bench.supplied(0);
    bench.feed(Event::NoSenders);
    bench.fail_writes(PageError::NoSpace);
    assert_eq!(bench.supplied(0), supplied);
    assert_eq!(
        bench.errors(),
        [(0, PageError::Io)],
        "the request is answered all the same"
    );
    let state = PageState::Failed { kernel_copy: false };
    assert_eq!(bench.object.page_state(PageIndex(0)), state);
    let sync = bench.lock(LockKind::Sync, 0, 1);
    bench.write_all();
    assert_eq!(bench.stored(0), Some(data));
    assert!(bench.answer(sync).is_some());
}

#[test]
fn a_request_is_answered_by_whatever_answers_a_later_one() {
    let mut bench = Bench::ready();
    bench.offer(0, true, true);
    bench.lock_without_waiting(LockKind::Flush, 0, 1);
    // The first was sent before the offer came, the second after the flush.
    bench.request(0, 1, Prot::READ_WRITE);
    bench.unlock(0, 1);
    bench.request(0, 1, Prot::READ_WRITE);
    bench.end_unlock(Ok(()));
    assert_eq!(bench.reads(), [], "the kernel may have the page still");
    bench.confirm(0, 1);
    assert_eq!(bench.reads(), [range(0, 1)], "it has not: one read for both");
    bench.read_all();
    bench.request(0, 1, Prot::READ_WRITE);
    assert_eq!(
        bench.reads(),
        [],
        "the kernel has the page, perhaps changed by now"
    );
}
