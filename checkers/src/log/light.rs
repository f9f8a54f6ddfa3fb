//! The short way of values that go as nearly all do: counted up, sent once, acknowledged, read.
//!
//! Why: in a healthy log each is one of millions, and to give each a place in the tables of [`KeyLog`] costs five times as much as what is
//! ever asked of it. A send that is open stands in [`OpenSends`], and then on a [light page](crate::pages::light). Whatever else happens to one
//! of them, it is first *spelled out*: it gets its place in the tables, with all that is known of it, and goes the long way. Verdicts are
//! asked of logs that are spelled out ([`KeyLog::spell_out`]), so nobody else has to know of this.
//!
//! A log in which a value moved or is contested leaves this way for good, and so does one whose values are not counted up, and one of transactions.

use kchaos_core::{Offset, Value};

use crate::pages::WIDTH;
use crate::values::Known;

use super::written::{DONE, POLLED, READ, READ_COMMITTED, SENT};
use super::{Id, KeyLog, OpRef, Outcome, PollOp, Written, add};

/// The place of a value that has none.
pub(crate) const LIGHT: Id = Id::MAX - 1;

/// An invoked send of which nothing else is known.
#[derive(Clone, Copy)]
struct OpenSend {
    value: Value,
    floor: Offset,
    op: OpRef,
    is_open: bool,
}

const NO_SEND: OpenSend = OpenSend { value: 0, floor: -1, op: OpRef::NONE, is_open: false };

/// Open sends by the low bits of their values: they are counted up, so those that are open together lie close together.
pub(super) struct OpenSends {
    sends: Vec<OpenSend>,
}

/// Values that are not counted up, so that all light pages were searched for them in vain.
const MISSED_MAX: u32 = 64;

const OPEN_MIN: usize = 64;
const OPEN_MAX: usize = 8192;

impl Default for OpenSends {
    fn default() -> Self {
        Self { sends: vec![NO_SEND; OPEN_MIN] }
    }
}

impl OpenSends {
    #[inline]
    fn slot(&mut self, value: Value) -> &mut OpenSend {
        let at = value as usize & (self.sends.len() - 1);
        &mut self.sends[at]
    }

    /// Gives back the send that had to make room.
    #[inline(always)]
    fn put(&mut self, value: Value, floor: Offset, op: OpRef) -> Option<OpenSend> {
        let slot = self.slot(value);
        if slot.is_open {
            return self.make_room(value, floor, op);
        }
        (slot.value, slot.floor, slot.op, slot.is_open) = (value, floor, op, true);
        None
    }

    #[cold]
    fn make_room(&mut self, value: Value, floor: Offset, op: OpRef) -> Option<OpenSend> {
        let send = OpenSend { value, floor, op, is_open: true };
        while self.slot(send.value).is_open {
            if self.sends.len() >= OPEN_MAX {
                return Some(std::mem::replace(self.slot(send.value), send));
            }
            // Open sends that stood apart still do.
            let wider = vec![NO_SEND; 2 * self.sends.len()];
            for open in std::mem::replace(&mut self.sends, wider).into_iter().filter(|open| open.is_open) {
                *self.slot(open.value) = open;
            }
        }
        *self.slot(send.value) = send;
        None
    }

    #[inline]
    fn take(&mut self, value: Value) -> Option<OpenSend> {
        let slot = self.slot(value);
        (slot.is_open && slot.value == value).then(|| std::mem::replace(slot, NO_SEND))
    }
}

impl KeyLog {
    /// An invocation of a value greater than all before; `false`: it must go the long way.
    #[inline(always)]
    pub(super) fn invoked_light(&mut self, value: Value, op: u64) -> bool {
        if value <= self.greatest || !self.is_light {
            return false;
        }
        if !self.pinned.is_empty() && self.pinned.contains(&value) {
            return false;
        }
        self.greatest = value;
        self.lightly = true;
        if let Some(aside) = self.open.put(value, self.highest, OpRef::new(op)) {
            self.spell_send(aside);
        }
        true
    }

    /// An acknowledgement of such a value; `false`, and nothing is done, if it must go the long way.
    #[inline(always)]
    pub(crate) fn acknowledged_light(&mut self, value: Value, offset: Offset, op: OpRef) -> bool {
        if offset < 0 || !self.lightly {
            return false;
        }
        let slot = (offset & (WIDTH as i64 - 1)) as usize;
        let open = self.open.slot(value);
        // Else it was read before it is acknowledged.
        let is_open = open.is_open && open.value == value;
        if is_open && offset < open.floor {
            return false;
        }
        let Some((at, page)) = self.pages.light(offset) else { return false };
        let is_taken = match is_open {
            true => page.acknowledge(slot, value, open.op, op),
            false => page.acknowledge_read(slot, value, op),
        };
        if !is_taken {
            return false;
        }
        open.is_open &= !is_open;
        self.highest = self.highest.max(offset);
        if page.is_done() {
            self.pack_light(at);
        }
        true
    }

    /// How many of the records, from the first on, are of light values and on one page. They are marked as read; the offset is not below 0.
    #[inline]
    pub(super) fn polled_light(&mut self, records: &[(Offset, Value)], poll: PollOp) -> usize {
        let Some((offset, _)) = records.first().copied().filter(|(offset, _)| *offset >= 0 && poll.ok && self.lightly) else { return 0 };
        let Self { pages, open, highest, .. } = self;
        let Some((at, page)) = pages.light(offset) else { return 0 };
        let known = page.read_run(records, poll, |offset, value| {
            // Perhaps it was sent, and is read before it is acknowledged.
            let send = open.slot(value);
            if !send.is_open || send.value != value || offset < send.floor {
                return None;
            }
            send.is_open = false;
            *highest = (*highest).max(offset);
            Some(send.op)
        });
        if page.is_done() {
            self.pack_light(at);
        }
        known
    }

    #[inline(never)]
    fn pack_light(&mut self, at: u32) {
        let (number, values, bound) = self.pages.take_light(at);
        if self.packed_bound.is_none_or(|known| known.offset < bound.offset) {
            self.packed_bound = Some(bound);
        }
        if let Some(values) = values {
            self.values.remove(&values, Some(number));
        }
    }

    /// A value that may be light gets its place in the tables.
    #[inline]
    pub(super) fn spell_value(&mut self, value: Value) {
        if self.lightly && value <= self.greatest {
            self.spell_known(value);
        }
    }

    #[cold]
    fn spell_known(&mut self, value: Value) {
        if let Some(open) = self.open.take(value) {
            self.spell_send(open);
        } else if self.values.get(value) == Known::Not {
            match self.pages.light_page_of(value) {
                Some(number) => self.spell_page(number),
                None => self.missed += 1,
            }
            if self.missed > MISSED_MAX {
                self.leave_light();
            }
        }
    }

    #[cold]
    fn spell_send(&mut self, open: OpenSend) {
        let new = Written { floor: open.floor, invoked: open.op, flags: SENT, ..Written::new(open.value) };
        let id = add(&mut self.written, &mut self.free, new);
        self.values.insert(open.value, id);
    }

    /// Gives all values of a light page their places; nothing is done if the page is not light.
    #[cold]
    pub(super) fn spell_page(&mut self, number: i64) {
        let Self { pages, written, values, free, .. } = self;
        pages.spell(number, |told| {
            let mut one = Written { offset: told.offset, invoked: told.invoked, placed: told.placed, ..Written::new(told.value) };
            one.flags = SENT | if told.read_committed { READ_COMMITTED } else { 0 };
            if let Some(op) = told.completed {
                (one.completed, one.outcome) = (op, Outcome::Ok);
            }
            if let Some((op, reader)) = told.read {
                (one.read, one.reader) = (op, reader);
                one.flags |= POLLED | READ;
            }
            let is_done = one.may_be_packed();
            one.flags |= if is_done { DONE } else { 0 };
            let id = add(written, free, one);
            values.insert(told.value, id);
            (id, is_done)
        });
    }

    /// Gives every value its place in the tables: before anybody looks at them.
    pub(crate) fn spell_out(&mut self) {
        if std::mem::take(&mut self.lightly) {
            let sends = std::mem::take(&mut self.open).sends;
            sends.into_iter().filter(|open| open.is_open).for_each(|open| self.spell_send(open));
            for number in self.pages.light_pages() {
                self.spell_page(number);
            }
        }
    }

    /// The same, and from now on values go the long way.
    #[cold]
    pub(crate) fn leave_light(&mut self) {
        self.is_light = false;
        self.spell_out();
    }
}
