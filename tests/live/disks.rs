//! Disks that lose power, die, fill up or lie: what Kafka promises then, and what it does not.
//!
//! These want a lab with disks of its own (`kchaos lab up --disks loop`). The tests of `flushing` want one whose brokers sync each message and whose
//! daemons have clocks of their own as well: `scripts/test-live.sh` brings up a second lab for them.

use crate::lab::Lab;
use crate::run::{Finished, a_run_with};

const TROUBLE: &[&str] = &["--nemesis-interval", "1s", "--nemesis-duration", "2s"];

fn a_lab_with(what: &str) -> Lab {
    let lab = Lab::that_is_whole();
    let inventory = std::fs::read_to_string(&lab.inventory).expect("the lab's inventory");
    assert!(inventory.contains(what), "the lab has no {what}: see scripts/test-live.sh");
    lab
}

fn one(nemesis: &str) -> Finished {
    a_run_with(nemesis, TROUBLE).and(&["--faults", "1"]).finish()
}

#[test]
#[ignore = "needs root and the lab"]
fn power_loss_of_all_brokers_loses_acknowledged_writes_and_the_replicas_logs_show_it() {
    let lab = a_lab_with("kind = \"loop\"");
    let before = lab.footprint();
    let run = one("power-loss-all").ends_with(1);
    let (lost, unseen) = (run.count_of("lost-write"), run.count_of("unseen"));
    let truncated: Vec<String> = run.explanations("unseen").filter(|text| text.contains("truncated")).collect();
    assert!(!truncated.is_empty(), "{}", run.verdict()["anomalies"]);
    let shown = truncated.iter().find(|text| (1..=3).all(|broker| text.contains(&format!("replica {broker} "))));
    let shown = shown.unwrap_or_else(|| panic!("the replicas' logs are not shown: {truncated:?}"));
    assert!(shown.contains("; on disk, "), "{shown}");
    run.stands_offline();
    run.each_was_proved_and_mended();
    assert_eq!(lab.footprint(), before, "the hosts are as before");
    println!("power loss of all brokers: {lost} lost, {unseen} unseen; {shown}; {:.0} s", run.took.as_secs_f64());
}

#[test]
#[ignore = "needs root and the lab"]
fn a_disk_that_fails_under_one_broker_loses_nothing_and_the_broker_comes_back() {
    let lab = a_lab_with("kind = \"loop\"");
    let before = lab.footprint();
    let nemeses = ["power-loss-leader", "dead-disk-leader", "fill-leader", "corrupt-follower", "truncate-follower", "power-loss-zk-leader"];
    let count = nemeses.len().to_string();
    let run = a_run_with(&nemeses.join(","), TROUBLE).and(&["--faults", &count]).finish().ends_with(0);
    let took = run.each_was_proved_and_mended();
    assert_eq!(took.len(), nemeses.len(), "{took:?}");
    run.every_replica_was_in_sync_at_the_end();
    run.stands_offline();
    assert_eq!(lab.footprint(), before, "the hosts are as before");
    println!("disks of one daemon, from asked to proved: {took:?}; {:.0} s", run.took.as_secs_f64());
}

mod flushing {
    use super::*;

    #[test]
    #[ignore = "needs root and the second lab"]
    fn power_loss_of_all_brokers_loses_nothing_that_was_synced() {
        a_lab_with("log.flush.interval.messages=1");
        let run = one("power-loss-all").ends_with(0);
        run.stands_offline();
        println!("power loss of all brokers that sync: {} acknowledged, none lost; {:.0} s", run.acknowledged(), run.took.as_secs_f64());
    }

    #[test]
    #[ignore = "needs root and the second lab"]
    fn a_wrong_clock_of_one_daemon_is_proved_and_right_again() {
        a_lab_with("kind = \"faketime\"");
        let run = a_run_with("bump-leader,skew-controller,skew-zk-leader", TROUBLE).and(&["--faults", "3"]).finish().ends_with(0);
        let took = run.each_was_proved_and_mended();
        assert_eq!(took.len(), 3, "{took:?}");
        println!("wrong clocks, from asked to proved: {took:?}; {:.0} s", run.took.as_secs_f64());
    }
}
