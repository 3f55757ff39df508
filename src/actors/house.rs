//! The threads of a bucket: the supervisor's, the arbiters', the pool's.

use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use actix::{Actor, Addr, Arbiter, ArbiterHandle, System};

use super::engine::panic_text;
use super::local::{is_bucket_thread, mark_bucket_thread};
use super::pool::BackendPool;
use super::registry::SharedRegistry;
use super::supervisor::BucketSupervisor;

/// How many threads of each kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HousePlan {
    pub(crate) bucket: u64,
    pub(crate) workers: usize,
    pub(crate) arbiters: usize,
}

/// What the users of a bucket need of its threads.
pub(crate) struct House {
    pub(crate) supervisor: Addr<BucketSupervisor>,
    pub(crate) pool: BackendPool,
    pub(crate) arbiters: Vec<ArbiterHandle>,
    bucket: u64,
    system: System,
    thread: Option<JoinHandle<()>>,
}

struct Rooms {
    supervisor: Addr<BucketSupervisor>,
    pool: BackendPool,
    arbiters: Vec<ArbiterHandle>,
    system: System,
}

impl House {
    /// Starts all threads; an error says why one could not start, and none is left behind.
    pub(crate) fn start(plan: HousePlan, registry: SharedRegistry) -> Result<Self, String> {
        let (tell, told) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name(format!("bucket-{}", plan.bucket))
            .spawn(move || live(plan, registry, &tell))
            .map_err(|error| error.to_string())?;
        match told.recv() {
            Ok(Ok(rooms)) => Ok(Self {
                supervisor: rooms.supervisor,
                pool: rooms.pool,
                arbiters: rooms.arbiters,
                system: rooms.system,
                bucket: plan.bucket,
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
    fn drop(&mut self) {
        self.pool.close();
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
        self.system.stop();
        // One of the bucket's own threads may hold the last reference: it cannot wait for itself.
        if let Some(thread) = self.thread.take()
            && !is_bucket_thread(self.bucket)
        {
            let _ = thread.join();
        }
    }
}

fn live(plan: HousePlan, registry: SharedRegistry, tell: &mpsc::SyncSender<Result<Rooms, String>>) {
    mark_bucket_thread(plan.bucket);
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
        let arbiter = Arbiter::new();
        arbiter.spawn_fn(move || mark_bucket_thread(plan.bucket));
        arbiters.push(arbiter);
    }
    let pool = BackendPool::start(plan.workers, plan.bucket);
    Rooms {
        supervisor: BucketSupervisor::new(registry).start(),
        pool,
        arbiters: arbiters.iter().map(Arbiter::handle).collect(),
        system: System::current(),
    }
}
