//! Evidence as text: the steps, the ops one a line, and the offset line. At most [`WIDTH`] columns, but for the steps, which are sentences.

use std::fmt::Write;

use kchaos_core::{Evidence, Held, LineOffset, LineRead, OffsetLine, Outcome};

const WIDTH: usize = 100;
/// What an op did is broken into no narrower lines than this.
const TEXT_WIDTH_MIN: usize = 24;
/// Between columns.
const SPACE: usize = 2;
/// Values at one offset.
const HELD_SHOWN: usize = 2;
/// Where offsets are left out.
const GAP: &str = "  ..";

/// Every line is indented by so many spaces and ends with a newline. A `>` stands before the ops that the example cites.
pub fn render_evidence(evidence: &Evidence, indent: usize) -> String {
    let mut lines = Vec::new();
    for (at, step) in evidence.steps.iter().enumerate() {
        lines.push(format!("{}. {step}", at + 1));
    }
    if !lines.is_empty() {
        lines.push(String::new());
    }
    ops(&mut lines, evidence, WIDTH.saturating_sub(indent));
    if !evidence.leaders.is_empty() {
        lines.push(String::new());
        lines.push("led meanwhile by".to_owned());
        lines.extend(evidence.leaders.iter().map(|seen| format!("  {} (op {})", seen.words(), seen.op)));
        if evidence.more_leaders > 0 {
            lines.push(format!("  and {} more", evidence.more_leaders));
        }
    }
    if let Some(line) = &evidence.line {
        lines.push(String::new());
        offsets(&mut lines, line, WIDTH.saturating_sub(indent));
    }
    let mut text = String::new();
    for line in lines {
        let line = line.trim_end();
        // Writing into a String cannot fail.
        let _ = if line.is_empty() { writeln!(text) } else { writeln!(text, "{:indent$}{line}", "") };
    }
    text
}

fn ops(lines: &mut Vec<String>, evidence: &Evidence, width: usize) {
    let shown = evidence.ops.iter().zip(evidence.moments());
    let rows: Vec<[String; 4]> = shown.map(|(op, at)| [format!("op {}", op.index), at, op.who.clone(), op.what.clone()]).collect();
    let wide = |column: usize| rows.iter().map(|row| chars(&row[column])).max().unwrap_or(0);
    let [index, time, who, what] = [wide(0), wide(1), wide(2), wide(3)];
    for (op, row) in evidence.ops.iter().zip(&rows) {
        let mark = if op.cited { '>' } else { ' ' };
        let [at, moment, process, f] = row;
        let start = format!("{mark} {at:<index$}  {moment:>time$}  {process:<who$}  {f:<what$}  ");
        let indent = chars(&start);
        for (nth, text) in wrapped(&op.text, width.saturating_sub(indent).max(TEXT_WIDTH_MIN)).into_iter().enumerate() {
            lines.push(cut(&if nth == 0 { start.clone() + &text } else { format!("{:indent$}{text}", "") }, width));
        }
    }
    if evidence.more_ops > 0 {
        lines.push(format!("> and {} ops more", evidence.more_ops));
    }
}

/// Broken between words, into one line at least.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if chars(line) + 1 + chars(word) <= width => line.extend([" ", word]),
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn cut(text: &str, width: usize) -> String {
    if chars(text) <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

/// A label and a cell for each column.
type Row = (String, Vec<String>);

fn offsets(lines: &mut Vec<String>, line: &OffsetLine, width: usize) {
    let mut rows: Vec<Row> = vec![
        (format!("key {}, offset", line.key), line.columns.iter().map(|column| column.offset.to_string()).collect()),
        (String::new(), line.columns.iter().map(|column| if column.accused { "^".to_owned() } else { String::new() }).collect()),
        ("value".to_owned(), cells(line, |held| held.value.to_string())),
        ("sent by op".to_owned(), cells(line, |held| held.sent.map_or("nobody".to_owned(), |sent| sent.op.to_string()))),
        ("which was".to_owned(), cells(line, |held| held.sent.map_or(String::new(), |sent| sent.outcome.name().to_owned()))),
    ];
    for reader in &line.readers {
        let label = format!("{} process {}", if reader.again > 0 { "again by" } else { "read by" }, reader.process);
        let cells = reader.cells.iter().zip(&line.columns).map(|(cell, column)| read(cell, column)).collect();
        rows.push((label, cells));
    }
    let label = rows.iter().map(|(label, _)| chars(label)).max().unwrap_or(0);
    for cells in narrowed(&line.columns, &rows, width.saturating_sub(label)) {
        draw(lines, &line.columns, &rows, (label, &cells));
    }
    if line.more_readers > 0 {
        lines.push(format!("and {} readers more", line.more_readers));
    }
    let is_there = |wanted: Outcome| {
        let mut cells = line.readers.iter().flat_map(|reader| &reader.cells);
        cells.any(|cell| matches!(cell, LineRead::Read { outcome, .. } if *outcome == wanted))
    };
    for (outcome, text) in [(Outcome::Info, "?: nobody knows how that poll ended"), (Outcome::Failed, "!: that poll failed")] {
        if is_there(outcome) {
            lines.push(text.to_owned());
        }
    }
}

fn cells(line: &OffsetLine, of: impl Fn(&Held) -> String) -> Vec<String> {
    let cell = |column: &LineOffset| match column.held.as_slice() {
        [] => "-".to_owned(),
        held => {
            let more = held.len().saturating_sub(HELD_SHOWN);
            let more = (more > 0).then(|| format!("+{more}"));
            held.iter().take(HELD_SHOWN).map(&of).chain(more).collect::<Vec<_>>().join(",")
        }
    };
    line.columns.iter().map(cell).collect()
}

fn read(cell: &LineRead, column: &LineOffset) -> String {
    match cell {
        LineRead::Absent => String::new(),
        LineRead::Passed => "passed".to_owned(),
        LineRead::Read { op, value, outcome } => {
            let mark = match outcome {
                Outcome::Info | Outcome::Open => "?",
                Outcome::Failed => "!",
                Outcome::Acknowledged => "",
            };
            let value = if column.held.len() > 1 { format!("={value}") } else { String::new() };
            format!("{op}{mark}{value}")
        }
    }
}

fn wide(rows: &[Row], column: usize) -> usize {
    rows.iter().filter_map(|(_, cells)| cells.get(column)).map(|cell| chars(cell)).max().unwrap_or(0)
}

/// The columns that fit: those furthest from what the example speaks of are left out first. What is accused is drawn whatever it takes, in
/// several lines if need be.
fn narrowed(columns: &[LineOffset], rows: &[Row], width: usize) -> Vec<Vec<usize>> {
    let distance = |column: usize| {
        let accused = columns.iter().enumerate().filter(|(_, column)| column.accused).map(|(at, _)| at.abs_diff(column));
        accused.min().unwrap_or(0)
    };
    let size =
        |before: Option<usize>, column: usize| wide(rows, column) + SPACE + if is_gap(columns, before, column) { GAP.len() } else { 0 };
    let mut lines = vec![Vec::new()];
    for reach in (0..columns.len()).rev() {
        lines = vec![Vec::new()];
        let mut used = 0;
        for column in (0..columns.len()).filter(|column| distance(*column) <= reach) {
            let before = lines.last().and_then(|line| line.last().copied());
            if before.is_some() && used + size(before, column) > width {
                lines.push(Vec::new());
                used = 0;
            }
            used += size(before.filter(|_| used > 0), column);
            lines.last_mut().into_iter().for_each(|line| line.push(column));
        }
        if lines.len() == 1 {
            break;
        }
    }
    lines
}

/// Something is left out between the column drawn before and this one.
fn is_gap(columns: &[LineOffset], before: Option<usize>, column: usize) -> bool {
    before.is_some_and(|before| before + 1 != column || columns[column].gap)
}

fn draw(lines: &mut Vec<String>, columns: &[LineOffset], rows: &[Row], (label, shown): (usize, &[usize])) {
    for (at, (name, cells)) in rows.iter().enumerate() {
        let mut text = format!("{name:<label$}");
        let mut before = None;
        for column in shown {
            let is_gap = is_gap(columns, before, *column);
            before = Some(*column);
            let gap = match () {
                () if !is_gap => "",
                () if at == 0 => GAP,
                () => "    ",
            };
            let (cell, width) = (&cells[*column], wide(rows, *column));
            let _ = write!(text, "{gap}{:SPACE$}{cell:>width$}", "");
        }
        lines.push(text);
    }
}
