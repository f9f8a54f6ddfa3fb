//! A value by its name or its place, whether it was packed or not.

use std::collections::BTreeSet;

use kchaos_core::{Offset, Value};

use crate::pages::Slot;
use crate::values::Known;

use super::written::{SETTLED, UNPACKED};
use super::{Id, KeyLog, Written};

impl KeyLog {
    /// The place of a value that is not packed.
    pub(crate) fn find_id(&self, value: Value) -> Option<Id> {
        match self.values.get(value) {
            Known::At(id) => Some(id),
            Known::Packed(_) | Known::Not => None,
        }
    }

    /// A value that is not packed.
    pub(crate) fn find_live(&self, value: Value) -> Option<&Written> {
        self.find_id(value).map(|id| self.of(id))
    }

    /// Any value, as it is to be told of.
    pub(crate) fn find(&self, value: Value) -> Option<Written> {
        match self.values.get(value) {
            Known::At(id) => Some(self.tell(-1, Slot::Live(id))),
            _ => self.packed_offset(value).map(|offset| self.tell(offset, Slot::Packed(value))),
        }
    }

    /// The only offset of a value, if it has just one.
    pub(crate) fn only_offset(&self, value: Value) -> Option<Offset> {
        match self.values.get(value) {
            Known::At(id) => (self.first_offset(id) == self.last_offset(id)).then(|| self.of(id).offset),
            _ => self.packed_offset(value),
        }
    }

    /// The value that was first seen at an offset.
    pub(crate) fn value_at(&self, offset: Offset) -> Option<Value> {
        self.pages.get(offset).map(|slot| self.value(slot))
    }

    /// The same, as it is to be told of.
    pub(crate) fn at(&self, offset: Offset) -> Option<Written> {
        self.pages.get(offset).map(|slot| self.tell(offset, slot))
    }

    pub(crate) fn value(&self, slot: Slot) -> Value {
        match slot {
            Slot::Live(id) => self.of(id).value,
            Slot::Packed(value) => value,
        }
    }

    /// What is known of the value in a slot. Only for what is told to people: of a value that was packed, the ops are wanted from now on.
    pub(crate) fn tell(&self, offset: Offset, slot: Slot) -> Written {
        let written = match slot {
            Slot::Live(id) => *self.of(id),
            Slot::Packed(value) => Written::packed(value, offset, true, true),
        };
        if written.has(UNPACKED | SETTLED) {
            self.want(written.value);
        }
        written
    }

    /// The ops of some values are kept for good.
    #[inline]
    pub(crate) fn keeps_any(&self) -> bool {
        self.never_packs || !self.pinned.is_empty()
    }

    /// An earlier pass wanted it, or all are kept.
    pub(crate) fn is_kept(&self, value: Value) -> bool {
        self.never_packs || self.pinned.contains(&value)
    }

    /// A finding may speak of a value whose ops are not known.
    pub(crate) fn want(&self, value: Value) {
        self.wanted.borrow_mut().insert(value);
    }

    /// Values that findings speak of, and whose ops are not known.
    pub(crate) fn wanted(&self) -> BTreeSet<Value> {
        self.wanted.borrow().clone()
    }
}
