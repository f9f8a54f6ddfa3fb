//! One line of JSON as an op.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use super::OpError;
use super::cursor::Cursor;
use super::write::rebalance_name;
use crate::op::OPEN;
use crate::{Body, Key, MicroOp, Offset, Op, OpType, Polled, Process, RebalanceEvent, RebalanceType, Send, Value};

type Result<T> = std::result::Result<T, OpError>;

/// The key that a bare scalar speaks of.
const ONLY_KEY: Key = 0;

/// What has been read of a line. `value` waits for `f`, `process` and `type`, which say what it means.
struct Line<'a> {
    /// Filled as fields come.
    op: Op,
    index: Option<u64>,
    time_ns: Option<u64>,
    process: Option<Process>,
    op_type: Option<OpType>,
    f: Option<Cow<'a, str>>,
    value: Seen,
    seek_to_beginning: bool,
}

/// Where the value stands.
#[derive(PartialEq)]
enum Seen {
    No,
    /// Passed over: it came before what says what it means.
    At(Range<usize>),
    /// In the op's body: read as this process's, of this type.
    Read(Process, OpType),
}

impl Op {
    /// Reads one JSON object. A missing index or time is given back as `None` beside the op (which then holds 0).
    pub fn read_json(line: &[u8]) -> Result<(Op, Option<u64>, Option<u64>)> {
        let mut cursor = Cursor::new(line)?;
        let mut read = Line::new();
        cursor.object("an op, as a JSON object", |cursor, name| read.field(cursor, name))?;
        let end = cursor.position();
        cursor.end()?;
        read.finish(&cursor, end)?;
        Ok((read.op, read.index, read.time_ns))
    }
}

impl<'a> Line<'a> {
    fn new() -> Self {
        Self {
            op: Op::default(),
            index: None,
            time_ns: None,
            process: None,
            op_type: None,
            f: None,
            value: Seen::No,
            seek_to_beginning: false,
        }
    }

    fn field(&mut self, cursor: &mut Cursor<'a>, name: &str) -> Result<()> {
        match name {
            "index" => self.index = natural(cursor, "an index")?,
            "time" => self.time_ns = natural(cursor, "a time in nanoseconds")?,
            "process" => self.process = Some(process(cursor)?),
            "type" => self.op_type = Some(op_type(cursor)?),
            "f" => self.f = Some(cursor.string("a name for \"f\"")?),
            "value" => self.value_field(cursor)?,
            "seek-to-beginning?" | "seek-to-beginning" => self.seek_to_beginning = flag(cursor)?,
            _ => beside(&mut self.op, cursor, name)?,
        }
        Ok(())
    }

    /// In the usual order of fields, everything that says what the value means has been read: no second look is needed.
    fn value_field(&mut self, cursor: &mut Cursor<'a>) -> Result<()> {
        if let (Some(process), Some(op_type), Some(f), Seen::No) = (self.process, self.op_type, &self.f, &self.value) {
            self.op.body = body(cursor, process, op_type, f)?;
            self.value = Seen::Read(process, op_type);
        } else {
            self.value = Seen::At(cursor.skip()?);
        }
        Ok(())
    }

    /// `end` is where the object ended: where a missing field is missed.
    fn finish(&mut self, cursor: &Cursor<'a>, end: usize) -> Result<()> {
        let end = end.saturating_sub(1);
        let missing = |name: &str| cursor.error_at(end, format!("the field \"{name}\" is missing"));
        let Some(process) = self.process else { return missing("process") };
        let Some(op_type) = self.op_type else { return missing("type") };
        let Some(f) = &self.f else { return missing("f") };
        match &self.value {
            // In the usual order all that says what the value means was known when it came; what comes later must not say otherwise.
            Seen::Read(..) if self.op.body.f() != f => return cursor.error_at(end, "the field \"f\" stands twice and differs"),
            Seen::Read(_, read_as) if *read_as != op_type => {
                return cursor.error_at(end, "the field \"type\" stands twice and differs");
            }
            Seen::Read(read_as, _) if (*read_as == Process::Nemesis) != (process == Process::Nemesis) => {
                return cursor.error_at(end, "the field \"process\" stands twice and differs");
            }
            Seen::Read(..) => {}
            Seen::At(range) => self.op.body = body(&mut cursor.again(range.start), process, op_type, f)?,
            Seen::No => match without_value(process, op_type, f) {
                Some(body) => self.op.body = body,
                None => return missing("value"),
            },
        }
        if let Body::Assign { seek_to_beginning, .. } = &mut self.op.body {
            *seek_to_beginning = self.seek_to_beginning;
        }
        (self.op.process, self.op.op_type) = (process, op_type);
        (self.op.index, self.op.time_ns) = (self.index.unwrap_or(0), self.time_ns.unwrap_or(0));
        Ok(())
    }
}

fn beside(op: &mut Op, cursor: &mut Cursor<'_>, name: &str) -> Result<()> {
    let extra = &mut op.extra;
    match name {
        "client" => op.client = loose_integer(cursor)?.and_then(|number| u32::try_from(number).ok()),
        "node" => op.node = loose_text(cursor)?,
        "error" => op.error = loose_text(cursor)?,
        "intended" => extra.intended_ns = loose_integer(cursor)?.and_then(|ns| u64::try_from(ns).ok()),
        "commit-time" => extra.commit_time_ns = loose_integer(cursor)?.and_then(|ns| u64::try_from(ns).ok()),
        "group" => extra.group = loose_text(cursor)?,
        "isolation" => extra.isolation = loose_text(cursor)?,
        "reset" => extra.reset = loose_text(cursor)?,
        "rebalance-log" => extra.rebalance_log = rebalance_log(cursor)?,
        "leader-epochs" => extra.leader_epochs = leader_epochs(cursor)?,
        "corrupt" => extra.corrupt = corrupt(cursor)?,
        "version" => extra.version = loose_integer(cursor)?,
        "zxid" => extra.zxid = loose_integer(cursor)?,
        "final" => extra.is_final = flag(cursor)?,
        _ => {
            cursor.skip()?;
        }
    }
    Ok(())
}

fn natural(cursor: &mut Cursor<'_>, what: &str) -> Result<Option<u64>> {
    cursor.peek();
    let start = cursor.position();
    match cursor.integer_or_null(what)?.map(u64::try_from) {
        None => Ok(None),
        Some(Ok(number)) => Ok(Some(number)),
        Some(Err(_)) => cursor.error_at(start, format!("expected {what}, found a negative number")),
    }
}

fn process(cursor: &mut Cursor<'_>) -> Result<Process> {
    let what = "a process: an integer of 32 bits from 0, or \"nemesis\"";
    let is_text = cursor.peek() == Some(b'"');
    let start = cursor.position();
    if is_text {
        return if cursor.string(what)? == "nemesis" { Ok(Process::Nemesis) } else { cursor.error_at(start, format!("expected {what}")) };
    }
    let number = cursor.integer(what)?;
    u32::try_from(number).map(Process::Client).or_else(|_| cursor.error_at(start, format!("expected {what}, found {number}")))
}

fn op_type(cursor: &mut Cursor<'_>) -> Result<OpType> {
    cursor.peek();
    let start = cursor.position();
    let name = cursor.string("a type")?;
    match &*name {
        "invoke" => Ok(OpType::Invoke),
        "ok" => Ok(OpType::Ok),
        "fail" => Ok(OpType::Fail),
        "info" => Ok(OpType::Info),
        _ => cursor.error_at(start, format!("unknown type {name:?}: one of invoke, ok, fail, info")),
    }
}

/// What an op without a value says. Nothing of what took effect may be left out.
fn without_value(process: Process, op_type: OpType, f: &str) -> Option<Body> {
    if is_open(process, f) {
        return Some(Body::Nemesis { f: f.to_owned(), value: serde_json::Value::Null });
    }
    let unfinished = matches!(op_type, OpType::Fail | OpType::Info);
    match f {
        "crash" => Some(Body::Crash),
        "read" if op_type != OpType::Ok => Some(Body::Read { key: ONLY_KEY, value: None }),
        "poll" if op_type != OpType::Ok => Some(Body::Poll(None)),
        "send" if unfinished => Some(Body::Send(Vec::new())),
        "txn" if unfinished => Some(Body::Txn(Vec::new())),
        "assign" if unfinished => Some(Body::Assign { keys: Vec::new(), seek_to_beginning: false }),
        "subscribe" if unfinished => Some(Body::Subscribe { keys: Vec::new() }),
        "commit" if unfinished => Some(Body::Commit(BTreeMap::new())),
        "committed" if unfinished => Some(Body::Committed { keys: Vec::new(), offsets: BTreeMap::new() }),
        "send" | "poll" | "txn" | "assign" | "subscribe" | "commit" | "committed" | "read" | "write" | "cas" => None,
        _ => Some(Body::Unknown { f: f.to_owned() }),
    }
}

/// Whether the value is open data: of the nemesis always, and of what clients ask of the cluster itself.
fn is_open(process: Process, f: &str) -> bool {
    process == Process::Nemesis || OPEN.contains(&f)
}

fn body(cursor: &mut Cursor<'_>, process: Process, op_type: OpType, f: &str) -> Result<Body> {
    if is_open(process, f) {
        let range = cursor.skip()?;
        let start = range.start;
        return match serde_json::from_str(cursor.text(range)) {
            Ok(value) => Ok(Body::Nemesis { f: f.to_owned(), value }),
            Err(error) => cursor.error_at(start, format!("not a JSON value: {error}")),
        };
    }
    if cursor.peek() == Some(b'n')
        && let Some(body) = without_value(process, op_type, f)
    {
        cursor.skip()?;
        return Ok(body);
    }
    match f {
        "send" => sends(cursor).map(Body::Send),
        "poll" => polls(cursor).map(Body::Poll),
        "txn" => micro_ops(cursor).map(Body::Txn),
        "assign" => Ok(Body::Assign { keys: keys(cursor)?, seek_to_beginning: false }),
        "subscribe" => Ok(Body::Subscribe { keys: keys(cursor)? }),
        "commit" => offsets(cursor).map(Body::Commit),
        "committed" if cursor.peek() == Some(b'[') => Ok(Body::Committed { keys: keys(cursor)?, offsets: BTreeMap::new() }),
        "committed" => {
            let offsets = offsets(cursor)?;
            Ok(Body::Committed { keys: offsets.keys().copied().collect(), offsets })
        }
        "read" => read(cursor),
        "write" => write(cursor),
        "cas" => cas(cursor),
        "crash" => cursor.skip().map(|_| Body::Crash),
        _ => cursor.skip().map(|_| Body::Unknown { f: f.to_owned() }),
    }
}

fn sends(cursor: &mut Cursor<'_>) -> Result<Vec<Send>> {
    let mut sends = Vec::with_capacity(1);
    cursor.array("a list of sends", |cursor| {
        let start = cursor.position();
        match micro_op(cursor)? {
            MicroOp::Send(send) => sends.push(send),
            MicroOp::Poll(_) => return cursor.error_at(start, "a poll inside a \"send\": a mix of both is a \"txn\""),
        }
        Ok(())
    })?;
    Ok(sends)
}

/// Several polls are one after the other: their batches are joined in order.
fn polls(cursor: &mut Cursor<'_>) -> Result<Option<Polled>> {
    let mut all: Option<Polled> = None;
    cursor.array("a list of polls", |cursor| {
        let start = cursor.position();
        match (micro_op(cursor)?, &mut all) {
            (MicroOp::Poll(None), _) => {}
            (MicroOp::Poll(polled), None) => all = polled,
            (MicroOp::Poll(Some(more)), Some(all)) => all.0.extend(more.0),
            (MicroOp::Send(_), _) => return cursor.error_at(start, "a send inside a \"poll\": a mix of both is a \"txn\""),
        }
        Ok(())
    })?;
    Ok(all)
}

fn micro_ops(cursor: &mut Cursor<'_>) -> Result<Vec<MicroOp>> {
    let mut parts = Vec::new();
    cursor.array("a list of sends and polls", |cursor| {
        parts.push(micro_op(cursor)?);
        Ok(())
    })?;
    Ok(parts)
}

/// `["send", k, v]`, `["send", k, [offset or null, v]]`, `["poll"]` or `["poll", {"k": [[offset, v], …], …}]`.
fn micro_op(cursor: &mut Cursor<'_>) -> Result<MicroOp> {
    cursor.need(b'[', "[\"send\", …] or [\"poll\", …]")?;
    cursor.peek();
    let start = cursor.position();
    let name = cursor.string("\"send\" or \"poll\"")?;
    let part = match &*name {
        "send" => {
            cursor.need(b',', "',' and a key")?;
            let key = cursor.integer("a key")?;
            cursor.need(b',', "',' and a value")?;
            let (offset, value) = if cursor.peek() == Some(b'[') { offset_and_value(cursor)? } else { (None, cursor.integer("a value")?) };
            MicroOp::Send(Send { key, value, offset })
        }
        "poll" if cursor.eat(b',') => {
            if cursor.eat_null() {
                MicroOp::Poll(None)
            } else {
                MicroOp::Poll(Some(polled(cursor)?))
            }
        }
        "poll" => MicroOp::Poll(None),
        _ => return cursor.error_at(start, format!("expected \"send\" or \"poll\", found {name:?}")),
    };
    cursor.need(b']', "']'")?;
    Ok(part)
}

fn offset_and_value(cursor: &mut Cursor<'_>) -> Result<(Option<Offset>, Value)> {
    cursor.need(b'[', "[offset, value]")?;
    let offset = cursor.integer_or_null("an offset")?;
    cursor.need(b',', "',' and a value")?;
    let value = cursor.integer("a value")?;
    cursor.need(b']', "']'")?;
    Ok((offset, value))
}

fn polled(cursor: &mut Cursor<'_>) -> Result<Polled> {
    let mut batches = Vec::new();
    cursor.object("what was polled, by key", |cursor, name| {
        let key = key(cursor, name)?;
        let mut records = Vec::new();
        cursor.array("a list of [offset, value]", |cursor| {
            let (offset, value) = offset_and_value(cursor)?;
            records.push((offset.unwrap_or(-1), value));
            Ok(())
        })?;
        batches.push((key, records));
        Ok(())
    })?;
    Ok(Polled(batches))
}

/// A key that is an object's field name: an integer as it would be written.
fn key(cursor: &Cursor<'_>, name: &str) -> Result<Key> {
    name.parse().or_else(|_| cursor.error(format!("expected a key, which is an integer, before this value; found {name:?}")))
}

fn keys(cursor: &mut Cursor<'_>) -> Result<Vec<Key>> {
    let mut keys = Vec::new();
    cursor.array("a list of keys", |cursor| {
        keys.push(cursor.integer("a key")?);
        Ok(())
    })?;
    Ok(keys)
}

/// `null` for an offset is how clients say that there is none: the key is left out.
fn offsets(cursor: &mut Cursor<'_>) -> Result<BTreeMap<Key, Offset>> {
    let mut offsets = BTreeMap::new();
    cursor.object("offsets, by key", |cursor, name| {
        let key = key(cursor, name)?;
        if let Some(offset) = cursor.integer_or_null("an offset")? {
            offsets.insert(key, offset);
        }
        Ok(())
    })?;
    Ok(offsets)
}

fn read(cursor: &mut Cursor<'_>) -> Result<Body> {
    if cursor.peek() != Some(b'[') {
        return Ok(Body::Read { key: ONLY_KEY, value: cursor.integer_or_null("[key, value], a value or null")? });
    }
    cursor.need(b'[', "[key, value]")?;
    let key = cursor.integer("a key")?;
    cursor.need(b',', "',' and a value or null")?;
    let value = cursor.integer_or_null("a value or null")?;
    cursor.need(b']', "']'")?;
    Ok(Body::Read { key, value })
}

fn write(cursor: &mut Cursor<'_>) -> Result<Body> {
    if cursor.peek() != Some(b'[') {
        return Ok(Body::Write { key: ONLY_KEY, value: cursor.integer("[key, value] or a value")? });
    }
    let (key, value) = pair(cursor, "a key", "a value")?;
    Ok(Body::Write { key, value })
}

/// `[k, [old, new]]`, or `[old, new]` for the only key.
fn cas(cursor: &mut Cursor<'_>) -> Result<Body> {
    cursor.need(b'[', "[key, [old, new]]")?;
    let first = cursor.integer("a key or the old value")?;
    cursor.need(b',', "',' and [old, new] or the new value")?;
    let body = if cursor.peek() == Some(b'[') {
        let (old, new) = pair(cursor, "the old value", "the new value")?;
        Body::Cas { key: first, old, new }
    } else {
        Body::Cas { key: ONLY_KEY, old: first, new: cursor.integer("[old, new] or the new value")? }
    };
    cursor.need(b']', "']'")?;
    Ok(body)
}

fn pair(cursor: &mut Cursor<'_>, first: &str, second: &str) -> Result<(i64, i64)> {
    cursor.need(b'[', "'['")?;
    let one = cursor.integer(first)?;
    cursor.need(b',', "','")?;
    let two = cursor.integer(second)?;
    cursor.need(b']', "']'")?;
    Ok((one, two))
}

fn rebalance_log(cursor: &mut Cursor<'_>) -> Result<Vec<RebalanceEvent>> {
    let mut log = Vec::new();
    if cursor.eat_null() {
        return Ok(log);
    }
    cursor.array("a list of rebalance events", |cursor| {
        cursor.peek();
        let start = cursor.position();
        let (mut event, mut listed) = (None, None);
        cursor.object("a rebalance event", |cursor, name| {
            match name {
                "type" => event = Some(cursor.string("a type")?),
                "keys" => listed = Some(keys(cursor)?),
                _ => {
                    cursor.skip()?;
                }
            }
            Ok(())
        })?;
        let known = [RebalanceType::Assigned, RebalanceType::Revoked, RebalanceType::Lost];
        let event = known.into_iter().find(|one| event.as_deref() == Some(rebalance_name(*one)));
        let (Some(event), Some(keys)) = (event, listed) else {
            return cursor.error_at(start, "a rebalance event needs \"type\" (assigned, revoked or lost) and \"keys\"");
        };
        log.push(RebalanceEvent { event, keys });
        Ok(())
    })?;
    Ok(log)
}

fn leader_epochs(cursor: &mut Cursor<'_>) -> Result<BTreeMap<Key, i32>> {
    let mut epochs = BTreeMap::new();
    if cursor.peek() != Some(b'{') {
        cursor.skip()?;
        return Ok(epochs);
    }
    cursor.object("leader epochs, by key", |cursor, name| {
        let epoch = loose_integer(cursor)?.and_then(|number| i32::try_from(number).ok());
        if let (Ok(key), Some(epoch)) = (name.parse(), epoch) {
            epochs.insert(key, epoch);
        }
        Ok(())
    })?;
    Ok(epochs)
}

fn corrupt(cursor: &mut Cursor<'_>) -> Result<Vec<(Key, Offset, String)>> {
    let mut entries = Vec::new();
    if cursor.eat_null() {
        return Ok(entries);
    }
    cursor.array("a list of [key, offset, text]", |cursor| {
        cursor.need(b'[', "[key, offset, text]")?;
        let key = cursor.integer("a key")?;
        cursor.need(b',', "',' and an offset")?;
        let offset = cursor.integer("an offset")?;
        cursor.need(b',', "',' and what was wrong")?;
        let text = cursor.string("what was wrong")?.into_owned();
        cursor.need(b']', "']'")?;
        entries.push((key, offset, text));
        Ok(())
    })?;
    Ok(entries)
}

/// An integer; `None` for anything else.
fn loose_integer(cursor: &mut Cursor<'_>) -> Result<Option<i64>> {
    let range = cursor.skip()?;
    Ok(cursor.text(range).parse().ok())
}

/// A string; `None` for null; the JSON text of anything else.
fn loose_text(cursor: &mut Cursor<'_>) -> Result<Option<String>> {
    match cursor.peek() {
        Some(b'"') => cursor.string("a string").map(|text| Some(text.into_owned())),
        _ => {
            let range = cursor.skip()?;
            Ok(Some(cursor.text(range)).filter(|text| *text != "null").map(str::to_owned))
        }
    }
}

fn flag(cursor: &mut Cursor<'_>) -> Result<bool> {
    let range = cursor.skip()?;
    Ok(cursor.text(range) == "true")
}
