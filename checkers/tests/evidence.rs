//! What a person is shown of what was found.

mod common;

use std::path::PathBuf;

use common::{history, polled, sent};
use kchaos_checkers::{ALL, CheckReport, Input, JudgeOptions, Reading, render_text, render_text_of};
use kchaos_core::{Evidence, Example, LineRead, Outcome};

fn check(history: &str, threads: usize, examples: usize) -> CheckReport {
    let open = || Ok(Box::new(history.as_bytes()) as Input<'_>);
    let options = JudgeOptions { examples, ..JudgeOptions::default() };
    kchaos_checkers::check(open, Reading { name: "test", threads }, options).unwrap()
}

fn bad(anomaly: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("histories").join(format!("{anomaly}.bad.jsonl"));
    std::fs::read_to_string(path).unwrap()
}

fn text_of(history: &str) -> String {
    render_text(&check(history, 1, 8))
}

fn first<'a>(report: &'a CheckReport, anomaly: &str) -> (&'a Example, &'a Evidence) {
    let example = &report.anomalies[anomaly].examples[0];
    (example, example.evidence.as_deref().unwrap())
}

/// Sixteen values and two readers; one poll of process 2 leaves out the value 8.
fn with_a_skip(base: i64) -> String {
    let sends: String = (0..16).map(|n| sent(n, base + n)).collect();
    let records = |range: &mut dyn Iterator<Item = i64>| range.map(|n| format!("[{},{n}]", base + n)).collect::<Vec<_>>().join(",");
    sends + &polled(1, &records(&mut (0..16))) + &polled(2, &records(&mut (0..8))) + &polled(2, &records(&mut (9..16)))
}

#[test]
fn each_family_reads_well() {
    for anomaly in [
        "lost-write",
        "duplicate",
        "reordered",
        "poll-skip",
        "dirty-read",
        "G1c",
        "nonlinearizable",
        "inconsistent-offsets",
        "phantom",
        "G1a",
    ] {
        insta::assert_snapshot!(anomaly, text_of(&bad(anomaly)));
    }
    insta::assert_snapshot!("a_poll_that_passes_over_a_value", text_of(&history(&with_a_skip(1_000_000_000_000))));
}

#[test]
fn every_anomaly_shows_its_cited_ops_and_marks_them() {
    for anomaly in ALL.iter().flat_map(|spec| spec.anomalies) {
        let report = check(&bad(anomaly), 1, 8);
        for (name, finding) in &report.anomalies {
            for example in &finding.examples {
                let evidence = example.evidence.as_deref().unwrap_or_else(|| panic!("{name} of {anomaly}"));
                let cited: Vec<u64> = evidence.ops.iter().filter(|op| op.cited).map(|op| op.index).collect();
                assert_eq!(cited, example.ops, "{name} of {anomaly}");
                assert!(evidence.ops.is_sorted_by_key(|op| op.index), "{name} of {anomaly}");
                let accused = evidence.line.iter().flat_map(|line| &line.columns).filter(|column| column.accused);
                let accused: Vec<i64> = accused.map(|column| column.offset).collect();
                assert!(evidence.line.is_none() || example.offsets.iter().all(|offset| accused.contains(offset)), "{name} of {anomaly}");
            }
        }
        let text = render_text(&report);
        let drawn = text.lines().filter(|line| line.starts_with("    "));
        assert!(drawn.clone().all(|line| line.chars().count() <= 100), "{anomaly}\n{text}");
    }
}

#[test]
fn a_reader_that_passed_over_a_value_is_marked_and_who_sent_it_is_named() {
    for base in [0, 1_000_000_000_000, i64::MAX - 40] {
        let report = check(&history(&with_a_skip(base)), 1, 8);
        let (_, evidence) = first(&report, "poll-skip");
        let line = evidence.line.as_ref().unwrap();
        let at = line.columns.iter().position(|column| column.offset == base + 8).unwrap();
        let sent = line.columns[at].held[0].sent.unwrap();
        assert_eq!((line.columns[at].held[0].value, sent.op, sent.outcome), (8, 17, Outcome::Acknowledged));
        let cells: Vec<_> = line.readers.iter().map(|reader| (reader.process, reader.again, reader.cells[at])).collect();
        let read = LineRead::Read { op: 33, value: 8, outcome: Outcome::Acknowledged };
        assert_eq!(cells, [(1, 0, read), (2, 0, LineRead::Passed)]);
    }
}

#[test]
fn who_led_between_the_cited_ops_is_told_and_only_if_it_changed() {
    // The only difference is when the second leader was seen: among the ops that the example cites, or after them.
    let first_leader = "nemesis info leader-epochs {\"0\":{\"leader\":1,\"leader_epoch\":4}}\n";
    let second_leader = "nemesis info leader-epochs {\"0\":{\"leader\":2,\"leader_epoch\":5},\"1\":{\"leader\":3,\"leader_epoch\":9}}\n";
    let read = polled(1, "[0,0],[2,2]");
    for (meanwhile, after, expected) in [(second_leader, "", &[(Some(1), 4), (Some(2), 5)][..]), ("", second_leader, &[])] {
        let sends: String = (0..3).map(|n| sent(n, n)).collect();
        let report = check(&history(&format!("{first_leader}{sends}{meanwhile}{read}{after}")), 1, 8);
        let (_, evidence) = first(&report, "lost-write");
        let leaders: Vec<_> = evidence.leaders.iter().map(|seen| (seen.leader, seen.leader_epoch)).collect();
        assert_eq!(leaders, expected);
        let text = render_text(&report);
        assert_eq!(text.contains("broker 2, leader epoch 5, seen at"), !expected.is_empty(), "{text}");
    }
}

#[test]
fn a_value_without_an_acknowledgement_has_its_sender_all_the_same() {
    let lines = r#"
        0 invoke send [["send",0,1]]
        0 info send [["send",0,[null,1]]]
        3 invoke send [["send",0,2]]
        4 invoke send [["send",0,3]]
        4 fail send [["send",0,[null,3]]]
        1 invoke poll [["poll"]]
        1 ok poll [["poll",{"0":[[5,1],[6,2],[7,3],[8,4]]}]]
    "#;
    let report = check(&history(lines), 1, 8);
    let (_, evidence) = first(&report, "phantom");
    let columns = &evidence.line.as_ref().unwrap().columns;
    let senders: Vec<_> = columns.iter().map(|column| column.held[0].sent.map(|sent| (sent.op, sent.outcome))).collect();
    assert_eq!(senders, [Some((1, Outcome::Info)), Some((2, Outcome::Open)), Some((4, Outcome::Failed)), None]);
}

#[test]
fn a_reader_that_goes_back_is_a_reader_anew_and_one_that_subscribes_loses_its_place() {
    let sends: String = (0..6).map(|n| sent(n, n)).collect();
    let reads = polled(1, "[0,0],[1,1],[2,2]") + &polled(1, "[1,1],[2,2],[3,3]");
    let report = check(&history(&(sends.clone() + &reads)), 1, 8);
    let (_, evidence) = first(&report, "nonmonotonic-poll");
    let readers: Vec<_> = evidence.line.as_ref().unwrap().readers.iter().map(|reader| (reader.process, reader.again)).collect();
    assert_eq!(readers, [(1, 0), (1, 1)]);

    let reads = polled(1, "[0,0]") + "1 ok subscribe [0]\n" + &polled(1, "[5,5]") + &polled(2, "[2,2],[1,1]");
    let report = check(&history(&(sends + &reads)), 1, 8);
    let (_, evidence) = first(&report, "int-nonmonotonic-poll");
    let line = evidence.line.as_ref().unwrap();
    let passed = line.readers.iter().filter(|reader| reader.process == 1).flat_map(|reader| &reader.cells);
    assert!(passed.clone().all(|cell| *cell != LineRead::Passed), "{line:#?}");
}

#[test]
fn all_examples_are_shown_if_asked_for_and_counts_are_always_of_all() {
    let sends: String = (0..30).map(|n| sent(n, n)).collect();
    let records = (0..30).filter(|n| n % 3 != 1).map(|n| format!("[{n},{n}]")).collect::<Vec<_>>().join(",");
    let history = history(&(sends + &polled(1, &records)));
    for (examples, kept) in [(8, 8), (2, 2), (usize::MAX, 10), (0, 0)] {
        let report = check(&history, 1, examples);
        let lost = &report.anomalies["lost-write"];
        assert_eq!((lost.count, lost.examples.len()), (10, kept));
        assert!(lost.examples.iter().all(|example| example.evidence.is_some()));
        let drawn = |text: &str| text.matches("sent by op").count();
        assert_eq!(
            drawn(&render_text_of(&report, examples)),
            report.anomalies.values().map(|finding| finding.examples.len()).sum::<usize>()
        );
        assert!(drawn(&render_text(&report)) <= 3 * report.anomalies.len());
    }
}

#[test]
fn the_evidence_does_not_depend_on_the_threads_and_survives_its_json() {
    for anomaly in ALL.iter().flat_map(|spec| spec.anomalies) {
        let history = bad(anomaly);
        let one = check(&history, 1, 8);
        assert_eq!(one, check(&history, 8, 8), "{anomaly}");
        let json = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<CheckReport>(&json).unwrap(), one, "{anomaly}");
    }
}

#[test]
fn a_clean_history_is_read_once_and_one_that_cannot_be_read_again_keeps_its_verdict() {
    let clean = history(&(sent(1, 0) + &polled(1, "[0,1]")));
    for (history, times, valid) in [(clean, 1, true), (bad("duplicate"), 2, false)] {
        let mut opened = 0;
        let open = || {
            opened += 1;
            if opened == 1 { Ok(Box::new(history.as_bytes()) as Input<'_>) } else { Err(std::io::Error::other("gone")) }
        };
        let report = kchaos_checkers::check(open, Reading { name: "test", threads: 1 }, JudgeOptions::default()).unwrap();
        assert_eq!((opened, report.anomalies.is_empty(), report.notes.len()), (times, valid, times - 1));
        assert!(report.notes.iter().all(|note| note.contains("could not be read again: test: cannot be read")), "{:?}", report.notes);
    }
}
