//! The log of one key, as the history shows it: which value stands at which offset, and what became of each value.
//!
//! Why one shared state: nearly every anomaly of a log is a plain statement about it ("a value at two offsets", "acknowledged and unread"),
//! so it is built once, by one pass over the ops, and the rules only look. Offsets order the values, so nothing has to be searched.
//!
//! **Invariant of absence:** nothing here decides what is an anomaly, and nothing is as large as the greatest offset: offsets may be 2^60.
//!
//! Memory: some 90 bytes for a value, until all 256 values of its page of the log have been acknowledged and read. Then the page is packed
//! ([`crate::pages`]): about one and a half bytes a value are left, and what was done to it and by which op is forgotten. Readers who come
//! later are held against the packed page. Should an anomaly touch a value that was packed, the judgement goes on exactly as without packing,
//! but for the ops to cite: those values are *wanted* ([`KeyLog::wanted`]), and a second pass over the history, in which they are *pinned*, knows them.
//! Values of transactions are packed once their transactions are settled ([`crate::txns`]). Those leave holes in the log (each one's marker is
//! at an offset), so a page with holes is packed too, when readers are well past it.
//!
//! What would make the search for cycles look again at what it is done with is *doubted* ([`KeyLog::is_doubted`]): a value of a transaction that
//! turns out to stand before one of a transaction that is judged. It takes a broken log, and a pass that keeps everything.

mod finding;
mod light;
mod packing;
mod polled;
mod written;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use kchaos_core::{Offset, Send, Value};

use crate::pages::{Pages, Slot, Spot};
use crate::txns::TxnId;
use crate::values::{Known, Seat, Values};
pub(crate) use light::LIGHT;
use written::{
    CONTESTED, DONE, IN_TXN, JUDGED, MOVED, PINNED, POLLED, POLLED_EARLY, PROVEN, REMARKABLE, SENT, SENT_TWICE, SETTLED, UNPACKED,
};
pub(crate) use written::{Id, Isolation, NOBODY, OpRef, Outcome, Written};

/// A poll's completion.
#[derive(Clone, Copy)]
pub(crate) struct PollOp {
    pub(crate) op: u64,
    pub(crate) process: u32,
    pub(crate) ok: bool,
    pub(crate) isolation: Isolation,
}

/// How far readers got: the greatest first offset of a read value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) offset: Offset,
    pub(crate) value: Value,
    pub(crate) read: OpRef,
}

pub(crate) struct KeyLog {
    values: Values,
    /// What is not packed.
    written: Vec<Written>,
    free: Vec<Id>,
    pages: Pages,
    /// The greatest packed offset.
    packed_bound: Option<Bound>,
    /// Values with more than one offset: offset → the op that first showed it there.
    moved: BTreeMap<Id, BTreeMap<Offset, OpRef>>,
    /// Offsets with more than one value: value → the op that first showed it there.
    contested: BTreeMap<Offset, BTreeMap<Id, OpRef>>,
    /// The greatest offset at which a sent value is known to stand.
    highest: Offset,
    below_floor: u64,
    /// Values that a finding speaks of and whose ops were forgotten.
    wanted: RefCell<BTreeSet<Value>>,
    /// Values that an earlier pass wanted.
    pinned: BTreeSet<Value>,
    never_packs: bool,
    /// Where values of transactions of unknown outcome are said to stand: where they do if any value of theirs is read.
    told: BTreeMap<Id, Offset>,
    /// The greatest offset that ok polls returned.
    read_to: Offset,
    /// The greatest offset of a value whose transaction is judged.
    judged_to: Offset,
    judging_to: Offset,
    is_doubted: bool,
    /// See [`light`].
    is_light: bool,
    /// There are values that went the short way and are not packed.
    lightly: bool,
    open: light::OpenSends,
    /// No value beyond was ever seen.
    greatest: Value,
    missed: u32,
}

impl Default for KeyLog {
    fn default() -> Self {
        Self {
            values: Values::default(),
            written: Vec::new(),
            free: Vec::new(),
            pages: Pages::default(),
            packed_bound: None,
            moved: BTreeMap::new(),
            contested: BTreeMap::new(),
            highest: -1,
            below_floor: 0,
            wanted: RefCell::default(),
            pinned: BTreeSet::new(),
            never_packs: false,
            told: BTreeMap::new(),
            read_to: -1,
            judged_to: -1,
            judging_to: -1,
            is_doubted: false,
            is_light: true,
            lightly: false,
            open: light::OpenSends::default(),
            greatest: Value::MIN,
            missed: 0,
        }
    }
}

impl KeyLog {
    /// Keeps these values, or all.
    pub(crate) fn pin(&mut self, values: BTreeSet<Value>, all: bool) {
        (self.pinned, self.never_packs) = (values, all);
        self.is_light &= !all;
    }

    #[inline]
    fn id(&mut self, value: Value) -> Id {
        self.spell_value(value);
        let (known, seat) = self.values.look(value);
        match known {
            Known::At(id) => id,
            Known::Packed(page) => self.unpack_value(value, self.pages.find_packed(page, value)),
            Known::Not => match self.pages.find_narrow(value) {
                None => self.new_value(value, seat),
                found => self.unpack_value(value, found),
            },
        }
    }

    #[inline]
    fn new_value(&mut self, value: Value, seat: Seat) -> Id {
        self.greatest = self.greatest.max(value);
        let mut new = Written::new(value);
        if !self.pinned.is_empty() && self.pinned.contains(&value) {
            new.flags |= PINNED;
        }
        let id = add(&mut self.written, &mut self.free, new);
        self.values.seat(seat, id);
        id
    }

    /// The place of an invocation's value, unless it was packed since.
    fn still(&self, invoked: Option<Id>, value: Value) -> Option<Id> {
        invoked.filter(|id| self.written.get(*id as usize).is_some_and(|written| written.value == value && written.flags != 0))
    }

    /// Gives the value's id, which spares its completion the search.
    #[inline(always)]
    pub(crate) fn invoked(&mut self, value: Value, op: u64, in_txn: bool) -> Id {
        if !in_txn && self.invoked_light(value, op) { LIGHT } else { self.invoked_long(value, op, in_txn) }
    }

    fn invoked_long(&mut self, value: Value, op: u64, in_txn: bool) -> Id {
        let id = self.id(value);
        let (highest, written) = (self.highest, &mut self.written[id as usize]);
        let mut flags = SENT;
        if written.flags & (SENT | POLLED) == 0 {
            written.floor = highest;
        } else if written.has(SENT) {
            flags |= SENT_TWICE;
        } else {
            flags |= POLLED_EARLY;
        }
        if in_txn {
            flags |= IN_TXN;
        }
        written.flags |= flags;
        written.invoked.set_first(op);
        self.remark(id);
        id
    }

    /// What became of a send; a second end of one value is another send of it. `invoked` is what its invocation gave, if there is one.
    /// An acknowledgement, or a transaction that certainly committed, says where the value stands.
    pub(crate) fn completed(&mut self, send: &Send, invoked: Option<Id>, outcome: Outcome, op: u64, in_txn: bool) -> Id {
        let id = self.still(invoked, send.value).unwrap_or_else(|| self.id(send.value));
        let written = &mut self.written[id as usize];
        let mut flags = SENT | if in_txn { IN_TXN } else { 0 };
        if written.outcome != Outcome::Open {
            flags |= SENT_TWICE;
        }
        if in_txn && outcome == Outcome::Info {
            self.told.extend(send.offset.filter(|offset| *offset >= 0).map(|offset| (id, offset)));
        }
        // The op that counts is the one that knew most.
        if outcome > written.outcome {
            written.outcome = outcome;
            written.completed = OpRef::new(op);
        }
        let offset = send.offset.filter(|offset| outcome == Outcome::Ok && *offset >= 0);
        written.flags |= flags;
        if flags & REMARKABLE != 0 {
            self.remark(id);
        }
        match offset {
            Some(offset) => {
                let spot = self.place(id, offset, op);
                self.pages.mark_committed(spot);
                self.settle(id, spot);
            }
            None => self.settle_where_it_is(id),
        }
        id
    }

    pub(crate) fn set_txn(&mut self, id: Id, txn: TxnId) {
        self.written[id as usize].txn = txn;
    }

    /// Part of an info transaction of which a value was read: it took effect, where the op says it did.
    pub(crate) fn prove(&mut self, send: &Send) {
        let id = self.id(send.value);
        let written = &mut self.written[id as usize];
        written.flags |= PROVEN;
        let told = send.offset.filter(|offset| *offset >= 0).zip(written.completed.get());
        self.remark(id);
        if let Some((offset, op)) = told {
            let spot = self.place(id, offset, op);
            self.pages.mark_committed(spot);
        }
    }

    /// Puts a value at an offset, which is none below 0.
    #[inline]
    fn place(&mut self, id: Id, offset: Offset, op: u64) -> Spot {
        let spot = self.pages.spot(offset).unwrap_or_else(|| self.unpack_offset(offset));
        let written = &mut self.written[id as usize];
        if written.offset < 0 {
            written.offset = offset;
            written.placed = OpRef::new(op);
            self.below_floor += u64::from(written.is_below_floor());
        } else if written.offset != offset {
            self.moves(id, offset, op);
        }
        if self.written[id as usize].has(SENT) {
            self.highest = self.highest.max(offset);
        }
        let there = self.pages.put(spot, id);
        if there != id {
            self.contests(there, id, offset, op);
        }
        spot
    }

    #[cold]
    fn moves(&mut self, id: Id, offset: Offset, op: u64) {
        self.leave_light();
        let written = &mut self.written[id as usize];
        written.flags |= MOVED;
        let first = (written.offset, written.placed);
        let places = self.moved.entry(id).or_insert_with(|| BTreeMap::from([first]));
        places.entry(offset).or_insert(OpRef::new(op));
        self.remark(id);
    }

    #[cold]
    fn contests(&mut self, there: Id, id: Id, offset: Offset, op: u64) {
        self.leave_light();
        let earlier = self.shown_at(there, offset);
        let values = self.contested.entry(offset).or_insert_with(|| BTreeMap::from([(there, earlier)]));
        values.entry(id).or_insert(OpRef::new(op));
        for one in [there, id] {
            self.written[one as usize].flags |= CONTESTED;
            self.remark(one);
        }
    }

    /// Something may have become remarkable about a value: it is not packed, and if it was, its ops are wanted.
    #[inline]
    fn remark(&mut self, id: Id) {
        let written = &self.written[id as usize];
        if written.flags & REMARKABLE != 0 {
            if written.has(UNPACKED | SETTLED) {
                self.wanted.borrow_mut().insert(written.value);
                self.is_doubted |= written.has(SENT_TWICE) && self.judged_to >= 0;
            } else if written.has(JUDGED) && written.has(SENT_TWICE) {
                self.is_doubted = true;
            }
            if written.has(DONE) {
                self.settle_where_it_is(id);
            }
        }
    }

    #[inline]
    fn settle_where_it_is(&mut self, id: Id) {
        let written = &self.written[id as usize];
        if written.may_be_packed() != written.has(DONE)
            && let Some(spot) = self.pages.spot(written.offset)
        {
            self.settle(id, spot);
        }
    }

    /// Counts a value as done, or no longer, and packs its page when all are.
    #[inline]
    fn settle(&mut self, id: Id, spot: Spot) {
        let written = &mut self.written[id as usize];
        let done = written.may_be_packed();
        if done != written.has(DONE) {
            written.flags ^= DONE;
            if self.pages.set_done(spot, done) && done && !self.never_packs {
                self.pack(spot);
            }
        }
    }

    /// The op that first showed the value at this offset.
    pub(crate) fn shown_at(&self, id: Id, offset: Offset) -> OpRef {
        let written = &self.written[id as usize];
        if written.offset == offset {
            return written.placed;
        }
        self.moved.get(&id).and_then(|places| places.get(&offset)).copied().unwrap_or_default()
    }

    /// Every value that is not packed, in no order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Written> {
        self.written.iter().filter(|written| written.flags != 0)
    }

    /// Values that are not packed and `wanted`, in the order in which the history speaks of them.
    pub(crate) fn written(&self, wanted: impl Fn(&Written) -> bool) -> Vec<(Id, &Written)> {
        let mut all: Vec<_> = (0..).zip(&self.written).filter(|(_, written)| written.flags != 0 && wanted(written)).collect();
        all.sort_by_key(|(_, written)| written.first());
        all
    }

    /// Offsets and values that were packed (acknowledged or of unknown outcome, and read), and whether they were acknowledged.
    pub(crate) fn packed(&self) -> impl Iterator<Item = (Offset, Value, bool)> {
        self.pages.packed()
    }

    pub(crate) fn of(&self, id: Id) -> &Written {
        &self.written[id as usize]
    }

    /// A gap in which nothing stands, and which is behind everybody: should something turn up there, all is doubted.
    pub(crate) fn is_closed_between(&self, from: Offset, to: Offset) -> bool {
        self.pages.is_closed_between(from, to)
    }

    /// How far readers got; of several values there, the first.
    pub(crate) fn bound(&self) -> Option<Bound> {
        let read = (0..).zip(&self.written).filter(|(_, written)| written.is_read() && written.offset >= 0);
        let live = read
            .map(|(id, written)| (self.first_offset(id), written.read, written.value))
            .max_by_key(|(offset, read, value)| (*offset, std::cmp::Reverse((read.get(), *value))));
        let live = live.map(|(offset, read, value)| Bound { offset, value, read });
        match (live, self.packed_bound) {
            (Some(live), Some(packed)) if packed.offset >= live.offset => Some(packed),
            (live, packed) => live.or(packed),
        }
    }

    pub(crate) fn is_contested(&self) -> bool {
        !self.contested.is_empty()
    }

    /// The values at an offset that holds several, in the order in which they were shown, each with the op that showed it first.
    pub(crate) fn contestants(&self, offset: Offset) -> Vec<(Id, OpRef)> {
        let mut values: Vec<_> = self.contested.get(&offset).into_iter().flatten().map(|(id, op)| (*id, *op)).collect();
        values.sort_by_key(|(id, op)| (op.get(), self.of(*id).value));
        values
    }

    /// Offsets that hold several values.
    pub(crate) fn contested(&self) -> impl Iterator<Item = Offset> {
        self.contested.keys().copied()
    }

    /// The offsets of a value that has several, each with the op that showed it there first.
    pub(crate) fn places(&self, id: Id) -> Option<&BTreeMap<Offset, OpRef>> {
        self.moved.get(&id)
    }

    /// Values with several offsets, in the order in which the history speaks of them.
    pub(crate) fn moved(&self) -> Vec<(Id, &BTreeMap<Offset, OpRef>)> {
        let mut moved: Vec<_> = self.moved.iter().map(|(id, places)| (*id, places)).collect();
        moved.sort_by_key(|(id, _)| self.of(*id).first());
        moved
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
    pub(crate) fn visible_between(&self, from: Offset, to: Offset, isolation: Isolation) -> impl Iterator<Item = (Offset, Slot)> {
        self.pages.visible_between(from, to, isolation)
    }

    pub(crate) fn is_any_visible_between(&self, from: Offset, to: Offset, isolation: Isolation) -> bool {
        self.pages.is_any_visible_between(from, to, isolation)
    }

    /// Calls `each` with the values of transactions that are not settled, each at the first offset at which it was seen, in the order of
    /// offsets. Of several at one offset, the first.
    pub(crate) fn each_in_txn(&self, mut each: impl FnMut(&Written)) {
        self.pages.each_live(|offset, id| {
            let written = &self.written[id as usize];
            if written.txn != 0 && written.offset == offset && !written.is_sent_twice() {
                each(written);
            }
        });
    }

    /// What is known of the value in a slot, if it was not packed.
    pub(crate) fn live(&self, slot: Slot) -> Option<&Written> {
        match slot {
            Slot::Live(id) => Some(self.of(id)),
            Slot::Packed(_) => None,
        }
    }
}

#[inline]
fn add(written: &mut Vec<Written>, free: &mut Vec<Id>, new: Written) -> Id {
    if let Some(id) = free.pop() {
        written[id as usize] = new;
        return id;
    }
    // Memory ends long before 4 G values of one key.
    written.push(new);
    Id::try_from(written.len() - 1).unwrap_or(Id::MAX - 1)
}
