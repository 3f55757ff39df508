//! Waiting for answers where that is possible, and what C gets of them.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::backend::CBackend;
use super::codes::{EDEADLK, Errno, HasErrno};
use super::raw::set_errno;
use crate::actors::block_on;
use crate::error::CopyError;
use crate::pager::Pager;

/// Does something whose answer can be waited for on any thread but the bucket's own. There it is
/// only sent, if that will do.
pub(super) fn run<E: HasErrno>(
    pager: &Pager<CBackend>,
    wait: bool,
    call: impl Future<Output = Result<(), E>>,
) -> Result<(), Errno> {
    if pager.may_block().is_ok() {
        return block_on(call).map_err(|error| error.errno());
    }
    if wait {
        return Err(EDEADLK);
    }
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer.map_err(|error| error.errno()),
        Poll::Pending => Ok(()),
    }
}

/// Does something whose answer is needed.
pub(super) fn ask<T, E: HasErrno>(
    pager: &Pager<CBackend>,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, Errno> {
    pager.may_block().map_err(|error| error.errno())?;
    block_on(call).map_err(|error| error.errno())
}

/// Copies; an error tells how far it came.
pub(super) fn ask_copy(
    pager: &Pager<CBackend>,
    call: impl Future<Output = Result<(), CopyError>>,
) -> Result<(), (Errno, usize)> {
    let free = pager.may_block();
    free.map_err(|error| (error.errno(), 0))?;
    block_on(call).map_err(|error| (error.errno(), error.copied()))
}

/// A handle, or null with `errno` set.
pub(super) fn or_errno(result: Result<usize, Errno>) -> usize {
    result.unwrap_or_else(|errno| {
        set_errno(errno);
        0
    })
}

/// Sets `errno` for a call that returns nothing.
pub(super) fn errno_of(result: Result<(), Errno>) {
    if let Err(errno) = result {
        set_errno(errno);
    }
}
