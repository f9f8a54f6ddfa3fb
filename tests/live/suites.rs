//! A suite on a cluster that is there: what its steps find, what it leaves, and Ctrl-C while a fault is in force.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::Lab;
use crate::run::{Scratch, kchaos};

const STEPS: &str = r#"
name = "live"
description = "a leader is killed by hand"

[[step]]
do = "status"
expect = { brokers = 3, zookeepers = 3, controller = "any" }

[[step]]
do = "create-topic"
topic = "suite-live"
settings = { "min.insync.replicas" = 2 }

[[step]]
do = "produce"
topic = "suite-live"
value = "number {n}"

[[step]]
do = "fault"
name = "kill"
nemesis = "kill-leader"
topic = "suite-live"

[[step]]
do = "status"
name = "expired"
topics = ["suite-live"]
expect = { brokers = 2, leader = "other", isr = 2 }
within = "9s"

[[step]]
do = "produce"
topic = "suite-live"
value = "number {n}"

[[step]]
do = "consume"
topic = "suite-live"

[[step]]
do = "mend"

[[step]]
do = "status"
name = "whole"
topics = ["suite-live"]
expect = { brokers = 3, isr = "full" }
within = "30s"

[[step]]
do = "peek"
topic = "suite-live"
from = "-3"
"#;

/// The suite's directory, which is the only one there.
fn written(results: &Path) -> (Value, std::path::PathBuf) {
    let directory = results.join("latest-suite").canonicalize().expect("the suite left a directory");
    let text = fs::read_to_string(directory.join("suite.json")).expect("suite.json");
    (serde_json::from_str(&text).expect("suite.json is JSON"), directory)
}

/// Deletion is taken over by the controller, and takes its time.
fn until_its_topic_is_gone() {
    let deadline = Instant::now() + Duration::from_secs(60);
    while kchaos(&["status", "--format", "json"]).run().json()["partitions"].to_string().contains("suite-live") {
        assert!(Instant::now() < deadline, "the suite's topic is still there");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn suite_file(scratch: &Scratch, text: &str) -> String {
    let file = scratch.path().join("live.toml");
    fs::write(&file, text).expect("write the suite");
    file.display().to_string()
}

#[test]
#[ignore = "needs root and the lab"]
fn a_suite_kills_a_leader_by_hand_sees_another_in_time_and_leaves_nothing() {
    let lab = Lab::that_is_whole();
    let before = lab.footprint();
    let scratch = Scratch::new();
    let results = scratch.path().join("results");
    let (file, inventory) = (suite_file(&scratch, STEPS), lab.inventory.display().to_string());
    let results_text = results.display().to_string();
    let answer = kchaos(&["suite", &file, "--inventory", &inventory, "--results", &results_text]).run();
    assert_eq!(answer.code, 0, "{}{}", answer.stdout, answer.stderr);

    let (suite, directory) = written(&results);
    assert_eq!((&suite["verdict"], &suite["steps"].as_array().expect("steps").len().into()), (&"valid".into(), &Value::from(10)));
    let step =
        |name: &str| suite["steps"].as_array().and_then(|all| all.iter().find(|step| step["name"] == name)).cloned().unwrap_or_default();
    let expired_ms = step("expired")["facts"]["held_after_ms"].as_u64().expect("when it was so");
    assert!(expired_ms <= 9_000, "{expired_ms}");
    assert_eq!(step("consume")["facts"]["acknowledged"], 20);
    let peeked = fs::read_to_string(directory.join("steps/10-peek.txt")).expect("what peek printed");
    assert!(peeked.contains("\"number 20\"") && peeked.contains("\"key-20\"") && peeked.contains("producer"), "{peeked}");
    assert!(fs::read_to_string(directory.join("junit.xml")).expect("junit.xml").contains("tests=\"10\""));
    assert_eq!(lab.footprint(), before, "nothing is left on the hosts");
    until_its_topic_is_gone();
    println!("a suite killed a leader: {expired_ms} ms until another led, 20 of 20 records in their places");
}

#[test]
#[ignore = "needs root and the lab"]
fn ctrl_c_in_a_suite_mends_what_is_in_force() {
    let lab = Lab::that_is_whole();
    let scratch = Scratch::new();
    let results = scratch.path().join("results");
    // It would wait for minutes for what cannot come.
    let text = STEPS
        .replace("expect = { brokers = 2, leader = \"other\", isr = 2 }\nwithin = \"9s\"", "expect = { brokers = 7 }\nwithin = \"300s\"");
    let (file, inventory, results_text) = (suite_file(&scratch, &text), lab.inventory.display().to_string(), results.display().to_string());
    let going = kchaos(&["suite", &file, "--inventory", &inventory, "--results", &results_text]).start();
    let begun = Instant::now();
    while !results.join("latest-suite/steps/05-expired.txt").exists() {
        assert!(begun.elapsed() < Duration::from_secs(120), "the fault's step did not end");
        std::thread::sleep(Duration::from_millis(100));
    }
    going.signal(libc::SIGINT);
    let signalled = Instant::now();
    let answer = going.end_of_command();
    assert_eq!(answer.code, 4, "{}{}", answer.stdout, answer.stderr);
    let (suite, _) = written(&results);
    assert!(suite["sentence"].as_str().is_some_and(|text| text.contains("were not begun")), "{suite}");
    until_its_topic_is_gone();
    Lab::that_is_whole();
    println!("Ctrl-C in a suite: mended and written {:.1} s later", signalled.elapsed().as_secs_f64());
}

#[test]
#[ignore = "needs root and the lab"]
fn peek_shows_the_records_and_markers_of_a_run() {
    let _lab = Lab::that_is_whole();
    let run = crate::run::a_run_with("none", &["-w", "transactions", "--time-limit", "5s", "--keep-topic"]).finish().ends_with(0);
    let place = run.plan().keys.first().map(|entry| format!("{}:{}", entry.topic, entry.partition)).expect("a key");
    let all = kchaos(&["peek", &place, "--from", "earliest", "--count", "400", "--format", "json"]).run().json();
    let records = all["records"].as_array().expect("records");
    assert!(records.iter().any(|record| record["marker"] == "commit"), "{all}");
    let ours = records.iter().filter(|record| record["kchaos"]["is_intact"] == true && record["is_transactional"] == true).count();
    assert!(ours > 10, "{ours}");
    let shown = kchaos(&["peek", &place]).run();
    assert!(shown.stdout.contains("kchaos: key 0, value") && shown.stdout.contains("OFFSET"), "{}", shown.stdout);
    kchaos(&["peek", "nowhere-at-all:0"]).run().says(3, &["nowhere-at-all-0"]);
    println!("peek: {} records of a run with transactions, {ours} of them decoded", records.len());
}
