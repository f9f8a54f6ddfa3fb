//! Numbers for what repeats in a block: keys, actors, texts.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

pub(crate) type Hashing<K, V> = HashMap<K, V, Seeded>;

/// A hash of few instructions, since every op is looked up more than once. Its seed is random: whoever wrote a history cannot aim at one bucket.
#[derive(Clone)]
pub(crate) struct Seeded {
    seed: u64,
    factor: u64,
}

impl Default for Seeded {
    fn default() -> Self {
        let random = RandomState::new();
        Self { seed: random.hash_one(0), factor: random.hash_one(1) | 1 }
    }
}

impl BuildHasher for Seeded {
    type Hasher = Folding;

    fn build_hasher(&self) -> Folding {
        Folding { state: self.seed, factor: self.factor }
    }
}

pub(crate) struct Folding {
    state: u64,
    factor: u64,
}

impl Hasher for Folding {
    fn finish(&self) -> u64 {
        self.state
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.state ^ word).wrapping_mul(u128::from(self.factor));
        self.state = product as u64 ^ (product >> 64) as u64;
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_i64(&mut self, word: i64) {
        self.write_u64(word as u64);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
}

/// Texts, each kept once.
#[derive(Default)]
pub(crate) struct Texts {
    numbers: Hashing<String, i64>,
    pub(crate) lengths: Vec<i64>,
    pub(crate) bytes: Vec<u8>,
    /// Most often it is the one before.
    last: Option<(String, i64)>,
}

impl Texts {
    pub(crate) fn number(&mut self, text: &str) -> i64 {
        if let Some((last, number)) = &self.last
            && last == text
        {
            return *number;
        }
        let number = match self.numbers.get(text) {
            Some(number) => *number,
            None => {
                let number = self.lengths.len() as i64;
                self.numbers.insert(text.to_owned(), number);
                self.lengths.push(text.len() as i64);
                self.bytes.extend_from_slice(text.as_bytes());
                number
            }
        };
        self.last = Some((text.to_owned(), number));
        number
    }

    pub(crate) fn clear(&mut self) {
        self.numbers.clear();
        self.lengths.clear();
        self.bytes.clear();
        self.last = None;
    }
}
