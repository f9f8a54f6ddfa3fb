//! Settled transactions are forgotten, and nothing may depend on it: a judge that forgets as soon as it may (and reads again for its evidence)
//! gives word for word the report of one that keeps everything, on clean transactional histories and on such with every anomaly.

use kchaos_checkers::{CheckReport, FinalRead, Input, Judge, JudgeOptions, Reading, check, read_ops};
use kchaos_synth::{INJECTABLE, Injection, Options, Synth, Workload};
use proptest::prelude::*;

fn options() -> JudgeOptions {
    JudgeOptions { final_read: FinalRead::Complete, ..JudgeOptions::default() }
}

fn told(judge: &mut Judge, history: &str) {
    read_ops(history.as_bytes(), "settling", |op| judge.update(op)).unwrap();
}

fn ended(mut judge: Judge, history: &str) -> CheckReport {
    told(&mut judge, history);
    let mut report = judge.finish_reading_again(|judge| {
        told(judge, history);
        Ok::<_, String>(())
    });
    report.add_evidence(|each| read_ops(history.as_bytes(), "settling", each).map(drop));
    report
}

fn checked(history: &str, threads: usize) -> CheckReport {
    let open = || -> std::io::Result<Input<'_>> { Ok(Box::new(history.as_bytes())) };
    check(open, Reading { name: "settling", threads }, options()).unwrap()
}

/// Compared as text, line by line: reports are long.
fn same(one: &CheckReport, other: &CheckReport) {
    let text = |report: &CheckReport| serde_json::to_string_pretty(report).unwrap();
    let (one, other) = (text(one), text(other));
    for (line, (one, other)) in one.lines().zip(other.lines()).enumerate() {
        assert_eq!(one, other, "line {line} of the report");
    }
    assert_eq!(one.lines().count(), other.lines().count());
}

fn synth(options: Options) -> Option<String> {
    let mut text = Vec::new();
    Synth::new(options).ok()?.write(&mut text).unwrap();
    Some(String::from_utf8(text).unwrap())
}

fn injectable() -> Vec<&'static str> {
    INJECTABLE.iter().filter(|one| one.workloads.contains(&Workload::Transactions)).map(|one| one.name).collect()
}

fn shape(sends: u64, keys: u32, batch: u32, seed: u64, rare: f64) -> Options {
    Options {
        workload: Workload::Transactions,
        sends,
        keys,
        batch,
        seed,
        info: rare,
        fail: rare,
        no_offset: rare,
        failed_polls: rare,
        ..Options::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn forgetting_changes_no_word_of_a_report(
        sends in 1_000..4_000_u64, seed in any::<u64>(), keys in 1..4_u32, batch in 1..4_u32,
        rare in prop::sample::select(vec![0.0, 0.001, 0.03]), holes in prop::sample::select(vec![0.0, 0.1]),
        injections in prop::collection::vec((prop::sample::select(injectable()), 0..100_u32), 0..4), threads in 1..3_usize,
    ) {
        let injections = injections.iter().filter_map(|(name, percent)| format!("{name}@0.{percent:02}").parse::<Injection>().ok());
        let options_of = Options { holes, injections: injections.collect(), ..shape(sends, keys, batch, seed, rare) };
        if let Some(history) = synth(options_of) {
            let kept = ended(Judge::without_packing(options()), &history);
            same(&ended(Judge::forgetful(options()), &history), &kept);
            same(&checked(&history, threads), &kept);
        }
    }
}

#[test]
fn every_anomaly_is_told_alike_whether_transactions_are_forgotten_or_not() {
    for name in injectable() {
        for place in ["0.1", "0.9"] {
            let injections = vec![format!("{name}@{place}").parse::<Injection>().unwrap()];
            let history = synth(Options { injections, ..shape(1_500, 2, 1, 3, 0.001) }).unwrap();
            let kept = ended(Judge::without_packing(options()), &history);
            assert!(kept.anomalies.contains_key(name) || kept.ignored.contains_key(name), "{name}: {:?}", kept.anomalies.keys());
            same(&ended(Judge::forgetful(options()), &history), &kept);
        }
    }
}

#[test]
fn a_clean_history_needs_no_second_pass() {
    for (seed, rare) in [(1, 0.0), (2, 0.001), (3, 0.02)] {
        let history = synth(shape(6_000, 3, 1, seed, rare)).unwrap();
        let mut judge = Judge::forgetful(options());
        told(&mut judge, &history);
        let report = judge.finish_reading_again(|_| Err("a second pass was asked for"));
        assert_eq!((report.anomalies.len(), report.notes.len()), (0, 0), "{:?} {:?}", report.anomalies.keys(), report.notes);
    }
}
