//! What the bank's processes know for certain, all together: the last committed record of each account, and what it superseded.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kchaos_core::{Draft, Key, Offset, Value};
use serde_json::{Map, Value as Json, json};

use crate::payload;
use crate::shared::Shared;

/// A record by its place and its value.
pub(super) type Place = (Offset, Value);

pub(super) struct Ledger(Mutex<State>);

struct State {
    /// By account.
    last: Vec<Last>,
    /// By key: committed records that have a committed one of their account behind them.
    superseded: Vec<BTreeSet<Offset>>,
}

#[derive(Clone, Copy, Default)]
struct Last {
    place: Option<Place>,
    /// A later one may have been committed, and nobody knows.
    is_in_doubt: bool,
}

/// What somebody found who read keys from their beginning.
#[derive(Clone, Default)]
pub(super) struct Found {
    /// By account: the last record.
    pub(super) last: Vec<Option<Place>>,
    /// By key: every offset, where they are wanted.
    pub(super) offsets: Vec<BTreeSet<Offset>>,
}

impl Ledger {
    pub(super) fn new(accounts: usize, keys: usize) -> Self {
        Self(Mutex::new(State { last: vec![Last::default(); accounts], superseded: vec![BTreeSet::new(); keys] }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a later record was committed is not known until the account is read back.
    pub(super) fn doubt(&self, account: usize) {
        self.lock().last[account].is_in_doubt = true;
    }

    /// It is the account's last committed record.
    pub(super) fn commit(&self, account: usize, key: usize, place: Place) {
        let mut state = self.lock();
        let before = std::mem::replace(&mut state.last[account], Last { place: Some(place), is_in_doubt: false });
        if let Some((offset, _)) = before.place.filter(|(offset, _)| *offset < place.0) {
            state.superseded[key].insert(offset);
        }
    }

    pub(super) fn last_of(&self, account: usize) -> Option<Place> {
        self.lock().last[account].place
    }

    /// The first superseded record of each key that has any.
    pub(super) fn first_superseded(&self) -> Vec<(usize, Offset)> {
        let state = self.lock();
        state.superseded.iter().enumerate().filter_map(|(key, offsets)| Some((key, *offsets.first()?))).collect()
    }

    /// How many superseded records there are, and how many of them were gone when everything was read.
    pub(super) fn compacted(&self, found: &Found) -> (usize, usize) {
        let state = self.lock();
        let removed = state.superseded.iter().zip(&found.offsets).map(|(superseded, read)| superseded.difference(read).count());
        (state.superseded.iter().map(BTreeSet::len).sum(), removed.sum())
    }

    /// Tells what a complete read of `keys` found, of the accounts in `among`; with what compaction took away, where the read kept all offsets.
    pub(super) fn tell(&self, shared: &Shared, keys: &[usize], among: std::ops::Range<usize>, found: &Found) {
        let state = self.lock();
        let mut told = Map::new();
        for key in keys {
            let mut last = Map::new();
            for account in among.clone().filter(|account| account % shared.keys.len() == *key) {
                let Last { place: Some((offset, value)), is_in_doubt } = state.last[account] else { continue };
                let read = found.last.get(account).copied().flatten().map(|(offset, value)| json!([offset, value]));
                let name = name(account);
                last.insert(name, json!({"written": [offset, value], "read": read, "in_doubt": is_in_doubt}));
            }
            let mut of_key = json!({ "last": last });
            if let Some(offsets) = found.offsets.get(*key) {
                let superseded = &state.superseded[*key];
                of_key["superseded"] = json!(superseded.len());
                of_key["removed"] = json!(superseded.difference(offsets).count());
            }
            told.insert(shared.keys[*key].key.to_string(), of_key);
        }
        drop(state);
        shared.record(Draft::told("compacted-read", Json::Object(told)));
    }
}

/// Of an account, as it stands in its records.
pub(super) fn name(account: usize) -> String {
    let mut name = Vec::new();
    payload::record_key_bytes(account as u32, &mut name);
    String::from_utf8_lossy(&name).into_owned()
}

/// Records of these places may be taken away from now on.
pub(super) fn tell_superseded(shared: &Shared, places: impl Iterator<Item = (Key, Offset)>) {
    let mut by_key: Map<String, Json> = Map::new();
    for (key, offset) in places {
        if let Json::Array(offsets) = by_key.entry(key.to_string()).or_insert_with(|| json!([])) {
            offsets.push(offset.into());
        }
    }
    if !by_key.is_empty() {
        shared.record(Draft::told("superseded", Json::Object(by_key)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_supersedes_what_was_before_and_nothing_that_is_later() {
        let ledger = Ledger::new(2, 3);
        assert_eq!((ledger.last_of(0), ledger.first_superseded()), (None, Vec::new()));
        ledger.commit(0, 1, (5, 1));
        assert_eq!((ledger.last_of(0), ledger.first_superseded()), (Some((5, 1)), Vec::new()));
        ledger.doubt(0);
        // Read back: it is still the last.
        ledger.commit(0, 1, (5, 1));
        ledger.commit(1, 2, (3, 1));
        assert_eq!(ledger.first_superseded(), []);
        ledger.commit(0, 1, (9, 2));
        assert_eq!((ledger.last_of(0), ledger.first_superseded()), (Some((9, 2)), vec![(1, 5)]));
        // A log that lost its end: an earlier one is the last again.
        ledger.commit(0, 1, (5, 1));
        assert_eq!((ledger.last_of(0), ledger.first_superseded()), (Some((5, 1)), vec![(1, 5)]));
    }

    #[test]
    fn an_account_is_called_what_its_record_key_is() {
        assert_eq!(name(17), "k17");
    }
}
