//! What a reader that passed an offset had to be given.
//!
//! Why one place: offsets below the log's start were removed on purpose, and of a compacted topic whatever a later record of its record key has superseded
//! may be gone at any time. Every rule about what was left out asks here.

use kchaos_core::{Key, Offset};

use super::Facts;
use crate::log::Isolation;
use crate::pages::Slot;

impl Facts {
    /// A later record of the same record key may stand behind it in a compacted topic: nobody has to have read this one.
    pub(crate) fn is_superseded(&self, key: Key, offset: Offset) -> bool {
        !self.hints.superseded.is_empty() && self.hints.superseded.get(&key).is_some_and(|offsets| offsets.contains(&offset))
    }

    /// Strictly between two offsets, what a reader that passed them had to be given: not below the log's start, and not superseded.
    pub(crate) fn owed_between(&self, key: Key, from: Offset, to: Offset, isolation: Isolation) -> impl Iterator<Item = (Offset, Slot)> {
        let from = from.max(self.log_start(key).saturating_sub(1));
        let visible = self.log(key).map(|log| log.visible_between(from, to, isolation));
        visible.into_iter().flatten().filter(move |(offset, _)| !self.is_superseded(key, *offset))
    }

    pub(crate) fn is_any_owed_between(&self, key: Key, from: Offset, to: Offset, isolation: Isolation) -> bool {
        let start = from.max(self.log_start(key).saturating_sub(1));
        let is_any_visible = self.log(key).is_some_and(|log| log.is_any_visible_between(start, to, isolation));
        is_any_visible && (!self.hints.superseded.contains_key(&key) || self.owed_between(key, from, to, isolation).next().is_some())
    }
}
