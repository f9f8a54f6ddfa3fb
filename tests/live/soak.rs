//! Several workloads at once: each is judged as it would be alone.

use std::collections::BTreeSet;

use crate::lab::Lab;
use crate::run::a_run_with;

const SEED: &str = "20260711";

#[test]
#[ignore = "needs root and the lab"]
fn four_workloads_at_once_are_valid_under_a_killed_leader_and_what_a_deposed_one_takes_back_is_caught() {
    Lab::that_is_whole();
    let soak = |nemesis: &str, more: &[&str]| {
        let trouble = ["--workload", "soak", "--faults", "1", "--nemesis-interval", "1s", "--nemesis-duration", "10s", "--seed", SEED];
        a_run_with(nemesis, &trouble).and(more).finish()
    };

    let unsafe_one = soak("deposed-leader", &["--soak-mix", "append,queue", "--acks", "1", "--idempotence", "false"]).ends_with(1);
    let lost = unsafe_one.count_of("lost-write") + unsafe_one.count_of("unseen");
    assert!(lost > 0, "{}", unsafe_one.verdict()["anomalies"]);

    let safe_one = soak("kill-leader", &[]).ends_with(0);
    safe_one.stands_offline();
    let plan = safe_one.plan();
    let topics: BTreeSet<&str> = plan.keys.iter().filter_map(|entry| entry.topic.split('-').nth(1)).collect();
    assert_eq!(topics, ["append", "order", "queue", "transactions"].into(), "{:?}", plan.keys);
    println!(
        "four workloads at once: {} acknowledged, valid; with acks=1 under a deposed leader {lost} lost; {:.0} s and {:.0} s",
        safe_one.acknowledged(),
        safe_one.took.as_secs_f64(),
        unsafe_one.took.as_secs_f64()
    );
}
