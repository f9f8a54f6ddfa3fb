//! Clients on hosts of the cluster: what they write is judged as what is written from here, nothing stays on the hosts, and the tool is not blind there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kchaos_core::{Body, OpType, Process};
use serde_json::Value;

use crate::lab::Lab;
use crate::run::{Finished, a_run_with, kchaos};

const HOSTS: &[&str] = &["zoo1", "zoo2"];
const THERE: &[&str] = &["--client-hosts", "zoo1,zoo2", "--faults", "1", "--nemesis-interval", "1s"];

#[test]
#[ignore = "needs root and the lab"]
fn clients_on_two_hosts_write_through_the_loss_of_a_leader_and_of_a_worker_and_leave_nothing() {
    let lab = Lab::that_is_whole();
    let before = lab.footprint();
    let mut run = a_run_with("kill-leader", THERE).start();
    run.until_a_fault_is_in_force();
    // One that writes; that one of those on the host does is known by its role alone.
    let pid = worker_on(&lab, "zoo1").last().cloned().expect("a worker runs on zoo1");
    lab.on("zoo1", &format!("kill -9 {pid}"));
    let run = run.finish().ends_with(0);
    run.stands_offline();
    assert_eq!(lab.footprint(), before, "something was left");
    HOSTS.iter().for_each(|host| assert!(worker_on(&lab, host).is_empty(), "a worker still runs on {host}"));

    let told = run.told();
    for host in HOSTS {
        assert!(told[*host].0 > 0, "no write was acknowledged through {host}: {told:?}");
    }
    let notes = run.verdict()["notes"].to_string();
    assert!(notes.contains("was lost on zoo1") && notes.contains("and replaced"), "{notes}");
    let (mut crashes, mut orphans) = (0, 0);
    let mut clocks: BTreeMap<String, Vec<(i64, i64)>> = BTreeMap::new();
    run.each_op(|op| match &op.body {
        Body::Crash if op.op_type == OpType::Info => crashes += 1,
        Body::Send(_) if op.error.as_deref().is_some_and(|error| error.contains("worker ended")) => {
            assert_eq!(op.op_type, OpType::Info, "what a dead worker had in hand is unknown");
            orphans += 1;
        }
        Body::Nemesis { f, value } if f == "client-clock" => {
            let of = |name: &str| value[name].as_i64().unwrap_or_else(|| panic!("{name}: {value}"));
            clocks.entry(value["host"].as_str().expect("a host").to_owned()).or_default().push((of("offset_ns"), of("bound_ns")));
        }
        _ => {}
    });
    assert!(crashes >= 1, "nobody was replaced");
    // All hosts of a lab are one machine, so both clocks are one, and the bounds must agree.
    let looks: Vec<(i64, i64)> = clocks.values().flatten().copied().collect();
    assert_eq!(clocks.keys().map(String::as_str).collect::<Vec<_>>(), HOSTS);
    for (one, bound) in &looks {
        for (other, other_bound) in &looks {
            assert!((one - other).abs() <= bound + other_bound, "one clock is told at {one} ± {bound} and {other} ± {other_bound} ns");
        }
    }
    println!(
        "clients on zoo1 and zoo2: {told:?} acknowledged and p99 in ms, {orphans} sends unknown by kill -9; {:.0} s",
        run.took.as_secs_f64()
    );
}

#[test]
#[ignore = "needs root and the lab"]
fn acks_1_under_a_deposed_leader_loses_writes_of_clients_on_hosts_too() {
    Lab::that_is_whole();
    // A deposed leader is cut from all hosts of the inventory; whom it still serves is a client on its own host.
    let there = ["--client-hosts", "kafka1,kafka2,kafka3", "--producers", "3", "--faults", "1", "--nemesis-interval", "1s"];
    let load = ["--acks", "1", "--idempotence", "false", "--seed", "20260703"];
    let run = a_run_with("deposed-leader", &there).and(&load).finish().ends_with(1);
    run.stands_offline();
    let (lost, unseen) = (run.count_of("lost-write"), run.count_of("unseen"));
    assert!(lost + unseen > 0, "{}", run.verdict()["anomalies"]);
    println!("acks=1 through client hosts: {lost} lost and {unseen} unseen of {}; {:.0} s", run.acknowledged(), run.took.as_secs_f64());
}

#[test]
#[ignore = "needs root and the lab"]
fn what_a_killed_run_left_of_its_clients_is_taken_away_by_heal() {
    let lab = Lab::that_is_whole();
    let before = lab.footprint();
    let mut run = a_run_with("pause-leader", THERE).and(&["--lease", "5s"]).start();
    run.until_a_fault_is_in_force();
    assert!(HOSTS.iter().all(|host| !worker_on(&lab, host).is_empty()));
    run.killed();
    let (since, limit) = (Instant::now(), Duration::from_secs(20));
    while HOSTS.iter().any(|host| !worker_on(&lab, host).is_empty()) {
        assert!(since.elapsed() < limit, "a worker outlives kchaos by more than {limit:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    let ended = since.elapsed();
    let healed = kchaos(&["heal", "--break-locks"]).run();
    assert_eq!(healed.code, 0, "{}{}", healed.stdout, healed.stderr);
    assert!(healed.stdout.contains("clients of a run"), "{}", healed.stdout);
    assert_eq!(lab.footprint(), before, "something was left");
    println!("kill -9 of kchaos: its workers ended within {:.1} s, and heal took their files away", ended.as_secs_f64());
}

#[test]
#[ignore = "needs root and the lab"]
fn a_host_that_is_not_there_is_a_usage_error_and_one_that_cannot_run_the_program_is_refused_before_anything_is_broken() {
    let lab = Lab::that_is_whole();
    let wrong = a_run_with("kill-leader", &["--client-hosts", "zoo1,zo2"]).run();
    wrong.says(254, &["the inventory has no host \"zo2\"", "did you mean \"zoo2\"?"]);
    let before = lab.footprint();
    lab.on("zoo2", "mount -t tmpfs -o noexec none /var/lib/kchaos");
    let refused = a_run_with("kill-leader", THERE).run();
    lab.on("zoo2", "umount /var/lib/kchaos");
    refused.says(3, &["clients cannot be had on zoo2", "does not run there"]);
    assert_eq!(lab.footprint(), before, "something was left");
}

/// Pids, in the order in which they were started.
fn worker_on(lab: &Lab, host: &str) -> Vec<String> {
    let script =
        "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null | grep -q '/kchaos worker $' && echo ${p#/proc/}; done; true";
    let mut pids: Vec<u64> = lab.on(host, script).lines().filter_map(|line| line.trim().parse().ok()).collect();
    pids.sort_unstable();
    pids.iter().map(u64::to_string).collect()
}

impl Finished {
    /// By host: writes acknowledged through it, and the 99th percentile of how long they took there, in milliseconds.
    fn told(&self) -> BTreeMap<String, (u64, f64)> {
        let mut told = BTreeMap::new();
        let mut hosts = BTreeSet::new();
        self.each_op(|op| {
            if let (Body::Nemesis { f, value }, Process::Nemesis) = (&op.body, op.process)
                && f == "client-latency"
            {
                let host = value["host"].as_str().expect("a host").to_owned();
                assert!(hosts.insert(host.clone()), "{host} is told twice");
                told.insert(host, (value["acked"].as_u64().expect("a count"), value["p99_ns"].as_f64().expect("a time") / 1e6));
            }
        });
        let notes = self.verdict()["notes"].as_array().cloned().unwrap_or_default();
        for host in &hosts {
            let is_told = |note: &Value| note.as_str().is_some_and(|note| note.starts_with(&format!("clients on {host}: ")));
            assert!(notes.iter().any(is_told), "{host} is not told in the notes");
        }
        told
    }
}
