//! A run that goes on: renewed every few seconds from what it writes.

use std::fmt::Write;

use super::super::address::Address;
use super::super::chart::{Chart, Column, Line};
use super::super::live::{Cluster, Fault, SECONDS_MAX, Second, cluster, faults, lines_of, seconds, tail};
use super::super::{TABLE_END, table_head};
use super::run::head;
use super::{Place, link_to, shell, tabs, what};
use crate::report::{Esc, words};
use crate::runs::{Run, State};

const REFRESH_S: u32 = 3;
const CLIENT_LINES: usize = 8;

/// `?renew=no`: whoever reads slowly, or hears it read, is not interrupted.
pub(in super::super) fn page(run: &Run, address: &Address) -> String {
    let is_running = run.state == State::Running;
    let is_renewed = is_running && address.get("renew") != Some("no");
    let mut html = head(run);
    html.push_str(&tabs(run, "Live"));
    if !is_running {
        let _ = write!(html, "<p class=\"lead\">It does not go on any more: <a href=\"{}about\">its page</a>.</p>", link_to(run));
    }
    if is_running {
        html.push_str(&renewal(is_renewed));
    }
    let (by_second, phase) = seconds(&tail(&run.path.join("latency.hlog")));
    let faults = faults(&lines_of(&run.path.join("faults.jsonl")));
    let cluster = cluster(&lines_of(&run.path.join("timeline.jsonl")));
    let elapsed_ns = elapsed_ns(run, &cluster, is_running);
    let now = in_force(&faults);
    figures(&mut html, (elapsed_ns, phase.as_deref(), &now), by_second.iter().next_back(), &faults.values().collect::<Vec<_>>());
    if !by_second.is_empty() {
        pictures(&mut html, &by_second);
    } else if is_running {
        html.push_str("<p class=\"note\">No second of load has been written down yet.</p>");
    }
    fault_table(&mut html, run, &faults.into_values().collect::<Vec<_>>(), elapsed_ns);
    cluster_table(&mut html, run, &cluster);
    client_lines(&mut html, run);
    // A reader of screens says the title each time a page comes.
    let title = if is_running {
        format!("{}, in force: {now}: {}", words::long_duration(elapsed_ns), what(run))
    } else {
        format!("live: {}", what(run))
    };
    shell(&title, Place::Elsewhere, is_renewed.then_some(REFRESH_S), &html)
}

fn renewal(is_renewed: bool) -> String {
    let written = "Latencies are written every 2 s.";
    if is_renewed {
        format!(
            "<p class=\"note\">Renewed every {REFRESH_S} s from the run's files. <a href=\"live?renew=no\">Stop renewing</a>. {written}</p>\n"
        )
    } else {
        let at = chrono::Utc::now().format("%H:%M:%S");
        format!(
            "<p class=\"note\">As it was at {at} UTC, and not renewed. <a href=\"live?renew=no\">Look again</a>, or <a href=\"live\">go on renewing</a>. {written}</p>\n"
        )
    }
}

/// The faults that are in force, by name.
fn in_force(faults: &std::collections::BTreeMap<u32, Fault>) -> String {
    let names: Vec<&str> = faults
        .values()
        .filter(|fault| fault.in_effect_ns.is_some() && fault.healed_ns.is_none())
        .map(|fault| fault.nemesis.as_str())
        .collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn elapsed_ns(run: &Run, cluster: &Cluster, is_running: bool) -> u64 {
    let now_ns = u64::try_from(chrono::Utc::now().timestamp_nanos_opt().unwrap_or(0)).unwrap_or(0);
    if is_running { now_ns.saturating_sub(run.plan.started_at_unix_ns) } else { cluster.seen_ns }
}

fn figures(html: &mut String, (elapsed_ns, phase, in_force): (u64, Option<&str>, &str), last: Option<(&u64, &Second)>, faults: &[&Fault]) {
    html.push_str("<section class=\"figures\" aria-label=\"Key figures\">");
    let mut figure = |name: &str, value: &str, note: &str| {
        let _ = write!(html, "<div class=\"figure\"><span>{}</span><b>{}</b><small>{}</small></div>", Esc(name), Esc(value), Esc(note));
    };
    figure(
        "Since its start",
        &words::long_duration(elapsed_ns),
        phase.map_or("", |phase| match phase {
            "before" => "before the trouble",
            "trouble" => "in the trouble",
            _ => "after the last mend",
        }),
    );
    match last {
        Some((second, last)) => {
            figure("Acknowledged", &format!("{}/s", words::count(last.acknowledged)), &format!("in second {second}"));
            figure("Latency, p50", &words::duration(last.p50_ns), &format!("p99 {}", words::duration(last.p99_ns)));
        }
        None => figure("Acknowledged", "–", "nothing yet"),
    }
    figure(
        "In force now",
        in_force,
        &format!("{} of {} mended", faults.iter().filter(|fault| fault.healed_ns.is_some()).count(), faults.len()),
    );
    html.push_str("</section>\n");
}

fn pictures(html: &mut String, by_second: &std::collections::BTreeMap<u64, Second>) {
    let last = by_second.keys().next_back().copied().unwrap_or(0);
    let first = by_second.keys().next().copied().unwrap_or(0).max((last + 1).saturating_sub(SECONDS_MAX as u64));
    let columns: Vec<Column> = (first..=last)
        .map(|second| Column { label: format!("{second} s"), tip: format!("second {second}"), ..Column::default() })
        .collect();
    let values =
        |of: &dyn Fn(&Second) -> u64| (first..=last).map(|second| by_second.get(&second).map(|found| of(found) as f64)).collect::<Vec<_>>();
    // A second without any ack is no gap here: it is what a reader looks for.
    let rate = (first..=last).map(|second| Some(by_second.get(&second).map_or(0.0, |found| found.acknowledged as f64))).collect();
    let rate = [Line { name: "acks", class: "a", values: rate }];
    let latency = [
        Line { name: "p50", class: "a", values: values(&|second| second.p50_ns) },
        Line { name: "p99", class: "b", values: values(&|second| second.p99_ns) },
    ];
    let _ = write!(
        html,
        "<h2>Acknowledged in each second</h2>{}<h2>Latency</h2>{}",
        Chart { label: "Acknowledged in each second", columns: &columns, lines: &rate, told: &|value| words::count(value as u64) }.draw(),
        Chart { label: "Latency in each second", columns: &columns, lines: &latency, told: &|value| words::duration(value as u64) }.draw()
    );
}

fn fault_table(html: &mut String, run: &Run, faults: &[Fault], now_ns: u64) {
    html.push_str("<h2>Faults</h2>");
    if faults.is_empty() {
        html.push_str("<p>None yet.</p>");
        return;
    }
    let columns = [("fault", ""), ("on", ""), ("state", ""), ("in force at", "number"), ("mended at", "number")];
    html.push_str(&table_head("", "Faults, the newest first", &columns));
    for fault in faults.iter().rev() {
        let at = |ns: Option<u64>| ns.map_or_else(|| "–".to_owned(), words::moment);
        let state = match (fault.in_effect_ns, fault.healed_ns) {
            (Some(_), Some(_)) => "✓ mended".to_owned(),
            (Some(since), None) if fault.is_proved => format!("▸ in force for {}", words::long_duration(now_ns.saturating_sub(since))),
            (Some(_), None) => "? issued, not proved".to_owned(),
            (None, _) if fault.note.is_empty() => "asked for".to_owned(),
            (None, _) => format!("! {}", fault.note),
        };
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>",
            Esc(&fault.nemesis),
            Esc(&fault.on),
            Esc(state),
            at(fault.in_effect_ns),
            at(fault.healed_ns)
        );
    }
    let left = run.plan.schedule.len().saturating_sub(faults.len());
    html.push_str(TABLE_END);
    if left > 0 && run.state == State::Running {
        let _ = write!(html, "<p class=\"note\">{left} more were planned, as far as the time allows.</p>");
    }
}

fn cluster_table(html: &mut String, run: &Run, cluster: &Cluster) {
    if cluster.partitions.is_empty() {
        return;
    }
    let told = |broker: Option<i32>| broker.map_or_else(|| "none".to_owned(), |broker| broker.to_string());
    let gone: Vec<String> = cluster.brokers.iter().filter(|(_, is_there)| !**is_there).map(|(broker, _)| broker.to_string()).collect();
    let zookeepers: Vec<String> = cluster.zookeepers.iter().map(|(host, mode)| format!("{host} {mode}")).collect();
    let _ = write!(
        html,
        "<h2>The cluster, as it was seen last</h2><p>Controller {}{}{}</p>",
        Esc(told(cluster.controller)),
        if gone.is_empty() { String::new() } else { format!(" · <b>gone: broker {}</b>", Esc(gone.join(", "))) },
        if zookeepers.is_empty() { String::new() } else { format!(" · ZooKeeper: {}", Esc(zookeepers.join(", "))) },
    );
    let columns = [("partition", ""), ("leader", ""), ("epoch", "number"), ("in sync", "")];
    html.push_str(&table_head("", "Partitions, as they were seen last", &columns));
    let most = cluster.partitions.values().map(|(_, _, isr)| isr.len()).max().unwrap_or(0);
    for (key, (leader, epoch, isr)) in cluster.partitions.iter().take(64) {
        let name = run
            .plan
            .keys
            .iter()
            .find(|entry| entry.key == *key)
            .map_or_else(|| format!("key {key}"), |entry| format!("{}-{}", entry.topic, entry.partition));
        let isr_text = isr.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"number\">{epoch}</td><td>{}{}</td></tr>",
            Esc(name),
            if leader.is_none() { "<b>none</b>".to_owned() } else { Esc(told(*leader)).to_string() },
            Esc(isr_text),
            if isr.len() < most { " <b>(fewer)</b>" } else { "" }
        );
    }
    html.push_str(TABLE_END);
}

fn client_lines(html: &mut String, run: &Run) {
    let text = tail(&run.path.join("clients.log"));
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().rev().take(CLIENT_LINES).collect();
    if lines.is_empty() {
        return;
    }
    html.push_str("<h2>What the clients said last</h2><pre>");
    for line in lines.iter().rev() {
        let _ = writeln!(html, "{}", Esc(line));
    }
    html.push_str("</pre>\n");
}
