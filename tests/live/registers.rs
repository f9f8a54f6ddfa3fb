//! Registers in ZooKeeper: what it promises holds while its leader is killed, and a compare-and-set that compares nothing is caught.

use kchaos_core::{Body, OpType};

use crate::lab::Lab;
use crate::run::a_run_with;

#[test]
#[ignore = "needs root and the lab"]
fn registers_keep_zookeepers_promises_through_the_death_of_its_leader_and_a_swap_without_its_version_is_caught() {
    Lab::that_is_whole();
    let load = ["--workload", "register", "--time-limit", "20s", "--rate", "400", "--registers", "2", "--seed", "20261122"];
    let run = a_run_with("kill-zk-leader", &load).and(&["--faults", "1"]).finish().ends_with(0);
    run.stands_offline();
    let (mut writes, mut swaps, mut watches, mut ephemerals, mut sequential, mut listed) = (0, 0, 0, 0, 0, 0);
    run.each_op(|op| match &op.body {
        Body::Write { .. } => writes += usize::from(op.op_type == OpType::Ok),
        Body::Cas { .. } => swaps += usize::from(op.op_type == OpType::Ok),
        Body::Nemesis { f, value } => {
            watches += usize::from(f == "watch" && value["event"] == "fired");
            ephemerals += usize::from(f == "ephemeral" && value["event"] == "absent");
            sequential += usize::from(f == "sequential" && value["event"] == "created");
            if f == "sequential" && value["event"] == "listed" {
                listed = value["numbers"].as_array().map_or(0, Vec::len);
            }
        }
        _ => {}
    });
    assert!(sequential > 10 && listed >= sequential, "{sequential} sequential nodes, {listed} listed");
    assert!(writes > 100 && swaps > 20 && watches > 20 && ephemerals > 0, "{writes} {swaps} {watches} {ephemerals}");

    let load = ["--workload", "register", "--time-limit", "4s", "--rate", "400", "--registers", "2", "--unversioned-cas"];
    let unsafe_one = a_run_with("none", &load).finish().ends_with(1);
    let overwritten = unsafe_one.count_of("nonlinearizable");
    assert!(overwritten > 0, "{}", unsafe_one.verdict()["anomalies"]);
    unsafe_one.cites_ops_that_stand_in_the_evidence("nonlinearizable");
    unsafe_one.stands_offline();
    println!(
        "registers: {writes} writes and {swaps} compare-and-sets ok, {watches} watches fired, {ephemerals} looks missed ephemerals of sessions that had \
         ended, {sequential} sequential nodes in order; valid. Without versions {overwritten} registers of 2 were overwritten; {:.0} s and {:.0} s",
        run.took.as_secs_f64(),
        unsafe_one.took.as_secs_f64()
    );
}
