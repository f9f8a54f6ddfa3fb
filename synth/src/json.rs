//! An op as one line of JSON, fast: the same text as [`Op::write_json`], by hand for what a history is made of.
//!
//! Why by hand: a benchmark of a checker that reads ten million lines a second needs a writer that is not the slower of the two. What is
//! rare (names, errors, rebalances, nemeses) goes the ordinary way.

use kchaos_core::{Body, MicroOp, Op, OpType, Polled, Process, Send};

/// Appends the op as one JSON object, without a newline.
pub fn write_json(op: &Op, line: &mut Vec<u8>) {
    let extra = &op.extra;
    let is_plain = op.error.is_none()
        && op.node.is_none()
        && extra.group.is_none()
        && extra.isolation.is_none()
        && extra.reset.is_none()
        && extra.rebalance_log.is_empty()
        && extra.leader_epochs.is_empty()
        && extra.corrupt.is_empty();
    let Process::Client(process) = op.process else { return ordinary(op, line) };
    let is_common = match op.body {
        Body::Send(_) | Body::Poll(_) | Body::Txn(_) | Body::Read { .. } | Body::Write { .. } | Body::Cas { .. } => true,
        Body::Assign { .. } | Body::Subscribe { .. } | Body::Commit(_) | Body::Committed { .. } | Body::Crash => false,
        Body::Nemesis { .. } | Body::Unknown { .. } => false,
    };
    if !is_plain || !is_common {
        return ordinary(op, line);
    }
    text(line, b"{\"index\":");
    unsigned(line, op.index);
    text(line, b",\"time\":");
    unsigned(line, op.time_ns);
    text(line, b",\"process\":");
    unsigned(line, process.into());
    text(
        line,
        match op.op_type {
            OpType::Invoke => b",\"type\":\"invoke\",\"f\":\"",
            OpType::Ok => b",\"type\":\"ok\",\"f\":\"",
            OpType::Fail => b",\"type\":\"fail\",\"f\":\"",
            OpType::Info => b",\"type\":\"info\",\"f\":\"",
        },
    );
    text(line, op.body.f().as_bytes());
    text(line, b"\",\"value\":[");
    body(line, &op.body, op.op_type);
    line.push(b']');
    for (name, number) in [
        (&b",\"client\":"[..], op.client.map(i64::from)),
        (b",\"intended\":", extra.intended_ns.map(clamp)),
        (b",\"commit-time\":", extra.commit_time_ns.map(clamp)),
        (b",\"version\":", extra.version),
        (b",\"zxid\":", extra.zxid),
    ] {
        if let Some(number) = number {
            text(line, name);
            signed(line, number);
        }
    }
    text(line, if extra.is_final { b",\"final\":true}" } else { b"}" });
}

fn ordinary(op: &Op, line: &mut Vec<u8>) {
    let mut text = String::new();
    op.write_json(&mut text);
    line.extend_from_slice(text.as_bytes());
}

fn clamp(time_ns: u64) -> i64 {
    i64::try_from(time_ns).unwrap_or(i64::MAX)
}

/// Inside the value's outer brackets.
fn body(line: &mut Vec<u8>, body: &Body, op_type: OpType) {
    match body {
        Body::Send(sends) => {
            for (nth, one) in sends.iter().enumerate() {
                comma(line, nth);
                send(line, one, op_type);
            }
        }
        Body::Poll(polled) => poll(line, polled.as_ref()),
        Body::Txn(parts) => {
            for (nth, part) in parts.iter().enumerate() {
                comma(line, nth);
                match part {
                    MicroOp::Send(one) => send(line, one, op_type),
                    MicroOp::Poll(polled) => poll(line, polled.as_ref()),
                }
            }
        }
        Body::Read { key, value: None } => {
            signed(line, *key);
            text(line, b",null");
        }
        Body::Read { key, value: Some(value) } | Body::Write { key, value } => pair(line, *key, *value),
        Body::Cas { key, old, new } => {
            signed(line, *key);
            text(line, b",[");
            pair(line, *old, *new);
            line.push(b']');
        }
        _ => {}
    }
}

fn send(line: &mut Vec<u8>, send: &Send, op_type: OpType) {
    text(line, b"[\"send\",");
    signed(line, send.key);
    match send.offset {
        None if op_type == OpType::Invoke => {
            line.push(b',');
            signed(line, send.value);
            line.push(b']');
            return;
        }
        None => text(line, b",[null"),
        Some(offset) => {
            text(line, b",[");
            signed(line, offset);
        }
    }
    line.push(b',');
    signed(line, send.value);
    text(line, b"]]");
}

/// A key that comes twice starts a second poll, since an object names a key once.
fn poll(line: &mut Vec<u8>, polled: Option<&Polled>) {
    let Some(Polled(batches)) = polled else { return text(line, b"[\"poll\"]") };
    let mut first = 0;
    text(line, b"[\"poll\",{");
    for (position, (key, records)) in batches.iter().enumerate() {
        if batches[first..position].iter().any(|(earlier, _)| earlier == key) {
            text(line, b"}],[\"poll\",{");
            first = position;
        }
        comma(line, position - first);
        line.push(b'"');
        signed(line, *key);
        text(line, b"\":[");
        for (nth, (offset, value)) in records.iter().enumerate() {
            text(line, if nth > 0 { b",[" } else { b"[" });
            pair(line, *offset, *value);
            line.push(b']');
        }
        line.push(b']');
    }
    text(line, b"}]");
}

fn pair(line: &mut Vec<u8>, first: i64, second: i64) {
    signed(line, first);
    line.push(b',');
    signed(line, second);
}

fn comma(line: &mut Vec<u8>, nth: usize) {
    if nth > 0 {
        line.push(b',');
    }
}

#[inline]
fn text(line: &mut Vec<u8>, text: &[u8]) {
    line.extend_from_slice(text);
}

#[inline]
fn signed(line: &mut Vec<u8>, number: i64) {
    if number < 0 {
        line.push(b'-');
    }
    unsigned(line, number.unsigned_abs());
}

const EIGHT_DIGITS: u64 = 100_000_000;
const ASCII_ZEROS: u64 = 0x3030_3030_3030_3030;

#[inline]
fn unsigned(line: &mut Vec<u8>, number: u64) {
    if number < EIGHT_DIGITS {
        let digits = eight_digits(number);
        // The lowest byte is the first digit. Of zero, one digit stays.
        let leading_zeros = (digits.trailing_zeros() / 8).min(7);
        line.extend_from_slice(&((digits | ASCII_ZEROS) >> (8 * leading_zeros)).to_le_bytes());
        line.truncate(line.len() - leading_zeros as usize);
    } else {
        unsigned_long(line, number);
    }
}

fn unsigned_long(line: &mut Vec<u8>, number: u64) {
    unsigned(line, number / EIGHT_DIGITS);
    line.extend_from_slice(&(eight_digits(number % EIGHT_DIGITS) | ASCII_ZEROS).to_le_bytes());
}

/// The digits of a number below 10^8, a byte each, split in one word: into two of four, four of two, eight of one.
#[inline]
fn eight_digits(number: u64) -> u64 {
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x7F_0000_007F;
    let twos = hundreds | ((fours - hundreds * 100) << 16);
    let tens = ((twos * 103) >> 10) & 0x000F_000F_000F_000F;
    tens | ((twos - tens * 10) << 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_below_a_million_and_the_edges_are_written_as_they_are() {
        let mut line = Vec::new();
        let edges = (0..20).flat_map(|digits| [10_u64.pow(digits) - 1, 10_u64.pow(digits), 10_u64.pow(digits) + 1]);
        for number in (0..1_000_000).chain((0..EIGHT_DIGITS).step_by(9_973)).chain(edges).chain([u64::MAX]) {
            line.clear();
            unsigned(&mut line, number);
            assert_eq!(line, number.to_string().as_bytes());
        }
    }
}
