//! Large envelopes: a client of their own sends them, one at a time over all channels.
//!
//! Why a client of their own: memory, first. What it has in hand is one value, and librdkafka's copy of it. Then time: tens of MiB
//! take seconds to be replicated, and the orderers' own requests keep the short timeouts that make failover quick. And what is over the limit:
//! a refusal makes an idempotent client of librdkafka number anew what it has in doubt, so that nothing else may be in doubt then.
//!
//! In turn: the greatest value that was asked for; one byte more than a batch may hold, which must be refused; a size drawn between; and
//! the greatest that fits, to the byte.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::options::OrderOptions;
use crate::options::Options;
use crate::properties;
use crate::writer::{Shape, Source, between};

/// Of a record batch, magic 2, before its records.
const BATCH_HEADER_BYTES: u64 = 61;
/// `k0`.
const KEY_BYTES: u64 = 2;
const RECORD_KEY: u32 = 0;

pub(super) struct Large {
    random: ChaCha8Rng,
    least: usize,
    greatest: usize,
    fits: usize,
    turn: u32,
}

impl Large {
    pub(super) fn new(seed: u64, options: &Options, order: &OrderOptions) -> Self {
        Self {
            random: ChaCha8Rng::seed_from_u64(seed ^ 0x6c61_7267),
            least: order.value_bytes_max as usize,
            greatest: order.large_bytes as usize,
            fits: value_bytes_max(properties::message_max_bytes(options)),
            turn: 0,
        }
    }
}

impl Source for Large {
    fn next(&mut self, _key: usize) -> Shape {
        let turn = self.turn % 4;
        self.turn += 1;
        let value_bytes = match turn {
            0 => self.greatest,
            1 => self.fits + 1,
            2 => between(&mut self.random, self.least, self.greatest),
            _ => self.fits,
        };
        Shape { record_key: RECORD_KEY, value_bytes, is_oversize: turn == 1 }
    }
}

/// The greatest value whose record, alone in a batch, makes a batch of no more than `limit` bytes (`max.message.bytes` bounds the batch).
fn value_bytes_max(limit: u64) -> usize {
    let fits = |value: &u64| BATCH_HEADER_BYTES + record_bytes(*value) <= limit;
    let mut value = limit.saturating_sub(BATCH_HEADER_BYTES);
    while value > 0 && !fits(&value) {
        value -= 1;
    }
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Length, attributes, timestamp and offset deltas of 0, key, value, no headers.
fn record_bytes(value: u64) -> u64 {
    let body = 3 + varint_bytes(KEY_BYTES) + KEY_BYTES + varint_bytes(value) + value + 1;
    varint_bytes(body) + body
}

/// As a zigzag varint.
fn varint_bytes(number: u64) -> u64 {
    let bits = 64 - u64::from((number << 1).leading_zeros());
    bits.max(1).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_as_long_as_the_protocol_says() {
        for (number, bytes) in [(0, 1), (63, 1), (64, 2), (8_191, 2), (8_192, 3), (1_048_575, 3), (1_048_576, 4), (103_743_488, 4)] {
            assert_eq!(varint_bytes(number), bytes, "{number}");
        }
    }

    #[test]
    fn the_greatest_value_fills_the_batch_to_the_byte_or_nearly() {
        for limit in [200, 1_048_588, 1_065_536, 99 * 1024 * 1024] {
            let value = value_bytes_max(limit) as u64;
            let batch = |value| BATCH_HEADER_BYTES + record_bytes(value);
            assert!(batch(value) <= limit && batch(value + 1) > limit, "{limit}: {value}");
        }
    }

    #[test]
    fn the_turns_are_the_greatest_one_too_many_one_between_and_one_that_just_fits() {
        let order = OrderOptions { large_bytes: 2_000_000, ..OrderOptions::default() };
        let options = Options { order: Some(order.clone()), ..Options::default() };
        let mut large = Large::new(1, &options, &order);
        let shapes: Vec<Shape> = (0..5).map(|_| large.next(0)).collect();
        assert_eq!((shapes[0].value_bytes, shapes[4].value_bytes), (2_000_000, 2_000_000));
        assert_eq!(shapes[1].value_bytes, shapes[3].value_bytes + 1);
        assert!((10_000..=2_000_000).contains(&shapes[2].value_bytes));
        assert_eq!(shapes.iter().map(|shape| shape.is_oversize).collect::<Vec<_>>(), [false, true, false, false, false]);
    }
}
