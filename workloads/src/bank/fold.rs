//! What one reader makes of the bank: all accounts at one moment, cut along whole transfers.
//!
//! A cut of a process' accounts is taken at a transfer, once the reader has been given every record that the transfer's versions name. An account's
//! balance there is that of the last record that the reader was given of it, up to this transfer: one that no version knows of (of an aborted
//! transfer, say) is what a consumer would have gone by, and changes the sum. A cut of which a record was compacted before the reader came to it
//! is passed over, and the next one is taken.

use std::collections::BTreeMap;

use kchaos_core::Offset;

use super::note::Note;

/// Of records and cuts that wait for others; the oldest are forgotten.
const KEPT_MAX: usize = 10_000;

pub(super) struct Fold {
    per_process: usize,
    processes: Vec<Process>,
    /// By key: what lies below was read before.
    next: Vec<Offset>,
}

#[derive(Clone)]
struct Process {
    /// By account: balances by transfer, from that of the last cut on.
    read: Vec<BTreeMap<u64, i64>>,
    /// Versions by transfer.
    waiting: BTreeMap<u64, Vec<u64>>,
    /// The transfer of the last cut, and the balances there.
    cut: Option<(u64, Vec<i64>)>,
}

impl Fold {
    pub(super) fn new(processes: usize, per_process: usize, keys: usize) -> Self {
        let process = Process { read: vec![BTreeMap::new(); per_process], waiting: BTreeMap::new(), cut: None };
        Self { per_process: per_process.max(1), processes: vec![process; processes], next: vec![0; keys] }
    }

    /// Takes in a record, in the order of its key. The balances of all accounts at every moment that this completes.
    pub(super) fn read(&mut self, key: usize, offset: Offset, account: usize, note: Note) -> Vec<Vec<i64>> {
        let Some(next) = self.next.get_mut(key).filter(|next| **next <= offset) else { return Vec::new() };
        *next = offset.saturating_add(1);
        let (number, account) = (account / self.per_process, account % self.per_process);
        let Some(process) = self.processes.get_mut(number) else { return Vec::new() };
        process.take(account, note);
        let mut moments = Vec::new();
        while self.processes[number].cut() {
            let cuts: Option<Vec<_>> = self.processes.iter().map(|process| process.cut.as_ref().map(|(_, balances)| balances)).collect();
            moments.extend(cuts.map(|cuts| cuts.into_iter().flatten().copied().collect::<Vec<i64>>()));
        }
        moments
    }
}

impl Process {
    fn take(&mut self, account: usize, note: Note) {
        if self.cut.as_ref().is_none_or(|(cut, _)| note.transfer > *cut) {
            self.waiting.insert(note.transfer, note.versions);
        }
        self.read[account].insert(note.transfer, note.balance);
        for kept in &mut self.read {
            while kept.len() > KEPT_MAX {
                kept.pop_first();
            }
        }
        while self.waiting.len() > KEPT_MAX {
            self.waiting.pop_first();
        }
    }

    /// Takes the first cut that can be taken, if there is one.
    fn cut(&mut self) -> bool {
        let is_read = |versions: &Vec<u64>| versions.iter().zip(&self.read).all(|(version, read)| read.contains_key(version));
        let Some(transfer) = self.waiting.iter().find(|(_, versions)| is_read(versions)).map(|(transfer, _)| *transfer) else {
            return false;
        };
        let mut balances = Vec::with_capacity(self.read.len());
        for read in &mut self.read {
            let Some((last, balance)) = read.range(..=transfer).next_back().map(|(last, balance)| (*last, *balance)) else { return false };
            balances.push(balance);
            *read = read.split_off(&last);
        }
        self.waiting = self.waiting.split_off(&(transfer + 1));
        self.cut = Some((transfer, balances));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Account 0 is on key 0 and account 1 on key 1, both of one process.
    fn note(transfer: u64, balance: i64, versions: [u64; 2]) -> Note {
        Note { transfer, balance, versions: versions.into() }
    }

    fn opened() -> Fold {
        let mut fold = Fold::new(1, 2, 2);
        assert!(fold.read(0, 0, 0, note(1, 100, [1, 1])).is_empty());
        assert_eq!(fold.read(1, 0, 1, note(1, 100, [1, 1])), [[100, 100]]);
        fold
    }

    #[test]
    fn a_transfer_counts_when_all_its_parts_were_read_whichever_comes_first() {
        let mut fold = opened();
        assert!(fold.read(0, 2, 0, note(2, 90, [2, 2])).is_empty());
        assert!(fold.read(0, 4, 0, note(3, 95, [3, 3])).is_empty());
        assert_eq!(fold.read(1, 2, 1, note(2, 110, [2, 2])), [[90, 110]]);
        assert_eq!(fold.read(1, 4, 1, note(3, 105, [3, 3])), [[95, 105]]);
    }

    #[test]
    fn half_a_transfer_that_the_next_one_builds_upon_changes_the_sum() {
        let mut fold = opened();
        // Its process came back and found the one half.
        assert!(fold.read(0, 2, 0, note(2, 90, [2, 2])).is_empty());
        assert!(fold.read(1, 2, 1, note(3, 95, [3, 3])).is_empty());
        assert_eq!(fold.read(0, 4, 0, note(3, 95, [3, 3])), [[95, 95]]);
    }

    #[test]
    fn what_no_version_knows_of_is_what_a_consumer_goes_by() {
        let mut fold = Fold::new(1, 3, 1);
        let note = |transfer, balance, versions: [u64; 3]| Note { transfer, balance, versions: versions.into() };
        for account in 0..3 {
            fold.read(0, account as Offset, account, note(1, 100, [1, 1, 1]));
        }
        // Half of an aborted one.
        assert!(fold.read(0, 3, 0, note(2, 50, [2, 2, 1])).is_empty());
        assert!(fold.read(0, 4, 1, note(3, 90, [1, 3, 3])).is_empty());
        assert_eq!(fold.read(0, 5, 2, note(3, 110, [1, 3, 3])), [[50, 90, 110]]);
    }

    #[test]
    fn what_was_compacted_away_is_passed_over() {
        let mut fold = opened();
        // Of transfer 2 account 1's part is gone.
        assert!(fold.read(0, 2, 0, note(2, 90, [2, 2])).is_empty());
        assert!(fold.read(1, 6, 1, note(4, 120, [4, 4])).is_empty());
        assert_eq!(fold.read(0, 6, 0, note(4, 80, [4, 4])), [[80, 120]]);
    }

    #[test]
    fn what_is_read_again_is_read_once_and_strangers_are_nobody() {
        let mut fold = opened();
        assert!(fold.read(1, 0, 1, note(1, 100, [1, 1])).is_empty());
        assert!(fold.read(0, 9, 77, note(1, 100, [1, 1])).is_empty());
        assert!(fold.read(9, 9, 0, note(1, 100, [1, 1])).is_empty());
    }

    #[test]
    fn nothing_is_a_moment_before_every_process_has_opened_its_accounts() {
        let mut fold = Fold::new(2, 1, 1);
        let note = |transfer| Note { transfer, balance: 7, versions: vec![transfer] };
        assert!(fold.read(0, 0, 0, note(1)).is_empty());
        assert_eq!(fold.read(0, 1, 1, note(1)), [[7, 7]]);
        assert_eq!(fold.read(0, 2, 1, note(2)), [[7, 7]]);
    }
}
