//! Offset → value, for offsets that are dense in places and may be anything, in little memory.
//!
//! Pages of 256 slots, ordered by number: a lone offset near 2^60 costs one page, and a range is walked by pages that exist and bits that are
//! set. A *live* page names values by their place in the log's table. A page whose values have all been acknowledged and read is *packed*:
//! what is left of it is which value stood where, in as many bits as the values need beside a line through them (values that are counted up
//! take some 6 of them). That is enough to hold later readers against it, exactly; should one disagree, the page is unpacked.
//!
//! Whether a value was packed is told by the ranges of the pages, where values and offsets grow together; a page whose values lie far apart (as
//! when each client counts from a number of its own) is *wide*, and its values are remembered one by one ([`crate::values`]).

mod light;
mod packed;

use std::cell::Cell;
use std::collections::BTreeMap;

use kchaos_core::{Offset, Value};

use crate::log::{Id, Isolation};
pub(crate) use light::LightPage;
use packed::Packed;

const WIDTH_BITS: u32 = 8;
pub(crate) const WIDTH: usize = 1 << WIDTH_BITS;
const WORDS: usize = WIDTH / 64;
/// Nobody stands here.
pub(crate) const EMPTY: Id = Id::MAX;

/// One bit a slot.
type Bits = [u64; WORDS];

/// What is known of the values on a page, beside their places.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Marks {
    /// Certainly committed.
    committed: Bits,
    /// Seen by a poll at each isolation.
    seen_committed: Bits,
    seen_uncommitted: Bits,
}

impl Marks {
    #[inline]
    fn mark_seen(&mut self, slot: usize, isolation: Isolation) {
        let seen = match isolation {
            Isolation::Committed => &mut self.seen_committed,
            Isolation::Uncommitted => &mut self.seen_uncommitted,
        };
        set(seen, slot);
    }

    fn visible(&self, word: usize, isolation: Isolation) -> u64 {
        let seen = match isolation {
            Isolation::Committed => &self.seen_committed,
            Isolation::Uncommitted => &self.seen_uncommitted,
        };
        self.committed[word] | seen[word]
    }
}

pub(crate) struct Live {
    number: i64,
    ids: [Id; WIDTH],
    marks: Marks,
    /// Slots that are taken, and those of them whose value may be packed.
    taken: u16,
    done: u16,
}

impl Live {
    fn new(number: i64) -> Self {
        Self { number, ids: [EMPTY; WIDTH], marks: Marks::default(), taken: 0, done: 0 }
    }
}

/// Where a page is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Live(u32),
    Light(u32),
    Packed(u32),
}

/// A slot that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Live(Id),
    /// The value that was packed there.
    Packed(Value),
}

/// A slot of a live page, so that one search serves several steps.
#[derive(Clone, Copy, Default)]
pub(crate) struct Spot {
    page: u32,
    slot: u8,
}

/// What there is where an offset belongs, so that one search serves a run of offsets.
pub(crate) enum Page<'a> {
    Live(LivePage<'a>),
    Packed(&'a Packed),
    Light,
    None,
}

pub(crate) struct LivePage<'a> {
    number: u32,
    live: &'a mut Live,
}

impl LivePage<'_> {
    /// Whose slot it is; [`EMPTY`] if nobody's.
    #[inline]
    pub(crate) fn id(&self, slot: usize) -> Id {
        self.live.ids[slot % WIDTH]
    }

    /// A poll returned what stands there.
    #[inline]
    pub(crate) fn mark_seen(&mut self, slot: usize, isolation: Isolation) {
        self.live.marks.mark_seen(slot % WIDTH, isolation);
    }

    /// One value more may be packed, or one less; `true` if now all may.
    #[inline]
    pub(crate) fn set_done(&mut self, done: bool) -> bool {
        self.live.done = if done { self.live.done + 1 } else { self.live.done.saturating_sub(1) };
        usize::from(self.live.done) == WIDTH
    }

    pub(crate) fn spot(&self, slot: usize) -> Spot {
        Spot { page: self.number, slot: slot as u8 }
    }
}

/// Pages used last, by the low bits of their numbers: each reader moves along a log at its own place.
const RECENT: usize = 4;
const NO_PAGE: (i64, At) = (i64::MIN, At::Live(u32::MAX));

pub(crate) struct Pages {
    index: BTreeMap<i64, At>,
    live: Vec<Live>,
    free: Vec<u32>,
    light: Vec<LightPage>,
    free_light: Vec<u32>,
    packed: Vec<Packed>,
    free_packed: Vec<u32>,
    /// Packed pages that are not wide: the least value → the greatest, and the page's number.
    ranges: BTreeMap<Value, (Value, i64)>,
    /// The greatest value on any of them, and the widest range of one.
    greatest: Value,
    widest: i64,
    recent: [(i64, At); RECENT],
    /// The page that was looked at last by [`Pages::is_closed_between`].
    looked_at: Cell<(i64, At)>,
}

/// A page of the slab that is not in use.
const UNUSED: i64 = i64::MIN;

/// The greatest value of a page that is not wide exceeds its least by less.
const NARROW: i64 = 1 << 24;

impl Default for Pages {
    fn default() -> Self {
        let (live, free, packed, free_packed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (ranges, greatest) = (BTreeMap::new(), Value::MIN);
        Self {
            index: BTreeMap::new(),
            live,
            free,
            light: Vec::new(),
            free_light: Vec::new(),
            packed,
            free_packed,
            ranges,
            greatest,
            widest: 0,
            recent: [NO_PAGE; RECENT],
            looked_at: Cell::new(NO_PAGE),
        }
    }
}

#[inline]
pub(crate) fn place(offset: Offset) -> (i64, usize) {
    (offset >> WIDTH_BITS, (offset & (WIDTH as i64 - 1)) as usize)
}

fn set(bits: &mut Bits, slot: usize) {
    bits[slot / 64] |= 1 << (slot % 64);
}

fn recent_place(number: i64) -> usize {
    (number & (RECENT as i64 - 1)) as usize
}

impl Pages {
    #[inline]
    fn at(&mut self, number: i64) -> Option<At> {
        let (recent, at) = self.recent[recent_place(number)];
        if recent == number {
            return Some(at);
        }
        let at = *self.index.get(&number)?;
        self.recent[recent_place(number)] = (number, at);
        Some(at)
    }

    fn put_at(&mut self, number: i64, at: At) {
        self.index.insert(number, at);
        self.recent[recent_place(number)] = (number, at);
        self.looked_at.set(NO_PAGE);
    }

    pub(crate) fn get(&self, offset: Offset) -> Option<Slot> {
        let (number, slot) = place(offset);
        self.slot(*self.index.get(&number)?, slot)
    }

    #[inline]
    fn slot(&self, at: At, slot: usize) -> Option<Slot> {
        match at {
            At::Live(page) => Some(self.live[page as usize].ids[slot]).filter(|id| *id != EMPTY).map(Slot::Live),
            At::Packed(page) => self.packed[page as usize].value(slot).map(Slot::Packed),
            At::Light(_) => {
                debug_assert!(false, "who asks for slots has spelled them out");
                None
            }
        }
    }

    /// The page of an offset.
    #[inline]
    pub(crate) fn page(&mut self, offset: Offset) -> Page<'_> {
        match self.at(place(offset).0) {
            Some(At::Live(page)) => Page::Live(LivePage { number: page, live: &mut self.live[page as usize] }),
            Some(At::Packed(page)) => Page::Packed(&self.packed[page as usize]),
            Some(At::Light(_)) => Page::Light,
            None => Page::None,
        }
    }

    /// The slot of an offset in a live page, made if there is none; `None` if it is packed or light.
    #[inline]
    pub(crate) fn spot(&mut self, offset: Offset) -> Option<Spot> {
        let (number, slot) = place(offset);
        let page = match self.at(number) {
            Some(At::Live(page)) => page,
            Some(At::Packed(_) | At::Light(_)) => return None,
            None => self.add(number),
        };
        Some(Spot { page, slot: slot as u8 })
    }

    #[cold]
    fn add(&mut self, number: i64) -> u32 {
        let new = Live::new(number);
        let page = match self.free.pop() {
            Some(page) => {
                self.live[page as usize] = new;
                page
            }
            None => {
                self.live.push(new);
                u32::try_from(self.live.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.put_at(number, At::Live(page));
        page
    }

    /// Puts `id` there if nobody stands there, and says who does.
    #[inline]
    pub(crate) fn put(&mut self, spot: Spot, id: Id) -> Id {
        let page = &mut self.live[spot.page as usize];
        let there = &mut page.ids[usize::from(spot.slot)];
        if *there == EMPTY {
            *there = id;
            page.taken += 1;
        }
        *there
    }

    #[inline]
    pub(crate) fn mark_committed(&mut self, spot: Spot) {
        set(&mut self.live[spot.page as usize].marks.committed, usize::from(spot.slot));
    }

    #[inline]
    pub(crate) fn mark_seen(&mut self, spot: Spot, isolation: Isolation) {
        self.live[spot.page as usize].marks.mark_seen(usize::from(spot.slot), isolation);
    }

    /// The value there may be packed, or no longer; `true` if now all of its page may.
    #[inline]
    pub(crate) fn set_done(&mut self, spot: Spot, done: bool) -> bool {
        LivePage { number: spot.page, live: &mut self.live[spot.page as usize] }.set_done(done)
    }

    pub(crate) fn number(&self, spot: Spot) -> i64 {
        self.live[spot.page as usize].number
    }

    pub(crate) fn number_of(offset: Offset) -> i64 {
        place(offset).0
    }

    /// The places in the table of the values on a slot's page; [`EMPTY`] where there is none.
    pub(crate) fn ids(&self, spot: Spot) -> &[Id; WIDTH] {
        &self.live[spot.page as usize].ids
    }

    /// Pages whose values may all be packed, well before an offset that readers have passed: what is a hole there stays one.
    pub(crate) fn done_before(&self, offset: Offset) -> Vec<Spot> {
        let before = place(offset).0.saturating_sub(1);
        let is_done = |page: &Live| page.number != UNUSED && page.number < before && page.taken > 0 && page.taken == page.done;
        (0..).zip(&self.live).filter(|(_, page)| is_done(page)).map(|(page, _)| Spot { page, slot: 0 }).collect()
    }

    /// Packs the page of a slot by the values that stand there, in their order: all of them may be. `true` if the page is wide.
    pub(crate) fn pack(&mut self, spot: Spot, values: &[Value]) -> bool {
        let live = &self.live[spot.page as usize];
        let mut taken = [u64::MAX; WORDS];
        if values.len() < WIDTH {
            taken = Bits::default();
            live.ids.iter().enumerate().filter(|(_, id)| **id != EMPTY).for_each(|(slot, _)| set(&mut taken, slot));
        }
        let all = live.marks.committed == taken;
        let mut packed = Packed::new(values, (!all).then(|| Box::new(live.marks)));
        packed.taken = (values.len() < WIDTH).then(|| Box::new(taken));
        let number = live.number;
        self.live[spot.page as usize].number = UNUSED;
        self.free.push(spot.page);
        self.keep(number, values, packed)
    }

    /// Keeps a packed page. `true` if it is wide.
    fn keep(&mut self, number: i64, values: &[Value], packed: Packed) -> bool {
        let (mut least, mut greatest) = (Value::MAX, Value::MIN);
        for value in values {
            (least, greatest) = (least.min(*value), greatest.max(*value));
        }
        let is_wide = greatest.checked_sub(least).is_none_or(|range| range >= NARROW);
        if !is_wide {
            self.ranges.insert(least, (greatest, number));
            self.greatest = self.greatest.max(greatest);
            self.widest = self.widest.max(greatest - least);
        }
        let page = match self.free_packed.pop() {
            Some(page) => {
                self.packed[page as usize] = packed;
                page
            }
            None => {
                self.packed.push(packed);
                u32::try_from(self.packed.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.put_at(number, At::Packed(page));
        is_wide
    }

    pub(crate) fn has_holes(&self, number: i64) -> bool {
        matches!(self.index.get(&number), Some(At::Packed(page)) if self.packed[*page as usize].taken.is_some())
    }

    /// Makes a packed page live again: `id_of` gives each value a place in the table, told whether it certainly committed and whether
    /// readers of committed saw it.
    pub(crate) fn unpack(&mut self, number: i64, mut id_of: impl FnMut(Offset, Value, bool, bool) -> Id) {
        let Some(At::Packed(at)) = self.at(number) else { return };
        let empty = Packed { base: 0, slope: 0, bits: 0, words: Box::default(), taken: None, marks: None };
        let packed = std::mem::replace(&mut self.packed[at as usize], empty);
        self.free_packed.push(at);
        if let Some(least) = packed.values().map(|(_, value)| value).min()
            && self.ranges.get(&least).is_some_and(|(_, page)| *page == number)
        {
            self.ranges.remove(&least);
        }
        let page = self.add(number) as usize;
        let marks = packed.marks.as_deref().copied().unwrap_or(Marks { committed: packed.taken(), ..Marks::default() });
        self.live[page].marks = marks;
        for (slot, value) in packed.values() {
            let offset = (number << WIDTH_BITS) + slot as i64;
            self.live[page].ids[slot] = id_of(offset, value, is_set(&marks.committed, slot), is_set(&marks.seen_committed, slot));
            self.live[page].taken += 1;
        }
    }

    /// The packed page, of those that are not wide, that holds a value, and the value's offset.
    #[inline]
    pub(crate) fn find_narrow(&self, value: Value) -> Option<(i64, Offset)> {
        // Mostly values are new, and greater than all before.
        if value > self.greatest { None } else { self.find_in_ranges(value) }
    }

    fn find_in_ranges(&self, value: Value) -> Option<(i64, Offset)> {
        self.ranges.range(value.saturating_sub(self.widest)..=value).rev().filter(|(_, (greatest, _))| value <= *greatest).find_map(
            |(_, (_, number))| {
                let Some(At::Packed(page)) = self.index.get(number) else { return None };
                let slot = self.packed[*page as usize].find(value)?;
                Some((*number, (number << WIDTH_BITS) + slot as i64))
            },
        )
    }

    /// The packed page from `first` on that holds a value, and the value's offset.
    pub(crate) fn find_packed(&self, first: i64, value: Value) -> Option<(i64, Offset)> {
        self.index.range(first..).find_map(|(number, at)| {
            let At::Packed(page) = at else { return None };
            let slot = self.packed[*page as usize].find(value)?;
            Some((*number, (number << WIDTH_BITS) + slot as i64))
        })
    }

    /// What is packed, in the order of offsets: value, and whether it certainly committed.
    pub(crate) fn packed(&self) -> impl Iterator<Item = (Offset, Value, bool)> {
        self.index.iter().flat_map(|(number, at)| {
            let page = match at {
                At::Packed(page) => Some(&self.packed[*page as usize]),
                At::Live(_) | At::Light(_) => None,
            };
            let base = number << WIDTH_BITS;
            page.into_iter().flat_map(move |page| {
                let committed = move |slot: usize| page.marks.as_ref().is_none_or(|marks| is_set(&marks.committed, slot));
                page.values().map(move |(slot, value)| (base + slot as i64, value, committed(slot)))
            })
        })
    }

    /// Whether there is any of those that [`Pages::visible_between`] gives: cheap where the offsets are close, as they nearly always are.
    pub(crate) fn is_any_visible_between(&self, from: Offset, to: Offset, isolation: Isolation) -> bool {
        let (first, last) = (from.saturating_add(1).max(0), to.saturating_sub(1));
        let ((number, begin), (same, end)) = (place(first), place(last));
        if first > last || number != same || begin / 64 != end / 64 {
            return self.visible_between(from, to, isolation).next().is_some();
        }
        let (recent, at) = self.recent[recent_place(number)];
        let Some(at) = (if recent == number { Some(&at) } else { self.index.get(&number) }) else { return false };
        let visible = match at {
            At::Live(page) => self.live[*page as usize].marks.visible(begin / 64, isolation),
            At::Packed(page) => self.packed[*page as usize].visible(begin / 64, isolation),
            At::Light(page) => self.light[*page as usize].marks().visible(begin / 64, isolation),
        };
        visible & mask(end % 64 + 1) & !mask(begin % 64) != 0
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
            let Some(there) = self.index.get(&number) else { return false };
            at = *there;
            self.looked_at.set((number, at));
        }
        let At::Packed(page) = at else { return false };
        let Some(taken) = &self.packed[page as usize].taken else { return false };
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
        self.index.range(pages).flat_map(move |(number, at)| {
            let base = number << WIDTH_BITS;
            // Where in the page to begin and to stop.
            let begin = (first - base).clamp(0, WIDTH as i64) as usize;
            let end = (last - base).saturating_add(1).clamp(0, WIDTH as i64) as usize;
            (begin / 64..end.div_ceil(64))
                .flat_map(move |word| {
                    let visible = match at {
                        At::Live(page) => self.live[*page as usize].marks.visible(word, isolation),
                        At::Packed(page) => self.packed[*page as usize].visible(word, isolation),
                        At::Light(page) => self.light[*page as usize].marks().visible(word, isolation),
                    };
                    let within = mask(end.saturating_sub(word * 64)) & !mask(begin.saturating_sub(word * 64));
                    ones(visible & within).map(move |bit| word * 64 + bit)
                })
                .filter_map(move |slot| self.slot(*at, slot).map(|there| (base + slot as i64, there)))
        })
    }
}

#[inline]
fn is_set(bits: &Bits, slot: usize) -> bool {
    bits[slot / 64] >> (slot % 64) & 1 == 1
}

/// The lowest bits, so many.
fn mask(count: usize) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

/// The places of the bits that are set.
fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (bit < 64).then_some(bit)
    })
}

#[cfg(test)]
mod tests;
