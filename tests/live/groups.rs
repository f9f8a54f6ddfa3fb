//! Consumer groups: what commits before it has processed is caught when a member crashes, and so is what makes outputs and commits beside their
//! transaction; their safe twins are not accused.

use crate::lab::Lab;
use crate::run::{Finished, a_run_with};

/// Batches take longer than the timer of the commits, and members crash with one in hand.
const CRASHES: &[&str] =
    &["--time-limit", "8s", "--seed", "20261121", "--group-processing", "1500ms", "--group-auto-commit-interval", "200ms"];
const NOTHING_ELSE: &[&str] = &["--group-crash-every", "5s", "--group-pause-every", "0s", "--group-leave-every", "0s", "--group-late", "0"];

fn queue(more: &[&str]) -> Finished {
    a_run_with("none", &["--workload", "queue", "--consumers", "0"]).and(CRASHES).and(NOTHING_ELSE).and(more).finish()
}

#[test]
#[ignore = "needs root and the lab"]
fn a_group_that_commits_what_it_has_not_processed_is_caught_by_a_crash_and_one_that_commits_afterwards_is_not() {
    Lab::that_is_whole();
    let unsafe_one = queue(&["--group-commit", "auto"]).ends_with(1);
    let unprocessed = unsafe_one.count_of("unprocessed");
    assert!(unprocessed > 0, "{}", unsafe_one.verdict()["anomalies"]);
    unsafe_one.cites_ops_that_stand_in_the_evidence("unprocessed");
    unsafe_one.stands_offline();

    let safe_one = queue(&["--group-commit", "stored"]).ends_with(0);
    let again = safe_one.verdict()["ignored"]["redelivered"]["count"].as_u64().unwrap_or(0);
    assert!(again > 0, "the group was given nothing again, so nobody crashed: {}", safe_one.verdict()["ignored"]);
    safe_one.stands_offline();
    println!(
        "crashes of group members: {unprocessed} records passed over by auto-commit; committed afterwards, none of {} was, and {again} were given again; \
         {:.0} s and {:.0} s",
        safe_one.acknowledged(),
        unsafe_one.took.as_secs_f64(),
        safe_one.took.as_secs_f64()
    );
}

/// Members crash every few seconds, half of them between the outputs and the offsets.
fn makers(how: &str) -> Finished {
    let crashes =
        ["--time-limit", "20s", "--seed", "20261122", "--group-processing", "200ms", "--group-crash-every", "3s", "--rate", "200"];
    let nothing_else = ["--group-pause-every", "0s", "--group-leave-every", "0s", "--group-late", "0", how];
    a_run_with("none", &["--workload", "queue"]).and(&crashes).and(&nothing_else).finish()
}

#[test]
#[ignore = "needs root and the lab"]
fn offsets_beside_the_transaction_process_twice_when_members_crash_and_offsets_inside_it_do_not() {
    Lab::that_is_whole();
    let unsafe_one = makers("--exactly-once-unsafe").ends_with(1);
    let twice = unsafe_one.count_of("processed-twice");
    assert!(twice > 0, "{}", unsafe_one.verdict()["anomalies"]);
    unsafe_one.cites_ops_that_stand_in_the_evidence("processed-twice");
    unsafe_one.stands_offline();

    let safe_one = makers("--exactly-once").ends_with(0);
    safe_one.stands_offline();
    println!(
        "crashes of members that make outputs: {twice} inputs processed twice with the offsets outside of the transaction, none of {} with them inside; \
         {:.0} s and {:.0} s",
        safe_one.acknowledged(),
        unsafe_one.took.as_secs_f64(),
        safe_one.took.as_secs_f64()
    );
}

#[test]
#[ignore = "needs root and the lab"]
fn a_protocol_that_the_brokers_do_not_have_is_refused_before_anything_is_made() {
    Lab::that_is_whole();
    let refused = a_run_with("none", &["--workload", "queue", "--group-protocol", "consumer", "--time-limit", "1s"]).run();
    refused.says(3, &["KIP-848", "--group-protocol classic"]);
}
