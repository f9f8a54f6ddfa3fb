use std::sync::OnceLock;

use chrono::TimeDelta;
use kchaos_core::FaultEvent;

use super::*;
use crate::report::fixture::{self, Variant};
use crate::report::{LatencyFile, RunData};

/// The report's made-up run, made once.
pub(crate) fn made_up(variant: Variant) -> RunData {
    static MADE_UP: OnceLock<[RunData; 3]> = OnceLock::new();
    let all = MADE_UP.get_or_init(|| [Variant::Valid, Variant::Invalid, Variant::Unknown].map(fixture::run));
    let mut data = all[variant as usize].clone();
    // Whatever it promised of time is the reports' matter.
    data.verdict.thresholds.clear();
    data.verdict.conclude(Vec::new());
    data
}

/// As a run writes it. It began when its directory's name says.
pub(crate) fn save(path: &Path, mut data: RunData) {
    fs::create_dir_all(path).unwrap();
    if let Some(started) = started_by_name(path) {
        data.plan.started_at = started.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        data.plan.started_at_unix_ns = u64::try_from(started.timestamp_nanos_opt().unwrap()).unwrap();
    }
    let lines =
        |events: &[FaultEvent]| events.iter().map(|event| format!("{}\n", serde_json::to_string(event).unwrap())).collect::<String>();
    let timeline: String = data.timeline.iter().map(|seen| format!("{}\n", serde_json::to_string(seen).unwrap())).collect();
    let latency = LatencyFile { recovery: data.verdict.recovery.phases.clone(), sizes: Vec::new(), latency: data.latency.clone() };
    for (name, text) in [
        ("plan.json", serde_json::to_string_pretty(&data.plan).unwrap()),
        ("verdict.json", serde_json::to_string_pretty(&data.verdict).unwrap()),
        ("latency.json", serde_json::to_string(&latency).unwrap()),
        ("faults.jsonl", lines(&data.faults)),
        ("timeline.jsonl", timeline),
        ("report.html", crate::report::html(&data)),
    ] {
        fs::write(path.join(name), text).unwrap();
    }
}

/// A results directory with one of each kind.
pub(crate) fn results() -> tempfile::TempDir {
    let results = tempfile::tempdir().unwrap();
    let at = |name: &str| {
        let path = results.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    };
    save(&at("20261121T064012Z-append-3-nemeses"), made_up(Variant::Valid));
    save(&at("20261122T064012Z-append-3-nemeses"), made_up(Variant::Invalid));
    save(&at("20261123T010000Z-suite-night/runs/20261123T010100Z-append-3-nemeses"), made_up(Variant::Unknown));
    let cut_off = at("20261123T020000Z-queue-none");
    fs::write(cut_off.join("plan.json"), r#"{"run_id":"x","workload":"queue","started_at_unix_ns":1795399200000000000}"#).unwrap();
    let half = at("20261123T030000Z-append-none");
    fs::write(half.join("plan.json"), r#"{"run_id":"y","workload":"app"#).unwrap();
    let half_verdict = at("20261123T040000Z-append-none");
    fs::write(half_verdict.join("plan.json"), r#"{"run_id":"z","workload":"append"}"#).unwrap();
    fs::write(half_verdict.join("verdict.json"), r#"{"valid":true,"sentence":"All"#).unwrap();
    let no_verdict = at("20261123T050000Z-append-none");
    fs::write(no_verdict.join("verdict.json"), "{}").unwrap();
    make_old(&at("20261123T060000Z-append-none"));
    make_old(&half);
    at("notes of somebody");
    std::os::unix::fs::symlink("20261122T064012Z-append-3-nemeses", results.path().join("latest")).unwrap();
    results
}

/// A directory that was made an hour ago is none that begins.
fn make_old(path: &Path) {
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3_600);
    fs::File::open(path).and_then(|file| file.set_modified(hour_ago)).unwrap();
}

#[test]
fn every_directory_is_shown_as_what_it_is() {
    let results = results();
    let runs = below(results.path()).unwrap();
    let told: Vec<String> = runs.iter().map(|run| format!("{}: {}: {}", run.id, run.verdict(), run.sentence())).collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_run_is_found_by_its_path_its_id_its_beginning_and_a_part_of_it() {
    let results = results();
    let meant = |named: &str| resolve(results.path(), named).map(|run| run.id).map_err(|failure| failure.to_string());
    let invalid = "20261122T064012Z-append-3-nemeses";
    assert_eq!(meant("latest").as_deref(), Ok(invalid));
    assert_eq!(meant(invalid).as_deref(), Ok(invalid));
    assert_eq!(meant("20261122").as_deref(), Ok(invalid));
    assert_eq!(meant("queue").as_deref(), Ok("20261123T020000Z-queue-none"));
    assert_eq!(meant("20261123T0101").as_deref(), Ok("20261123T010000Z-suite-night/runs/20261123T010100Z-append-3-nemeses"));
    assert!(meant("20261123").unwrap_err().contains("say more of its name"));
    assert!(meant("20271123").unwrap_err().contains("the nearest is 2026"));
}

#[test]
fn what_is_asked_for_is_what_is_shown() {
    let results = results();
    let runs = below(results.path()).unwrap();
    let count = |filter: Filter| runs.iter().filter(|run| filter.takes(run)).count();
    let words = |text: &str| vec![text.to_owned()];
    assert_eq!(count(Filter::default()), runs.len());
    assert_eq!(count(Filter { verdicts: words("invalid"), ..Filter::default() }), 1);
    assert_eq!(count(Filter { verdicts: words("broken"), ..Filter::default() }), 4);
    assert_eq!(count(Filter { verdicts: words("cut-off"), ..Filter::default() }), 1);
    assert_eq!(count(Filter { verdicts: words("failed"), ..Filter::default() }), runs.len() - 1);
    assert_eq!(count(Filter { workloads: words("queue"), ..Filter::default() }), 1);
    assert_eq!(count(Filter { nemeses: words("kill-leader"), ..Filter::default() }), 3);
    let newest = runs.iter().filter_map(|run| run.started).max();
    assert_eq!(count(Filter { since: newest, ..Filter::default() }), 1);
    assert_eq!(count(Filter { since: newest.map(|at| at + TimeDelta::seconds(1)), ..Filter::default() }), 0);
    assert!(nothing_matches(&runs).contains("cut-off"));
}

#[test]
fn a_directory_that_is_no_results_directory_is_named() {
    let error = below(Path::new("/nowhere/results")).unwrap_err().to_string();
    assert!(error.contains("/nowhere/results") && error.contains("--results"), "{error}");
}

#[test]
fn runs_are_a_table_and_one_by_itself() {
    let results = results();
    let mut runs = below(results.path()).unwrap();
    runs.iter_mut().for_each(|run| run.bytes = 48_123);
    insta::assert_snapshot!("table", table(&runs));
    let invalid = runs.iter().find(|run| run.verdict() == "invalid").unwrap();
    let shown = info(invalid, &[("plan.json".to_owned(), 4_000), ("logs/b1/server.log".to_owned(), 90_000)]);
    insta::assert_snapshot!("info", shown.replace(&results.path().display().to_string(), "results"));
}
