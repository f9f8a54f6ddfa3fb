//! Keys that are replaced all through a run: topics are made while a fault is in force, and retired ones are read to the end.

use std::collections::BTreeSet;

use kchaos_core::{Body, OpType};

use crate::lab::Lab;
use crate::run::a_run_with;

#[test]
#[ignore = "needs root and the lab"]
fn keys_that_are_replaced_all_through_a_run_lose_nothing_under_a_killed_leader() {
    Lab::that_is_whole();
    let trouble = ["--rotate-keys", "5s", "--time-limit", "20s", "--faults", "1", "--nemesis-interval", "2s", "--nemesis-duration", "8s"];
    let run = a_run_with("kill-leader", &trouble).and(&["--seed", "20261122"]).finish().ends_with(0);
    run.stands_offline();
    let keys = run.plan().keys.len();
    let (mut made, mut acknowledged, mut retired_with) = (0, BTreeSet::new(), 0);
    run.each_op(|op| match &op.body {
        Body::Nemesis { f, .. } if f == "topic-made" => {
            made += 1;
            retired_with = acknowledged.len();
        }
        Body::Send(sends) if op.op_type == OpType::Ok => acknowledged.extend(sends.iter().map(|send| send.key)),
        _ => {}
    });
    assert!(made >= 2 && made < keys, "{made} topics came in the run of {keys} keys in all");
    assert!(acknowledged.len() > retired_with, "the last topic was written to: {acknowledged:?}");
    println!("{made} topics came in the run, {} keys were written to, valid; {:.0} s", acknowledged.len(), run.took.as_secs_f64());
}
