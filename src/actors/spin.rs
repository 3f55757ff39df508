//! Staying awake for a while after a turn, as long as that paid lately.
//!
//! Falling asleep and being woken costs a thread more than a fault does. So an arbiter may, if the bucket asks for
//! it, look for news again and again before it sleeps. This is a task beside the actors that does nothing but
//! yield: as long as it does, the runtime looks for news without waiting, and runs whoever has some. Nobody
//! waits for it, and between two looks any other thread of the processor may run.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::thrift::Thrift;

/// What comes within so many looks was under way when the turn before ended: no sleep was saved.
const AT_ONCE: u32 = 2;

thread_local! {
    static TURNS: Turns = const {
        Turns {
            count: Cell::new(0),
            spinner: RefCell::new(None),
        }
    };
}

/// The turns that actors of this thread have taken.
struct Turns {
    count: Cell<u64>,
    /// To be woken at the next.
    spinner: RefCell<Option<Waker>>,
}

/// An actor of this thread takes a turn.
pub(super) fn turn_taken() {
    TURNS.with(|turns| {
        turns.count.set(turns.count.get() + 1);
        if let Some(spinner) = turns.spinner.take() {
            spinner.wake();
        }
    });
}

fn taken() -> u64 {
    TURNS.with(|turns| turns.count.get())
}

/// Waits, asleep, until more turns were taken than `seen`.
async fn more_than(seen: u64) {
    poll_fn(|cx| match taken() != seen {
        true => Poll::Ready(()),
        false => {
            TURNS.with(|turns| turns.spinner.replace(Some(cx.waker().clone())));
            Poll::Pending
        }
    })
    .await;
}

/// Keeps this thread awake after turns, for up to `most` without another. Never ends.
pub(super) async fn spin(most: Duration) {
    let mut thrift = Thrift::default();
    let mut seen = taken();
    loop {
        more_than(seen).await;
        seen = taken();
        if !thrift.may_try() {
            continue;
        }
        while let Some(looks) = look(seen, most).await {
            seen = taken();
            if looks > AT_ONCE {
                thrift.paid();
            }
        }
        thrift.in_vain();
    }
}

/// Looks until more turns were taken than `seen`; says how often. None if that took too long.
async fn look(seen: u64, most: Duration) -> Option<u32> {
    let start = Instant::now();
    let mut looks = 0;
    while taken() == seen {
        if looks > AT_ONCE && start.elapsed() >= most {
            return None;
        }
        looks += 1;
        thread::yield_now();
        tokio::task::yield_now().await;
    }
    Some(looks)
}
