//! Which packed pages, or groups of them, a value may stand on: those that are not wide, by the values from the least to the greatest.

use std::collections::BTreeMap;

use kchaos_core::Value;

#[derive(Default)]
pub(super) struct Ranges {
    /// The least value → the greatest, and whose they are.
    by_least: BTreeMap<Value, (Value, i64)>,
    /// The greatest distance of the two that there ever was.
    widest: u64,
}

impl Ranges {
    pub(super) fn insert(&mut self, (least, greatest): (Value, Value), whose: i64) {
        self.by_least.insert(least, (greatest, whose));
        self.widest = self.widest.max(greatest.abs_diff(least));
    }

    /// Of two that begin with the same value, the later one is kept.
    pub(super) fn remove(&mut self, (least, _): (Value, Value), whose: i64) {
        if self.by_least.get(&least).is_some_and(|(_, there)| *there == whose) {
            self.by_least.remove(&least);
        }
    }

    /// Whose values lie around this one, the nearest first.
    pub(super) fn around(&self, value: Value) -> impl Iterator<Item = i64> {
        let from = value.saturating_sub_unsigned(self.widest);
        let near = self.by_least.range(from..=value).rev();
        near.filter(move |(_, (greatest, _))| value <= *greatest).map(|(_, (_, whose))| *whose)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_least.len()
    }
}
