//! What daemons wrote around a moment of a run.

use std::fmt::Write;

use kchaos_core::{FaultEvent, FaultMoment};

use super::super::address::Address;
use super::super::live::lines_of;
use super::super::logs::{Around, Line, around, hosts};
use super::run::head;
use super::{Place, link_to, select, shell, tabs};
use crate::report::{Esc, words};
use crate::runs::Run;

const SECONDS: f64 = 5.0;
const SECONDS_MAX: f64 = 600.0;

/// `?at=41.2&seconds=5&host=b1&zone=+02:00`: seconds since the run's start.
pub(in super::super) fn page(run: &Run, address: &Address) -> String {
    let hosts = hosts(&run.path);
    let events = lines_of::<FaultEvent>(&run.path.join("faults.jsonl"));
    let moments: Vec<(f64, String, &FaultEvent)> = events.iter().filter_map(moment).collect();
    let number = |name: &str| address.get(name).and_then(|text| text.trim().parse::<f64>().ok()).filter(|value| value.is_finite());
    let at_s = number("at").or_else(|| moments.first().map(|(at_s, ..)| *at_s)).unwrap_or(0.0).max(0.0);
    let seconds = number("seconds").unwrap_or(SECONDS).clamp(0.1, SECONDS_MAX);
    let chosen: Vec<String> = address.all("host").into_iter().filter(|host| hosts.contains(host)).collect();
    let zone = address.get("zone").unwrap_or("+00:00");
    let asked = Around {
        at_unix_ms: i64::try_from(run.plan.started_at_unix_ns / 1_000_000).unwrap_or(0) + (at_s * 1e3) as i64,
        within_ms: (seconds * 1e3) as i64,
        zone_min: zone_of(zone),
        started_unix_ms: i64::try_from(run.plan.started_at_unix_ns / 1_000_000).unwrap_or(0),
    };
    let mut html = head(run);
    html.push_str(&tabs(run, "Daemon logs"));
    let _ = write!(
        html,
        "<h2>What daemons wrote around {} of the run</h2><form class=\"filter\" method=\"get\" aria-label=\"Which lines\">",
        Esc(words::moment((at_s * 1e9) as u64))
    );
    let _ = write!(
        html,
        "<label>At <input name=\"at\" size=\"8\" inputmode=\"decimal\" value=\"{at_s:.2}\"> s</label> \
         <label>± <input name=\"seconds\" size=\"5\" inputmode=\"decimal\" value=\"{seconds}\"> s</label> "
    );
    select(&mut html, ("host", "Host"), &hosts, &chosen);
    let _ = writeln!(
        html,
        "<label title=\"Log4j writes the host's local time\">Hosts' zone <input name=\"zone\" size=\"6\" value=\"{}\"></label> <button>Show</button></form>",
        Esc(zone)
    );
    quick(&mut html, run, &moments, &chosen);
    if run.plan.started_at_unix_ns == 0 {
        html.push_str("<p class=\"note\">plan.json does not tell when the run began, so no line can be placed.</p>");
    }
    let wanted: Vec<String> = if chosen.is_empty() { hosts.clone() } else { chosen };
    let (lines, left_out) = around(&run.path, &wanted, &asked);
    table(&mut html, &lines, &asked);
    if lines.is_empty() {
        html.push_str("<p>No daemon wrote anything then. <span class=\"note\">A run that goes on has no daemon logs yet: they are fetched at its end.</span></p>");
    }
    if left_out > 0 {
        let _ = write!(html, "<p class=\"note\">{left_out} more lines are left out: ask for fewer seconds, or for one host.</p>");
    }
    shell("Daemon logs", Place::Elsewhere, None, &html)
}

/// In effect, and mended.
fn moment(event: &FaultEvent) -> Option<(f64, String, &FaultEvent)> {
    let word = match event.moment {
        FaultMoment::InEffect => "in force",
        FaultMoment::Healed => "mended",
        FaultMoment::LeaseLapsed => "lease lapsed",
        FaultMoment::Failed => "failed",
        _ => return None,
    };
    Some((event.when.before_ns as f64 / 1e9, format!("{} {word}", event.nemesis), event))
}

/// Links to what is looked for most.
fn quick(html: &mut String, run: &Run, moments: &[(f64, String, &FaultEvent)], chosen: &[String]) {
    if moments.is_empty() {
        return;
    }
    html.push_str("<p class=\"quick\">Moments: ");
    let host = chosen.first().map_or_else(String::new, |host| format!("&amp;host={}", super::super::address::encoded(host)));
    for (at_s, name, _) in moments.iter().take(40) {
        let _ = write!(html, "<a href=\"{}logs?at={at_s:.2}{host}\">{at_s:.1} s {}</a> ", link_to(run), Esc(name));
    }
    html.push_str("</p>\n");
}

fn table(html: &mut String, lines: &[Line], asked: &Around) {
    if lines.is_empty() {
        return;
    }
    html.push_str("<div class=\"wide\"><table class=\"log\"><thead><tr><th scope=\"col\" class=\"number\">second</th><th scope=\"col\">host</th><th scope=\"col\">file</th><th scope=\"col\">line</th></tr></thead><tbody>\n");
    for line in lines {
        let class = if line.text.contains(" ERROR ") || line.text.contains(" FATAL ") {
            " class=\"error\""
        } else if line.text.contains(" WARN ") {
            " class=\"warn\""
        } else {
            ""
        };
        let _ = writeln!(
            html,
            "<tr{class}><td class=\"number\">{:.3}</td><td>{}</td><td>{}</td><td><code>{}</code></td></tr>",
            (line.unix_ms - asked.started_unix_ms) as f64 / 1e3,
            Esc(&line.host),
            Esc(&line.file),
            Esc(&line.text)
        );
    }
    html.push_str("</tbody></table></div>\n");
}

/// Minutes east of Greenwich, of `+02:00`; what is no zone is Greenwich.
fn zone_of(text: &str) -> i64 {
    let sign = if text.starts_with('-') || text.starts_with('−') { -1 } else { 1 };
    let digits = text.trim_start_matches(['+', '-', '−', ' ']);
    let (hours, minutes) = digits.split_once(':').unwrap_or((digits, "0"));
    match (hours.parse::<i64>(), minutes.parse::<i64>()) {
        (Ok(hours), Ok(minutes)) if hours <= 14 && minutes < 60 => sign * (hours * 60 + minutes),
        _ => 0,
    }
}
