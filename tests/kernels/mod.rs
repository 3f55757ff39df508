//! Buckets on each kernel that this system has, so that a test says everything once.

use std::sync::Arc;

use actor_pager::Bucket;
use actor_pager::mach::sim::{SimHost, SimOptions};

/// Runs `test` with a bucket on the simulated kernel, then with one on the system's.
pub(crate) fn on_each(test: impl Fn(Bucket)) {
    let simulated = Arc::new(SimHost::new(SimOptions::default()));
    test(Bucket::builder().kernel(simulated).workers(4).start().unwrap());
    #[cfg(target_os = "linux")]
    test(Bucket::builder().workers(4).start().unwrap());
}
