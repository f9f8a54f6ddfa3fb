//! The table of runs.

use std::fmt::Write;

use serde_json::{Value, json};

use super::super::Site;
use super::super::address::Address;
use super::super::{TABLE_END, table_head, verdict_mark};
use super::{Place, each_once, link_to, named, plain, select, shell};
use crate::report::{Esc, words};
use crate::runs::{self, Brief, Filter, Run, State};

const PER_PAGE: usize = 100;

/// What the query asks for; whatever it says wrongly is told.
pub(super) fn filter(address: &Address) -> Result<Filter, String> {
    let verdicts = address.all("verdict").iter().map(|text| runs::verdict(text)).collect::<Result<_, _>>()?;
    let since = address.get("since").map(runs::moment).transpose()?;
    Ok(Filter { verdicts, workloads: address.all("workload"), nemeses: address.all("nemesis"), since })
}

/// The runs that are asked for, and how many there are.
fn asked(site: &Site, address: &Address) -> Result<(Vec<Run>, Vec<Run>), String> {
    let filter = filter(address)?;
    let all = site.store.runs()?;
    let shown = all.iter().filter(|run| filter.takes(run)).cloned().collect();
    Ok((all, shown))
}

pub(in super::super) fn text(site: &Site, address: &Address) -> String {
    match asked(site, address) {
        Ok((all, shown)) if shown.is_empty() => format!("{}\n", runs::nothing_matches(&all)),
        Ok((_, shown)) => runs::table(&shown),
        Err(why) => format!("{why}\n"),
    }
}

pub(in super::super) fn json(site: &Site, address: &Address) -> Result<Value, String> {
    let (all, shown) = asked(site, address)?;
    Ok(json!({"of": all.len(), "runs": shown.iter().map(Run::json).collect::<Vec<_>>()}))
}

pub(in super::super) fn page(site: &Site, address: &Address) -> String {
    let (all, shown) = match asked(site, address) {
        Ok(found) => found,
        Err(why) => return plain("The runs cannot be shown", &why),
    };
    let mut html = String::new();
    let going_on: Vec<&Run> = all.iter().filter(|run| run.state == State::Running).collect();
    let _ = writeln!(html, "<h1>Runs</h1><p class=\"sentence\">{}</p>", Esc(summary(&all, site)));
    for run in &going_on {
        let _ = writeln!(
            html,
            "<p class=\"lead running\">{} <a href=\"{}live\">{}</a> began {} UTC</p>",
            verdict_mark(run),
            link_to(run),
            Esc(super::what(run)),
            runs::when(run.started)
        );
    }
    form(&mut html, &all, address);
    if all.is_empty() {
        html.push_str("<p>There is no run yet. <code>kchaos test</code> makes one.</p>\n");
    } else if shown.is_empty() {
        let _ = writeln!(html, "<p>{}. <a href=\"/\">Show all</a></p>", Esc(runs::nothing_matches(&all)));
    } else {
        table(&mut html, &shown, address);
    }
    // Never renewed by itself: what is ticked would be lost.
    shell("Runs", Place::Runs, None, &html)
}

/// What came of the last day, in a sentence.
fn summary(all: &[Run], site: &Site) -> String {
    let day_ago = chrono::Utc::now() - chrono::TimeDelta::days(1);
    let told = |runs: &[&Run]| {
        let of = |verdict: &str| runs.iter().filter(|run| run.verdict() == verdict).count();
        let (valid, invalid) = (of("valid"), of("invalid"));
        let other = runs.len() - valid - invalid - of("running");
        format!("{valid} valid, {invalid} invalid, {other} neither")
    };
    let last_day: Vec<&Run> = all.iter().filter(|run| run.started.is_some_and(|started| started > day_ago)).collect();
    let of_all = told(&all.iter().collect::<Vec<_>>());
    let of_day = if last_day.is_empty() {
        "none in the last 24 hours".to_owned()
    } else {
        format!("{} in the last 24 hours: {}", last_day.len(), told(&last_day))
    };
    format!("{} runs in {}: {of_all}; {of_day}.", all.len(), site.store.results().display())
}

fn form(html: &mut String, all: &[Run], address: &Address) {
    html.push_str("<form class=\"filter\" method=\"get\" action=\"/\" aria-label=\"Which runs\">");
    let mut verdicts = each_once(all.iter().map(|run| run.verdict().replace(' ', "-")));
    verdicts.push("failed".to_owned());
    select(html, ("verdict", "Verdict"), &verdicts, &address.all("verdict"));
    select(html, ("workload", "Workload"), &each_once(all.iter().map(|run| run.plan.workload.clone())), &address.all("workload"));
    let nemeses = each_once(all.iter().flat_map(|run| run.plan.nemeses.clone()));
    select(html, ("nemesis", "Nemesis"), &nemeses, &address.all("nemesis"));
    let _ = write!(
        html,
        "<label>Since <input name=\"since\" size=\"15\" placeholder=\"7d or 2026-11-23\" value=\"{}\"></label> <button>Show</button>",
        Esc(address.get("since").unwrap_or_default())
    );
    let query = if address.raw_query.is_empty() { String::new() } else { format!("?{}", address.raw_query) };
    let _ = writeln!(html, " <a href=\"/runs.txt{0}\">text</a> <a href=\"/api/runs{0}\">JSON</a></form>", Esc(&query));
}

fn table(html: &mut String, shown: &[Run], address: &Address) {
    let pages = shown.len().div_ceil(PER_PAGE);
    let nth = address.get("page").and_then(|page| page.parse::<usize>().ok()).unwrap_or(1).clamp(1, pages);
    let columns = [
        ("compare", "unseen"),
        ("began (UTC)", ""),
        ("verdict", ""),
        ("workload × nemeses", ""),
        ("what came of it", ""),
        ("faults", "number"),
        ("acknowledged", "number"),
        ("recovery p50 / max", "number"),
        ("size", "number"),
    ];
    html.push_str("<form method=\"get\" action=\"/compare\" aria-label=\"Runs to compare\">");
    html.push_str(&table_head("runs", "The runs, the newest first", &columns));
    shown.iter().skip((nth - 1) * PER_PAGE).take(PER_PAGE).for_each(|run| row(html, run));
    html.push_str(TABLE_END);
    html.push_str("<p class=\"below\"><button>Compare the chosen</button> <span class=\"note\">two or more: the newest is held against the others</span></p></form>\n");
    if pages > 1 {
        pager(html, (nth, pages), address);
    }
}

fn pager(html: &mut String, (nth, pages): (usize, usize), address: &Address) {
    let _ = write!(html, "<nav class=\"pages\" aria-label=\"Pages of the list\">Page {nth} of {pages}:");
    for page in 1..=pages {
        let to = address.again(&[("page", &page.to_string())]);
        let current = if page == nth { " aria-current=\"page\"" } else { "" };
        let _ = write!(html, " <a href=\"/{}\"{current}><span class=\"unseen\">page </span>{page}</a>", Esc(to));
    }
    html.push_str("</nav>\n");
}

fn row(html: &mut String, run: &Run) {
    let brief = run.brief.as_ref();
    let or = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    let recovery = brief.and_then(Brief::recovery).map(|summary| {
        let middle = summary.middle;
        format!("{} / {}", words::duration(middle.p50_ns), words::duration(middle.max_ns))
    });
    let _ = writeln!(
        html,
        "<tr><td><input type=\"checkbox\" name=\"run\" value=\"{id}\" aria-label=\"compare {id}\"></td><th scope=\"row\" class=\"when\"><a href=\"{link}\">{when}</a></th>\
         <td>{mark}</td><td><a class=\"what\" href=\"{link}\" tabindex=\"-1\">{what}</a><br><span class=\"id\">{named}</span></td><td class=\"told\"><span>{told}</span></td>\
         <td class=\"number\">{faults}</td><td class=\"number\">{acknowledged}</td><td class=\"number\">{recovery}</td><td class=\"number\">{size}</td></tr>",
        id = Esc(&run.id),
        link = link_to(run),
        when = runs::when(run.started),
        mark = verdict_mark(run),
        what = Esc(super::what(run)),
        named = named(run),
        told = Esc(cut(&run.sentence(), 300)),
        faults = or(brief.map(|brief| format!("{}/{}", brief.faults.in_force, brief.faults.required.max(brief.faults.tried)))),
        acknowledged = or(brief.map(|brief| words::count(brief.acknowledged()))),
        recovery = or(recovery),
        size = words::bytes(run.bytes),
    );
}

fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
