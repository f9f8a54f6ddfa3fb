//! Columns of integers, packed in groups of [`GROUP`]: a byte that says how many bits each number takes, then the numbers, lowest bit first.
//!
//! Why so: a group unpacks without a branch for each number, and what a good prediction leaves over takes no bits at all.

/// Numbers that share one width.
pub(crate) const GROUP: usize = 128;
/// Up to here a number and the bits before it in its first byte fit one word of 64 bits. What needs more takes all 64.
const WIDTH_MAX: u32 = 57;
/// Bytes that must follow packed numbers, since they are read as whole words.
pub(crate) const SLACK: usize = 8;

/// Which widths a column uses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Widths {
    Bits,
    /// Rounded up to whole bytes: larger, but a compressor sees what repeats.
    Bytes,
}

/// Appends `values`. They are packed as they stand, so negative ones take 64 bits: see [`zigzag`].
pub(crate) fn pack(values: &[i64], signed: bool, widths: Widths, out: &mut Vec<u8>) {
    let code = |value: i64| if signed { zigzag(value) } else { value as u64 };
    for group in values.chunks(GROUP) {
        let needed = 64 - group.iter().fold(0, |all, value| all | code(*value)).leading_zeros();
        let width = match widths {
            Widths::Bits if needed <= WIDTH_MAX => needed,
            Widths::Bytes if needed <= 56 => needed.next_multiple_of(8),
            _ => 64,
        };
        out.push(width as u8);
        let (mut word, mut filled) = (0_u64, 0);
        for value in group {
            let value = code(*value);
            word |= value << filled;
            filled += width;
            if filled >= 64 {
                out.extend_from_slice(&word.to_le_bytes());
                filled -= 64;
                word = value.checked_shr(width - filled).unwrap_or(0);
            }
        }
        out.extend_from_slice(&word.to_le_bytes()[..filled.div_ceil(8) as usize]);
    }
}

/// Small numbers of either sign as small numbers: 0, -1, 1, -2, … as 0, 1, 2, 3, …
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub(crate) fn unzigzag(code: u64) -> i64 {
    (code >> 1) as i64 ^ -((code & 1) as i64)
}

/// A column while it is read, group by group.
///
/// A column that ends too early gives zeros and remembers it: at the end of the block somebody asks ([`Column::is_finished`]).
pub(crate) struct Column {
    at: usize,
    end: usize,
    /// Numbers not yet unpacked.
    packed: u64,
    signed: bool,
    overrun: bool,
    next: usize,
    filled: usize,
    group: [i64; GROUP],
}

impl Column {
    pub(crate) fn new() -> Self {
        Self { at: 0, end: 0, packed: 0, signed: false, overrun: false, next: 0, filled: 0, group: [0; GROUP] }
    }

    /// Reads from the start of `range`, which holds `count` numbers.
    pub(crate) fn start(&mut self, range: std::ops::Range<usize>, count: u64, signed: bool) {
        (self.at, self.end, self.packed, self.signed) = (range.start, range.end, count, signed);
        (self.overrun, self.next, self.filled) = (false, 0, 0);
    }

    #[inline(always)]
    pub(crate) fn next(&mut self, bytes: &[u8]) -> i64 {
        if self.next == self.filled {
            self.refill(bytes);
        }
        let value = self.group[self.next % GROUP];
        self.next += 1;
        value
    }

    /// Up to `most` numbers at once, and at least one.
    #[inline(always)]
    pub(crate) fn some(&mut self, most: usize, bytes: &[u8]) -> &[i64] {
        if self.next == self.filled {
            self.refill(bytes);
        }
        let start = self.next;
        self.next = self.filled.min(start + most);
        &self.group[start..self.next]
    }

    /// As many as `out` takes.
    pub(crate) fn fill(&mut self, out: &mut [i64], bytes: &[u8]) {
        let mut filled = 0;
        while filled < out.len() {
            let some = self.some(out.len() - filled, bytes);
            out[filled..filled + some.len()].copy_from_slice(some);
            filled += some.len();
        }
    }

    /// Everything was read, and nothing more.
    pub(crate) fn is_finished(&self) -> bool {
        !self.overrun && self.packed == 0 && self.next == self.filled && self.at == self.end
    }

    #[cold]
    fn overrun(&mut self) {
        self.overrun = true;
        (self.packed, self.next, self.filled) = (0, 0, GROUP);
        self.group = [0; GROUP];
    }

    #[inline(never)]
    fn refill(&mut self, bytes: &[u8]) {
        let count = self.packed.min(GROUP as u64) as usize;
        let width = bytes[..self.end].get(self.at).map_or(255, |width| usize::from(*width));
        let (start, length) = (self.at + 1, (count * width).div_ceil(8));
        if count == 0 || width > 64 || start + length > self.end {
            return self.overrun();
        }
        if count == GROUP {
            unpack(&bytes[start..], width, &mut self.group);
        } else {
            let mut padded = [0; GROUP * 8 + SLACK];
            padded[..length].copy_from_slice(&bytes[start..start + length]);
            unpack(&padded, width, &mut self.group);
        }
        if self.signed {
            for value in &mut self.group {
                *value = unzigzag(*value as u64);
            }
        }
        self.at = start + length;
        self.packed -= count as u64;
        (self.next, self.filled) = (0, count);
    }
}

/// `bytes` are a whole group and [`SLACK`] more.
fn unpack(bytes: &[u8], width: usize, out: &mut [i64; GROUP]) {
    macro_rules! widths {
        ($($width:literal)*) => {
            match width {
                0 => *out = [0; GROUP],
                $($width => unpack_narrow::<$width>(bytes, out),)*
                _ => unpack_wide(bytes, width, out),
            }
        };
    }
    widths!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 40 48 56);
}

/// Eight numbers take `WIDTH` bytes; with the width known, every shift and offset is too.
fn unpack_narrow<const WIDTH: usize>(bytes: &[u8], out: &mut [i64; GROUP]) {
    let mask = (1_u64 << WIDTH) - 1;
    for (eight, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let bytes = &bytes[eight * WIDTH..eight * WIDTH + WIDTH + SLACK];
        for (position, out) in out.iter_mut().enumerate() {
            let bit = position * WIDTH;
            *out = (word(bytes, bit / 8) >> (bit % 8) & mask) as i64;
        }
    }
}

fn unpack_wide(bytes: &[u8], width: usize, out: &mut [i64; GROUP]) {
    let mask = u64::MAX >> (64 - width);
    for (position, out) in out.iter_mut().enumerate() {
        let bit = position * width;
        let low = word(bytes, bit / 8) >> (bit % 8);
        // Up to 7 of the highest bits stand in the byte after the word.
        let high = u64::from(bytes.get(bit / 8 + 8).copied().unwrap_or(0)).checked_shl(64 - (bit % 8) as u32).unwrap_or(0);
        *out = ((low | high) & mask) as i64;
    }
}

#[inline(always)]
fn word(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unpacked(bytes: &[u8], count: usize, signed: bool) -> (Vec<i64>, bool) {
        let mut column = Column::new();
        let padded = [bytes, &[0; SLACK]].concat();
        column.start(0..bytes.len(), count as u64, signed);
        let values = (0..count).map(|_| column.next(&padded)).collect();
        (values, column.is_finished())
    }

    #[test]
    fn every_width_comes_back_also_with_a_part_of_a_group() {
        for width in 0..=64_u32 {
            for count in [1, 7, 127, 128, 129, 300] {
                let largest = u64::MAX.checked_shr(64 - width).unwrap_or(0);
                let values: Vec<i64> =
                    (0..count).map(|n| largest.rotate_left(0).wrapping_sub(n as u64 * u64::from(width > 9)) as i64).collect();
                for widths in [Widths::Bits, Widths::Bytes] {
                    for signed in [false, true] {
                        let mut bytes = Vec::new();
                        pack(&values, signed, widths, &mut bytes);
                        assert_eq!(unpacked(&bytes, count, signed), (values.clone(), true), "{width} bits, {count} numbers");
                    }
                }
            }
        }
    }

    #[test]
    fn a_prediction_that_is_right_costs_a_byte_a_group() {
        let mut bytes = Vec::new();
        pack(&[0; 1280], true, Widths::Bits, &mut bytes);
        assert_eq!(bytes.len(), 10);
    }

    proptest! {
        #[test]
        fn any_numbers_come_back(values in prop::collection::vec(prop_oneof![any::<i64>(), -9..9_i64, Just(i64::MIN)], 0..400), signed: bool) {
            let mut bytes = Vec::new();
            pack(&values, signed, Widths::Bits, &mut bytes);
            prop_assert_eq!(unpacked(&bytes, values.len(), signed), (values, true));
        }

        #[test]
        fn any_bytes_are_numbers_or_an_overrun(bytes in prop::collection::vec(any::<u8>(), 0..400), count in 0..1000_usize) {
            unpacked(&bytes, count, true);
        }
    }
}
