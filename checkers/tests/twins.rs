//! Every anomaly in the registry has a bad history and a good twin, one line apart.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;

use common::{judge, summary};
use kchaos_checkers::{ALL, CheckReport, Input, JudgeOptions, Reading, check, read_ops};
use kchaos_columns::Writer;

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

/// What is said of a history read as lines, and as columns.
fn from_lines_and_columns(name: &str, history: &str) -> [CheckReport; 2] {
    let (mut lines, mut writer) = (String::new(), Writer::new(Vec::new()).unwrap());
    let mut index = 0;
    read_ops(history.as_bytes(), name, |op| {
        // Columns have no gaps.
        let op = kchaos_core::Op { index, ..op.clone() };
        index += 1;
        op.write_json(&mut lines);
        lines.push('\n');
        writer.write(&op).unwrap();
    })
    .unwrap();
    let columns = writer.finish().unwrap();
    [lines.as_bytes(), &columns].map(|bytes| {
        let open = || -> std::io::Result<Input<'_>> { Ok(Box::new(bytes)) };
        check(open, Reading { name, threads: 1 }, JudgeOptions::default()).unwrap()
    })
}

#[test]
fn twins_say_the_same_from_lines_and_from_columns() {
    for (anomaly, kind) in anomalies().flat_map(|anomaly| ["bad", "good"].map(|kind| (anomaly, kind))) {
        let [lines, columns] = from_lines_and_columns(anomaly, &read(anomaly, kind));
        assert_eq!(lines, columns, "{anomaly}, {kind}");
    }
}

#[test]
fn a_group_that_a_member_names_beside_its_polls_alone_is_known_from_columns_too() {
    let sent = "{\"process\":0,\"type\":\"invoke\",\"f\":\"send\",\"value\":[[\"send\",0,1]]}\n\
                {\"process\":0,\"type\":\"ok\",\"f\":\"send\",\"value\":[[\"send\",0,[0,1]]]}\n";
    let member = |process: u32, named: &str| {
        let op = |how: &str, rest: &str| format!("{{\"process\":{process},\"type\":\"{how}\",{rest}}}\n");
        let subscribe = format!("\"f\":\"subscribe\",\"value\":[0]{named}");
        op("invoke", &subscribe)
            + &op("ok", &subscribe)
            + &op("invoke", "\"f\":\"poll\",\"value\":[[\"poll\"]],\"group\":\"g\"")
            + &op("ok", "\"f\":\"poll\",\"value\":[[\"poll\",{\"0\":[[0,1]]}]],\"group\":\"g\"")
    };
    let history = sent.to_owned() + &member(1, ",\"group\":\"g\"") + &member(2, "");
    let [lines, columns] = from_lines_and_columns("group", &history);
    assert_eq!(lines.ignored.keys().collect::<Vec<_>>(), ["redelivered"]);
    assert_eq!(lines, columns);
}
