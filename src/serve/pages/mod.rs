//! The pages. Each says one thing, without a script; whatever comes from a run is escaped.

mod compare;
mod list;
mod live;
mod logs;
mod run;
mod trend;

use std::fmt::Write;

use crate::report::Esc;
use crate::runs::Run;

use super::address::encoded;

pub(super) use compare::{compared, page as compare};
pub(super) use list::{json as list_json, page as list, text as list_text};
pub(super) use live::page as live;
pub(super) use logs::page as logs;
pub(super) use run::{json as run_json, page as run};
pub(super) use trend::page as trend;

/// Which page of the site one is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Runs,
    Trend,
    Elsewhere,
}

/// What every page has around it.
fn shell(title: &str, place: Place, refresh_s: Option<u32>, content: &str) -> String {
    let refresh = refresh_s.map_or_else(String::new, |s| format!("<meta http-equiv=\"refresh\" content=\"{s}\">"));
    let nav = |of: Place, to: &str, name: &str| {
        let current = if of == place { " aria-current=\"page\"" } else { "" };
        format!("<a href=\"{to}\"{current}>{name}</a>")
    };
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">{refresh}<title>{title} · kchaos</title><link rel=\"stylesheet\" href=\"/style.css\"></head><body>\
         <a class=\"skip\" href=\"#content\">To the content</a><nav aria-label=\"Pages\"><b>kchaos</b> {runs} {trend}</nav>\n<main id=\"content\" tabindex=\"-1\">\n{content}</main></body></html>\n",
        title = Esc(title),
        runs = nav(Place::Runs, "/", "Runs"),
        trend = nav(Place::Trend, "/trend", "Trend"),
    )
}

/// A page that says why there is none.
pub(super) fn plain(title: &str, text: &str) -> String {
    let content = format!("<h1>{}</h1><p class=\"sentence\">{}</p><p><a href=\"/\">The runs</a></p>", Esc(title), Esc(text));
    shell(title, Place::Elsewhere, None, &content)
}

/// Where a run's page is.
pub(super) fn link_to(run: &Run) -> String {
    format!("/runs/{}/", encoded(&run.id))
}

/// The run's last component: suites stand before it in small letters.
fn named(run: &Run) -> String {
    match run.id.rsplit_once('/') {
        Some((within, name)) => format!("<span class=\"within\">{}/</span>{}", Esc(within), Esc(name)),
        None => Esc(&run.id).to_string(),
    }
}

fn what(run: &Run) -> String {
    format!("{} × {}", run.workload(), run.nemeses())
}

/// A menu of a form; the first choice takes all.
fn select(html: &mut String, (name, label): (&str, &str), choices: &[String], chosen: &[String]) {
    let _ = write!(html, "<label>{label} <select name=\"{name}\"><option value=\"\">all</option>");
    for choice in choices {
        let is_chosen = if chosen.contains(choice) { " selected" } else { "" };
        let _ = write!(html, "<option value=\"{0}\"{is_chosen}>{0}</option>", Esc(choice));
    }
    html.push_str("</select></label> ");
}

fn each_once(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut words: Vec<String> = words.filter(|word| !word.is_empty()).collect();
    words.sort();
    words.dedup();
    words
}

/// The tabs of one run.
fn tabs(run: &Run, current: &str) -> String {
    let mut html = String::from("<nav class=\"tabs\" aria-label=\"Of this run\">");
    let has = |name: &str| run.path.join(name).exists();
    let link = link_to(run);
    let about = if run.state == crate::runs::State::Running { "about" } else { "" };
    for (to, name, is_there) in [
        (about, "Overview", true),
        ("live", "Live", run.state == crate::runs::State::Running || run.state == crate::runs::State::CutOff),
        ("logs", "Daemon logs", has("logs") || has("clients.log")),
        ("files/report.html", "Report by itself", has("report.html")),
        ("archive.tar.zst", "Download", true),
    ] {
        if is_there {
            let is_current = if name == current { " aria-current=\"page\"" } else { "" };
            let _ = write!(html, "<a href=\"{link}{to}\"{is_current}>{name}</a> ");
        }
    }
    html.push_str("</nav>\n");
    html
}
