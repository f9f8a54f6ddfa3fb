//! A comparison as text.

use std::fmt::Write;

use super::{Comparison, Row, fail_on};
use crate::runs;

pub(crate) fn text(comparison: &Comparison) -> String {
    let Comparison { baseline, run, unlike, notes, rows, held } = comparison;
    let mut text = String::new();
    let noun = if baseline.len() == 1 { "before".to_owned() } else { format!("before, {} runs", baseline.len()) };
    let _ = writeln!(text, "{noun}:");
    for run in baseline {
        let _ = writeln!(text, "  {} {} {}", runs::sign(run), runs::when(run.started), run.id);
    }
    let _ = writeln!(text, "now:\n  {} {} {}\n", runs::sign(run), runs::when(run.started), run.id);
    for why in unlike {
        let _ = writeln!(text, "! compared all the same: {why}");
    }
    for note in notes {
        let _ = writeln!(text, "  note: {note}");
    }
    if unlike.len() + notes.len() > 0 {
        text.push('\n');
    }
    let _ = writeln!(text, "{}\n", comparison.sentence());
    let is_band = baseline.len() > 1;
    let mut group = "";
    let cells: Vec<[String; 5]> = rows.iter().map(cells).collect();
    let width = |column: usize, name: &str| {
        cells.iter().map(|cells| cells[column].chars().count()).chain([name.chars().count()]).max().unwrap_or(0)
    };
    let head = ["", "before", "band", "now", "change"];
    let widths: [usize; 5] = std::array::from_fn(|column| width(column, head[column]));
    let mut line = |cells: &[&str; 5], end: &str| {
        let _ = write!(text, "  {:<width$}", cells[0], width = widths[0]);
        for column in 1..5 {
            if column != 2 || is_band {
                let _ = write!(text, "  {:>width$}", cells[column], width = widths[column]);
            }
        }
        let _ = writeln!(text, "{end}");
    };
    line(&head, "");
    for (row, cells) in rows.iter().zip(&cells) {
        if row.figure.group != group {
            group = row.figure.group;
            line(&[group, "", "", "", ""], "");
        }
        let judged = row.judged();
        line(&[&cells[0], &cells[1], &cells[2], &cells[3], &cells[4]], &format!("  {} {}", judged.sign(), judged.word()));
    }
    let trimmed: Vec<&str> = text.lines().map(str::trim_end).collect();
    let mut text = trimmed.join("\n");
    text.push('\n');
    if !held.is_empty() {
        text.push('\n');
    }
    for held in held {
        let _ = writeln!(text, "{} {}", if held.is_met { "✓" } else { "✗" }, held.text);
    }
    text
}

/// Label, before, band, now, change.
pub(super) fn cells(row: &Row) -> [String; 5] {
    let told = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| row.figure.unit.told(value));
    let band = row.band().map_or_else(String::new, |(least, most)| format!("{} … {}", told(Some(least)), told(Some(most))));
    [format!("  {}", row.figure.label), told(row.reference()), band, told(row.now), fail_on::share(row.change())]
}
