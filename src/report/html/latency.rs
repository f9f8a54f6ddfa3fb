//! How long writes took: a histogram for each phase of the run over one logarithmic axis, and the percentile curves beside them; and the same for each
//! phase of a recovery, since "7 s in the trouble" does not say whether clients waited for a session to run out or for the election.

use std::fmt::Write;

use kchaos_checkers::latency::{Distribution, LatencyReport, READ_LAG, RunPhase};
use kchaos_checkers::recovery::{Phase, RecoveryReport};

use super::scale::{Decades, Nines};
use super::svg::{self, Anchor};
use super::text::{Esc, Px};
use crate::report::words;

const WIDTH: f64 = 548.0;
const HEIGHT: f64 = 268.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 14.0;
const BOTTOM: f64 = 26.0;
const TOP: f64 = 8.0;

/// One distribution under its name, which is its class as well.
type Shown<'a> = (&'static str, &'a Distribution);

pub(super) fn render(latency: &LatencyReport, recovery: &RecoveryReport) -> String {
    // The op that writes: sends, or else whatever the workload has.
    let name = ["send", "txn", "write", "cas"].into_iter().find(|name| latency.ops.contains_key(*name));
    let Some(phases) = name.and_then(|name| latency.ops.get(name)) else {
        return "<p class=\"note\">Nothing was acknowledged, so there is no latency to show.</p>".to_owned();
    };
    let shown: Vec<Shown<'_>> = RunPhase::ALL
        .iter()
        .filter_map(|phase| Some((phase.name(), phases.get(phase)?)))
        .filter(|(_, distribution)| distribution.n > 0)
        .collect();
    let mut html = String::new();
    pair(
        &mut html,
        &shown,
        "by phase of the run",
        "How many writes took how long, by the phase in which they were due. Each row is scaled to its own highest bar; the lines mark p50 and p99.",
    );
    html.push_str(&table(latency));
    html.push_str(&by_election(&shown, recovery));
    html
}

/// Of writes that were due while their partition had lost its leader, beside those of an untroubled cluster.
fn by_election(run: &[Shown<'_>], recovery: &RecoveryReport) -> String {
    if recovery.writes_due.is_empty() {
        return String::new();
    }
    let before = run.iter().filter(|(name, _)| *name == RunPhase::Before.name()).copied();
    let shown: Vec<Shown<'_>> = before.chain(recovery.writes_due.iter().map(|(phase, due)| (phase.name(), due))).collect();
    let mut html = String::from("<h3>By phase of the election</h3>\n");
    pair(
        &mut html,
        &shown,
        "by phase of the election",
        "Writes to a partition that had lost its leader, by the phase of its recovery in which they were due; \u{201c}before\u{201d} is the whole run before the trouble.",
    );
    let columns = [("due in", ""), ("which lasts from → to", "text"), ("n", ""), ("p50", ""), ("p90", ""), ("p99", ""), ("max", "")];
    html.push_str(&svg::table_head("numbers", "Latency of writes by the phase of the election in which they were due", &columns));
    for (phase, due) in &recovery.writes_due {
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{}</th><td class=\"text\">{}</td><td>{}</td>",
            phase.name(),
            Esc(Phase::about(*phase)),
            words::count(due.n)
        );
        for value in [due.p50_ns, due.p90_ns, due.p99_ns, due.max_ns] {
            let _ = write!(html, "<td>{}</td>", words::duration(value));
        }
        html.push_str("</tr>\n");
    }
    html.push_str(svg::TABLE_END);
    let mut note = "Acknowledged writes, from when they were due to their ack, to 2.3 %; over all faults that were proved in force and led to an election.".to_owned();
    if recovery.writes_due_omitted > 0 {
        let _ = write!(note, " {} more are left out: there were too many to keep.", words::count(recovery.writes_due_omitted));
    }
    svg::note(&mut html, &note);
    html
}

fn pair(html: &mut String, shown: &[Shown<'_>], what: &str, caption: &str) {
    html.push_str("<div class=\"pair\">\n");
    figure(html, &histograms(shown, what), caption);
    figure(html, &curves(shown, what), "Percentile curves: at 99 %, one write in a hundred took longer.");
    html.push_str("</div>\n");
}

fn figure(html: &mut String, picture: &str, caption: &str) {
    let _ = writeln!(html, "<figure><div class=\"scroll\">{picture}</div><figcaption>{caption}</figcaption></figure>");
}

fn histograms(shown: &[Shown<'_>], what: &str) -> String {
    let values = shown.iter().flat_map(|(_, distribution)| [distribution.min_ns, distribution.max_ns]);
    let scale = Decades::around(values, WIDTH - LEFT - RIGHT);
    // Rows that are too low are no histograms.
    let height = HEIGHT.max(56.0 * shown.len() as f64 + TOP + BOTTOM);
    let row = (height - TOP - BOTTOM) / shown.len().max(1) as f64;
    let mut svg = open(height, &format!("Histogram of write latency {what}. {}", told(shown)));
    for (value, name) in scale.ticks() {
        let x = LEFT + scale.at(value);
        svg::vertical(&mut svg, "grid", x, TOP, height - BOTTOM);
        svg::text(&mut svg, "tick", Anchor::Middle, x, height - 9.0, &name);
    }
    for (index, (phase, distribution)) in shown.iter().enumerate() {
        let base = TOP + row * (index as f64 + 1.0);
        let most = distribution.buckets.iter().map(|(_, count)| *count).max().unwrap_or(1) as f64;
        for (upper_ns, count) in &distribution.buckets {
            // Twenty buckets a decade; a bar ends where its bucket does.
            let (from, to) = (scale.at(*upper_ns as f64 / 10f64.powf(0.05)), scale.at(*upper_ns as f64));
            let height = (*count as f64 / most * (row - 22.0)).max(1.6);
            let tip = format!("{phase}: {} writes took up to {}", words::count(*count), words::duration(*upper_ns));
            let size = ((to - from - 0.8).max(1.0), height);
            svg::area(&mut svg, &format!("bar {phase}"), (LEFT + from, base - height), size, &tip);
        }
        svg::horizontal(&mut svg, "axis", base, LEFT, WIDTH - RIGHT);
        svg::text(&mut svg, "row", Anchor::End, LEFT - 8.0, base - 3.0, phase);
        for value in [distribution.p50_ns, distribution.p99_ns] {
            svg::vertical(&mut svg, "mark", LEFT + scale.at(value as f64), base - row + 18.0, base);
        }
        let [p50, p99] = [distribution.p50_ns, distribution.p99_ns].map(words::duration);
        let caption = format!("n {} · p50 {p50} · p99 {p99}", words::count(distribution.n));
        svg::text(&mut svg, "mark-name", Anchor::End, WIDTH - RIGHT, base - row + 14.0, &caption);
    }
    svg.push_str("</svg>");
    svg
}

fn curves(shown: &[Shown<'_>], what: &str) -> String {
    let n = shown.iter().map(|(_, distribution)| distribution.n).max().unwrap_or(1);
    let x = Nines { max: (n as f64).log10().ceil().clamp(2.0, 6.0), pixels: WIDTH - LEFT - 76.0 };
    let values = shown.iter().flat_map(|(_, distribution)| distribution.curve.iter().map(|(_, value)| *value));
    let y = Decades::around(values, HEIGHT - TOP - BOTTOM);
    let mut svg = open(HEIGHT, &format!("Percentile curves of write latency {what}; the table below has the numbers"));
    for (value, name) in y.ticks() {
        let at = HEIGHT - BOTTOM - y.at(value);
        svg::horizontal(&mut svg, "grid", at, LEFT, LEFT + x.pixels);
        svg::text(&mut svg, "tick", Anchor::End, LEFT - 8.0, at + 3.5, &name);
    }
    for (quantile, name) in x.ticks() {
        let at = LEFT + x.at(quantile);
        svg::vertical(&mut svg, "grid", at, TOP, HEIGHT - BOTTOM);
        svg::text(&mut svg, "tick", Anchor::Middle, at, HEIGHT - 9.0, &name);
    }
    let mut taken: Vec<(f64, f64)> = Vec::new();
    for (phase, distribution) in shown {
        let mut path = String::new();
        // The greatest of n values is the quantile 1 - 1/n; further out there is nothing to draw.
        let last = 1.0 - 1.0 / distribution.n as f64;
        for (index, (quantile, value)) in distribution.curve.iter().enumerate() {
            let letter = if index == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{} {}", Px(LEFT + x.at(quantile.min(last))), Px(HEIGHT - BOTTOM - y.at(*value as f64)));
        }
        let _ = write!(svg, "<path class=\"line phase {phase}\" d=\"{path}\"/>");
        let label_x = LEFT + x.at(last) + 6.0;
        let mut label_y = HEIGHT - BOTTOM - y.at(distribution.max_ns as f64) + 3.5;
        while taken.iter().any(|(other_x, other_y)| (other_x - label_x).abs() < 50.0 && (other_y - label_y).abs() < 12.0) {
            label_y += 12.0;
        }
        taken.push((label_x, label_y));
        svg::text(&mut svg, "row", Anchor::Start, label_x, label_y, phase);
    }
    svg.push_str("</svg>");
    svg
}

fn open(height: f64, label: &str) -> String {
    format!("<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{}\">", Px(height), Esc(label))
}

/// The picture in a sentence.
fn told(shown: &[Shown<'_>]) -> String {
    let told = shown.iter().map(|(name, d)| {
        let [p50, p99, max] = [d.p50_ns, d.p99_ns, d.max_ns].map(words::duration);
        format!("{name}: {} writes, p50 {p50}, p99 {p99}, max {max}", words::count(d.n))
    });
    told.collect::<Vec<_>>().join("; ")
}

fn table(latency: &LatencyReport) -> String {
    let columns =
        [("op", ""), ("phase", "text"), ("n", ""), ("p50", ""), ("p90", ""), ("p95", ""), ("p99", ""), ("p99.9", ""), ("max", "")];
    let mut html = svg::table_head("numbers", "Latency of each kind of op by phase of the run", &columns);
    for (op, phases) in &latency.ops {
        for (phase, d) in phases.iter().filter(|(_, distribution)| distribution.n > 0) {
            let about = if op == READ_LAG { " title=\"from a value's intended start until a poll first returned it\"" } else { "" };
            let _ = write!(
                html,
                "<tr><th scope=\"row\"{about}>{}</th><td class=\"text\">{}</td><td>{}</td>",
                Esc(op),
                phase.name(),
                words::count(d.n)
            );
            for value in [d.p50_ns, d.p90_ns, d.p95_ns, d.p99_ns, d.p999_ns, d.max_ns] {
                let _ = write!(html, "<td>{}</td>", words::duration(value));
            }
            html.push_str("</tr>\n");
        }
    }
    html.push_str(svg::TABLE_END);
    let mut note = "From the intended start of each op to its completion (read-lag: to the first poll that returned the value).".to_owned();
    if latency.above_max > 0 {
        let _ = write!(note, " {} took more than 10 minutes and are counted as 10 minutes.", words::count(latency.above_max));
    }
    if latency.untracked > 0 {
        let _ = write!(note, " The read lag of {} values is not known: too many were unread at once.", words::count(latency.untracked));
    }
    svg::note(&mut html, &note);
    html
}
