//! Offset → value, for offsets that are dense in places and may be anything, in little memory.
//!
//! Pages of 256 slots, ordered by number: a lone offset near 2^60 costs one page, and a range is walked by pages that exist and bits that are
//! set. A *live* page names values by their place in the log's table. A page whose values have all been acknowledged and read is *packed*:
//! what is left of it is which value stood where, in as many bits as the values need beside a line through them (values that are counted up
//! take some 6 of them). That is enough to hold later readers against it, exactly; should one disagree, the page is unpacked.
//!
//! Whether a value was packed is told by the ranges of the pages, where values and offsets grow together; a page whose values lie far apart (as
//! when each client counts from a number of its own) is *wide*, and its values are remembered one by one ([`crate::values`]).

mod folded;
mod light;
mod packed;
mod ranges;
mod search;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;

use kchaos_core::{Offset, Value};

use crate::log::{Id, Isolation};
use folded::Folds;
pub(crate) use light::LightPage;
use packed::{Packed, View};
use ranges::Ranges;

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
    /// With its neighbours.
    Folded(u32),
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
    Packed(View<'a>),
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
    folds: Folds,
    /// Of packed pages that are neither wide nor folded.
    ranges: Ranges,
    /// The greatest value on any packed page that is not wide.
    greatest: Value,
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
        Self {
            index: BTreeMap::new(),
            live,
            free,
            light: Vec::new(),
            free_light: Vec::new(),
            packed,
            free_packed,
            folds: Folds::default(),
            ranges: Ranges::default(),
            greatest: Value::MIN,
            recent: [NO_PAGE; RECENT],
            looked_at: Cell::new(NO_PAGE),
        }
    }
}

#[inline]
pub(crate) fn place(offset: Offset) -> (i64, usize) {
    (offset >> WIDTH_BITS, (offset & (WIDTH as i64 - 1)) as usize)
}

fn offset_of(number: i64, slot: usize) -> Offset {
    (number << WIDTH_BITS) + slot as i64
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
        let at = self.look(number)?;
        self.recent[recent_place(number)] = (number, at);
        Some(at)
    }

    #[inline]
    fn look(&self, number: i64) -> Option<At> {
        self.index.get(&number).copied().or_else(|| self.folds.at(number))
    }

    /// The packed page there, if it is one.
    #[inline]
    fn view(&self, at: At, number: i64) -> Option<View<'_>> {
        match at {
            At::Packed(page) => Some(self.packed[page as usize].view()),
            At::Folded(page) => self.folds.view(page, number),
            At::Live(_) | At::Light(_) => None,
        }
    }

    /// Pages by number.
    fn pages_in(&self, pages: Range<i64>) -> impl Iterator<Item = (i64, At)> {
        let mut single = self.index.range(pages.clone()).map(|(number, at)| (*number, *at)).peekable();
        let mut folded = self.folds.pages_in(pages).peekable();
        std::iter::from_fn(move || match (single.peek(), folded.peek()) {
            (Some((one, _)), Some((other, _))) if one < other => single.next(),
            (_, Some(_)) => folded.next(),
            (_, None) => single.next(),
        })
    }

    fn put_at(&mut self, number: i64, at: At) {
        self.index.insert(number, at);
        self.recent[recent_place(number)] = (number, at);
        self.looked_at.set(NO_PAGE);
    }

    pub(crate) fn get(&self, offset: Offset) -> Option<Slot> {
        let (number, slot) = place(offset);
        self.slot(self.look(number)?, number, slot)
    }

    #[inline]
    fn slot(&self, at: At, number: i64, slot: usize) -> Option<Slot> {
        match at {
            At::Live(page) => Some(self.live[page as usize].ids[slot]).filter(|id| *id != EMPTY).map(Slot::Live),
            At::Packed(_) | At::Folded(_) => self.view(at, number)?.value(slot).map(Slot::Packed),
            At::Light(_) => {
                debug_assert!(false, "who asks for slots has spelled them out");
                None
            }
        }
    }

    /// The page of an offset.
    #[inline]
    pub(crate) fn page(&mut self, offset: Offset) -> Page<'_> {
        let (number, _) = place(offset);
        match self.at(number) {
            Some(At::Live(page)) => Page::Live(LivePage { number: page, live: &mut self.live[page as usize] }),
            Some(At::Packed(page)) => Page::Packed(self.packed[page as usize].view()),
            Some(At::Folded(page)) => self.folds.view(page, number).map_or(Page::None, Page::Packed),
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
            Some(At::Packed(_) | At::Folded(_) | At::Light(_)) => return None,
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
        self.keep(number, packed)
    }

    /// Keeps a packed page. `true` if it is wide.
    fn keep(&mut self, number: i64, packed: Packed) -> bool {
        let range = packed.range;
        self.put_packed(number, packed);
        if range.is_some() && self.folds.one_more(number) {
            self.fold(folded::group(number));
        }
        range.is_none()
    }

    fn put_packed(&mut self, number: i64, packed: Packed) {
        if let Some(range) = packed.range {
            self.ranges.insert(range, number);
            self.greatest = self.greatest.max(range.1);
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
    }

    /// Takes a packed page out of its place.
    fn take_packed(&mut self, number: i64) -> Option<Packed> {
        let Some(At::Packed(at)) = self.index.get(&number).copied() else { return None };
        self.index.remove(&number);
        let packed = std::mem::replace(&mut self.packed[at as usize], Packed::nothing());
        self.free_packed.push(at);
        if let Some(range) = packed.range {
            self.ranges.remove(range, number);
        }
        Some(packed)
    }

    /// All pages of a group are packed, and none is wide.
    #[cold]
    fn fold(&mut self, group: i64) {
        let mut pages: Vec<_> = folded::pages_of(group).filter_map(|number| self.take_packed(number)).collect();
        if !self.folds.fold(group, &mut pages) {
            self.put_single(group, pages);
        }
        self.forget_recent(group);
    }

    fn put_single(&mut self, group: i64, pages: Vec<Packed>) {
        for (number, packed) in folded::pages_of(group).zip(pages) {
            self.put_packed(number, packed);
        }
    }

    fn forget_recent(&mut self, group: i64) {
        let (recent, looked_at) = (&mut self.recent, self.looked_at.get_mut());
        for there in recent.iter_mut().chain([looked_at]).filter(|(number, _)| folded::group(*number) == group) {
            *there = NO_PAGE;
        }
    }

    pub(crate) fn has_holes(&self, number: i64) -> bool {
        self.look(number).and_then(|at| self.view(at, number)).is_some_and(|page| page.taken.is_some())
    }

    /// Makes a packed page live again: `id_of` gives each value a place in the table, told whether it certainly committed and whether
    /// readers of committed saw it.
    pub(crate) fn unpack(&mut self, number: i64, mut id_of: impl FnMut(Offset, Value, bool, bool) -> Id) {
        if let Some(At::Folded(_)) = self.at(number) {
            let pages = self.folds.unfold(number);
            self.put_single(folded::group(number), pages);
            self.forget_recent(folded::group(number));
        }
        let Some(packed) = self.take_packed(number) else { return };
        if packed.range.is_some() {
            self.folds.one_less(number);
        }
        let page = self.add(number) as usize;
        let marks = packed.marks.as_deref().copied().unwrap_or(Marks { committed: packed.view().taken(), ..Marks::default() });
        self.live[page].marks = marks;
        for (slot, value) in packed.view().values() {
            let offset = offset_of(number, slot);
            self.live[page].ids[slot] = id_of(offset, value, is_set(&marks.committed, slot), is_set(&marks.seen_committed, slot));
            self.live[page].taken += 1;
        }
    }
}

#[inline]
fn is_set(bits: &Bits, slot: usize) -> bool {
    bits[slot / 64] >> (slot % 64) & 1 == 1
}

/// The least and the greatest, unless they lie far apart.
fn narrow(values: impl Iterator<Item = Value>) -> Option<(Value, Value)> {
    let (least, greatest) = values.fold((Value::MAX, Value::MIN), |(least, greatest), value| (least.min(value), greatest.max(value)));
    greatest.checked_sub(least).filter(|range| *range < NARROW).map(|_| (least, greatest))
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
