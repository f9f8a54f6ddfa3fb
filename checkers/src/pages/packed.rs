//! A page of which only the values are left, and where they stand.

use kchaos_core::Value;

use crate::log::Isolation;

use super::{Bits, Marks, WIDTH, WORDS, is_set, mask, narrow, ones};

pub(crate) struct Packed {
    /// The least of (value - line).
    pub(super) base: i64,
    /// How steep the line is: see [`line`].
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
        let slope = slope_of(last.wrapping_sub(first), values.len());
        let mut beside = [0_i64; WIDTH];
        let beside = &mut beside[..values.len()];
        let (mut base, mut along) = (Value::MAX, 0_i64);
        for (beside, value) in beside.iter_mut().zip(values) {
            *beside = value.wrapping_sub(along >> FRACTION_BITS);
            base = base.min(*beside);
            along += slope;
        }
        // Unsigned, the widest difference of two integers still fits.
        let mut used = 0;
        for beside in &mut *beside {
            *beside = beside.wrapping_sub(base);
            used |= *beside as u64;
        }
        let bits = u64::BITS - used.leading_zeros();
        let words = words_of(beside, bits);
        Self { base, slope, bits, words, taken: None, marks, range: narrow(values.iter().copied()) }
    }

    #[inline]
    pub(crate) fn view(&self) -> View<'_> {
        let Self { base, slope, bits, words, taken, marks, .. } = self;
        View { base: *base, slope: *slope, bits: *bits, words, taken: taken.as_deref(), marks: marks.as_deref() }
    }
}

/// A value of several keys' counter stands every few places, and not a whole number of them: without these bits, a line would be far off at the
/// page's end.
const FRACTION_BITS: u32 = 14;

/// Any slope will do; with this one, what is left over is small. No line comes near the greatest integer.
fn slope_of(rise: i64, places: usize) -> i64 {
    let steps = (places as i64 - 1).max(1);
    let whole = rise / steps;
    match (rise.unsigned_abs() >> 40, whole.unsigned_abs() >> 40) {
        (0, _) => (rise << FRACTION_BITS) / steps,
        (_, 0) => whole << FRACTION_BITS,
        _ => 0,
    }
}

/// How far a line has risen at a place.
#[inline]
pub(super) fn line(slope: i64, place: usize) -> i64 {
    (slope * place as i64) >> FRACTION_BITS
}

/// Numbers of so many bits, one after the other.
fn words_of(numbers: &[i64], bits: u32) -> Box<[u64]> {
    if bits == 0 {
        return Box::default();
    }
    let mut words = Words { all: Vec::with_capacity((numbers.len() * bits as usize).div_ceil(64)), word: 0, filled: 0 };
    // Four that fit into a word are put together first: fewer steps.
    let (fours, others) = if bits <= 16 { numbers.as_chunks::<4>() } else { (&[][..], numbers) };
    for [first, second, third, fourth] in fours {
        let low = (*first | second << bits) as u64;
        let high = (*third | fourth << bits) as u64;
        words.push(low | high << (2 * bits), 4 * bits);
    }
    others.iter().for_each(|number| words.push(*number as u64, bits));
    if words.filled > 0 {
        words.all.push(words.word);
    }
    words.all.into_boxed_slice()
}

struct Words {
    all: Vec<u64>,
    word: u64,
    filled: u32,
}

impl Words {
    #[inline(always)]
    fn push(&mut self, number: u64, bits: u32) {
        self.word |= number << self.filled;
        self.filled += bits;
        if self.filled >= 64 {
            self.all.push(self.word);
            self.filled -= 64;
            self.word = number.checked_shr(bits - self.filled).unwrap_or(0);
        }
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
        let line = self.base.wrapping_add(line(self.slope, place));
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
