//! What the page shows of every anomaly, and pages to look at.

use std::fs;
use std::path::Path;

use kchaos_checkers::latency::Latency;
use kchaos_checkers::latency_series::Point;
use kchaos_checkers::recovery::{FaultRecovery, KeyRecovery, Recovery, RecoveryLimits};
use kchaos_checkers::recovery_windows::UnavailableWindow;
use kchaos_checkers::{ALL, CheckReport, Input, JudgeOptions, Reading, check};
use kchaos_core::{
    Evidence, Example, FaultEvent, Finding, Held, Interval, KeyEntry, LeaderSeen, LineOffset, LineRead, LineReader, Observation, Observed,
    OffsetLine, Outcome, Sent,
};

use super::*;
use crate::report::fixture::{self, Variant};

/// What `kchaos check` says of the anomaly's bad twin.
fn bad(anomaly: &str) -> CheckReport {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("checkers/histories").join(format!("{anomaly}.bad.jsonl"));
    let history = fs::read(path).unwrap();
    let open = || Ok(Box::new(history.as_slice()) as Input<'_>);
    check(open, Reading { name: anomaly, threads: 1 }, JudgeOptions::default()).unwrap()
}

fn anomalies() -> impl Iterator<Item = (&'static str, Finding)> {
    ALL.iter().flat_map(|spec| spec.anomalies).filter_map(|name| {
        let mut report = bad(name);
        Some((*name, report.anomalies.remove(*name).or_else(|| report.ignored.remove(*name))?))
    })
}

#[test]
fn whatever_names_a_partition_and_offsets_is_drawn_on_its_offset_line() {
    let data = RunData::default();
    let mut drawn = Vec::new();
    for (name, finding) in anomalies() {
        for example in &finding.examples {
            let html = offset_line::render(&data, name, example);
            let is_owed = example.key.is_some() && !example.offsets.is_empty();
            assert!(!is_owed || html.contains("<svg"), "{name}: {example:?}");
            if html.is_empty() {
                continue;
            }
            assert!(html.contains('▼'), "{name}: nothing is accused");
            assert!(!html.contains("NaN") && html.contains("role=\"img\""), "{name}");
            for offset in &example.offsets {
                assert!(html.contains(&format!("Offset {offset}: ")), "{name}: offset {offset} is not told");
            }
            drawn.push(name);
        }
    }
    // The heart of the matter must not fall out unseen.
    for name in [
        "lost-write",
        "duplicate",
        "inconsistent-offsets",
        "poll-skip",
        "reordered",
        "G1a",
        "phantom",
        "offset-regression",
        "commit-regression",
    ] {
        assert!(drawn.contains(&name), "{name} is not drawn: {drawn:?}");
    }
}

fn column(offset: i64, value: i64, op: u64, outcome: Outcome) -> LineOffset {
    LineOffset { offset, held: vec![Held { value, sent: Some(Sent { op, outcome }) }], ..LineOffset::default() }
}

#[test]
fn a_sign_stands_for_each_thing_that_may_be_known_of_an_offset() {
    let mut columns = vec![
        column(10, 1, 4, Outcome::Acknowledged),
        column(11, 2, 6, Outcome::Acknowledged),
        column(12, 3, 9, Outcome::Info),
        column(20, 4, 11, Outcome::Failed),
    ];
    (columns[1].accused, columns[3].gap) = (true, true);
    columns.push(LineOffset { offset: 21, ..LineOffset::default() });
    let read = |op, value, outcome| LineRead::Read { op, value, outcome };
    let cells = vec![
        read(5, 1, Outcome::Acknowledged),
        LineRead::Passed,
        read(12, 3, Outcome::Info),
        read(12, 4, Outcome::Failed),
        LineRead::Absent,
    ];
    let seen = |leader, leader_epoch, op| LeaderSeen { leader: Some(leader), leader_epoch, time_ns: op * 1_000_000, op };
    let line = OffsetLine { key: 0, columns, readers: vec![LineReader { process: 7, again: 1, cells }], more_readers: 0 };
    let evidence = Evidence { line: Some(line), leaders: vec![seen(1, 4, 0), seen(2, 5, 5)], ..Evidence::default() };
    let example = Example { key: Some(0), offsets: vec![11], evidence: Some(Box::new(evidence)), ..Example::default() };
    let html = offset_line::render(&RunData::default(), "lost-write", &example);
    for expected in [
        "▼ never read",
        "epoch 4",
        "broker 2, leader epoch 5",
        "✓ op 6",
        "? op 9",
        "✗ op 11",
        "nothing known",
        "⋯",
        "process 7 read, again",
        ">passed over<",
        ">read by a poll that failed<",
        ">read by a poll of unknown outcome<",
        "The log of key 0 from offset 10 to 21. Offset 11: value 2, acknowledged by op 6; process 7 passed over it.",
    ] {
        assert!(html.contains(expected), "{expected}\n{html}");
    }
}

#[test]
fn who_cannot_see_is_told_as_much() {
    let html = render(&fixture::run(Variant::Invalid));
    let count = |what: &str| html.matches(what).count();
    // Every section has its title. What holds of every page of ours stands in usable.rs.
    assert_eq!(count("<section id=\"") - 1, count("aria-labelledby="));
    for expected in ["lang=\"en\"", "<a class=\"skip\" href=\"#verdict\">", "<nav aria-label=\"Sections\">", "<main>", "<h1>"] {
        assert_eq!(count(expected), 1, "{expected}");
    }
    // What the script alone can do is not shown without it.
    assert!(html.contains("aria-label=\"Zoom of the timeline\" hidden>"));
    // Nothing is told by colour alone: each of these has a sign or a word of its own.
    for sign in ["✓", "✗", "▼", "▸", "passed over"] {
        assert!(html.contains(sign), "{sign}");
    }
}

/// A run with every anomaly that there is.
pub(super) fn every_anomaly() -> RunData {
    let mut every = fixture::run(Variant::Invalid);
    every.verdict.anomalies = anomalies().map(|(name, finding)| (name.to_owned(), finding)).collect();
    every
}

/// Half an hour with a fault every 20 s on a dozen partitions, and every anomaly that there is: more than any run so far.
fn half_an_hour() -> RunData {
    const FAULTS: u32 = 90;
    const EVERY_NS: u64 = 20_000_000_000;
    const PARTITIONS: i64 = 12;
    let small = fixture::run(Variant::Invalid);
    let mut data = small.clone();
    data.plan.keys = (0..PARTITIONS).map(|key| KeyEntry { key, partition: key as i32, ..small.plan.keys[0].clone() }).collect();
    for broker in 1..=3 {
        let settings = (0..250).map(|nth| (format!("some.setting.of.a.broker.number.{nth}"), format!("value-{nth}-{}", nth % 7 * broker)));
        data.plan.effective.insert(format!("broker {broker}"), settings.collect());
    }
    let points = small.latency.series.points.iter().cycle().take(1_800).enumerate();
    data.latency.series.points = points
        .map(|(at, point)| Point {
            ok: 5_000 + at as u64 % 97,
            info: at as u64 % 3,
            unseen: at as u64 * 37 % 911,
            unseen_age_ns: 1_000_000 + at as u64 * 7_919,
            ..*point
        })
        .collect();
    (data.faults, data.timeline) = (Vec::new(), Vec::new());
    data.verdict.recovery.faults.clear();
    data.verdict.recovery.unavailable.windows.clear();
    for nth in 0..FAULTS {
        let at_ns = u64::from(nth) * EVERY_NS;
        let moved = |when: Interval| Interval {
            after_ns: at_ns + when.after_ns % EVERY_NS,
            before_ns: at_ns + when.after_ns % EVERY_NS + 80_000_000,
        };
        for event in small.faults.iter().filter(|event| event.fault_id == nth % 3 + 1) {
            data.faults.push(FaultEvent { fault_id: nth + 1, when: moved(event.when), ..event.clone() });
        }
        let fault = &small.verdict.recovery.faults[nth as usize % 3];
        let keys = (0..PARTITIONS / 3).map(|third| KeyRecovery { key: third * 3 + i64::from(nth % 3), ..fault.keys[0].clone() });
        data.verdict.recovery.faults.push(FaultRecovery { fault_id: nth + 1, keys: keys.collect(), ..fault.clone() });
        for key in 0..PARTITIONS {
            let state = |after_ms: u64, leader, epoch: i32, isr: &[i32]| Observation {
                when: Interval { after_ns: at_ns + after_ms * 1_000_000, before_ns: at_ns + (after_ms + 20) * 1_000_000 },
                source: "zookeeper:b1".into(),
                what: Observed::PartitionState { key, leader, leader_epoch: epoch, isr: isr.to_vec(), controller_epoch: 1 },
            };
            let epoch = 2 * nth as i32;
            data.timeline.extend([
                state(2_000, None, epoch, &[1]),
                state(8_000, Some(nth as i32 % 3 + 1), epoch + 1, &[1, 2]),
                state(14_000, Some(nth as i32 % 3 + 1), epoch + 1, &[1, 2, 3]),
            ]);
            let window = &small.verdict.recovery.unavailable.windows[0];
            data.verdict.recovery.unavailable.windows.push(UnavailableWindow {
                key,
                from_ns: at_ns + 2_000_000_000,
                to_ns: at_ns + 9_000_000_000,
                ..window.clone()
            });
        }
    }
    data.verdict.anomalies = anomalies().map(|(name, finding)| (name.to_owned(), finding)).collect();
    data
}

#[test]
fn a_report_of_half_an_hour_stays_under_two_megabytes() {
    let data = half_an_hour();
    let began = std::time::Instant::now();
    let html = render(&data);
    // Rendered without optimisation, on a machine that may be busy: what is promised is five seconds in a release.
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    assert!(html.len() < 2_000_000, "{} bytes", html.len());
    assert!(html.matches("class=\"hit").count() >= 90, "every fault is in the strips of the hosts");
}

/// A run's data with what this version measures of it, be the run older.
fn measured_again(run: &Path) -> RunData {
    let mut data = RunData::load(run).unwrap();
    let (mut recovery, mut latency) = (Recovery::new(RecoveryLimits::default()), Latency::new(0));
    data.faults.iter().for_each(|event| recovery.fault(event));
    data.timeline.iter().for_each(|observation| recovery.observation(observation));
    let history = fs::File::open(run.join("history.jsonl.zst")).unwrap();
    kchaos_checkers::read(Box::new(history), Reading { name: "history", threads: 1 }, |op| {
        recovery.op(op);
        latency.op(op);
    })
    .unwrap();
    (data.verdict.recovery, data.latency) = (recovery.finish().0, latency.finish().0);
    data
}

/// `cargo test --bin kchaos -- --ignored pages_to_look_at` writes them to `target/reports`; those of real runs too, whose directories `KCHAOS_RUNS`
/// names (separated as a PATH is).
#[test]
#[ignore = "writes pages for people to look at"]
fn pages_to_look_at() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/reports");
    fs::create_dir_all(&directory).unwrap();
    let write = |name: &str, data: &RunData| fs::write(directory.join(format!("{name}.html")), render(data)).unwrap();
    for (name, variant) in [("valid", Variant::Valid), ("invalid", Variant::Invalid), ("unknown", Variant::Unknown)] {
        write(name, &fixture::run(variant));
    }
    write("anomalies", &every_anomaly());
    write("half-an-hour", &half_an_hour());
    let runs = std::env::var_os("KCHAOS_RUNS").unwrap_or_default();
    for run in std::env::split_paths(&runs).filter(|run| run.is_dir()) {
        write(&run.file_name().unwrap().to_string_lossy(), &measured_again(&run));
    }
}
