//! Every anomaly in the registry has a bad history and a good twin, one line apart.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;

use common::{judge, summary};
use kchaos_checkers::{ALL, JudgeOptions};

/// What a bad history says, beside "invalid" and its own anomaly once. Everything else must say exactly that.
const ELSE: &[(&str, &str)] = &[
    // What everybody passed was not seen either, and nothing says that the final read was complete.
    ("lost-write", "invalid: lost-write 1, unseen 1; because: no-final-read"),
    ("torn-transaction", "invalid: lost-write 1, torn-transaction 1, unseen 1; because: no-final-read"),
    // A poll that leaves something out.
    ("G1b", "invalid: G1b 1, int-poll-skip 1"),
    // The harness's fault, not the cluster's.
    ("read-before-send", "unknown: read-before-send 1; because: read-before-send"),
    // Never promised.
    ("int-send-skip", "valid: ignored: int-send-skip 1"),
    ("G0", "valid: ignored: G0 1"),
    ("G0-process", "valid: ignored: G0-process 1"),
    ("G0-realtime", "valid: ignored: G0-realtime 1"),
    // Each consumer was given another value at one offset.
    ("inconsistent-offsets", "invalid: inconsistent-offsets 1, total-order-disagreement 1"),
    ("redelivered", "valid: ignored: redelivered 1"),
    ("stale-leader-ack", "valid: ignored: stale-leader-ack 1"),
];

fn read(anomaly: &str, kind: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("histories").join(format!("{anomaly}.{kind}.jsonl"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}: every anomaly needs its twins", path.display()))
}

fn anomalies() -> impl Iterator<Item = &'static str> {
    ALL.iter().flat_map(|spec| spec.anomalies).copied()
}

#[test]
fn a_bad_history_names_its_anomaly_and_its_good_twin_is_valid() {
    let others: BTreeMap<_, _> = ELSE.iter().copied().collect();
    for anomaly in anomalies() {
        let alone = format!("invalid: {anomaly} 1");
        let expected = others.get(anomaly).copied().unwrap_or(&alone);
        let report = judge(&read(anomaly, "bad"), JudgeOptions::default());
        assert_eq!(summary(&report), expected, "{anomaly}.bad\n{report:#?}");
        let good = judge(&read(anomaly, "good"), JudgeOptions::default());
        assert_eq!(summary(&good), "valid", "{anomaly}.good\n{good:#?}");
        let finding = report.anomalies.get(anomaly).or_else(|| report.ignored.get(anomaly)).unwrap();
        for example in &finding.examples {
            assert!(!example.ops.is_empty() && !example.explanation.is_empty(), "{anomaly}: every accusation cites its ops");
        }
    }
}

#[test]
fn twins_are_one_line_apart() {
    for anomaly in anomalies() {
        let (bad, good) = (read(anomaly, "bad"), read(anomaly, "good"));
        let different = bad.lines().zip(good.lines()).filter(|(bad, good)| bad != good).count();
        assert_eq!((different, bad.lines().count()), (1, good.lines().count()), "{anomaly}");
    }
}

#[test]
fn names_are_unique_and_no_twin_is_left_over() {
    let mut names: Vec<_> = anomalies().collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("histories");
    for entry in std::fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let anomaly = name.split('.').next().unwrap().to_owned();
        assert!(name == "README.md" || names.contains(&anomaly.as_str()), "{name} belongs to no anomaly");
    }
}
