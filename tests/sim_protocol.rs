//! Where the simulated kernel does on purpose otherwise than GNU Mach.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::task::Poll;

use actor_pager::mach::eviction::Share;
use actor_pager::mach::sim::{AccessError, SimClient, SimHost, SimMapping, SimObject, SimOptions};
use actor_pager::mach::{Call, Kernel, ObjectSpec, PageSlice, Upcall};
use actor_pager::object::{
    CopyStrategy, PageError, PageIndex, PageRange, PageSize, PortName, Prot, ShouldReturn,
};

const PAGE: u64 = 4096;
const ONE: [u8; PAGE as usize] = [1; PAGE as usize];

fn ready() -> (SimObject, SimClient, SimMapping, PortName) {
    let spec = ObjectSpec {
        name: "test".into(),
        length: 8 * PAGE,
        page_size: PageSize::KIB_4,
        notify_on_evict: false,
        memory_deadline: std::time::Duration::from_secs(60),
        share: Share::default(),
    };
    let mut object = SimHost::new(SimOptions::default()).create(spec);
    let client = object.client();
    client.make_send();
    let mapping = client.map(PageRange::with_len(PageIndex(0), 8), Prot::READ_WRITE);
    let (control, _) = client.ports();
    let ready = Call::Ready {
        control,
        may_cache: false,
        copy_strategy: CopyStrategy::None,
    };
    object.call(ready).unwrap();
    assert!(matches!(object.take_upcalls()[..], [Upcall::Init { .. }]));
    (object, client, mapping, control)
}

fn supply(control: PortName, range: PageRange, bytes: &[u8], reply: bool) -> Call<'_> {
    let pages = PageSlice::Bytes(bytes);
    Call::DataSupply {
        control,
        range,
        pages,
        lock: Prot::NONE,
        precious: false,
        reply,
    }
}

#[test]
fn a_supply_of_present_pages_says_so() {
    let (mut object, client, mapping, control) = ready();
    object
        .call(supply(control, PageRange::single(PageIndex(1)), &ONE, false))
        .unwrap();
    let two = [2; 2 * PAGE as usize];
    object
        .call(supply(control, PageRange::with_len(PageIndex(0), 2), &two, true))
        .unwrap();
    let upcalls = object.take_upcalls();
    let [
        Upcall::SupplyCompleted {
            result: 23,
            error_offset: PAGE,
            ..
        },
    ] = upcalls[..]
    else {
        panic!("the second page was present: {upcalls:?}");
    };
    let mut bytes = [0; 1];
    assert_eq!(client.try_read(mapping, PAGE, &mut bytes), Poll::Ready(Ok(())));
    assert_eq!(bytes, [1]);
}

#[test]
fn destroy_fails_the_faults_that_wait() {
    let (mut object, client, mapping, control) = ready();
    assert!(client.try_read(mapping, 0, &mut [0]).is_pending());
    object.call(Call::Destroy { control }).unwrap();
    let failed = AccessError::Memory {
        page: PageIndex(0),
        error: PageError::Io,
    };
    assert_eq!(client.try_read(mapping, 0, &mut [0]), Poll::Ready(Err(failed)));
    assert!(matches!(
        object.take_upcalls()[..],
        [Upcall::DataRequest { .. }, Upcall::Terminate { .. }]
    ));
    assert!(object.call(Call::Destroy { control }).is_err());
}

#[test]
fn a_wired_page_survives_a_flush() {
    let (mut object, client, mapping, control) = ready();
    object
        .call(supply(control, PageRange::single(PageIndex(0)), &ONE, false))
        .unwrap();
    assert!(client.wire(PageIndex(0), true));
    let lock_request = || Call::LockRequest {
        control,
        offset: 0,
        length: 8 * PAGE,
        should_return: ShouldReturn::All,
        should_flush: true,
        lock: Prot::NO_CHANGE,
        reply: true,
    };
    object.call(lock_request()).unwrap();
    assert!(matches!(
        object.take_upcalls()[..],
        [Upcall::LockCompleted { .. }]
    ));
    assert_eq!(client.try_write(mapping, 0, &[9]), Poll::Ready(Ok(())));
    object.call(lock_request()).unwrap();
    let upcalls = object.take_upcalls();
    let [
        Upcall::DataReturn {
            dirty: true,
            kernel_copy: true,
            ..
        },
        Upcall::LockCompleted { .. },
    ] = upcalls[..]
    else {
        panic!("the page is returned and stays: {upcalls:?}");
    };
    assert_eq!(client.evict(PageRange::single(PageIndex(0))), 0);
}

#[test]
fn an_invalid_lock_value_is_refused_and_changes_nothing() {
    let (mut object, client, mapping, control) = ready();
    let lock = Prot::from_bits(32);
    let (should_return, should_flush) = (ShouldReturn::All, false);
    let call = Call::LockRequest {
        control,
        offset: 0,
        length: PAGE,
        should_return,
        should_flush,
        lock,
        reply: true,
    };
    assert!(object.call(call).is_err());
    assert!(object.take_upcalls().is_empty());
    client.unmap(mapping);
    assert!(matches!(object.take_upcalls()[..], [Upcall::Terminate { .. }]));
}
