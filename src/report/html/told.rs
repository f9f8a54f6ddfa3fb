//! The timeline in words and figures, for those who do not see it, or have no pointer to ask it with: what changed, in order, and what clients felt by
//! stretches of time.

use std::fmt::Write;

use kchaos_checkers::latency_series::Point;

use super::bands::bands;
use super::strips::{Strips, strips};
use super::svg;
use super::text::Esc;
use crate::report::{RunData, words};

const CHANGES_SHOWN: usize = 200;
const STRETCHES_MAX: usize = 48;

pub(super) fn render(data: &RunData) -> String {
    let (changes, stretches) = (changes(data), stretches(data));
    if changes.is_empty() && stretches.is_empty() {
        return String::new();
    }
    format!("<details class=\"more\" id=\"told\"><summary>The same in words and figures</summary>\n{changes}{stretches}</details>\n")
}

fn changes(data: &RunData) -> String {
    let end_ns = data.end_ns().max(1_000_000_000);
    let mut told: Vec<(u64, String)> = bands(&data.faults, end_ns).iter().flat_map(|band| band.ends()).collect();
    let strips = strips(&data.timeline, end_ns);
    partitions(&mut told, data, &strips);
    for segment in &strips.controller {
        told.push((segment.from_ns, segment.value.map_or_else(|| "no controller".to_owned(), |id| format!("controller: broker {id}"))));
    }
    for segment in &strips.zookeeper {
        let leader = segment.value.as_deref().unwrap_or("none");
        told.push((segment.from_ns, format!("ZooKeeper leader: {leader}")));
    }
    for window in &data.verdict.recovery.unavailable.windows {
        let lasted = words::duration(window.to_ns - window.from_ns);
        told.push((window.from_ns, format!("{}: no write is acknowledged for {lasted}", data.key_name_short(window.key))));
    }
    if told.is_empty() {
        return String::new();
    }
    told.sort();
    let mut html = svg::table_head("", "What changed, in order", &[("when", ""), ("what", "")]);
    for (at_ns, what) in told.iter().take(CHANGES_SHOWN) {
        let _ = writeln!(html, "<tr><th scope=\"row\">{}</th><td>{}</td></tr>", words::moment(*at_ns), Esc(what));
    }
    html.push_str(svg::TABLE_END);
    if told.len() > CHANGES_SHOWN {
        svg::note(&mut html, &format!("{} more are in timeline.jsonl and faults.jsonl.", told.len() - CHANGES_SHOWN));
    }
    html
}

fn partitions(told: &mut Vec<(u64, String)>, data: &RunData, strips: &Strips) {
    for (key, strip) in &strips.partitions {
        let name = data.key_name_short(*key);
        for segment in &strip.leaders {
            let (leader, epoch) = segment.value;
            let who = leader.map_or_else(|| "no leader".to_owned(), |id| format!("broker {id} leads"));
            told.push((segment.from_ns, format!("{name}: {who}, epoch {epoch}")));
        }
        for segment in &strip.isr {
            let ids: Vec<String> = segment.value.iter().map(ToString::to_string).collect();
            told.push((segment.from_ns, format!("{name}: {} of {} replicas in sync ({})", ids.len(), strip.isr_max, ids.join(", "))));
        }
    }
}

/// So many points make a stretch that there are no more stretches than a reader listens to.
fn points_each(points: usize) -> usize {
    let rounds = [1, 2, 5, 10, 15, 20, 30, 60, 120, 300];
    rounds.into_iter().find(|each| points.div_ceil(*each) <= STRETCHES_MAX).unwrap_or_else(|| points.div_ceil(STRETCHES_MAX))
}

fn stretches(data: &RunData) -> String {
    let series = &data.latency.series;
    if series.points.is_empty() {
        return String::new();
    }
    let each = points_each(series.points.len());
    let columns = [
        ("from", ""),
        ("acknowledged", ""),
        ("unknown", ""),
        ("failed", ""),
        ("p50", ""),
        ("p99", ""),
        ("max", ""),
        ("unread at its end", ""),
    ];
    let caption = format!("Writes that ended in each {}", words::duration(series.width_ns.saturating_mul(each as u64)));
    let mut html = svg::table_head("numbers", &caption, &columns);
    for (nth, points) in series.points.chunks(each).enumerate() {
        let sum = |of: fn(&Point) -> u64| words::count(points.iter().map(of).sum());
        let most = |of: fn(&Point) -> Option<u64>| points.iter().filter_map(of).max().map_or_else(|| "–".to_owned(), words::duration);
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            words::moment((nth * each) as u64 * series.width_ns),
            sum(|point| point.ok),
            sum(|point| point.info),
            sum(|point| point.fail),
            most(|point| point.p50_ns),
            most(|point| point.p99_ns),
            most(|point| point.max_ns),
            words::count(points.last().map_or(0, |point| point.unseen))
        );
    }
    html.push_str(svg::TABLE_END);
    if each > 1 {
        svg::note(&mut html, "Of latencies, those of the slowest second in it.");
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_is_told_in_no_more_stretches_than_one_listens_to() {
        assert_eq!([0, 1, 48, 49, 112, 1_800].map(points_each), [1, 1, 1, 2, 5, 60]);
        assert!(3_600_usize.div_ceil(points_each(3_600)) <= STRETCHES_MAX);
        assert!(100_000_usize.div_ceil(points_each(100_000)) <= STRETCHES_MAX);
    }
}
