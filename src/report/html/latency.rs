//! How long writes took: a histogram for each phase of the run over one logarithmic axis, and the percentile curves beside them.

use std::fmt::Write;

use kchaos_checkers::latency::{Distribution, LatencyReport, READ_LAG, RunPhase};

use super::scale::{Decades, Nines};
use super::text::{Esc, Px};
use crate::report::words;

const WIDTH: f64 = 548.0;
const HEIGHT: f64 = 268.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 14.0;
const BOTTOM: f64 = 26.0;
const TOP: f64 = 8.0;

pub(super) fn render(latency: &LatencyReport) -> String {
    // The op that writes: sends, or else whatever the workload has.
    let name = ["send", "txn", "write", "cas"].into_iter().find(|name| latency.ops.contains_key(*name));
    let Some(phases) = name.and_then(|name| latency.ops.get(name)) else {
        return "<p class=\"note\">Nothing was acknowledged, so there is no latency to show.</p>".to_owned();
    };
    let shown: Vec<(RunPhase, &Distribution)> = RunPhase::ALL
        .iter()
        .filter_map(|phase| Some((*phase, phases.get(phase)?)))
        .filter(|(_, distribution)| distribution.n > 0)
        .collect();
    let mut html = String::from("<div class=\"pair\">\n");
    let _ = write!(
        html,
        "<figure>{}<figcaption>How many writes took how long, by the phase in which they were due. Each row is scaled to its own highest bar; the lines mark p50 and p99.</figcaption></figure>\n",
        histograms(&shown)
    );
    let _ = write!(
        html,
        "<figure>{}<figcaption>Percentile curves: at 99 %, one write in a hundred took longer.</figcaption></figure>\n</div>\n",
        curves(&shown)
    );
    html.push_str(&table(latency));
    html
}

fn histograms(shown: &[(RunPhase, &Distribution)]) -> String {
    let values = shown.iter().flat_map(|(_, distribution)| [distribution.min_ns, distribution.max_ns]);
    let scale = Decades::around(values, WIDTH - LEFT - RIGHT);
    let row = (HEIGHT - TOP - BOTTOM) / shown.len().max(1) as f64;
    let mut svg = open("Histogram of write latency by phase");
    for (value, name) in scale.ticks() {
        let x = LEFT + scale.at(value);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{x}\" x2=\"{x}\" y1=\"{TOP}\" y2=\"{}\"/><text class=\"tick\" text-anchor=\"middle\" x=\"{x}\" y=\"{}\">{}</text>",
            HEIGHT - BOTTOM,
            HEIGHT - 9.0,
            Esc(name),
            x = Px(x)
        );
    }
    for (index, (phase, distribution)) in shown.iter().enumerate() {
        let base = TOP + row * (index as f64 + 1.0);
        let most = distribution.buckets.iter().map(|(_, count)| *count).max().unwrap_or(1) as f64;
        for (upper_ns, count) in &distribution.buckets {
            // Twenty buckets a decade; a bar ends where its bucket does.
            let (from, to) = (scale.at(*upper_ns as f64 / 10f64.powf(0.05)), scale.at(*upper_ns as f64));
            let height = (*count as f64 / most * (row - 22.0)).max(1.6);
            let tip = format!("{}: {} writes took up to {}", phase.name(), words::count(*count), words::duration(*upper_ns));
            let _ = write!(
                svg,
                "<rect class=\"bar {}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"><title>{}</title></rect>",
                phase.name(),
                Px(LEFT + from),
                Px(base - height),
                Px((to - from - 0.8).max(1.0)),
                Px(height),
                Esc(tip)
            );
        }
        let _ = write!(
            svg,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\"/><text class=\"row\" text-anchor=\"end\" x=\"{}\" y=\"{}\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            Px(base - 3.0),
            phase.name(),
            y = Px(base)
        );
        for value in [distribution.p50_ns, distribution.p99_ns] {
            let x = Px(LEFT + scale.at(value as f64));
            let _ = write!(svg, "<line class=\"mark\" x1=\"{x}\" x2=\"{x}\" y1=\"{}\" y2=\"{}\"/>", Px(base - row + 18.0), Px(base));
        }
        let caption = format!(
            "n {} · p50 {} · p99 {}",
            words::count(distribution.n),
            words::duration(distribution.p50_ns),
            words::duration(distribution.p99_ns)
        );
        let _ = write!(
            svg,
            "<text class=\"mark-name\" text-anchor=\"end\" x=\"{}\" y=\"{}\">{}</text>",
            WIDTH - RIGHT,
            Px(base - row + 14.0),
            Esc(caption)
        );
    }
    svg.push_str("</svg>");
    svg
}

fn curves(shown: &[(RunPhase, &Distribution)]) -> String {
    let n = shown.iter().map(|(_, distribution)| distribution.n).max().unwrap_or(1);
    let x = Nines { max: (n as f64).log10().ceil().clamp(2.0, 6.0), pixels: WIDTH - LEFT - 76.0 };
    let values = shown.iter().flat_map(|(_, distribution)| distribution.curve.iter().map(|(_, value)| *value));
    let y = Decades::around(values, HEIGHT - TOP - BOTTOM);
    let mut svg = open("Percentile curves of write latency by phase");
    for (value, name) in y.ticks() {
        let at = HEIGHT - BOTTOM - y.at(value);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at}\" y2=\"{at}\"/><text class=\"tick\" text-anchor=\"end\" x=\"{}\" y=\"{}\">{}</text>",
            Px(LEFT + x.pixels),
            LEFT - 8.0,
            Px(at + 3.5),
            Esc(name),
            at = Px(at)
        );
    }
    for (quantile, name) in x.ticks() {
        let at = LEFT + x.at(quantile);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{at}\" x2=\"{at}\" y1=\"{TOP}\" y2=\"{}\"/><text class=\"tick\" text-anchor=\"middle\" x=\"{at}\" y=\"{}\">{}</text>",
            HEIGHT - BOTTOM,
            HEIGHT - 9.0,
            Esc(name),
            at = Px(at)
        );
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
        let end = (last, distribution.max_ns);
        let mut label_y = HEIGHT - BOTTOM - y.at(end.1 as f64) + 3.5;
        let label_x = LEFT + x.at(end.0) + 6.0;
        while taken.iter().any(|(other_x, other_y)| (other_x - label_x).abs() < 50.0 && (other_y - label_y).abs() < 12.0) {
            label_y += 12.0;
        }
        taken.push((label_x, label_y));
        let _ = write!(
            svg,
            "<path class=\"line phase {0}\" d=\"{path}\"/><text class=\"row {0}-name\" x=\"{1}\" y=\"{2}\">{0}</text>",
            phase.name(),
            Px(label_x),
            Px(label_y)
        );
    }
    svg.push_str("</svg>");
    svg
}

fn open(label: &str) -> String {
    format!("<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{label}\">")
}

fn table(latency: &LatencyReport) -> String {
    let mut html = String::from(
        "<div class=\"scroll\"><table class=\"numbers\"><thead><tr><th>op</th><th class=\"text\">phase</th><th>n</th><th>p50</th><th>p90</th><th>p95</th><th>p99</th>\
         <th>p99.9</th><th>max</th></tr></thead><tbody>\n",
    );
    for (op, phases) in &latency.ops {
        for (phase, d) in phases.iter().filter(|(_, distribution)| distribution.n > 0) {
            let about = if op == READ_LAG { " title=\"from a value's intended start until a poll first returned it\"" } else { "" };
            let _ = write!(html, "<tr><td{about}>{}</td><td class=\"text\">{}</td><td>{}</td>", Esc(op), phase.name(), words::count(d.n));
            for value in [d.p50_ns, d.p90_ns, d.p95_ns, d.p99_ns, d.p999_ns, d.max_ns] {
                let _ = write!(html, "<td>{}</td>", words::duration(value));
            }
            html.push_str("</tr>\n");
        }
    }
    html.push_str("</tbody></table></div>\n<p class=\"note\">From the intended start of each op to its completion (read-lag: to the first poll that returned the value).");
    if latency.above_max > 0 {
        let _ = write!(html, " {} took more than 10 minutes and are counted as 10 minutes.", words::count(latency.above_max));
    }
    if latency.untracked > 0 {
        let _ = write!(html, " The read lag of {} values is not known: too many were unread at once.", words::count(latency.untracked));
    }
    html.push_str("</p>\n");
    html
}
