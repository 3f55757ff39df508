//! What a thread knows about itself, and waiting for an answer without a runtime.

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

thread_local! {
    static BUCKET: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Says that this thread works for `bucket`: it must never wait for that bucket.
pub(crate) fn mark_bucket_thread(bucket: u64) {
    BUCKET.set(Some(bucket));
}

/// True if this thread works for `bucket`.
pub(crate) fn is_bucket_thread(bucket: u64) -> bool {
    BUCKET.get() == Some(bucket)
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for `future` on this thread, which needs no runtime.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
