//! The end of a run on the terminal: verdict, evidence, latency by phase, faults, and how to repeat it. Plain text that also reads well
//! in a log.

use std::fmt::Write;

use kchaos_checkers::latency::{Distribution, RunPhase};
use kchaos_checkers::recovery::Phase;
use kchaos_core::{FaultEvent, FaultMoment, Validity};

use super::{RunData, sizes, words};
use crate::slo::SloStatus;

const EXAMPLES_SHOWN: usize = 3;
const OPS_SHOWN: usize = 12;

/// Colour or none; the meaning is in the words either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) color: bool,
}

impl Style {
    /// For standard output: colour on a terminal, unless NO_COLOR is set (to anything but nothing).
    pub(crate) fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { color: !refused && std::io::IsTerminal::is_terminal(&std::io::stdout()) }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }
}

pub(crate) fn render(data: &RunData, style: Style) -> String {
    let mut out = String::new();
    verdict(&mut out, data, style);
    anomalies(&mut out, data, style);
    recovery(&mut out, data, style);
    latency(&mut out, data, style);
    faults(&mut out, data, style);
    thresholds(&mut out, data, style);
    ending(&mut out, data, style);
    out
}

fn verdict(out: &mut String, data: &RunData, style: Style) {
    let (word, color) = match data.verdict.valid {
        Validity::Valid => ("VALID", "1;32"),
        Validity::Invalid => ("INVALID", "1;31"),
        Validity::Unknown => ("UNKNOWN", "1;33"),
    };
    line(out, format!("{}  {}", style.paint(color, word), data.verdict.sentence));
    for reason in &data.verdict.reasons {
        line(out, format!("  {} {}", style.bold(&format!("{}:", reason.name)), reason.text));
    }
}

fn anomalies(out: &mut String, data: &RunData, style: Style) {
    let mut found: Vec<_> = data.verdict.anomalies.iter().collect();
    found.sort_by_key(|(name, _)| words::gravity(name));
    for (name, finding) in found {
        let unproved = if data.verdict.unproved.contains(name) { " (listed; proves nothing yet)" } else { "" };
        heading(out, &format!("{name}: {}{unproved}", words::found(name, finding.count)), style);
        for example in finding.examples.iter().take(EXAMPLES_SHOWN) {
            line(out, format!("  {}", example.explanation));
            if let Some(evidence) = example.evidence.as_ref().filter(|evidence| !evidence.ops.is_empty()) {
                out.push_str(&kchaos_checkers::render_evidence(evidence, 4));
                out.push('\n');
                continue;
            }
            for evidence in data.verdict.evidence.iter().filter(|evidence| example.ops.contains(&evidence.index)).take(OPS_SHOWN) {
                line(out, format!("    {}", evidence.line));
            }
        }
        let shown = finding.examples.len().min(EXAMPLES_SHOWN) as u64;
        if finding.count > shown {
            line(out, format!("  … and {} more", words::count(finding.count - shown)));
        }
    }
    for (name, finding) in &data.verdict.ignored {
        line(out, format!("  found and allowed by the profile {}: {}", data.verdict.profile, words::found(name, finding.count)));
    }
}

fn recovery(out: &mut String, data: &RunData, style: Style) {
    let phases = &data.verdict.recovery.phases;
    if phases.is_empty() {
        return;
    }
    heading(out, "Recovery, over all faults and partitions", style);
    line(out, format!("  {:<19} {:>4} {:>9} {:>9} {:>9} {:>9}   {}", "", "n", "p50", "p95", "p99", "max", "from → to"));
    for phase in Phase::ALL {
        let Some(summary) = phases.get(phase) else { continue };
        let unseen = if summary.unseen > 0 { format!("; {} never seen", summary.unseen) } else { String::new() };
        let [p50, p95, p99, max] =
            [summary.middle.p50_ns, summary.middle.p95_ns, summary.middle.p99_ns, summary.middle.max_ns].map(|ns| measured(summary.n, ns));
        line(out, format!("  {:<19} {:>4} {p50:>9} {p95:>9} {p99:>9} {max:>9}   {}{unseen}", phase.name(), summary.n, phase.about()));
    }
    let unavailable = &data.verdict.recovery.unavailable;
    if unavailable.summary.n > 0 {
        let summary = &unavailable.summary;
        let [p50, p95, p99, max] =
            [summary.middle.p50_ns, summary.middle.p95_ns, summary.middle.p99_ns, summary.middle.max_ns].map(words::duration);
        line(
            out,
            format!("  {:<19} {:>4} {p50:>9} {p95:>9} {p99:>9} {max:>9}   no ack although an attempt was open", "unavailable", summary.n),
        );
    }
}

fn latency(out: &mut String, data: &RunData, style: Style) {
    if data.latency.ops.is_empty() {
        return;
    }
    heading(out, "Latency, from the intended start", style);
    line(out, format!("  {:<19} {:>9} {:>9} {:>9} {:>9} {:>9}", "", "n", "p50", "p99", "p99.9", "max"));
    for (op, phases) in &data.latency.ops {
        for phase in RunPhase::ALL {
            let Some(Distribution { n, p50_ns, p99_ns, p999_ns, max_ns, .. }) = phases.get(phase) else { continue };
            let [p50, p99, p999, max] = [p50_ns, p99_ns, p999_ns, max_ns].map(|ns| words::duration(*ns));
            let name = format!("{op} {}", phase.name());
            line(out, format!("  {name:<19} {:>9} {p50:>9} {p99:>9} {p999:>9} {max:>9}", words::count(*n)));
        }
    }
    for row in sizes::lines(&data.sizes) {
        line(out, row);
    }
}

fn faults(out: &mut String, data: &RunData, style: Style) {
    // Notes that are of no fault have the id 0.
    let mut ids: Vec<u32> = data.faults.iter().map(|event| event.fault_id).filter(|id| *id > 0).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return;
    }
    let count = &data.verdict.faults;
    heading(out, &format!("Faults: {} of {} in force, {} mended", count.in_force, count.required.max(count.tried), count.mended), style);
    for id in ids {
        let events: Vec<&FaultEvent> = data.faults.iter().filter(|event| event.fault_id == id).collect();
        // Mending may have been tried twice.
        let of = |moment: FaultMoment| events.iter().rfind(|event| event.moment == moment);
        let name = events.first().map_or("", |event| event.nemesis.as_str());
        let chosen = events.iter().find(|event| !event.chosen.is_empty()).map_or(String::new(), |event| {
            event.chosen.iter().map(|chosen| format!("{} on {}", chosen.daemon, chosen.host)).collect::<Vec<_>>().join(", ")
        });
        let state = |event: Option<&&FaultEvent>, word: &str| match event {
            Some(event) if event.proof.as_ref().is_some_and(|proof| proof.proved) => {
                format!("{word} {}", words::moment(event.when.before_ns))
            }
            Some(event) => format!("NOT PROVED {word} {}", words::moment(event.when.before_ns)),
            None => format!("never {word}"),
        };
        let (in_force, mended) = (state(of(FaultMoment::InEffect), "in force"), state(of(FaultMoment::Healed), "mended"));
        line(out, format!("  {id:>3}  {name:<18} {chosen:<22} {in_force:<20} {mended}"));
        if let Some(one) = data.verdict.coverage.iter().find(|one| one.fault_id == id) {
            line(out, format!("       met: {}", one.states.told()));
        }
    }
}

fn thresholds(out: &mut String, data: &RunData, style: Style) {
    if data.verdict.thresholds.is_empty() {
        return;
    }
    heading(out, "Promises of time", style);
    for threshold in &data.verdict.thresholds {
        let word = match threshold.status {
            SloStatus::Met => style.paint("32", "met       "),
            SloStatus::Missed => style.paint("31", "missed    "),
            SloStatus::Unmeasured => style.paint("33", "unmeasured"),
        };
        line(out, format!("  {word} {}", threshold.text));
    }
}

fn ending(out: &mut String, data: &RunData, style: Style) {
    out.push('\n');
    for note in data.verdict.notes.iter().chain(&data.missing) {
        line(out, format!("note: {note}"));
    }
    line(out, format!("repeat: {}", data.repeat_command()));
    line(out, format!("report: {}", data.path.join("report.html").display()));
    for reason in &data.verdict.exit_codes {
        line(out, format!("exit {} ({}): {}", reason.code, reason.name, reason.why));
    }
    // Printed last, so that nobody misses it.
    for host in data.verdict.hosts.iter().filter(|host| !host.is_whole()) {
        let what = if host.what.is_empty() { "nobody knows what".to_owned() } else { host.what.join(", ") };
        line(out, style.paint("1;31", &format!("UNHEALED {}: {what}", host.host)));
        if let Some(command) = &host.command {
            line(out, format!("  mend it with: {command}"));
        }
    }
}

fn measured(n: u64, ns: u64) -> String {
    if n == 0 { "–".to_owned() } else { words::duration(ns) }
}

fn heading(out: &mut String, text: &str, style: Style) {
    out.push('\n');
    line(out, style.bold(text));
}

fn line(out: &mut String, text: impl AsRef<str>) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{}", text.as_ref().trim_end());
}
