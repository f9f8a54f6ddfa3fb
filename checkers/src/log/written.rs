//! One value of one key: what the history says of it.

use kchaos_core::{Offset, Value};

use super::PollOp;
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
    pub(crate) const NONE: Self = Self(0);

    #[inline]
    pub(crate) fn new(index: u64) -> Self {
        let next = index.wrapping_add(1);
        if next >> 32 == 0 { Self(next as u32) } else { Self::NONE }
    }

    pub(crate) fn get(self) -> Option<u64> {
        (self.0 > 0).then(|| u64::from(self.0) - 1)
    }

    pub(super) fn set_first(&mut self, index: u64) {
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
    /// The first ok op that returned it, and whose that was.
    pub(crate) read: OpRef,
    pub(crate) reader: u32,
    /// The transaction that sent it, if one did.
    pub(crate) txn: TxnId,
    pub(super) flags: u16,
    pub(crate) outcome: Outcome,
}

pub(super) const SENT: u16 = 1;
pub(super) const SENT_TWICE: u16 = 1 << 1;
pub(super) const POLLED: u16 = 1 << 2;
/// Polled before it was sent.
pub(super) const POLLED_EARLY: u16 = 1 << 3;
pub(super) const READ: u16 = 1 << 4;
pub(super) const READ_COMMITTED: u16 = 1 << 5;
pub(super) const IN_TXN: u16 = 1 << 6;
/// Part of an info transaction of which a value was read.
pub(super) const PROVEN: u16 = 1 << 7;
/// Seen at several offsets.
pub(super) const MOVED: u16 = 1 << 8;
/// Seen where another value was seen.
pub(super) const CONTESTED: u16 = 1 << 9;
/// A second pass wants to know its ops.
pub(super) const PINNED: u16 = 1 << 11;
/// It was packed: its ops are not known.
pub(super) const UNPACKED: u16 = 1 << 12;
/// Counted as such on its page.
pub(super) const DONE: u16 = 1 << 13;
/// Sent by a transaction that is settled: nobody knows which ([`crate::txns`]).
pub(super) const SETTLED: u16 = 1 << 14;
/// Sent by a transaction that the search for cycles is done with, and that is not settled.
pub(super) const JUDGED: u16 = 1 << 10;

/// What keeps a value from being packed.
pub(super) const REMARKABLE: u16 = SENT_TWICE | POLLED_EARLY | IN_TXN | PROVEN | MOVED | CONTESTED | PINNED | UNPACKED;

/// What keeps a transaction from being settled.
const UNSETTLED: u16 = REMARKABLE & !IN_TXN;

/// No process.
pub(crate) const NOBODY: u32 = u32::MAX;

impl Written {
    pub(super) fn new(value: Value) -> Self {
        let none = OpRef::default();
        let outcome = Outcome::Open;
        let (offset, floor, txn) = (-1, -1, 0);
        Self { value, offset, floor, invoked: none, completed: none, placed: none, read: none, reader: NOBODY, txn, flags: 0, outcome }
    }

    /// What is left of a value that was packed.
    pub(super) fn packed(value: Value, offset: Offset, committed: bool, read_committed: bool) -> Self {
        let flags = SENT | POLLED | READ | UNPACKED | if read_committed { READ_COMMITTED } else { 0 };
        let outcome = if committed { Outcome::Ok } else { Outcome::Info };
        Self { offset, flags, outcome, ..Self::new(value) }
    }

    /// A poll returned it.
    #[inline]
    pub(super) fn polled(&mut self, poll: PollOp) {
        self.flags |= POLLED;
        if poll.ok {
            if !self.has(READ) {
                (self.read, self.reader) = (OpRef::new(poll.op), poll.process);
            }
            self.flags |= READ | if poll.isolation == Isolation::Committed { READ_COMMITTED } else { 0 };
        }
    }

    #[inline]
    pub(super) fn has(&self, flag: u16) -> bool {
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
        self.has(IN_TXN | SETTLED)
    }

    /// Its transaction is settled, so that its ops are not known.
    pub(crate) fn is_settled(&self) -> bool {
        self.has(SETTLED)
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

    /// The order in which the history speaks of values: places in the table are used again.
    pub(crate) fn first(&self) -> (Option<u64>, Value) {
        ([self.invoked, self.placed, self.read, self.completed].into_iter().find_map(OpRef::get), self.value)
    }

    /// Nothing that a later op may do needs more of it than its place.
    pub(super) fn may_be_packed(&self) -> bool {
        self.may_be_forgotten(REMARKABLE)
    }

    /// The same, but for its transaction.
    pub(super) fn may_be_settled(&self) -> bool {
        self.may_be_forgotten(UNSETTLED)
    }

    #[inline]
    fn may_be_forgotten(&self, unless: u16) -> bool {
        let plain = self.flags & (SENT | READ | unless) == SENT | READ;
        plain && matches!(self.outcome, Outcome::Ok | Outcome::Info) && self.offset >= 0 && !self.is_below_floor()
    }
}
