//! The faults: what was chosen and why, how it was known to be in force and to be mended; and what it cost each partition.

use std::collections::BTreeMap;
use std::fmt::Write;

use kchaos_checkers::recovery_windows::UnavailableWindow;
use kchaos_core::{FaultEvent, FaultMoment, Key};

use super::svg;
use super::text::{Esc, cut};
use crate::coverage::Exercised;
use crate::report::{RunData, words};

const WINDOWS_SHOWN: usize = 12;

pub(super) fn render(data: &RunData) -> String {
    let mut by_fault: BTreeMap<u32, Vec<&FaultEvent>> = BTreeMap::new();
    for event in data.faults.iter().filter(|event| event.fault_id > 0) {
        by_fault.entry(event.fault_id).or_default().push(event);
    }
    if by_fault.is_empty() {
        return "<p class=\"note\">No fault was asked for.</p>".to_owned();
    }
    let columns = [("#", ""), ("nemesis", ""), ("chosen, and why", ""), ("in force", ""), ("mended", ""), ("held", "")];
    let mut html = svg::table_head("", &columns);
    for (id, events) in &by_fault {
        row(&mut html, *id, events, data.verdict.coverage.iter().find(|one| one.fault_id == *id));
    }
    html.push_str(svg::TABLE_END);
    for note in data.faults.iter().filter(|event| event.fault_id == 0) {
        let _ = write!(html, "<p class=\"note\">{}: {}</p>", words::moment(note.when.before_ns), Esc(note.text.as_deref().unwrap_or("")));
    }
    html
}

fn row(html: &mut String, id: u32, events: &[&FaultEvent], met: Option<&Exercised>) {
    // Mending may have been tried twice.
    let of = |moment: FaultMoment| events.iter().rfind(|event| event.moment == moment).copied();
    let (in_effect, healed, lapsed) = (of(FaultMoment::InEffect), of(FaultMoment::Healed), of(FaultMoment::LeaseLapsed));
    let nemesis = events.first().map_or("", |event| event.nemesis.as_str());
    let _ = write!(html, "<tr><td>{id}</td><td class=\"strong\">{}</td><td>", Esc(nemesis));
    let chosen = events.iter().find(|event| !event.chosen.is_empty()).map(|event| event.chosen.as_slice()).unwrap_or_default();
    for chosen in chosen {
        let _ = write!(
            html,
            "<div><b>{} on {}</b><br><span class=\"muted\">{}</span></div>",
            Esc(&chosen.daemon),
            Esc(&chosen.host),
            Esc(&chosen.evidence)
        );
    }
    for event in events.iter().filter(|event| matches!(event.moment, FaultMoment::Note | FaultMoment::Failed)) {
        let word = if event.moment == FaultMoment::Failed { "Failed: " } else { "" };
        let _ = write!(html, "<div class=\"aside\">{word}{}</div>", Esc(event.text.as_deref().unwrap_or("")));
    }
    html.push_str("</td><td>");
    html.push_str(&moment(in_effect, "never in force"));
    if let Some(met) = met {
        let _ = write!(html, "<div class=\"muted\">It met: {}.</div>", Esc(&met.states.told()));
    }
    html.push_str("</td><td>");
    if let Some(lapsed) = lapsed {
        let _ = write!(html, "<div class=\"aside\">The lease ran out at {}.</div>", words::moment(lapsed.when.before_ns));
    }
    html.push_str(&moment(healed, "not seen mended"));
    html.push_str("</td><td class=\"number\">");
    if let (Some(from), Some(to)) = (in_effect, healed) {
        let _ = write!(html, "{}", words::duration(to.when.before_ns.saturating_sub(from.when.before_ns)));
    }
    html.push_str("</td></tr>\n");
}

/// When, and the probe's answer. A sign and a word beside the colour.
fn moment(event: Option<&FaultEvent>, absent: &str) -> String {
    let Some(event) = event else { return format!("<span class=\"bad\">✗ {absent}</span>") };
    let at = words::moment(event.when.before_ns);
    match &event.proof {
        Some(proof) if proof.proved => {
            format!("<span class=\"good\">✓ {at}</span><br><span class=\"muted\">{}</span>", Esc(cut(&proof.text, 300)))
        }
        Some(proof) => {
            format!("<span class=\"bad\">✗ not proved, {at}</span><br><span class=\"muted\">{}</span>", Esc(cut(&proof.text, 300)))
        }
        None => format!("<span class=\"bad\">✗ no probe, {at}</span>"),
    }
}

/// Windows in which a partition acknowledged nothing although an attempt was open.
pub(super) fn unavailable(data: &RunData) -> String {
    let unavailable = &data.verdict.recovery.unavailable;
    if unavailable.windows.is_empty() {
        return "<p class=\"note\">No partition kept a write waiting for half a second or longer.</p>".to_owned();
    }
    let mut by_key: BTreeMap<Key, Vec<&UnavailableWindow>> = BTreeMap::new();
    for window in &unavailable.windows {
        by_key.entry(window.key).or_default().push(window);
    }
    let columns = [("partition", ""), ("windows", ""), ("longest", ""), ("in all", ""), ("from, and how long", "text")];
    let mut html = svg::table_head("numbers", &columns);
    for (key, windows) in &by_key {
        let longest = windows.iter().map(|window| window.to_ns - window.from_ns).max().unwrap_or(0);
        let total = unavailable.total_ns.get(key).copied().unwrap_or(0);
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"text\">",
            Esc(data.key_name_short(*key)),
            windows.len(),
            words::duration(longest),
            words::duration(total)
        );
        for window in windows.iter().take(WINDOWS_SHOWN) {
            let open = match (window.open_at_start, window.open_at_end) {
                (_, true) => ", open at the end",
                (true, false) => ", from the first attempt",
                (false, false) => "",
            };
            let _ = write!(
                html,
                "<span class=\"window\">{} · <b>{}</b>{open}</span> ",
                words::moment(window.from_ns),
                words::duration(window.to_ns - window.from_ns)
            );
        }
        if windows.len() > WINDOWS_SHOWN {
            let _ = write!(html, "and {} more", windows.len() - WINDOWS_SHOWN);
        }
        html.push_str("</td></tr>\n");
    }
    html.push_str(svg::TABLE_END);
    svg::note(&mut html, "A window opens with the first attempt since the last ack and closes with the next ack.");
    html
}
