//! Accounts read back from the topic's beginning, as somebody has to who comes back and remembers nothing.
//!
//! How far to read: behind every record that the process itself wrote there, whatever became of it. When the position of a reader of committed
//! data is beyond such a record, its transaction has ended. (The log's end would be asked of a leader, which may be a deposed one.)

use std::collections::BTreeSet;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kchaos_core::Offset;

use super::ledger::{Found, Place};
use super::note::Note;
use crate::payload::{self, Record};
use crate::reader::{self, Listener, Purpose, ReaderPlan};
use crate::run::join;
use crate::shared::Shared;

/// The reader's own end, beyond its time.
const END: Duration = Duration::from_secs(5);

/// The last record of each account, as far as one has come.
pub(super) struct Collector {
    per_process: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: Vec<Option<(Place, Note)>>,
    /// By key; nothing, if they are not wanted.
    offsets: Vec<BTreeSet<Offset>>,
}

impl Collector {
    pub(super) fn new(accounts: usize, per_process: usize, keys: usize) -> Self {
        Self { per_process, state: Mutex::new(State { last: vec![None; accounts], offsets: vec![BTreeSet::new(); keys] }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the next reading from the beginning.
    pub(super) fn clear(&self) {
        let mut state = self.lock();
        state.last.fill(None);
        state.offsets.iter_mut().for_each(BTreeSet::clear);
    }

    pub(super) fn found(&self) -> Found {
        let state = self.lock();
        let last = state.last.iter().map(|last| last.as_ref().map(|(place, _)| *place)).collect();
        Found { last, offsets: state.offsets.clone() }
    }

    /// By account.
    pub(super) fn balances(&self) -> Vec<Option<(Place, Note)>> {
        self.lock().last.clone()
    }
}

impl Listener for Collector {
    fn assigned(&self, _key: usize, _next: Offset) {}

    fn read(&self, key: usize, offset: Offset, record: &Result<Record, String>, payload: &[u8]) {
        let Ok(record) = record else { return };
        let Some(note) = Note::decode(payload::content(payload), self.per_process) else { return };
        let mut state = self.lock();
        if let Some(offsets) = state.offsets.get_mut(key) {
            offsets.insert(offset);
        }
        if let Some(last) = state.last.get_mut(record.record_key as usize)
            && last.as_ref().is_none_or(|((before, _), _)| *before <= offset)
        {
            *last = Some(((offset, record.value), note));
        }
    }
}

/// Reads each key up to its end (exclusive). `false`: it did not come so far in time, and what was collected is not all.
pub(super) fn read_back(shared: &Arc<Shared>, name: &str, ends: &[Offset], collector: &Arc<Collector>, time: Duration) -> bool {
    let keys: Vec<usize> = (0..ends.len()).filter(|key| ends[*key] > 0).collect();
    if keys.is_empty() {
        return true;
    }
    let (ready, _made) = sync_channel(1);
    let ends: Vec<Offset> = keys.iter().map(|key| ends[*key]).collect();
    let until = Instant::now() + time;
    let purpose = Purpose::Final { ends: ends.clone(), until };
    let listener: Option<Arc<dyn Listener>> = Some(Arc::<Collector>::clone(collector));
    let plan = ReaderPlan { name: name.to_owned(), start: vec![0; keys.len()], keys, purpose, listener, starts_after: Duration::ZERO };
    let Ok(reader) = reader::spawn(shared, plan, ready) else { return false };
    join(reader.thread, until + END).is_some_and(|read| read.next.iter().zip(&ends).all(|(next, end)| next >= end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(collector: &Collector, key: usize, offset: Offset, account: u32, transfer: u64) {
        let note = Note { transfer, balance: 7, versions: vec![transfer; 2] };
        let mut payload = vec![0; payload::HEADER_BYTES];
        let mut bytes = Vec::new();
        note.encode(&mut bytes);
        payload.extend(bytes);
        collector.read(key, offset, &Ok(Record { client: 1, sequence: 0, value: offset * 10, record_key: account }), &payload);
    }

    #[test]
    fn the_last_record_of_each_account_counts_and_strangers_do_not() {
        let collector = Collector::new(3, 2, 1);
        hear(&collector, 0, 4, 0, 1);
        hear(&collector, 0, 6, 1, 1);
        hear(&collector, 0, 8, 0, 2);
        // Read again.
        hear(&collector, 0, 4, 0, 1);
        hear(&collector, 0, 9, 77, 1);
        collector.read(0, 10, &Err("a checksum".into()), &[]);
        let found = collector.found();
        assert_eq!(found.last, [Some((8, 80)), Some((6, 60)), None]);
        assert_eq!(found.offsets[0], [4, 6, 8, 9].into());
        collector.clear();
        assert_eq!((collector.found().last, collector.found().offsets[0].len()), (vec![None; 3], 0));
    }
}
