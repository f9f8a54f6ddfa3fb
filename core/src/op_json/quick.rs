//! Lines as recorders write them, read in one sweep.
//!
//! Why: nearly every line of a large history is a send or a poll with its fields in one order. Such a line needs no field names looked up and
//! nothing allocated: the op of an earlier line is filled again, and numbers are read eight digits at a time. Whatever differs in anything
//! is left to the general reader, which alone decides what is an error. (A property test holds the two against each other.)

mod beside;
mod plain;
mod txn;

use crate::{Body, Key, Offset, Op, OpType, PlainSend, PollBegin, Polled, Process, Send, Value};

type Records = Vec<(Offset, Value)>;

/// Vectors that ops of other kinds left behind.
#[derive(Default)]
pub struct Spare {
    sends: Vec<Vec<Send>>,
    polled: Vec<Vec<(Key, Records)>>,
    records: Vec<Records>,
    texts: Vec<String>,
}

/// More would only be kept.
const SPARE_MAX: usize = 64;

impl Spare {
    /// Takes what can be used again out of a body.
    fn keep(&mut self, body: &mut Body) {
        match body {
            Body::Send(sends) if self.sends.len() < SPARE_MAX => {
                sends.clear();
                self.sends.push(std::mem::take(sends));
            }
            Body::Poll(Some(Polled(batches))) if self.polled.len() < SPARE_MAX => {
                self.keep_records(batches);
                self.polled.push(std::mem::take(batches));
            }
            _ => {}
        }
    }

    fn keep_records(&mut self, batches: &mut Vec<(Key, Records)>) {
        for (_, mut records) in batches.drain(..) {
            if self.records.len() < SPARE_MAX {
                records.clear();
                self.records.push(records);
            }
        }
    }

    /// The op's sends, emptied.
    fn sends<'a>(&mut self, body: &'a mut Body) -> Option<&'a mut Vec<Send>> {
        if !matches!(body, Body::Send(_)) {
            self.keep(body);
            *body = Body::Send(self.sends.pop().unwrap_or_default());
        }
        let Body::Send(sends) = body else { return None };
        sends.clear();
        Some(sends)
    }
}

struct Quick<'a> {
    bytes: &'a [u8],
    at: usize,
}

const POWERS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The number that eight bytes spell, the first being the lowest byte: how many of them are digits, and their value.
#[inline(always)]
fn eight(bytes: [u8; 8]) -> (usize, u64) {
    let digits = u64::from_le_bytes(bytes) ^ 0x3030_3030_3030_3030;
    let others = (digits.wrapping_add(0x0606_0606_0606_0606) | digits) & 0xf0f0_f0f0_f0f0_f0f0;
    let count = (others.trailing_zeros() / 8) as usize;
    if count == 0 {
        return (0, 0);
    }
    // Leading zeros instead of what follows; then pairs, fours, eights.
    let digits = digits << (8 * (8 - count));
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let mask = 0x0000_00ff_0000_00ff;
    let low = (pairs & mask).wrapping_mul(0x000f_4240_0000_0064);
    let high = (pairs >> 16 & mask).wrapping_mul(0x0000_2710_0000_0001);
    (count, low.wrapping_add(high) >> 32)
}

/// Equality by words, of which the last may overlap the one before it, without a call.
#[inline(always)]
fn same<const N: usize>(one: &[u8; N], other: &[u8; N]) -> bool {
    let eight = |bytes: &[u8; N], at: usize| bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let four = |bytes: &[u8; N], at: usize| bytes[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    if N >= 8 {
        let mut differ = eight(one, N - 8) ^ eight(other, N - 8);
        for word in 0..N / 8 {
            differ |= eight(one, word * 8) ^ eight(other, word * 8);
        }
        differ == 0
    } else if N >= 4 {
        four(one, 0) == four(other, 0) && four(one, N - 4) == four(other, N - 4)
    } else {
        one == other
    }
}

/// What a line is, as its head says.
#[derive(Clone, Copy)]
struct Kind {
    op_type: OpType,
    f: Shape,
}

#[derive(Clone, Copy)]
enum Shape {
    Send,
    Poll,
    Txn,
}

impl Quick<'_> {
    #[inline(always)]
    fn byte(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn eat(&mut self, byte: u8) -> bool {
        if self.byte() == byte {
            self.at += 1;
            return true;
        }
        false
    }

    /// One blank, as some writers put after commas and colons.
    #[inline(always)]
    fn blank(&mut self) {
        if self.byte() == b' ' {
            self.at += 1;
        }
    }

    #[inline(always)]
    fn literal<const N: usize>(&mut self, literal: &[u8; N]) -> bool {
        if self.bytes[self.at..].first_chunk().is_some_and(|found| same(found, literal)) {
            self.at += N;
            return true;
        }
        false
    }

    #[inline(always)]
    fn comma(&mut self) -> Option<()> {
        self.eat(b',').then(|| self.blank())
    }

    /// `"name":` after a comma (or the opening brace).
    #[inline(always)]
    fn name<const N: usize>(&mut self, name: &[u8; N]) -> Option<()> {
        self.literal(name).then(|| self.blank())
    }

    /// A number from 0 of at most 18 digits.
    #[inline(always)]
    fn number(&mut self) -> Option<u64> {
        let start = self.at;
        let mut value = 0;
        while let Some(bytes) = self.bytes[self.at..].first_chunk() {
            let (count, more) = eight(*bytes);
            value = value * POWERS[count] + more;
            self.at += count;
            if count < 8 {
                return self.checked(start, value);
            }
            if self.at - start > 10 {
                break;
            }
        }
        while let digit @ b'0'..=b'9' = self.byte() {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
            if self.at - start > 18 {
                return None;
            }
        }
        self.checked(start, value)
    }

    #[inline]
    fn checked(&self, start: usize, value: u64) -> Option<u64> {
        let length = self.at - start;
        let well_formed = length == 1 || (length > 1 && length <= 18 && self.bytes[start] != b'0');
        well_formed.then_some(value)
    }

    #[inline(always)]
    fn integer(&mut self) -> Option<i64> {
        self.number().map(|number| number as i64)
    }

    /// The same, for numbers that mostly have a digit or two.
    #[inline(always)]
    fn short(&mut self) -> Option<u64> {
        let first = self.byte().wrapping_sub(b'0');
        let second = self.bytes.get(self.at + 1).copied().unwrap_or(0).wrapping_sub(b'0');
        if first > 9 {
            return None;
        }
        if second > 9 {
            self.at += 1;
            return Some(u64::from(first));
        }
        let third = self.bytes.get(self.at + 2).copied().unwrap_or(0).wrapping_sub(b'0');
        if third > 9 && first > 0 {
            self.at += 2;
            return Some(u64::from(first) * 10 + u64::from(second));
        }
        self.number()
    }

    /// `[offset,value]` after its bracket.
    #[inline(always)]
    fn offset_and_value(&mut self) -> Option<(Option<Offset>, Value)> {
        let offset = if self.byte() == b'n' {
            self.literal(b"null").then_some(())?;
            None
        } else {
            Some(self.integer()?)
        };
        self.comma()?;
        let value = self.integer()?;
        self.eat(b']').then_some((offset, value))
    }

    /// Sends, after the first's `["send",`.
    #[inline(always)]
    fn sends(&mut self, sends: &mut Vec<Send>) -> Option<()> {
        loop {
            self.blank();
            let key = self.short()? as i64;
            self.comma()?;
            let (offset, value) = if self.eat(b'[') { self.offset_and_value()? } else { (None, self.integer()?) };
            sends.push(Send { key, value, offset });
            if self.literal(b"]]") {
                return Some(());
            }
            self.eat(b']').then_some(())?;
            self.comma()?;
            self.literal(b"[\"send\",").then_some(())?;
        }
    }

    /// A poll, after its `["poll"`.
    #[inline(always)]
    fn poll(&mut self, body: &mut Body, spare: &mut Spare) -> Option<()> {
        if self.literal(b"]]") {
            spare.keep(body);
            *body = Body::Poll(None);
            return Some(());
        }
        self.comma()?;
        self.eat(b'{').then_some(())?;
        if !matches!(body, Body::Poll(Some(_))) {
            spare.keep(body);
            *body = Body::Poll(Some(Polled(spare.polled.pop().unwrap_or_default())));
        }
        let Body::Poll(Some(Polled(batches))) = body else { return None };
        spare.keep_records(batches);
        if !self.eat(b'}') {
            loop {
                self.eat(b'"').then_some(())?;
                let key = self.short()? as i64;
                self.literal(b"\":").then(|| self.blank())?;
                let mut records = spare.records.pop().unwrap_or_default();
                let whole = self.records(&mut records);
                batches.push((key, records));
                whole?;
                if self.eat(b'}') {
                    break;
                }
                self.comma()?;
            }
        }
        self.literal(b"]]").then_some(())
    }

    fn records(&mut self, records: &mut Records) -> Option<()> {
        self.eat(b'[').then_some(())?;
        if self.eat(b']') {
            return Some(());
        }
        loop {
            self.eat(b'[').then_some(())?;
            let (offset, value) = self.offset_and_value()?;
            records.push((offset.unwrap_or(-1), value));
            if self.eat(b']') {
                return Some(());
            }
            self.comma()?;
        }
    }

    /// All up to the first key of a send, or `["poll"` of a poll, as we write it.
    #[inline(always)]
    fn head(&mut self) -> Option<(u64, u64, u64, Kind)> {
        self.literal(b"{\"index\":").then_some(())?;
        let index = self.number()?;
        self.literal(b",\"time\":").then_some(())?;
        let time_ns = self.number()?;
        self.literal(b",\"process\":").then_some(())?;
        let process = self.short()?;
        let kind = if self.literal(b",\"type\":\"ok\",\"f\":\"send\",\"value\":[[\"send\",") {
            Kind { op_type: OpType::Ok, f: Shape::Send }
        } else if self.literal(b",\"type\":\"invoke\",\"f\":\"send\",\"value\":[[\"send\",") {
            Kind { op_type: OpType::Invoke, f: Shape::Send }
        } else if self.literal(b",\"type\":\"ok\",\"f\":\"poll\",\"value\":[[\"poll\"") {
            Kind { op_type: OpType::Ok, f: Shape::Poll }
        } else if self.literal(b",\"type\":\"ok\",\"f\":\"txn\",\"value\":[") {
            Kind { op_type: OpType::Ok, f: Shape::Txn }
        } else if self.literal(b",\"type\":\"invoke\",\"f\":\"txn\",\"value\":[") {
            Kind { op_type: OpType::Invoke, f: Shape::Txn }
        } else {
            let poll = self.literal(b",\"type\":\"invoke\",\"f\":\"poll\",\"value\":[[\"poll\"");
            poll.then_some(Kind { op_type: OpType::Invoke, f: Shape::Poll })?
        };
        Some((index, time_ns, process, kind))
    }

    /// The same as others write it, with blanks, and of fails and infos.
    fn spaced_head(&mut self) -> Option<(u64, u64, u64, Kind)> {
        self.at = 0;
        self.eat(b'{').then_some(())?;
        self.name(b"\"index\":")?;
        let index = self.number()?;
        self.comma()?;
        self.name(b"\"time\":")?;
        let time_ns = self.number()?;
        self.comma()?;
        self.name(b"\"process\":")?;
        let process = self.number()?;
        self.comma()?;
        self.name(b"\"type\":")?;
        let op_type = if self.literal(b"\"ok\"") {
            OpType::Ok
        } else if self.literal(b"\"invoke\"") {
            OpType::Invoke
        } else if self.literal(b"\"info\"") {
            OpType::Info
        } else {
            self.literal(b"\"fail\"").then_some(OpType::Fail)?
        };
        self.comma()?;
        self.name(b"\"f\":")?;
        let f = if self.literal(b"\"send\"") {
            Shape::Send
        } else if self.literal(b"\"poll\"") {
            Shape::Poll
        } else {
            self.literal(b"\"txn\"").then_some(Shape::Txn)?
        };
        self.comma()?;
        self.name(b"\"value\":")?;
        self.eat(b'[').then_some(())?;
        let begun = match f {
            Shape::Send => self.literal(b"[\"send\","),
            Shape::Poll => self.literal(b"[\"poll\""),
            Shape::Txn => true,
        };
        begun.then_some((index, time_ns, process, Kind { op_type, f }))
    }

    /// A line of any kind; a plain send as such, if that is `wanted`.
    #[inline(always)]
    fn line(&mut self, op: &mut Op, spare: &mut Spare, wanted: bool) -> Option<Line> {
        let head = match self.head() {
            Some(head) => head,
            None => self.spaced_head()?,
        };
        if wanted && matches!(head.3.f, Shape::Send) {
            let start = self.at;
            if let Some(plain) = self.plain(head) {
                return Some(Line::Plain(plain));
            }
            self.at = start;
        } else if wanted && matches!(head.3, Kind { op_type: OpType::Invoke, f: Shape::Poll }) {
            let start = self.at;
            if let Some(begin) = self.poll_begin(head) {
                return Some(Line::PollBegin(begin));
            }
            self.at = start;
        }
        self.op(head, op, spare).map(|(index, time_ns)| Line::Op(Some(index), Some(time_ns)))
    }

    fn op(&mut self, (index, time_ns, process, kind): (u64, u64, u64, Kind), op: &mut Op, spare: &mut Spare) -> Option<(u64, u64)> {
        (op.process, op.op_type) = (Process::Client(u32::try_from(process).ok()?), kind.op_type);
        match kind.f {
            Shape::Send => self.sends(spare.sends(&mut op.body)?)?,
            Shape::Poll => self.poll(&mut op.body, spare)?,
            Shape::Txn => {
                spare.keep(&mut op.body);
                op.body = Body::Txn(self.micro_ops()?);
            }
        }
        op.extra.clear();
        (op.client, op.error) = (None, None);
        if let Some(text) = op.node.take() {
            spare.texts.push(text);
        }
        self.beside(op, spare)?;
        (op.index, op.time_ns) = (index, time_ns);
        Some((index, time_ns))
    }
}

/// What a line was read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// The op says nothing.
    Plain(PlainSend),
    /// Nor of this.
    PollBegin(PollBegin),
    /// The op was filled, and these are the index and the time that the line tells.
    Op(Option<u64>, Option<u64>),
}

impl Op {
    /// As [`Op::read_json`], into an op whose allocations may be used again. After an error the op is any.
    pub fn read_json_into(&mut self, line: &[u8], spare: &mut Spare) -> Result<(Option<u64>, Option<u64>), super::OpError> {
        match (Quick { bytes: line, at: 0 }).line(self, spare, false) {
            Some(Line::Op(index, time_ns)) => Ok((index, time_ns)),
            Some(Line::Plain(_) | Line::PollBegin(_)) | None => self.read_slowly(line, spare),
        }
    }

    /// The same, but a plain send or the invocation of a poll, written as recorders write them, leave the op as it is.
    #[inline]
    pub fn read_json_or_plain(&mut self, line: &[u8], spare: &mut Spare) -> Result<Line, super::OpError> {
        match (Quick { bytes: line, at: 0 }).line(self, spare, true) {
            Some(line) => Ok(line),
            None => self.read_slowly(line, spare).map(|(index, time_ns)| Line::Op(index, time_ns)),
        }
    }

    #[cold]
    fn read_slowly(&mut self, line: &[u8], spare: &mut Spare) -> Result<(Option<u64>, Option<u64>), super::OpError> {
        let (op, index, time_ns) = Op::read_json(line)?;
        spare.keep(&mut self.body);
        spare.texts.truncate(SPARE_MAX);
        *self = op;
        Ok((index, time_ns))
    }
}

#[cfg(test)]
mod tests;
