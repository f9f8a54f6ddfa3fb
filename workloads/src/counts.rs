//! Figures for the progress line, written by many threads without a lock and read as a snapshot.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use kchaos_core::{Key, KeyEntry, Offset, OpType};

/// What the clients of a run have done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sends; of the workload `transactions`, transactions.
    pub invoked: u64,
    pub ok: u64,
    pub fail: u64,
    pub info: u64,
    /// Sends never made because the backlog had reached its bound: latencies leave them out.
    pub shed: u64,
    /// Sends due and not yet made.
    pub backlog: u64,
    pub polls: u64,
    pub records_polled: u64,
    pub corrupt: u64,
    /// Clients replaced after a fatal error.
    pub crashed: u64,
    /// Those that there are so far.
    pub keys: Vec<KeyCounts>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyCounts {
    pub key: Key,
    pub acked: u64,
    pub acked_offset_max: Option<Offset>,
    /// The next offset of the slowest consumer.
    pub read_next: Offset,
    /// Others are written to in its place.
    pub is_retired: bool,
}

impl Counts {
    /// Sends that were invoked and not completed.
    pub fn outstanding(&self) -> u64 {
        self.invoked.saturating_sub(self.ok + self.fail + self.info)
    }

    /// Those of others, beside these.
    pub(crate) fn add(&mut self, other: Counts) {
        let Counts { invoked, ok, fail, info, shed, backlog, polls, records_polled, corrupt, crashed, keys } = other;
        self.invoked += invoked;
        self.ok += ok;
        self.fail += fail;
        self.info += info;
        self.shed += shed;
        self.backlog += backlog;
        self.polls += polls;
        self.records_polled += records_polled;
        self.corrupt += corrupt;
        self.crashed += crashed;
        self.keys.extend(keys);
    }

    /// Acknowledged records that the slowest consumer has yet to read.
    pub fn lag(&self) -> u64 {
        self.keys.iter().map(KeyCounts::lag).sum()
    }
}

impl KeyCounts {
    pub fn lag(&self) -> u64 {
        u64::try_from(self.acked_offset_max.map_or(0, |offset| offset + 1 - self.read_next)).unwrap_or(0)
    }
}

/// The live figures.
pub(crate) struct Counters {
    pub(crate) invoked: AtomicU64,
    pub(crate) ok: AtomicU64,
    pub(crate) fail: AtomicU64,
    pub(crate) info: AtomicU64,
    pub(crate) polls: AtomicU64,
    pub(crate) records_polled: AtomicU64,
    pub(crate) corrupt: AtomicU64,
    pub(crate) crashed: AtomicU64,
    /// By producer.
    pub(crate) shed: Vec<AtomicU64>,
    pub(crate) backlog: Vec<AtomicU64>,
    keys: Vec<KeyCounters>,
    /// By consumer, then by key.
    pub(crate) read_next: Vec<Vec<AtomicI64>>,
}

struct KeyCounters {
    key: Key,
    acked: AtomicU64,
    /// -1: none yet.
    acked_offset_max: AtomicI64,
}

impl Counters {
    pub(crate) fn new(keys: &[KeyEntry], producers: usize, consumers: usize) -> Self {
        let zeros = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            invoked: AtomicU64::new(0),
            ok: AtomicU64::new(0),
            fail: AtomicU64::new(0),
            info: AtomicU64::new(0),
            polls: AtomicU64::new(0),
            records_polled: AtomicU64::new(0),
            corrupt: AtomicU64::new(0),
            crashed: AtomicU64::new(0),
            shed: zeros(producers),
            backlog: zeros(producers),
            keys: keys
                .iter()
                .map(|entry| KeyCounters { key: entry.key, acked: AtomicU64::new(0), acked_offset_max: AtomicI64::new(-1) })
                .collect(),
            read_next: (0..consumers).map(|_| keys.iter().map(|_| AtomicI64::new(0)).collect()).collect(),
        }
    }

    pub(crate) fn completed(&self, op_type: OpType, key: usize, offset: Option<Offset>) {
        match op_type {
            OpType::Invoke => return,
            OpType::Ok => {
                self.keys[key].acked.fetch_add(1, Relaxed);
                if let Some(offset) = offset {
                    self.keys[key].acked_offset_max.fetch_max(offset, Relaxed);
                }
                &self.ok
            }
            OpType::Fail => &self.fail,
            OpType::Info => &self.info,
        }
        .fetch_add(1, Relaxed);
    }

    /// A transaction counts once, and each of its sends for its key.
    pub(crate) fn txn_completed(&self, op_type: OpType, sends: impl Iterator<Item = (usize, Option<Offset>)>) {
        match op_type {
            OpType::Invoke => return,
            OpType::Ok => {
                for (key, offset) in sends {
                    self.keys[key].acked.fetch_add(1, Relaxed);
                    self.keys[key].acked_offset_max.fetch_max(offset.unwrap_or(-1), Relaxed);
                }
                &self.ok
            }
            OpType::Fail => &self.fail,
            OpType::Info => &self.info,
        }
        .fetch_add(1, Relaxed);
    }

    /// The greatest offset acknowledged, -1 for none.
    pub(crate) fn acked_offset_max(&self, key: usize) -> Offset {
        self.keys[key].acked_offset_max.load(Relaxed)
    }

    /// Completions are read before invocations, so that `outstanding` is never too small.
    pub(crate) fn snapshot(&self) -> Counts {
        let sum = |figures: &[AtomicU64]| figures.iter().map(|figure| figure.load(Relaxed)).sum();
        let (ok, fail, info) = (self.ok.load(Relaxed), self.fail.load(Relaxed), self.info.load(Relaxed));
        Counts {
            ok,
            fail,
            info,
            invoked: self.invoked.load(Relaxed),
            shed: sum(&self.shed),
            backlog: sum(&self.backlog),
            polls: self.polls.load(Relaxed),
            records_polled: self.records_polled.load(Relaxed),
            corrupt: self.corrupt.load(Relaxed),
            crashed: self.crashed.load(Relaxed),
            keys: self.keys.iter().enumerate().map(|(index, key)| self.key_snapshot(index, key)).collect(),
        }
    }

    fn key_snapshot(&self, index: usize, key: &KeyCounters) -> KeyCounts {
        let acked_offset_max = key.acked_offset_max.load(Relaxed);
        KeyCounts {
            key: key.key,
            acked: key.acked.load(Relaxed),
            acked_offset_max: (acked_offset_max >= 0).then_some(acked_offset_max),
            read_next: self.read_next.iter().map(|consumer| consumer[index].load(Relaxed)).min().unwrap_or(0),
            is_retired: false,
        }
    }
}
