//! A store that fails in any way: every call is answered, nothing is lost, and it comes back.
//!
//! Every test runs on the simulated kernel, on one that lends its pages, and on the Linux kernel; those of
//! real disks and real memory (`disk`, `shortage`, `cgroup`) on Linux.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod actor;
#[cfg(target_os = "linux")]
mod cgroup;
#[cfg(target_os = "linux")]
mod disk;
mod errno;
mod hangs;
#[cfg(target_os = "linux")]
mod inhibit;
mod liar;
mod memory;
mod panics;
mod quarantine;
#[cfg(target_os = "linux")]
mod shortage;
#[cfg(target_os = "linux")]
mod small_fs;
mod support;
mod trouble;

/// Runs each of these tests on every kernel.
macro_rules! on_every_kernel {
    ($($module:ident :: { $($test:ident),* $(,)? })*) => {
        on_every_kernel!(@kernel simulated simulated $($module { $($test)* })*);
        on_every_kernel!(@kernel lending lending $($module { $($test)* })*);
        on_every_kernel!(@kernel linux linux $($module { $($test)* })*);
    };
    (@kernel $name:ident $machine:ident $($module:ident { $($test:ident)* })*) => {
        mod $name {
            $(mod $module {
                $(#[test]
                fn $test() {
                    if let Some(machine) = crate::support::Machine::$machine() {
                        crate::$module::$test(&machine);
                    }
                })*
            })*
        }
    };
}

on_every_kernel! {
    errno::{
        a_failed_read_is_an_error_and_heals,
        a_read_is_tried_as_often_as_the_policy_says,
        a_failed_write_is_kept_told_once_and_tried_again,
        a_failed_sync_is_told_and_done_by_the_next,
        a_refused_unlock_reaches_the_writer,
        a_short_read_fails_the_rest_alone,
        a_short_write_loses_nothing,
        a_torn_write_is_written_again_whole,
        a_full_store_keeps_dirty_pages_until_there_is_room,
    }
    panics::{
        a_panic_on_read_is_an_error_and_no_more,
        a_panic_on_write_keeps_the_page,
        a_panic_on_unlock_or_sync_is_an_answer,
        a_panic_of_a_read_in_passing_is_told,
        a_worker_that_dies_is_replaced_however_often,
        a_worker_that_dies_after_its_pager_ended_is_replaced,
        an_extent_that_panics_does_not_stop_a_shutdown,
    }
    hangs::{
        a_read_that_never_returns_is_served_by_another_worker,
        reads_that_hang_again_and_again_are_an_error,
        a_write_that_is_done_is_not_taken_for_one_of_those_that_hang,
        a_late_write_never_overwrites_newer_data,
        a_late_write_of_flushed_pages_stores_what_it_was_given,
        a_late_write_of_pages_handed_back_stores_what_it_was_given,
        a_read_waits_for_a_late_write_of_its_page,
        a_page_whose_write_does_not_return_cannot_be_read,
        a_sync_that_never_returns_is_an_error,
        more_hangs_than_workers_stop_nobody,
        workers_that_come_back_after_their_pager_ended_are_let_go,
    }
    actor::{
        a_pager_that_panics_in_a_poll_is_made_anew,
        a_pager_that_panics_in_a_call_is_made_anew,
        a_pager_that_panics_while_it_maps_is_made_anew,
        a_panic_during_a_sync_loses_neither_bytes_nor_durability,
        a_panic_during_a_shutdown_loses_nothing,
        a_sync_that_finds_a_pager_being_made_anew_writes,
        a_pager_whose_thread_dies_goes_on_elsewhere,
        a_quarantined_pager_stays_quarantined_when_its_thread_dies,
    }
    memory::{
        memory_that_is_refused_is_an_error_and_heals,
    }
    quarantine::{
        a_store_that_fails_too_often_is_left_alone,
        a_quarantined_pager_answers_for_many_dirty_pages,
        a_shutdown_that_cannot_write_hands_the_bytes_back,
    }
    liar::{
        a_write_that_counts_more_than_there_was_is_not_believed,
        a_read_that_fills_more_than_there_is_stays_inside,
    }
}
