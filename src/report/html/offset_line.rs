//! The counter-example drawn on its partition's offset line: what stands at each offset and how its writer knows, what each reader was given and what
//! it passed over, and under which leader epoch it was acknowledged.
//!
//! Each sign has a shape and a word of its own, so that nothing is lost without colour. A screen reader is told the same in sentences, and the table
//! of the same offsets follows the picture (`evidence.rs`). Where nothing is known of what stands at the offsets (told bounds of a log, committed
//! offsets), they are drawn alone.

use std::collections::BTreeSet;
use std::fmt::Write;

use kchaos_core::{Example, Held, LeaderSeen, LineOffset, LineRead, LineReader, OffsetLine, Outcome};

use super::svg::{self, Anchor};
use super::text::{Esc, Px};
use crate::report::RunData;

const GUTTER: f64 = 150.0;
const COLUMN_MIN: f64 = 70.0;
/// Where offsets are left out.
const GAP: f64 = 30.0;
const BOX: f64 = 34.0;
const READER: f64 = 38.0;
/// Of offsets that nothing is known of.
const BARE_MAX: usize = 16;
/// About so many pixels has a letter of the widest text in a column.
const LETTER: f64 = 7.4;

/// A figure, or nothing where the example names no partition and offsets.
pub(super) fn render(data: &RunData, name: &str, example: &Example) -> String {
    let bare;
    let evidence = example.evidence.as_deref();
    let line = match evidence.and_then(|evidence| evidence.line.as_ref()) {
        Some(line) => line,
        None => match bare_line(example) {
            Some(line) => {
                bare = line;
                &bare
            }
            None => return String::new(),
        },
    };
    let leaders = evidence.map_or(&[][..], |evidence| evidence.leaders.as_slice());
    let mut picture = Picture::new(name, example, line, leaders);
    picture.draw();
    let partition = data.key_name_short(line.key);
    let width = picture.right() + 8.0;
    format!(
        "<div class=\"scroll\" role=\"group\" aria-label=\"{partition}: the offsets that {name} speaks of\">\
         <svg class=\"offsets\" role=\"img\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" aria-label=\"{told}\">{svg}</svg>\n</div>\n",
        partition = Esc(&partition),
        name = Esc(name),
        told = Esc(told(&partition, line)),
        width = Px(width),
        height = Px(picture.y),
        svg = picture.svg,
    )
}

/// The offsets that the example names, of which no record is known.
fn bare_line(example: &Example) -> Option<OffsetLine> {
    let offsets: BTreeSet<i64> = example.offsets.iter().copied().take(BARE_MAX).collect();
    let mut before = None;
    let columns = offsets.iter().map(|offset| {
        let gap = before.is_some_and(|before: i64| before.saturating_add(1) != *offset);
        before = Some(*offset);
        LineOffset { offset: *offset, accused: true, gap, held: Vec::new() }
    });
    let line = OffsetLine { key: example.key?, columns: columns.collect(), ..OffsetLine::default() };
    (!line.columns.is_empty()).then_some(line)
}

/// The same in sentences: of each offset that the example speaks of, what stands there and who read it.
fn told(partition: &str, line: &OffsetLine) -> String {
    let mut text = match (line.columns.first(), line.columns.last()) {
        (Some(first), Some(last)) => format!("The log of {partition} from offset {} to {}.", first.offset, last.offset),
        _ => String::new(),
    };
    for (at, column) in line.columns.iter().enumerate().filter(|(_, column)| column.accused) {
        let _ = write!(text, " Offset {}: ", column.offset);
        if column.held.is_empty() {
            text.push_str("no record is known");
        }
        for (nth, held) in column.held.iter().enumerate() {
            let comma = if nth > 0 { ", and " } else { "" };
            let _ = write!(text, "{comma}value {}, {}", held.value, sender(held));
        }
        for reader in &line.readers {
            let _ = match reader.cells.get(at) {
                Some(LineRead::Passed) => write!(text, "; process {} passed over it", reader.process),
                Some(LineRead::Read { op, .. }) => write!(text, "; process {} read it in op {op}", reader.process),
                Some(LineRead::Absent) | None => Ok(()),
            };
        }
        text.push('.');
    }
    text
}

fn sender(held: &Held) -> String {
    match held.sent {
        None => "sent by nobody".to_owned(),
        Some(sent) => format!("{} by op {}", outcome_words(sent.outcome), sent.op),
    }
}

fn outcome_words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Acknowledged => "acknowledged",
        Outcome::Failed => "failed",
        Outcome::Info => "of unknown outcome",
        Outcome::Open => "never ended",
    }
}

/// What the picture says above an offset that the example speaks of.
fn badge(name: &str, example: &Example, line: &OffsetLine, at: usize) -> &'static str {
    let column = &line.columns[at];
    let cells = || line.readers.iter().filter_map(|reader| reader.cells.get(at));
    let is_read = cells().any(|cell| matches!(cell, LineRead::Read { outcome: Outcome::Acknowledged, .. }));
    let is_passed = cells().any(|cell| *cell == LineRead::Passed);
    let nth_value = || example.values.iter().position(|value| column.held.iter().any(|held| held.value == *value));
    let nth_offset = || example.offsets.iter().position(|offset| *offset == column.offset);
    match name {
        "lost-write" | "unseen" if column.held.len() > 1 => "overwritten",
        "lost-write" | "unseen" => "never read",
        "duplicate" => "same value",
        "inconsistent-offsets" | "total-order-disagreement" => "not the same",
        "phantom" => "not sent",
        "G1a" => "failed, read",
        "dirty-read" | "precommitted-read" | "lso-passed" => "read too soon",
        "torn-transaction" if is_read => "there",
        "torn-transaction" => "missing",
        "poll-skip" | "int-poll-skip" | "G1b" if !is_read || is_passed => "skipped",
        "poll-skip" | "int-poll-skip" | "G1b" => "read",
        "nonmonotonic-poll" | "int-nonmonotonic-poll" => "read out of order",
        // The values stand in the order in which they were sent, if both are known.
        "nonmonotonic-send" | "int-nonmonotonic-send" | "reordered" => match nth_value() {
            Some(0) if example.values.len() > 1 => "sent 1st",
            Some(1) => "sent 2nd",
            Some(_) => "landed too low",
            None => "known before",
        },
        "commit-regression" | "offsets-expired" => match nth_offset() {
            Some(0) => "committed",
            _ => "told later",
        },
        "offset-regression" => match nth_offset() {
            Some(0) => "told now",
            _ => "told before",
        },
        "lso-stall" => match nth_offset() {
            Some(0) => "last stable",
            _ => "high watermark",
        },
        "lookup-wrong" => match nth_offset() {
            Some(0) if example.offsets.len() > 1 => "comes before",
            _ => "was found",
        },
        "expired-early" => "log starts",
        "replica-divergence" => "differs",
        "redelivered" | "processed-twice" => "given again",
        "unprocessed" => "not processed",
        "read-before-send" => "read, then sent",
        "stale-leader-ack" => "old leader",
        _ if is_passed && !is_read => "passed over",
        _ => "here",
    }
}

struct Picture<'a> {
    line: &'a OffsetLine,
    leaders: &'a [LeaderSeen],
    badges: Vec<Option<&'static str>>,
    /// The left edge of each column.
    lefts: Vec<f64>,
    width: f64,
    box_height: f64,
    y: f64,
    svg: String,
}

impl<'a> Picture<'a> {
    fn new(name: &str, example: &Example, line: &'a OffsetLine, leaders: &'a [LeaderSeen]) -> Self {
        let badges: Vec<_> =
            line.columns.iter().enumerate().map(|(at, column)| column.accused.then(|| badge(name, example, line, at))).collect();
        let letters = line.columns.iter().zip(&badges).flat_map(|(column, badge)| {
            let values = column.held.iter().flat_map(|held| {
                let op = held.sent.map_or(0, |sent| 5 + sent.op.to_string().len());
                [held.value.to_string().len() + 1, op * 4 / 5]
            });
            let nothing = if column.held.is_empty() { 11 } else { 0 };
            [column.offset.to_string().len(), badge.map_or(0, |badge| badge.len() * 9 / 10 + 2), nothing].into_iter().chain(values)
        });
        // Where several values stand, a reader's says which it was given.
        let reads = line.readers.iter().flat_map(|reader| line.columns.iter().zip(&reader.cells)).filter_map(|(column, cell)| match cell {
            LineRead::Read { op, value, .. } if column.held.len() > 1 => Some((op.to_string().len() + value.to_string().len() + 5) * 4 / 5),
            _ => None,
        });
        let letters = letters.chain(reads);
        let width = (letters.max().unwrap_or(0) as f64 * LETTER + 18.0).max(COLUMN_MIN);
        let mut x = GUTTER;
        let lefts = line.columns.iter().map(|column| {
            x += if column.gap { GAP } else { 0.0 };
            x += width;
            x - width
        });
        Self { line, leaders, badges, lefts: lefts.collect(), width, box_height: BOX, y: 4.0, svg: String::new() }
    }

    fn right(&self) -> f64 {
        // The row of signs needs its room as well.
        self.lefts.last().map_or(GUTTER, |left| left + self.width).max(GUTTER + 420.0)
    }

    fn middle(&self, at: usize) -> f64 {
        self.lefts[at] + self.width / 2.0
    }

    fn draw(&mut self) {
        let readers_height = READER * self.line.readers.len() as f64;
        let most = self.line.columns.iter().map(|column| column.held.len()).max().unwrap_or(1).max(1);
        let leaders = self.leaders_of_columns();
        if leaders.is_empty()
            && self.line.columns.iter().flat_map(|column| &column.held).any(|held| self.acknowledged_under(held).is_some())
        {
            // Then each value says it.
            self.box_height = BOX + 13.0;
        }
        let leaders_height = if leaders.is_empty() { 0.0 } else { 24.0 };
        let height = 18.0 + 20.0 + leaders_height + (self.box_height + 3.0) * most as f64 + 6.0 + readers_height;
        self.accused(height);
        self.y += 18.0;
        self.offsets();
        if !leaders.is_empty() {
            self.epochs(&leaders);
        }
        self.log(most);
        for reader in &self.line.readers {
            self.reader(reader);
        }
        self.y += 4.0;
        self.signs();
    }

    /// A frame around each offset that the example speaks of, with a word above it.
    fn accused(&mut self, height: f64) {
        for (at, badge) in self.badges.iter().enumerate() {
            let Some(badge) = badge else { continue };
            let (left, middle) = (self.lefts[at] + 1.5, self.middle(at));
            svg::area(&mut self.svg, "accused", (left, self.y), (self.width - 3.0, height), "");
            svg::text(&mut self.svg, "badge", Anchor::Middle, middle, self.y + 13.0, &format!("▼ {badge}"));
        }
    }

    fn offsets(&mut self) {
        self.label("offset", 14.0);
        for (at, column) in self.line.columns.iter().enumerate() {
            let middle = self.middle(at);
            svg::text(&mut self.svg, "offset", Anchor::Middle, middle, self.y + 14.0, &column.offset.to_string());
            if column.gap {
                svg::text(&mut self.svg, "tick", Anchor::Middle, self.lefts[at] - GAP / 2.0, self.y + 14.0, "⋯");
            }
        }
        self.y += 20.0;
    }

    /// The last leader that had been seen when a value was acknowledged.
    fn acknowledged_under(&self, held: &Held) -> Option<&'a LeaderSeen> {
        let sent = held.sent.filter(|sent| sent.outcome == Outcome::Acknowledged)?;
        self.leaders.get(self.leaders.partition_point(|seen| seen.op <= sent.op).checked_sub(1)?)
    }

    /// The same for each column; empty where no leader is known, or where the values of one offset were acknowledged under several.
    fn leaders_of_columns(&self) -> Vec<Option<&'a LeaderSeen>> {
        let mut all = Vec::new();
        for column in &self.line.columns {
            let mut seen = column.held.iter().filter_map(|held| self.acknowledged_under(held));
            let first = seen.next();
            if seen.any(|other| Some(other) != first) {
                return Vec::new();
            }
            all.push(first);
        }
        if all.iter().all(Option::is_none) { Vec::new() } else { all }
    }

    fn epochs(&mut self, under: &[Option<&LeaderSeen>]) {
        self.label("acknowledged under", 13.0);
        let mut from = 0;
        while from < under.len() {
            let mut to = from;
            while to + 1 < under.len() && under[to + 1] == under[from] {
                to += 1;
            }
            if let Some(seen) = under[from] {
                let (left, right) = (self.lefts[from] + 3.0, self.lefts[to] + self.width - 3.0);
                let (long, short) = (epoch_words(seen, true), epoch_words(seen, false));
                svg::area(&mut self.svg, "epoch", (left, self.y), (right - left, 18.0), &seen.words());
                let shown = if right - left >= 6.4 * long.len() as f64 { long } else { short };
                svg::text(&mut self.svg, "cell-name", Anchor::Middle, f64::midpoint(left, right), self.y + 13.0, &shown);
            }
            from = to + 1;
        }
        self.y += 24.0;
    }

    /// What stands in the log.
    fn log(&mut self, most: usize) {
        self.label("the log holds", 20.0);
        let height = (self.box_height + 3.0) * most as f64;
        for (at, column) in self.line.columns.iter().enumerate() {
            let (left, middle, width) = (self.lefts[at] + 6.0, self.middle(at), self.width - 12.0);
            if column.held.is_empty() {
                let y = self.y + self.box_height / 2.0;
                svg::horizontal(&mut self.svg, "hole", y, left, left + width);
                svg::text(&mut self.svg, "tick", Anchor::Middle, middle, y - 4.0, "nothing known");
            }
            for (nth, held) in column.held.iter().enumerate() {
                self.held(held, (left, self.y + (self.box_height + 3.0) * nth as f64), width);
            }
        }
        self.y += height + 6.0;
    }

    fn held(&mut self, held: &Held, (x, y): (f64, f64), width: f64) {
        let (class, below) = match held.sent.map(|sent| (sent.outcome, sent.op)) {
            Some((Outcome::Acknowledged, op)) => ("held ok", format!("✓ op {op}")),
            Some((Outcome::Info, op)) => ("held info", format!("? op {op}")),
            Some((Outcome::Open, op)) => ("held info", format!("… op {op}")),
            Some((Outcome::Failed, op)) => ("held fail", format!("✗ op {op}")),
            None => ("held nobody", "✗ nobody".to_owned()),
        };
        let tip = format!("value {}, {}", held.value, sender(held));
        svg::area(&mut self.svg, class, (x, y), (width, self.box_height), &tip);
        let middle = x + width / 2.0;
        svg::text(&mut self.svg, "held-value", Anchor::Middle, middle, y + 15.0, &held.value.to_string());
        svg::text(&mut self.svg, "held-by", Anchor::Middle, middle, y + 28.0, &below);
        if let Some(seen) = self.acknowledged_under(held).filter(|_| self.box_height > BOX) {
            svg::text(&mut self.svg, "held-by", Anchor::Middle, middle, y + 41.0, &epoch_words(seen, false));
        }
    }

    /// The way of one reader: a line from what it read to what it read next, over what it passed.
    fn reader(&mut self, reader: &LineReader) {
        let again = if reader.again > 0 { ", again" } else { "" };
        self.label(&format!("process {} read{again}", reader.process), 18.0);
        let y = self.y + 14.0;
        let mut way = String::new();
        let mut passed = false;
        for (at, cell) in reader.cells.iter().enumerate().take(self.lefts.len()) {
            match cell {
                LineRead::Absent => way.push(' '),
                LineRead::Passed => passed = true,
                LineRead::Read { .. } => {
                    let x = Px(self.middle(at));
                    let is_first = way.trim_end().len() < way.len() || way.is_empty();
                    let _ = match (is_first, passed) {
                        (true, _) => write!(way, "M{x} {}", Px(y)),
                        // A hop.
                        (false, true) => write!(way, "V{top}H{x}V{y}", top = Px(y - 11.0), y = Px(y)),
                        (false, false) => write!(way, "L{x} {}", Px(y)),
                    };
                    passed = false;
                }
            }
        }
        let _ = write!(self.svg, "<path class=\"way\" d=\"{}\"/>", way.trim());
        for (at, cell) in reader.cells.iter().enumerate().take(self.lefts.len()) {
            self.read(cell, at, y);
        }
        self.y += READER;
    }

    fn read(&mut self, cell: &LineRead, at: usize, y: f64) {
        let (x, column) = (self.middle(at), &self.line.columns[at]);
        match cell {
            LineRead::Absent => {}
            // Nothing that anybody knows of: a hole is rightly passed.
            LineRead::Passed if column.held.is_empty() => {}
            LineRead::Passed => {
                mark_passed(&mut self.svg, x, y);
                svg::text(&mut self.svg, "held-by bad", Anchor::Middle, x, y + 19.0, "passed over");
            }
            LineRead::Read { op, value, outcome } => {
                mark_read(&mut self.svg, x, y, *outcome);
                let which = if column.held.len() > 1 { format!("{value}, op {op}") } else { format!("op {op}") };
                svg::text(&mut self.svg, "held-by", Anchor::Middle, x, y + 19.0, &which);
            }
        }
    }

    /// What the signs mean: only those that are there.
    fn signs(&mut self) {
        let line = self.line;
        let held = || line.columns.iter().flat_map(|column| &column.held);
        let is_sent = |wanted: &[Outcome]| held().any(|held| held.sent.is_some_and(|sent| wanted.contains(&sent.outcome)));
        let boxes: Vec<(&str, &str)> = [
            (is_sent(&[Outcome::Acknowledged]), "held ok", "acknowledged"),
            (is_sent(&[Outcome::Info, Outcome::Open]), "held info", "outcome unknown"),
            (is_sent(&[Outcome::Failed]), "held fail", "failed"),
            (held().any(|held| held.sent.is_none()), "held nobody", "nobody sent it"),
        ]
        .into_iter()
        .filter_map(|(is_there, class, text)| is_there.then_some((class, text)))
        .collect();
        let cells = || line.readers.iter().flat_map(|reader| reader.cells.iter().zip(&line.columns));
        let reads: Vec<(Outcome, &str)> = [
            (Outcome::Acknowledged, "read"),
            (Outcome::Failed, "read by a poll that failed"),
            (Outcome::Info, "read by a poll of unknown outcome"),
        ]
        .into_iter()
        .filter(|(wanted, _)| cells().any(|(cell, _)| matches!(cell, LineRead::Read { outcome, .. } if outcome == wanted)))
        .collect();
        let is_passed = cells().any(|(cell, column)| *cell == LineRead::Passed && !column.held.is_empty());
        let (mut x, y) = (GUTTER + 6.0, self.y + 9.0);
        let name = |svg: &mut String, x: &mut f64, text: &str| {
            svg::text(svg, "legend", Anchor::Start, *x, y + 3.5, text);
            *x += 6.0 * text.chars().count() as f64 + 18.0;
        };
        for (class, text) in boxes {
            svg::area(&mut self.svg, class, (x, y - 5.0), (14.0, 10.0), "");
            x += 19.0;
            name(&mut self.svg, &mut x, text);
        }
        for (outcome, text) in reads {
            mark_read(&mut self.svg, x + 5.0, y, outcome);
            x += 15.0;
            name(&mut self.svg, &mut x, text);
        }
        if is_passed {
            mark_passed(&mut self.svg, x + 5.0, y);
            x += 15.0;
            name(&mut self.svg, &mut x, "passed over");
        }
        self.y += 22.0;
    }

    fn label(&mut self, text: &str, dy: f64) {
        svg::text(&mut self.svg, "row", Anchor::End, GUTTER - 10.0, self.y + dy, text);
    }
}

fn epoch_words(seen: &LeaderSeen, with_leader: bool) -> String {
    let epoch = seen.leader_epoch;
    match seen.leader.filter(|_| with_leader) {
        Some(broker) => format!("broker {broker}, epoch {epoch}"),
        None => format!("epoch {epoch}"),
    }
}

/// A dot; of a poll that failed a square, of one whose outcome is unknown a rhombus, both empty.
fn mark_read(svg: &mut String, x: f64, y: f64, outcome: Outcome) {
    let _ = match outcome {
        Outcome::Acknowledged => write!(svg, "<circle class=\"read\" cx=\"{}\" cy=\"{}\" r=\"5\"/>", Px(x), Px(y)),
        Outcome::Failed => write!(svg, "<path class=\"read empty\" d=\"M{} {}h9v9h-9z\"/>", Px(x - 4.5), Px(y - 4.5)),
        Outcome::Info | Outcome::Open => write!(svg, "<path class=\"read empty\" d=\"M{} {}l6 6-6 6-6-6z\"/>", Px(x), Px(y - 6.0)),
    };
}

fn mark_passed(svg: &mut String, x: f64, y: f64) {
    let _ = write!(svg, "<path class=\"passed\" d=\"M{} {}l9 9m0-9l-9 9\"/>", Px(x - 4.5), Px(y - 4.5));
}
