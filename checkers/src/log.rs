//! The log of one key, as the history shows it: which value stands at which offset, and what became of each value.
//!
//! Why one shared state: nearly every anomaly of a log is a plain statement about it ("a value at two offsets", "acknowledged and unread"),
//! so it is built once, by one pass over the ops, and the rules only look. Offsets order the values, so nothing has to be searched.
//!
//! **Invariant of absence:** nothing here decides what is an anomaly, and nothing is as large as the greatest offset: offsets may be 2^60.
//!
//! Memory: about 48 bytes for a value, 24 for its place in the index, 5 for its slot. Values are never retired yet (that comes with
//! windows), so a check of 1 M sends needs some 80 MB.

use std::collections::BTreeMap;

use kchaos_core::{Offset, Send, Value};

use crate::hash::IntMap;
use crate::slots::Slots;
use crate::txns::TxnId;

/// Where a value stands in its log's table.
pub(crate) type Id = u32;

/// At which isolation a poll read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Isolation {
    Committed,
    Uncommitted,
}

/// What a send came to. Ordered: what is known later, or elsewhere, only ever raises it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Invoked, and never completed.
    Open,
    Fail,
    Info,
    Ok,
}

/// An op's index, kept only to cite it: in 32 bits. Beyond 4 G ops it is not cited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OpRef(u32);

impl OpRef {
    pub(crate) fn new(index: u64) -> Self {
        Self(u32::try_from(index.saturating_add(1)).unwrap_or(0))
    }

    pub(crate) fn get(self) -> Option<u64> {
        (self.0 > 0).then(|| u64::from(self.0) - 1)
    }

    fn set_first(&mut self, index: u64) {
        if self.0 == 0 {
            *self = Self::new(index);
        }
    }
}

/// One value of one key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub(crate) value: Value,
    /// The first offset at which it was seen; -1 if at none yet. Others stand in [`KeyLog::moved`].
    pub(crate) offset: Offset,
    /// The greatest offset that was known to be taken when its send was invoked: it must land beyond (R1). -1 for none.
    pub(crate) floor: Offset,
    pub(crate) invoked: OpRef,
    pub(crate) completed: OpRef,
    /// The op that first showed its offset.
    pub(crate) placed: OpRef,
    /// The first ok op that returned it.
    pub(crate) read: OpRef,
    /// The transaction that sent it, if one did.
    pub(crate) txn: TxnId,
    pub(crate) outcome: Outcome,
    flags: u8,
}

const SENT: u8 = 1;
const SENT_TWICE: u8 = 2;
const POLLED: u8 = 4;
/// Polled before it was sent.
const POLLED_EARLY: u8 = 8;
const READ: u8 = 16;
const READ_COMMITTED: u8 = 32;
const IN_TXN: u8 = 64;
/// Part of an info transaction of which a value was read.
const PROVEN: u8 = 128;

impl Written {
    fn new(value: Value) -> Self {
        let none = OpRef::default();
        let outcome = Outcome::Open;
        Self { value, offset: -1, floor: -1, invoked: none, completed: none, placed: none, read: none, txn: 0, outcome, flags: 0 }
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn is_sent(&self) -> bool {
        self.has(SENT)
    }

    /// Sent by more than one op: values are then not unique, and what happened to which send cannot be told.
    pub(crate) fn is_sent_twice(&self) -> bool {
        self.has(SENT_TWICE)
    }

    pub(crate) fn is_polled_early(&self) -> bool {
        self.has(POLLED_EARLY)
    }

    /// Any completion returned it, a failed one included.
    pub(crate) fn is_polled(&self) -> bool {
        self.has(POLLED)
    }

    /// An ok op returned it.
    pub(crate) fn is_read(&self) -> bool {
        self.has(READ)
    }

    /// An ok op that read committed returned it.
    pub(crate) fn is_read_committed(&self) -> bool {
        self.has(READ_COMMITTED)
    }

    pub(crate) fn is_in_txn(&self) -> bool {
        self.has(IN_TXN)
    }

    pub(crate) fn is_acknowledged(&self) -> bool {
        self.outcome == Outcome::Ok
    }

    /// Its writer certainly took effect.
    pub(crate) fn is_committed(&self) -> bool {
        self.is_acknowledged() || self.has(PROVEN)
    }

    /// It landed at or before an offset that was known to be taken before it was sent.
    pub(crate) fn is_below_floor(&self) -> bool {
        self.offset >= 0 && self.offset < self.floor
    }
}

pub(crate) struct KeyLog {
    index: IntMap<Value, Id>,
    written: Vec<Written>,
    slots: Slots,
    /// Values with more than one offset: offset → the op that first showed it there.
    moved: BTreeMap<Id, BTreeMap<Offset, OpRef>>,
    /// Offsets with more than one value: value → the op that first showed it there.
    contested: BTreeMap<Offset, BTreeMap<Id, OpRef>>,
    /// The greatest offset at which a sent value is known to stand.
    highest: Offset,
    below_floor: u64,
}

impl Default for KeyLog {
    fn default() -> Self {
        Self {
            index: IntMap::default(),
            written: Vec::new(),
            slots: Slots::default(),
            moved: BTreeMap::new(),
            contested: BTreeMap::new(),
            highest: -1,
            below_floor: 0,
        }
    }
}

impl KeyLog {
    fn id(&mut self, value: Value) -> Id {
        // Memory ends long before 4 G values of one key.
        let next = Id::try_from(self.written.len()).unwrap_or(Id::MAX - 1);
        let id = *self.index.entry(value).or_insert(next);
        if id == next {
            self.written.push(Written::new(value));
        }
        id
    }

    /// Gives the value's id, which spares its completion the search.
    pub(crate) fn invoked(&mut self, value: Value, op: u64, in_txn: bool) -> Id {
        let id = self.id(value);
        let (highest, written) = (self.highest, &mut self.written[id as usize]);
        let mut flags = SENT;
        if written.has(SENT) {
            flags |= SENT_TWICE;
        } else if written.has(POLLED) {
            flags |= POLLED_EARLY;
        } else {
            written.floor = highest;
        }
        if in_txn {
            flags |= IN_TXN;
        }
        written.flags |= flags;
        written.invoked.set_first(op);
        id
    }

    /// What became of a send; a second end of one value is another send of it. `invoked` is what its invocation gave, if there is one.
    /// An acknowledgement, or a transaction that certainly committed, says where the value stands.
    pub(crate) fn completed(&mut self, send: &Send, invoked: Option<Id>, outcome: Outcome, op: u64, in_txn: bool) -> Id {
        let id = invoked.unwrap_or_else(|| self.id(send.value));
        let written = &mut self.written[id as usize];
        if written.outcome != Outcome::Open {
            written.flags |= SENT_TWICE;
        }
        written.flags |= SENT | if in_txn { IN_TXN } else { 0 };
        // The op that counts is the one that knew most.
        if outcome > written.outcome {
            written.outcome = outcome;
            written.completed = OpRef::new(op);
        }
        if let Some(offset) = send.offset.filter(|_| outcome == Outcome::Ok)
            && self.place(id, offset, op)
        {
            self.slots.mark_committed(offset);
        }
        id
    }

    pub(crate) fn polled(&mut self, value: Value, offset: Offset, op: u64, ok: bool, isolation: Isolation) {
        // Most records stand where an acknowledgement or another reader has shown them.
        let there = self.slots.recent(offset).filter(|id| self.of(*id).value == value);
        let id = there.unwrap_or_else(|| self.id(value));
        let written = &mut self.written[id as usize];
        written.flags |= POLLED;
        if ok {
            written.read.set_first(op);
            written.flags |= READ | if isolation == Isolation::Committed { READ_COMMITTED } else { 0 };
        }
        if self.place(id, offset, op) {
            self.slots.mark_seen(offset, isolation);
        }
    }

    pub(crate) fn set_txn(&mut self, id: Id, txn: TxnId) {
        self.written[id as usize].txn = txn;
    }

    /// Part of an info transaction of which a value was read: it took effect, where the op says it did.
    pub(crate) fn prove(&mut self, send: &Send) {
        let id = self.id(send.value);
        let written = &mut self.written[id as usize];
        written.flags |= PROVEN;
        if let (Some(offset), Some(op)) = (send.offset, written.completed.get())
            && self.place(id, offset, op)
        {
            self.slots.mark_committed(offset);
        }
    }

    /// Puts a value at an offset; `false` if that is no offset.
    fn place(&mut self, id: Id, offset: Offset, op: u64) -> bool {
        if offset < 0 {
            return false;
        }
        let written = &mut self.written[id as usize];
        let first = written.offset;
        if first != offset {
            if first < 0 {
                written.offset = offset;
                written.placed = OpRef::new(op);
                self.below_floor += u64::from(written.is_below_floor());
            } else {
                let places = self.moved.entry(id).or_insert_with(|| BTreeMap::from([(first, written.placed)]));
                places.entry(offset).or_insert(OpRef::new(op));
            }
        }
        if written.has(SENT) {
            self.highest = self.highest.max(offset);
        }
        let there = self.slots.put(offset, id);
        if there != id {
            let earlier = self.shown_at(there, offset);
            let values = self.contested.entry(offset).or_insert_with(|| BTreeMap::from([(there, earlier)]));
            values.entry(id).or_insert(OpRef::new(op));
        }
        true
    }

    /// The op that first showed the value at this offset.
    pub(crate) fn shown_at(&self, id: Id, offset: Offset) -> OpRef {
        let written = &self.written[id as usize];
        if written.offset == offset {
            return written.placed;
        }
        self.moved.get(&id).and_then(|places| places.get(&offset)).copied().unwrap_or_default()
    }

    /// Every value, in the order in which the history first speaks of it.
    pub(crate) fn written(&self) -> impl Iterator<Item = (Id, &Written)> {
        (0..).zip(&self.written)
    }

    pub(crate) fn of(&self, id: Id) -> &Written {
        &self.written[id as usize]
    }

    pub(crate) fn find_id(&self, value: Value) -> Option<Id> {
        self.index.get(&value).copied()
    }

    pub(crate) fn find(&self, value: Value) -> Option<&Written> {
        self.find_id(value).map(|id| self.of(id))
    }

    /// The value that was first seen at an offset.
    pub(crate) fn at(&self, offset: Offset) -> Option<&Written> {
        self.slots.get(offset).map(|id| self.of(id))
    }

    pub(crate) fn contested(&self) -> &BTreeMap<Offset, BTreeMap<Id, OpRef>> {
        &self.contested
    }

    pub(crate) fn moved(&self) -> &BTreeMap<Id, BTreeMap<Offset, OpRef>> {
        &self.moved
    }

    /// How many values [`Written::is_below_floor`].
    pub(crate) fn below_floor(&self) -> u64 {
        self.below_floor
    }

    pub(crate) fn first_offset(&self, id: Id) -> Offset {
        let earliest = self.moved.get(&id).and_then(|places| places.keys().next().copied());
        earliest.unwrap_or(self.of(id).offset)
    }

    pub(crate) fn last_offset(&self, id: Id) -> Offset {
        let latest = self.moved.get(&id).and_then(|places| places.keys().next_back().copied());
        latest.unwrap_or(self.of(id).offset)
    }

    /// Offsets strictly between two others that a reader at this isolation cannot pass over: certainly committed, or read so by somebody.
    pub(crate) fn visible_between(&self, from: Offset, to: Offset, isolation: Isolation) -> impl Iterator<Item = (Offset, &Written)> {
        self.slots.visible_between(from, to, isolation).map(|(offset, id)| (offset, self.of(id)))
    }
}
