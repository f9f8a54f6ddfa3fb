//! kchaos is killed in the middle of a run, and another ends the run for it.

use crate::lab::Lab;
use crate::run::{a_run_with, kchaos};

#[test]
#[ignore = "needs root and the lab"]
fn a_run_whose_kchaos_was_killed_is_concluded_by_another_and_nothing_acknowledged_is_lost() {
    let lab = Lab::that_is_whole();
    let before = lab.footprint();
    let trouble = ["--faults", "3", "--nemesis-interval", "1s", "--nemesis-duration", "8s", "--lease", "10s"];
    let load = ["--workload", "soak", "--soak-mix", "append,queue,transactions", "--rate", "600", "--txn-timeout", "10s"];
    let mut run = a_run_with("kill-leader", &trouble).and(&load).start();
    run.until_a_fault_is_in_force();
    let killed = run.killed();
    let directory = &killed.directory;
    assert!(!directory.join("verdict.json").exists());

    let path = directory.to_str().unwrap();
    let answer = kchaos(&["conclude", path, "--progress", "plain"]).run();
    // Whether writes came back after the fault that was under way is not known: nobody wrote any more.
    assert!([0, 2].contains(&answer.code), "{}{}", answer.stdout, answer.stderr);
    let verdict: serde_json::Value = serde_json::from_slice(&std::fs::read(directory.join("verdict.json")).unwrap()).unwrap();
    assert_eq!(verdict["anomalies"], serde_json::json!({}), "{verdict:#}");
    let reasons: Vec<&str> = verdict["reasons"].as_array().unwrap().iter().filter_map(|reason| reason["name"].as_str()).collect();
    assert!(reasons.iter().all(|name| *name == "not-recovered-yet"), "all was read to its end: {reasons:?}");
    assert!(directory.join("report.html").exists());
    let offline = kchaos(&["check", path, "--format", "json"]).run();
    let offline: serde_json::Value = serde_json::from_str(&offline.stdout).unwrap();
    assert_eq!(offline["anomalies"], verdict["anomalies"]);
    assert_eq!(offline["ops"], verdict["ops"]);

    assert_eq!(kchaos(&["conclude", path]).run().code, 254, "it has its verdict");
    assert_eq!(lab.footprint(), before, "the hosts are as before");
    Lab::that_is_whole();
}
