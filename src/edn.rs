//! An op as Jepsen's EDN (FORMATS.md): `{:index 3, :time 120, :process 0, :type :ok, :f :send, :value [[:send 0 [17 4]]]}`.

use std::fmt::Write;

use kchaos_core::{Body, MicroOp, Op, OpType, Polled, Process, RebalanceType, Send};
use serde_json::Value;

/// Appends the op as one map, without a newline.
pub(crate) fn write(op: &Op, out: &mut String) {
    push(out, format_args!("{{:index {}, :time {}, :process ", op.index, op.time_ns));
    match op.process {
        Process::Client(number) => push(out, format_args!("{number}")),
        Process::Nemesis => out.push_str(":nemesis"),
    }
    push(out, format_args!(", :type :{}, :f ", op.op_type.name()));
    name(out, op.body.f());
    out.push_str(", :value ");
    body(out, &op.body, op.op_type);
    if let Body::Assign { seek_to_beginning: true, .. } = op.body {
        out.push_str(", :seek-to-beginning? true");
    }
    beside(out, op);
    out.push('}');
}

/// Writing into a `String` cannot fail.
fn push(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(arguments);
}

/// A keyword if it can be one, else a string.
fn name(out: &mut String, text: &str) {
    let is_word = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'?' | b'.'));
    if is_word && text.starts_with(|first: char| first.is_ascii_alphabetic()) {
        push(out, format_args!(":{text}"));
    } else {
        string(out, text);
    }
}

fn string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control.is_control() => push(out, format_args!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
}

/// The elements between `open` and `close`.
fn list<T>(out: &mut String, [open, close]: [char; 2], elements: impl IntoIterator<Item = T>, mut each: impl FnMut(&mut String, T)) {
    out.push(open);
    for (position, element) in elements.into_iter().enumerate() {
        if position > 0 {
            out.push_str(if open == '{' { ", " } else { " " });
        }
        each(out, element);
    }
    out.push(close);
}

const VECTOR: [char; 2] = ['[', ']'];
const MAP: [char; 2] = ['{', '}'];

fn integers<'a>(out: &mut String, numbers: impl IntoIterator<Item = &'a i64>) {
    list(out, VECTOR, numbers, |out, number| push(out, format_args!("{number}")));
}

fn map<'a, V: std::fmt::Display + 'a>(out: &mut String, entries: impl IntoIterator<Item = (&'a i64, &'a V)>) {
    list(out, MAP, entries, |out, (key, value)| push(out, format_args!("{key} {value}")));
}

fn body(out: &mut String, body: &Body, op_type: OpType) {
    match body {
        Body::Send(sends) => list(out, VECTOR, sends, |out, one| send(out, one, op_type)),
        Body::Poll(polled) => {
            out.push('[');
            poll(out, polled.as_ref());
            out.push(']');
        }
        Body::Txn(parts) => list(out, VECTOR, parts, |out, part| match part {
            MicroOp::Send(one) => send(out, one, op_type),
            MicroOp::Poll(polled) => poll(out, polled.as_ref()),
        }),
        Body::Assign { keys, .. } | Body::Subscribe { keys } => integers(out, keys),
        Body::Commit(offsets) => map(out, offsets),
        Body::Committed { keys, .. } if op_type == OpType::Invoke => integers(out, keys),
        Body::Committed { offsets, .. } => map(out, offsets),
        Body::Crash | Body::Unknown { .. } => out.push_str("nil"),
        Body::Read { key, value: None } => push(out, format_args!("[{key} nil]")),
        Body::Read { key, value: Some(value) } | Body::Write { key, value } => push(out, format_args!("[{key} {value}]")),
        Body::Cas { key, old, new } => push(out, format_args!("[{key} [{old} {new}]]")),
        Body::Nemesis { value, .. } => any(out, value),
    }
}

fn send(out: &mut String, send: &Send, op_type: OpType) {
    let Send { key, value, offset } = send;
    match (op_type, offset) {
        (OpType::Invoke, None) => push(out, format_args!("[:send {key} {value}]")),
        (_, None) => push(out, format_args!("[:send {key} [nil {value}]]")),
        (_, Some(offset)) => push(out, format_args!("[:send {key} [{offset} {value}]]")),
    }
}

/// A key that comes twice starts a second `[:poll …]`, since a map names a key once.
fn poll(out: &mut String, polled: Option<&Polled>) {
    let Some(Polled(batches)) = polled else {
        out.push_str("[:poll]");
        return;
    };
    let mut first = 0;
    out.push_str("[:poll {");
    for (position, (key, records)) in batches.iter().enumerate() {
        if batches[first..position].iter().any(|(earlier, _)| earlier == key) {
            out.push_str("}] [:poll {");
            first = position;
        }
        push(out, format_args!("{}{key} ", if position > first { ", " } else { "" }));
        list(out, VECTOR, records, |out, (offset, value)| push(out, format_args!("[{offset} {value}]")));
    }
    out.push_str("}]");
}

fn beside(out: &mut String, op: &Op) {
    let extra = &op.extra;
    let clamp = |time_ns: u64| i64::try_from(time_ns).unwrap_or(i64::MAX);
    for (field, number) in [
        ("client", op.client.map(i64::from)),
        ("intended", extra.intended_ns.map(clamp)),
        ("commit-time", extra.commit_time_ns.map(clamp)),
        ("version", extra.version),
        ("zxid", extra.zxid),
    ] {
        if let Some(number) = number {
            push(out, format_args!(", :{field} {number}"));
        }
    }
    for (field, text) in [("node", &op.node), ("error", &op.error), ("group", &extra.group), ("isolation", &extra.isolation)] {
        if let Some(text) = text {
            push(out, format_args!(", :{field} "));
            string(out, text);
        }
    }
    if !extra.rebalance_log.is_empty() {
        out.push_str(", :rebalance-log ");
        list(out, VECTOR, &extra.rebalance_log, |out, entry| {
            let event = match entry.event {
                RebalanceType::Assigned => "assigned",
                RebalanceType::Revoked => "revoked",
                RebalanceType::Lost => "lost",
            };
            push(out, format_args!("{{:type :{event}, :keys "));
            integers(out, &entry.keys);
            out.push('}');
        });
    }
    if !extra.leader_epochs.is_empty() {
        out.push_str(", :leader-epochs ");
        map(out, &extra.leader_epochs);
    }
    if !extra.corrupt.is_empty() {
        out.push_str(", :corrupt ");
        list(out, VECTOR, &extra.corrupt, |out, (key, offset, what)| {
            push(out, format_args!("[{key} {offset} "));
            string(out, what);
            out.push(']');
        });
    }
    if extra.is_final {
        out.push_str(", :final true");
    }
}

/// What a nemesis said: open data. Depth is limited where it was read.
fn any(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("nil"),
        Value::Bool(flag) => push(out, format_args!("{flag}")),
        Value::Number(number) => push(out, format_args!("{number}")),
        Value::String(text) => string(out, text),
        Value::Array(elements) => list(out, VECTOR, elements, any),
        Value::Object(fields) => list(out, MAP, fields, |out, (field, value)| {
            // A number as a name is how a key of ours is written in JSON.
            match field.parse::<i64>() {
                Ok(number) if number.to_string() == *field => out.push_str(field),
                _ => name(out, field),
            }
            out.push(' ');
            any(out, value);
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of the contract, of every shape, and some that need care.
    const LINES: &[&str] = &[
        r#"{"index":0,"time":1,"process":0,"type":"ok","f":"send","value":[["send",0,[17,4]]]}"#,
        r#"{"index":1,"time":1,"process":0,"type":"invoke","f":"send","value":[["send",0,4],["send",1,-5]]}"#,
        r#"{"index":2,"time":1,"process":0,"type":"info","f":"send","value":[["send",0,[null,4]]],"error":"a \"b\"\n\\ \u0001 é"}"#,
        r#"{"index":3,"time":1,"process":0,"type":"invoke","f":"poll","value":[["poll"]]}"#,
        r#"{"index":4,"time":1,"process":0,"type":"ok","f":"poll","value":[["poll",{"0":[[1152921504606846976,4],[7,5]],"-1":[]}]],"client":7}"#,
        r#"{"index":5,"time":1,"process":0,"type":"fail","f":"poll","value":[["poll",{"0":[[0,4]]}],["poll",{"0":[[1,5]]}]],"final":true}"#,
        r#"{"index":6,"time":1,"process":1,"type":"ok","f":"txn","value":[["poll",{}],["send",0,[3,4]]],"commit-time":99}"#,
        r#"{"index":7,"time":1,"process":1,"type":"ok","f":"assign","value":[0,1],"seek-to-beginning?":true}"#,
        r#"{"index":8,"time":1,"process":1,"type":"ok","f":"subscribe","value":[]}"#,
        r#"{"index":9,"time":1,"process":1,"type":"ok","f":"commit","value":{"0":5},"group":"g\n1"}"#,
        r#"{"index":10,"time":1,"process":1,"type":"invoke","f":"committed","value":[0],"group":"g"}"#,
        r#"{"index":11,"time":1,"process":1,"type":"ok","f":"committed","value":{"0":5},"group":"g"}"#,
        r#"{"index":12,"time":1,"process":1,"type":"info","f":"crash","value":null}"#,
        r#"{"index":13,"time":1,"process":1,"type":"ok","f":"read","value":[2,9],"version":4,"zxid":12884901890}"#,
        r#"{"index":14,"time":1,"process":1,"type":"ok","f":"cas","value":[2,[9,10]]}"#,
        r#"{"index":15,"time":1,"process":1,"type":"ok","f":"dance now","value":null}"#,
        r#"{"index":16,"time":1,"process":"nemesis","type":"info","f":"kill-leader","value":{"on":["b1",null,true],"a b":1.5,"0":"nil","-":{}}}"#,
        r#"{"index":17,"time":1,"process":1,"type":"ok","f":"poll","value":[["poll",{}]],"intended":8,"node":"b1","isolation":"read_committed","rebalance-log":[{"type":"assigned","keys":[0]},{"type":"lost","keys":[]}],"leader-epochs":{"0":4},"corrupt":[[0,17,"crc"]]}"#,
    ];

    #[test]
    fn an_op_is_written_as_jepsen_writes_it() {
        let op = Op::read_json(LINES[0].as_bytes()).unwrap().0;
        let mut text = String::new();
        write(&op, &mut text);
        assert_eq!(text, "{:index 0, :time 1, :process 0, :type :ok, :f :send, :value [[:send 0 [17 4]]]}");
    }

    #[test]
    fn what_is_written_is_read_as_the_same_ops() {
        let mut text = String::new();
        for line in LINES {
            write(&Op::read_json(line.as_bytes()).unwrap().0, &mut text);
            text.push('\n');
        }
        let mut lines = Vec::new();
        let told = kchaos_checkers::read_ops(text.as_bytes(), "history.edn", |op| {
            let mut line = String::new();
            op.write_json(&mut line);
            lines.push(line);
        });
        assert!(told.as_ref().is_ok_and(|told| told.truncated.is_none()), "{told:?}\n{text}");
        assert_eq!(lines, LINES);
    }
}
