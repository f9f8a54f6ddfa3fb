//! Offset → value, for offsets that are dense in places and may be anything.
//!
//! Pages of 64 slots, ordered by number: dense logs cost 5 bytes a slot, a lone offset near 2^60 costs one page, and a range is walked by
//! pages that exist and bits that are set.

use std::collections::BTreeMap;

use kchaos_core::Offset;

use crate::log::{Id, Isolation};

const WIDTH_BITS: u32 = 6;
const WIDTH: usize = 1 << WIDTH_BITS;
const EMPTY: Id = Id::MAX;

struct Page {
    ids: [Id; WIDTH],
    /// One bit a slot: certainly committed; seen by a poll at each isolation.
    committed: u64,
    seen_committed: u64,
    seen_uncommitted: u64,
}

#[derive(Default)]
pub(crate) struct Slots {
    index: BTreeMap<i64, u32>,
    pages: Vec<Page>,
    /// The pages used last, by number: an acknowledgement and a poll move along a log each at its own place.
    recent: [Option<(i64, u32)>; 2],
}

fn page_of(offset: Offset) -> (i64, usize) {
    (offset >> WIDTH_BITS, (offset & (WIDTH as i64 - 1)) as usize)
}

impl Slots {
    /// Puts `id` at an empty offset, and says who stands there.
    pub(crate) fn put(&mut self, offset: Offset, id: Id) -> Id {
        let (number, slot) = page_of(offset);
        let page = self.page(number);
        if page.ids[slot] == EMPTY {
            page.ids[slot] = id;
        }
        page.ids[slot]
    }

    pub(crate) fn mark_committed(&mut self, offset: Offset) {
        let (number, slot) = page_of(offset);
        self.page(number).committed |= 1 << slot;
    }

    pub(crate) fn mark_seen(&mut self, offset: Offset, isolation: Isolation) {
        let (number, slot) = page_of(offset);
        let page = self.page(number);
        match isolation {
            Isolation::Committed => page.seen_committed |= 1 << slot,
            Isolation::Uncommitted => page.seen_uncommitted |= 1 << slot,
        }
    }

    pub(crate) fn get(&self, offset: Offset) -> Option<Id> {
        let (number, slot) = page_of(offset);
        let page = self.index.get(&number)?;
        Some(self.pages[*page as usize].ids[slot]).filter(|id| *id != EMPTY)
    }

    /// Who stands at an offset, if its page was used of late: cheap, and `None` proves nothing.
    pub(crate) fn recent(&self, offset: Offset) -> Option<Id> {
        let (number, slot) = page_of(offset);
        self.recent_page(number).map(|page| self.pages[page as usize].ids[slot]).filter(|id| *id != EMPTY)
    }

    fn recent_page(&self, number: i64) -> Option<u32> {
        self.recent.iter().flatten().find(|(recent, _)| *recent == number).map(|(_, page)| *page)
    }

    fn page(&mut self, number: i64) -> &mut Page {
        let page = self.recent_page(number).unwrap_or_else(|| {
            let next = u32::try_from(self.pages.len()).unwrap_or(u32::MAX);
            let page = *self.index.entry(number).or_insert(next);
            if page == next {
                self.pages.push(Page { ids: [EMPTY; WIDTH], committed: 0, seen_committed: 0, seen_uncommitted: 0 });
            }
            self.recent = [Some((number, page)), self.recent[0]];
            page
        });
        &mut self.pages[page as usize]
    }

    pub(crate) fn visible_between(&self, from: Offset, to: Offset, isolation: Isolation) -> impl Iterator<Item = (Offset, Id)> {
        let first = from.saturating_add(1).max(0);
        let last = to.saturating_sub(1);
        let pages = if first <= last { first >> WIDTH_BITS..(last >> WIDTH_BITS) + 1 } else { 0..0 };
        self.index
            .range(pages)
            .flat_map(move |(number, page)| {
                let page = &self.pages[*page as usize];
                let seen = match isolation {
                    Isolation::Committed => page.seen_committed,
                    Isolation::Uncommitted => page.seen_uncommitted,
                };
                let base = number << WIDTH_BITS;
                let bits = page.committed | seen;
                (0..WIDTH).filter(move |slot| bits & (1 << slot) != 0).map(move |slot| (base + slot as i64, page.ids[slot]))
            })
            .filter(move |(offset, _)| (first..=last).contains(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_found_at_any_offset_and_ranges_exclude_their_ends() {
        let mut slots = Slots::default();
        let offsets = [0, 1, 63, 64, 1_000_000_000_000, 1 << 60, i64::MAX];
        for (id, offset) in offsets.into_iter().enumerate() {
            assert_eq!(slots.put(offset, id as Id), id as Id);
            slots.mark_committed(offset);
        }
        assert_eq!(slots.put(63, 99), 2);
        assert_eq!((slots.get(1 << 60), slots.get(2)), (Some(5), None));
        let between = |from, to| slots.visible_between(from, to, Isolation::Committed).map(|(offset, _)| offset).collect::<Vec<_>>();
        assert_eq!(between(-1, i64::MAX), offsets[..6]);
        assert_eq!(between(0, 64), [1, 63]);
        assert!(between(1, 63).is_empty());
        assert!(between(5, 5).is_empty());
        assert!(between(i64::MAX, i64::MIN).is_empty());
        assert_eq!(slots.pages.len(), 5);
    }

    #[test]
    fn what_only_the_other_isolation_saw_is_not_visible() {
        let mut slots = Slots::default();
        slots.put(7, 1);
        slots.mark_seen(7, Isolation::Uncommitted);
        assert_eq!(slots.visible_between(0, 9, Isolation::Committed).count(), 0);
        assert_eq!(slots.visible_between(0, 9, Isolation::Uncommitted).count(), 1);
    }
}
