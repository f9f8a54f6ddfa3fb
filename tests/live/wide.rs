//! Faults of several daemons at once and one after another, and changes of the cluster itself: proved, put back, and judged rightly.

use std::collections::{BTreeMap, BTreeSet};

use kchaos_core::{Body, FaultEvent, FaultMoment, Interval, Observed, OpType};

use crate::lab::Lab;
use crate::run::{Finished, Scratch, a_run_with, kchaos};

/// What Kafka promises while ZooKeeper is away: leaders go on as they are, and nobody is elected.
#[test]
#[ignore = "needs root and the lab"]
fn leaders_go_on_and_nobody_is_elected_while_all_zookeepers_are_down() {
    Lab::that_is_whole();
    let trouble = ["--faults", "1", "--nemesis-interval", "1s", "--nemesis-duration", "20s"];
    let run = a_run_with("kill-zk-all", &trouble).finish().ends_with(0);
    assert_eq!(run.event(FaultMoment::InEffect).chosen.len(), 3, "all three are down");
    let down = run.in_force();

    let elected = run.elections_within(down);
    assert!(elected.is_empty(), "nobody can be elected without ZooKeeper: {elected:?}");
    let acked = run.acknowledged_each_second(down);
    let least = acked.values().copied().min().unwrap_or(0);
    assert!(acked.len() >= 15 && least > 0, "leaders go on: {acked:?}");
    run.stands_offline();
    println!(
        "all ZooKeepers down for {:.1} s: {} writes acknowledged, {least} in the worst second; no election; valid",
        seconds(down),
        acked.values().sum::<u64>()
    );
}

#[test]
#[ignore = "needs root and the lab"]
fn a_rolling_restart_takes_one_broker_at_a_time_and_each_is_in_sync_before_the_next() {
    Lab::that_is_whole();
    let trouble = ["--faults", "1", "--nemesis-interval", "1s", "--nemesis-duration", "1s"];
    let run = a_run_with("rolling-restart", &trouble).finish().ends_with(0);
    let mut away: BTreeSet<i32> = BTreeSet::new();
    let (mut most, mut gone) = (0, 0);
    for observation in run.timeline() {
        match observation.what {
            Observed::BrokerGone { broker } if away.insert(broker) => gone += 1,
            Observed::BrokerRegistered { broker } => _ = away.remove(&broker),
            _ => {}
        }
        most = most.max(away.len());
    }
    assert_eq!((gone, most), (3, 1), "three were away, never two at once");
    println!("rolling restart of three brokers: {:.1} s, valid", seconds(run.event(FaultMoment::InEffect).when));
}

#[test]
#[ignore = "needs root and the lab"]
fn what_the_cluster_was_asked_for_is_as_before_in_the_end() {
    Lab::that_is_whole();
    let trouble = ["--faults", "4", "--nemesis-interval", "1s", "--nemesis-duration", "2s"];
    let run = a_run_with("move-leader,reassign,change-config-leader,delete-records", &trouble).finish().ends_with(0);
    let healed: Vec<_> = run.faults().into_iter().filter(|event| event.moment == FaultMoment::Healed).collect();
    assert_eq!(healed.len(), 4);
    assert!(healed.iter().all(|event| event.proof.as_ref().is_some_and(|proof| proof.proved)), "{healed:?}");
    run.stands_offline();
    println!("move-leader, reassign, change-config, delete-records: each proved, put back, and valid, in {:.0} s", run.took.as_secs_f64());
}

/// Killed in the middle of a change, which no host can put back: heal does, by what a host kept.
#[test]
#[ignore = "needs root and the lab"]
fn a_change_that_a_killed_run_left_is_put_back_by_heal() {
    let lab = Lab::that_is_whole();
    let more = ["--lease", "5s", "--faults", "1", "--nemesis-interval", "1s", "--nemesis-duration", "60s", "--keep-topic"];
    let mut run = a_run_with("move-leader", &more).start();
    let fault = run.until_a_fault_is_in_force();
    let host = fault.chosen[0].host.clone();
    run.killed();
    let kept = lab.on(&host, "ls /var/lib/kchaos/host/undo.d");
    assert!(!kept.is_empty(), "{host} keeps what to put back");
    let healed = kchaos(&["heal"]).run();
    assert_eq!(healed.code, 0, "{}{}", healed.stdout, healed.stderr);
    assert!(healed.stdout.contains("put back"), "{}", healed.stdout);
    assert_eq!(lab.on(&host, "ls -A /var/lib/kchaos/host/undo.d"), "", "nothing is kept any more");
    println!(
        "kill -9 in a move-leader: heal said \"{}\"",
        healed.stdout.lines().find(|line| line.contains("put back")).unwrap_or_default()
    );
}

/// What overlaps by a plan file comes again at the same times by `--replay`.
#[test]
#[ignore = "needs root and the lab"]
fn a_plan_s_faults_overlap_as_it_says_and_come_again_in_a_replay() {
    Lab::that_is_whole();
    let scratch = Scratch::new();
    let plan = scratch.path().join("plan.toml");
    let entry =
        |nemesis: &str, at: &str, duration: &str| format!("[[fault]]\nnemesis = \"{nemesis}\"\nat = \"{at}\"\nduration = \"{duration}\"\n");
    let three = entry("pause-follower", "1s", "8s") + &entry("pause-zk-follower", "2s", "6s") + &entry("pause-leader", "4s", "1s");
    std::fs::write(&plan, three).expect("write a plan");
    let by_plan = kchaos(&["test", "--progress", "plain", "--plan", plan.to_str().expect("UTF-8")]).with_results();
    // Three hosts are down at once, and the limit of the lab is two.
    by_plan.run().says(3, &["hosts_down_max is 2"]);
    std::fs::write(&plan, entry("pause-follower", "1s", "4s") + &entry("change-config", "2s", "1s")).expect("write a plan");
    let first = kchaos(&["test", "--progress", "plain", "--plan", plan.to_str().expect("UTF-8")]).with_results().finish().ends_with(0);
    let again = kchaos(&["test", "--progress", "plain", "--replay", first.directory.to_str().expect("UTF-8")]).with_results().finish();
    let again = again.ends_with(0);
    let (first, again) = (first.plan(), again.plan());
    assert_eq!((first.seed, first.options.get("rate")), (again.seed, again.options.get("rate")));
    let names = |plan: &kchaos_core::Plan| plan.schedule.iter().map(|fault| fault.nemesis.clone()).collect::<Vec<_>>();
    assert_eq!((names(&first), names(&again)), (vec!["pause-follower".into(), "change-config".into()], names(&first)));
    for (was, is) in first.schedule.iter().zip(&again.schedule) {
        let off = was.at_ms.unwrap_or(0).abs_diff(is.at_ms.unwrap_or(0));
        assert!(off < 500, "{} comes {off} ms off", was.nemesis);
        assert_eq!(was.seed, is.seed);
    }
    println!("a plan of two faults that overlap, and its replay: {:?}", again.schedule.iter().map(|fault| fault.at_ms).collect::<Vec<_>>());
}

impl Finished {
    /// The first fault's event of this moment.
    fn event(&self, moment: FaultMoment) -> FaultEvent {
        self.faults().into_iter().find(|event| event.moment == moment).unwrap_or_else(|| panic!("no {moment:?}"))
    }

    /// From when the first fault was certainly in force until its mending began.
    fn in_force(&self) -> Interval {
        Interval { after_ns: self.event(FaultMoment::InEffect).when.before_ns, before_ns: self.event(FaultMoment::Healing).when.after_ns }
    }

    /// Leader epochs, by source and key, that grew in that time.
    fn elections_within(&self, when: Interval) -> Vec<String> {
        let mut epochs: BTreeMap<(String, i64), i32> = BTreeMap::new();
        let mut elected = Vec::new();
        for observation in self.timeline() {
            let (Observed::PartitionState { key, leader_epoch, .. } | Observed::PartitionMetadata { key, leader_epoch, .. }) =
                observation.what
            else {
                continue;
            };
            let before = epochs.insert((observation.source.clone(), key), leader_epoch);
            let within = observation.when.before_ns > when.after_ns && observation.when.after_ns < when.before_ns;
            if within && before.is_some_and(|before| before < leader_epoch) {
                elected.push(format!("key {key} at epoch {leader_epoch}, seen by {}", observation.source));
            }
        }
        elected
    }

    /// Sends acknowledged in each whole second of that time.
    fn acknowledged_each_second(&self, when: Interval) -> BTreeMap<u64, u64> {
        let second = |ns: u64| ns / 1_000_000_000;
        let mut acked: BTreeMap<u64, u64> = (second(when.after_ns) + 1..second(when.before_ns)).map(|second| (second, 0)).collect();
        self.each_op(|op| {
            if op.op_type == OpType::Ok
                && matches!(op.body, Body::Send(_))
                && let Some(count) = acked.get_mut(&second(op.time_ns))
            {
                *count += 1;
            }
        });
        acked
    }
}

fn seconds(when: Interval) -> f64 {
    when.width_ns() as f64 / 1e9
}
