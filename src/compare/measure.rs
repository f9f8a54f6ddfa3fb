//! The figures of one run, by the names under which `--fail-on` knows them.
//!
//! Read leniently: whatever op and whatever phase `latency.json` has is a figure, and what it lacks is none.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::report::words;
use crate::runs::{Distribution, Run, Summary};

/// Of phases of recovery, those that people compare first.
pub(crate) const QUANTILES: [&str; 3] = ["p50", "p99", "max"];

/// What a number is of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    /// `recovery.p99`, `send.trouble.p50`, `throughput.trouble`.
    pub(crate) name: String,
    /// Under which it stands in a table.
    pub(crate) group: &'static str,
    pub(crate) label: String,
    pub(crate) unit: Unit,
    pub(crate) is_more_worse: bool,
    /// Where it stands in a table.
    pub(super) order: (u8, u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Nanoseconds,
    PerSecond,
    Count,
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::PerSecond => "1/s",
            Self::Count => "count",
        }
    }

    pub(crate) fn told(self, value: f64) -> String {
        match self {
            Self::Nanoseconds => words::duration(value as u64),
            Self::PerSecond if value < 100.0 => format!("{value:.1}/s"),
            Self::PerSecond => format!("{}/s", words::count(value.round() as u64)),
            Self::Count => words::count(value.round() as u64),
        }
    }
}

impl Figure {
    /// `recovery, p99`.
    pub(crate) fn words(&self) -> String {
        format!("{}, {}", self.group.to_lowercase(), self.label)
    }

    /// What a sentence names: recovery as a whole rather than its parts, and not the farthest outlier of some thousand sends.
    pub(super) fn is_telling(&self) -> bool {
        self.order.0 <= 4 && !(self.order.0 >= 3 && self.name.ends_with(".max"))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LatencyBrief {
    /// By op, then by phase.
    ops: BTreeMap<String, BTreeMap<String, Distribution>>,
    phases: Vec<(String, u64)>,
    series: SeriesBrief,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SeriesBrief {
    width_ns: u64,
    points: Vec<PointBrief>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PointBrief {
    ok: u64,
}

/// Everything that was measured.
pub(crate) fn of(run: &Run) -> Vec<(Figure, f64)> {
    let latency = std::fs::read(run.path.join("latency.json")).ok();
    let latency: LatencyBrief = latency.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let mut figures = Vec::new();
    throughput(&latency, &mut figures);
    for (op, phases) in &latency.ops {
        for (phase, distribution) in phases.iter().filter(|(_, distribution)| distribution.n > 0) {
            latencies(op, phase, distribution, &mut figures);
        }
    }
    if let Some(brief) = &run.brief {
        for (phase, summary) in &brief.recovery.phases {
            recovery(phase, summary, &mut figures);
        }
        for (phase, due) in brief.recovery.writes_due.iter().filter(|(_, due)| due.n > 0) {
            writes_due(phase, due, &mut figures);
        }
        let unavailable = &brief.recovery.unavailable;
        if unavailable.acks > 0 {
            unavailability(&unavailable.summary, unavailable.total_ns.values().sum(), &mut figures);
        }
    }
    figures
}

fn figure(name: String, (group, label): (&'static str, String), unit: Unit, order: (u8, u32)) -> Figure {
    Figure { name, group, label, unit, is_more_worse: unit != Unit::PerSecond, order }
}

/// Acknowledged writes a second of each phase: of the points that lie within it, and within the time in which anything was acknowledged.
fn throughput(latency: &LatencyBrief, figures: &mut Vec<(Figure, f64)>) {
    let SeriesBrief { width_ns, points } = &latency.series;
    let is_some = |point: &PointBrief| point.ok > 0;
    let (Some(first), Some(last)) = (points.iter().position(is_some), points.iter().rposition(is_some)) else { return };
    let nth_of = |ns: u64| usize::try_from(ns / (*width_ns).max(1)).unwrap_or(usize::MAX);
    for (nth, (phase, from_ns)) in latency.phases.iter().enumerate() {
        let from = nth_of(from_ns + width_ns.saturating_sub(1)).max(first + 1);
        let to = latency.phases.get(nth + 1).map_or(last, |(_, next_ns)| nth_of(*next_ns)).min(last);
        let Some(points) = points.get(from..to).filter(|points| !points.is_empty()) else { continue };
        let ok: u64 = points.iter().map(|point| point.ok).sum();
        let per_second = ok as f64 * 1e9 / (points.len() as f64 * *width_ns as f64);
        let name = format!("throughput.{phase}");
        figures.push((figure(name, ("Acknowledged writes", phase.clone()), Unit::PerSecond, (2, rank(phase))), per_second));
    }
}

fn rank(phase: &str) -> u32 {
    ["before", "trouble", "after"].iter().position(|known| *known == phase).map_or(9, |at| at as u32)
}

fn latencies(op: &str, phase: &str, distribution: &Distribution, figures: &mut Vec<(Figure, f64)>) {
    let (group, at) = match op {
        "send" => ("Latency of sends", 3),
        "txn" => ("Latency of transactions", 4),
        "read-lag" => ("From sending to reading", 6),
        _ => ("Latency of other ops", 7),
    };
    let values = [distribution.p50_ns, distribution.p99_ns, distribution.max_ns];
    for ((quantile, value), nth) in QUANTILES.iter().zip(values).zip(0..) {
        let label = if at == 7 { format!("{op} {phase} {quantile}") } else { format!("{phase} {quantile}") };
        let order = (at, rank(phase) * 8 + nth);
        figures.push((figure(format!("{op}.{phase}.{quantile}"), (group, label), Unit::Nanoseconds, order), value as f64));
    }
}

/// In the order in which an election goes on.
fn place_of(phase: &str) -> u32 {
    crate::slo::METRICS.iter().position(|(name, _)| *name == phase).map_or(99, |at| at as u32)
}

fn recovery(phase: &str, summary: &Summary, figures: &mut Vec<(Figure, f64)>) {
    if summary.n == 0 {
        return;
    }
    // What was never seen to end took longer than anything measured, so no quantile of the others stands for all.
    let is_whole = summary.unseen == 0;
    let is_first = phase == "recovery";
    let (group, at) = if is_first { ("Recovery", 0) } else { ("Parts of recovery", 5) };
    let values = [summary.middle.p50_ns, summary.middle.p99_ns, summary.middle.max_ns];
    for ((quantile, value), nth) in QUANTILES.iter().zip(values).zip(0..).filter(|_| is_whole) {
        let label = if is_first { (*quantile).to_owned() } else { format!("{phase} {quantile}") };
        let order = (at, place_of(phase) * 8 + nth);
        figures.push((figure(format!("{phase}.{quantile}"), (group, label), Unit::Nanoseconds, order), value as f64));
    }
    if is_first {
        figures.push((figure("recovery.unseen".into(), (group, "never came back".into()), Unit::Count, (at, 7)), summary.unseen as f64));
    }
}

fn writes_due(phase: &str, due: &Distribution, figures: &mut Vec<(Figure, f64)>) {
    let group = "Writes due in a phase of the election";
    for ((quantile, value), nth) in QUANTILES.iter().zip([due.p50_ns, due.p99_ns, due.max_ns]).zip(0..) {
        let order = (8, place_of(phase) * 8 + nth);
        figures.push((
            figure(format!("due.{phase}.{quantile}"), (group, format!("{phase} {quantile}")), Unit::Nanoseconds, order),
            value as f64,
        ));
    }
}

fn unavailability(summary: &Summary, total_ns: u64, figures: &mut Vec<(Figure, f64)>) {
    let group = "Without an acknowledgement";
    let values = [summary.middle.p50_ns, summary.middle.p99_ns, summary.middle.max_ns];
    for ((quantile, value), nth) in QUANTILES.iter().zip(values).zip(0..) {
        figures
            .push((figure(format!("unavailable.{quantile}"), (group, (*quantile).to_owned()), Unit::Nanoseconds, (1, nth)), value as f64));
    }
    figures.push((figure("unavailable.total".into(), (group, "total, all partitions".into()), Unit::Nanoseconds, (1, 8)), total_ns as f64));
    figures.push((figure("unavailable.windows".into(), (group, "windows".into()), Unit::Count, (1, 9)), summary.n as f64));
}
