//! Histories made of bytes: small ones with every kind of op, and now and then a run of sends that is long enough to be packed.

use std::collections::BTreeMap;

use arbitrary::{Result, Unstructured};
use kchaos_core::{Body, Extra, Key, MicroOp, Offset, Op, OpType, Polled, Process, RebalanceEvent, RebalanceType, Send, Value};
use serde_json::json;

type Bytes<'a, 'b> = &'a mut Unstructured<'b>;

/// How long a history becomes: a fuzzer learns more of a hundred short ones than of a long one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    ops: usize,
    burst: i64,
}

impl Limits {
    /// Several groups of each column.
    pub const SHORT: Self = Self { ops: 400, burst: 80 };
    /// A page of a log is packed now and then.
    pub const MIDDLE: Self = Self { ops: 1200, burst: 300 };
    /// Several are.
    pub const LONG: Self = Self { ops: 6000, burst: 1500 };
}

const KEYS: usize = 3;
/// As many processes as share what they are asked to do.
const PROCESSES: u32 = 4;

/// Dense, and its times within what a file can say.
pub fn sound_history(bytes: Bytes, limits: Limits) -> Vec<Op> {
    invented(bytes, limits, false)
}

/// Indices come twice, or go back; so does time.
pub fn hostile_history(bytes: Bytes, limits: Limits) -> Vec<Op> {
    invented(bytes, limits, true)
}

fn invented(bytes: Bytes, limits: Limits, is_hostile: bool) -> Vec<Op> {
    let mut inventor = Inventor { ops: Vec::new(), logs: Default::default(), next: 0, burst_max: limits.burst, is_hostile };
    while inventor.ops.len() < limits.ops && !bytes.is_empty() && inventor.step(bytes).is_ok() {}
    inventor.ops
}

struct Inventor {
    ops: Vec<Op>,
    /// What was landed, by key.
    logs: [Vec<(Offset, Value)>; KEYS],
    next: Value,
    burst_max: i64,
    is_hostile: bool,
}

/// As histories have them, and as an adversary does.
fn number(bytes: Bytes) -> Result<i64> {
    Ok(match bytes.int_in_range(0..=15)? {
        number @ 0..=9 => number,
        10 => -1,
        11 => 1 << 60,
        12 => i64::MAX,
        13 => i64::MIN,
        14 => 1_000_000_000_000 + i64::from(bytes.arbitrary::<u8>()?),
        _ => i64::from(bytes.arbitrary::<u16>()?),
    })
}

fn key(bytes: Bytes) -> Result<Key> {
    Ok(if bytes.ratio(1, 40)? { number(bytes)? } else { bytes.int_in_range(0..=KEYS as i64 - 1)? })
}

fn few<T>(bytes: Bytes, most: usize, mut one: impl FnMut(Bytes) -> Result<T>) -> Result<Vec<T>> {
    (0..bytes.int_in_range(0..=most)?).map(|_| one(bytes)).collect()
}

fn option<T>(bytes: Bytes, one: impl FnOnce(Bytes) -> Result<T>) -> Result<Option<T>> {
    if bytes.arbitrary()? { one(bytes).map(Some) } else { Ok(None) }
}

fn send(bytes: Bytes) -> Result<Send> {
    Ok(Send { key: key(bytes)?, value: number(bytes)?, offset: option(bytes, number)? })
}

fn polled(bytes: Bytes) -> Result<Polled> {
    let record = |bytes: Bytes| Ok((number(bytes)?, number(bytes)?));
    few(bytes, 3, |bytes| Ok((key(bytes)?, few(bytes, 4, record)?))).map(Polled)
}

fn part(bytes: Bytes) -> Result<MicroOp> {
    Ok(if bytes.arbitrary()? { MicroOp::Send(send(bytes)?) } else { MicroOp::Poll(option(bytes, polled)?) })
}

fn offsets(bytes: Bytes) -> Result<BTreeMap<Key, Offset>> {
    Ok(few(bytes, 3, |bytes| Ok((key(bytes)?, number(bytes)?)))?.into_iter().collect())
}

fn op_type(bytes: Bytes) -> Result<OpType> {
    Ok(*bytes.choose(&[OpType::Invoke, OpType::Ok, OpType::Ok, OpType::Fail, OpType::Info])?)
}

fn rebalance(bytes: Bytes) -> Result<RebalanceEvent> {
    let event = *bytes.choose(&[RebalanceType::Assigned, RebalanceType::Revoked, RebalanceType::Lost])?;
    Ok(RebalanceEvent { event, keys: few(bytes, 2, key)? })
}

fn extra(bytes: Bytes) -> Result<Extra> {
    let mut extra = Extra::default();
    match bytes.int_in_range(0..=13)? {
        0 => extra.group = Some("g".to_owned()),
        1 => (extra.group, extra.rebalance_log) = (Some("g".to_owned()), few(bytes, 2, rebalance)?),
        2 => extra.commit_time_ns = Some(bytes.int_in_range(0..=1 << 20)?),
        3 => extra.isolation = Some("read_uncommitted".to_owned()),
        4 => (extra.version, extra.zxid) = (option(bytes, number)?, option(bytes, number)?),
        5 => extra.leader_epochs = [(key(bytes)?, bytes.arbitrary()?)].into(),
        6 => extra.corrupt = vec![(key(bytes)?, number(bytes)?, "crc".to_owned())],
        7 => (extra.group, extra.reset) = (Some("g".to_owned()), Some((*bytes.choose(&["earliest", "latest", "none"])?).to_owned())),
        8 => extra.is_final = true,
        _ => {}
    }
    Ok(extra)
}

/// What a harness tells, in its shape.
fn told(bytes: Bytes) -> Result<Body> {
    let (a, b, c, d) = (number(bytes)?, number(bytes)?, number(bytes)?, number(bytes)?);
    let word = *bytes.choose(&["set", "fired", "created", "removed", "seen", "absent", "alive", "closed", "ended"])?;
    let (f, value) = match bytes.int_in_range(0..=11)? {
        0 => ("replica-log", json!({"key": 0, "replica": a, "start": b, "high_watermark": c, "batches": [[a, b, c, d], [c, d, a, b]]})),
        1 => ("bank-snapshot", json!({"accounts": {"a": a, "b": b}, "total": c})),
        2 => ("stable-offsets", json!({"0": {"stable": a, "end": b, "leader_epoch": c}, "limit_ms": d, "transaction_timeout_ms": 0})),
        3 => ("leader-epochs", json!({"0": {"leader_epoch": a}})),
        4 => ("controllers", json!({"1": {"active": a > b, "epoch": a}, "2": {"active": true}, "limit_ms": b})),
        5 => ("config", json!({"topic:t": {"a": a % 3}})),
        6 => ("config-asked", json!({"topic:t": {"a": a % 3}})),
        7 => ("watch", json!({"watch": a % 3, "event": word, "client": 0, "key": 0, "version": b, "zxid": c})),
        8 => ("ephemeral", json!({"node": "/x", "event": word, "client": a, "zxid": b})),
        9 => ("session", json!({"client": a, "event": word, "zxid": b})),
        10 => ("final-offsets", json!({"0": {"start": a, "end": b}, "1": {"start": c, "end": d}})),
        _ => ("final-reads", json!({"complete": a > b, "keys": {"0": {"next": c, "end": d}}})),
    };
    Ok(Body::Nemesis { f: f.to_owned(), value })
}

fn body(bytes: Bytes) -> Result<Body> {
    Ok(match bytes.int_in_range(0..=15)? {
        0..=3 => Body::Send(few(bytes, 3, send)?),
        4 | 5 => Body::Poll(option(bytes, polled)?),
        6..=8 => Body::Txn(few(bytes, 4, part)?),
        9 => Body::Assign { keys: few(bytes, 3, key)?, seek_to_beginning: bytes.arbitrary()? },
        10 => Body::Subscribe { keys: few(bytes, 3, key)? },
        11 => Body::Commit(offsets(bytes)?),
        12 => Body::Committed { keys: Vec::new(), offsets: offsets(bytes)? },
        13 => Body::Write { key: key(bytes)?, value: number(bytes)? },
        14 if bytes.arbitrary()? => Body::Cas { key: key(bytes)?, old: number(bytes)?, new: number(bytes)? },
        14 => Body::Read { key: key(bytes)?, value: option(bytes, number)? },
        _ if bytes.arbitrary()? => Body::Crash,
        _ => Body::Unknown { f: "dance".to_owned() },
    })
}

impl Inventor {
    fn push(&mut self, bytes: Bytes, mut op: Op) -> Result<()> {
        let place = self.ops.len() as u64;
        (op.index, op.time_ns) = (place, place * 1000);
        if self.is_hostile {
            op.index = if bytes.ratio(1, 4)? { u64::from(bytes.arbitrary::<u16>()?) << bytes.int_in_range(0..=47)? } else { place / 2 };
            op.time_ns = if bytes.ratio(1, 4)? { bytes.arbitrary::<u64>()? >> 1 } else { 1000 };
        }
        // As they are read: who is asked for what, and who is told.
        if let (Body::Committed { keys, offsets }, OpType::Invoke) = (&mut op.body, op.op_type) {
            (*keys, *offsets) = (offsets.keys().copied().collect(), BTreeMap::new());
        } else if let Body::Committed { keys, offsets } = &mut op.body {
            *keys = offsets.keys().copied().collect();
        }
        self.ops.push(op);
        Ok(())
    }

    fn step(&mut self, bytes: Bytes) -> Result<()> {
        match bytes.int_in_range(0..=7)? {
            0 => self.burst(bytes),
            1 | 2 => self.reread(bytes),
            3 => {
                let op = Op { op_type: OpType::Info, body: told(bytes)?, ..Op::default() };
                self.push(bytes, op)
            }
            4 | 5 => self.ask_and_tell(bytes),
            _ => {
                let op = Op { process: Process::Client(bytes.int_in_range(0..=PROCESSES - 1)?), op_type: op_type(bytes)?, ..Op::default() };
                let op = Op { body: body(bytes)?, extra: extra(bytes)?, ..op };
                let client = option(bytes, |bytes| bytes.int_in_range(0..=1))?;
                self.push(bytes, Op { client, ..op })
            }
        }
    }

    /// Sends of one value each that are acknowledged one after the other, and perhaps read at once.
    fn burst(&mut self, bytes: Bytes) -> Result<()> {
        let at = bytes.int_in_range(0..=KEYS - 1)?;
        let process = bytes.int_in_range(0..=PROCESSES - 1)?;
        let count = if bytes.ratio(1, 4)? { bytes.int_in_range(0..=self.burst_max)? } else { bytes.int_in_range(0..=6)? };
        let stride = if bytes.ratio(1, 8)? { number(bytes)? } else { 1 };
        let start = if bytes.ratio(1, 16)? { number(bytes)? } else { self.logs[at].last().map_or(0, |(offset, _)| offset.wrapping_add(1)) };
        let outcome = if bytes.ratio(1, 8)? { op_type(bytes)? } else { OpType::Ok };
        for nth in 0..count {
            let (value, offset) = (self.next, start.wrapping_add(stride.wrapping_mul(nth)));
            self.next += 1;
            let op = Op { process: Process::Client(process), client: Some(1), ..Op::default() };
            let asked = Body::Send(vec![Send { key: at as Key, value, offset: None }]);
            self.push(bytes, Op { op_type: OpType::Invoke, body: asked, ..op.clone() })?;
            let told = Body::Send(vec![Send { key: at as Key, value, offset: Some(offset) }]);
            self.push(bytes, Op { op_type: outcome, body: told, ..op })?;
            self.logs[at].push((offset, value));
        }
        Ok(())
    }

    /// A stretch of what was landed, with something wrong in it or not, by a reader who may have been there.
    fn reread(&mut self, bytes: Bytes) -> Result<()> {
        let at = bytes.int_in_range(0..=KEYS - 1)?;
        let log = &self.logs[at];
        if log.is_empty() {
            return Ok(());
        }
        let from = if bytes.arbitrary()? { 0 } else { bytes.int_in_range(0..=log.len() - 1)? };
        let to = if bytes.arbitrary()? { log.len() } else { bytes.int_in_range(from..=log.len())? };
        let mut records = log[from..to].to_vec();
        if !records.is_empty() && bytes.ratio(1, 3)? {
            let place = bytes.int_in_range(0..=records.len() - 1)?;
            match bytes.int_in_range(0..=4)? {
                0 => drop(records.remove(place)),
                1 => records[place].1 = number(bytes)?,
                2 => records[place].0 = number(bytes)?,
                3 => records.push(records[place]),
                _ => records.reverse(),
            }
        }
        let process = Process::Client(bytes.int_in_range(PROCESSES..=2 * PROCESSES - 1)?);
        let op_type = if bytes.ratio(1, 8)? { op_type(bytes)? } else { OpType::Ok };
        let body = Body::Poll(Some(Polled(vec![(at as Key, records)])));
        self.push(bytes, Op { process, op_type, body, extra: Extra { is_final: from == 0, ..Extra::default() }, ..Op::default() })
    }

    /// One op, invoked and completed by the same process, as it is listed or not.
    fn ask_and_tell(&mut self, bytes: Bytes) -> Result<()> {
        let process = Process::Client(bytes.int_in_range(0..=PROCESSES - 1)?);
        let (body, extra) = (body(bytes)?, extra(bytes)?);
        let op = Op { process, body, extra, ..Op::default() };
        self.push(bytes, Op { op_type: OpType::Invoke, ..op.clone() })?;
        if bytes.arbitrary()? {
            self.step(bytes)?;
        }
        let op_type = op_type(bytes)?;
        self.push(bytes, Op { op_type, ..op })
    }
}
