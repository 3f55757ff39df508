//! The functions of `hurd/pager.h`.

use std::ffi::c_int;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use super::backend::CBackend;
use super::bucket::Inhibitor;
use super::callbacks::Callbacks;
use super::codes::{EINVAL, EIO, ENOSYS, Errno, of_page};
use super::pager::{CPager, Upi};
use super::ports::{self, Name};
use super::ports_h::{BucketHandle, PagerHandle, inhibit, named, resume};
use super::raw::{bytes, bytes_mut};
use super::table::{BUCKETS, PAGERS};
use super::waiting::{ask, ask_copy, errno_of, or_errno, run};
use crate::error::SyncError;
use crate::object::{CopyStrategy, PageSize};
use crate::pager::{Pager, PagerOptions, Wait};

/// Bytes that `pager_memcpy` copies at a time.
const COPY_AT_ONCE: usize = 1 << 20;

/// Starts a bucket's threads.
#[unsafe(no_mangle)]
pub(super) extern "C" fn pager_start_workers(
    bucket: BucketHandle,
    requests: Option<&mut BucketHandle>,
) -> Errno {
    let Some(requests) = requests else {
        return EINVAL;
    };
    *requests = 0;
    let Some(found) = BUCKETS.get(bucket) else {
        return EINVAL;
    };
    match found.start() {
        Ok(_) => {
            *requests = bucket;
            0
        }
        Err(errno) => errno,
    }
}

/// Waits until every request that was sent before is finished; later ones wait.
#[unsafe(no_mangle)]
pub(super) extern "C" fn pager_inhibit_workers(requests: BucketHandle) -> Errno {
    inhibit(requests, Inhibitor::Workers)
}

/// Serves what waited.
#[unsafe(no_mangle)]
pub(super) extern "C" fn pager_resume_workers(requests: BucketHandle) {
    resume(requests, Inhibitor::Workers);
}

/// Makes a pager.
#[unsafe(no_mangle)]
pub(super) extern "C" fn pager_create(
    u_pager: usize,
    bucket: BucketHandle,
    may_cache: c_int,
    copy_strategy: c_int,
    notify_on_evict: c_int,
) -> PagerHandle {
    let options = options(may_cache, copy_strategy, notify_on_evict);
    or_errno(options.and_then(|options| create(Upi::Given(u_pager), bucket, options)))
}

/// Makes a pager, and memory for the program's state.
#[unsafe(no_mangle)]
pub(super) extern "C" fn pager_create_alloc(
    u_pager_size: usize,
    bucket: BucketHandle,
    may_cache: c_int,
    copy_strategy: c_int,
    notify_on_evict: c_int,
) -> PagerHandle {
    let memory = vec![0_u128; u_pager_size.div_ceil(size_of::<u128>()).max(1)];
    let options = options(may_cache, copy_strategy, notify_on_evict);
    let upi = Upi::Made(memory.into_boxed_slice());
    or_errno(options.and_then(|options| create(upi, bucket, options)))
}

/// The program's state.
#[unsafe(no_mangle)]
pub(super) extern "C" fn pager_get_upi(pager: PagerHandle) -> usize {
    or_errno(PAGERS.get(pager).map(|pager| pager.upi()).ok_or(EINVAL))
}

/// Writes pages back and keeps them.
#[unsafe(no_mangle)]
pub(super) extern "C" fn pager_sync(pager: PagerHandle, wait: c_int) {
    lock(pager, None, wait, |pager, range, wait| {
        Box::pin(pager.sync_range(range, wait))
    });
}

/// Writes pages of a range back and keeps them.
#[unsafe(no_mangle)]
pub(super) extern "C" fn pager_sync_some(pager: PagerHandle, start: usize, len: usize, wait: c_int) {
    let some = Some((start, len));
    lock(pager, some, wait, |pager, range, wait| {
        Box::pin(pager.sync_range(range, wait))
    });
}

/// Drops pages.
#[unsafe(no_mangle)]
pub(super) extern "C" fn pager_flush(pager: PagerHandle, wait: c_int) {
    lock(pager, None, wait, |pager, range, wait| {
        Box::pin(pager.flush_range(range, wait))
    });
}

/// Drops pages of a range.
#[unsafe(no_mangle)]
pub(super) extern "C" fn pager_flush_some(pager: PagerHandle, start: usize, len: usize, wait: c_int) {
    let some = Some((start, len));
    lock(pager, some, wait, |pager, range, wait| {
        Box::pin(pager.flush_range(range, wait))
    });
}

/// Writes pages back and drops them.
#[unsafe(no_mangle)]
pub(super) extern "C" fn pager_return(pager: PagerHandle, wait: c_int) {
    lock(pager, None, wait, |pager, range, wait| {
        Box::pin(pager.return_range(range, wait))
    });
}

/// Writes pages of a range back and drops them.
#[unsafe(no_mangle)]
pub(super) extern "C" fn pager_return_some(pager: PagerHandle, start: usize, len: usize, wait: c_int) {
    let some = Some((start, len));
    lock(pager, some, wait, |pager, range, wait| {
        Box::pin(pager.return_range(range, wait))
    });
}

/// Supplies a page that was not asked for.
///
/// # Safety
/// There must be a page of memory at `buf`.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pager_offer_page(
    pager: PagerHandle,
    precious: c_int,
    writelock: c_int,
    page: usize,
    buf: usize,
) {
    let offered = find(pager).and_then(|pager| {
        let size = pager.page_size();
        if buf == 0 || !(page as u64).is_multiple_of(size.bytes()) {
            return Err(EINVAL);
        }
        // SAFETY: the caller promises a page at `buf`, and waits while it is copied.
        let data = unsafe { bytes(buf, size.bytes() as usize) };
        let page = size.page_of(page as u64);
        run(
            &pager,
            false,
            pager.offer_page(page, data, precious != 0, writelock != 0),
        )
    });
    errno_of(offered);
}

/// Changes what `pager_create` was told.
#[unsafe(no_mangle)]
pub(super) extern "C" fn pager_change_attributes(
    pager: PagerHandle,
    may_cache: c_int,
    copy_strategy: c_int,
    wait: c_int,
) {
    errno_of(change_attributes(pager, may_cache != 0, copy_strategy, wait != 0));
}

/// The pager's port.
#[unsafe(no_mangle)]
pub(super) extern "C" fn pager_get_port(pager: PagerHandle) -> Name {
    named(pager, ports::right_of)
}

/// A send right to a port that cannot be mapped for writing.
#[unsafe(no_mangle)]
pub(super) extern "C" fn pager_create_ro_port(pager: PagerHandle) -> Name {
    named(pager, ports::read_only_right_of)
}

/// Writes all back and serves nothing more.
#[unsafe(no_mangle)]
pub(super) extern "C" fn pager_shutdown(pager: PagerHandle) {
    let shut_down = PAGERS.get(pager).ok_or(EINVAL).and_then(|pager| {
        let Some(used) = pager.used() else {
            pager.end_unused();
            return Ok(());
        };
        pager.shutdown(&used)
    });
    errno_of(shut_down);
}

/// The error of the last failure on a page, or 0.
#[unsafe(no_mangle)]
pub(super) extern "C" fn pager_get_error(pager: PagerHandle, addr: usize) -> Errno {
    let Some(pager) = PAGERS.get(pager) else {
        return EINVAL;
    };
    let Some(used) = pager.used() else {
        return 0;
    };
    let page = used.page_size().page_of(addr as u64);
    match ask(&used, used.page_error(page)) {
        Ok(error) => error.map_or(0, of_page),
        Err(errno) => errno,
    }
}

/// Copies between the object and the program's memory, without a signal.
///
/// # Safety
/// There must be `*size` bytes at `other`, and nobody else may touch them meanwhile.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pager_memcpy(
    pager: PagerHandle,
    _memobj: Name,
    offset: usize,
    other: usize,
    size: Option<&mut usize>,
    prot: c_int,
) -> Errno {
    const WRITE: c_int = 2;
    let Some(size) = size else {
        return EINVAL;
    };
    let wanted = std::mem::take(size);
    let pager = match find(pager) {
        Ok(pager) => pager,
        Err(errno) => return errno,
    };
    let inside = pager.extent().saturating_sub(offset as u64).min(wanted as u64) as usize;
    while *size < inside {
        let length = (inside - *size).min(COPY_AT_ONCE);
        let (from, at) = ((offset + *size) as u64, other + *size);
        let copied = if prot & WRITE != 0 {
            // SAFETY: the caller promises the bytes at `other`; these are some of them.
            ask_copy(&pager, pager.write_at(from, unsafe { bytes(at, length) }))
        } else {
            // SAFETY: as above.
            ask_copy(&pager, pager.read_at(from, unsafe { bytes_mut(at, length) }))
        };
        match copied {
            Ok(()) => *size += length,
            Err((errno, copied)) => {
                *size += copied;
                return errno;
            }
        }
    }
    if inside < wanted { EIO } else { 0 }
}

fn options(may_cache: c_int, copy_strategy: c_int, notify_on_evict: c_int) -> Result<PagerOptions, Errno> {
    Ok(PagerOptions {
        page_size: PageSize::new(rustix::param::page_size() as u64).map_err(|_| EINVAL)?,
        may_cache: may_cache != 0,
        copy_strategy: strategy(copy_strategy)?,
        notify_on_evict: notify_on_evict != 0,
        ..PagerOptions::default()
    })
}

fn strategy(number: c_int) -> Result<CopyStrategy, Errno> {
    match number {
        0 => Ok(CopyStrategy::None),
        1 => Ok(CopyStrategy::Call),
        2 => Ok(CopyStrategy::Delay),
        3 => Ok(CopyStrategy::Temporary),
        _ => Err(EINVAL),
    }
}

fn create(upi: Upi, bucket: BucketHandle, options: PagerOptions) -> Result<PagerHandle, Errno> {
    let bucket = BUCKETS.get(bucket).ok_or(EINVAL)?;
    let callbacks = Callbacks::of_program().map_err(|missing| {
        eprintln!(
            "actor-pager: pager_create: the program does not define {missing}; define what \
             <hurd/pager.h> lists as callbacks, not static and not hidden"
        );
        ENOSYS
    })?;
    bucket.start()?;
    Ok(CPager::create(bucket, upi, callbacks, options))
}

fn find(pager: PagerHandle) -> Result<Pager<CBackend>, Errno> {
    PAGERS.get(pager).ok_or(EINVAL)?.pager()
}

type Locking<'a> = Pin<Box<dyn Future<Output = Result<(), SyncError>> + 'a>>;

/// Carries a bulk request out over a range, or over everything.
fn lock(
    pager: PagerHandle,
    some: Option<(usize, usize)>,
    wait: c_int,
    call: for<'a> fn(&'a Pager<CBackend>, Range<u64>, Wait) -> Locking<'a>,
) {
    let locked = PAGERS.get(pager).ok_or(EINVAL).and_then(|pager| {
        // Nothing is in memory of a pager that was never used.
        let Some(used) = pager.used() else {
            return Ok(());
        };
        let end = used.extent();
        let range = some.map_or(0..end, |(start, len)| {
            let start = (start as u64).min(end);
            start..start.saturating_add(len as u64).min(end)
        });
        let wait = wait != 0;
        run(
            &used,
            wait,
            call(&used, range, if wait { Wait::Yes } else { Wait::No }),
        )
    });
    errno_of(locked);
}

fn change_attributes(
    pager: PagerHandle,
    may_cache: bool,
    copy_strategy: c_int,
    wait: bool,
) -> Result<(), Errno> {
    let pager: Arc<CPager> = PAGERS.get(pager).ok_or(EINVAL)?;
    let copy_strategy = strategy(copy_strategy)?;
    let changed = pager.change_options(|options| {
        options.may_cache = may_cache;
        options.copy_strategy = copy_strategy;
    });
    if changed {
        return Ok(());
    }
    let used = pager.pager()?;
    let waits = if wait { Wait::Yes } else { Wait::No };
    run(
        &used,
        wait,
        used.change_attributes(may_cache, copy_strategy, waits),
    )
}
