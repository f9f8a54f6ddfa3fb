//! Asking one broker for what it tells its clients: metadata, again and again, over a connection of its own.
//!
//! Each broker is a source by itself: what it answers is what *it* believes, and a deposed leader's answer beside the others' is the point.
//! So the interval needs no other broker: after the invocation of the last request whose answer did not show the new state, before the end
//! of the first whose answer did.
//!
//! A request that is not answered within [`super::PATIENCE`] counts as silence from when it was made. Its answer is still waited for on the
//! same connection (a paused broker answers at once when it is resumed), for a second; then a new connection is tried (a cut one may hang).
//! Silence tells nothing new, so the interval of what comes after it begins where it ended. A broker that refuses connections is down: what
//! it says when it is back is a first look, with `after_ns` 0.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use kchaos_core::{Interval, Key, Observed};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::{PATIENCE, Shared, patiently};
use crate::inventory::DaemonKind;
use crate::protocol::messages::MetadataRequest;
use crate::protocol::{Connection, Metadata, MetadataPartition, Peer, ProtocolError, Security, Stream};

const ASK_INTERVAL: Duration = Duration::from_millis(50);
const SILENCE_MAX: Duration = Duration::from_millis(1_000);
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// The partition has no leader, or this broker knows its leader to be dead; the epoch beside it is meaningful.
const LEADER_NOT_AVAILABLE: i16 = 5;

/// Leader, epoch, ISR.
type Belief = (Option<i32>, i32, Vec<i32>);

struct Watcher {
    shared: Arc<Shared>,
    broker: i32,
    source: String,
    /// By topic and partition.
    keys: BTreeMap<String, BTreeMap<i32, Key>>,
    /// With the last moment at which it told this, or at least nothing newer.
    beliefs: BTreeMap<Key, (Belief, u64)>,
    /// Whom it takes for the controller, and the last moment at which it told so, or at least nothing newer.
    controller: Option<(Option<i32>, u64)>,
    /// Whether it answers, and the last moment that proved it.
    answers: Option<(bool, u64)>,
}

/// Watches one broker, for ever. `position` spreads the brokers' turns.
pub(super) async fn watch(shared: Arc<Shared>, security: Arc<Security>, (broker, address): (i32, String), position: usize) {
    let mut keys: BTreeMap<String, BTreeMap<i32, Key>> = BTreeMap::new();
    for entry in &shared.keys {
        keys.entry(entry.topic.clone()).or_default().insert(entry.partition, entry.key);
    }
    let source = format!("broker:{broker}");
    let mut watcher = Watcher { shared, broker, source, keys, beliefs: BTreeMap::new(), controller: None, answers: None };
    let peer = Peer { broker: Some(broker), address };
    let offset = Duration::from_millis(17) * position as u32;
    loop {
        let invoked_ns = watcher.shared.clock.now_ns();
        let opening = Connection::open(peer.clone(), &security, SILENCE_MAX, SILENCE_MAX);
        match patiently(opening, |waited| watcher.is_waited_for(invoked_ns, waited)).await {
            Ok(connection) => watcher.ask_on(connection, offset).await,
            Err(error) => watcher.has_failed(&error, invoked_ns),
        }
        sleep(RETRY_INTERVAL).await;
    }
}

impl Watcher {
    /// Asks on this connection until it is of no use any more.
    async fn ask_on(&mut self, mut connection: Connection<Stream>, offset: Duration) {
        let mut ticks = interval_at(Instant::now() + offset, ASK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let topics: Vec<String> = self.keys.keys().cloned().collect();
        loop {
            ticks.tick().await;
            let invoked_ns = self.shared.clock.now_ns();
            let request = MetadataRequest { topics: Some(&topics) };
            match patiently(connection.call(&request, SILENCE_MAX), |waited| self.is_waited_for(invoked_ns, waited)).await {
                Ok(metadata) => self.take_answer(&metadata, invoked_ns),
                Err(error) => {
                    self.has_failed(&error, invoked_ns);
                    return;
                }
            }
        }
    }

    fn take_answer(&mut self, metadata: &Metadata, invoked_ns: u64) {
        let known_ns = self.shared.clock.now_ns();
        self.tell_answers(true, invoked_ns, known_ns);
        for topic in &metadata.topics {
            let Some(keys) = self.keys.get(&topic.topic) else { continue };
            let is_known = |partition: &&MetadataPartition| partition.error == 0 || partition.error == LEADER_NOT_AVAILABLE;
            for partition in topic.partitions.iter().filter(is_known) {
                let Some(key) = keys.get(&partition.partition).copied() else { continue };
                let belief = (partition.leader, partition.leader_epoch, partition.isr.clone());
                let after_ns = match self.beliefs.get(&key) {
                    Some((previous, _)) if *previous == belief => continue,
                    Some((_, told_ns)) => *told_ns,
                    None => 0,
                };
                let (leader, leader_epoch, isr) = belief.clone();
                self.beliefs.insert(key, (belief, invoked_ns));
                let what = Observed::PartitionMetadata { key, leader, leader_epoch, isr };
                self.shared.emit(&self.source, Interval { after_ns, before_ns: known_ns }, what);
            }
        }
        if !self.tell_image(metadata, invoked_ns, known_ns) {
            self.tell_controller(metadata.controller, invoked_ns, known_ns);
        }
        // What is not in the answer (a broker just started knows no partition) is not told anew either.
        self.tells_nothing_new(invoked_ns);
    }

    /// Without ZooKeeper what brokers tell is all there is, and the controller that they name is any broker (KIP-590).
    fn tell_image(&self, metadata: &Metadata, invoked_ns: u64, known_ns: u64) -> bool {
        let Some(mut image) = self.shared.image() else { return false };
        let brokers = self.shared.inventory.daemons_of(DaemonKind::Kafka).map(|(_, daemon)| daemon.id).collect();
        let key_of = |topic: &str, partition: i32| self.keys.get(topic)?.get(&partition).copied();
        for (when, what) in image.take(self.broker, &brokers, metadata, key_of, invoked_ns, known_ns) {
            self.shared.emit(&self.source, when, what);
        }
        true
    }

    fn tell_controller(&mut self, controller: Option<i32>, invoked_ns: u64, known_ns: u64) {
        let after_ns = match self.controller {
            Some((previous, _)) if previous == controller => return,
            Some((_, told_ns)) => told_ns,
            None => 0,
        };
        self.controller = Some((controller, invoked_ns));
        let what = Observed::ControllerMetadata { broker: self.broker, controller };
        self.shared.emit(&self.source, Interval { after_ns, before_ns: known_ns }, what);
    }

    /// What was asked then has not been answered by now.
    fn is_waited_for(&mut self, invoked_ns: u64, waited: Duration) {
        let now_ns = self.shared.clock.now_ns();
        // Who answered before is given time; who was silent already is silent still.
        if waited >= PATIENCE || self.answers.is_some_and(|(answers, _)| !answers) {
            self.is_silent(now_ns, invoked_ns);
        }
    }

    /// What was asked then was refused, or was given up.
    fn has_failed(&mut self, error: &ProtocolError, invoked_ns: u64) {
        let now_ns = self.shared.clock.now_ns();
        match error {
            ProtocolError::Timeout { .. } => self.is_silent(now_ns, invoked_ns),
            _ => self.is_silent(invoked_ns, now_ns),
        }
        if matches!(error, ProtocolError::Connect { reason, .. } if reason.kind() == ErrorKind::ConnectionRefused) {
            self.beliefs.clear();
            self.controller = None;
            if let Some(mut image) = self.shared.image() {
                image.forget(self.broker);
            }
        }
    }

    /// Silent still at `proof_ns`, and at `before_ns` at the latest for the first time.
    fn is_silent(&mut self, proof_ns: u64, before_ns: u64) {
        self.tell_answers(false, proof_ns, before_ns);
        self.tells_nothing_new(proof_ns);
    }

    /// Up to then, nothing but the beliefs at hand was told.
    fn tells_nothing_new(&mut self, proof_ns: u64) {
        for (_, told_ns) in self.beliefs.values_mut() {
            *told_ns = proof_ns.max(*told_ns);
        }
        if let Some((_, told_ns)) = &mut self.controller {
            *told_ns = proof_ns.max(*told_ns);
        }
    }

    fn tell_answers(&mut self, answers: bool, proof_ns: u64, before_ns: u64) {
        let last = self.answers.replace((answers, proof_ns));
        let after_ns = match last {
            Some((previous, _)) if previous == answers => return,
            Some((_, last_ns)) => last_ns.min(before_ns),
            None => 0,
        };
        let when = Interval { after_ns, before_ns };
        self.shared.emit(&self.source, when, Observed::BrokerAnswers { broker: self.broker, answers });
    }
}
