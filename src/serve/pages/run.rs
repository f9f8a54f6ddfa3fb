//! A run's page: its verdict, its files, and its report in a frame.

use std::fmt::Write;

use serde_json::{Value, json};

use super::super::address::encoded;
use super::super::{tone, verdict_mark};
use super::{Place, link_to, shell, tabs, what};
use crate::report::{Esc, words};
use crate::runs::{self, Run};

pub(in super::super) fn json(run: &Run) -> Value {
    let mut told = run.json();
    told["schedule"] = json!(run.plan.schedule);
    told["options"] = json!(run.plan.options);
    told["command"] = json!(run.plan.command);
    told["facts"] = json!(run.plan.facts);
    told["files"] = crate::report::files(&run.path).iter().map(|(name, bytes)| json!({"name": name, "bytes": bytes})).collect();
    told
}

pub(in super::super) fn page(run: &Run) -> String {
    let mut html = head(run);
    html.push_str(&tabs(run, "Overview"));
    let link = link_to(run);
    if run.path.join("report.html").is_file() {
        let _ = writeln!(
            html,
            "<a class=\"skip\" href=\"#in-short\">Past the report</a>\n<iframe class=\"report\" src=\"{link}files/report.html\" title=\"Report of {}\" sandbox=\"allow-scripts\"></iframe>\n\
             <p class=\"paper\">The report is a page of its own, and prints from there: {link}files/report.html</p>",
            Esc(&run.id)
        );
    } else {
        html.push_str("<p class=\"note\">There is no report.html: it is written at the end of a run (<code>kchaos report RUN</code> writes it again where there is a verdict).</p>\n");
    }
    html.push_str("<div class=\"columns\"><section id=\"in-short\" tabindex=\"-1\"><h2>In short</h2>");
    let files = crate::report::files(&run.path);
    let _ = write!(
        html,
        "<pre>{}</pre></section>\n<section><h2>Files</h2><ul class=\"files\">",
        Esc(runs::info(run, &[]).split("\n\n").nth(1).unwrap_or_default())
    );
    for (name, bytes) in &files {
        let path: Vec<String> = name.split('/').map(encoded).collect();
        let _ = write!(
            html,
            "<li><a href=\"{link}files/{}\">{}</a> <span class=\"note\">{}</span></li>",
            path.join("/"),
            Esc(name),
            words::bytes(*bytes)
        );
    }
    let _ = writeln!(
        html,
        "</ul><p><a href=\"{link}archive.tar.zst\">All of it as an archive</a> <span class=\"note\">{}, packed while it is sent</span> · <a href=\"/api/runs/{}\">JSON</a></p></section></div>",
        words::bytes(run.bytes),
        encoded(&run.id)
    );
    shell(&format!("{}: {}", run.verdict(), what(run)), Place::Elsewhere, None, &html)
}

/// The verdict first, whatever the page.
pub(super) fn head(run: &Run) -> String {
    let mut html = String::new();
    let _ = writeln!(
        html,
        "<section class=\"lead {}\"><h1>{} {}</h1><p class=\"sentence\">{}</p><p class=\"note\">{} UTC · {}</p></section>",
        tone(run),
        verdict_mark(run),
        Esc(what(run)),
        Esc(run.sentence()),
        runs::when(run.started),
        Esc(&run.id)
    );
    html
}
