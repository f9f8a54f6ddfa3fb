//! kchaos dies in the middle of a fault, without a chance to mend: the hosts mend themselves within the lease, and `kchaos heal` says what is so.

use std::time::{Duration, Instant};

use crate::lab::Lab;
use crate::run::{Answer, Scratch, a_run_with, kchaos};

/// What the hosts are given beyond the lease.
const GRACE: Duration = Duration::from_secs(2);
const LEASE: Duration = Duration::from_secs(5);
const LEASED: &[&str] = &["--lease", "5s", "--faults", "1", "--nemesis-interval", "1s", "--nemesis-duration", "60s"];

#[test]
#[ignore = "needs root and the lab"]
fn a_cut_by_nftables_ends_within_the_lease_when_kchaos_is_killed() {
    killed_in_the_middle_of_a_cut("nftables");
}

#[test]
#[ignore = "needs root and the lab"]
fn a_cut_by_iptables_ends_within_the_lease_when_kchaos_is_killed() {
    killed_in_the_middle_of_a_cut("iptables");
}

fn killed_in_the_middle_of_a_cut(firewall: &str) {
    let lab = Lab::that_is_whole();
    let scratch = Scratch::new();
    let inventory = lab.inventory_where(scratch.path(), "firewall = \"auto\"", &format!("firewall = \"{firewall}\""));
    let before: Vec<_> = lab.hosts.iter().map(|host| lab.rules(host)).collect();

    let mut run = a_run_with("isolate-leader", LEASED).in_cluster(&inventory).start();
    let fault = run.until_a_fault_is_in_force();
    let host = &fault.chosen[0].host;
    let nth = lab.hosts.iter().position(|name| name == host).expect("the host is one of the lab's");
    assert_ne!(lab.rules(host), before[nth], "no rule is in force on {host}");

    run.killed();
    let took = within_the_lease(&format!("the rules of {host} are as before"), || lab.rules(host) == before[nth]);
    let after: Vec<_> = lab.hosts.iter().map(|host| lab.rules(host)).collect();
    assert_eq!(after, before, "the rules of all hosts");
    heals_to_clean(&lab, host);
    println!("kill -9 in an isolate by {firewall}: the rules were as before {:.1} s later (lease 5 s)", took.as_secs_f64());
}

/// A daemon that was paused for about as long as its session lasts may lose it as it wakes up: the cluster looks whole until the controller has heard.
fn what_its_session_did_is_seen() {
    std::thread::sleep(Duration::from_secs(3));
}

#[test]
#[ignore = "needs root and the lab"]
fn a_paused_daemon_runs_again_within_the_lease_when_kchaos_is_killed() {
    let lab = Lab::that_is_whole();
    let mut run = a_run_with("pause-leader", LEASED).start();
    let fault = run.until_a_fault_is_in_force();
    let (host, pid) = (fault.chosen[0].host.clone(), paused_pid(&fault));
    assert_eq!(lab.process_state(&host, pid), "T", "the daemon is paused");

    run.killed();
    let took = within_the_lease("the daemon runs", || lab.process_state(&host, pid) != "T");
    heals_to_clean(&lab, &host);
    what_its_session_did_is_seen();
    println!("kill -9 in a pause: the daemon ran again {:.1} s later (lease 5 s)", took.as_secs_f64());
}

#[test]
#[ignore = "needs root and the lab"]
fn a_host_that_heal_cannot_reach_is_named_with_exit_5_and_the_others_are_mended() {
    let lab = Lab::that_is_whole();
    let scratch = Scratch::new();
    let inventory = lab.inventory_without_a_way_to(scratch.path(), "zoo3");
    let mut run =
        a_run_with("pause-leader", &["--lease", "15s", "--faults", "1", "--nemesis-interval", "1s", "--nemesis-duration", "60s"]).start();
    let fault = run.until_a_fault_is_in_force();
    let (host, pid) = (fault.chosen[0].host.clone(), paused_pid(&fault));
    run.killed();

    let healed = kchaos(&["heal"]).in_cluster(&inventory).run();
    healed.says(5, &["not every host is mended", "kchaos heal"]);
    assert!(line_of(&healed, "zoo3").contains("UNREACHABLE"), "{}", healed.stdout);
    assert!(line_of(&healed, &host).contains("healed: pause-leader"), "{}", healed.stdout);
    assert_ne!(lab.process_state(&host, pid), "T", "the daemon is not paused any more");
    what_its_session_did_is_seen();

    let reached = kchaos(&["heal"]).run();
    assert_eq!(reached.code, 0, "{}", reached.stdout);
    println!("heal without a way to zoo3: exit 5, \"{}\", and {host} was mended", line_of(&healed, "zoo3"));
}

/// The first `kchaos heal` says what the lease mended, the second finds nothing; both end with 0.
fn heals_to_clean(lab: &Lab, host: &str) {
    let first = kchaos(&["heal"]).run();
    assert_eq!(first.code, 0, "{}{}", first.stdout, first.stderr);
    assert!(line_of(&first, host).contains("healed"), "{}", first.stdout);
    let second = kchaos(&["heal"]).run();
    assert_eq!(second.code, 0, "{}{}", second.stdout, second.stderr);
    for host in &lab.hosts {
        assert!(line_of(&second, host).starts_with(&format!("{host}: clean")), "{}", second.stdout);
    }
}

/// How long after now it became so; later than the lease and the grace is a failure.
fn within_the_lease(what: &str, is_so: impl Fn() -> bool) -> Duration {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < LEASE + GRACE, "not within {:?}: {what}", LEASE + GRACE);
        std::thread::sleep(Duration::from_millis(100));
    }
    since.elapsed()
}

fn paused_pid(fault: &kchaos_core::FaultEvent) -> i64 {
    i64::from(fault.effect.as_ref().expect("a fault in force has an effect").pids[0].0)
}

fn line_of<'a>(answer: &'a Answer, host: &str) -> &'a str {
    answer
        .stdout
        .lines()
        .find(|line| line.starts_with(&format!("{host}:")))
        .unwrap_or_else(|| panic!("{host} is not in:\n{}", answer.stdout))
}
