//! Sends that were begun and wait for their key's gate (`lanes.rs`), made ready so that all of a batch can go at once.

use std::collections::{BTreeMap, VecDeque};

use crate::instance::{Instance, State};
use crate::lanes::HandOver;

/// How many go at a time: the gate's lock is held for as long as they are counted.
const GO_AT_ONCE: usize = 512;

pub(crate) struct Ready {
    pub(crate) lane: usize,
    pub(crate) sequence: u64,
    pub(crate) record_key: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

#[derive(Default)]
pub(crate) struct Waiting {
    /// By position in the run's keys, first begun first; none is empty.
    keys: BTreeMap<usize, VecDeque<Ready>>,
}

impl Waiting {
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(crate) fn has(&self, key: usize) -> bool {
        self.keys.contains_key(&key)
    }

    pub(crate) fn push(&mut self, key: usize, ready: Ready) {
        self.keys.entry(key).or_default().push_back(ready);
    }

    /// A key whose gate is open.
    pub(crate) fn open(&self, state: &State, now_ns: u64) -> Option<usize> {
        self.keys.keys().copied().find(|key| state.lanes.is_open(*key, now_ns))
    }

    /// Those of a key that go now.
    pub(crate) fn go(&mut self, instance: &Instance, key: usize, now_ns: u64, going: &mut Vec<Ready>) {
        let Some(waiting) = self.keys.get_mut(&key) else { return };
        let mut state = instance.lock();
        while let Some(first) = waiting.front().filter(|_| going.len() < GO_AT_ONCE) {
            match state.lanes.hand_over(first.lane, key, now_ns) {
                HandOver::Go => going.extend(waiting.pop_front()),
                HandOver::Gone => drop(waiting.pop_front()),
                HandOver::Wait => break,
            }
        }
        drop(state);
        if waiting.is_empty() {
            self.keys.remove(&key);
        }
    }

    /// All that the client was never given.
    pub(crate) fn drain(&mut self) -> Vec<Ready> {
        std::mem::take(&mut self.keys).into_values().flatten().collect()
    }
}
