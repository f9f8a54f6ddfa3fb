//! Disks that lose power, die, fill up or lie: what Kafka promises then, and what it does not.
//!
//! These want a lab with disks of its own (`kchaos lab up --disks loop`). The tests of `flushing` want one whose brokers sync each message and whose
//! daemons have clocks of their own as well: `scripts/test-live.sh` brings up a second lab for them.

use crate::lab::Lab;
use crate::run::{Finished, a_run_with};

const TROUBLE: &[&str] = &["--nemesis-interval", "1s", "--nemesis-duration", "2s"];
/// What becomes of acknowledged values whose disk forgot them. Those that nobody had read are unseen; of those that were read, the offset is written
/// anew, if the writers go on for long enough, and holds two values.
pub(crate) const GONE: [&str; 3] = ["lost-write", "unseen", "inconsistent-offsets"];

pub(crate) fn a_lab_with(what: &str) -> Lab {
    let lab = Lab::that_is_whole();
    let inventory = std::fs::read_to_string(&lab.inventory).expect("the lab's inventory");
    assert!(inventory.contains(what), "the lab has no {what}: see scripts/test-live.sh and scripts/test-fuse.sh");
    lab
}

pub(crate) fn one(nemesis: &str) -> Finished {
    a_run_with(nemesis, TROUBLE).and(&["--faults", "1"]).finish()
}

/// Each of the nemeses once, under one daemon: nothing acknowledged is lost, and all is as before.
pub(crate) fn loses_nothing(lab: &Lab, nemeses: &[&str]) {
    let before = lab.footprint();
    let count = nemeses.len().to_string();
    let run = a_run_with(&nemeses.join(","), TROUBLE).and(&["--faults", &count]).finish().ends_with(0);
    let took = run.each_was_proved_and_mended();
    assert_eq!(took.len(), nemeses.len(), "{took:?}");
    run.every_replica_was_in_sync_at_the_end();
    run.stands_offline();
    assert_eq!(lab.footprint(), before, "the hosts are as before");
    println!("disks of one daemon, from asked to proved: {took:?}; {:.0} s", run.took.as_secs_f64());
}

pub(crate) fn loses_nothing_that_was_synced() {
    a_lab_with("log.flush.interval.messages=1");
    let run = one("power-loss-all").ends_with(0);
    run.stands_offline();
    println!("power loss of all brokers that sync: {} acknowledged, none lost; {:.0} s", run.acknowledged(), run.took.as_secs_f64());
}

#[test]
#[ignore = "needs root and the lab"]
fn power_loss_of_all_brokers_loses_acknowledged_writes_and_the_replicas_logs_show_it() {
    let lab = a_lab_with("kind = \"loop\"");
    let before = lab.footprint();
    let run = one("power-loss-all").ends_with(1);
    let [lost, unseen, overwritten] = GONE.map(|name| run.count_of(name));
    let gone: Vec<String> = GONE.iter().flat_map(|name| run.explanations(name)).collect();
    assert!(!gone.is_empty(), "{}", run.verdict()["anomalies"]);
    let shown = gone.iter().find(|text| text.contains("; on disk, ") && (1..=3).all(|broker| text.contains(&format!("replica {broker} "))));
    let shown = shown.unwrap_or_else(|| panic!("the replicas' logs are not shown: {gone:?}"));
    run.stands_offline();
    run.each_was_proved_and_mended();
    assert_eq!(lab.footprint(), before, "the hosts are as before");
    println!(
        "power loss of all brokers: {lost} lost, {unseen} unseen, {overwritten} offsets of two values; {shown}; {:.0} s",
        run.took.as_secs_f64()
    );
}

#[test]
#[ignore = "needs root and the lab"]
fn a_disk_that_fails_under_one_broker_loses_nothing_and_the_broker_comes_back() {
    let lab = a_lab_with("kind = \"loop\"");
    let nemeses = ["power-loss-leader", "dead-disk-leader", "fill-leader", "corrupt-follower", "truncate-follower", "power-loss-zk-leader"];
    loses_nothing(&lab, &nemeses);
}

mod flushing {
    use super::*;

    #[test]
    #[ignore = "needs root and the second lab"]
    fn power_loss_of_all_brokers_loses_nothing_that_was_synced() {
        loses_nothing_that_was_synced();
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
