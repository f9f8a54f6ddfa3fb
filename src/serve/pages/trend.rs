//! Recovery and latency over nights: a picture for each kind of run.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::super::address::Address;
use super::super::chart::{Chart, Column, Line};
use super::super::store::Measured;
use super::super::{Site, TABLE_END, table_head, tone};
use super::{Place, each_once, link_to, plain, select, shell, what};
use crate::report::{Esc, words};
use crate::runs::{self, Run};

/// Kinds of runs on one page, those with the most runs first.
const KINDS_MAX: usize = 12;
/// Of one kind, the newest.
const RUNS_MAX: usize = 120;

/// A title, the name in a table, and lines by their names.
type Shown = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const PICTURES: [Shown; 3] = [
    (
        "Recovery: from the fault to the first write that was acknowledged again",
        "recovery",
        &[("p50", "recovery.p50"), ("p99", "recovery.p99"), ("max", "recovery.max")],
    ),
    ("Latency of sends while there was no trouble yet", "sends", &[("p50", "send.before.p50"), ("p99", "send.before.p99")]),
    ("Longest time without an acknowledgement", "without an ack", &[("max", "unavailable.max")]),
];

pub(in super::super) fn page(site: &Site, address: &Address) -> String {
    let (all, filter) = match (site.store.runs(), super::list::filter(address)) {
        (Ok(all), Ok(filter)) => (all, filter),
        (Err(why), _) | (_, Err(why)) => return plain("The trend cannot be shown", &why),
    };
    let mut html = String::from(
        "<h1>Trend</h1><p class=\"sentence\">How long recovery and sends took, run after run. A point leads to its run, and so does the table below.</p>\n",
    );
    form(&mut html, &all, address);
    let mut kinds: BTreeMap<String, Vec<&Run>> = BTreeMap::new();
    // Oldest first, so that time goes to the right.
    for run in all.iter().rev().filter(|run| run.brief.is_some() && filter.takes(run)) {
        let cluster = run.cluster().map_or_else(String::new, |cluster| format!(" on {cluster}"));
        kinds.entry(format!("{}{cluster}", what(run))).or_default().push(run);
    }
    let mut kinds: Vec<(String, Vec<&Run>)> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, runs)| std::cmp::Reverse(runs.len()));
    if kinds.is_empty() {
        html.push_str("<p>No run with a verdict is asked for. <a href=\"/trend\">Show all</a></p>");
    }
    for (name, runs) in kinds.iter().take(KINDS_MAX) {
        kind(&mut html, name, &runs[runs.len().saturating_sub(RUNS_MAX)..], site);
    }
    if kinds.len() > KINDS_MAX {
        let _ = write!(
            html,
            "<p class=\"note\">{} other kinds of runs are left out: ask for a workload or a nemesis.</p>",
            kinds.len() - KINDS_MAX
        );
    }
    shell("Trend", Place::Trend, None, &html)
}

fn form(html: &mut String, all: &[Run], address: &Address) {
    html.push_str("<form class=\"filter\" method=\"get\" action=\"/trend\" aria-label=\"Which runs\">");
    select(html, ("workload", "Workload"), &each_once(all.iter().map(|run| run.plan.workload.clone())), &address.all("workload"));
    select(html, ("nemesis", "Nemesis"), &each_once(all.iter().flat_map(|run| run.plan.nemeses.clone())), &address.all("nemesis"));
    let _ = writeln!(
        html,
        "<label>Since <input name=\"since\" size=\"15\" placeholder=\"30d or 2026-11-23\" value=\"{}\"></label> <button>Show</button></form>",
        Esc(address.get("since").unwrap_or_default())
    );
}

fn kind(html: &mut String, name: &str, runs: &[&Run], site: &Site) {
    let noun = if runs.len() == 1 { "run" } else { "runs" };
    let _ = writeln!(html, "<section><h2>{} <span class=\"note\">{} {noun}</span></h2>", Esc(name), runs.len());
    let measured: Vec<_> = runs.iter().map(|run| site.store.measured(run)).collect();
    let mut drawn = 0;
    for (title, _, figures) in PICTURES {
        let lines: Vec<Line> = figures
            .iter()
            .zip(["a", "b", "c"])
            .map(|((label, figure), class)| Line {
                name: label,
                class,
                values: measured.iter().map(|of| of.iter().find(|(known, _)| known.name == *figure).map(|(_, value)| *value)).collect(),
            })
            .filter(|line| line.values.iter().any(Option::is_some))
            .collect();
        if lines.is_empty() {
            continue;
        }
        let columns: Vec<Column> = runs.iter().map(|run| column(run)).collect();
        let _ = write!(
            html,
            "<h3>{title}</h3>{}",
            Chart { label: &format!("{name}: {title}"), columns: &columns, lines: &lines, told: &|ns| words::duration(ns as u64) }.draw()
        );
        drawn += 1;
    }
    if drawn == 0 {
        html.push_str("<p class=\"note\">Nothing was measured in them.</p>");
    }
    table(html, (name, runs), &measured);
    html.push_str("</section>\n");
}

fn column(run: &Run) -> Column {
    Column {
        label: run.started.map_or_else(String::new, |at| at.format("%m-%d %H:%M").to_string()),
        tip: format!("{} {}", runs::when(run.started), run.verdict()),
        link: Some(link_to(run)),
        mark: Some((runs::sign(run), tone(run))),
    }
}

/// The same in figures, for those who do not see pictures or have no pointer.
fn table(html: &mut String, (name, runs): (&str, &[&Run]), measured: &[Measured]) {
    let value = |of: &Measured, figure: &str| of.iter().find(|(known, _)| known.name == figure).map(|(_, value)| *value);
    let figures =
        PICTURES.iter().flat_map(|(_, what, figures)| figures.iter().map(move |(label, figure)| (format!("{what} {label}"), *figure)));
    let figures: Vec<(String, &str)> = figures.filter(|(_, figure)| measured.iter().any(|of| value(of, figure).is_some())).collect();
    let mut columns = vec![("began (UTC)", ""), ("verdict", "")];
    columns.extend(figures.iter().map(|(label, _)| (label.as_str(), "number")));
    html.push_str("<details><summary>The same as a table");
    let _ = write!(html, "<span class=\"unseen\">: {}</span></summary>", Esc(name));
    html.push_str(&table_head("", &format!("{name}: its runs, the newest first"), &columns));
    for (run, of) in runs.iter().zip(measured).rev() {
        let _ = write!(
            html,
            "<tr><th scope=\"row\"><a href=\"{}\">{}</a></th><td>{}</td>",
            link_to(run),
            runs::when(run.started),
            super::super::verdict_mark(run)
        );
        for (_, figure) in &figures {
            let told = value(of, figure).map_or_else(|| "–".to_owned(), |ns| words::duration(ns as u64));
            let _ = write!(html, "<td class=\"number\">{told}</td>");
        }
        html.push_str("</tr>\n");
    }
    html.push_str(TABLE_END);
    html.push_str("</details>\n");
}
