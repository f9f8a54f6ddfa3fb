//! The client that asks: where a log starts and ends, and which record is the first of a time; and now and then has records deleted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kchaos_core::{Body, Draft, OpType, Process};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value as Json, json};

use crate::admin::{Admin, Change, SeenOffset, classify};
use crate::aside::Over;
use crate::shared::Shared;

const END: i64 = -1;
const START: i64 = -2;
/// Records that were told by their time, and are asked for again, of each key.
const KNOWN_MAX: usize = 50;

pub(super) struct Lane {
    pub(super) shared: Arc<Shared>,
    pub(super) admin: Arc<dyn Admin>,
    pub(super) told: Arc<Told>,
    pub(super) interval: Duration,
    pub(super) delete_every: Duration,
    /// Positions of the keys of which records are deleted.
    pub(super) deleted: std::ops::Range<usize>,
}

/// What was done, for people.
#[derive(Default)]
pub(super) struct Told {
    pub(super) starts: AtomicU64,
    pub(super) ends: AtomicU64,
    pub(super) times: AtomicU64,
    pub(super) unanswered: AtomicU64,
    pub(super) deletions: AtomicU64,
    pub(super) not_deleted: AtomicU64,
}

struct Work<'a> {
    lane: &'a Lane,
    random: ChaCha8Rng,
    process: u32,
    /// By key: timestamps of records that were told.
    known: Vec<VecDeque<i64>>,
    delete_at: Instant,
}

impl Lane {
    pub(super) fn run(&self, over: &Over) {
        let random = ChaCha8Rng::seed_from_u64(self.shared.seed ^ 0x6f66_6673);
        let known = self.shared.keys.iter().map(|_| VecDeque::new()).collect();
        let process = self.shared.new_process();
        let mut work = Work { lane: self, random, process, known, delete_at: Instant::now() + self.delete_every };
        while over.rest(self.interval, &mut work.random) {
            if Instant::now() >= work.delete_at {
                work.delete_at = Instant::now() + self.delete_every.mul_f64(work.random.random_range(0.5..1.5));
                let _ = work.delete();
            } else {
                let _ = work.question();
            }
        }
    }
}

impl Work<'_> {
    /// Leader and epoch, as the first broker that answers tells them.
    fn leader(&self, key: usize) -> Option<(i32, i32)> {
        let entry = &self.lane.shared.keys[key];
        let seen = self.lane.admin.topics(None, std::slice::from_ref(&entry.topic)).ok()?;
        let seen = seen.into_iter().flat_map(|topic| topic.partitions).find(|seen| seen.partition == entry.partition)?;
        Some((seen.leader?, seen.leader_epoch))
    }

    fn question(&mut self) -> Option<()> {
        let key = self.random.random_range(0..self.lane.shared.keys.len());
        let leader = self.leader(key)?;
        let at = match self.random.random_range(0..4) {
            0 => START,
            1 => END,
            // A record that is known, just after it, or any time.
            2 => {
                let known: Vec<i64> = self.known[key].iter().copied().collect();
                known.choose(&mut self.random).map(|at| at + self.random.random_range(0..2)).unwrap_or_else(|| now_ms() - 500)
            }
            _ => now_ms() - self.random.random_range(0..10_000),
        };
        self.ask(key, leader, at).map(|_| ())
    }

    fn ask(&mut self, key: usize, (broker, epoch): (i32, i32), at: i64) -> Option<SeenOffset> {
        let shared = &self.lane.shared;
        let entry = &shared.keys[key];
        let (name, count) = match at {
            START => (json!("start"), &self.lane.told.starts),
            END => (json!("end"), &self.lane.told.ends),
            _ => (json!(at), &self.lane.told.times),
        };
        let mut value = json!({"key": entry.key, "at": name, "broker": broker, "leader_epoch": epoch});
        let op = |op_type, value: &Json, error| {
            let body = Body::Nemesis { f: "list-offsets".to_owned(), value: value.clone() };
            Draft { error, ..Draft::new(Process::Client(self.process), op_type, body) }
        };
        shared.record(op(OpType::Invoke, &value, None));
        let answer = self.lane.admin.list_offset(broker, &entry.topic, entry.partition, epoch, at);
        match answer {
            Ok(seen) => {
                value["offset"] = seen.offset.into();
                if at >= 0 && seen.offset >= 0 {
                    value["timestamp_ms"] = seen.timestamp_ms.into();
                    self.known[key].push_back(seen.timestamp_ms);
                    if self.known[key].len() > KNOWN_MAX {
                        self.known[key].pop_front();
                    }
                }
                value["now_ms"] = now_ms().into();
                shared.record(op(OpType::Ok, &value, None));
                count.fetch_add(1, Relaxed);
                Some(seen)
            }
            Err(not_done) => {
                // A question changes nothing, so that it certainly did not happen.
                shared.record(op(OpType::Fail, &value, Some(not_done.text)));
                self.lane.told.unanswered.fetch_add(1, Relaxed);
                None
            }
        }
    }

    /// Records of one key, below a place between its start and what every consumer has read; now and then up to its end, under the consumers' feet.
    fn delete(&mut self) -> Option<()> {
        let shared = &self.lane.shared;
        let key = self.random.random_range(self.lane.deleted.clone());
        let (leader, epoch) = self.leader(key)?;
        let start = self.ask(key, (leader, epoch), START)?.offset;
        let end = self.ask(key, (leader, epoch), END)?.offset;
        let read = shared.counters.read_next.iter().map(|consumer| consumer[key].load(Relaxed)).min().unwrap_or(end);
        let to = if self.random.random_bool(0.1) { end } else { read.min(end) };
        if to <= start {
            return None;
        }
        let before = if to == end { end } else { self.random.random_range(start + 1..=to) };
        let entry = &shared.keys[key];
        let change = Change::DeleteRecords { leader, topic: entry.topic.clone(), partition: entry.partition, before };
        let mut value = change.to_json();
        value["key"] = entry.key.into();
        let mut draft = Draft::new(Process::Client(self.process), OpType::Invoke, Body::Nemesis { f: "admin".to_owned(), value });
        shared.record(draft.clone());
        (draft.op_type, draft.error) = classify(&self.lane.admin.change(&change));
        let op_type = draft.op_type;
        shared.record(draft);
        if op_type == OpType::Info {
            self.process = shared.new_process();
        }
        let counter = if op_type == OpType::Ok { &self.lane.told.deletions } else { &self.lane.told.not_deleted };
        counter.fetch_add(1, Relaxed);
        Some(())
    }
}

/// The clock that brokers stamp records by, on a machine that keeps the time.
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
