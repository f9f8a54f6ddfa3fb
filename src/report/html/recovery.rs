//! Where the time went after each fault: a bar for each fault and partition, the same as a table, and quantiles by phase over all of them.

use std::fmt::Write;

use kchaos_checkers::recovery::{FaultRecovery, Found, KeyRecovery, Moment, Phase, Span};

use super::scale::Linear;
use super::svg::{self, Anchor};
use super::text::{Esc, Px};
use crate::report::{RunData, words};

const WIDTH: f64 = 1120.0;
const GUTTER: f64 = 250.0;
const RIGHT: f64 = 74.0;
const ROW: f64 = 25.0;
const ROWS_SHOWN: usize = 60;
/// The columns of the table by fault.
const PHASES: [(Phase, &str); 8] = [
    (Phase::Detection, "detection"),
    (Phase::Election, "election"),
    (Phase::Propagation, "propagation"),
    (Phase::Client, "client"),
    (Phase::Recovery, "writes back after"),
    (Phase::Read, "read after"),
    (Phase::Isr, "in sync, from mend"),
    (Phase::PreferredLeader, "old leader back"),
];
/// Each part of a bar has a pattern of its own, beside its colour and its place.
const PATTERNS: &str = "<defs>\
<pattern id=\"part-detection\" width=\"4\" height=\"4\" patternUnits=\"userSpaceOnUse\"><rect width=\"4\" height=\"4\" class=\"pale of-detection\"/></pattern>\
<pattern id=\"part-election\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
<rect width=\"5\" height=\"5\" class=\"pale of-election\"/><rect width=\"2.6\" height=\"5\" class=\"of-election\"/></pattern>\
<pattern id=\"part-propagation\" width=\"4\" height=\"4\" patternUnits=\"userSpaceOnUse\">\
<rect width=\"4\" height=\"4\" class=\"pale of-propagation\"/><rect width=\"4\" height=\"2\" class=\"of-propagation\"/></pattern>\
<pattern id=\"part-client\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\">\
<rect width=\"5\" height=\"5\" class=\"pale of-client\"/><circle cx=\"2.5\" cy=\"2.5\" r=\"1.5\" class=\"of-client\"/></pattern></defs>\n";

pub(super) fn render(data: &RunData) -> String {
    let recovery = &data.verdict.recovery;
    if recovery.phases.is_empty() && recovery.faults.iter().all(|fault| fault.keys.is_empty()) {
        return "<p class=\"note\">No fault of this run took a leader away.</p>".to_owned();
    }
    let mut html = bars(data);
    html.push_str(&by_fault(data));
    html.push_str(&table(data));
    html.push_str(&missing(data));
    html
}

/// The moments that bound a bar's parts, as nanoseconds after the start, with how far each may be off.
struct Parts {
    boundaries: Vec<(&'static str, u64, u64, u64)>,
    total_ns: Option<u64>,
}

fn parts(key: &KeyRecovery, session_gone: &Moment) -> Option<Parts> {
    let start = key.start.seen()?.middle_ns();
    let is_orderly = matches!(key.phases.get(&Phase::Detection), Some(Found::NotApplicable { .. }));
    let mut boundaries: Vec<(&'static str, u64, u64, u64)> = Vec::new();
    let moments = [
        ("detection", (!is_orderly).then_some(session_gone)),
        ("election", Some(&key.elected)),
        ("propagation", Some(&key.metadata_first)),
        ("client", Some(&key.acked)),
    ];
    for (name, moment) in moments {
        let Some(when) = moment.and_then(Found::seen) else { continue };
        let relative = |ns: u64| ns.saturating_sub(start);
        let at = relative(when.middle_ns()).max(boundaries.last().map_or(0, |last| last.1));
        boundaries.push((name, at, relative(when.after_ns), relative(when.before_ns)));
    }
    let total_ns = key.acked.seen().map(|acked| acked.middle_ns().saturating_sub(start));
    Some(Parts { boundaries, total_ns })
}

fn bars(data: &RunData) -> String {
    let rows: Vec<(&FaultRecovery, &KeyRecovery, Parts)> = data
        .verdict
        .recovery
        .faults
        .iter()
        .flat_map(|fault| fault.keys.iter().filter_map(move |key| Some((fault, key, parts(key, &fault.session_gone)?))))
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let longest = rows.iter().flat_map(|(_, _, parts)| parts.boundaries.iter().map(|boundary| boundary.3)).max().unwrap_or(0);
    let scale = Linear { max: (longest as f64 / 1e9 * 1.04).max(0.1), pixels: WIDTH - GUTTER - RIGHT };
    let shown = rows.len().min(ROWS_SHOWN);
    let height = 30.0 + ROW * shown as f64 + 26.0;
    let mut svg = format!(
        "<div class=\"scroll\"><svg class=\"chart wide\" viewBox=\"0 0 {WIDTH} {}\" role=\"img\" \
         aria-label=\"Recovery of each partition from each fault, by phase; the table below tells the same\">{PATTERNS}",
        Px(height)
    );
    legend(&mut svg);
    let bottom = height - 24.0;
    for tick in scale.ticks(10.0) {
        let x = GUTTER + scale.at(tick);
        svg::vertical(&mut svg, "grid", x, 24.0, bottom);
        svg::text(&mut svg, "tick", Anchor::Middle, x, bottom + 15.0, &format!("{} s", (tick * 1e6).round() / 1e6));
    }
    let mut before = None;
    for (index, (fault, key, parts)) in rows.iter().take(shown).enumerate() {
        let y = 28.0 + ROW * index as f64;
        let name = if before == Some(fault.fault_id) { String::new() } else { format!("{} {}", fault.fault_id, fault.nemesis) };
        before = Some(fault.fault_id);
        row(&mut svg, y, &name, &label(data, key), parts, scale);
    }
    svg.push_str("</svg></div>\n");
    if rows.len() > shown {
        svg::note(&mut svg, &format!("{} more are in verdict.json.", rows.len() - shown));
    }
    svg
}

fn label(data: &RunData, key: &KeyRecovery) -> String {
    let id = |broker: Option<i32>| broker.map_or_else(|| "?".to_owned(), |id| id.to_string());
    format!(
        "{}, {} → {}",
        data.key_name_short(key.key),
        id(key.old_leader),
        if key.new_leader.is_some() { id(key.new_leader) } else { "same".into() }
    )
}

fn legend(svg: &mut String) {
    let mut x = GUTTER;
    for (class, text) in [
        ("detection", "detection: session still held"),
        ("election", "election"),
        ("propagation", "propagation: first broker knows"),
        ("client", "client: until the first ack"),
    ] {
        svg::area(svg, &format!("part {class}"), (x, 4.0), (12.0, 10.0), "");
        svg::text(svg, "legend", Anchor::Start, x + 17.0, 13.0, text);
        x += 17.0 + 6.3 * text.chars().count() as f64 + 14.0;
    }
}

fn row(svg: &mut String, y: f64, name: &str, label: &str, parts: &Parts, scale: Linear) {
    // Both stand beside the bar: a long name makes room for the partition. It is whole in the timeline and in the list of faults.
    let room = ((GUTTER - 24.0 - 6.0 * label.chars().count() as f64) / 7.0).max(6.0) as usize;
    let name = match name.char_indices().nth(room) {
        Some((end, _)) => &format!("{}…", &name[..end]),
        None => name,
    };
    svg::text(svg, "row strong", Anchor::Start, 0.0, y + 13.0, name);
    svg::text(svg, "row", Anchor::End, GUTTER - 10.0, y + 13.0, label);
    let x = |ns: u64| GUTTER + scale.at(ns as f64 / 1e9);
    let mut from_ns = 0;
    for (class, at_ns, _, _) in &parts.boundaries {
        let (from, to) = (x(from_ns), x(*at_ns));
        let text = format!("{class} {}", words::duration(at_ns - from_ns));
        svg::area(svg, &format!("part {class}"), (from, y), ((to - from).max(0.0), 16.0), &text);
        if to - from > 6.6 * text.chars().count() as f64 {
            svg::text(svg, "part-name", Anchor::Start, from + 6.0, y + 12.0, &text);
        }
        from_ns = *at_ns;
    }
    // Whiskers: between which two looks the observer saw each boundary.
    for (_, _, least_ns, most_ns) in &parts.boundaries {
        let (from, to) = (x(*least_ns), x(*most_ns));
        if to - from > 1.0 {
            let _ = write!(
                svg,
                "<path class=\"whisker\" d=\"M{0} {1}V{2}M{0} {3}H{4}M{4} {1}V{2}\"/>",
                Px(from),
                Px(y + 17.5),
                Px(y + 21.5),
                Px(y + 19.5),
                Px(to)
            );
        }
    }
    let end = x(parts.boundaries.iter().map(|boundary| boundary.1.max(boundary.3)).max().unwrap_or(0));
    let text = parts.total_ns.map_or_else(|| "not back".to_owned(), words::duration);
    svg::text(svg, "row strong", Anchor::Start, end + 7.0, y + 13.0, &text);
}

/// One row for each fault and partition: how long each phase lasted, or why there is none.
fn by_fault(data: &RunData) -> String {
    let faults = &data.verdict.recovery.faults;
    if faults.is_empty() {
        return String::new();
    }
    let mut columns = vec![("fault", ""), ("partition, leaders", "text")];
    columns.extend(PHASES.map(|(_, name)| (name, "")));
    let mut html = format!("<h3>By fault</h3>\n{}", svg::table_head("numbers", "Recovery of each partition from each fault", &columns));
    let mut rows = 0;
    for fault in faults {
        let name = format!("{} {}", fault.fault_id, fault.nemesis);
        let of_the_fault = of_the_fault(fault);
        if fault.keys.is_empty() {
            let _ = writeln!(
                html,
                "<tr><th scope=\"row\">{}{of_the_fault}</th><td class=\"text\" colspan=\"9\">took no leader away</td></tr>",
                Esc(&name)
            );
            continue;
        }
        for (at, key) in fault.keys.iter().enumerate() {
            rows += 1;
            if rows > ROWS_SHOWN {
                continue;
            }
            let name =
                if at == 0 { format!("{}{of_the_fault}", Esc(&name)) } else { format!("<span class=\"muted\">{}</span>", Esc(&name)) };
            let _ = write!(html, "<tr><th scope=\"row\">{name}</th><td class=\"text\">{}</td>", Esc(label(data, key)));
            for (phase, _) in PHASES {
                html.push_str(&cell(key.phases.get(&phase), phase == Phase::Recovery));
            }
            html.push_str("</tr>\n");
        }
    }
    html.push_str(svg::TABLE_END);
    if rows > ROWS_SHOWN {
        svg::note(&mut html, &format!("{} more are in verdict.json.", rows - ROWS_SHOWN));
    }
    html.push_str(&how_exact(data));
    html
}

/// What stands under the pointer as well, for those who have none: between which bounds each phase lies, and why one is missing.
fn how_exact(data: &RunData) -> String {
    let mut items = String::new();
    let keys = data.verdict.recovery.faults.iter().flat_map(|fault| fault.keys.iter().map(move |key| (fault, key)));
    for (fault, key) in keys.take(ROWS_SHOWN) {
        let told: Vec<String> =
            PHASES.iter().filter_map(|(phase, name)| Some(format!("{name} {}", bounds(key.phases.get(phase)?)))).collect();
        let whose = format!("{} {}, {}: {}.", fault.fault_id, fault.nemesis, label(data, key), told.join("; "));
        let _ = writeln!(items, "<li>{}</li>", Esc(whose));
    }
    if items.is_empty() {
        return String::new();
    }
    format!(
        "<details class=\"more\"><summary>How exact each of them is, and why some are missing</summary>\n<ul class=\"plain\">{items}</ul></details>\n"
    )
}

fn bounds(found: &Found<Span>) -> String {
    match found {
        Found::Seen(span) => format!("{} to {}", words::duration(span.at_least_ns), words::duration(span.at_most_ns)),
        Found::Unseen { unseen } => format!("never seen ({unseen})"),
        Found::NotApplicable { not_applicable } => format!("not owed ({not_applicable})"),
    }
}

/// What concerns no partition alone, and that a fault was not proved.
fn of_the_fault(fault: &FaultRecovery) -> String {
    let mut html = String::new();
    if !fault.proved {
        html.push_str("<div class=\"warn\">? not proved in force</div>");
    }
    for (phase, name) in [(Phase::Controller, "new controller"), (Phase::ZookeeperElection, "new ZooKeeper leader")] {
        if let Some(Found::Seen(span)) = fault.phases.get(&phase) {
            let _ = write!(html, "<div class=\"muted\">{name} in {}</div>", words::duration(span.middle_ns()));
        }
    }
    html
}

fn cell(found: Option<&Found<Span>>, is_total: bool) -> String {
    match found {
        Some(Found::Seen(span)) => {
            let bounds = format!("not less than {}, not more than {}", words::duration(span.at_least_ns), words::duration(span.at_most_ns));
            let (open, close) = if is_total { ("<b>", "</b>") } else { ("", "") };
            format!("<td title=\"{bounds}\">{open}{}{close}</td>", words::duration(span.middle_ns()))
        }
        Some(Found::Unseen { unseen }) => format!("<td title=\"{}\"><span class=\"bad\">✗ never</span></td>", Esc(unseen)),
        Some(Found::NotApplicable { not_applicable }) => format!("<td title=\"{}\">–</td>", Esc(not_applicable)),
        None => "<td>–</td>".to_owned(),
    }
}

fn table(data: &RunData) -> String {
    let columns = [
        ("phase", ""),
        ("from → to", "text"),
        ("n", ""),
        ("p50", ""),
        ("p95", ""),
        ("p99", ""),
        ("max", ""),
        ("± interval", ""),
        ("never seen", ""),
    ];
    let mut html =
        format!("<h3>Over all faults</h3>\n{}", svg::table_head("numbers", "Phases of recovery over all faults and partitions", &columns));
    for phase in Phase::ALL {
        let Some(summary) = data.verdict.recovery.phases.get(phase) else { continue };
        let class = if *phase == Phase::Recovery { " class=\"total\"" } else { "" };
        let _ = write!(
            html,
            "<tr{class}><th scope=\"row\">{}</th><td class=\"text\">{}</td><td>{}</td>",
            phase.name(),
            Esc(phase.about()),
            words::count(summary.n)
        );
        let middle = &summary.middle;
        for value in [middle.p50_ns, middle.p95_ns, middle.p99_ns, middle.max_ns] {
            let text = if summary.n == 0 { "–".to_owned() } else { words::duration(value) };
            let _ = write!(html, "<td>{text}</td>");
        }
        let half = |ns: u64| words::duration(ns / 2);
        let width = if summary.width.max_ns == 0 {
            "exact".to_owned()
        } else {
            format!("± {} (max {})", half(summary.width.p50_ns), half(summary.width.max_ns))
        };
        let unseen = if summary.unseen == 0 { "0".to_owned() } else { format!("<strong class=\"bad\">✗ {}</strong>", summary.unseen) };
        let _ = writeln!(html, "<td>{width}</td><td>{unseen}</td></tr>");
    }
    html.push_str(svg::TABLE_END);
    svg::note(
        &mut html,
        "Over all faults proved in force and all partitions whose leader they took. Quantiles are of the middles of the observed intervals, whose \
         half widths (median and greatest) stand beside them; thresholds are judged by their upper ends.",
    );
    html
}

/// Moments that were owed and never seen, with why.
fn missing(data: &RunData) -> String {
    let mut items = String::new();
    for fault in &data.verdict.recovery.faults {
        for key in &fault.keys {
            let moments = [
                ("new leader", &key.elected),
                ("metadata", &key.metadata_last),
                ("first ack", &key.acked),
                ("first read", &key.read),
                ("ISR", &key.isr_whole),
            ];
            for (name, moment) in moments {
                if let Found::Unseen { unseen } = moment {
                    let whose = format!("Fault {}, {}: {name}: {unseen}", fault.fault_id, data.key_name_short(key.key));
                    let _ = writeln!(items, "<li>{}</li>", Esc(whose));
                }
            }
        }
    }
    if items.is_empty() { String::new() } else { format!("<h3>Never seen</h3>\n<ul class=\"plain\">{items}</ul>\n") }
}
