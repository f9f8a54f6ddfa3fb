//! The values of a log that were packed: one bit each where they are dense, and from which page on to look for one.

use std::cell::Cell;

use kchaos_core::Value;

use crate::hash::IntMap;

const WIDTH_BITS: u32 = 9;
const WORDS: usize = 1 << (WIDTH_BITS - 6);

struct Stretch {
    bits: [u64; WORDS],
    /// The lowest page of the log that holds one of them.
    first_page: i64,
}

#[derive(Default)]
pub(crate) struct Values {
    index: IntMap<i64, u32>,
    stretches: Vec<Stretch>,
    /// The stretch used last: clients count upwards.
    recent: Cell<Option<(i64, u32)>>,
}

fn place(value: Value) -> (i64, usize, u64) {
    let bit = value & ((1 << WIDTH_BITS) - 1);
    (value >> WIDTH_BITS, (bit >> 6) as usize, 1 << (bit & 63))
}

impl Values {
    fn find(&self, number: i64) -> Option<u32> {
        if let Some((recent, at)) = self.recent.get()
            && recent == number
        {
            return Some(at);
        }
        let at = *self.index.get(&number)?;
        self.recent.set(Some((number, at)));
        Some(at)
    }

    pub(crate) fn insert(&mut self, value: Value, page: i64) {
        let (number, word, bit) = place(value);
        let at = self.find(number).unwrap_or_else(|| {
            self.stretches.push(Stretch { bits: [0; WORDS], first_page: page });
            let at = u32::try_from(self.stretches.len() - 1).unwrap_or(u32::MAX);
            self.index.insert(number, at);
            at
        });
        let stretch = &mut self.stretches[at as usize];
        stretch.bits[word] |= bit;
        stretch.first_page = stretch.first_page.min(page);
    }

    pub(crate) fn remove(&mut self, value: Value) {
        let (number, word, bit) = place(value);
        if let Some(at) = self.find(number) {
            self.stretches[at as usize].bits[word] &= !bit;
        }
    }

    /// The page from which on to look for a value, if it is one of these.
    #[inline]
    pub(crate) fn first_page(&self, value: Value) -> Option<i64> {
        if self.stretches.is_empty() {
            return None;
        }
        let (number, word, bit) = place(value);
        let stretch = &self.stretches[self.find(number)? as usize];
        (stretch.bits[word] & bit != 0).then_some(stretch.first_page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_members_until_they_are_taken_out() {
        let mut values = Values::default();
        for (value, page) in [(0, 4), (511, 3), (512, 9), (-1, 7), (i64::MIN, 1), (i64::MAX, 2)] {
            values.insert(value, page);
        }
        assert_eq!([0, 511, 512, -1, i64::MIN, i64::MAX].map(|value| values.first_page(value)), [3, 3, 9, 7, 1, 2].map(Some));
        assert_eq!([1, 513, -2].map(|value| values.first_page(value)), [None; 3]);
        values.remove(511);
        assert_eq!(values.first_page(511), None);
        assert_eq!(values.first_page(0), Some(3));
    }
}
