//! The finale: every partition is reread from its start to where its log ends, as told by its leader of the current epoch with every replica in sync.
//!
//! Why so careful: a broker that has just come back may still think it leads, and answers with the end of a log that others have long passed.
//! A check that believed it once called 1,189 safe records lost. So the log's end is asked of the leader that ZooKeeper names, under the leader epoch
//! that ZooKeeper names; a broker that knows another epoch answers with an error instead of a number.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use kchaos_cluster::protocol;
use kchaos_cluster::view;
use kchaos_core::Key;
use kchaos_workloads::{FinalOrder, FinalTarget, KeyCounts, Lost, SizeClass};
use serde_json::{Map, Value, json};

use super::abort::Abort;
use super::whole::{self, Whole};
use super::{Clients, Live, lock, replica_logs, stable};

const FIRST_ACKS_TIMEOUT: Duration = Duration::from_secs(30);
/// Partitions that are seldom written to, clients that wait before they try again.
const ACKS_AGAIN_TIMEOUT: Duration = Duration::from_secs(30);
const BOUNDS_TIMEOUT: Duration = Duration::from_secs(60);
/// Sends that are still open when writing stops are given this long before they are called undecided.
const DECIDE_TIMEOUT: Duration = Duration::from_secs(70);
const READS_TIMEOUT_MIN: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct Finale {
    /// Why the final reads are no evidence, if they are not.
    pub(crate) incomplete: Option<String>,
    /// All was mended and the cluster was not whole again within the time: what was missing.
    pub(crate) never_whole: Option<String>,
    /// Sends that never got an answer.
    pub(crate) undecided: u64,
    /// What became of consumer groups, in sentences.
    pub(crate) groups: Vec<String>,
    /// What else clients did and could not do, in sentences.
    pub(crate) told: Vec<String>,
    pub(crate) unproved: Vec<String>,
    /// Clients on other hosts that ended unasked.
    pub(crate) lost: Vec<Lost>,
    /// What an ordering service made of its channels.
    pub(crate) order: Option<FinalOrder>,
    /// How long sends took by the size of their values.
    pub(crate) sizes: Vec<SizeClass>,
}

/// Waits until every key has been written to once, so that there is something to break.
pub(super) async fn wait_for_first_acks(live: &Live, clients: &Clients) {
    let deadline = Instant::now() + FIRST_ACKS_TIMEOUT;
    while Instant::now() < deadline {
        if lock(clients).counts().keys.iter().all(|key| key.acked > 0) {
            return;
        }
        if !live.abort.sleep(Duration::from_millis(100)).await {
            return;
        }
    }
    live.note("not every partition acknowledged a write within 30 s of the start");
}

/// Waits until every key that was written to is written to again, so that the run does not end before its partitions have shown that they came
/// back. One that does not is judged.
pub(super) async fn wait_for_acks_again(live: &Live, clients: &Clients) {
    let acked = || lock(clients).counts().keys.into_iter().map(|key| (key.key, key)).collect::<BTreeMap<_, _>>();
    let (before, deadline) = (acked(), Instant::now() + ACKS_AGAIN_TIMEOUT);
    let is_again = |now: BTreeMap<Key, KeyCounts>| {
        before.values().all(|then| then.acked == 0 || now.get(&then.key).is_some_and(|now| now.is_retired || now.acked > then.acked))
    };
    // A run that was told to end does not wait for those that nobody is asking for.
    while live.abort.reason().is_none() && Instant::now() < deadline && !is_again(acked()) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(super) async fn run(live: &Live, clients: Clients) -> Finale {
    let mut finale = Finale::default();
    let decide = DECIDE_TIMEOUT;
    let stopping = Clients::clone(&clients);
    let stopped = tokio::task::spawn_blocking(move || lock(&stopping).stop_writes(decide)).await;
    finale.undecided = stopped.map_or(0, |outstanding| outstanding.undecided);
    live.begun.store(lock(&clients).counts().keys.len(), Relaxed);

    let patience = Abort::new();
    if let Whole::No(missing) = whole::wait(live, live.recovery_timeout(), &patience).await {
        finale.incomplete = Some(format!("the cluster was not whole: {missing}"));
        return finale;
    }
    stable::wait(live).await;
    let targets = match bounds(live).await {
        Ok(targets) => targets,
        Err(text) => {
            finale.incomplete = Some(format!("where the logs end could not be learned: {text}"));
            return finale;
        }
    };
    live.nemesis_op(
        "final-offsets",
        Value::Object(targets.iter().map(|target| (target.bounds.key.to_string(), target.to_json())).collect()),
    );
    replica_logs::tell(live).await;
    finale.sizes = lock(&clients).latency_by_size();
    read(live, clients, &targets, &mut finale).await;
    finale
}

/// Where one key's log starts and ends, and who said so.
pub(super) struct Bounds {
    pub(super) bounds: FinalTarget,
    pub(super) leader: i32,
}

impl Bounds {
    fn to_json(&self) -> Value {
        json!({"start": self.bounds.start, "end": self.bounds.end, "leader": self.leader, "leader_epoch": self.bounds.leader_epoch})
    }
}

async fn bounds(live: &Live) -> Result<Vec<Bounds>, String> {
    let deadline = Instant::now() + BOUNDS_TIMEOUT;
    loop {
        match try_bounds(live).await {
            Ok(bounds) => return Ok(bounds),
            Err(text) if Instant::now() >= deadline => return Err(text),
            Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}

/// In the order of the run's keys.
pub(super) async fn try_bounds(live: &Live) -> Result<Vec<Bounds>, String> {
    let brokers = protocol::Client::new(&live.inventory, protocol::Timeouts::default()).map_err(|error| error.to_string())?;
    let view = view::look(&live.inventory, Some(&live.topics())).await.map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for entry in live.begun_keys() {
        let partition = view
            .partitions
            .iter()
            .find(|partition| partition.topic == entry.topic && partition.partition == entry.partition)
            .ok_or_else(|| format!("{}:{} is not there", entry.topic, entry.partition))?;
        let leader = partition.leader.ok_or_else(|| format!("{}:{} has no leader", entry.topic, entry.partition))?;
        let bounds =
            brokers.log_bounds(leader, &entry.topic, entry.partition, partition.leader_epoch).await.map_err(|error| error.to_string())?;
        let bounds = FinalTarget { key: entry.key, start: bounds.start, end: bounds.end, leader_epoch: partition.leader_epoch };
        found.push(Bounds { bounds, leader });
    }
    Ok(found)
}

/// Rereads everything, and hears what became of consumer groups and orderers.
async fn read(live: &Live, clients: Clients, targets: &[Bounds], finale: &mut Finale) {
    let wanted: Vec<_> = targets.iter().map(|target| target.bounds).collect();
    let records: i64 = wanted.iter().map(|target| target.end - target.start).sum();
    // At least 5,000 records a second are read, or something is wrong.
    let deadline = READS_TIMEOUT_MIN.max(Duration::from_secs(u64::try_from(records / 5_000).unwrap_or(0)));
    let outcome = tokio::task::spawn_blocking(move || lock(&clients).finale(&wanted, deadline)).await;
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            finale.incomplete = Some(format!("the final reads panicked: {error}"));
            return;
        }
    };
    let mut keys = Map::new();
    let mut short: Vec<Key> = Vec::new();
    for target in targets {
        let read = outcome.keys.iter().find(|read| read.key == target.bounds.key);
        let next = read.map_or(target.bounds.start, |read| read.next);
        if !read.is_some_and(|read| read.is_complete && !read.is_epoch_ahead) {
            short.push(target.bounds.key);
        }
        keys.insert(target.bounds.key.to_string(), json!({"next": next, "end": target.bounds.end}));
    }
    for group in &outcome.groups {
        let keys: Map<_, _> = group.committed.iter().map(|(key, committed)| (key.to_string(), json!(committed))).collect();
        live.nemesis_op("final-groups", json!({"group": group.name, "committed": keys, "behind": group.behind, "told": group.told}));
    }
    let is_complete = short.is_empty();
    live.nemesis_op("final-reads", json!({"complete": is_complete, "keys": keys}));
    let why = outcome.errors.first().map_or(String::new(), |error| format!(" ({error})"));
    finale.groups = outcome.groups.iter().map(|group| format!("group {}: {}", group.name, group.told)).collect();
    (finale.told, finale.unproved, finale.lost) = (outcome.told, outcome.unproved, outcome.lost);
    finale.incomplete = (!is_complete).then(|| format!("final reads stopped short of the log's end for keys {short:?}{why}"));
    if let Some(order) = outcome.order {
        let blocks: Map<_, _> = order.blocks.iter().map(|(key, blocks)| (key.to_string(), json!(blocks))).collect();
        live.nemesis_op("final-blocks", json!({"blocks": blocks, "disagreements": order.disagreements, "behind": order.behind}));
        finale.order = Some(order);
    }
}
