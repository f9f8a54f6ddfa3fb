//! A report for a person: the verdict in a sentence, then the evidence.

use std::fmt::Write;

use kchaos_core::{Example, Finding, Validity};

use crate::evidence::render_evidence;
use crate::report::CheckReport;

/// Of each anomaly, so many examples are shown with their evidence, unless more are asked for.
const EVIDENCE_SHOWN: usize = 3;

/// The same report always gives the same text. It ends with a newline.
pub fn render_text(report: &CheckReport) -> String {
    render_text_of(report, EVIDENCE_SHOWN)
}

/// The same, with the evidence of so many examples of each anomaly.
pub fn render_text_of(report: &CheckReport, examples: usize) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = write_report(&mut text, report, examples);
    text
}

fn write_report(text: &mut String, report: &CheckReport, examples: usize) -> std::fmt::Result {
    writeln!(text, "{}", sentence(report))?;
    for (name, finding) in &report.anomalies {
        let proved = if report.unproved.contains(name) { ", which proves nothing yet" } else { "" };
        writeln!(text, "\n{name}: {}{proved}", finding.count)?;
        write_examples(text, finding, examples)?;
    }
    if !report.reasons.is_empty() {
        let heading = if report.valid == Validity::Invalid { "Besides" } else { "Why it is unknown" };
        writeln!(text, "\n{heading}")?;
        for reason in &report.reasons {
            writeln!(text, "  {}: {}", reason.name, reason.text)?;
        }
    }
    if !report.ignored.is_empty() {
        writeln!(text, "\nFound, and allowed by the profile {}", report.profile)?;
        for (name, finding) in &report.ignored {
            let example = finding.examples.first().map_or("", |example| example.explanation.as_str());
            writeln!(text, "  {name}: {}, such as: {example}", finding.count)?;
        }
    }
    write_load(text, report)?;
    for (f, count) in &report.unknown_fs {
        writeln!(text, "\nSkipped: {count} ops with the unknown f {f:?}")?;
    }
    for note in &report.notes {
        writeln!(text, "\nNote: {note}")?;
    }
    Ok(())
}

fn sentence(report: &CheckReport) -> String {
    let ops = report.ops;
    let proved = report.anomalies.keys().filter(|name| !report.unproved.contains(name)).cloned().collect::<Vec<_>>().join(", ");
    match report.valid {
        Validity::Valid => format!("Valid: {ops} ops, and every promise of the profile {} was kept.", report.profile),
        Validity::Invalid => format!("Invalid: {proved} in {ops} ops, judged by the profile {}.", report.profile),
        Validity::Unknown => {
            let names: Vec<_> = report.reasons.iter().map(|reason| reason.name.as_str()).collect();
            format!("Unknown: {ops} ops prove nothing against the profile {}, and nothing for it ({}).", report.profile, names.join(", "))
        }
    }
}

fn write_examples(text: &mut String, finding: &Finding, with_evidence: usize) -> std::fmt::Result {
    for (at, example) in finding.examples.iter().enumerate() {
        writeln!(text, "  - {}", sentence_of(example))?;
        if let Some(evidence) = example.evidence.as_ref().filter(|evidence| at < with_evidence && !evidence.ops.is_empty()) {
            text.write_str(&render_evidence(evidence, 4))?;
            if at + 1 < finding.examples.len() {
                writeln!(text)?;
            }
            continue;
        }
        let ops: Vec<_> = example.ops.iter().map(ToString::to_string).collect();
        if !ops.is_empty() {
            writeln!(text, "    ops {}", ops.join(", "))?;
        }
    }
    let more = finding.count.saturating_sub(finding.examples.len() as u64);
    if more > 0 {
        writeln!(text, "  and {more} more")?;
    }
    Ok(())
}

/// The steps of a cycle are listed below it: what they come to is enough.
fn sentence_of(example: &Example) -> &str {
    let evidence = example.evidence.as_ref().filter(|evidence| !evidence.ops.is_empty() && !evidence.steps.is_empty());
    let steps = evidence.map(|evidence| evidence.steps.join("; "));
    let conclusion = steps.and_then(|steps| example.explanation.strip_prefix(steps.as_str())?.strip_prefix(": "));
    conclusion.unwrap_or(&example.explanation)
}

fn write_load(text: &mut String, report: &CheckReport) -> std::fmt::Result {
    writeln!(text, "\nLoad")?;
    for load in &report.load {
        writeln!(
            text,
            "  {}: {} sends ({} ok, {} fail, {} info), {} ok polls, {} records read",
            load.phase, load.sends_invoked, load.sends_ok, load.sends_fail, load.sends_info, load.polls_ok, load.records_read,
        )?;
    }
    let windows = &report.unavailable.windows;
    if let Some(longest) = windows.iter().max_by_key(|window| window.to_ns.saturating_sub(window.from_ns)) {
        writeln!(
            text,
            "  unavailable {} times for a second or more, longest: key {} for {:.1} s",
            windows.len() as u64 + report.unavailable.omitted,
            longest.key,
            (longest.to_ns.saturating_sub(longest.from_ns)) as f64 / 1e9,
        )?;
    }
    Ok(())
}
