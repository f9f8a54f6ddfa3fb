//! The offset line of one example: which offsets and which readers are worth showing.

use std::collections::{BTreeMap, BTreeSet};

use kchaos_core::{Example, Held, Key, LineOffset, LineRead, LineReader, Offset, OffsetLine};

use super::log_parts::{Logs, Part, Reader};

/// Offsets of one example that are drawn with what is around them.
pub(super) const ACCUSED_MAX: usize = 4;
const READERS_SHOWN: usize = 4;

/// The offsets that the example speaks of, ascending.
pub(super) fn accused(example: &Example) -> impl Iterator<Item = Offset> + use<> {
    let offsets: BTreeSet<Offset> = if example.key.is_some() { example.offsets.iter().copied().collect() } else { BTreeSet::new() };
    offsets.into_iter().take(ACCUSED_MAX)
}

pub(super) fn key(example: &Example) -> Key {
    example.key.unwrap_or_default()
}

/// `None` where there is nothing to show. Who sent the values is filled in later.
pub(super) fn draw(example: &Example, logs: &Logs) -> Option<OffsetLine> {
    let key = key(example);
    let accused: Vec<Offset> = accused(example).collect();
    let mut parts: Vec<&Part> = accused.iter().filter_map(|offset| logs.part(key, *offset)).collect();
    parts.dedup_by(|one, other| std::ptr::eq(*one, *other));
    let reach = [4, 4, 3, 2, 2][accused.len().min(4)];
    let mut offsets: BTreeSet<Offset> = accused.iter().copied().collect();
    for (offset, part) in accused.iter().filter_map(|offset| Some((*offset, logs.part(key, *offset)?))) {
        offsets.extend(part.held.range(..offset).rev().take(reach).map(|(offset, _)| *offset));
        offsets.extend(part.held.range(offset..).filter(|(other, _)| **other != offset).take(reach).map(|(offset, _)| *offset));
    }
    let mut columns: Vec<LineOffset> = Vec::new();
    for offset in offsets {
        let values = parts.iter().find_map(|part| part.held.get(&offset)).map_or(&[][..], Vec::as_slice);
        let gap = columns.last().is_some_and(|column| leaves_out(&parts, column.offset, offset));
        let is_accused = accused.contains(&offset) || values.iter().any(|value| example.values.contains(value));
        let held = values.iter().map(|value| Held { value: *value, sent: None }).collect();
        columns.push(LineOffset { offset, accused: is_accused, gap, held });
    }
    if columns.iter().all(|column| column.held.is_empty()) {
        return None;
    }
    let (readers, more_readers) = readers(example, &parts, &columns);
    Some(OffsetLine { key, columns, readers, more_readers })
}

/// Something stands between, or nobody looked: they are too far apart.
fn leaves_out(parts: &[&Part], from: Offset, to: Offset) -> bool {
    let part = parts.iter().find(|part| part.is_around(from) && part.is_around(to));
    part.is_none_or(|part| part.held.range(from.saturating_add(1)..to).next().is_some())
}

/// Those that the example cites first, then those that passed over what it speaks of, then those that read it.
fn readers(example: &Example, parts: &[&Part], columns: &[LineOffset]) -> (Vec<LineReader>, u64) {
    let mut all: BTreeMap<(u32, u32), Vec<LineRead>> = BTreeMap::new();
    for reader in parts.iter().flat_map(|part| &part.readers) {
        let cells = all.entry((reader.process, reader.run)).or_insert_with(|| vec![LineRead::Absent; columns.len()]);
        for (cell, column) in cells.iter_mut().zip(columns) {
            if *cell == LineRead::Absent {
                *cell = read(reader, column.offset);
            }
        }
    }
    all.retain(|_, cells| cells.iter().any(|cell| *cell != LineRead::Absent));
    let worth = |cells: &[LineRead]| {
        let cited = |cell: &LineRead| matches!(cell, LineRead::Read { op, .. } if example.ops.contains(op));
        let accused = || cells.iter().zip(columns).filter(|(_, column)| column.accused).map(|(cell, _)| *cell);
        match () {
            () if cells.iter().any(cited) => 0,
            () if accused().any(|cell| cell == LineRead::Passed) => 1,
            () if accused().any(|cell| cell != LineRead::Absent) => 2,
            () => 3,
        }
    };
    let mut ranked: Vec<_> = all.iter().map(|(id, cells)| (worth(cells), *id)).collect();
    ranked.sort_unstable();
    let more = ranked.len().saturating_sub(READERS_SHOWN) as u64 + parts.iter().map(|part| part.more_readers).sum::<u64>();
    ranked.truncate(READERS_SHOWN);
    let mut shown: Vec<_> = ranked.into_iter().map(|(_, id)| id).collect();
    shown.sort_unstable();
    let mut readers: Vec<LineReader> = Vec::new();
    for id in shown {
        let again = match readers.last().filter(|reader| reader.process == id.0) {
            Some(reader) => reader.again + 1,
            None => 0,
        };
        readers.extend(all.remove(&id).map(|cells| LineReader { process: id.0, again, cells }));
    }
    (readers, more)
}

fn read(reader: &Reader, offset: Offset) -> LineRead {
    match reader.cells.get(&offset) {
        Some((op, value, outcome)) => LineRead::Read { op: *op, value: *value, outcome: *outcome },
        None if reader.low < offset && offset < reader.high => LineRead::Passed,
        None => LineRead::Absent,
    }
}
