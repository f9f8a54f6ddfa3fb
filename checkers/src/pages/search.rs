//! What is asked of the pages: where a value stands, and what stands between two offsets.

use kchaos_core::{Offset, Value};

use crate::log::{Id, Isolation};

use super::{At, EMPTY, Live, Pages, Slot, UNUSED, WIDTH, WIDTH_BITS, is_set, mask, offset_of, ones, place, recent_place};

impl Pages {
    /// The packed page, of those that are not wide, that holds a value, and the value's offset.
    #[inline]
    pub(crate) fn find_narrow(&self, value: Value) -> Option<(i64, Offset)> {
        // Mostly values are new, and greater than all before.
        if value > self.greatest { None } else { self.find_in_ranges(value) }
    }

    fn find_in_ranges(&self, value: Value) -> Option<(i64, Offset)> {
        let single = self.ranges.around(value).find_map(|number| self.find_on(number, *self.index.get(&number)?, value));
        single.or_else(|| self.folds.find(value))
    }

    /// Where a packed page holds a value.
    fn find_on(&self, number: i64, at: At, value: Value) -> Option<(i64, Offset)> {
        let slot = self.view(at, number)?.find(value)?;
        Some((number, offset_of(number, slot)))
    }

    /// The packed page from `first` on that holds a value, and the value's offset.
    pub(crate) fn find_packed(&self, first: i64, value: Value) -> Option<(i64, Offset)> {
        self.pages_in(first..i64::MAX).find_map(|(number, at)| self.find_on(number, at, value))
    }

    /// What is packed, in the order of offsets: value, and whether it certainly committed.
    pub(crate) fn packed(&self) -> impl Iterator<Item = (Offset, Value, bool)> {
        self.pages_in(0..i64::MAX).filter_map(|(number, at)| Some((number, self.view(at, number)?))).flat_map(|(number, page)| {
            let committed = move |slot: usize| page.marks.is_none_or(|marks| is_set(&marks.committed, slot));
            page.values().map(move |(slot, value)| (offset_of(number, slot), value, committed(slot)))
        })
    }

    fn visible(&self, at: At, number: i64, word: usize, isolation: Isolation) -> u64 {
        match at {
            At::Live(page) => self.live[page as usize].marks.visible(word, isolation),
            At::Light(page) => self.light[page as usize].marks().visible(word, isolation),
            At::Packed(_) | At::Folded(_) => self.view(at, number).map_or(0, |page| page.visible(word, isolation)),
        }
    }

    /// Whether there is any of those that [`Pages::visible_between`] gives: cheap where the offsets are close, as they nearly always are.
    pub(crate) fn is_any_visible_between(&self, from: Offset, to: Offset, isolation: Isolation) -> bool {
        let (first, last) = (from.saturating_add(1).max(0), to.saturating_sub(1));
        let ((number, begin), (same, end)) = (place(first), place(last));
        if first > last || number != same || begin / 64 != end / 64 {
            return self.visible_between(from, to, isolation).next().is_some();
        }
        let (recent, at) = self.recent[recent_place(number)];
        let Some(at) = (if recent == number { Some(at) } else { self.look(number) }) else { return false };
        self.visible(at, number, begin / 64, isolation) & mask(end % 64 + 1) & !mask(begin % 64) != 0
    }

    /// Whether all offsets strictly between two others are holes of a packed page.
    pub(crate) fn is_closed_between(&self, from: Offset, to: Offset) -> bool {
        let (first, last) = (from.saturating_add(1).max(0), to.saturating_sub(1));
        let ((number, begin), (same, end)) = (place(first), place(last));
        if first > last || number != same {
            return false;
        }
        let (recent, mut at) = self.looked_at.get();
        if recent != number {
            let Some(there) = self.look(number) else { return false };
            at = there;
            self.looked_at.set((number, at));
        }
        let Some(taken) = self.view(at, number).and_then(|page| page.taken) else { return false };
        (begin..=end).all(|slot| !is_set(taken, slot))
    }

    /// Calls `each` with values that are not packed, by their places in the table, in the order of offsets.
    pub(crate) fn each_live(&self, mut each: impl FnMut(Offset, Id)) {
        let mut pages: Vec<&Live> = self.live.iter().filter(|page| page.number != UNUSED).collect();
        pages.sort_unstable_by_key(|page| page.number);
        for page in pages {
            let base = page.number << WIDTH_BITS;
            for (slot, id) in (0..).zip(&page.ids).filter(|(_, id)| **id != EMPTY) {
                each(base + slot, *id);
            }
        }
    }

    /// Slots strictly between two offsets that a reader at this isolation cannot pass over.
    pub(crate) fn visible_between(&self, from: Offset, to: Offset, isolation: Isolation) -> impl Iterator<Item = (Offset, Slot)> {
        let first = from.saturating_add(1).max(0);
        let last = to.saturating_sub(1);
        let pages = if first <= last { first >> WIDTH_BITS..(last >> WIDTH_BITS) + 1 } else { 0..0 };
        self.pages_in(pages).flat_map(move |(number, at)| {
            let base = number << WIDTH_BITS;
            // Where in the page to begin and to stop.
            let begin = (first - base).clamp(0, WIDTH as i64) as usize;
            let end = (last - base).saturating_add(1).clamp(0, WIDTH as i64) as usize;
            (begin / 64..end.div_ceil(64))
                .flat_map(move |word| {
                    let visible = self.visible(at, number, word, isolation);
                    let within = mask(end.saturating_sub(word * 64)) & !mask(begin.saturating_sub(word * 64));
                    ones(visible & within).map(move |bit| word * 64 + bit)
                })
                .filter_map(move |slot| self.slot(at, number, slot).map(|there| (base + slot as i64, there)))
        })
    }
}
