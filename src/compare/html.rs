//! A comparison as a page: the same table, with a picture of each change.

use std::fmt::Write;

use super::table::cells;
use super::{Comparison, Judged, Row};
use crate::report::Esc;
use crate::runs::{self, Run};
use crate::serve::{STYLE, TABLE_END, table_head, verdict_mark};

/// A change by so much and more fills its half of the bar.
const FULL_SHARE: f64 = 0.5;

/// A file by itself.
pub(crate) fn page(comparison: &Comparison) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>kchaos compare: {title}</title><style>{STYLE}</style></head><body><main>\n<h1>Compared with before</h1>\n{content}</main></body></html>\n",
        title = Esc(&comparison.run.id),
        content = fragment(comparison, &|run| format!("<b>{}</b>", Esc(&run.id))),
    )
}

/// What stands within a page; `link` says how a run is named.
pub(crate) fn fragment(comparison: &Comparison, link: &dyn Fn(&Run) -> String) -> String {
    let mut html = String::new();
    let is_worse = comparison.rows.iter().any(|row| row.judged() == Judged::Worse);
    let tone = if is_worse || !comparison.unlike.is_empty() { "unknown" } else { "valid" };
    let tone = if comparison.held.iter().any(|held| !held.is_met) { "invalid" } else { tone };
    let _ = write!(html, "<section class=\"lead {tone}\"><p class=\"sentence\">{}</p>", Esc(comparison.sentence()));
    for held in &comparison.held {
        let _ = write!(html, "<p>{} {}</p>", if held.is_met { "✓" } else { "✗" }, Esc(&held.text));
    }
    html.push_str("</section>\n");
    if !comparison.unlike.is_empty() {
        html.push_str("<section class=\"lead unknown\"><p><b>These are not alike, so the figures may say little:</b></p><ul>");
        comparison.unlike.iter().for_each(|why| {
            let _ = write!(html, "<li>{}</li>", Esc(why));
        });
        html.push_str("</ul></section>\n");
    }
    html.push_str(&table_head("pair", "The runs that are compared", &[("side", ""), ("run", ""), ("began (UTC)", ""), ("verdict", "")]));
    for (side, run) in comparison.baseline.iter().map(|run| ("before", run)).chain([("now", &comparison.run)]) {
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{side}</th><td>{}</td><td>{}</td><td>{}</td></tr>",
            link(run),
            Esc(runs::when(run.started)),
            verdict_mark(run)
        );
    }
    html.push_str(TABLE_END);
    figures(&mut html, comparison);
    if !comparison.notes.is_empty() {
        html.push_str("<h2>Also different</h2><ul class=\"note\">");
        comparison.notes.iter().for_each(|note| {
            let _ = write!(html, "<li>{}</li>", Esc(note));
        });
        html.push_str("</ul>\n");
    }
    html
}

fn figures(html: &mut String, comparison: &Comparison) {
    let is_band = comparison.baseline.len() > 1;
    let mut heads = vec![("figure", ""), ("before", "number"), ("band", "number"), ("now", "number"), ("change", "number")];
    heads.extend([("change as a picture", "picture"), ("judged", "")]);
    heads.retain(|(name, _)| is_band || *name != "band");
    html.push_str(&table_head("compare", "Figures of before and now, by group", &heads));
    let columns = heads.len();
    let mut group = "";
    for row in &comparison.rows {
        if row.figure.group != group {
            // The body that the table opens is the first group's.
            let next = if group.is_empty() { "" } else { "</tbody><tbody>" };
            let _ =
                write!(html, "{next}<tr class=\"group\"><th colspan=\"{columns}\" scope=\"rowgroup\">{}</th></tr>", Esc(row.figure.group));
            group = row.figure.group;
        }
        let [_, before, band, now, change] = cells(row);
        let judged = row.judged();
        let band = if is_band { format!("<td class=\"number\">{}</td>", Esc(band)) } else { String::new() };
        let _ = writeln!(
            html,
            "<tr class=\"{word}\"><th scope=\"row\">{label} <span class=\"id\">{name}</span></th><td class=\"number\">{before}</td>{band}<td class=\"number\">{now}</td>\
             <td class=\"number\">{change}</td><td class=\"picture\">{bar}</td><td class=\"judged\">{sign} {word}</td></tr>",
            word = judged.word(),
            name = Esc(&row.figure.name),
            label = Esc(&row.figure.label),
            before = Esc(before),
            now = Esc(now),
            change = Esc(change),
            bar = bar(row),
            sign = judged.sign(),
        );
    }
    html.push_str(TABLE_END);
    let _ = writeln!(
        html,
        "<p class=\"note\">A bar to the right: more than before, to the left: less; a full one is half as much again, or half. {}</p>",
        if is_band {
            "Before is the median of the runs of before; what lies within their band, or within 5 %, is the same."
        } else {
            "Within 5 % is called the same; several runs of before make a band instead."
        }
    );
}

/// To the right of the middle what grew, to the left what shrank.
fn bar(row: &Row) -> String {
    let Some(change) = row.change() else { return String::new() };
    let width = (change.abs() / FULL_SHARE).min(1.0) * 48.0;
    let x = if change >= 0.0 { 50.0 } else { 50.0 - width };
    format!(
        "<svg class=\"bar\" viewBox=\"0 0 100 12\" width=\"160\" height=\"12\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><line x1=\"50\" x2=\"50\" y1=\"0\" y2=\"12\"/>\
         <rect x=\"{x:.1}\" y=\"2\" width=\"{width:.1}\" height=\"8\"/></svg>"
    )
}
