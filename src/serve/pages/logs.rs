//! What daemons wrote around a moment of a run.

use std::fmt::Write;

use kchaos_core::{FaultEvent, FaultMoment};

use super::super::address::Address;
use super::super::live::lines_of;
use super::super::logs::{Around, Found, Line, around, hosts};
use super::super::{TABLE_END, table_head};
use super::run::head;
use super::{Place, select, shell, tabs, what};
use crate::report::{Esc, words};
use crate::runs::Run;

const SECONDS: f64 = 5.0;
const SECONDS_MAX: f64 = 600.0;

/// `?at=41.2&seconds=5&host=b1&zone=+02:00&looks=shown`: seconds since the run's start.
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
        with_looks: address.get("looks") == Some("shown"),
    };
    let moment = words::moment((at_s * 1e9) as u64);
    let mut html = head(run);
    html.push_str(&tabs(run, "Daemon logs"));
    let _ = write!(html, "<h2>What daemons wrote around {} of the run</h2>", Esc(&moment));
    form(&mut html, (at_s, seconds, zone, asked.with_looks), &hosts, &chosen);
    quick(&mut html, &moments, at_s, address);
    if run.plan.started_at_unix_ns == 0 {
        html.push_str("<p class=\"note\">plan.json does not tell when the run began, so no line can be placed.</p>");
    }
    let wanted: Vec<String> = if chosen.is_empty() { hosts.clone() } else { chosen };
    let Found { lines, left_out, looks: count } = around(&run.path, &wanted, &asked);
    looks(&mut html, count, asked.with_looks, address);
    table(&mut html, &lines, &asked);
    if lines.is_empty() {
        let other = if count > 0 { "anything else" } else { "anything" };
        let _ = write!(
            html,
            "<p>No daemon wrote {other} then. <span class=\"note\">A run that goes on has no daemon logs yet: they are fetched at its end.</span></p>"
        );
    }
    if left_out > 0 {
        let _ = write!(html, "<p class=\"note\">{left_out} more lines are left out: ask for fewer seconds, or for one host.</p>");
    }
    shell(&format!("Daemon logs around {moment}: {}", what(run)), Place::Elsewhere, None, &html)
}

fn form(html: &mut String, (at_s, seconds, zone, with_looks): (f64, f64, &str, bool), hosts: &[String], chosen: &[String]) {
    let _ = write!(
        html,
        "<form class=\"filter\" method=\"get\" aria-label=\"Which lines\"><label>At <input name=\"at\" size=\"8\" inputmode=\"decimal\" value=\"{at_s:.2}\"> s</label> \
         <label>± <input name=\"seconds\" size=\"5\" inputmode=\"decimal\" value=\"{seconds}\"> s</label> "
    );
    select(html, ("host", "Host"), hosts, chosen);
    let _ = writeln!(
        html,
        "<label title=\"Log4j writes the host's local time\">Hosts' zone <input name=\"zone\" size=\"6\" value=\"{}\"></label> \
         <label><input type=\"checkbox\" name=\"looks\" value=\"shown\"{}> kchaos' own looks</label> <button>Show</button></form>",
        Esc(zone),
        if with_looks { " checked" } else { "" }
    );
}

/// What is left out is said, and can be had.
fn looks(html: &mut String, count: usize, are_shown: bool, address: &Address) {
    if count == 0 {
        return;
    }
    let lines = if count == 1 { "1 line".to_owned() } else { format!("{} lines", words::count(count as u64)) };
    let (state, anew, word) = if are_shown { ("shown", "", "hide") } else { ("hidden", "shown", "show") };
    let is = if count == 1 { "is" } else { "are" };
    let _ = writeln!(
        html,
        "<p class=\"looks\">{lines} of kchaos' own looks {is} {state}: <a href=\"logs{}\">{word}<span class=\"unseen\"> the lines of kchaos' own looks</span></a>. \
         <span class=\"note\">It asks ZooKeeper <code>srvr</code>; whoever else asks that is among them.</span></p>",
        Esc(address.again(&[("looks", anew)]))
    );
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

/// Links to what is looked for most; whatever else was asked for stays.
fn quick(html: &mut String, moments: &[(f64, String, &FaultEvent)], shown_s: f64, address: &Address) {
    if moments.is_empty() {
        return;
    }
    html.push_str("<nav class=\"quick\" aria-label=\"Moments of the faults\"><b>Moments:</b> ");
    for (at_s, name, _) in moments.iter().take(40) {
        let at = format!("{at_s:.2}");
        let current = if at == format!("{shown_s:.2}") { " aria-current=\"true\"" } else { "" };
        let _ = write!(html, "<a href=\"logs{}\"{current}>{at_s:.1} s {}</a> ", Esc(address.again(&[("at", &at)])), Esc(name));
    }
    html.push_str("</nav>\n");
}

fn table(html: &mut String, lines: &[Line], asked: &Around) {
    if lines.is_empty() {
        return;
    }
    html.push_str(&table_head("log", "Lines of daemon logs, in order", &[("second", "number"), ("host", ""), ("file", ""), ("line", "")]));
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
            "<tr{class}><th scope=\"row\" class=\"number\">{:.3}</th><td>{}</td><td>{}</td><td><code>{}</code></td></tr>",
            (line.unix_ms - asked.started_unix_ms) as f64 / 1e3,
            Esc(&line.host),
            Esc(&line.file),
            Esc(&line.text)
        );
    }
    html.push_str(TABLE_END);
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
