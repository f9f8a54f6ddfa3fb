//! Packed pages that stand side by side, as one.
//!
//! Why: a packed page's values take some 200 bytes, and what finds it and tells its shape as many again. Of 32 neighbours that costs 12 bytes each.
//! Should one of them have to be live again, they are all made single pages once more, and stay so: so a log in which that happens all the time
//! is not folded all the time.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use kchaos_core::{Offset, Value};

use super::packed::{Packed, View, line};
use super::ranges::Ranges;
use super::{At, Bits, Marks, WIDTH, narrow, offset_of};

const FOLD_BITS: u32 = 5;
pub(super) const FOLD: usize = 1 << FOLD_BITS;

/// The group that a page belongs to.
pub(super) fn group(number: i64) -> i64 {
    number >> FOLD_BITS
}

/// The pages of a group.
pub(super) fn pages_of(group: i64) -> Range<i64> {
    group << FOLD_BITS..(group << FOLD_BITS) + FOLD as i64
}

struct Folded {
    base: i64,
    range: (Value, Value),
    heads: Box<[Head]>,
    words: Box<[u64]>,
    beside: Box<[Beside]>,
}

/// What tells a page's shape: see [`Packed`].
#[derive(Clone, Copy)]
struct Head {
    /// Beyond the group's.
    base: u32,
    slope: i32,
    /// Where its words begin.
    start: u16,
    bits: u8,
}

/// Of a page that has holes, or that is not certainly committed.
struct Beside {
    page: u8,
    taken: Option<Box<Bits>>,
    marks: Option<Box<Marks>>,
}

impl Folded {
    /// `None` if the pages are of a shape that does not fit.
    fn new(pages: &mut [Packed]) -> Option<Self> {
        let base = pages.iter().map(|page| page.base).min()?;
        let (mut heads, mut words) = (Vec::with_capacity(FOLD), Vec::new());
        for page in pages.iter() {
            heads.push(Head {
                base: u32::try_from(page.base.checked_sub(base)?).ok()?,
                slope: i32::try_from(page.slope).ok()?,
                start: u16::try_from(words.len()).ok()?,
                bits: u8::try_from(page.bits).ok()?,
            });
            words.extend_from_slice(&page.words);
        }
        let ranges = pages.iter().filter_map(|page| page.range);
        let range = ranges.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)))?;
        let with_more = (0..).zip(pages).filter(|(_, page)| page.taken.is_some() || page.marks.is_some());
        let beside = with_more.map(|(page, packed)| Beside { page, taken: packed.taken.take(), marks: packed.marks.take() }).collect();
        Some(Self { base, range, heads: heads.into(), words: words.into(), beside })
    }

    fn view(&self, page: usize) -> View<'_> {
        let Head { base, slope, start, bits } = self.heads[page];
        let beside = self.beside.iter().find(|beside| usize::from(beside.page) == page);
        View {
            base: self.base + i64::from(base),
            slope: i64::from(slope),
            bits: u32::from(bits),
            words: &self.words[usize::from(start)..],
            taken: beside.and_then(|beside| beside.taken.as_deref()),
            marks: beside.and_then(|beside| beside.marks.as_deref()),
        }
    }

    /// Whether a page's line comes near a value.
    fn may_hold(&self, page: usize, value: Value) -> bool {
        let Head { base, slope, bits, .. } = self.heads[page];
        let (base, end) = (i128::from(self.base) + i128::from(base), i128::from(line(i64::from(slope), WIDTH - 1)));
        let within = base + end.min(0)..base + end.max(0) + (1 << bits);
        within.contains(&i128::from(value))
    }
}

/// Those of a log.
#[derive(Default)]
pub(super) struct Folds {
    folded: Vec<Option<Folded>>,
    groups: BTreeMap<i64, u32>,
    /// Of groups.
    ranges: Ranges,
    /// How many pages of a group are packed and not wide.
    filled: BTreeMap<i64, u8>,
    /// Groups that had to be made single pages again.
    never: BTreeSet<i64>,
}

impl Folds {
    #[inline]
    pub(super) fn at(&self, number: i64) -> Option<At> {
        self.groups.get(&group(number)).map(|at| At::Folded(*at))
    }

    #[inline]
    pub(super) fn view(&self, at: u32, number: i64) -> Option<View<'_>> {
        let folded = self.folded.get(at as usize)?.as_ref()?;
        Some(folded.view(number as usize % FOLD))
    }

    /// One page more is packed, and not wide. `true` if now all of its group are, and may be folded.
    pub(super) fn one_more(&mut self, number: i64) -> bool {
        let filled = self.filled.entry(group(number)).or_default();
        *filled += 1;
        usize::from(*filled) == FOLD && !self.never.contains(&group(number))
    }

    pub(super) fn one_less(&mut self, number: i64) {
        if let Some(filled) = self.filled.get_mut(&group(number)) {
            *filled = filled.saturating_sub(1);
        }
    }

    /// Folds a group: `false`, and nothing is done, if its pages do not fit.
    pub(super) fn fold(&mut self, group: i64, pages: &mut [Packed]) -> bool {
        let Some(folded) = Folded::new(pages) else {
            self.never.insert(group);
            return false;
        };
        self.filled.remove(&group);
        self.ranges.insert(folded.range, group);
        // Those that were unfolded leave their places empty: there are few.
        self.folded.push(Some(folded));
        self.groups.insert(group, u32::try_from(self.folded.len() - 1).unwrap_or(u32::MAX));
        true
    }

    /// The pages of a group, single again for good.
    pub(super) fn unfold(&mut self, number: i64) -> Vec<Packed> {
        let group = group(number);
        let Some(at) = self.groups.remove(&group) else { return Vec::new() };
        let Some(mut folded) = self.folded.get_mut(at as usize).and_then(Option::take) else { return Vec::new() };
        self.ranges.remove(folded.range, group);
        self.never.insert(group);
        let ends = folded.heads[1..].iter().map(|head| usize::from(head.start)).chain([folded.words.len()]);
        let pages = folded.heads.iter().zip(ends).map(|(head, end)| Packed {
            base: folded.base + i64::from(head.base),
            slope: i64::from(head.slope),
            bits: u32::from(head.bits),
            words: folded.words[usize::from(head.start)..end].into(),
            taken: None,
            marks: None,
            range: None,
        });
        let mut pages: Vec<_> = pages.collect();
        for Beside { page, taken, marks } in &mut folded.beside {
            let page = &mut pages[usize::from(*page)];
            (page.taken, page.marks) = (taken.take(), marks.take());
        }
        pages.iter_mut().for_each(|page| page.range = narrow(page.view().values().map(|(_, value)| value)));
        pages
    }

    /// The page that holds a value, and the value's offset.
    pub(super) fn find(&self, value: Value) -> Option<(i64, Offset)> {
        self.ranges.around(value).find_map(|group| {
            let folded = self.folded.get(*self.groups.get(&group)? as usize)?.as_ref()?;
            (0..FOLD).filter(|page| folded.may_hold(*page, value)).find_map(|page| {
                let number = pages_of(group).start + page as i64;
                Some((number, offset_of(number, folded.view(page).find(value)?)))
            })
        })
    }

    /// The pages that are folded, in order.
    pub(super) fn pages_in(&self, pages: Range<i64>) -> impl Iterator<Item = (i64, At)> {
        let groups = group(pages.start)..=group(pages.end.saturating_sub(1).max(pages.start));
        let all = self.groups.range(groups).flat_map(|(group, at)| pages_of(*group).map(|number| (number, At::Folded(*at))));
        all.filter(move |(number, _)| pages.contains(number))
    }
}
