//! docs/anomalies.md: each anomaly with what it means, what it takes to prove it, and the smallest history that shows it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kchaos_checkers::{CheckReport, JudgeOptions, check_reader};
use kchaos_core::{REASONS, Validity};

use super::{cell, hold, read, root};
use crate::report::anomalies::{ANOMALIES, Anomaly};
use crate::report::words;
use crate::selftest::record;

/// Why a verdict is *unknown*.
const WHY_UNKNOWN: &[(&str, &str)] = &[
    ("checker-failed", "A checker failed on this history: a bug of kchaos. What the others found stands."),
    ("group-behind", "A consumer group did not come to the end of its partitions in the time that it was given."),
    ("history-truncated", "The history's end was cut off."),
    ("needs-second-pass", "The history would have to be read again, and could not be."),
    ("no-effect", "A fault was issued and not proved to be in force, or none was tried."),
    ("no-final-read", "Acknowledged values were not read, and nothing proves that the final reads were complete."),
    ("not-looked-at", "Something that the run was to look at in the end could not be looked at."),
    ("not-recovered-yet", "A partition was not back when the run ended, and not for long enough to be `never-recovered`."),
    ("nothing-acknowledged", "No write was acknowledged where some had to be: before the trouble, in it, or after."),
    ("nothing-compacted", "A topic was to be compacted, and nothing shows that it ever was."),
    ("orderer-behind", "An orderer did not come to the end of its channels."),
    ("read-before-send", "A value was read before it was sent: the harness is wrong."),
    ("search-exhausted", "The search for a legal order of registers came to the end of its budget."),
    ("step-not-done", "A step of a plan was not done, or was not seen to be."),
    ("unknown-beginning", "Where a group began is not known, so what it owes is not."),
    ("unknown-outputs", "Whether an input has a committed output is not known."),
    ("values-not-unique", "A value was sent twice by the harness: nothing can be proved of it."),
];

/// Verdicts of the run rather than of a checker.
const OF_RUNS: &[&str] = &["never-recovered", "unexpected-exit", "log-pattern"];

const HEAD: &str = "\
# Anomalies

What kchaos may find, each with what it means, what it takes to prove it, and the smallest history that shows it. The worst come first. Names are the field's own (Jepsen's, Adya's) where it has one. `kchaos list checkers` shows
the checkers, `kchaos check FILE` holds any history against them ([history.md](history.md)), and in a report each finding cites its ops by index.

**Verdicts.** *invalid*: it is proved, and the profile in force does not allow it. *ignored*: it is shown and counted, and Kafka never promised otherwise, or the run's own settings give it away. *unknown*: nothing is proved. One
proved violation outranks everything else.

**What an op proves.** *ok*: it took effect. *fail*: it certainly did not. *info*: nobody knows, and it may take effect later ([errors.md](errors.md)). A value is *acknowledged* when its send was ok, and *read* when a
successful poll returned it.

**Seen** tells on how many of it a run of the [known-bad corpus](known-bad.md) came to the last time, on a real cluster. Where that line is missing, no case of the corpus brings it about.

";

fn names() -> Vec<&'static str> {
    kchaos_checkers::ALL.iter().flat_map(|spec| spec.anomalies).copied().chain(OF_RUNS.iter().copied()).collect()
}

fn judged(history: &str) -> CheckReport {
    check_reader(history.as_bytes(), "the smallest history", JudgeOptions::default()).expect("a history")
}

/// By anomaly, the cases of the corpus whose last bad run showed it: case, version, how many.
fn seen() -> BTreeMap<String, Vec<String>> {
    let records = record::read(&root().join("docs/known-bad.jsonl")).unwrap_or_else(|failure| panic!("{:#}", failure.error));
    let mut last = BTreeMap::new();
    for record in records.into_iter().filter(|record| record.form == "bad" && !record.found.is_empty()) {
        last.insert(record.case.clone(), record);
    }
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in last.values() {
        for (name, count) in &record.found {
            seen.entry(name.clone()).or_default().push(format!("{} in `{}` (Kafka {})", words::count(*count), record.case, record.kafka));
        }
    }
    seen
}

fn page() -> String {
    let (seen, mut text) = (seen(), HEAD.to_owned());
    let mut of_page: Vec<_> = ANOMALIES.iter().filter(|anomaly| names().contains(&anomaly.name)).collect();
    of_page.sort_by_key(|anomaly| words::gravity(anomaly.name));
    text.push_str("| anomaly | verdict | in a sentence |\n|---|---|---|\n");
    for anomaly in &of_page {
        let anchor = anomaly.name.to_lowercase();
        let _ = writeln!(text, "| [`{}`](#{anchor}) | {} | {} |", anomaly.name, verdict(anomaly.name), cell(anomaly.meaning));
    }
    for anomaly in of_page {
        section(&mut text, anomaly, seen.get(anomaly.name).map_or(&[][..], Vec::as_slice));
    }
    text.push_str("\n## Why a verdict is unknown\n\nThese are reasons, no accusations. A violation that is proved beside them still counts.\n\n| reason | what |\n|---|---|\n");
    for (name, what) in WHY_UNKNOWN {
        let _ = writeln!(text, "| `{name}` | {what} |");
    }
    text
}

/// What a history that shows it comes to.
fn verdict(name: &str) -> &'static str {
    let Some(history) = smallest(name) else { return "invalid" };
    let report = judged(&history);
    match report.valid {
        Validity::Invalid => "invalid",
        Validity::Unknown => "unknown",
        Validity::Valid => "ignored",
    }
}

fn smallest(name: &str) -> Option<String> {
    (!OF_RUNS.contains(&name)).then(|| read(&root().join(format!("checkers/histories/{name}.bad.jsonl"))))
}

fn section(text: &mut String, anomaly: &Anomaly, seen: &[String]) {
    let name = anomaly.name;
    let several = words::found(name, 2).trim_start_matches("2 ").to_owned();
    let _ = writeln!(text, "\n## `{name}`\n\n*{several}.* {}\n", anomaly.meaning);
    let checker = kchaos_checkers::ALL.iter().find(|spec| spec.anomalies.contains(&name));
    let _ = writeln!(text, "- **Verdict**: {}.", verdict(name));
    let _ = writeln!(text, "- **It takes**: {}", anomaly.takes);
    let _ = match checker {
        Some(spec) => writeln!(text, "- **Checker**: `{}`, {}.", spec.name, spec.about),
        None => writeln!(text, "- **Told by**: the run itself, from what it asked hosts and brokers; no history shows it."),
    };
    let _ = writeln!(text, "- **Reference**: {}.", anomaly.reference);
    if !seen.is_empty() {
        let _ = writeln!(text, "- **Seen**: {}.", seen.join(", "));
    }
    let Some(history) = smallest(name) else { return };
    let report = judged(&history);
    let finding = report.anomalies.get(name).or_else(|| report.ignored.get(name)).expect("it shows it");
    let example = finding.examples.first().expect("an example");
    let cited = history.lines().enumerate().filter(|(index, _)| example.ops.contains(&(*index as u64)));
    let lines: String = cited.map(|(_, line)| format!("{line}\n")).collect();
    let _ = writeln!(
        text,
        "\nIn the [smallest history](../checkers/histories/{name}.bad.jsonl) that shows it these ops are cited:\n\n```json\n{lines}```\n\n> {}",
        example.explanation
    );
}

#[test]
fn the_page_of_the_anomalies_is_what_the_registry_says() {
    hold("anomalies.md", &page(), "the_page_of_the_anomalies");
}

#[test]
fn every_anomaly_and_every_reason_has_its_words_and_nothing_else_has() {
    for anomaly in ANOMALIES {
        assert!(names().contains(&anomaly.name), "nobody finds {}", anomaly.name);
    }
    for name in names() {
        assert!(ANOMALIES.iter().any(|anomaly| anomaly.name == name), "{name} has no row in src/report/anomalies.rs");
    }
    assert_eq!(WHY_UNKNOWN.iter().map(|(name, _)| *name).collect::<Vec<_>>(), REASONS);
}
