//! Columns into ops: the hot path of every check of a compact history.
//!
//! Why by portions and in place: an op has several lists and many fields. Made anew for each op, they would cost more than everything else here.

mod beside;
mod plain;

use kchaos_core::{Body, Key, MicroOp, Offset, Op, OpType, Polled, Send, Value};

use crate::block::{Block, Fault};
use crate::kind::{Kind, Shape};
use crate::layout::{FLAG_OFFSETS_BY_VALUE, FLAG_VALUES_TOGETHER, Id, KeyState};
use crate::ops::{Ops, PORTION_OPS, Pools, TOLD_OPS};

/// A block, and how far it is read.
pub(crate) struct Decoder {
    pub(crate) block: Block,
    ops_left: u64,
    records_left: u64,
    next_index: u64,
    time_ns: u64,
    intended_ns: u64,
    next_value: i64,
    values_together: bool,
    offsets_by_value: bool,
    other_node: i64,
    last_epoch: i64,
    open_sends: Vec<(u32, i64)>,
    json: Vec<u8>,
    /// The portion's kinds, actors and times.
    of_each: [[i64; TOLD_OPS]; 3],
}

impl Decoder {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            block: Block::new()?,
            ops_left: 0,
            records_left: 0,
            next_index: 0,
            time_ns: 0,
            intended_ns: 0,
            next_value: 0,
            values_together: false,
            offsets_by_value: false,
            other_node: 0,
            last_epoch: 0,
            open_sends: Vec::new(),
            json: Vec::new(),
            of_each: [[0; TOLD_OPS]; 3],
        })
    }

    /// Ops that were read so far, of all blocks.
    pub(crate) fn ops(&self) -> u64 {
        self.next_index
    }

    pub(crate) fn is_exhausted(&self) -> bool {
        self.ops_left == 0
    }

    /// Begins the block whose body stands in `block.bytes`.
    pub(crate) fn open(&mut self) -> Result<(), Fault> {
        self.block.open()?;
        let head = self.block.head;
        if head.first_index != self.next_index {
            return Err(format!("it begins with op {}, the ops before it end at {}", head.first_index, self.next_index).into());
        }
        (self.ops_left, self.records_left) = (head.ops, head.records);
        (self.time_ns, self.intended_ns, self.next_value) = (head.first_time_ns, head.first_intended_ns, head.first_value);
        self.values_together = head.flags & FLAG_VALUES_TOGETHER != 0;
        self.offsets_by_value = head.flags & FLAG_OFFSETS_BY_VALUE != 0;
        (self.other_node, self.last_epoch) = (0, 0);
        self.open_sends.clear();
        Ok(())
    }

    /// Fills `ops` with the next of the block.
    pub(crate) fn portion(&mut self, ops: &mut Ops) -> Result<(), Fault> {
        let count = self.ops_left.min(PORTION_OPS as u64) as usize;
        ops.grow(count);
        self.fill(count);
        let Ops { slots, beside, pools, .. } = ops;
        // They are counted, so that the columns of a file that lies are not read for ever.
        let mut single = 0;
        for (position, (op, slot)) in slots[..count].iter_mut().zip(beside).enumerate() {
            let [kind, actor, time] = [self.of_each[0][position], self.of_each[1][position], self.of_each[2][position]];
            let Some((kind, _)) = self.block.kinds.get(kind as usize).copied() else { return Err(unknown("kind", kind)) };
            self.time_ns = self.time_ns.wrapping_add(time as u64);
            (op.index, op.time_ns) = (self.next_index, self.time_ns);
            self.next_index += 1;
            // In a healthy history nearly every op is one of two: so they have paths of their own.
            match kind.0 & !Kind::DECORATED {
                Kind::INVOKED_SEND => self.single::<false>(op, kind, actor, slot, pools)?,
                Kind::ACKNOWLEDGED_SEND => self.single::<true>(op, kind, actor, slot, pools)?,
                _ => {
                    self.other(op, kind, actor, slot, pools)?;
                    continue;
                }
            }
            single += 1;
        }
        ops.length = count;
        self.end_portion(count, single)
    }

    /// The kinds, actors and times of the next ops.
    fn fill(&mut self, count: usize) {
        for (id, numbers) in [Id::Kind, Id::Actor, Id::Time].into_iter().zip(&mut self.of_each) {
            self.block.columns[id as usize].fill(&mut numbers[..count], &self.block.bytes);
        }
    }

    /// So many ops were read, and so many of them are sends that nobody has counted.
    fn end_portion(&mut self, count: usize, single: u64) -> Result<(), Fault> {
        self.count(single)?;
        self.ops_left -= count as u64;
        if self.ops_left > 0 {
            return Ok(());
        }
        if self.records_left > 0 {
            return Err(format!("{} records are missing", self.records_left).into());
        }
        self.block.close()
    }

    #[inline(always)]
    fn next(&mut self, id: Id) -> i64 {
        self.block.columns[id as usize].next(&self.block.bytes)
    }

    /// Counts what is about to be read, so that a number from a file never asks for more than the block said it has.
    #[inline(always)]
    fn count(&mut self, records: u64) -> Result<(), Fault> {
        match self.records_left.checked_sub(records) {
            Some(left) => {
                self.records_left = left;
                Ok(())
            }
            None => Err(too_many()),
        }
    }

    #[inline(always)]
    fn key(&mut self, number: i64) -> Result<&mut KeyState, Fault> {
        usize::try_from(number).ok().and_then(|number| self.block.keys.get_mut(number)).ok_or_else(|| unknown("key", number))
    }

    /// A send of one value: invoked, or acknowledged as it was invoked.
    #[inline(always)]
    fn single<const ACKNOWLEDGED: bool>(
        &mut self,
        op: &mut Op,
        kind: Kind,
        number: i64,
        slot: &mut u32,
        pools: &mut Pools,
    ) -> Result<(), Fault> {
        let (key, value) = if ACKNOWLEDGED { (0, 0) } else { self.key_and_value(false)? };
        let Some(actor) = self.block.actors.get_mut(number as usize) else { return Err(unknown("actor", number)) };
        (op.process, op.client) = (actor.process, actor.client);
        let flags = kind.0 & Kind::DECORATED | actor.flags;
        let (key, send) = if ACKNOWLEDGED {
            op.op_type = OpType::Ok;
            let (key, value) = (i64::from(actor.open_key), actor.open_value);
            (key, self.acknowledged(key, value)?)
        } else {
            op.op_type = OpType::Invoke;
            (actor.open_key, actor.open_value) = (key as u32, value);
            (key, Send { key: self.key(key)?.key, value, offset: None })
        };
        match &mut op.body {
            Body::Send(sends) if sends.len() == 1 => sends[0] = send,
            body => pools.sends(body).push(send),
        }
        if flags | *slot != 0 {
            self.decorate(op, flags, slot, number as usize, Some(key as usize), pools)?;
        }
        Ok(())
    }

    #[inline(never)]
    fn other(&mut self, op: &mut Op, kind: Kind, number: i64, slot: &mut u32, pools: &mut Pools) -> Result<(), Fault> {
        if kind.shape() == Shape::Json {
            let (index, time_ns) = (op.index, op.time_ns);
            pools.recycle(&mut op.body);
            self.whole(op, kind, slot)?;
            (op.index, op.time_ns) = (index, time_ns);
            return Ok(());
        }
        let Some(actor) = self.block.actors.get(number as usize) else { return Err(unknown("actor", number)) };
        (op.process, op.client, op.op_type) = (actor.process, actor.client, kind.op_type());
        let flags = kind.0 & Kind::DECORATED | actor.flags;
        let key = self.body(op, kind, number as usize, pools)?;
        if flags | *slot != 0 {
            self.decorate(op, flags, slot, number as usize, key, pools)?;
        }
        if flags & Kind::EPOCHS != 0 {
            self.epochs(op)?;
        }
        Ok(())
    }

    /// What a send names that its actor's open op did not.
    #[inline(always)]
    fn key_and_value(&mut self, is_completion: bool) -> Result<(i64, i64), Fault> {
        let number = self.next(Id::Key);
        let left_over = self.next(Id::Value);
        let together = self.values_together.then_some(self.next_value);
        let state = self.key(number)?;
        let value = state.sent(left_over, together);
        if !is_completion {
            state.value = value.wrapping_add(1);
            self.next_value = value.wrapping_add(1);
        }
        Ok((number, value))
    }

    /// The key's number was read from the file, or is an actor's: it may be 0 without there being any.
    fn send(&mut self, number: i64, value: i64, has_offset: bool) -> Result<Send, Fault> {
        if has_offset { self.acknowledged(number, value) } else { Ok(Send { key: self.key(number)?.key, value, offset: None }) }
    }

    #[inline(always)]
    fn acknowledged(&mut self, number: i64, value: i64) -> Result<Send, Fault> {
        let left_over = self.next(Id::Offset);
        let by_value = self.offsets_by_value;
        let state = self.key(number)?;
        let offset = Some(state.acknowledged(value, left_over, by_value));
        Ok(Send { key: state.key, value, offset })
    }

    /// Reads the op's body, and gives the number of the key whose node may stand beside it, if it is one key's.
    #[inline(never)]
    fn body(&mut self, op: &mut Op, kind: Kind, actor: usize, pools: &mut Pools) -> Result<Option<usize>, Fault> {
        let Op { body, op_type, .. } = op;
        match kind.shape() {
            Shape::Send => return self.any_send(body, kind, actor, op_type.is_completion(), pools).map(Some),
            Shape::Poll if kind.has(Kind::DONE) => {
                let polled = pools.polled(body);
                self.polled(polled, pools)?;
            }
            Shape::Poll => {
                self.count(1)?;
                if !matches!(body, Body::Poll(None)) {
                    pools.recycle(body);
                    *body = Body::Poll(None);
                }
            }
            Shape::Sends => {
                let mut open = Open::new(self, kind, actor, op_type.is_completion());
                let sends = pools.sends(body);
                for _ in 0..self.parts()? {
                    let part = self.next(Id::Part);
                    if part > 1 {
                        return Err(format!("{part} is no kind of send").into());
                    }
                    sends.push(self.part(&mut open, part == 1)?);
                }
                open.close(self, actor)?;
            }
            _ => {
                let mut open = Open::new(self, kind, actor, op_type.is_completion());
                pools.recycle(body);
                let mut parts = Vec::new();
                for _ in 0..self.parts()? {
                    parts.push(match self.next(Id::Part) {
                        part @ 0..2 => MicroOp::Send(self.part(&mut open, part == 1)?),
                        2 => {
                            self.count(1)?;
                            MicroOp::Poll(None)
                        }
                        3 => {
                            let mut polled = Polled::default();
                            self.polled(&mut polled, pools)?;
                            MicroOp::Poll(Some(polled))
                        }
                        part => return Err(format!("{part} is no part of a transaction").into()),
                    });
                }
                *body = Body::Txn(parts);
                open.close(self, actor)?;
            }
        }
        Ok(None)
    }

    /// One that was not acknowledged, or whose invocation stands in an earlier block.
    fn any_send(&mut self, body: &mut Body, kind: Kind, actor: usize, is_completion: bool, pools: &mut Pools) -> Result<usize, Fault> {
        self.count(1)?;
        let open = &self.block.actors[actor];
        let (key, value) = match kind.has(Kind::AS_OPEN) {
            true => (i64::from(open.open_key), open.open_value),
            false => self.key_and_value(is_completion)?,
        };
        let send = self.send(key, value, kind.has(Kind::DONE))?;
        pools.sends(body).push(send);
        if !is_completion {
            let open = &mut self.block.actors[actor];
            (open.open_key, open.open_value) = (key as u32, value);
        }
        Ok(key as usize)
    }

    /// How many parts a list has. Each is counted again as it comes, so a lie ends there.
    fn parts(&mut self) -> Result<u64, Fault> {
        let parts = self.next(Id::Parts) as u64;
        if parts > self.records_left { Err(too_many()) } else { Ok(parts) }
    }

    fn part(&mut self, open: &mut Open, has_offset: bool) -> Result<Send, Fault> {
        self.count(1)?;
        let (key, value) = match &mut open.as_open {
            Some(range) => {
                let next = range.next().and_then(|at| self.open_sends.get(at)).ok_or("a list is longer than its open op's")?;
                (i64::from(next.0), next.1)
            }
            None => self.key_and_value(open.is_completion)?,
        };
        if !open.is_completion {
            self.open_sends.push((key as u32, value));
        }
        self.send(key, value, has_offset)
    }

    fn polled(&mut self, polled: &mut Polled, pools: &mut Pools) -> Result<(), Fault> {
        for _ in 0..self.batches()? {
            let mut records = pools.records();
            let key = self.batch(&mut records)?;
            polled.0.push((key, records));
        }
        Ok(())
    }

    /// How many batches a poll returned. Each is counted again as it comes.
    #[inline(always)]
    fn batches(&mut self) -> Result<u64, Fault> {
        self.count(1)?;
        let batches = self.next(Id::Batches) as u64;
        if batches > self.records_left { Err(too_many()) } else { Ok(batches) }
    }

    /// Fills `records`, which are empty, and gives their key.
    #[inline(always)]
    fn batch(&mut self, records: &mut Vec<(Offset, Value)>) -> Result<Key, Fault> {
        let row = self.next(Id::BatchKey);
        let length = self.next(Id::Length) as u64;
        let count = length >> 1;
        self.count(count + 1)?;
        if count == 0 {
            return Ok(self.key(row)?.key);
        }
        let [ahead, left_over] = [self.next(Id::First), self.next(Id::FirstValue)];
        let state = self.key(row)?;
        let mut offset = state.poll.wrapping_add(ahead);
        let mut value = state.polled_value.wrapping_add(ahead).wrapping_add(left_over);
        // Counted above: no more than a block may have.
        records.reserve(count as usize);
        records.push((offset, value));
        let mut left = count as usize - 1;
        if length & 1 == 0 {
            let column = &mut self.block.columns[Id::PolledValue as usize];
            while left > 0 {
                let some = column.some(left, &self.block.bytes);
                left -= some.len();
                records.extend(some.iter().map(|left_over| {
                    offset = offset.wrapping_add(1);
                    value = value.wrapping_add(1).wrapping_add(*left_over);
                    (offset, value)
                }));
            }
        } else {
            for _ in 0..left {
                offset = offset.wrapping_add(1).wrapping_add(self.next(Id::Gap));
                value = value.wrapping_add(1).wrapping_add(self.next(Id::PolledValue));
                records.push((offset, value));
            }
        }
        let state = self.key(row)?;
        (state.poll, state.polled_value) = (offset.wrapping_add(1), value.wrapping_add(1));
        Ok(state.key)
    }
}

/// How a list goes along with its actor's open one.
struct Open {
    as_open: Option<std::ops::Range<usize>>,
    is_completion: bool,
    start: usize,
}

impl Open {
    fn new(decoder: &Decoder, kind: Kind, actor: usize, is_completion: bool) -> Self {
        let (start, end) = decoder.block.actors[actor].open_sends;
        let as_open = kind.has(Kind::AS_OPEN).then_some(start as usize..end as usize);
        Self { as_open, is_completion, start: decoder.open_sends.len() }
    }

    fn close(self, decoder: &mut Decoder, actor: usize) -> Result<(), Fault> {
        if self.as_open.is_some_and(|rest| !rest.is_empty()) {
            return Err("a list is shorter than its open op's".into());
        }
        if !self.is_completion {
            // Both below the most records of a block.
            decoder.block.actors[actor].open_sends = (self.start as u32, decoder.open_sends.len() as u32);
        }
        Ok(())
    }
}

#[cold]
fn too_many() -> Fault {
    "it has more records than it says".into()
}

#[cold]
fn unknown(what: &str, number: i64) -> Fault {
    format!("there is no {what} {number} in the block").into()
}
