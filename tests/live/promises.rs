//! The tool is not blind: unsafe producers are caught, and their safe twins are not accused. And what a run says, its directory says again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kchaos_core::{Body, OpType};
use serde_json::{Map, Value};

use crate::lab::Lab;
use crate::run::{Finished, a_run_with, kchaos};

/// Twins are told apart by their settings alone.
const SEED: &str = "20260703";
/// What only the run itself can know, and the history alone cannot tell.
const BEYOND_THE_HISTORY: &[&str] = &["unexpected-exit", "log-pattern", "config-reverted", "never-recovered"];

#[test]
#[ignore = "needs root and the lab"]
fn acks_1_with_a_deposed_leader_loses_writes_and_acks_all_does_not() {
    Lab::that_is_whole();
    let deposed =
        |more: &[&str]| a_run_with("deposed-leader", &["--faults", "1", "--nemesis-interval", "1s", "--seed", SEED]).and(more).finish();

    let unsafe_one = deposed(&["--acks", "1", "--idempotence", "false"]).ends_with(1);
    let lost = unsafe_one.count_of("lost-write");
    let is_truncated = unsafe_one.explanations("unseen").any(|text| text.contains("truncated"));
    assert!(lost > 0 || is_truncated, "{}", unsafe_one.verdict()["anomalies"]);
    let cited = unsafe_one.cites_ops_that_stand_in_the_evidence(if lost > 0 { "lost-write" } else { "unseen" });
    unsafe_one.stands_offline();

    let safe_one = deposed(&[]).ends_with(0);
    safe_one.stands_offline();
    println!(
        "deposed leader: acks=1 lost {lost} acknowledged writes ({cited} ops cited), acks=all lost none of {}; {:.0} s and {:.0} s",
        safe_one.acknowledged(),
        unsafe_one.took.as_secs_f64(),
        safe_one.took.as_secs_f64()
    );
}

#[test]
#[ignore = "needs root and the lab"]
fn a_paused_leader_gives_duplicates_without_idempotence_and_none_with_it() {
    Lab::that_is_whole();
    let load = ["-X", "socket.timeout.ms=1000", "--seed", SEED];
    let trouble = ["--faults", "3", "--nemesis-interval", "1s", "--nemesis-duration", "4s"];
    let paused = |more: &[&str]| a_run_with("pause-leader", &load).and(&trouble).and(more).finish();

    let unsafe_one = paused(&["--idempotence", "false"]).ends_with(1);
    let duplicates = unsafe_one.count_of("duplicate");
    assert!(duplicates > 0, "{}", unsafe_one.verdict()["anomalies"]);
    unsafe_one.cites_ops_that_stand_in_the_evidence("duplicate");
    unsafe_one.stands_offline();

    let safe_one = paused(&["--idempotence", "true"]).ends_with(0);
    safe_one.stands_offline();
    println!(
        "paused leader: {duplicates} duplicates without idempotence, none of {} with it; {:.0} s and {:.0} s",
        safe_one.acknowledged(),
        unsafe_one.took.as_secs_f64(),
        safe_one.took.as_secs_f64()
    );
}

#[test]
#[ignore = "needs root and the lab"]
fn a_run_s_directory_is_judged_and_drawn_again_and_the_status_is_json() {
    let lab = Lab::that_is_whole();
    // As users' producers are: in large compressed batches, of all sizes, most of them to one partition.
    let shape = ["-X", "compression.type=zstd", "-X", "linger.ms=20", "--value-bytes-max", "50000", "--hot-share", "0.8"];
    let run = a_run_with("none", &["--time-limit", "3s"]).and(&shape).finish().ends_with(0);
    run.stands_offline();
    let (hot_share, classes) = (run.share_of_the_busiest_key(), run.size_classes());
    assert!((0.75..0.85).contains(&hot_share), "the busiest partition got {hot_share:.2} of all sends");
    let sizes: Vec<u64> =
        classes.iter().filter(|class| class["ok"].as_u64() > Some(0)).filter_map(|class| class["up_to_bytes"].as_u64()).collect();
    assert_eq!(sizes, [1 << 10, 10 << 10, 100 << 10], "{classes:?}");

    let report = run.directory.join("report.html");
    std::fs::remove_file(&report).expect("remove report.html");
    let again = kchaos(&["report", path(&run.directory)]).run();
    assert_eq!(again.code, 0, "{}", again.stderr);
    let drawn = std::fs::read_to_string(&report).expect("report.html, written again");
    assert!(drawn.contains("acknowledged writes were read back"), "the verdict is in the report");

    let status = kchaos(&["status", "--format", "json"]).in_cluster(&lab.inventory).run();
    let view = status.json();
    assert_eq!(view["brokers"].as_object().map(Map::len), Some(3), "{view}");
    println!(
        "a quiet run: {} acknowledged, {hot_share:.2} of them at one partition, in {:.0} s; judged, drawn and shown again",
        run.acknowledged(),
        run.took.as_secs_f64()
    );
}

impl Finished {
    /// `kchaos check` of the directory finds the same, as far as the history alone can tell.
    pub(crate) fn stands_offline(&self) {
        let checked = kchaos(&["check", "--format", "json", path(&self.directory)]).run();
        let (online, offline) = (self.verdict(), checked.json());
        let told = |verdict: &Value| {
            let found = verdict["anomalies"].as_object().cloned().unwrap_or_default();
            found.into_iter().filter(|(name, _)| !BEYOND_THE_HISTORY.contains(&name.as_str())).collect::<Map<_, _>>()
        };
        assert_eq!(told(&online), told(&offline), "anomalies online and offline");
        assert_eq!(online["ops"], offline["ops"], "ops online and offline");
        let is_beyond = online["valid"] != true && told(&online).is_empty();
        assert!(is_beyond || online["valid"] == offline["valid"], "valid is {} online and {} offline", online["valid"], offline["valid"]);
        let code = if offline["valid"] == true { 0 } else { 1 };
        assert!(checked.code == code || offline["valid"] == "unknown", "exit {} for valid {}", checked.code, offline["valid"]);
    }

    fn share_of_the_busiest_key(&self) -> f64 {
        let mut sends: BTreeMap<i64, u64> = BTreeMap::new();
        self.each_op(|op| {
            if let (Body::Send(sent), OpType::Invoke) = (&op.body, op.op_type) {
                sent.iter().for_each(|send| *sends.entry(send.key).or_default() += 1);
            }
        });
        sends.values().max().map_or(0.0, |most| *most as f64 / sends.values().sum::<u64>() as f64)
    }

    /// How many ops an anomaly's first examples cite; the lines of each stand in the evidence.
    pub(crate) fn cites_ops_that_stand_in_the_evidence(&self, anomaly: &str) -> usize {
        let verdict = self.verdict();
        let evidence: BTreeSet<u64> = items(&verdict["evidence"]).filter_map(|line| line["index"].as_u64()).collect();
        let first = &verdict["anomalies"][anomaly]["examples"][0];
        let cited: Vec<u64> = items(&first["ops"]).filter_map(Value::as_u64).collect();
        assert!(!cited.is_empty(), "{anomaly} cites no ops: {first}");
        let missing: Vec<_> = cited.iter().take(12).filter(|op| !evidence.contains(op)).collect();
        assert!(missing.is_empty(), "{anomaly}: ops {missing:?} are not in the evidence: {first}");
        cited.len()
    }

    pub(crate) fn explanations(&self, anomaly: &str) -> impl Iterator<Item = String> {
        let examples = self.verdict()["anomalies"][anomaly]["examples"].as_array().cloned().unwrap_or_default();
        examples.into_iter().filter_map(|example| Some(example["explanation"].as_str()?.to_owned()))
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.verdict()["load"].as_object().map_or(0, |phases| phases.values().filter_map(|load| load["ok"].as_u64()).sum())
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("these paths are UTF-8")
}
