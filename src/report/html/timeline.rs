//! The timeline: everything that changed, one above the other, over one axis of time.
//!
//! It must be readable at a glance and without scripts: what was broken (bands through the whole picture), what the clients felt (throughput and
//! latency), and what the cluster did about it (leaders, in-sync replicas, controller, ZooKeeper). Each plot is an `svg` of its own inside
//! the picture, so that the script can zoom all of them by their view boxes.

use std::fmt::Write;

use kchaos_core::{FaultEvent, FaultMoment, Key};

use super::scale::{Decades, Linear};
use super::strips::{PartitionStrip, Segment, Strips, strips};
use super::text::{Esc, Px};
use crate::report::{RunData, words};

pub(super) const WIDTH: f64 = 1120.0;
const GUTTER: f64 = 116.0;
const PLOT: f64 = WIDTH - GUTTER - 12.0;
/// More strips than this make a picture that nobody reads; partitions that a fault hit come first.
const PARTITIONS_SHOWN: usize = 12;

/// A fault as a band of time.
pub(super) struct Band {
    pub(super) fault_id: u32,
    pub(super) nemesis: String,
    pub(super) hosts: String,
    pub(super) from_ns: u64,
    pub(super) to_ns: u64,
    pub(super) proved: bool,
}

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
    let mut picture = Picture { data, end_ns, y: band_labels_height(&bands), body: String::new() };
    picture.throughput();
    picture.latency();
    let omitted = picture.partitions(&strips);
    picture.owner("controller", &strips.controller, |broker| broker.map(|id| (broker_color(&strips, id), format!("broker {id}"))));
    let hosts = zookeeper_hosts(&strips);
    picture.owner("ZooKeeper leader", &strips.zookeeper, |host| {
        host.as_ref().map(|host| (strips.brokers.len() + hosts.iter().position(|other| *other == host).unwrap_or(0), host.clone()))
    });
    let bottom = picture.y;
    picture.axis(bottom);
    let height = bottom + 24.0;
    let mut svg = format!(
        "<svg id=\"timeline\" class=\"chart\" viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"Timeline of the run: throughput, latency, \
         faults, leaders and in-sync replicas\" data-end=\"{}\" data-gutter=\"{GUTTER}\" data-plot=\"{PLOT}\" data-bottom=\"{}\">\n{HATCHES}",
        Px(height),
        end_ns as f64 / 1e9,
        Px(bottom)
    );
    svg.push_str(&band_layer(&bands, end_ns, bottom));
    svg.push_str(&picture.body);
    svg.push_str("<line id=\"cursor\" class=\"cursor\" y1=\"0\" y2=\"0\" hidden=\"\"/></svg>\n");
    if omitted > 0 {
        let _ = writeln!(svg, "<p class=\"note\">{omitted} more partitions are not drawn; the tables below have them.</p>");
    }
    svg
}

/// Patterns: what is bad is hatched as well as coloured.
const HATCHES: &str = "<defs>\
<pattern id=\"hatch-bad\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><rect width=\"5\" height=\"5\" class=\"hatch-ground\"/>\
<rect width=\"2.4\" height=\"5\" class=\"hatch-line\"/></pattern></defs>\n";

/// Every fault that was in effect, in order.
pub(super) fn bands(faults: &[FaultEvent], end_ns: u64) -> Vec<Band> {
    let mut bands: Vec<Band> = Vec::new();
    for event in faults.iter().filter(|event| event.moment == FaultMoment::InEffect) {
        if bands.iter().any(|band| band.fault_id == event.fault_id) {
            continue;
        }
        let same = || faults.iter().filter(|other| other.fault_id == event.fault_id);
        let ended = same()
            .filter(|other| matches!(other.moment, FaultMoment::Healed | FaultMoment::LeaseLapsed))
            .map(|other| other.when.before_ns)
            .min();
        let chosen = same().find(|other| !other.chosen.is_empty()).map(|other| other.chosen.as_slice()).unwrap_or_default();
        let hosts: Vec<&str> = chosen.iter().map(|chosen| chosen.host.as_str()).collect();
        bands.push(Band {
            fault_id: event.fault_id,
            nemesis: event.nemesis.clone(),
            hosts: hosts.join("+"),
            from_ns: event.when.after_ns,
            to_ns: ended.unwrap_or(end_ns),
            proved: event.proof.as_ref().is_some_and(|proof| proof.proved),
        });
    }
    bands.sort_by_key(|band| band.from_ns);
    bands
}

fn band_labels_height(bands: &[Band]) -> f64 {
    if bands.is_empty() { 6.0 } else { 34.0 }
}

fn band_layer(bands: &[Band], end_ns: u64, bottom: f64) -> String {
    let x = |ns: u64| PLOT * ns as f64 / end_ns as f64;
    let mut content = String::new();
    for (index, band) in bands.iter().enumerate() {
        let (from, to) = (x(band.from_ns), x(band.to_ns));
        let class = if band.proved { "band" } else { "band unproved" };
        let tip = format!(
            "fault {} {} on {}: {} to {}{}",
            band.fault_id,
            band.nemesis,
            band.hosts,
            words::moment(band.from_ns),
            words::moment(band.to_ns),
            if band.proved { "" } else { ", not proved in force" }
        );
        let _ = write!(
            content,
            "<g><title>{}</title><rect class=\"{class}\" x=\"{}\" y=\"0\" width=\"{}\" height=\"{}\"/>\
             <path class=\"band-edge\" d=\"M{} 0V{bottom}M{} 0V{bottom}\"/>",
            Esc(tip),
            Px(from),
            Px((to - from).max(1.0)),
            Px(bottom),
            Px(from),
            Px(to)
        );
        // A label has room until the next band begins.
        let room = bands.get(index + 1).map_or(PLOT, |next| x(next.from_ns)) - from;
        let name = format!("{} {}", band.fault_id, band.nemesis);
        let needed = 6.6 * name.chars().count().max(band.hosts.chars().count() + 3) as f64;
        if room >= needed {
            let _ = write!(
                content,
                "<text class=\"zt band-name\" x=\"{0}\" y=\"13\">{1}</text><text class=\"zt band-host\" x=\"{0}\" y=\"26\">on {2}</text>",
                Px(from + 5.0),
                Esc(&name),
                Esc(&band.hosts)
            );
        } else if room >= 14.0 {
            let _ = write!(content, "<text class=\"zt band-name\" x=\"{}\" y=\"13\">{}</text>", Px(from + 3.0), band.fault_id);
        }
        content.push_str("</g>");
    }
    plot(0.0, bottom, &content)
}

/// A nested picture that zooms along the axis of time only.
fn plot(y: f64, height: f64, content: &str) -> String {
    format!(
        "<svg class=\"plot\" x=\"{GUTTER}\" y=\"{}\" width=\"{PLOT}\" height=\"{h}\" viewBox=\"0 0 {PLOT} {h}\" preserveAspectRatio=\"none\">{content}</svg>\n",
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
        let _ = write!(self.body, "<text class=\"panel\" x=\"{GUTTER}\" y=\"{}\">{}</text>", Px(self.y - 7.0), Esc(text));
        let mut x = GUTTER + 7.2 * text.chars().count() as f64 + 18.0;
        for (class, name) in legend {
            let _ = write!(
                self.body,
                "<line class=\"key {class}\" x1=\"{}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\"/><text class=\"legend\" x=\"{}\" y=\"{}\">{}</text>",
                Px(x),
                Px(x + 14.0),
                Px(x + 19.0),
                Px(self.y - 7.0),
                Esc(name),
                y = Px(self.y - 11.0)
            );
            x += 19.0 + 6.2 * name.chars().count() as f64 + 16.0;
        }
        self.body.push('\n');
    }

    fn tick(&mut self, y: f64, label: &str) {
        let _ = write!(
            self.body,
            "<line class=\"grid\" x1=\"{GUTTER}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\"/><text class=\"tick\" text-anchor=\"end\" x=\"{}\" y=\"{}\">{}</text>",
            Px(GUTTER + PLOT),
            Px(GUTTER - 8.0),
            Px(y + 3.5),
            Esc(label),
            y = Px(y)
        );
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
        let _ = write!(
            self.body,
            "<text class=\"tick\" text-anchor=\"end\" x=\"{}\" y=\"{}\">in sync</text>",
            Px(GUTTER - 8.0),
            Px(self.y + 34.0)
        );
        let mut content = String::new();
        for segment in &strip.leaders {
            let (leader, epoch) = segment.value;
            let cell = leader.map(|id| (broker_color(strips, id), format!("broker {id}")));
            let text = match leader {
                Some(id) => format!("{name}: broker {id} leads, epoch {epoch}"),
                None => format!("{name}: no leader, epoch {epoch}"),
            };
            content.push_str(&self.cell(segment, 0.0, 16.0, cell, &text));
        }
        for window in self.data.verdict.recovery.unavailable.windows.iter().filter(|window| window.key == key) {
            let (from, to) = (self.x(window.from_ns), self.x(window.to_ns));
            let tip = format!(
                "{name}: no write was acknowledged for {} ({} to {})",
                words::duration(window.to_ns - window.from_ns),
                words::moment(window.from_ns),
                words::moment(window.to_ns)
            );
            let _ = write!(
                content,
                "<rect class=\"waiting\" x=\"{}\" y=\"16.5\" width=\"{}\" height=\"5.5\"><title>{}</title></rect>",
                Px(from),
                Px((to - from).max(1.0)),
                Esc(tip)
            );
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
        let mut cell = format!(
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"><title>{}</title></rect>",
            Px(from),
            Px(36.0 - height),
            Px((to - from).max(0.6)),
            Px(height.max(1.0)),
            Esc(tip)
        );
        if size < most && to - from >= 30.0 {
            let _ = write!(cell, "<text class=\"zt isr-size\" x=\"{}\" y=\"35\">{size} of {most}</text>", Px(from + 4.0));
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
            content.push_str(&self.cell(segment, 0.0, 16.0, cell, &text));
        }
        self.body.push_str(&plot(self.y, 16.0, &content));
        self.y += 16.0 + 8.0;
    }

    fn cell<T>(&self, segment: &Segment<T>, y: f64, height: f64, cell: Option<(usize, String)>, text: &str) -> String {
        let (from, to) = (self.x(segment.from_ns), self.x(segment.to_ns));
        let tip = format!("{text}, {} to {}", words::moment(segment.from_ns), words::moment(segment.to_ns));
        let class = cell.as_ref().map_or("nobody".to_owned(), |(color, _)| format!("c{}", color % 8));
        let mut svg = format!(
            "<rect class=\"cell {class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"><title>{}</title></rect>",
            Px(from),
            Px(y),
            Px((to - from).max(0.8)),
            Px(height),
            Esc(tip)
        );
        let label = cell.map_or_else(|| "none".to_owned(), |(_, label)| label);
        // A short segment has room for the number alone.
        let short = label.rsplit(' ').next().unwrap_or_default();
        let shown = [label.as_str(), short].into_iter().find(|text| to - from >= 6.4 * text.chars().count() as f64 + 8.0);
        if let Some(shown) = shown {
            let _ = write!(svg, "<text class=\"zt cell-name\" x=\"{}\" y=\"{}\">{}</text>", Px(from + 5.0), Px(y + 12.0), Esc(shown));
        }
        svg
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
        let _ = write!(
            self.body,
            "<line class=\"axis\" x1=\"{GUTTER}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\"/><g id=\"xticks\">",
            Px(GUTTER + PLOT),
            y = Px(bottom)
        );
        for tick in scale.ticks(12.0) {
            let x = GUTTER + scale.at(tick);
            let _ = write!(
                self.body,
                "<line class=\"axis\" x1=\"{x}\" x2=\"{x}\" y1=\"{}\" y2=\"{}\"/><text class=\"tick\" text-anchor=\"middle\" x=\"{x}\" y=\"{}\">{tick} s</text>",
                Px(bottom),
                Px(bottom + 4.0),
                Px(bottom + 17.0),
                x = Px(x)
            );
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
    let column = |pick: &dyn Fn(&kchaos_checkers::latency_series::Point) -> Option<u64>| {
        let values = series.points.iter().map(|point| pick(point).map_or("null".to_owned(), |value| value.to_string()));
        format!("[{}]", values.collect::<Vec<_>>().join(","))
    };
    let micros = |ns: Option<u64>| ns.map(|ns| ns / 1_000);
    format!(
        "{{\"width\":{},\"ok\":{},\"info\":{},\"fail\":{},\"p50\":{},\"p99\":{},\"max\":{}}}",
        series.width_ns as f64 / 1e9,
        column(&|point| Some(point.ok)),
        column(&|point| Some(point.info)),
        column(&|point| Some(point.fail)),
        column(&|point| micros(point.p50_ns)),
        column(&|point| micros(point.p99_ns)),
        column(&|point| micros(point.max_ns)),
    )
}
