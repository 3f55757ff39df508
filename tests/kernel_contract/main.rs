//! What every kernel must do, checked on each that this system has.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod checks;
mod copies;
mod hand;

use std::sync::Arc;

use actor_pager::mach::KernelHost;
use actor_pager::mach::sim::{SimHost, SimOptions};

/// Runs every check with fresh objects of this kernel; says which failed.
fn pass_all(host: &Arc<dyn KernelHost>) {
    for (name, check) in checks::ALL.into_iter().chain(copies::ALL) {
        println!("{name} on {}", host.describe());
        check(&**host);
    }
}

#[test]
fn the_simulated_kernel_keeps_the_contract() {
    let host: Arc<dyn KernelHost> = Arc::new(SimHost::new(SimOptions::default()));
    pass_all(&host);
}

#[test]
fn the_simulated_kernel_keeps_the_contract_when_it_lends_what_it_returns() {
    let options = SimOptions {
        lend_returns: true,
        ..SimOptions::default()
    };
    let host: Arc<dyn KernelHost> = Arc::new(SimHost::new(options));
    pass_all(&host);
}

#[cfg(target_os = "linux")]
#[test]
fn the_linux_kernel_keeps_the_contract() {
    use actor_pager::mach::linux::{LinuxHost, LinuxOptions};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _guard = runtime.enter();
    match LinuxHost::new(LinuxOptions::default()) {
        Ok(host) => pass_all(&(Arc::new(host) as Arc<dyn KernelHost>)),
        Err(error) => println!("skipped: {error}"),
    }
}
