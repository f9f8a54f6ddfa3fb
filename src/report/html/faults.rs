//! The faults: what was planned, what was chosen and why, how it was known to be in force and to be mended, and by whom; the operator's steps; and what
//! it cost each partition.

use std::collections::BTreeMap;
use std::fmt::Write;

use kchaos_checkers::recovery_windows::UnavailableWindow;
use kchaos_core::{FaultEvent, FaultMoment, Key, PlannedFault};

use super::svg;
use super::text::{Esc, cut};
use crate::coverage::Exercised;
use crate::judged::StepState;
use crate::report::{RunData, words};

const WINDOWS_SHOWN: usize = 12;
const PLANNED_SHOWN: usize = 20;

pub(super) fn render(data: &RunData) -> String {
    let mut by_fault: BTreeMap<u32, Vec<&FaultEvent>> = BTreeMap::new();
    for event in data.faults.iter().filter(|event| event.fault_id > 0) {
        by_fault.entry(event.fault_id).or_default().push(event);
    }
    let schedule = &data.plan.schedule;
    if by_fault.is_empty() && schedule.is_empty() {
        return format!("<p class=\"note\">No fault was asked for.</p>{}", steps(data));
    }
    let count = &data.verdict.faults;
    let mut told = format!("{} tried, {} proved in force, {} proved mended.", count.tried, count.in_force, count.mended);
    if !schedule.is_empty() {
        told = format!("{} planned, {} required, {told}", schedule.len(), count.required);
    }
    let columns =
        [("#", ""), ("nemesis, as planned", ""), ("chosen, and why", ""), ("in force", ""), ("mended, and by whom", ""), ("held", "")];
    let mut html = format!("<p class=\"lead\">{told}</p>\n");
    html.push_str(&svg::table_head("", "Faults: what was chosen and why, and how each was known to be in force and mended", &columns));
    for (id, events) in &by_fault {
        row(&mut html, *id, events, (planned(schedule, *id, events), data.verdict.coverage.iter().find(|one| one.fault_id == *id)));
    }
    let tried = by_fault.keys().next_back().map_or(0, |last| *last as usize);
    for (at, fault) in schedule.iter().enumerate().skip(tried).take(PLANNED_SHOWN) {
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\">{}</th><td class=\"strong\">{}<div class=\"muted\">{}</div></td><td colspan=\"4\" class=\"muted\">planned, and not tried</td></tr>",
            at + 1,
            Esc(&fault.nemesis),
            plan_words(fault)
        );
    }
    html.push_str(svg::TABLE_END);
    let more = schedule.len().saturating_sub(tried.saturating_add(PLANNED_SHOWN));
    if more > 0 {
        svg::note(&mut html, &format!("{} more were planned and not tried.", words::count(more as u64)));
    }
    for note in data.faults.iter().filter(|event| event.fault_id == 0) {
        let _ = write!(html, "<p class=\"note\">{}: {}</p>", words::moment(note.when.before_ns), Esc(note.text.as_deref().unwrap_or("")));
    }
    html.push_str(&steps(data));
    html
}

/// The plan's fault of this number, if it is of this nemesis.
fn planned<'a>(schedule: &'a [PlannedFault], id: u32, events: &[&FaultEvent]) -> Option<&'a PlannedFault> {
    let fault = schedule.get((id as usize).checked_sub(1)?)?;
    events.first().is_some_and(|event| event.nemesis == fault.nemesis).then_some(fault)
}

fn plan_words(fault: &PlannedFault) -> String {
    let [wait, duration] = [fault.wait_ms, fault.duration_ms].map(|ms| words::duration(ms.saturating_mul(1_000_000)));
    match fault.at_ms {
        Some(at_ms) => format!("for {duration}, {} into the trouble", words::duration(at_ms.saturating_mul(1_000_000))),
        None if fault.beside => format!("for {duration}, {wait} after the one before it"),
        None => format!("for {duration}, after {wait} of quiet"),
    }
}

/// What an operator did meanwhile, by a plan.
fn steps(data: &RunData) -> String {
    if data.verdict.steps.is_empty() {
        return String::new();
    }
    let columns = [("#", ""), ("step", ""), ("result", ""), ("from", ""), ("took", ""), ("how it is known", "")];
    let mut html = format!("<h3>Steps of the plan</h3>\n{}", svg::table_head("", "Steps of the plan, and what became of them", &columns));
    for step in &data.verdict.steps {
        let (class, sign) = match step.state {
            StepState::Done => ("good", "✓"),
            StepState::Missed | StepState::NotProved => ("warn", "?"),
            StepState::NotDone | StepState::Failed => ("bad", "✗"),
        };
        let took = step.end_ns.map_or_else(|| "–".to_owned(), |end_ns| words::duration(end_ns.saturating_sub(step.begin_ns)));
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\">{}</th><td class=\"strong\">{}</td><td><span class=\"{class}\">{sign} {}</span></td><td class=\"number\">{}</td>\
             <td class=\"number\">{took}</td><td>{}</td></tr>",
            step.number,
            Esc(&step.step),
            step.state.words(),
            words::moment(step.begin_ns),
            Esc(cut(&step.text, 400))
        );
    }
    html.push_str(svg::TABLE_END);
    html
}

fn row(html: &mut String, id: u32, events: &[&FaultEvent], (planned, met): (Option<&PlannedFault>, Option<&Exercised>)) {
    // Mending may have been tried twice.
    let of = |moment: FaultMoment| events.iter().rfind(|event| event.moment == moment).copied();
    let (in_effect, healed, lapsed) = (of(FaultMoment::InEffect), of(FaultMoment::Healed), of(FaultMoment::LeaseLapsed));
    let nemesis = events.first().map_or("", |event| event.nemesis.as_str());
    let planned = planned.map_or_else(String::new, |fault| format!("<div class=\"muted\">{}</div>", plan_words(fault)));
    let _ = write!(html, "<tr><th scope=\"row\">{id}</th><td><span class=\"strong\">{}</span>{planned}</td><td>", Esc(nemesis));
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
    html.push_str(&moment(healed, "not seen mended"));
    // A lease that ran out ended the fault before anybody came to mend it.
    match (lapsed, healed) {
        (Some(lapsed), _) => {
            let _ = write!(
                html,
                "<div class=\"aside\">By its lease on the host, which ran out at {}.</div>",
                words::moment(lapsed.when.before_ns)
            );
        }
        (None, Some(_)) => html.push_str("<div class=\"aside\">By this run.</div>"),
        (None, None) => {}
    }
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
    let columns = [
        ("partition", ""),
        ("windows", ""),
        ("longest", ""),
        ("in all", ""),
        ("of the run", ""),
        ("unknown", ""),
        ("failed", ""),
        ("from, and how long", "text"),
    ];
    let mut html = svg::table_head("numbers", "Windows without an acknowledgement by partition", &columns);
    for (key, windows) in &by_key {
        let longest = windows.iter().map(|window| window.to_ns - window.from_ns).max().unwrap_or(0);
        let total = unavailable.total_ns.get(key).copied().unwrap_or(0);
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{:.1} %</td><td>{}</td><td>{}</td><td class=\"text\">",
            Esc(data.key_name_short(*key)),
            windows.len(),
            words::duration(longest),
            words::duration(total),
            100.0 * total as f64 / data.end_ns().max(1) as f64,
            words::count(windows.iter().map(|window| window.unknown).sum()),
            words::count(windows.iter().map(|window| window.failed).sum())
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
    let omitted = match unavailable.omitted {
        0 => String::new(),
        omitted => format!(" {} more windows were too many to keep; \u{201c}in all\u{201d} has them.", words::count(omitted)),
    };
    let note = format!(
        "A window opens with the first attempt since the last ack and closes with the next ack, if that took half a second or longer. Unknown and \
         failed: attempts that ended in it without an ack.{omitted}"
    );
    svg::note(&mut html, &note);
    html
}
