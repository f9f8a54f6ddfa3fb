//! GitHub Actions: annotations as workflow commands, and the job's summary.
//!
//! Within GitHub's limits: of each kind 10 annotations a step, and 1 MiB of summary a step; what is beyond them GitHub drops without a word,
//! the whole summary included, so it is cut here, and says so.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use kchaos_core::Validity;
use serde_json::Value;

use crate::exit;
use crate::report::{RunData, Style, terminal, words};
use crate::slo::SloStatus;

const ANNOTATIONS_MAX: usize = 10;
const SUMMARY_MAX_BYTES: usize = 1_048_576;
/// A message that is longer is cut: GitHub shows some four thousand characters.
const MESSAGE_MAX: usize = 4_000;

/// What is to be mended first comes first. Unknown and missed thresholds are warnings: nothing is known to be broken.
pub(super) fn annotations(data: &RunData) -> String {
    let verdict = &data.verdict;
    let (mut errors, mut warnings, mut notices) = (Vec::new(), Vec::new(), Vec::new());
    for reason in &verdict.exit_codes {
        match reason.code {
            exit::UNHEALED | exit::INTERNAL | exit::ABORTED | exit::ENVIRONMENT => errors.push((reason.name.clone(), reason.why.clone())),
            _ => {}
        }
    }
    let mut found: Vec<_> = verdict.anomalies.iter().filter(|(name, _)| !verdict.unproved.contains(*name)).collect();
    found.sort_by_key(|(name, _)| words::gravity(name));
    for (name, finding) in found {
        let first = finding.examples.first().map_or("", |example| example.explanation.as_str());
        errors.push((name.clone(), format!("{}: {first}", words::found(name, finding.count))));
    }
    warnings.extend(verdict.reasons.iter().map(|reason| (reason.name.clone(), reason.text.clone())));
    let missed = verdict.thresholds.iter().filter(|threshold| threshold.status != SloStatus::Met);
    warnings.extend(missed.map(|threshold| (threshold.slo.clone(), threshold.text.clone())));
    notices.push((exit::name(verdict.exit_code).to_owned(), verdict.sentence.clone()));
    [("error", errors), ("warning", warnings), ("notice", notices)].into_iter().map(|(kind, all)| commands(kind, &all)).collect()
}

fn commands(kind: &str, all: &[(String, String)]) -> String {
    let mut text = String::new();
    let shown = if all.len() > ANNOTATIONS_MAX { ANNOTATIONS_MAX - 1 } else { all.len() };
    for (title, message) in &all[..shown] {
        let _ = writeln!(text, "::{kind} title={}::{}", property(&format!("kchaos: {title}")), data(&cut(message, MESSAGE_MAX)));
    }
    if shown < all.len() {
        let _ = writeln!(text, "::{kind} title=kchaos::and {} more: see the summary", all.len() - shown);
    }
    text
}

/// A line break would end the command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max { text.to_owned() } else { text.chars().take(max - 1).chain(['…']).collect() }
}

/// Markdown: the verdict, tables of what was found and missed, and what the terminal says.
pub(super) fn summary(run: &RunData) -> String {
    let verdict = &run.verdict;
    let word = match verdict.valid {
        Validity::Valid => "valid",
        Validity::Invalid => "INVALID",
        Validity::Unknown => "unknown",
    };
    let mut text =
        format!("### kchaos {}: {word} (exit {})\n\n{}\n\n", cell(&run.plan.workload), verdict.exit_code, cell(&verdict.sentence));
    if !verdict.anomalies.is_empty() {
        text.push_str("| anomaly | how many | the first |\n|---|---|---|\n");
        for (name, finding) in &verdict.anomalies {
            let first = finding.examples.first().map_or("", |example| example.explanation.as_str());
            let _ = writeln!(text, "| {name} | {} | {} |", finding.count, cell(&cut(first, 300)));
        }
        text.push('\n');
    }
    if !verdict.thresholds.is_empty() {
        text.push_str("| promise of time | what came of it |\n|---|---|\n");
        verdict.thresholds.iter().for_each(|threshold| _ = writeln!(text, "| {} | {} |", cell(&threshold.slo), cell(&threshold.text)));
        text.push('\n');
    }
    // A fence longer than any in the text, so that nothing in it ends the block.
    let said = terminal(run, Style { color: false });
    let fence = "`".repeat(longest_run(&said, '`').max(2) + 1);
    let _ = writeln!(text, "<details><summary>The whole of it</summary>\n\n{fence}text\n{}\n{fence}\n\n</details>\n", said.trim_end());
    text
}

/// Of a suite, from its `suite.json`: steps, or the runs of a matrix.
pub(crate) fn suite(result: &Value) {
    summarize(&suite_summary(result));
    // Standard output may be for the suite's own JSON; GitHub reads both.
    eprint!("{}", suite_annotations(result));
}

fn cases(result: &Value) -> impl Iterator<Item = &Value> {
    result["steps"].as_array().or_else(|| result["runs"].as_array()).into_iter().flatten()
}

fn suite_annotations(result: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let bad = cases(result).filter(|case| case["exit_code"] != 0);
    let bad: Vec<_> = bad.map(|case| (format!("{} is {}", text(&case["name"]), text(&case["verdict"])), text(&case["text"]))).collect();
    let whole = (format!("suite {} is {}", text(&result["suite"]), text(&result["verdict"])), text(&result["sentence"]));
    format!("{}{}", commands("error", &bad), commands("notice", &[whole]))
}

fn suite_summary(result: &Value) -> String {
    let text = |value: &Value| cell(value.as_str().unwrap_or(""));
    let mut summary = format!(
        "### kchaos suite {}: {} (exit {})\n\n{}\n\n",
        text(&result["suite"]),
        text(&result["verdict"]),
        result["exit_code"],
        text(&result["sentence"])
    );
    summary.push_str("| | what | verdict | seconds | |\n|---|---|---|---|---|\n");
    for case in cases(result) {
        let seconds = case["took_ms"].as_u64().unwrap_or(0) / 1_000;
        let said = cell(&cut(case["text"].as_str().unwrap_or(""), 300));
        let _ = writeln!(summary, "| {} | {} | {} | {seconds} | {said} |", case["number"], text(&case["name"]), text(&case["verdict"]));
    }
    summary.push('\n');
    summary
}

/// In a table's cell, and without HTML of its own.
fn cell(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('|', "\\|").replace(['\n', '\r'], " ")
}

fn longest_run(text: &str, of: char) -> usize {
    text.split(|c| c != of).map(str::len).max().unwrap_or(0)
}

/// Appends to the step's summary, if there is one.
pub(super) fn summarize(text: &str) {
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else { return };
    if let Err(error) = append(Path::new(&path), text) {
        eprintln!("the job's summary was not written: {error}");
    }
}

fn append(path: &Path, text: &str) -> std::io::Result<()> {
    let taken = std::fs::metadata(path).map_or(0, |file| usize::try_from(file.len()).unwrap_or(usize::MAX));
    let mut file: File = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(within(text, SUMMARY_MAX_BYTES.saturating_sub(taken)).as_bytes())
}

/// As much as there is room for, at a line's end; nothing where not even that fits.
fn within(text: &str, room: usize) -> String {
    const CUT: &str = "\n\n*cut here: a step's summary may have 1 MiB; the whole of it is in the run's directory*\n";
    if text.len() <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    for line in text.split_inclusive('\n') {
        if kept.len() + line.len() + CUT.len() > room {
            break;
        }
        kept.push_str(line);
    }
    if kept.is_empty() { kept } else { kept + CUT }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::fixture::{Variant, run};

    #[test]
    fn a_run_s_annotations_and_summary_are_looked_at() {
        for (name, variant) in [("valid", Variant::Valid), ("invalid", Variant::Invalid), ("unknown", Variant::Unknown)] {
            let data = run(variant);
            insta::assert_snapshot!(format!("github-annotations-{name}"), annotations(&data));
            let summary = summary(&data);
            let head = summary.split("<details>").next().unwrap_or("");
            insta::assert_snapshot!(format!("github-summary-{name}"), head);
        }
    }

    #[test]
    fn no_more_than_ten_of_a_kind_and_no_line_of_a_message_is_a_command_of_its_own() {
        let many: Vec<_> = (0..25).map(|n| (format!("a, b: {n}"), "50 %\n::error::forged".to_owned())).collect();
        let text = commands("error", &many);
        assert_eq!(text.lines().count(), ANNOTATIONS_MAX);
        assert!(text.starts_with("::error title=kchaos%3A a%2C b%3A 0::50 %25%0A::error::forged\n"), "{text}");
        assert!(text.ends_with("and 16 more: see the summary\n"), "{text}");
    }

    #[test]
    fn a_summary_stays_within_its_mebibyte() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("summary.md");
        let long = "a line of some length\n".repeat(30_000);
        for _ in 0..4 {
            append(&path, &long).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written.len() <= SUMMARY_MAX_BYTES && written.len() > 1_000_000 && written.contains("*cut here"), "{}", written.len());
    }

    #[test]
    fn a_suite_of_steps_and_a_matrix_are_told_alike() {
        let case = |number, exit_code, verdict| json!({"number": number, "name": "a|b", "verdict": verdict, "exit_code": exit_code, "text": "said", "took_ms": 61_500});
        for list in ["steps", "runs"] {
            let result = json!({"suite": "s", "verdict": "invalid", "exit_code": 1, "sentence": "1 of 2", list: [case(1, 0, "valid"), case(2, 1, "invalid")]});
            let summary = suite_summary(&result);
            assert!(summary.contains("| 2 | a\\|b | invalid | 61 | said |"), "{summary}");
            let annotations = suite_annotations(&result);
            assert_eq!(annotations, "::error title=kchaos%3A a|b is invalid::said\n::notice title=kchaos%3A suite s is invalid::1 of 2\n");
        }
    }
}
