//! Clusters without ZooKeeper: leaders and controllers are broken, and what was acknowledged is there; where the time went is told by the quorum's own
//! state and by metadata; what is ZooKeeper's is refused by name.
//!
//! Each cluster is a lab of its own, which `scripts/test-kraft.sh` brings up. Not in `make test`.

use kchaos_core::Observed;
use serde_json::Value;

use crate::lab::Lab;
use crate::run::{Finished, a_run_with, kchaos};

const USAGE: i32 = 254;
const ENVIRONMENT: i32 = 3;
/// A controller that has heard nothing for 9 s (`broker.session.timeout.ms`) fences a broker, whose last heartbeat was 2 s before the fault at most.
const FENCED_AFTER_S_MIN: f64 = 6.0;

fn broken_by(nemesis: &str) -> Finished {
    let run = a_run_with(nemesis, &["--workload", "append", "--faults", "1", "--nemesis-interval", "2s"]).finish().ends_with(0);
    run.each_was_proved_and_mended();
    run.stands_offline();
    run
}

fn recovery(run: &Finished) -> Value {
    run.verdict()["recovery"]["faults"][0].clone()
}

/// The middle of what is known of a span, in seconds; `None` if it was not seen.
fn seconds(span: &Value) -> Option<f64> {
    let bound = |name: &str| Some(span.get(name)?.as_f64()? / 1e9);
    Some((bound("at_least_ns")? + bound("at_most_ns")?) / 2.0)
}

#[test]
#[ignore = "needs root and a lab of KRaft"]
fn what_was_acknowledged_survives_its_leader_which_is_fenced_before_another_is_elected() {
    Lab::that_is_whole();
    for nemesis in ["kill-leader", "pause-leader", "isolate-leader"] {
        let run = broken_by(nemesis);
        let fault = recovery(&run);
        let detection: Vec<f64> =
            fault["keys"].as_array().into_iter().flatten().filter_map(|key| seconds(&key["phases"]["detection"])).collect();
        assert!(!detection.is_empty() && detection.iter().all(|seconds| *seconds > FENCED_AFTER_S_MIN), "{nemesis}: {fault:#}");
        let gone = run.timeline().into_iter().filter(|seen| matches!(seen.what, Observed::BrokerGone { .. })).count();
        assert!(gone >= 1, "{nemesis}: nobody was seen to be fenced");
        println!(
            "{nemesis} on KRaft: fenced after {detection:.1?} s; {} acknowledged; {:.0} s",
            run.acknowledged(),
            run.took.as_secs_f64()
        );
    }
}

#[test]
#[ignore = "needs root and a lab of KRaft"]
fn another_controller_leads_after_the_active_one_was_killed() {
    Lab::that_is_whole();
    for nemesis in ["kill-quorum-leader", "pause-controller"] {
        let run = broken_by(nemesis);
        let fault = recovery(&run);
        let elected = seconds(&fault["phases"]["controller"]);
        assert!(elected.is_some(), "{nemesis}: {fault:#}");
        let leaders = run.timeline().into_iter().filter(|seen| matches!(seen.what, Observed::Controller { .. }));
        let epochs: Vec<i32> =
            leaders.filter_map(|seen| if let Observed::Controller { epoch, .. } = seen.what { epoch } else { None }).collect();
        assert!(epochs.len() >= 2 && epochs.is_sorted(), "{nemesis}: epochs {epochs:?}");
        println!("{nemesis} on KRaft: another controller leads after {elected:.1?} s; {:.0} s", run.took.as_secs_f64());
    }
}

#[test]
#[ignore = "needs root and a lab of KRaft"]
fn what_coordinators_keep_is_kept_without_zookeeper() {
    are_valid(&["queue", "transactions", "order"]);
}

#[test]
#[ignore = "needs root and a lab of KRaft"]
fn what_the_controllers_are_asked_is_answered_without_zookeeper() {
    are_valid(&["bank", "elections", "offsets"]);
}

/// Of 4.0 and later by default (KIP-848); brokers of 3.9 refuse it.
#[test]
#[ignore = "needs root and a lab of KRaft"]
fn a_group_of_the_new_protocol_processes_everything_or_is_refused_by_name() {
    Lab::that_is_whole();
    let load = ["--workload", "queue", "--group-protocol", "consumer", "--faults", "1", "--nemesis-interval", "1s"];
    let run = a_run_with("kill-leader", &load).run();
    if run.code == ENVIRONMENT {
        run.says(ENVIRONMENT, &["KIP-848", "--group-protocol classic"]);
    } else {
        assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    }
}

fn are_valid(workloads: &[&str]) {
    Lab::that_is_whole();
    for workload in workloads {
        let run = a_run_with("kill-leader", &["--workload", workload, "--faults", "1", "--nemesis-interval", "1s"]).finish().ends_with(0);
        run.stands_offline();
        println!("{workload} × kill-leader on KRaft: {:.0} s", run.took.as_secs_f64());
    }
}

#[test]
#[ignore = "needs root and a lab of KRaft"]
fn what_is_zookeepers_is_refused_by_name() {
    Lab::that_is_whole();
    for nemesis in ["kill-zk-leader", "cut-zookeeper-leader", "expire-session-leader"] {
        kchaos(&["test", "--nemesis", nemesis])
            .with_results()
            .run()
            .says(ENVIRONMENT, &[nemesis, "without ZooKeeper", "nothing was touched"]);
    }
    kchaos(&["test", "--workload", "register"]).with_results().run().says(USAGE, &["workload \"register\"", "without ZooKeeper"]);
}
