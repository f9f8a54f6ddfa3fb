//! The cluster that keeps every promise: an append-only log for each key, and its readers' view of it.
//!
//! Memory: what readers have not taken yet, and what an open transaction holds back. A log itself is kept nowhere; the final reader is given
//! it by playing the whole history again.

use std::collections::VecDeque;

use kchaos_core::{Offset, Value};

use crate::groups::Group;
use crate::out::Record;
use crate::readers::Readers;

/// A transaction's number; 0 is none.
pub(crate) type TxnId = u64;

pub(crate) struct World {
    logs: Vec<Log>,
    pub(crate) readers: Readers,
    pub(crate) group: Group,
    /// Whoever wants every record that readers of committed see; `None` if nobody does.
    pub(crate) tap: Option<VecDeque<Record>>,
}

struct Log {
    next: Offset,
    /// At or beyond the last stable offset.
    held: VecDeque<Held>,
}

struct Held {
    offset: Offset,
    value: Value,
    /// The transaction that is open.
    txn: TxnId,
    is_aborted: bool,
}

impl World {
    pub(crate) fn new(keys: u32, base_offset: Offset, readers: Readers, group: Group) -> Self {
        let logs = (0..keys).map(|_| Log { next: base_offset, held: VecDeque::new() }).collect();
        Self { logs, readers, group, tap: None }
    }

    /// The offset of what is appended next.
    pub(crate) fn end(&self, key: u32) -> Offset {
        self.logs[key as usize].next
    }

    /// The last stable offset: what lies behind is held back by an open transaction.
    pub(crate) fn stable(&self, key: u32) -> Offset {
        let log = &self.logs[key as usize];
        log.held.front().map_or(log.next, |held| held.offset)
    }

    /// An offset that nobody will ever see.
    pub(crate) fn hole(&mut self, key: u32) -> Offset {
        let next = &mut self.logs[key as usize].next;
        *next += 1;
        *next - 1
    }

    pub(crate) fn append(&mut self, key: u32, value: Value) -> Offset {
        let offset = self.hole(key);
        let log = &mut self.logs[key as usize];
        if log.held.is_empty() {
            self.show(Record { key, offset, value });
        } else {
            log.held.push_back(Held { offset, value, txn: 0, is_aborted: false });
        }
        offset
    }

    pub(crate) fn append_in(&mut self, key: u32, value: Value, txn: TxnId) -> Offset {
        let offset = self.hole(key);
        self.logs[key as usize].held.push_back(Held { offset, value, txn, is_aborted: false });
        offset
    }

    /// The transaction's marker, in one key.
    pub(crate) fn end_txn(&mut self, key: u32, txn: TxnId, commits: bool) {
        self.hole(key);
        let log = &mut self.logs[key as usize];
        for held in log.held.iter_mut().filter(|held| held.txn == txn) {
            (held.txn, held.is_aborted) = (0, !commits);
        }
        while self.logs[key as usize].held.front().is_some_and(|held| held.txn == 0) {
            if let Some(held) = self.logs[key as usize].held.pop_front().filter(|held| !held.is_aborted) {
                self.show(Record { key, offset: held.offset, value: held.value });
            }
        }
    }

    /// Everybody who reads the key is given the record, in time.
    fn show(&mut self, record: Record) {
        self.readers.give(record);
        self.group.give(record);
        if let Some(tap) = &mut self.tap {
            tap.push_back(record);
        }
    }
}
