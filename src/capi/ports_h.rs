//! The functions of `hurd/ports.h`.

use std::ffi::c_int;
use std::sync::Arc;

use super::bucket::{CBucket, Inhibitor};
use super::codes::{EINVAL, Errno, Kern};
use super::pager::{CPager, Hold};
use super::ports::{self, Name};
use super::raw::set_errno;
use super::table::{BUCKETS, PAGERS};

/// `struct port_bucket *`, `struct pager_requests *`.
pub(super) type BucketHandle = usize;
/// `struct pager *`, `void *port`.
pub(super) type PagerHandle = usize;

/// Makes a bucket.
#[unsafe(no_mangle)]
pub(super) extern "C" fn ports_create_bucket() -> BucketHandle {
    BUCKETS.insert(Arc::new(CBucket::default()))
}

/// How many pagers there are in a bucket.
#[unsafe(no_mangle)]
pub(super) extern "C" fn ports_count_bucket(bucket: BucketHandle) -> c_int {
    let count = BUCKETS.get(bucket).map_or(0, |bucket| bucket.count());
    c_int::try_from(count).unwrap_or(c_int::MAX)
}

/// Does nothing: counting blocks nothing.
#[unsafe(no_mangle)]
pub(super) extern "C" fn ports_enable_bucket(_bucket: BucketHandle) {}

/// Calls a function for every pager in a bucket, until it returns an error.
#[unsafe(no_mangle)]
pub(super) extern "C" fn ports_bucket_iterate(
    bucket: BucketHandle,
    fun: Option<extern "C" fn(port: PagerHandle) -> Errno>,
) -> Errno {
    let (Some(bucket), Some(fun)) = (BUCKETS.get(bucket), fun) else {
        return EINVAL;
    };
    for pager in PAGERS.all().iter().filter(|pager| pager.is_in(&bucket)) {
        pager.hold(Hold::Reference);
        let errno = fun(pager.handle());
        pager.release(Hold::Reference);
        if errno != 0 {
            return errno;
        }
    }
    0
}

/// Lets no request begin in a bucket, and waits for those under way.
#[unsafe(no_mangle)]
pub(super) extern "C" fn ports_inhibit_bucket_rpcs(bucket: BucketHandle) -> Errno {
    inhibit(bucket, Inhibitor::Rpcs)
}

/// Ends what `ports_inhibit_bucket_rpcs` began.
#[unsafe(no_mangle)]
pub(super) extern "C" fn ports_resume_bucket_rpcs(bucket: BucketHandle) {
    resume(bucket, Inhibitor::Rpcs);
}

/// The name of a pager's port.
#[unsafe(no_mangle)]
pub(super) extern "C" fn ports_get_right(port: PagerHandle) -> Name {
    named(port, ports::right_of)
}

/// The name of a pager's port, with a send right.
#[unsafe(no_mangle)]
pub(super) extern "C" fn ports_get_send_right(port: PagerHandle) -> Name {
    named(port, ports::send_right_of)
}

/// Counts a reference more.
#[unsafe(no_mangle)]
pub(super) extern "C" fn ports_port_ref(port: PagerHandle) {
    with(port, |pager| pager.hold(Hold::Reference));
}

/// Counts a reference less.
#[unsafe(no_mangle)]
pub(super) extern "C" fn ports_port_deref(port: PagerHandle) {
    with(port, |pager| pager.release(Hold::Reference));
}

/// Counts a weak reference more.
#[unsafe(no_mangle)]
pub(super) extern "C" fn ports_port_ref_weak(port: PagerHandle) {
    with(port, |pager| pager.hold(Hold::Weak));
}

/// Counts a weak reference less.
#[unsafe(no_mangle)]
pub(super) extern "C" fn ports_port_deref_weak(port: PagerHandle) {
    with(port, |pager| pager.release(Hold::Weak));
}

/// Makes a send right to a pager's port, under its own name.
#[unsafe(no_mangle)]
pub(super) extern "C" fn mach_port_insert_right(task: Name, name: Name, poly: Name, kind: u32) -> Kern {
    const COPY_SEND: u32 = 19;
    const MAKE_SEND: u32 = 20;
    if name != poly || !matches!(kind, COPY_SEND | MAKE_SEND) {
        return Kern::InvalidValue;
    }
    in_task(task, || ports::make_right(name))
}

/// Adds to the send rights of a pager's port.
#[unsafe(no_mangle)]
pub(super) extern "C" fn mach_port_mod_refs(task: Name, name: Name, right: u32, delta: i32) -> Kern {
    const SEND: u32 = 0;
    if right != SEND {
        return Kern::InvalidRight;
    }
    in_task(task, || ports::add_rights(name, delta))
}

/// Gives a send right up.
#[unsafe(no_mangle)]
pub(super) extern "C" fn mach_port_deallocate(task: Name, name: Name) -> Kern {
    in_task(task, || ports::deallocate(name))
}

/// The only task there is.
pub(super) const THIS_TASK: Name = 1;

/// Does something that is done to this task.
pub(super) fn in_task(task: Name, call: impl FnOnce() -> Kern) -> Kern {
    if task == THIS_TASK {
        call()
    } else {
        Kern::InvalidTask
    }
}

pub(super) fn inhibit(bucket: BucketHandle, inhibitor: Inhibitor) -> Errno {
    let bucket = BUCKETS.get(bucket).ok_or(EINVAL);
    let inhibited = bucket.and_then(|bucket| bucket.inhibit(inhibitor));
    inhibited.err().unwrap_or(0)
}

pub(super) fn resume(bucket: BucketHandle, inhibitor: Inhibitor) {
    let bucket = BUCKETS.get(bucket).ok_or(EINVAL);
    if let Err(errno) = bucket.and_then(|bucket| bucket.resume(inhibitor)) {
        set_errno(errno);
    }
}

/// Gives a pager's port a name; null for a pager that is gone.
pub(super) fn named(port: PagerHandle, name: impl FnOnce(&Arc<CPager>) -> Name) -> Name {
    match PAGERS.get(port).filter(|pager| !pager.is_ended()) {
        Some(pager) => name(&pager),
        None => {
            set_errno(EINVAL);
            ports::NULL
        }
    }
}

fn with(port: PagerHandle, call: impl FnOnce(&Arc<CPager>)) {
    match PAGERS.get(port) {
        Some(pager) => call(&pager),
        None => set_errno(EINVAL),
    }
}
