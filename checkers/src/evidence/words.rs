//! What an op did, in a short line.

use std::fmt::Write;

use kchaos_core::{Body, Key, MicroOp, Offset, Op, OpType, Polled, Send, ShownOp, Value};

/// Of several sends, keys or records, so many are named.
const LISTED: usize = 4;
/// What a nemesis said may be long.
const CHARS_MAX: usize = 160;

/// `key` is the one that matters: it is told first.
pub(super) fn shown(op: &Op, key: Option<Key>, cited: bool) -> ShownOp {
    let client = op.client.map_or_else(String::new, |client| format!(" (client {client})"));
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = body(&mut text, op, key);
    if let Some(error) = &op.error {
        let _ = write!(text, "{}error: {error}", if text.is_empty() { "" } else { "; " });
    }
    let what = format!("{} {}", op.op_type.name(), op.body.f());
    ShownOp { index: op.index, time_ns: op.time_ns, who: format!("{}{client}", op.process), what, text: cut(text), cited }
}

fn cut(mut text: String) -> String {
    // What comes from outside must not break the lines of a report.
    if text.contains(char::is_control) {
        text = text.replace(char::is_control, " ");
    }
    if let Some((at, _)) = text.char_indices().nth(CHARS_MAX) {
        text.truncate(at);
        text.push('…');
    }
    text
}

fn body(text: &mut String, op: &Op, key: Option<Key>) -> std::fmt::Result {
    match &op.body {
        Body::Send(all) => sends(text, &all.iter().collect::<Vec<_>>(), key),
        Body::Poll(polled) => polls(text, polled.iter(), key),
        Body::Txn(all) => transaction(text, all, key),
        Body::Assign { keys, seek_to_beginning } => {
            listed(text, "keys ", keys)?;
            text.write_str(if *seek_to_beginning { ", from the beginning" } else { "" })
        }
        Body::Subscribe { keys } => listed(text, "keys ", keys),
        Body::Commit(offsets) => places(text, offsets.iter(), key),
        Body::Committed { keys, .. } if op.op_type == OpType::Invoke => listed(text, "keys ", keys),
        Body::Committed { offsets, .. } => places(text, offsets.iter(), key),
        Body::Crash => Ok(()),
        Body::Read { key, value } => match value {
            Some(value) => write!(text, "key {key}: {value}"),
            None if op.op_type == OpType::Ok => write!(text, "key {key}: nothing"),
            None => write!(text, "key {key}"),
        }
        .and_then(|()| version(text, op)),
        Body::Write { key, value } => write!(text, "key {key}: {value}").and_then(|()| version(text, op)),
        Body::Cas { key, old, new } => write!(text, "key {key}: {new} in place of {old}").and_then(|()| version(text, op)),
        Body::Nemesis { value, .. } if value.is_null() => Ok(()),
        Body::Nemesis { value, .. } => write!(text, "{value}"),
        Body::Unknown { .. } => text.write_str("(unknown)"),
    }
}

fn version(text: &mut String, op: &Op) -> std::fmt::Result {
    op.extra.version.map_or(Ok(()), |version| write!(text, " at version {version}"))
}

fn transaction(text: &mut String, all: &[MicroOp], key: Option<Key>) -> std::fmt::Result {
    let sent: Vec<&Send> = all.iter().filter_map(|one| if let MicroOp::Send(send) = one { Some(send) } else { None }).collect();
    let polled: Vec<&Polled> = all.iter().filter_map(|one| if let MicroOp::Poll(polled) = one { polled.as_ref() } else { None }).collect();
    if !sent.is_empty() {
        text.write_str("sends ")?;
        sends(text, &sent, key)?;
    }
    if !polled.is_empty() {
        text.write_str(if sent.is_empty() { "polls " } else { "; polls " })?;
        polls(text, polled.into_iter(), key)?;
    } else if all.iter().any(|one| matches!(one, MicroOp::Poll(_))) {
        text.write_str(if sent.is_empty() { "polls" } else { "; polls" })?;
    }
    Ok(())
}

fn sends(text: &mut String, all: &[&Send], key: Option<Key>) -> std::fmt::Result {
    let mut sorted = all.to_vec();
    sorted.sort_by_key(|send| Some(send.key) != key);
    let mut before = None;
    for (at, send) in sorted.iter().take(LISTED).enumerate() {
        let comma = if at > 0 { ", " } else { "" };
        if before == Some(send.key) {
            write!(text, "{comma}{}", send.value)?;
        } else {
            write!(text, "{comma}key {}: value {}", send.key, send.value)?;
        }
        if let Some(offset) = send.offset {
            write!(text, " at offset {offset}")?;
        }
        before = Some(send.key);
    }
    more(text, sorted.len())
}

fn polls<'a>(text: &mut String, polled: impl Iterator<Item = &'a Polled>, key: Option<Key>) -> std::fmt::Result {
    let mut keys: Vec<&(Key, Vec<(Offset, Value)>)> =
        polled.flat_map(|polled| &polled.0).filter(|(_, records)| !records.is_empty()).collect();
    if keys.is_empty() {
        return text.write_str("nothing");
    }
    keys.sort_by_key(|(of, _)| Some(*of) != key);
    for (at, (of, records)) in keys.iter().take(LISTED).enumerate() {
        let comma = if at > 0 { "; " } else { "" };
        match records.as_slice() {
            [(offset, value)] => write!(text, "{comma}key {of}: value {value} at offset {offset}")?,
            [first, .., last] if records.len() > LISTED => {
                write!(text, "{comma}key {of}: offsets {} to {} ({} records)", first.0, last.0, records.len())?;
            }
            _ => {
                let records: Vec<_> = records.iter().map(|(offset, value)| format!("{value} at {offset}")).collect();
                write!(text, "{comma}key {of}: values {}", records.join(", "))?;
            }
        }
    }
    more(text, keys.len())
}

fn places<'a>(text: &mut String, offsets: impl Iterator<Item = (&'a Key, &'a Offset)>, key: Option<Key>) -> std::fmt::Result {
    let mut offsets: Vec<_> = offsets.collect();
    offsets.sort_by_key(|(of, _)| Some(**of) != key);
    for (at, (key, offset)) in offsets.iter().take(LISTED).enumerate() {
        write!(text, "{}key {key}: next offset {offset}", if at > 0 { ", " } else { "" })?;
    }
    more(text, offsets.len())
}

fn listed(text: &mut String, what: &str, keys: &[Key]) -> std::fmt::Result {
    let named: Vec<_> = keys.iter().take(LISTED).map(ToString::to_string).collect();
    write!(text, "{what}{}", named.join(", "))?;
    more(text, keys.len())
}

fn more(text: &mut String, count: usize) -> std::fmt::Result {
    if count > LISTED { write!(text, " and {} more", count - LISTED) } else { Ok(()) }
}
