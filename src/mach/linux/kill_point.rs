//! Named moments at which a process can be made to kill itself, so that a drill hits the narrowest ones.
//!
//! Only where debug assertions are on: `ACTOR_PAGER_DIE=filled:3` dies when `filled` is passed for the
//! third time. The names are in `docs/takeover.md`.

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    static DEATH: OnceLock<Option<Death>> = OnceLock::new();

    #[derive(Debug)]
    struct Death {
        point: String,
        left: AtomicU64,
    }

    fn death() -> Option<Death> {
        let said = std::env::var("ACTOR_PAGER_DIE").ok()?;
        let (point, times) = said.split_once(':')?;
        let left = AtomicU64::new(times.parse().ok()?);
        let point = point.to_owned();
        Some(Death { point, left })
    }

    /// Dies here if this is the moment.
    pub(in super::super) fn pass(point: &str) {
        if let Some(death) = DEATH.get_or_init(death)
            && death.point == point
            && death.left.fetch_sub(1, SeqCst) == 1
        {
            // It does not return.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}

#[cfg(debug_assertions)]
pub(super) use armed::pass;

/// Nobody dies here.
#[cfg(not(debug_assertions))]
pub(super) fn pass(_: &str) {}
