//! A few lives of memory objects; `examples/simulate` lives many more.

#[path = "../examples/simulate/acts.rs"]
mod acts;
#[path = "../examples/simulate/copies.rs"]
mod copies;
#[path = "../examples/simulate/finish.rs"]
mod finish;
#[path = "../examples/simulate/simulation.rs"]
mod simulation;
#[path = "../examples/simulate/store.rs"]
mod store;

use simulation::{Counts, Plan, Simulation};

fn live(seeds: std::ops::Range<u64>, illegal: bool) -> Counts {
    let mut total = Counts::default();
    for seed in seeds {
        let mut life = Simulation::new(Plan {
            seed,
            steps: 300,
            illegal,
        });
        if let Err(wrong) = life.run() {
            panic!(
                "seed {seed}, illegal {illegal}, fails at step {}: {}",
                wrong.step, wrong.what
            );
        }
        total.add(&life.counts);
    }
    total
}

#[test]
fn lives_with_a_legal_kernel_lose_no_byte_and_leave_nobody_waiting() {
    let counts = live(0..200, false);
    assert!(
        counts.jobs > 2000 && counts.accesses > 2000 && counts.failures > 200,
        "{counts:?}"
    );
}

#[test]
fn lives_with_a_kernel_that_errs_break_no_invariant() {
    let counts = live(1000..1200, true);
    assert!(counts.refused > 1000, "{counts:?}");
}

#[test]
fn equal_seeds_live_equal_lives() {
    let (one, other) = (live(7..12, false), live(7..12, false));
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
}
