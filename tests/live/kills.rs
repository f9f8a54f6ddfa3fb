//! `kill -9` at random moments, over every fault that the lab can bear: the hosts are as before within the lease and two seconds.
//!
//! `KCHAOS_SAFETY_KILLS` says how often kchaos is killed (50), `KCHAOS_SAFETY_FIRST` with which fault of the registry it begins (0), so that fifty
//! can be had in slices, and `KCHAOS_SAFETY_SEED` repeats a pass.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use kchaos_core::{NemesisName, Target};
use kchaos_nemeses::Need;
use rand::prelude::*;
use rand_chacha::ChaCha8Rng;

use crate::inhabited::{Inhabited, until_as};
use crate::lab::Lab;
use crate::run::{Scratch, a_run_with, kchaos};
use crate::safety::{GRACE, LEASE, number};

/// How a pass went.
#[derive(Default)]
struct Tally {
    mended: u32,
    slowest: Duration,
    /// By how far the last fault had come.
    moments: BTreeMap<String, u32>,
}

#[test]
#[ignore = "needs root, the lab and half an hour"]
fn kchaos_is_killed_at_random_moments_over_all_families() {
    let inhabited = Inhabited::lab();
    let (before, state) = (inhabited.footprint(), inhabited.state());
    let seed = number("KCHAOS_SAFETY_SEED", rand::rng().random());
    let (kills, first) = (number("KCHAOS_SAFETY_KILLS", 50), number("KCHAOS_SAFETY_FIRST", 0));
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let scratch = Scratch::new();
    let iptables = inhabited.lab.inventory_where(scratch.path(), "firewall = \"auto\"", "firewall = \"iptables\"");
    let faults = borne();
    println!("{kills} kills from {first} on over {} faults, KCHAOS_SAFETY_SEED={seed}", faults.len());
    let mut tally = Tally::default();
    for n in first..first + kills {
        let spec = faults[usize::try_from(n).unwrap_or(0) % faults.len()];
        let targets: Vec<&Target> = spec.targets.iter().filter(|target| is_there(spec.needs, target)).collect();
        let target = (*targets.choose(&mut random).expect("a target")).clone();
        let nemesis = NemesisName { fault: spec.name.to_owned(), target }.to_string();
        let by_iptables = spec.needs.contains(&Need::Firewall) && random.random();
        let moment = Duration::from_millis(random.random_range(0..18_000));
        let inventory = if by_iptables { &iptables } else { &inhabited.lab.inventory };
        let (reached, took) = killed(&inhabited, &state, (&nemesis, inventory, moment), &mut tally);
        assert_eq!(inhabited.footprint(), before, "{nemesis} killed after {moment:?}");
        let how = if by_iptables { " (iptables)" } else { "" };
        println!(
            "  {n:>2} {nemesis}{how}: killed {:.1} s after its begin, last {reached}; as before {:.1} s later",
            moment.as_secs_f64(),
            took.as_secs_f64()
        );
    }
    println!(
        "{kills} kills: {} found something to mend; hosts as before {:.1} s after the kill at the latest; last moments {:?}",
        tally.mended,
        tally.slowest.as_secs_f64(),
        tally.moments
    );
}

/// One run that is killed, its hosts watched and then swept. How far its last fault had come, and how long it took.
fn killed(
    inhabited: &Inhabited,
    state: &BTreeMap<String, String>,
    (nemesis, inventory, moment): (&str, &Path, Duration),
    tally: &mut Tally,
) -> (String, Duration) {
    let trouble = ["--lease", "5s", "--faults", "3", "--nemesis-interval", "500ms", "--nemesis-duration", "8s", "--time-limit", "5m"];
    let mut run = a_run_with(nemesis, &trouble).in_cluster(inventory).start();
    // How long the preflight takes depends on the machine's load; one in ten is killed in that.
    if moment > Duration::from_millis(1_800) {
        run.until_a_fault_is_asked_for();
    }
    std::thread::sleep(moment);
    let events = run.killed_early();
    let took = until_as(state, inhabited, LEASE + GRACE, &format!("{nemesis} killed after {moment:?}"));
    let reached = events.last().map_or("before any fault".to_owned(), |event| format!("{:?}", event.moment));
    let healed = kchaos(&["heal"]).run();
    assert_eq!(healed.code, 0, "{nemesis} killed after {moment:?}, {reached}: {}{}", healed.stdout, healed.stderr);
    let again = kchaos(&["heal"]).run();
    // The dead run's lock may lapse between the two.
    let clean = again.stdout.lines().filter(|line| line.contains(": clean") || line.contains(": healed: left by run"));
    assert_eq!(clean.count(), inhabited.lab.hosts.len(), "{nemesis}: {}", again.stdout);
    kchaos(&["heal", "--break-locks"]).run();
    Lab::that_is_whole();
    tally.mended += u32::from(healed.stdout.contains(": healed"));
    tally.slowest = tally.slowest.max(took);
    *tally.moments.entry(reached.clone()).or_default() += 1;
    (reached, took)
}

/// The registry, without what `kchaos list` says that no host of this lab can bear.
fn borne() -> Vec<&'static kchaos_nemeses::Spec> {
    let said = kchaos(&["list", "nemeses"]).run();
    assert_eq!(said.code, 0, "{}", said.stderr);
    let not: Vec<&str> = said.stdout.lines().filter_map(|line| line.trim().strip_prefix("not ")?.split(':').next()).collect();
    println!("this lab cannot bear: {}", not.join(", "));
    kchaos_nemeses::ALL.iter().filter(|spec| !not.contains(&spec.name)).collect()
}

/// Whom a run of this workload finds in this lab: it has no groups and transactions, all replicas are in sync, and on ZooKeeper's hosts
/// stands somebody's queue.
fn is_there(needs: &[Need], target: &Target) -> bool {
    match target {
        Target::GroupCoordinator | Target::TxnCoordinator | Target::LastIsr => false,
        Target::ZooKeeperLeader | Target::ZooKeeperFollower => !needs.contains(&Need::Rate),
        _ => true,
    }
}
