//! Fault × target against the cluster: proved in force, proved mended, everything in sync at the end.
//!
//! A run of the tests takes a part of the product, another every day; `make test-faults` (`KCHAOS_FAULTS=all`) takes all of it.

use std::collections::{BTreeMap, BTreeSet};

use kchaos_core::{FaultEvent, FaultMoment, NemesisName, Observed, Target};
use kchaos_nemeses::Need;
use kchaos_nemeses::proved::Door;

use crate::lab::Lab;
use crate::product;
use crate::run::{Finished, Scratch, a_run_with};

/// Long enough to be proved, shorter than a session: what elections cost is measured elsewhere.
const TROUBLE: &[&str] = &["--nemesis-interval", "1s", "--nemesis-duration", "3s"];

/// One daemon each. Targets that are several daemons have tests of their own, in `wide`.
const ROLES: &[Target] =
    &[Target::Leader, Target::Controller, Target::ZooKeeperLeader, Target::ZooKeeperFollower, Target::Follower, Target::Random];

/// How many nemeses a run of the tests takes, of each kind: every one has its record in docs/proved.jsonl.
const PART: usize = 7;
/// And one `kchaos test`.
const RUN: usize = 30;

#[test]
#[ignore = "needs root and the lab"]
fn faults_and_targets_are_proved_in_force_and_mended_with_nftables() {
    let names = of_today(borne(|_| true), &["kill-zk-leader", "isolate-leader"]);
    for names in names.chunks(RUN) {
        let run = all_of(names, "nftables");
        let rules = run.rules_in_force();
        assert!(rules.iter().all(|rule| !rule.contains("tables chains")), "{rules:?}");
        if names.iter().any(|name| name.to_string() == "kill-zk-leader") {
            an_election_was_measured(&run);
        }
    }
}

#[test]
#[ignore = "needs root and the lab"]
fn cuts_are_proved_in_force_and_mended_with_iptables() {
    let is_cut =
        |name: &NemesisName| kchaos_nemeses::ALL.iter().any(|spec| spec.name == name.fault && spec.needs.contains(&Need::Firewall));
    let names = of_today(borne(is_cut), &["isolate-leader"]);
    for names in names.chunks(RUN) {
        let run = all_of(names, "iptables");
        let rules = run.rules_in_force();
        assert!(!rules.is_empty() && rules.iter().all(|rule| rule.contains("tables chains KCHAOS-")), "{rules:?}");
    }
}

/// In slices; see `product`.
#[test]
#[ignore = "needs root, the lab with disks and clocks, and an hour: make test-proved"]
fn the_product_is_proved_where_it_has_no_record() {
    Lab::that_is_whole();
    product::prove(Door::Scripts);
}

/// What the hosts of the lab can bear, as `kchaos list` says it.
fn borne(is_wanted: impl Fn(&NemesisName) -> bool) -> Vec<NemesisName> {
    let not = product::not_borne();
    // What needs a disk or a clock of its own has tests of its own, in `disks`.
    let needs_more = |need: &Need| matches!(need, Need::Disk | Need::OwnDisk | Need::Clock);
    let is_of_every_host =
        |name: &NemesisName| kchaos_nemeses::ALL.iter().any(|spec| spec.name == name.fault && !spec.needs.iter().any(needs_more));
    kchaos_nemeses::names()
        .filter(is_of_every_host)
        .filter(|name| {
            (ROLES.contains(&name.target) || name.target.is_partition())
                && is_wanted(name)
                // Its broker may lead nothing after other faults: then no client says anything to it that could be late.
                && name.to_string() != "delay-connection-follower"
                && !not.iter().any(|not| *not == name.fault || *not == name.to_string())
        })
        .collect()
}

/// Every so-manieth of them, beginning elsewhere every day, and those that other claims of the test need.
fn of_today(names: Vec<NemesisName>, always: &[&str]) -> Vec<NemesisName> {
    if std::env::var("KCHAOS_FAULTS").is_ok_and(|wish| wish == "all") {
        return names;
    }
    let seconds = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    let step = names.len().div_ceil(PART);
    let first = usize::try_from(seconds / 86_400).unwrap_or(0) % step;
    let is_of_today = |place: usize, name: &NemesisName| place % step == first || always.contains(&name.to_string().as_str());
    names.into_iter().enumerate().filter(|(place, name)| is_of_today(*place, name)).map(|(_, name)| name).collect()
}

fn an_election_was_measured(run: &Finished) {
    let recovery = &run.verdict()["recovery"];
    let elections = recovery["phases"]["zookeeper-election"].clone();
    assert!(elections["n"].as_u64().unwrap_or(0) >= 1, "no election of ZooKeeper's was measured: {}", recovery["phases"]);
    let killed = recovery["faults"].as_array().into_iter().flatten().find(|fault| fault["nemesis"] == "kill-zk-leader");
    let killed = &killed.expect("kill-zk-leader is in the recovery")["phases"]["zookeeper-election"];
    let ms = |value: &serde_json::Value| value.as_f64().unwrap_or(f64::NAN) / 1e6;
    assert!(killed["at_most_ns"].is_u64(), "kill-zk-leader: no election was measured: {killed}");
    println!(
        "ZooKeeper's election: {} measured, p50 {:.0} ms; after kill-zk-leader {:.0} to {:.0} ms",
        elections["n"],
        ms(&elections["middle"]["p50_ns"]),
        ms(&killed["at_least_ns"]),
        ms(&killed["at_most_ns"])
    );
}

/// One run with each of them once.
fn all_of(nemeses: &[NemesisName], firewall: &str) -> Finished {
    let lab = Lab::that_is_whole();
    let rules = lab.footprint();
    let scratch = Scratch::new();
    let inventory = lab.inventory_where(scratch.path(), "firewall = \"auto\"", &format!("firewall = \"{firewall}\""));
    let names: Vec<String> = nemeses.iter().map(ToString::to_string).collect();
    let run = a_run_with(&names.join(","), TROUBLE).and(&["--faults", &names.len().to_string()]).in_cluster(&inventory).finish();
    let run = run.ends_with(0);

    let took = run.each_was_proved_and_mended();
    assert_eq!(took.keys().cloned().collect::<BTreeSet<_>>(), names.iter().cloned().collect(), "every nemesis was tried");
    run.every_replica_was_in_sync_at_the_end();
    run.stands_offline();
    assert_eq!(lab.footprint(), rules, "the hosts are as before");
    let times = took.iter().map(|(name, seconds)| format!("{name} {seconds:.1}")).collect::<Vec<_>>().join(", ");
    println!("{} nemeses with {firewall} in {:.0} s, from asked to mended in seconds: {times}", names.len(), run.took.as_secs_f64());
    run
}

impl Finished {
    /// Seconds from asked to done, by nemesis.
    pub(crate) fn each_was_proved_and_mended(&self) -> BTreeMap<String, f64> {
        let mut faults: BTreeMap<u32, Vec<FaultEvent>> = BTreeMap::new();
        for event in self.faults() {
            faults.entry(event.fault_id).or_default().push(event);
        }
        // A guard may put a fault off until the last one's effects are gone: it is tried again, under another id. Notes of no fault have id 0.
        let is_put_off =
            |event: &FaultEvent| event.moment == FaultMoment::Failed && event.text.as_ref().is_some_and(|text| text.contains(" refused: "));
        faults.retain(|id, events| *id > 0 && !events.iter().any(is_put_off));
        let mut took = BTreeMap::new();
        for events in faults.values() {
            let name = &events[0].nemesis;
            let at = |moment| {
                events.iter().find(|event| event.moment == moment).unwrap_or_else(|| panic!("{name}: never {moment:?}: {events:?}"))
            };
            for moment in [FaultMoment::InEffect, FaultMoment::Healed] {
                let event = at(moment);
                let proof = event.proof.as_ref().unwrap_or_else(|| panic!("{name}: {moment:?} without a proof"));
                assert!(proof.proved && !proof.text.is_empty(), "{name}: {moment:?}: {proof:?}");
            }
            let (asked, done) = (at(FaultMoment::Asked).when, at(FaultMoment::Done).when);
            took.insert(name.clone(), (done.before_ns - asked.after_ns) as f64 / 1e9);
        }
        took
    }

    pub(crate) fn every_replica_was_in_sync_at_the_end(&self) {
        let mut last = BTreeMap::new();
        for observation in self.timeline() {
            if let Observed::PartitionState { key, isr, .. } = observation.what {
                last.insert(key, isr);
            }
        }
        assert_eq!(last.len(), self.plan().keys.len(), "{last:?}");
        assert!(last.values().all(|isr| isr.len() == 3), "in sync at the end: {last:?}");
    }

    fn rules_in_force(&self) -> Vec<String> {
        let in_force = self.faults().into_iter().filter(|event| event.moment == FaultMoment::InEffect);
        in_force.filter_map(|event| event.effect).flat_map(|effect| effect.rules).collect()
    }
}
