//! `report.html`: one file that opens without a network, in light and in dark, and prints.
//!
//! The order is the order of a reader's questions: was a promise broken, and how do I see it again; what broke and what did clients feel;
//! where did the time go; did the faults really happen; under what settings. Everything is drawn here, as inline SVG; the script only
//! adds zoom and values under the pointer, and nothing is lost without it. Colour is never the only sign, and every picture is told in words as
//! well: in its label, or by the table below it. Whatever comes from the run is escaped.

use std::fmt::Write;

use kchaos_checkers::recovery::Phase;
use kchaos_core::Validity;

use super::{RunData, words};
use crate::exit;
use crate::slo::SloStatus;

mod bands;
mod environment;
mod evidence;
mod faults;
mod findings;
mod latency;
mod offset_line;
mod recovery;
mod scale;
mod strips;
mod svg;
mod text;
mod told;
pub(crate) use text::Esc;
mod timeline;

use text::cut;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod usable;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

pub(crate) fn render(data: &RunData) -> String {
    let sections = sections(data);
    let mut html = head(data, &sections);
    banner(&mut html, data);
    figures(&mut html, data);
    for Section { id, title, content, .. } in &sections {
        let _ =
            writeln!(html, "<section id=\"{id}\" aria-labelledby=\"{id}-title\">\n<h2 id=\"{id}-title\">{title}</h2>\n{content}</section>");
    }
    let _ = write!(
        html,
        "<footer>kchaos {} · run {} · this file needs no network</footer>\n</main>\n\
         <script type=\"application/json\" id=\"series\">{}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        Esc(&data.plan.kchaos_version),
        Esc(&data.plan.run_id),
        timeline::series_json(data)
    );
    html
}

struct Section {
    id: &'static str,
    title: &'static str,
    /// What the list of sections calls it.
    short: &'static str,
    content: String,
}

/// In the order of a reader's questions; those that have nothing to say are left out.
fn sections(data: &RunData) -> Vec<Section> {
    let section = |id, title, short, content| Section { id, title, short, content };
    let has_checks = !data.verdict.checkers.is_empty() || !data.verdict.thresholds.is_empty();
    let latency = latency::render(&data.latency, &data.verdict.recovery) + &super::sizes::html(&data.sizes);
    let checks = if has_checks { findings::checks(data) } else { String::new() };
    let files = if data.files.is_empty() { String::new() } else { environment::files(data) };
    let mut sections = vec![
        section("findings", "What was found", "findings", findings::render(data)),
        section("time", "What happened", "timeline", timeline_section(data)),
        section("recovery", "Recovery: where the time went", "recovery", recovery::render(data)),
        section("latency", "Latency of writes", "latency", latency),
        section("faults", "Faults, and how they were known", "faults", faults::render(data)),
        section("unavailable", "Unavailable windows", "unavailable", faults::unavailable(data)),
        section("checks", "Checks", "checks", checks),
        section("environment", "Environment", "environment", environment::render(data)),
        section("files", "Files of this run", "files", files),
    ];
    sections.retain(|section| !section.content.is_empty());
    sections
}

fn head(data: &RunData, sections: &[Section]) -> String {
    let what = what(data);
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{word}: {title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#verdict\">Skip to the verdict</a>\n\
         <header><b>kchaos</b> <span>{title}</span><span>{started}</span><span>{length}</span>\n<nav aria-label=\"Sections\">",
        word = word(data.verdict.valid),
        title = Esc(&what),
        started = Esc(started(&data.plan.started_at)),
        length = words::long_duration(data.end_ns()),
    );
    for Section { id, short, .. } in sections {
        let _ = write!(html, "<a href=\"#{id}\">{short}</a> ");
    }
    html.push_str("</nav></header>\n<main>\n");
    html
}

/// `2026-11-21 06:40:12 UTC`; what is not of that form stands as it is.
fn started(rfc3339: &str) -> String {
    match rfc3339.strip_suffix('Z').or_else(|| rfc3339.strip_suffix("+00:00")).and_then(|rest| rest.split_once('T')) {
        Some((date, time)) => format!("{date} {time} UTC"),
        None => rfc3339.to_owned(),
    }
}

/// `append × kill-leader`.
fn what(data: &RunData) -> String {
    let nemeses = if data.plan.nemeses.is_empty() { "no nemesis".to_owned() } else { data.plan.nemeses.join(" + ") };
    format!("{} × {nemeses}", data.plan.workload)
}

fn word(valid: Validity) -> &'static str {
    match valid {
        Validity::Valid => "Valid",
        Validity::Invalid => "Invalid",
        Validity::Unknown => "Unknown",
    }
}

/// The verdict, one sentence, and the command that repeats it. Each verdict has a shape of its own beside its colour.
fn banner(html: &mut String, data: &RunData) {
    let verdict = &data.verdict;
    let (class, shape) = match verdict.valid {
        Validity::Valid => ("valid", "<circle cx=\"24\" cy=\"24\" r=\"22\"/><path d=\"M13 25l7.5 7.5L35.5 17\"/>"),
        Validity::Invalid => (
            "invalid",
            "<path class=\"solid\" d=\"M15.3 3h17.4L45 15.3v17.4L32.7 45H15.3L3 32.7V15.3z\"/><path d=\"M16 16l16 16M32 16L16 32\"/>",
        ),
        Validity::Unknown => (
            "unknown",
            "<path class=\"solid\" d=\"M24 2l22 22-22 22L2 24z\"/><path d=\"M18.5 19.5c0-3 2.4-5 5.5-5s5.5 2 5.5 4.8c0 3.9-5.5 4-5.5 8M24 33v.6\"/>",
        ),
    };
    let _ = write!(
        html,
        "<section id=\"verdict\" tabindex=\"-1\" class=\"banner {class}\" aria-label=\"Verdict\">\n\
         <svg class=\"sign\" viewBox=\"0 0 48 48\" aria-hidden=\"true\">{shape}</svg>\n<div>\n\
         <h1>{}</h1>\n<p class=\"sentence\">{}</p>\n",
        word(verdict.valid),
        Esc(&verdict.sentence)
    );
    let besides: Vec<_> =
        verdict.exit_codes.iter().filter(|reason| !matches!(reason.code, exit::VALID | exit::INVALID | exit::UNKNOWN)).collect();
    if !besides.is_empty() {
        html.push_str("<ul class=\"codes\">");
        for reason in besides {
            let _ = write!(html, "<li><b>{}</b> (exit code {}): {}</li>", Esc(&reason.name), reason.code, Esc(cut(&reason.why, 400)));
        }
        html.push_str("</ul>\n");
    }
    for host in verdict.hosts.iter().filter(|host| !host.is_whole()) {
        if let Some(command) = &host.command {
            let _ = writeln!(
                html,
                "<p class=\"mend\">Something of ours may still be on <b>{}</b>. Mend it: <code>{}</code></p>",
                Esc(&host.host),
                Esc(command)
            );
        }
    }
    // A line is broken between arguments, never inside one.
    let command = data.repeat_command();
    let command = command.split(' ').map(|argument| format!("<span>{}</span>", Esc(argument))).collect::<Vec<_>>().join(" ");
    let _ = write!(
        html,
        "<p class=\"repeat\"><span>Repeat</span> <code id=\"command\">{command}</code> <button type=\"button\" id=\"copy\" hidden>copy<span class=\"unseen\"> the command</span></button>",
    );
    let _ = writeln!(html, "<span class=\"exit\">exit code {}</span></p>\n</div>\n</section>", verdict.exit_code);
}

/// The few numbers that people ask for first.
fn figures(html: &mut String, data: &RunData) {
    let verdict = &data.verdict;
    html.push_str("<section class=\"figures\" aria-label=\"Key figures\">\n");
    let (info, fail) = verdict.load.values().fold((0, 0), |(info, fail), load| (info + load.info, fail + load.fail));
    figure(
        html,
        "",
        "Acknowledged writes",
        &words::count(verdict.acknowledged()),
        &format!("{} unknown, {} failed", words::count(info), words::count(fail)),
    );
    let lost = verdict.lost();
    let broken = verdict.anomalies.keys().filter(|name| !verdict.unproved.contains(*name)).count();
    match (verdict.valid, lost, broken) {
        (_, 1.., _) => figure(html, "alarm", "Acknowledged and lost", &words::count(lost), &anomaly_kinds(broken)),
        (_, _, 1..) => figure(html, "alarm", "Kinds of anomalies", &broken.to_string(), "none of them a loss"),
        (Validity::Unknown, ..) => figure(html, "caution", "Acknowledged and lost", "not proved", "the evidence is not complete"),
        _ if verdict.is_of_registers => figure(html, "", "Writes without an order", "0", "every answer agrees with one"),
        _ => figure(html, "", "Acknowledged and lost", "0", "every one was read back"),
    }
    let faults = &verdict.faults;
    let wanted = faults.required.max(faults.tried);
    let class = if faults.in_force < wanted || faults.mended < faults.in_force { "caution" } else { "" };
    figure(html, class, "Faults in force", &format!("{} of {wanted}", faults.in_force), &format!("{} mended", faults.mended));
    match verdict.recovery.phases.get(&Phase::Recovery) {
        Some(summary) if summary.n > 0 => {
            let [p50, p99, max] = [summary.middle.p50_ns, summary.middle.p99_ns, summary.middle.max_ns].map(words::duration);
            let note = if summary.unseen > 0 {
                format!("p99 {p99}, max {max}, n {}; {} never came back", summary.n, summary.unseen)
            } else {
                format!("p99 {p99}, max {max}, n {}", summary.n)
            };
            figure(html, if summary.unseen > 0 { "caution" } else { "" }, "Recovery, p50", &p50, &note);
        }
        Some(summary) if summary.unseen > 0 => figure(html, "alarm", "Recovery, p50", "never", &format!("{} times", summary.unseen)),
        _ => figure(html, "", "Recovery, p50", "–", "no leader was taken away"),
    }
    let unavailable = &verdict.recovery.unavailable;
    let partitions = unavailable.total_ns.len();
    if unavailable.summary.n > 0 {
        let note = format!("{} windows, {partitions} partitions", unavailable.summary.n);
        figure(html, "", "Longest without an ack", &words::duration(unavailable.summary.middle.max_ns), &note);
    } else {
        figure(html, "", "Longest without an ack", "< 0.5 s", "no window");
    }
    if !verdict.thresholds.is_empty() {
        let met = verdict.thresholds.iter().filter(|threshold| threshold.status == SloStatus::Met).count();
        let names: Vec<&str> = verdict.thresholds.iter().map(|threshold| threshold.slo.as_str()).collect();
        let class = if met < verdict.thresholds.len() { "caution" } else { "" };
        figure(html, class, "Promises of time met", &format!("{met} of {}", verdict.thresholds.len()), &cut(&names.join(", "), 60));
    }
    html.push_str("</section>\n");
}

fn anomaly_kinds(kinds: usize) -> String {
    if kinds == 1 { "one kind of anomaly".to_owned() } else { format!("{kinds} kinds of anomalies") }
}

fn figure(html: &mut String, class: &str, name: &str, value: &str, note: &str) {
    let _ =
        writeln!(html, "<div class=\"figure {class}\"><span>{}</span><b>{}</b><small>{}</small></div>", Esc(name), Esc(value), Esc(note));
}

fn timeline_section(data: &RunData) -> String {
    format!(
        "<div id=\"zoom\" class=\"zoom\" role=\"group\" aria-label=\"Zoom of the timeline\" hidden>\
         <button type=\"button\" data-do=\"in\" title=\"Zoom in (+)\">+<span class=\"unseen\"> zoom in</span></button>\
         <button type=\"button\" data-do=\"out\" title=\"Zoom out (-)\">−<span class=\"unseen\"> zoom out</span></button>\
         <button type=\"button\" data-do=\"left\" title=\"Earlier (left arrow)\">←<span class=\"unseen\"> earlier</span></button>\
         <button type=\"button\" data-do=\"right\" title=\"Later (right arrow)\">→<span class=\"unseen\"> later</span></button>\
         <button type=\"button\" data-do=\"all\" title=\"The whole run (0)\">all</button> <output id=\"range\"></output></div>\n\
         <div class=\"timeline scroll\" id=\"plots\" tabindex=\"0\" role=\"group\" aria-label=\"Timeline\">{}<div id=\"tip\" hidden></div></div>\n\
         <p id=\"said\" class=\"unseen\" aria-live=\"polite\"></p>\n\
         <p class=\"note\">Shaded: a fault in force, from the first moment it may have been to its proved mend. Seconds since the start of the run.\
         <span id=\"zoom-help\" hidden> Drag to zoom, double-click to see all; or, with the timeline in focus, <kbd>+</kbd> <kbd>-</kbd> <kbd>←</kbd> \
         <kbd>→</kbd> <kbd>0</kbd>, and <kbd>Shift</kbd> with an arrow for the figures of each second.</span></p>\n{told}",
        timeline::render(data),
        told = told::render(data)
    )
}
