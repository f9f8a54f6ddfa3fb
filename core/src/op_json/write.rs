//! An op as one line of JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::{Body, Key, MicroOp, Op, OpType, Polled, Process, RebalanceType, Send};

impl Op {
    /// Appends this op as one JSON object, without a newline.
    pub fn write_json(&self, line: &mut String) {
        line.push_str("{\"index\":");
        number(line, self.index);
        line.push_str(",\"time\":");
        number(line, self.time_ns);
        line.push_str(",\"process\":");
        match self.process {
            Process::Client(process) => number(line, process),
            Process::Nemesis => line.push_str("\"nemesis\""),
        }
        line.push_str(",\"type\":\"");
        line.push_str(self.op_type.name());
        line.push_str("\",\"f\":");
        string(line, self.body.f());
        line.push_str(",\"value\":");
        body(line, &self.body, self.op_type);
        if let Body::Assign { seek_to_beginning: true, .. } = self.body {
            line.push_str(",\"seek-to-beginning?\":true");
        }
        beside(line, self);
        line.push('}');
    }
}

/// Writing into a `String` cannot fail.
fn push(line: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _ = line.write_fmt(arguments);
}

/// Nearly all of a history is numbers, and the standard library's way to write one is made for padding and signs that are not asked for.
fn number(line: &mut String, number: impl itoa::Integer) {
    line.push_str(itoa::Buffer::new().format(number));
}

fn string(line: &mut String, text: &str) {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
        line.push('"');
        line.push_str(text);
        line.push('"');
    } else {
        // A string always serialises.
        line.push_str(&serde_json::to_string(text).unwrap_or_default());
    }
}

/// `[a,b,…]`, each element written by `write`.
fn array<T>(line: &mut String, elements: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut String, T)) {
    line.push('[');
    for (position, element) in elements.into_iter().enumerate() {
        if position > 0 {
            line.push(',');
        }
        write(line, element);
    }
    line.push(']');
}

fn keys(line: &mut String, keys: &[Key]) {
    array(line, keys, |line, key| number(line, *key));
}

fn map<V: std::fmt::Display>(line: &mut String, entries: &BTreeMap<Key, V>) {
    line.push('{');
    for (position, (key, value)) in entries.iter().enumerate() {
        let comma = if position > 0 { "," } else { "" };
        push(line, format_args!("{comma}\"{key}\":{value}"));
    }
    line.push('}');
}

fn body(line: &mut String, body: &Body, op_type: OpType) {
    match body {
        Body::Send(sends) => array(line, sends, |line, one| send(line, one, op_type)),
        Body::Poll(polled) => {
            line.push('[');
            poll(line, polled.as_ref());
            line.push(']');
        }
        Body::Txn(parts) => array(line, parts, |line, part| match part {
            MicroOp::Send(one) => send(line, one, op_type),
            MicroOp::Poll(polled) => poll(line, polled.as_ref()),
        }),
        Body::Assign { keys: list, .. } | Body::Subscribe { keys: list } => keys(line, list),
        Body::Commit(offsets) => map(line, offsets),
        Body::Committed { keys: list, .. } if op_type == OpType::Invoke => keys(line, list),
        Body::Committed { offsets, .. } => map(line, offsets),
        Body::Crash | Body::Unknown { .. } => line.push_str("null"),
        Body::Read { key, value: None } => push(line, format_args!("[{key},null]")),
        Body::Read { key, value: Some(value) } | Body::Write { key, value } => push(line, format_args!("[{key},{value}]")),
        Body::Cas { key, old, new } => push(line, format_args!("[{key},[{old},{new}]]")),
        Body::Nemesis { value, .. } => push(line, format_args!("{value}")),
    }
}

fn send(line: &mut String, send: &Send, op_type: OpType) {
    let Send { key, value, offset } = *send;
    line.push_str("[\"send\",");
    number(line, key);
    line.push(',');
    if (op_type, offset) == (OpType::Invoke, None) {
        number(line, value);
    } else {
        line.push('[');
        match offset {
            Some(offset) => number(line, offset),
            None => line.push_str("null"),
        }
        line.push(',');
        number(line, value);
        line.push(']');
    }
    line.push(']');
}

/// A key that comes twice (two polls in one op) starts a second `["poll", …]`, since an object names a key once.
fn poll(line: &mut String, polled: Option<&Polled>) {
    let Some(Polled(batches)) = polled else {
        line.push_str("[\"poll\"]");
        return;
    };
    let mut first = 0;
    line.push_str("[\"poll\",{");
    for (position, (key, records)) in batches.iter().enumerate() {
        if batches[first..position].iter().any(|(earlier, _)| earlier == key) {
            line.push_str("}],[\"poll\",{");
            first = position;
        }
        line.push_str(if position > first { ",\"" } else { "\"" });
        number(line, *key);
        line.push_str("\":");
        array(line, records, |line, (offset, value)| {
            line.push('[');
            number(line, *offset);
            line.push(',');
            number(line, *value);
            line.push(']');
        });
    }
    line.push_str("}]");
}

fn beside(line: &mut String, op: &Op) {
    let extra = &op.extra;
    let numbers = [
        ("client", op.client.map(i64::from)),
        ("intended", extra.intended_ns.map(clamp)),
        ("commit-time", extra.commit_time_ns.map(clamp)),
        ("version", extra.version),
        ("zxid", extra.zxid),
    ];
    for (name, told) in numbers {
        if let Some(told) = told {
            named(line, name);
            number(line, told);
        }
    }
    let texts =
        [("node", &op.node), ("error", &op.error), ("group", &extra.group), ("isolation", &extra.isolation), ("reset", &extra.reset)];
    for (name, text) in texts {
        if let Some(text) = text {
            named(line, name);
            string(line, text);
        }
    }
    if !extra.rebalance_log.is_empty() {
        line.push_str(",\"rebalance-log\":");
        array(line, &extra.rebalance_log, |line, entry| {
            push(line, format_args!("{{\"type\":\"{}\",\"keys\":", rebalance_name(entry.event)));
            keys(line, &entry.keys);
            line.push('}');
        });
    }
    if !extra.leader_epochs.is_empty() {
        line.push_str(",\"leader-epochs\":");
        map(line, &extra.leader_epochs);
    }
    if !extra.corrupt.is_empty() {
        line.push_str(",\"corrupt\":");
        array(line, &extra.corrupt, |line, (key, offset, text)| {
            push(line, format_args!("[{key},{offset},"));
            string(line, text);
            line.push(']');
        });
    }
    if extra.is_final {
        line.push_str(",\"final\":true");
    }
}

fn named(line: &mut String, name: &str) {
    line.push_str(",\"");
    line.push_str(name);
    line.push_str("\":");
}

/// 2^63 ns are 292 years.
fn clamp(time_ns: u64) -> i64 {
    i64::try_from(time_ns).unwrap_or(i64::MAX)
}

pub(super) fn rebalance_name(event: RebalanceType) -> &'static str {
    match event {
        RebalanceType::Assigned => "assigned",
        RebalanceType::Revoked => "revoked",
        RebalanceType::Lost => "lost",
    }
}
