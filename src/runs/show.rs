//! Runs in words: a table, and one by itself.

use std::fmt::Write;

use chrono::{DateTime, Utc};

use super::{Run, State};
use crate::exit;
use crate::report::words;

/// Colour is never the only sign, and here there is none.
pub(crate) fn sign(run: &Run) -> &'static str {
    match (&run.state, run.brief.as_ref().map(|brief| brief.exit_code)) {
        (State::Running, _) => "▸",
        (State::Ended, Some(exit::VALID)) => "✓",
        (State::Ended, Some(exit::INVALID)) => "✗",
        (State::Ended, Some(exit::UNKNOWN)) => "?",
        _ => "!",
    }
}

/// To the second, UTC.
pub(crate) fn when(started: Option<DateTime<Utc>>) -> String {
    started.map_or_else(|| "–".to_owned(), |at| at.format("%Y-%m-%d %H:%M:%S").to_string())
}

/// One line each, and what they come to.
pub(crate) fn table(runs: &[Run]) -> String {
    let head =
        ["started (UTC)", "verdict", "workload", "nemeses", "faults", "acknowledged", "recovery p50/max", "size", "run"].map(str::to_owned);
    let rows: Vec<[String; 9]> = std::iter::once(head).chain(runs.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 9] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            // Numbers to the right.
            let _ = if (4..=7).contains(&column) { write!(line, "{cell:>width$}  ") } else { write!(line, "{cell:<width$}  ") };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let count = |is: &dyn Fn(&Run) -> bool| runs.iter().filter(|run| is(run)).count();
    let well = count(&|run| run.ended_well());
    let running = count(&|run| run.state == State::Running);
    let bytes: u64 = runs.iter().map(|run| run.bytes).sum();
    let noun = if runs.len() == 1 { "run" } else { "runs" };
    let _ = write!(text, "\n{} {noun}, {}: {well} valid", runs.len(), words::bytes(bytes));
    if running > 0 {
        let _ = write!(text, ", {running} running");
    }
    if runs.len() > well + running {
        let _ = write!(text, ", {} not", runs.len() - well - running);
    }
    text.push('\n');
    text
}

fn row(run: &Run) -> [String; 9] {
    let brief = run.brief.as_ref();
    let or = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    let recovery = brief.and_then(|brief| {
        let summary = brief.recovery()?;
        Some(format!("{} / {}", words::duration(summary.middle.p50_ns), words::duration(summary.middle.max_ns)))
    });
    [
        when(run.started),
        format!("{} {}", sign(run), run.verdict()),
        run.workload().to_owned(),
        shortened(&run.nemeses(), 34),
        or(brief.map(|brief| format!("{}/{}", brief.faults.in_force, brief.faults.required.max(brief.faults.tried)))),
        or(brief.map(|brief| words::count(brief.acknowledged()))),
        or(recovery),
        words::bytes(run.bytes),
        run.id.clone(),
    ]
}

fn shortened(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    text.chars().take(chars_max - 1).chain(['…']).collect()
}

/// All that its files tell in short.
pub(crate) fn info(run: &Run, files: &[(String, u64)]) -> String {
    let mut text = format!("{} {}: {}\n\n", sign(run), run.verdict(), run.sentence());
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {name:<14} {value}");
        }
    };
    let plan = &run.plan;
    line("run", &run.id);
    line("what", &format!("{} × {}", run.workload(), run.nemeses()));
    line("cluster", run.cluster().unwrap_or_default());
    plan.facts.iter().filter(|(name, _)| name.starts_with("note_")).for_each(|(_, note)| line("", note));
    line(
        "started",
        &format!("{} UTC{}", when(run.started), plan.facts.get("started_by").map(|who| format!(" by {who}")).unwrap_or_default()),
    );
    if let Some(brief) = &run.brief {
        told(brief, &mut line);
    }
    if !plan.schedule.is_empty() {
        let named: Vec<&str> = plan.schedule.iter().take(6).map(|fault| fault.nemesis.as_str()).collect();
        let more = if plan.schedule.len() > 6 { ", …" } else { "" };
        line("schedule", &format!("{}: {}{more}", plan.schedule.len(), named.join(", ")));
    }
    if !plan.steps.is_empty() {
        let steps: Vec<&str> = plan.steps.iter().map(|step| step.step.as_str()).collect();
        line("steps", &steps.join(", "));
    }
    if !plan.command.is_empty() {
        line("seed", &plan.seed.to_string());
        let command: Vec<String> = plan.command.iter().map(|word| words::shell(word)).collect();
        line("repeat", &command.join(" "));
    }
    line("kchaos", &plan.kchaos_version);
    let _ = writeln!(text, "\n  {} in {} files of {}", words::bytes(run.bytes), files.len(), run.path.display());
    for (name, bytes) in files.iter().filter(|(name, _)| !name.starts_with("logs/")) {
        let _ = writeln!(text, "    {:>9}  {name}", words::bytes(*bytes));
    }
    let logs: Vec<u64> = files.iter().filter(|(name, _)| name.starts_with("logs/")).map(|(_, bytes)| *bytes).collect();
    if !logs.is_empty() {
        let _ = writeln!(text, "    {:>9}  logs/ ({} files)", words::bytes(logs.iter().sum()), logs.len());
    }
    text
}

fn told(brief: &super::Brief, line: &mut impl FnMut(&str, &str)) {
    for reason in brief.exit_codes.iter().skip(1) {
        line("besides", &format!("{} (exit code {}): {}", reason.name, reason.code, reason.why));
    }
    if brief.resources.wall_s > 0.0 {
        line("took", &words::long_duration((brief.resources.wall_s * 1e9) as u64));
    }
    let faults = &brief.faults;
    line(
        "faults",
        &format!("{} tried, {} in force, {} mended ({} required)", faults.tried, faults.in_force, faults.mended, faults.required),
    );
    let by_phase: Vec<String> = ["before", "trouble", "after"]
        .iter()
        .filter_map(|phase| Some(format!("{} {phase}", words::count(brief.load.get(*phase)?.ok))))
        .collect();
    line(
        "acknowledged",
        &format!(
            "{}{}",
            words::count(brief.acknowledged()),
            if by_phase.is_empty() { String::new() } else { format!(" ({})", by_phase.join(", ")) }
        ),
    );
    for (name, found) in &brief.anomalies {
        line(
            "found",
            &format!("{} ({name}){}", words::found(name, found.count), if brief.unproved.contains(name) { ", not proved" } else { "" }),
        );
    }
    for reason in brief.reasons.iter().take(5) {
        line("reason", &reason.text);
    }
    if let Some(summary) = brief.recovery() {
        let [p50, p99, max] = [summary.middle.p50_ns, summary.middle.p99_ns, summary.middle.max_ns].map(words::duration);
        let unseen = if summary.unseen > 0 { format!(", {} never seen to come back", summary.unseen) } else { String::new() };
        line("recovery", &format!("p50 {p50}, p99 {p99}, max {max} over {}{unseen}", summary.n));
    }
    let unavailable = &brief.recovery.unavailable.summary;
    if unavailable.n > 0 {
        line(
            "unavailable",
            &format!("{} windows without an ack, the longest {}", unavailable.n, words::duration(unavailable.middle.max_ns)),
        );
    }
    for threshold in &brief.thresholds {
        line("promise", &threshold.text);
    }
}
