//! Random kernels, stores and users around the core, from a seed: the newest data wins, nothing is
//! lost, everything is answered; and an illegal kernel breaks nothing.
//!
//! `OBJECT_SEED=n` runs one seed, `OBJECT_SEEDS=n` as many as that.

#[path = "object/model.rs"]
mod model;

use actor_pager::object::{FailedPagePolicy, LockKind, ObjectOptions, PageSize};
use model::{Model, Random};

fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<u64>().ok())
    };
    match number("OBJECT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("OBJECT_SEEDS").unwrap_or(default),
    }
}

fn options(random: &mut Random) -> ObjectOptions {
    let mut options = ObjectOptions::new(PageSize::KIB_4);
    options.notify_on_evict = random.one_in(2);
    options.max_run = 1 + random.below(4);
    options.retry_on_sync = !random.one_in(4);
    if random.one_in(3) {
        options.failed_page = FailedPagePolicy::Error;
    }
    options
}

#[test]
fn the_newest_data_wins() {
    for seed in seeds(600) {
        let mut random = Random::new(seed);
        let mut model = Model::new(options(&mut random), random);
        for _ in 0..300 {
            model.step();
            if let Some(broken) = &model.broken {
                panic!("seed {seed}: {broken}; replay with OBJECT_SEED={seed}");
            }
        }
        model.settle();
        if let Some(broken) = &model.broken {
            panic!("seed {seed}, at the end: {broken}; replay with OBJECT_SEED={seed}");
        }
    }
}

#[test]
fn a_shutdown_at_any_time_loses_nothing() {
    for seed in seeds(600) {
        let mut random = Random::new(seed ^ 0x5eed);
        let steps = random.below(200);
        let mut model = Model::new(options(&mut random), random);
        for _ in 0..steps {
            model.step();
        }
        model.shut_down();
        if let Some(broken) = &model.broken {
            panic!("seed {seed}: {broken}; replay with OBJECT_SEED={seed}");
        }
    }
}

#[test]
fn an_illegal_kernel_breaks_nothing() {
    for seed in seeds(600) {
        let mut random = Random::new(seed ^ 0xbad);
        let mut model = Model::new(options(&mut random), random);
        model.legal = false;
        for _ in 0..300 {
            model.step();
            model.nonsense();
            model.lock(LockKind::Sync);
        }
        model.drain();
        if let Some(broken) = &model.broken {
            panic!("seed {seed}: {broken}; replay with OBJECT_SEED={seed}");
        }
    }
}
