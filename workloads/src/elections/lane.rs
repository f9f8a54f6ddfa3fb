//! The client that changes the cluster: one change after another, drawn from the seed.
//!
//! A *forced* election puts another in-sync replica first and elects it; a *preferred* one elects the preferred replica where another leads (after a
//! broker was away, or after a change of order alone). No partition is left with fewer replicas than the topic's, but for one at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kchaos_core::{Body, Draft, KeyEntry, OpType, Process};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value as Json;

use super::looks::{Looks, State};
use crate::admin::{Admin, Change, SeenPartition, classify};
use crate::aside::Over;
use crate::shared::Shared;

/// None that a fault changes, none that the run reads back, none that takes a promise away; and from where their values are drawn.
const SETTINGS: &[(&str, std::ops::Range<u32>)] =
    &[("index.interval.bytes", 1_024..65_536), ("delete.retention.ms", 60_000..100_000_000), ("file.delete.delay.ms", 1_000..120_000)];
/// Topics that come and go, at a time.
const TOPICS_MAX: usize = 4;
/// Partitions that are added to one of the keys' topics.
const GROWTH_MAX: i32 = 2;
/// Until a new order of replicas is told by those who are asked.
const ORDERED: Duration = Duration::from_secs(3);
/// Until a replica that was taken away is asked back, at the end.
const RESTORED: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(20);

pub(super) struct Lane {
    pub(super) shared: Arc<Shared>,
    pub(super) admin: Arc<dyn Admin>,
    pub(super) looks: Arc<Looks>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) interval: Duration,
    pub(super) replication_factor: usize,
}

/// What was asked of the cluster so far, for those who look at it in the end.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) book: Mutex<Book>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    /// Topics that were asked for and not certainly deleted, and how many partitions they should have.
    pub(super) topics: BTreeMap<String, i32>,
    pub(super) deleted: Vec<String>,
    /// By topic and name, what was acknowledged last.
    pub(super) settings: BTreeMap<(String, String), Option<String>>,
    /// By kind: ok, fail, info.
    pub(super) done: BTreeMap<&'static str, [u64; 3]>,
}

impl Ledger {
    pub(super) fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lane while it is at work.
struct Work<'a> {
    lane: &'a Lane,
    over: &'a Over,
    random: ChaCha8Rng,
    process: u32,
    made: u32,
    /// The keys' topics, and how many partitions each has.
    own: Vec<(String, i32)>,
    /// A partition that was left with one replica less.
    short: Option<(String, i32)>,
}

impl Lane {
    pub(super) fn run(&self, over: &Over) {
        let mut own: Vec<(String, i32)> = Vec::new();
        for entry in &self.shared.keys {
            match own.last_mut().filter(|(topic, _)| *topic == entry.topic) {
                Some((_, count)) => *count += 1,
                None => own.push((entry.topic.clone(), 1)),
            }
        }
        let random = ChaCha8Rng::seed_from_u64(self.shared.seed ^ 0x656c_6563);
        let mut work = Work { lane: self, over, random, process: self.shared.new_process(), made: 0, own, short: None };
        while over.rest(self.interval, &mut work.random) {
            work.step();
        }
        // All is left whole.
        let until = Instant::now() + RESTORED;
        while work.short.is_some() && Instant::now() < until {
            let _ = work.reassign();
            std::thread::sleep(TICK * 10);
        }
    }
}

impl Work<'_> {
    /// One kind of change. Where the cluster does not tell how it is, or there is nothing to be changed, nothing is done.
    fn step(&mut self) {
        let _ = match self.random.random_range(0..100) {
            0..25 => self.forced(),
            25..40 => self.preferred(),
            40..55 => self.reassign(),
            55..75 => self.setting(),
            75..85 => self.create_or_delete(),
            85..93 => self.delete_or_create(),
            _ => self.grow(),
        };
    }

    fn draw_partition(&mut self) -> Option<(String, i32)> {
        let entry = self.lane.shared.keys.choose(&mut self.random)?;
        Some((entry.topic.clone(), entry.partition))
    }

    fn look(&self, topic: &str, partition: i32) -> Option<SeenPartition> {
        let seen = self.lane.admin.topics(None, &[topic.to_owned()]).ok()?;
        seen.into_iter().flat_map(|topic| topic.partitions).find(|seen| seen.partition == partition)
    }

    /// Another in-sync replica is put first, and elected.
    fn forced(&mut self) -> Option<()> {
        let (topic, partition) = self.draw_partition()?;
        let seen = self.look(&topic, partition)?;
        self.reorder(&topic, &seen)?;
        self.elect(topic, partition)
    }

    fn preferred(&mut self) -> Option<()> {
        let topics: Vec<String> = self.own.iter().map(|(topic, _)| topic.clone()).collect();
        let seen = self.lane.admin.topics(None, &topics).ok()?;
        let keys = &self.lane.shared.keys;
        let is_key = |topic: &str, partition: i32| keys.iter().any(|entry| entry.topic == topic && entry.partition == partition);
        let led_by_others: Vec<(String, i32)> = seen
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(move |seen| (topic, seen)))
            .filter(|(topic, seen)| {
                is_key(&topic.topic, seen.partition) && seen.leader.is_some() && seen.leader != seen.replicas.first().copied()
            })
            .map(|(topic, seen)| (topic.topic.clone(), seen.partition))
            .collect();
        match led_by_others.choose(&mut self.random).cloned() {
            Some((topic, partition)) => self.elect(topic, partition),
            // For a later one.
            None => {
                let (topic, partition) = self.draw_partition()?;
                let seen = self.look(&topic, partition)?;
                self.reorder(&topic, &seen)
            }
        }
    }

    fn reorder(&mut self, topic: &str, seen: &SeenPartition) -> Option<()> {
        let others: Vec<i32> = seen.isr.iter().copied().filter(|replica| Some(*replica) != seen.leader).collect();
        let next = *others.choose(&mut self.random)?;
        let mut replicas = seen.replicas.clone();
        replicas.retain(|replica| *replica != next);
        replicas.insert(0, next);
        let partition = seen.partition;
        let change = Change::Reassign { topic: topic.to_owned(), partition, replicas: replicas.clone() };
        self.ask(&change, State::Replicas { partition, replicas: replicas.clone() })?;
        let until = Instant::now() + ORDERED;
        while Instant::now() < until && !self.over.is_over() {
            if self.look(topic, partition).is_some_and(|seen| seen.replicas == replicas) {
                return Some(());
            }
            std::thread::sleep(TICK);
        }
        None
    }

    fn elect(&mut self, topic: String, partition: i32) -> Option<()> {
        let before = self.look(&topic, partition)?;
        let state = State::Leader { partition, leader: *before.replicas.first()?, epoch: before.leader_epoch };
        self.ask(&Change::Elect { topic, partition }, state)
    }

    /// A replica is taken away, or put back where one was.
    fn reassign(&mut self) -> Option<()> {
        if let Some((topic, partition)) = self.short.clone() {
            let seen = self.look(&topic, partition)?;
            let missing = self.lane.admin.brokers().into_iter().filter(|broker| !seen.replicas.contains(broker)).collect::<Vec<_>>();
            let mut replicas = seen.replicas.clone();
            if replicas.len() < self.lane.replication_factor {
                replicas.push(*missing.choose(&mut self.random)?);
                // How long a copy takes says nothing of how old what a broker tells is.
                self.ask(&Change::Reassign { topic, partition, replicas }, State::Unmeasured)?;
            }
            self.short = None;
            return Some(());
        }
        let (topic, partition) = self.draw_partition()?;
        let seen = self.look(&topic, partition)?;
        let least = (self.lane.shared.options.min_insync_replicas as usize).max(2);
        if seen.isr.len() < seen.replicas.len() || seen.replicas.len() <= least {
            return None;
        }
        let followers: Vec<i32> = seen.replicas.iter().skip(1).copied().filter(|replica| Some(*replica) != seen.leader).collect();
        let gone = *followers.choose(&mut self.random)?;
        let replicas: Vec<i32> = seen.replicas.into_iter().filter(|replica| *replica != gone).collect();
        self.short = Some((topic.clone(), partition));
        self.ask(&Change::Reassign { topic, partition, replicas: replicas.clone() }, State::Replicas { partition, replicas })
    }

    fn setting(&mut self) -> Option<()> {
        let topic = self.own.choose(&mut self.random)?.0.clone();
        let (name, values) = SETTINGS.choose(&mut self.random)?.clone();
        let value = self.random.random_bool(0.8).then(|| self.random.random_range(values).to_string());
        let change = Change::Setting { topic, name: name.to_owned(), value: value.clone() };
        self.ask(&change, State::Setting { name: name.to_owned(), value })
    }

    fn passing(&self) -> Vec<String> {
        let book = self.lane.ledger.book();
        book.topics.keys().filter(|topic| self.own.iter().all(|(own, _)| own != *topic)).cloned().collect()
    }

    fn create_or_delete(&mut self) -> Option<()> {
        if self.passing().len() >= TOPICS_MAX { self.delete() } else { self.create() }
    }

    fn delete_or_create(&mut self) -> Option<()> {
        if self.passing().is_empty() { self.create() } else { self.delete() }
    }

    fn create(&mut self) -> Option<()> {
        self.made += 1;
        let topic = format!("kchaos-elections-x{}-{}", self.made, self.lane.shared.run_id());
        let partitions = self.random.random_range(1..4);
        let replication_factor = i16::try_from(self.lane.replication_factor).ok()?;
        self.ask(&Change::Create { topic, partitions, replication_factor, settings: Vec::new() }, State::There { partitions })
    }

    fn delete(&mut self) -> Option<()> {
        let topic = self.passing().choose(&mut self.random)?.clone();
        self.ask(&Change::Delete { topic }, State::Gone)
    }

    fn grow(&mut self) -> Option<()> {
        let keys = &self.lane.shared.keys;
        let first = |topic: &String| i32::try_from(keys.iter().filter(|entry| entry.topic == *topic).count()).unwrap_or(i32::MAX);
        let may: Vec<(String, i32)> = self.own.iter().filter(|(topic, count)| *count < first(topic) + GROWTH_MAX).cloned().collect();
        let (topic, count) = may.choose(&mut self.random)?.clone();
        // How many there are is asked: an earlier one may have been done after all.
        let seen = self.lane.admin.topics(None, std::slice::from_ref(&topic)).ok()?;
        let partitions = count.max(i32::try_from(seen.first()?.partitions.len()).ok()?) + 1;
        self.own.iter_mut().filter(|(own, _)| *own == topic).for_each(|(_, count)| *count = partitions);
        self.ask(&Change::Grow { topic, partitions }, State::There { partitions })
    }

    /// One op: recorded before and after, kept in the book, and looked for at every broker if it was done.
    fn ask(&mut self, change: &Change, state: State) -> Option<()> {
        let (topic, kind) = of(change);
        if let Change::Create { topic, partitions, .. } = change {
            self.lane.ledger.book().topics.insert(topic.clone(), *partitions);
        }
        let shared = &self.lane.shared;
        let body = Body::Nemesis { f: "admin".to_owned(), value: told(change, &shared.keys) };
        self.lane.looks.supersede(&topic, &state);
        let mut draft = Draft::new(Process::Client(self.process), OpType::Invoke, body);
        let invoked = shared.recorder.record(draft.clone());
        let answer = self.lane.admin.change(change);
        (draft.op_type, draft.error) = classify(&answer);
        let op_type = draft.op_type;
        shared.record(draft);
        self.lane.ledger.book().keep(change, kind, op_type);
        match op_type {
            OpType::Ok => {
                self.lane.looks.begin(invoked.index, kind, topic, state);
                Some(())
            }
            OpType::Info => {
                self.process = shared.new_process();
                None
            }
            OpType::Fail | OpType::Invoke => None,
        }
    }
}

/// With the key where replicas are to be others: who looks at in-sync sets must know how many there are to be.
fn told(change: &Change, keys: &[KeyEntry]) -> Json {
    let mut value = change.to_json();
    if let Change::Reassign { topic, partition, .. } = change
        && let Some(entry) = keys.iter().find(|entry| entry.topic == *topic && entry.partition == *partition)
    {
        value["key"] = entry.key.into();
    }
    value
}

fn of(change: &Change) -> (String, &'static str) {
    match change {
        Change::Elect { topic, .. } => (topic.clone(), "elect"),
        Change::Reassign { topic, .. } => (topic.clone(), "reassign"),
        Change::Setting { topic, .. } => (topic.clone(), "setting"),
        Change::Create { topic, .. } => (topic.clone(), "create"),
        Change::Delete { topic } => (topic.clone(), "delete"),
        Change::Grow { topic, .. } => (topic.clone(), "grow"),
        Change::DeleteRecords { topic, .. } => (topic.clone(), "delete-records"),
    }
}

impl Book {
    fn keep(&mut self, change: &Change, kind: &'static str, op_type: OpType) {
        let place = match op_type {
            OpType::Ok => 0,
            OpType::Fail => 1,
            OpType::Info | OpType::Invoke => 2,
        };
        self.done.entry(kind).or_default()[place] += 1;
        match (change, op_type) {
            (Change::Create { topic, .. }, OpType::Fail) => {
                self.topics.remove(topic);
            }
            (Change::Delete { topic }, OpType::Ok) => {
                self.topics.remove(topic);
                self.deleted.push(topic.clone());
            }
            (Change::Grow { topic, partitions }, OpType::Ok) => {
                self.topics.insert(topic.clone(), *partitions);
            }
            (Change::Setting { topic, name, value }, OpType::Ok) => {
                self.settings.insert((topic.clone(), name.clone()), value.clone());
            }
            _ => {}
        }
    }
}
