//! The blocks of all channels, as they were cut first, and who cut otherwise. A block takes 48 bytes.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kchaos_core::{Key, Offset};

use super::cutter::Block;

const EXAMPLES_MAX: usize = 8;

pub(super) struct Ledger {
    /// By channel: who cut block n first, at place n - 1.
    channels: Vec<Mutex<Vec<Cut>>>,
    found: Mutex<Found>,
}

struct Cut {
    block: Block,
    by: usize,
}

/// What should not be.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) count: u64,
    pub(super) examples: Vec<String>,
    /// Channel and block that were counted.
    blocks: BTreeSet<(Key, u64)>,
}

impl Ledger {
    pub(super) fn new(channels: usize) -> Self {
        Self { channels: (0..channels).map(|_| Mutex::default()).collect(), found: Mutex::default() }
    }

    fn channel(&self, channel: usize) -> MutexGuard<'_, Vec<Cut>> {
        self.channels[channel].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn height(&self, channel: usize) -> u64 {
        self.channel(channel).len() as u64
    }

    /// Where a reader goes on who has so many blocks.
    pub(super) fn behind(&self, channel: usize, height: u64) -> Offset {
        let place = usize::try_from(height).ok().and_then(|height| height.checked_sub(1));
        place.and_then(|place| Some(self.channel(channel).get(place)?.block.next)).unwrap_or(0)
    }

    /// How many blocks lie before an offset, if it is where one ends.
    pub(super) fn height_at(&self, channel: usize, next: Offset) -> Option<u64> {
        if next == 0 {
            return Some(0);
        }
        self.channel(channel).binary_search_by_key(&next, |cut| cut.block.next).ok().map(|place| place as u64 + 1)
    }

    /// `name` cut a block, for the first time or again.
    pub(super) fn cut(&self, (channel, key): (usize, Key), (number, names): (usize, &[String]), block: Block) {
        let mut cuts = self.channel(channel);
        let place = usize::try_from(block.number.saturating_sub(1)).unwrap_or(usize::MAX);
        match cuts.get(place) {
            Some(first) if first.block == block => {}
            Some(first) => {
                let told = |by: usize, block: &Block| {
                    let name = names.get(by).map_or("the final reader", String::as_str);
                    format!("{name} cut {} envelopes from offset {} to {}", block.envelopes, block.first, block.next - 1)
                };
                let also = if first.block.envelopes == block.envelopes { ", others" } else { "" };
                let text = format!(
                    "block {} of key {key}: {}, and {}{also}: all orderers should cut the same blocks",
                    block.number,
                    told(first.by, &first.block),
                    told(number, &block)
                );
                drop(cuts);
                self.wrong(Some((key, block.number)), text);
            }
            None if cuts.len() == place => cuts.push(Cut { block, by: number }),
            // It begins where nobody has come yet: there is nothing to hold it against.
            None => {}
        }
    }

    /// Notes what should not be; of one block only once.
    pub(super) fn wrong(&self, block: Option<(Key, u64)>, text: String) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if block.is_some_and(|block| !found.blocks.insert(block)) {
            return;
        }
        found.count += 1;
        if found.examples.len() < EXAMPLES_MAX {
            found.examples.push(text);
        }
    }

    pub(super) fn found(&self) -> Found {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(number: u64, first: Offset, next: Offset, digest: u64) -> Block {
        Block { number, first, next, envelopes: 2, digest }
    }

    #[test]
    fn a_block_that_is_cut_otherwise_is_found_once_and_one_that_is_cut_again_is_not() {
        let (ledger, names) = (Ledger::new(1), ["orderer-1".to_owned(), "orderer-2".to_owned()]);
        let cut = |number, block| ledger.cut((0, 7), (number, &names), block);
        cut(0, block(1, 0, 4, 5));
        cut(0, block(2, 4, 9, 6));
        cut(1, block(1, 0, 4, 5));
        assert_eq!((ledger.found().count, ledger.height(0)), (0, 2));
        cut(1, block(2, 4, 8, 6));
        cut(0, block(2, 4, 8, 6));
        let found = ledger.found();
        assert_eq!(found.count, 1);
        assert!(
            found.examples[0].starts_with("block 2 of key 7: orderer-1 cut 2 envelopes from offset 4 to 8, and orderer-2"),
            "{found:?}"
        );
    }

    #[test]
    fn reading_goes_on_behind_a_block() {
        let ledger = Ledger::new(1);
        ledger.cut((0, 0), (0, &[]), block(1, 0, 4, 5));
        ledger.cut((0, 0), (0, &[]), block(2, 4, 9, 6));
        assert_eq!((ledger.behind(0, 0), ledger.behind(0, 1), ledger.behind(0, 2)), (0, 4, 9));
        assert_eq!([0, 4, 5, 9].map(|next| ledger.height_at(0, next)), [Some(0), Some(1), None, Some(2)]);
    }
}
