//! The threads of a bucket: the supervisor's, the arbiters', the pool's.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, ArbiterHandle, System};
use tokio::sync::oneshot;

use super::engine::panic_text;
use super::events::EventSink;
use super::local::{block_on, is_bucket_thread, mark_bucket_thread};
use super::messages::BucketCall;
use super::placement::Placement;
use super::pool::BackendPool;
use super::registry::SharedRegistry;
use super::spin::spin;
use super::supervisor::{BucketSupervisor, Watch};

/// How many threads of each kind, and where they run.
#[derive(Clone, Debug)]
pub(crate) struct HousePlan {
    pub(crate) bucket: u64,
    pub(crate) workers: usize,
    pub(crate) arbiters: usize,
    pub(crate) placement: Placement,
    /// How long an arbiter stays awake after a turn; zero if it does not.
    pub(crate) spin: Duration,
}

/// What the users of a bucket need of its threads.
pub(crate) struct House {
    pub(crate) supervisor: Addr<BucketSupervisor>,
    pub(crate) pool: BackendPool,
    pub(crate) arbiters: Arbiters,
    pub(crate) events: EventSink,
    bucket: u64,
    system: System,
    thread: Option<JoinHandle<()>>,
}

struct Rooms {
    supervisor: Addr<BucketSupervisor>,
    pool: BackendPool,
    arbiters: Arbiters,
    events: EventSink,
    system: System,
}

/// The arbiters that run pagers; a dead one is replaced in its place.
#[derive(Clone)]
pub(crate) struct Arbiters {
    bucket: u64,
    spin: Duration,
    handles: Arc<Mutex<Vec<ArbiterHandle>>>,
}

impl Arbiters {
    fn new(bucket: u64, spin: Duration, handles: Vec<ArbiterHandle>) -> Self {
        Self {
            bucket,
            spin,
            handles: Arc::new(Mutex::new(handles)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<ArbiterHandle>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of a new pager, in turn.
    pub(crate) fn place(&self, turn: usize) -> usize {
        turn % self.lock().len()
    }

    pub(crate) fn get(&self, place: usize) -> ArbiterHandle {
        self.lock()[place].clone()
    }

    /// Starts an arbiter in place of each that has died; says which they were.
    pub(crate) fn replace_dead(&self) -> Vec<usize> {
        let mut handles = self.lock();
        let mut dead = Vec::new();
        for (place, handle) in handles.iter_mut().enumerate() {
            if handle.spawn_fn(|| ()) {
                continue;
            }
            if let Ok(arbiter) = panic::catch_unwind(|| new_arbiter(self.bucket, self.spin)) {
                *handle = arbiter.handle();
                dead.push(place);
            }
        }
        dead
    }

    fn stop(&self) {
        for handle in self.lock().iter() {
            handle.stop();
        }
    }
}

/// Panics where the thread cannot be started, as actix does.
fn new_arbiter(bucket: u64, most: Duration) -> Arbiter {
    let arbiter = Arbiter::new();
    arbiter.spawn_fn(move || {
        mark_bucket_thread(bucket);
        if !most.is_zero() {
            actix::spawn(spin(most));
        }
    });
    arbiter
}

impl House {
    /// Starts all threads; an error says why one could not start, and none is left behind.
    pub(crate) fn start(plan: HousePlan, registry: SharedRegistry) -> Result<Self, String> {
        let (tell, told) = mpsc::sync_channel(1);
        let bucket = plan.bucket;
        let thread = thread::Builder::new()
            .name(format!("bucket-{bucket}"))
            .spawn(move || live(plan, registry, &tell))
            .map_err(|error| error.to_string())?;
        match told.recv() {
            Ok(Ok(rooms)) => Ok(Self {
                supervisor: rooms.supervisor,
                pool: rooms.pool,
                arbiters: rooms.arbiters,
                events: rooms.events,
                system: rooms.system,
                bucket,
                thread: Some(thread),
            }),
            Ok(Err(text)) => {
                let _ = thread.join();
                Err(text)
            }
            Err(_) => Err("the bucket's thread ended before it was ready".to_owned()),
        }
    }
}

impl Drop for House {
    /// Lets the pagers that are left write back, then ends all threads.
    fn drop(&mut self) {
        let closing = Closing {
            supervisor: self.supervisor.clone(),
            pool: self.pool.clone(),
            arbiters: self.arbiters.clone(),
            system: self.system.clone(),
            thread: self.thread.take(),
        };
        if is_bucket_thread(self.bucket) {
            // One of the bucket's own threads holds the last reference: it cannot wait for itself.
            let closed = thread::Builder::new().spawn(move || closing.close());
            if let Err(error) = closed {
                tracing::error!(%error, "a bucket's threads cannot be ended");
            }
        } else {
            closing.close();
        }
    }
}

/// What it takes to end a bucket's threads.
struct Closing {
    supervisor: Addr<BucketSupervisor>,
    pool: BackendPool,
    arbiters: Arbiters,
    system: System,
    thread: Option<JoinHandle<()>>,
}

impl Closing {
    fn close(self) {
        let (reply, answer) = oneshot::channel();
        self.supervisor.do_send(BucketCall::Shutdown { reply });
        match block_on(answer) {
            Ok(failed) if !failed.is_empty() => {
                tracing::error!(?failed, "these pagers end with pages that could not be written");
            }
            Ok(_) | Err(_) => {}
        }
        self.pool.close();
        self.arbiters.stop();
        self.system.stop();
        if let Some(thread) = self.thread {
            let _ = thread.join();
        }
    }
}

fn live(plan: HousePlan, registry: SharedRegistry, tell: &mpsc::SyncSender<Result<Rooms, String>>) {
    mark_bucket_thread(plan.bucket);
    // All other threads of the bucket are started by this one, or by one that was, and run where it does.
    if let Err(error) = plan.placement.apply() {
        let _ = tell.send(Err(error.to_string()));
        return;
    }
    let runner = System::new();
    let mut arbiters = Vec::new();
    let furnished = panic::catch_unwind(AssertUnwindSafe(|| {
        runner.block_on(furnish(plan, registry, &mut arbiters))
    }));
    match furnished {
        Ok(rooms) => {
            let _ = tell.send(Ok(rooms));
            if let Err(error) = runner.run() {
                tracing::error!(%error, "a bucket's system ended with an error");
            }
        }
        Err(payload) => {
            let _ = tell.send(Err(panic_text(&*payload)));
        }
    }
    for arbiter in arbiters {
        arbiter.stop();
        let _ = arbiter.join();
    }
}

async fn furnish(plan: HousePlan, registry: SharedRegistry, arbiters: &mut Vec<Arbiter>) -> Rooms {
    for _ in 0..plan.arbiters {
        arbiters.push(new_arbiter(plan.bucket, plan.spin));
    }
    let pool = BackendPool::start(plan.workers, plan.bucket);
    let arbiters = Arbiters::new(
        plan.bucket,
        plan.spin,
        arbiters.iter().map(Arbiter::handle).collect(),
    );
    let events = EventSink::default();
    let watch = Watch {
        registry,
        arbiters: arbiters.clone(),
        events: events.clone(),
    };
    let supervisor = BucketSupervisor::new(watch).start();
    Rooms {
        supervisor,
        pool,
        arbiters,
        events,
        system: System::current(),
    }
}
