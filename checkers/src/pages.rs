//! Offset → value, for offsets that are dense in places and may be anything, in little memory.
//!
//! Pages of 256 slots, ordered by number: a lone offset near 2^60 costs one page, and a range is walked by pages that exist and bits that are
//! set. A *live* page names values by their place in the log's table. A page whose values have all been acknowledged and read is *packed*:
//! what is left of it is which value stood where, in as many bits as the values need beside a line through them (values that are counted up
//! take some 6 of them). That is enough to hold later readers against it, exactly; should one disagree, the page is unpacked.
//!
//! Whether a value was packed is told by the ranges of the pages, where values and offsets grow together; a page whose values lie far apart (as
//! when each client counts from a number of its own) is *wide*, and its values are remembered one by one ([`crate::values`]).

use std::collections::BTreeMap;

use kchaos_core::{Offset, Value};

use crate::log::{Id, Isolation};

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
    /// Slots whose value may be packed.
    done: u16,
}

pub(crate) struct Packed {
    /// The least of (value - slope * slot).
    base: i64,
    slope: i64,
    bits: u32,
    words: Box<[u64]>,
    /// `None` if all are certainly committed.
    marks: Option<Box<Marks>>,
}

/// Where a page is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Live(u32),
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
    packed: Vec<Packed>,
    free_packed: Vec<u32>,
    /// Packed pages that are not wide: the least value → the greatest, and the page's number.
    ranges: BTreeMap<Value, (Value, i64)>,
    /// The greatest value on any of them, and the widest range of one.
    greatest: Value,
    widest: i64,
    recent: [(i64, At); RECENT],
}

/// The greatest value of a page that is not wide exceeds its least by less.
const NARROW: i64 = 1 << 24;

impl Default for Pages {
    fn default() -> Self {
        let (live, free, packed, free_packed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (ranges, greatest) = (BTreeMap::new(), Value::MIN);
        Self { index: BTreeMap::new(), live, free, packed, free_packed, ranges, greatest, widest: 0, recent: [NO_PAGE; RECENT] }
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
    }

    pub(crate) fn get(&self, offset: Offset) -> Option<Slot> {
        let (number, slot) = place(offset);
        self.slot(*self.index.get(&number)?, slot)
    }

    #[inline]
    fn slot(&self, at: At, slot: usize) -> Option<Slot> {
        match at {
            At::Live(page) => Some(self.live[page as usize].ids[slot]).filter(|id| *id != EMPTY).map(Slot::Live),
            At::Packed(page) => Some(Slot::Packed(self.packed[page as usize].value(slot))),
        }
    }

    /// The page of an offset.
    #[inline]
    pub(crate) fn page(&mut self, offset: Offset) -> Page<'_> {
        match self.at(place(offset).0) {
            Some(At::Live(page)) => Page::Live(LivePage { number: page, live: &mut self.live[page as usize] }),
            Some(At::Packed(page)) => Page::Packed(&self.packed[page as usize]),
            None => Page::None,
        }
    }

    /// The slot of an offset in a live page, made if there is none; `None` if it is packed.
    #[inline]
    pub(crate) fn spot(&mut self, offset: Offset) -> Option<Spot> {
        let (number, slot) = place(offset);
        let page = match self.at(number) {
            Some(At::Live(page)) => page,
            Some(At::Packed(_)) => return None,
            None => self.add(number),
        };
        Some(Spot { page, slot: slot as u8 })
    }

    #[cold]
    fn add(&mut self, number: i64) -> u32 {
        let new = Live { number, ids: [EMPTY; WIDTH], marks: Marks::default(), done: 0 };
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
        let there = &mut self.live[spot.page as usize].ids[usize::from(spot.slot)];
        if *there == EMPTY {
            *there = id;
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

    /// The places in the table of the values on a slot's page.
    pub(crate) fn ids(&self, spot: Spot) -> &[Id; WIDTH] {
        &self.live[spot.page as usize].ids
    }

    /// Packs the page of a slot, all of whose slots are taken, by these values in their order; `true` if the page is wide.
    pub(crate) fn pack(&mut self, spot: Spot, values: &[Value; WIDTH]) -> bool {
        let live = &self.live[spot.page as usize];
        let (mut least, mut greatest) = (Value::MAX, Value::MIN);
        for value in values {
            (least, greatest) = (least.min(*value), greatest.max(*value));
        }
        let is_wide = greatest.checked_sub(least).is_none_or(|range| range >= NARROW);
        if !is_wide {
            self.ranges.insert(least, (greatest, live.number));
            self.greatest = self.greatest.max(greatest);
            self.widest = self.widest.max(greatest - least);
        }
        let all = live.marks.committed == [u64::MAX; WORDS];
        let packed = Packed::new(values, (!all).then(|| Box::new(live.marks)));
        let number = live.number;
        self.free.push(spot.page);
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

    /// Makes a packed page live again: `id_of` gives each value a place in the table, told whether it certainly committed and whether
    /// readers of committed saw it.
    pub(crate) fn unpack(&mut self, number: i64, mut id_of: impl FnMut(Offset, Value, bool, bool) -> Id) {
        let Some(At::Packed(at)) = self.at(number) else { return };
        let empty = Packed { base: 0, slope: 0, bits: 0, words: Box::default(), marks: None };
        let packed = std::mem::replace(&mut self.packed[at as usize], empty);
        self.free_packed.push(at);
        if let Some(least) = (0..WIDTH).map(|slot| packed.value(slot)).min()
            && self.ranges.get(&least).is_some_and(|(_, page)| *page == number)
        {
            self.ranges.remove(&least);
        }
        let page = self.add(number) as usize;
        let all = [u64::MAX; WORDS];
        let marks = packed.marks.as_deref().copied().unwrap_or(Marks { committed: all, ..Marks::default() });
        self.live[page].marks = marks;
        for slot in 0..WIDTH {
            let is = |bits: &Bits| bits[slot / 64] >> (slot % 64) & 1 == 1;
            let offset = (number << WIDTH_BITS) + slot as i64;
            self.live[page].ids[slot] = id_of(offset, packed.value(slot), is(&marks.committed), is(&marks.seen_committed));
        }
        self.live[page].done = 0;
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
                At::Live(_) => None,
            };
            let base = number << WIDTH_BITS;
            page.into_iter().flat_map(move |page| {
                let committed =
                    move |slot: usize| page.marks.as_ref().is_none_or(|marks| marks.committed[slot / 64] >> (slot % 64) & 1 == 1);
                (0..WIDTH).map(move |slot| (base + slot as i64, page.value(slot), committed(slot)))
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
            At::Packed(page) => self.packed[*page as usize].marks.as_ref().map_or(u64::MAX, |marks| marks.visible(begin / 64, isolation)),
        };
        visible & mask(end % 64 + 1) & !mask(begin % 64) != 0
    }

    /// Values that are not packed, by their places in the table, in the order of offsets.
    pub(crate) fn live(&self) -> impl Iterator<Item = (Offset, Id)> {
        self.index.iter().flat_map(|(number, at)| {
            let ids = match at {
                At::Live(page) => &self.live[*page as usize].ids[..],
                At::Packed(_) => &[],
            };
            let base = number << WIDTH_BITS;
            (0..).zip(ids).filter(|(_, id)| **id != EMPTY).map(move |(slot, id)| (base + slot, *id))
        })
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
                        At::Packed(page) => {
                            self.packed[*page as usize].marks.as_ref().map_or(u64::MAX, |marks| marks.visible(word, isolation))
                        }
                    };
                    let within = mask(end.saturating_sub(word * 64)) & !mask(begin.saturating_sub(word * 64));
                    ones(visible & within).map(move |bit| word * 64 + bit)
                })
                .filter_map(move |slot| self.slot(*at, slot).map(|there| (base + slot as i64, there)))
        })
    }
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

impl Packed {
    fn new(values: &[Value; WIDTH], marks: Option<Box<Marks>>) -> Self {
        let slope = values[WIDTH - 1].wrapping_sub(values[0]) / (WIDTH as i64 - 1);
        let mut beside = [0_i64; WIDTH];
        let (mut base, mut line) = (Value::MAX, 0_i64);
        for (beside, value) in beside.iter_mut().zip(values) {
            *beside = value.wrapping_sub(line);
            base = base.min(*beside);
            line = line.wrapping_add(slope);
        }
        // Unsigned, the widest difference of two integers still fits.
        let mut used = 0;
        for beside in &mut beside {
            *beside = beside.wrapping_sub(base);
            used |= *beside as u64;
        }
        let bits = u64::BITS - used.leading_zeros();
        let mut words = Vec::with_capacity((WIDTH * bits as usize).div_ceil(64));
        if bits > 0 {
            let (mut word, mut filled) = (0_u64, 0);
            for beside in beside {
                let beside = beside as u64;
                word |= beside << filled;
                filled += bits;
                if filled >= 64 {
                    words.push(word);
                    filled -= 64;
                    word = beside.checked_shr(bits - filled).unwrap_or(0);
                }
            }
            if filled > 0 {
                words.push(word);
            }
        }
        let words = words.into_boxed_slice();
        Self { base, slope, bits, words, marks }
    }

    #[inline]
    pub(crate) fn value(&self, slot: usize) -> Value {
        let line = self.base.wrapping_add(self.slope.wrapping_mul(slot as i64));
        let (at, bits) = (slot * self.bits as usize, self.bits as usize);
        if bits == 0 {
            return line;
        }
        let mut difference = self.words[at / 64] >> (at % 64);
        if at % 64 + bits > 64 {
            difference |= self.words[at / 64 + 1] << (64 - at % 64);
        }
        if bits < 64 {
            difference &= (1 << bits) - 1;
        }
        line.wrapping_add(difference as i64)
    }

    fn find(&self, value: Value) -> Option<usize> {
        (0..WIDTH).find(|slot| self.value(*slot) == value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_found_at_any_offset_and_ranges_exclude_their_ends() {
        let mut pages = Pages::default();
        let offsets = [0, 1, 255, 256, 1_000_000_000_000, 1 << 60, i64::MAX];
        for (id, offset) in offsets.into_iter().enumerate() {
            let spot = pages.spot(offset).unwrap();
            assert_eq!(pages.put(spot, id as Id), id as Id);
            pages.mark_committed(spot);
        }
        let spot = pages.spot(255).unwrap();
        assert_eq!(pages.put(spot, 99), 2);
        assert_eq!((pages.get(1 << 60), pages.get(2)), (Some(Slot::Live(5)), None));
        let between = |from, to| pages.visible_between(from, to, Isolation::Committed).map(|(offset, _)| offset).collect::<Vec<_>>();
        assert_eq!(between(-1, i64::MAX), offsets[..6]);
        assert_eq!(between(0, 256), [1, 255]);
        assert!(between(1, 255).is_empty());
        assert!(between(5, 5).is_empty());
        assert!(between(i64::MAX, i64::MIN).is_empty());
        let ends = [-1, 0, 1, 2, 63, 64, 254, 255, 256, 257, 1 << 40, i64::MAX - 1, i64::MAX];
        for (from, to) in ends.iter().flat_map(|from| ends.map(|to| (*from, to))) {
            assert_eq!(pages.is_any_visible_between(from, to, Isolation::Committed), !between(from, to).is_empty(), "{from} {to}");
        }
        assert_eq!(pages.live().map(|(offset, _)| offset).collect::<Vec<_>>(), offsets);
        assert_eq!(pages.live.len(), 5);
    }

    #[test]
    fn what_only_the_other_isolation_saw_is_not_visible() {
        let mut pages = Pages::default();
        let spot = pages.spot(7).unwrap();
        pages.put(spot, 1);
        pages.mark_seen(spot, Isolation::Uncommitted);
        assert_eq!(pages.visible_between(0, 9, Isolation::Committed).count(), 0);
        assert_eq!(pages.visible_between(0, 9, Isolation::Uncommitted).count(), 1);
    }

    #[test]
    fn a_packed_page_holds_any_values_and_gives_them_back() {
        for (stretch, start) in [(0, 0), (1, 5), (3, -1000), (1 << 40, 7), (i64::MAX, i64::MIN), (-7, 1 << 50)] {
            let values: [i64; WIDTH] = std::array::from_fn(|at| (at as i64 ^ 5).wrapping_mul(stretch).wrapping_add(start));
            let mut pages = Pages::default();
            let first = 3 * WIDTH as i64;
            for (slot, _) in values.iter().enumerate() {
                let spot = pages.spot(first + slot as i64).unwrap();
                pages.put(spot, slot as Id);
                if slot != 9 {
                    pages.mark_committed(spot);
                }
                pages.mark_seen(spot, Isolation::Uncommitted);
            }
            let spot = pages.spot(first).unwrap();
            assert!(pages.ids(spot).iter().copied().eq(0..WIDTH as Id));
            let is_wide = pages.pack(spot, &values);
            let narrow = values.iter().filter(|value| pages.find_narrow(**value).is_some()).count();
            assert_eq!(narrow, if is_wide { 0 } else { WIDTH });
            assert_eq!(pages.find_packed(0, values[0]).map(|(page, _)| page), Some(3));
            let packed: Vec<_> = pages.packed().collect();
            assert_eq!(packed.iter().map(|(_, value, _)| *value).collect::<Vec<_>>(), values);
            assert_eq!(packed.iter().filter(|(.., committed)| !committed).map(|(offset, ..)| *offset).collect::<Vec<_>>(), [first + 9]);
            assert_eq!(pages.get(first + 9), Some(Slot::Packed(values[9])));
            assert_eq!(pages.visible_between(first + 8, first + 11, Isolation::Committed).count(), 1);
            assert_eq!(pages.visible_between(first + 8, first + 11, Isolation::Uncommitted).count(), 2);
            let found = pages.find_packed(0, values[200]).unwrap();
            assert_eq!(values[(found.1 - first) as usize], values[200]);
            assert!(pages.find_packed(4, values[200]).is_none());
            let mut back = Vec::new();
            pages.unpack(3, |_, value, committed, _| {
                back.push((value, committed));
                back.len() as Id - 1
            });
            assert_eq!(back.iter().map(|(value, _)| *value).collect::<Vec<_>>(), values);
            assert!(!back[9].1 && back[8].1);
            assert!(pages.find_narrow(values[3]).is_none());
            assert_eq!(pages.get(first + 2), Some(Slot::Live(2)));
        }
    }
}
