//! The evidence of one example in words: the steps of a cycle, the ops, and the part of the log, offset by offset, as a table beside its picture
//! (`offset_line.rs`). A cited op and an accused offset have a sign beside their colour.

use std::fmt::Write;

use kchaos_core::{Evidence, Held, LineOffset, LineRead, OffsetLine, Outcome};

use super::text::{Esc, cut};
use crate::report::{RunData, words};

const TEXT_CHARS_MAX: usize = 200;

pub(super) fn render(html: &mut String, data: &RunData, evidence: &Evidence) {
    if !evidence.steps.is_empty() {
        html.push_str("<ol>");
        for step in &evidence.steps {
            let _ = write!(html, "<li>{}</li>", Esc(step));
        }
        html.push_str("</ol>\n");
    }
    ops(html, evidence);
    leaders(html, evidence);
    if let Some(line) = &evidence.line {
        log(html, data, line);
    }
}

fn ops(html: &mut String, evidence: &Evidence) {
    html.push_str("<div class=\"scroll\"><table class=\"ops\"><caption>The ops that it cites (▸) and those around them: op, moment, who, what, and with what</caption><tbody>\n");
    for (op, at) in evidence.ops.iter().zip(evidence.moments()) {
        let (class, mark) = if op.cited { (" class=\"cited\"", "▸ ") } else { ("", "") };
        let _ = writeln!(
            html,
            "<tr{class}><th scope=\"row\">{mark}op {}</th><td>{at}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            op.index,
            Esc(&op.who),
            Esc(&op.what),
            Esc(cut(&op.text, TEXT_CHARS_MAX))
        );
    }
    html.push_str("</tbody></table></div>\n");
    if evidence.more_ops > 0 {
        let _ = writeln!(html, "<p class=\"muted\">and {} cited ops more</p>", words::count(evidence.more_ops));
    }
}

fn leaders(html: &mut String, evidence: &Evidence) {
    if evidence.leaders.is_empty() {
        return;
    }
    let shown: Vec<String> = evidence.leaders.iter().map(|seen| format!("{} (op {})", seen.words(), seen.op)).collect();
    let more = if evidence.more_leaders > 0 { format!("; and {} more", words::count(evidence.more_leaders)) } else { String::new() };
    let _ = writeln!(html, "<p>Led meanwhile by {}{more}.</p>", shown.join("; then by "));
}

fn log(html: &mut String, data: &RunData, line: &OffsetLine) {
    let _ = write!(
        html,
        "<details class=\"more\"><summary>the same offsets as a table</summary>\
         <div class=\"scroll\"><table class=\"log\"><caption>What stands at each offset, who sent it and who read it</caption><thead><tr><th scope=\"col\">{}, offset</th>",
        Esc(data.key_name_short(line.key))
    );
    for column in &line.columns {
        let mark = if column.accused { "<small>▼</small>" } else { "" };
        let _ = write!(html, "<th scope=\"col\"{}>{mark}{}</th>", class(column), column.offset);
    }
    html.push_str("</tr></thead><tbody>\n");
    row(html, "value", " class=\"value\"", line.columns.iter().map(|column| (column, held(column, |held| held.value.to_string()))));
    row(html, "sent by", "", line.columns.iter().map(|column| (column, held(column, sent))));
    for reader in &line.readers {
        let again = if reader.again > 0 { ", again" } else { "" };
        let name = format!("read by process {}{again}", reader.process);
        row(html, &name, "", line.columns.iter().zip(&reader.cells).map(|(column, cell)| (column, read(cell, column))));
    }
    html.push_str("</tbody></table></div>\n");
    let gap = if line.columns.iter().any(|column| column.gap) { " At a double rule, offsets are left out." } else { "" };
    let more =
        if line.more_readers > 0 { format!(" {} more readers are not shown.", words::count(line.more_readers)) } else { String::new() };
    if !(gap.is_empty() && more.is_empty()) {
        let _ = writeln!(html, "<p class=\"muted\">{}</p>", format_args!("{gap}{more}"));
    }
    html.push_str("</details>\n");
}

fn row<'a>(html: &mut String, name: &str, attributes: &str, cells: impl Iterator<Item = (&'a LineOffset, String)>) {
    let _ = write!(html, "<tr{attributes}><th scope=\"row\">{}</th>", Esc(name));
    for (column, cell) in cells {
        let _ = write!(html, "<td{}>{cell}</td>", class(column));
    }
    html.push_str("</tr>\n");
}

fn class(column: &LineOffset) -> &'static str {
    match (column.accused, column.gap) {
        (true, true) => " class=\"accused gap\"",
        (true, false) => " class=\"accused\"",
        (false, true) => " class=\"gap\"",
        (false, false) => "",
    }
}

fn held(column: &LineOffset, of: impl Fn(&Held) -> String) -> String {
    if column.held.is_empty() {
        return "–".to_owned();
    }
    column.held.iter().map(of).collect::<Vec<_>>().join("<br>")
}

fn sent(held: &Held) -> String {
    let Some(sent) = held.sent else { return "<span class=\"bad\">✗ nobody</span>".to_owned() };
    let outcome = match sent.outcome {
        Outcome::Acknowledged => "<small>acknowledged</small>",
        Outcome::Info => "<span class=\"warn\">? unknown</span>",
        Outcome::Failed => "<span class=\"bad\">✗ failed</span>",
        Outcome::Open => "<span class=\"warn\">? never ended</span>",
    };
    format!("op {}<br>{outcome}", sent.op)
}

fn read(cell: &LineRead, column: &LineOffset) -> String {
    match cell {
        LineRead::Absent => String::new(),
        LineRead::Passed => "<span class=\"bad\">✗ passed over</span>".to_owned(),
        LineRead::Read { op, value, outcome } => {
            let value = if column.held.len() > 1 { format!("{value} in ") } else { String::new() };
            let outcome = match outcome {
                Outcome::Acknowledged => "",
                Outcome::Failed => "<br><small>a failed poll</small>",
                Outcome::Info | Outcome::Open => "<br><small>an unknown poll</small>",
            };
            format!("{value}op {op}{outcome}")
        }
    }
}
