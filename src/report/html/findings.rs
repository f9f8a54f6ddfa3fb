//! What was found: anomalies with their evidence and the ops around it, why a verdict is unknown, what the profile allowed, and the checks.

use std::fmt::Write;

use kchaos_core::{Example, Finding, Validity};

use super::text::{Esc, cut};
use super::{evidence, offset_line, svg};
use crate::report::{RunData, words};
use crate::slo::SloStatus;

const EXAMPLES_SHOWN: usize = 5;
const LINES_SHOWN: usize = 40;
const LINE_CHARS_MAX: usize = 600;
const NUMBERS_SHOWN: usize = 16;

pub(super) fn render(data: &RunData) -> String {
    let verdict = &data.verdict;
    let mut html = String::new();
    let mut found: Vec<(&String, &Finding)> = verdict.anomalies.iter().collect();
    found.sort_by_key(|(name, _)| (verdict.unproved.contains(*name), words::gravity(name)));
    for (index, (name, finding)) in found.into_iter().enumerate() {
        anomaly(&mut html, data, name, finding, index == 0);
    }
    if !verdict.reasons.is_empty() {
        html.push_str("<h3>Why it cannot be called valid</h3>\n<ul class=\"plain\">");
        for reason in &verdict.reasons {
            let _ = writeln!(html, "<li><b>{}</b>: {}</li>", Esc(&reason.name), Esc(&reason.text));
        }
        html.push_str("</ul>\n");
    }
    if !verdict.ignored.is_empty() {
        let _ = writeln!(html, "<h3>Found, and allowed by the profile {}</h3>\n<ul class=\"plain\">", Esc(&verdict.profile));
        for (name, finding) in &verdict.ignored {
            let first = finding.examples.first().map_or("", |example| example.explanation.as_str());
            let _ = writeln!(
                html,
                "<li><b>{}</b>: {}. <span class=\"muted\">{}</span></li>",
                Esc(name),
                Esc(words::found(name, finding.count)),
                Esc(cut(first, 400))
            );
        }
        html.push_str("</ul>\n");
    }
    html
}

fn anomaly(html: &mut String, data: &RunData, name: &str, finding: &Finding, is_worst: bool) {
    let unproved = data.verdict.unproved.contains(name);
    let class = if unproved { "finding unproved" } else { "finding" };
    let _ = writeln!(
        html,
        "<article class=\"{class}\"><h3><code>{}</code> {}{}</h3>\n<p>{}</p>",
        Esc(name),
        Esc(words::found(name, finding.count)),
        if unproved { " <span class=\"muted\">(listed; it proves nothing yet)</span>" } else { "" },
        Esc(words::meaning(name))
    );
    // The first example of the worst finding is open; the rest waits, so that the timeline is not a mile away.
    let mut examples = finding.examples.iter().take(EXAMPLES_SHOWN);
    if is_worst && let Some(first) = examples.next() {
        shown(html, data, name, first);
    }
    if examples.len() > 0 {
        let word = if examples.len() == 1 { "example" } else { "examples" };
        let more = if is_worst { "more " } else { "" };
        let _ =
            writeln!(html, "<details class=\"more\"><summary>{} {more}{word} of {}</summary>", examples.len(), words::count(finding.count));
        examples.for_each(|example| shown(html, data, name, example));
        html.push_str("</details>\n");
    }
    html.push_str("</article>\n");
}

fn shown(html: &mut String, data: &RunData, name: &str, example: &Example) {
    let cited = example.evidence.as_deref().and_then(|evidence| evidence.ops.iter().find(|op| op.cited));
    let at = cited.map_or_else(String::new, |op| format!(" data-at=\"{:.3}\"", op.time_ns as f64 / 1e9));
    let _ = write!(html, "<div class=\"example\"{at}>");
    let _ = write!(html, "<p>{}</p><p class=\"muted\">", Esc(cut(&example.explanation, 1_200)));
    if let Some(key) = example.key {
        let _ = write!(html, "{} (key {key})", Esc(data.key_name(key)));
    }
    for (what, numbers) in [("values", &example.values), ("offsets", &example.offsets)] {
        if !numbers.is_empty() {
            let _ = write!(html, " · {what} {}", numbers_text(numbers));
        }
    }
    if !example.ops.is_empty() {
        let _ = write!(html, " · ops {}", numbers_text(&example.ops));
    }
    html.push_str("</p>\n");
    html.push_str(&offset_line::render(data, name, example));
    match example.evidence.as_deref().filter(|evidence| !evidence.ops.is_empty()) {
        Some(shown) => {
            evidence::render(html, data, shown);
            let raw = lines(data, example);
            if !raw.is_empty() {
                let _ = writeln!(html, "<details class=\"more\"><summary>as they stand in the history</summary>{raw}</details>");
            }
        }
        None => html.push_str(&lines(data, example)),
    }
    html.push_str("</div>\n");
}

fn numbers_text<T: ToString>(numbers: &[T]) -> String {
    let shown: Vec<String> = numbers.iter().take(NUMBERS_SHOWN).map(ToString::to_string).collect();
    let more = numbers.len().saturating_sub(NUMBERS_SHOWN);
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}

/// The cited lines of the history and those around them; a cited one is marked with a sign as well as by weight.
fn lines(data: &RunData, example: &Example) -> String {
    let near = |index: u64| example.ops.iter().any(|op| op.abs_diff(index) <= 2);
    let mut before: Option<u64> = None;
    let mut body = String::new();
    for evidence in data.verdict.evidence.iter().filter(|evidence| near(evidence.index)).take(LINES_SHOWN) {
        if before.is_some_and(|before| evidence.index > before + 1) {
            body.push_str("<span class=\"gap\">⋮</span>\n");
        }
        before = Some(evidence.index);
        let line = Esc(cut(&evidence.line, LINE_CHARS_MAX));
        if example.ops.contains(&evidence.index) {
            let _ = writeln!(body, "<b>▸ {line}</b>");
        } else {
            let _ = writeln!(body, "  {line}");
        }
    }
    if body.is_empty() { body } else { format!("<pre tabindex=\"0\" role=\"group\" aria-label=\"Lines of the history\">{body}</pre>") }
}

/// Checkers and promises of time, one line each.
pub(super) fn checks(data: &RunData) -> String {
    let mut html = svg::table_head("", "Checkers and promises of time", &[("check", ""), ("result", ""), ("what it saw", "")]);
    for checker in &data.verdict.checkers {
        let sign = match checker.valid {
            Validity::Valid => "<span class=\"good\">✓ passed</span>",
            Validity::Invalid => "<span class=\"bad\">✗ invalid</span>",
            Validity::Unknown => "<span class=\"warn\">? unknown</span>",
        };
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\" class=\"strong\">{}</th><td>{sign}</td><td>{}</td></tr>",
            Esc(&checker.name),
            Esc(cut(&checker.text, 500))
        );
    }
    for threshold in &data.verdict.thresholds {
        let sign = match threshold.status {
            SloStatus::Met => "<span class=\"good\">✓ met</span>",
            SloStatus::Missed => "<span class=\"bad\">✗ missed</span>",
            SloStatus::Unmeasured => "<span class=\"warn\">? unmeasured</span>",
        };
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\" class=\"strong\">{}</th><td>{sign}</td><td>{}</td></tr>",
            Esc(&threshold.slo),
            Esc(&threshold.text)
        );
    }
    html.push_str(svg::TABLE_END);
    html
}
