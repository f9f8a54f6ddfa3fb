//! How values of a log are packed and made live again, and what becomes of those of transactions.

use kchaos_core::{Offset, Value};

use crate::pages::{EMPTY, Pages, Spot, WIDTH};
use crate::values::Known;

use super::written::{IN_TXN, JUDGED, SETTLED};
use super::{Bound, Id, Isolation, KeyLog, Written, add};

/// So many offsets behind the greatest read one, nobody reads anew.
const PASSED_BY: Offset = 65_536;

impl KeyLog {
    #[inline(never)]
    pub(super) fn pack(&mut self, spot: Spot) {
        let Self { pages, written, values, free, packed_bound, .. } = self;
        let page = pages.number(spot);
        let (mut packed, mut count, mut last) = ([0; WIDTH], 0, None);
        for id in pages.ids(spot).iter().filter(|id| **id != EMPTY) {
            let one = &mut written[*id as usize];
            (packed[count], one.flags) = (one.value, 0);
            free.push(*id);
            (count, last) = (count + 1, Some(*one));
        }
        let packed = &packed[..count];
        // What may be packed stands at one offset only.
        if let Some(last) = last.filter(|last| packed_bound.is_none_or(|bound| bound.offset < last.offset)) {
            *packed_bound = Some(Bound { offset: last.offset, value: last.value, read: last.read });
        }
        let is_wide = pages.pack(spot, packed);
        values.remove(packed, is_wide.then_some(page));
    }

    #[cold]
    pub(super) fn unpack_offset(&mut self, offset: Offset) -> Spot {
        self.unpack(Pages::number_of(offset));
        self.pages.spot(offset).unwrap_or_default()
    }

    #[cold]
    pub(super) fn unpack_value(&mut self, value: Value, found: Option<(i64, Offset)>) -> Id {
        if let Some((page, _)) = found {
            self.unpack(page);
        }
        match self.values.look(value) {
            (Known::At(id), _) => id,
            (_, seat) => self.new_value(value, seat),
        }
    }

    /// Where a packed value stands.
    pub(super) fn packed_offset(&self, value: Value) -> Option<Offset> {
        let found = match self.values.get(value) {
            Known::At(_) => None,
            Known::Packed(page) => self.pages.find_packed(page, value),
            Known::Not => self.pages.find_narrow(value),
        };
        found.map(|(_, offset)| offset)
    }

    pub(super) fn unpack(&mut self, page: i64) {
        self.spell_page(page);
        let Self { pages, written, values, free, is_doubted, .. } = self;
        // Who passed over a hole was forgotten, and something may turn up there.
        *is_doubted |= pages.has_holes(page);
        pages.unpack(page, |offset, value, committed, read_committed| {
            let id = add(written, free, Written::packed(value, offset, committed, read_committed));
            values.insert(value, id);
            id
        });
    }

    /// The search for cycles must be made anew, of everything.
    pub(crate) fn is_doubted(&self) -> bool {
        self.is_doubted
    }

    /// A value stands before one of a transaction that was judged earlier.
    pub(crate) fn is_before_judged(&self, written: &Written) -> bool {
        written.offset >= 0 && written.offset < self.judged_to && !written.is_sent_twice()
    }

    /// Readers are far beyond an offset: who has not read what stands there will not.
    pub(crate) fn is_passed(&self, offset: Offset) -> bool {
        offset >= 0 && offset.saturating_add(PASSED_BY) < self.read_to
    }

    /// The search for cycles is done with the transaction that sent this value; it may be settled as well.
    pub(crate) fn judged(&mut self, id: Id, is_settled: bool) {
        let written = &mut self.written[id as usize];
        self.judging_to = self.judging_to.max(written.offset);
        if !is_settled {
            written.flags |= JUDGED;
            return;
        }
        written.txn = 0;
        written.flags = written.flags & !IN_TXN | SETTLED;
        if !self.told.is_empty()
            && self.told.remove(&id).is_some()
            && let Some(spot) = self.pages.spot(self.written[id as usize].offset)
        {
            // Proved to be there at either isolation: readers of committed saw it. Acknowledged it is not.
            self.pages.mark_seen(spot, Isolation::Uncommitted);
        }
        self.settle_where_it_is(id);
    }

    /// Nothing more need be known of a value once its transaction is judged.
    pub(crate) fn may_be_settled(&self, id: Id) -> bool {
        let written = self.of(id);
        written.may_be_settled() && (self.told.is_empty() || self.told.get(&id).is_none_or(|told| *told == written.offset))
    }

    /// Those that were judged together are judged.
    pub(crate) fn judged_so_far(&mut self) {
        self.judged_to = self.judging_to;
    }

    /// Packs what has become packable behind the readers: pages with holes, above all.
    pub(crate) fn pack_behind(&mut self) {
        if !self.never_packs {
            for spot in self.pages.done_before(self.read_to) {
                self.pack(spot);
            }
        }
    }
}
