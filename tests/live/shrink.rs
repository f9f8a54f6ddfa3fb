//! A run that failed, made smaller by runs of its own.

use std::fs;

use serde_json::Value;

use crate::lab::Lab;
use crate::run::{a_run_with, kchaos};

#[test]
#[ignore = "needs root and the lab"]
fn a_run_that_lost_writes_is_shrunk_to_the_fault_that_lost_them() {
    Lab::that_is_whole();
    let load =
        ["--acks", "1", "--idempotence", "false", "--faults", "2", "--nemesis-interval", "1s", "--nemesis-duration", "9s", "--seed", "5"];
    let run = a_run_with("deposed-leader,pause-zk-follower", &load).finish().ends_with(1);
    let directory = run.directory.to_str().expect("a path");
    let results = run.directory.join("smaller");
    let results = results.to_str().expect("a path");
    let told = kchaos(&["shrink", directory, "--dry-run"]).run();
    assert!(told.code == 0 && told.stdout.contains("no fault at all"), "{}{}", told.stdout, told.stderr);
    // No longer than it takes to leave a fault out: how short it may be is luck.
    let shrunk = kchaos(&["shrink", directory, "--tries", "1", "--budget", "100s", "--anomaly", "lost-write", "--format", "json"]);
    let shrunk = shrunk.and(&["--results", results]).run();
    assert_eq!(shrunk.code, 0, "{}", shrunk.stderr);
    let result: Value = serde_json::from_str(&shrunk.stdout).expect("shrink.json alone");
    let left = result["smallest"]["plan"]["faults"].as_array().expect("faults");
    assert!(left.iter().any(|fault| fault["nemesis"] == "deposed-leader"), "without it nothing is lost: {left:?}");
    for one in result["tries"].as_array().expect("tries") {
        let verdict = format!("{}/verdict.json", one["run"].as_str().expect("a directory"));
        let verdict: Value = serde_json::from_str(&fs::read_to_string(verdict).expect("a verdict")).expect("JSON");
        let fails = verdict["anomalies"].get("lost-write").is_some() && verdict["exit_code"] == 1;
        assert_eq!(one["came"] == "fails", fails, "{one}");
    }
    let plan = format!("{results}/latest-shrink/smallest.toml");
    let rehearsed = kchaos(&["plan", "--acks", "1", "--idempotence", "false", "--plan", &plan]).run();
    assert!(rehearsed.code == 0 && rehearsed.stdout.contains("deposed-leader"), "{}{}", rehearsed.stdout, rehearsed.stderr);
    println!("{}: {} of 2 faults left, {} tries in {} ms", result["sentence"], left.len(), result["tally"]["tries"], result["took_ms"]);
}
