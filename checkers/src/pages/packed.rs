//! A page of which only the values are left, and where they stand.

use kchaos_core::Value;

use crate::log::Isolation;

use super::{Bits, Marks, WIDTH, WORDS, is_set, mask, narrow, ones};

pub(crate) struct Packed {
    /// The least of (value - slope * slot).
    pub(super) base: i64,
    pub(super) slope: i64,
    pub(super) bits: u32,
    /// One after the other: holes take no place.
    pub(super) words: Box<[u64]>,
    /// Which slots are taken; `None` if all are.
    pub(super) taken: Option<Box<Bits>>,
    /// `None` if all are certainly committed.
    pub(super) marks: Option<Box<Marks>>,
    /// The least and the greatest value, unless the page is wide.
    pub(super) range: Option<(Value, Value)>,
}

impl Packed {
    pub(super) fn nothing() -> Self {
        Self { base: 0, slope: 0, bits: 0, words: Box::default(), taken: None, marks: None, range: None }
    }

    /// Of values on a page without holes, or with the caller's word on which they are.
    pub(super) fn new(values: &[Value], marks: Option<Box<Marks>>) -> Self {
        let (first, last) = (values.first().copied().unwrap_or(0), values.last().copied().unwrap_or(0));
        let slope = last.wrapping_sub(first) / (values.len() as i64 - 1).max(1);
        let mut beside = [0_i64; WIDTH];
        let beside = &mut beside[..values.len()];
        let (mut base, mut line) = (Value::MAX, 0_i64);
        for (beside, value) in beside.iter_mut().zip(values) {
            *beside = value.wrapping_sub(line);
            base = base.min(*beside);
            line = line.wrapping_add(slope);
        }
        // Unsigned, the widest difference of two integers still fits.
        let mut used = 0;
        for beside in &mut *beside {
            *beside = beside.wrapping_sub(base);
            used |= *beside as u64;
        }
        let bits = u64::BITS - used.leading_zeros();
        let mut words = Vec::with_capacity((values.len() * bits as usize).div_ceil(64));
        if bits > 0 {
            let (mut word, mut filled) = (0_u64, 0);
            for beside in beside.iter().map(|beside| *beside as u64) {
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
        Self { base, slope, bits, words, taken: None, marks, range: narrow(values.iter().copied()) }
    }

    #[inline]
    pub(crate) fn view(&self) -> View<'_> {
        let Self { base, slope, bits, words, taken, marks, .. } = self;
        View { base: *base, slope: *slope, bits: *bits, words, taken: taken.as_deref(), marks: marks.as_deref() }
    }
}

/// A packed page, wherever it is kept.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(super) base: i64,
    pub(super) slope: i64,
    pub(super) bits: u32,
    /// At least its own.
    pub(super) words: &'a [u64],
    pub(super) taken: Option<&'a Bits>,
    pub(super) marks: Option<&'a Marks>,
}

impl<'a> View<'a> {
    #[inline]
    pub(crate) fn value(&self, slot: usize) -> Option<Value> {
        let Some(taken) = self.taken else { return Some(self.nth(slot)) };
        is_set(taken, slot).then(|| {
            let before: u32 = taken[..slot / 64].iter().map(|word| word.count_ones()).sum();
            self.nth((before + (taken[slot / 64] & mask(slot % 64)).count_ones()) as usize)
        })
    }

    pub(super) fn taken(&self) -> Bits {
        self.taken.copied().unwrap_or([u64::MAX; WORDS])
    }

    pub(super) fn visible(&self, word: usize, isolation: Isolation) -> u64 {
        self.marks.map_or_else(|| self.taken()[word], |marks| marks.visible(word, isolation))
    }

    /// All, each with its slot.
    pub(super) fn values(self) -> impl Iterator<Item = (usize, Value)> + 'a {
        let taken = self.taken();
        let slots = (0..WORDS).flat_map(move |word| ones(taken[word]).map(move |bit| word * 64 + bit));
        slots.enumerate().map(move |(place, slot)| (slot, self.nth(place)))
    }

    /// The value in the slot that is taken after so many others.
    #[inline]
    pub(super) fn nth(&self, place: usize) -> Value {
        let line = self.base.wrapping_add(self.slope.wrapping_mul(place as i64));
        let (at, bits) = (place * self.bits as usize, self.bits as usize);
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

    pub(super) fn find(self, value: Value) -> Option<usize> {
        self.values().find(|(_, there)| *there == value).map(|(slot, _)| slot)
    }
}
