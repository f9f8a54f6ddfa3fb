//! The timeline: everything that changed, one above the other, over one axis of time.
//!
//! It must be readable at a glance and without scripts: what was broken (bands through the whole picture), what the clients felt
//! (throughput and latency), and what the cluster did about it (leaders, in-sync replicas, controller, ZooKeeper). Each plot is an `svg`
//! of its own inside the picture, so that the script can zoom all of them by their view boxes.

use std::fmt::Write;

use kchaos_checkers::latency_series::Point;
use kchaos_core::Key;

use super::bands::{self, Band, bands};
use super::scale::{Decades, Linear};
use super::strips::{PartitionStrip, Segment, Strips, strips};
use super::svg::{self, Anchor};
use super::text::{Esc, Px};
use crate::report::{RunData, words};

const WIDTH: f64 = 1120.0;
const GUTTER: f64 = 116.0;
pub(super) const PLOT: f64 = WIDTH - GUTTER - 20.0;
/// More strips than this make a picture that nobody reads; partitions that a fault hit come first.
const PARTITIONS_SHOWN: usize = 12;
const HOSTS_SHOWN: usize = 12;

struct Picture<'a> {
    data: &'a RunData,
    end_ns: u64,
    y: f64,
    body: String,
}

pub(super) fn render(data: &RunData) -> String {
    let end_ns = data.end_ns().max(1_000_000_000);
    let strips = strips(&data.timeline, end_ns);
    let bands = bands(&data.faults, end_ns);
    let mut picture = Picture { data, end_ns, y: bands::labels_height(&bands), body: String::new() };
    picture.throughput();
    picture.latency();
    picture.unseen();
    let omitted = picture.partitions(&strips);
    picture.owner("controller", &strips.controller, |broker| broker.map(|id| (broker_color(&strips, id), format!("broker {id}"))));
    let hosts = zookeeper_hosts(&strips);
    picture.owner("ZooKeeper leader", &strips.zookeeper, |host| {
        host.as_ref().map(|host| (strips.brokers.len() + hosts.iter().position(|other| *other == host).unwrap_or(0), host.clone()))
    });
    let hosts_omitted = picture.hosts(&bands);
    let bottom = picture.y;
    picture.axis(bottom);
    let height = bottom + 24.0;
    let mut svg = format!(
        "<svg id=\"timeline\" class=\"chart wide\" viewBox=\"0 0 {WIDTH} {}\" role=\"img\" \
         aria-label=\"Timeline of the run: writes per second, latency, unread values, leaders, replicas in sync, controller and faults by host. \
         The same in words and figures follows it.\" \
         data-end=\"{}\" data-gutter=\"{GUTTER}\" data-plot=\"{PLOT}\" data-bottom=\"{}\">\n{HATCHES}",
        Px(height),
        end_ns as f64 / 1e9,
        Px(bottom)
    );
    svg.push_str(&bands::layer(&bands, end_ns, bottom));
    svg.push_str(&picture.body);
    svg.push_str("<line id=\"cursor\" class=\"cursor\" y1=\"0\" y2=\"0\" hidden=\"\"/></svg>\n");
    if hosts_omitted > 0 {
        svg::note(&mut svg, &format!("{hosts_omitted} more hosts were hit and are not drawn; the table of faults has them."));
    }
    if omitted > 0 {
        svg::note(&mut svg, &format!("{omitted} more partitions are not drawn; the tables below have them."));
    }
    svg
}

/// Patterns: what is bad is hatched as well as coloured.
const HATCHES: &str = "<defs>\
<pattern id=\"hatch-bad\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
<rect width=\"5\" height=\"5\" class=\"hatch-ground\"/><rect width=\"2.4\" height=\"5\" class=\"hatch-line\"/></pattern>\
<pattern id=\"hatch-pale\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
<rect width=\"6\" height=\"6\" class=\"hatch-ground\"/><rect width=\"2\" height=\"6\" class=\"hatch-pale\"/></pattern>\
<pattern id=\"hatch-info\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(-45)\">\
<rect width=\"5\" height=\"5\" class=\"hatch-ground\"/><rect width=\"3.4\" height=\"5\" class=\"hatch-info\"/></pattern></defs>\n";

/// A nested picture that zooms along the axis of time only.
pub(super) fn plot(y: f64, height: f64, content: &str) -> String {
    format!(
        "<svg class=\"plot\" x=\"{GUTTER}\" y=\"{}\" width=\"{PLOT}\" height=\"{h}\" viewBox=\"0 0 {PLOT} {h}\" \
         preserveAspectRatio=\"none\">{content}</svg>\n",
        Px(y),
        h = Px(height)
    )
}

impl Picture<'_> {
    fn x(&self, ns: u64) -> f64 {
        PLOT * ns as f64 / self.end_ns as f64
    }

    fn title(&mut self, text: &str, legend: &[(&str, &str)]) {
        self.y += 27.0;
        let (baseline, middle) = (self.y - 7.0, self.y - 11.0);
        svg::text(&mut self.body, "panel", Anchor::Start, GUTTER, baseline, text);
        let mut x = GUTTER + 7.2 * text.chars().count() as f64 + 18.0;
        for (class, name) in legend {
            svg::horizontal(&mut self.body, &format!("key {class}"), middle, x, x + 14.0);
            svg::text(&mut self.body, "legend", Anchor::Start, x + 19.0, baseline, name);
            x += 19.0 + 6.2 * name.chars().count() as f64 + 16.0;
        }
        self.body.push('\n');
    }

    fn tick(&mut self, y: f64, label: &str) {
        svg::horizontal(&mut self.body, "grid", y, GUTTER, GUTTER + PLOT);
        svg::text(&mut self.body, "tick", Anchor::End, GUTTER - 8.0, y + 3.5, label);
    }

    /// Writes that ended in each second, stacked by what became of them.
    fn throughput(&mut self) {
        let series = &self.data.latency.series;
        let seconds = (series.width_ns.max(1)) as f64 / 1e9;
        let rate = |count: u64| count as f64 / seconds;
        let most = series.points.iter().map(|point| rate(point.ok + point.info + point.fail)).fold(1.0, f64::max);
        self.title("Writes per second", &[("ok", "acknowledged"), ("info", "unknown (info)"), ("fail", "failed")]);
        let scale = Linear { max: most * 1.05, pixels: 84.0 };
        for tick in scale.ticks(3.0) {
            self.tick(self.y + 84.0 - scale.at(tick), &words::count(tick as u64));
        }
        let mut content = String::new();
        let mut below = vec![0.0; series.points.len()];
        for (class, value) in [("ok", 0), ("info", 1), ("fail", 2)] {
            let counts = series.points.iter().map(|point| rate([point.ok, point.info, point.fail][value]));
            // What went wrong is seen even if it happened once: two pixels at least.
            let least = if value == 0 { 0.0 } else { scale.max * 2.2 / scale.pixels };
            let height = |count: f64| if count > 0.0 { count.max(least) } else { 0.0 };
            let above: Vec<f64> = counts.zip(&below).map(|(count, below)| height(count) + below).collect();
            if above != below {
                let _ = write!(content, "<path class=\"area {class}\" d=\"{}\"/>", self.area(&below, &above, scale));
            }
            below = above;
        }
        self.body.push_str(&plot(self.y, 84.0, &content));
        self.y += 84.0;
    }

    fn area(&self, below: &[f64], above: &[f64], scale: Linear) -> String {
        let width_ns = self.data.latency.series.width_ns;
        let edges = |index: usize| (self.x(index as u64 * width_ns), self.x((index as u64 + 1) * width_ns));
        let y = |value: f64| Px(scale.pixels - scale.at(value));
        let mut path = String::new();
        // Stretches where nothing is stacked draw nothing.
        let mut index = 0;
        while index < above.len() {
            let start = index;
            while index < above.len() && above[index] > below[index] {
                index += 1;
            }
            if index == start {
                index += 1;
                continue;
            }
            let _ = write!(path, "M{} {}", Px(edges(start).0), y(below[start]));
            for (at, value) in above.iter().enumerate().take(index).skip(start) {
                let (from, to) = edges(at);
                let _ = write!(path, "L{} {}H{}", Px(from), y(*value), Px(to));
            }
            for at in (start..index).rev() {
                let (from, to) = edges(at);
                let _ = write!(path, "L{} {}H{}", Px(to), y(below[at]), Px(from));
            }
            path.push('Z');
        }
        path
    }

    fn latency(&mut self) {
        let series = &self.data.latency.series;
        let values = series.points.iter().flat_map(|point| [point.p50_ns, point.p99_ns, point.max_ns]).flatten();
        let scale = Decades::around(values, 118.0);
        self.title(
            "Write latency from the intended start, by second of its ack",
            &[("p50", "p50"), ("p99", "p99"), ("max", "max"), ("lag", "p99 until read")],
        );
        for (value, name) in scale.ticks() {
            self.tick(self.y + 118.0 - scale.at(value), &name);
        }
        let mut content = String::new();
        for (class, pick) in [("lag", 3), ("max", 2), ("p99", 1), ("p50", 0)] {
            let values = series.points.iter().map(|point| [point.p50_ns, point.p99_ns, point.max_ns, point.read_lag_p99_ns][pick]);
            let _ = write!(content, "<path class=\"line {class}\" d=\"{}\"/>", self.steps(values, scale));
        }
        self.body.push_str(&plot(self.y, 118.0, &content));
        self.y += 118.0;
    }

    fn steps(&self, values: impl Iterator<Item = Option<u64>>, scale: Decades) -> String {
        let width_ns = self.data.latency.series.width_ns;
        let mut path = String::new();
        let mut is_open = false;
        for (index, value) in values.enumerate() {
            let Some(value) = value else {
                is_open = false;
                continue;
            };
            let (from, to) = (self.x(index as u64 * width_ns), self.x((index as u64 + 1) * width_ns));
            let y = scale.pixels - scale.at(value as f64);
            let _ = write!(path, "{}{} {}H{}", if is_open { 'L' } else { 'M' }, Px(from), Px(y), Px(to));
            is_open = true;
        }
        path
    }

    /// What readers had not been given yet: Jepsen's plots of unseen values and of real-time lag.
    fn unseen(&mut self) {
        let points = &self.data.latency.series.points;
        let most = points.iter().map(|point| point.unseen).max().unwrap_or(0);
        if most == 0 {
            return;
        }
        self.title("Acknowledged and not yet read, at each second's end (unseen)", &[]);
        let scale = Linear { max: most as f64 * 1.05, pixels: 48.0 };
        for tick in scale.ticks(2.0) {
            self.tick(self.y + 48.0 - scale.at(tick), &words::count(tick as u64));
        }
        let above: Vec<f64> = points.iter().map(|point| point.unseen as f64).collect();
        let path = self.area(&vec![0.0; above.len()], &above, scale);
        self.body.push_str(&plot(self.y, 48.0, &format!("<path class=\"area unseen-values\" d=\"{path}\"/>")));
        self.y += 48.0;

        let ages = || points.iter().map(|point| (point.unseen_age_ns > 0).then_some(point.unseen_age_ns));
        let scale = Decades::around(ages().flatten(), 56.0);
        self.title("How long the oldest of them had waited (real-time lag)", &[]);
        // There is room for some five names.
        let ticks = scale.ticks();
        for (value, name) in ticks.iter().step_by(1 + ticks.len() / 6) {
            self.tick(self.y + 56.0 - scale.at(*value), name);
        }
        let path = self.steps(ages(), scale);
        self.body.push_str(&plot(self.y, 56.0, &format!("<path class=\"line real-time-lag\" d=\"{path}\"/>")));
        self.y += 56.0;
    }

    /// The faults of each host; gives back how many hosts were left out.
    fn hosts(&mut self, bands: &[Band]) -> usize {
        let hosts = bands::hosts(bands);
        if hosts.is_empty() {
            return 0;
        }
        self.title("Faults by host", &[]);
        for host in hosts.iter().take(HOSTS_SHOWN) {
            self.gutter(host, 12.0);
            self.body.push_str(&plot(self.y, 16.0, &bands::strip(bands, host, self.end_ns)));
            self.y += 16.0 + 6.0;
        }
        hosts.len().saturating_sub(HOSTS_SHOWN)
    }

    /// Leader, waits and in-sync replicas of each partition; gives back how many were left out.
    fn partitions(&mut self, strips: &Strips) -> usize {
        if strips.partitions.is_empty() {
            return 0;
        }
        self.title("Leaders, times without an ack (hatched), and replicas in sync", &[]);
        let hit: Vec<Key> = self.data.verdict.recovery.faults.iter().flat_map(|fault| &fault.keys).map(|key| key.key).collect();
        let mut keys: Vec<Key> = strips.partitions.keys().copied().collect();
        keys.sort_by_key(|key| (!hit.contains(key), *key));
        let omitted = keys.len().saturating_sub(PARTITIONS_SHOWN);
        keys.truncate(PARTITIONS_SHOWN);
        keys.sort_unstable();
        for key in keys {
            self.partition(key, &strips.partitions[&key], strips);
        }
        omitted
    }

    fn partition(&mut self, key: Key, strip: &PartitionStrip, strips: &Strips) {
        let name = self.data.key_name_short(key);
        self.gutter(&name, 12.0);
        svg::text(&mut self.body, "tick", Anchor::End, GUTTER - 8.0, self.y + 34.0, "in sync");
        let mut content = String::new();
        for segment in &strip.leaders {
            let (leader, epoch) = segment.value;
            let cell = leader.map(|id| (broker_color(strips, id), format!("broker {id}")));
            let text = match leader {
                Some(id) => format!("{name}: broker {id} leads, epoch {epoch}"),
                None => format!("{name}: no leader, epoch {epoch}"),
            };
            content.push_str(&self.cell(segment, cell, &text));
        }
        for window in self.data.verdict.recovery.unavailable.windows.iter().filter(|window| window.key == key) {
            let (from, to) = (self.x(window.from_ns), self.x(window.to_ns));
            let tip = format!(
                "{name}: no write was acknowledged for {} ({} to {})",
                words::duration(window.to_ns - window.from_ns),
                words::moment(window.from_ns),
                words::moment(window.to_ns)
            );
            svg::area(&mut content, "waiting", (from, 16.5), ((to - from).max(1.0), 5.5), &tip);
        }
        for segment in &strip.isr {
            content.push_str(&self.isr(segment, strip.isr_max, &name));
        }
        self.body.push_str(&plot(self.y, 36.0, &content));
        self.y += 36.0 + 13.0;
    }

    fn isr(&self, segment: &Segment<Vec<i32>>, most: usize, name: &str) -> String {
        let (from, to) = (self.x(segment.from_ns), self.x(segment.to_ns));
        let size = segment.value.len();
        let height = 12.0 * size as f64 / most.max(1) as f64;
        let class = if size >= most { "isr whole" } else { "isr short" };
        let ids: Vec<String> = segment.value.iter().map(ToString::to_string).collect();
        let tip = format!("{name}: {size} of {most} replicas in sync ({}) from {}", ids.join(", "), words::moment(segment.from_ns));
        let mut cell = String::new();
        svg::area(&mut cell, class, (from, 36.0 - height), ((to - from).max(0.6), height.max(1.0)), &tip);
        if size < most && to - from >= 30.0 {
            svg::text(&mut cell, "zt isr-size", Anchor::Start, from + 4.0, 35.0, &format!("{size} of {most}"));
        }
        cell
    }

    /// A strip of who held a role.
    fn owner<T>(&mut self, name: &str, segments: &[Segment<T>], of: impl Fn(&T) -> Option<(usize, String)>) {
        if segments.is_empty() {
            return;
        }
        self.gutter(name, 12.0);
        let mut content = String::new();
        for segment in segments {
            let cell = of(&segment.value);
            let text = cell.as_ref().map_or_else(|| format!("{name}: none"), |(_, who)| format!("{name}: {who}"));
            content.push_str(&self.cell(segment, cell, &text));
        }
        self.body.push_str(&plot(self.y, 16.0, &content));
        self.y += 16.0 + 8.0;
    }

    fn cell<T>(&self, segment: &Segment<T>, cell: Option<(usize, String)>, text: &str) -> String {
        let (from, to) = (self.x(segment.from_ns), self.x(segment.to_ns));
        let tip = format!("{text}, {} to {}", words::moment(segment.from_ns), words::moment(segment.to_ns));
        let class = cell.as_ref().map_or("nobody".to_owned(), |(color, _)| format!("c{}", color % 8));
        let mut content = String::new();
        svg::area(&mut content, &format!("cell {class}"), (from, 0.0), ((to - from).max(0.8), 16.0), &tip);
        let label = cell.map_or_else(|| "none".to_owned(), |(_, label)| label);
        // A short segment has room for the number alone.
        let short = label.rsplit(' ').next().unwrap_or_default();
        let shown = [label.as_str(), short].into_iter().find(|text| to - from >= 6.4 * text.chars().count() as f64 + 8.0);
        if let Some(shown) = shown {
            svg::text(&mut content, "zt cell-name", Anchor::Start, from + 5.0, 12.0, shown);
        }
        content
    }

    fn gutter(&mut self, text: &str, dy: f64) {
        let short: String = if text.chars().count() > 16 { text.chars().take(15).chain(['…']).collect() } else { text.to_owned() };
        let _ = write!(
            self.body,
            "<text class=\"row\" text-anchor=\"end\" x=\"{}\" y=\"{}\"><title>{}</title>{}</text>",
            Px(GUTTER - 8.0),
            Px(self.y + dy),
            Esc(text),
            Esc(short)
        );
    }

    fn axis(&mut self, bottom: f64) {
        let scale = Linear { max: self.end_ns as f64 / 1e9, pixels: PLOT };
        svg::horizontal(&mut self.body, "axis", bottom, GUTTER, GUTTER + PLOT);
        self.body.push_str("<g id=\"xticks\">");
        for tick in scale.ticks(12.0) {
            let x = GUTTER + scale.at(tick);
            svg::vertical(&mut self.body, "axis", x, bottom, bottom + 4.0);
            svg::text(&mut self.body, "tick", Anchor::Middle, x, bottom + 17.0, &format!("{tick} s"));
        }
        self.body.push_str("</g>\n");
    }
}

fn broker_color(strips: &Strips, broker: i32) -> usize {
    strips.brokers.iter().position(|other| *other == broker).unwrap_or(0)
}

fn zookeeper_hosts(strips: &Strips) -> Vec<&String> {
    let mut hosts: Vec<&String> = strips.zookeeper.iter().filter_map(|segment| segment.value.as_ref()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

/// The series as columns, for the script that shows values under the pointer.
pub(super) fn series_json(data: &RunData) -> String {
    let series = &data.latency.series;
    let column = |pick: &dyn Fn(&Point) -> Option<u64>| {
        let values = series.points.iter().map(|point| pick(point).map_or("null".to_owned(), |value| value.to_string()));
        format!("[{}]", values.collect::<Vec<_>>().join(","))
    };
    let micros = |ns: Option<u64>| ns.map(|ns| ns / 1_000);
    format!(
        "{{\"width\":{},\"ok\":{},\"info\":{},\"fail\":{},\"unseen\":{},\"p50\":{},\"p99\":{},\"max\":{}}}",
        series.width_ns as f64 / 1e9,
        column(&|point| Some(point.ok)),
        column(&|point| Some(point.info)),
        column(&|point| Some(point.fail)),
        column(&|point| Some(point.unseen)),
        column(&|point| micros(point.p50_ns)),
        column(&|point| micros(point.p99_ns)),
        column(&|point| micros(point.max_ns)),
    )
}
