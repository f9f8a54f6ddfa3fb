//! Watching through one ZooKeeper server.
//!
//! A round is: note the time, `sync`, and behind it on the same session the reads of what is known to have changed. A server delivers a
//! watch event before any answer that is newer than the change, and the client keeps that order; so when the round has ended and no event
//! has come for an item, the item was unchanged when the round began. One `sync` thus proves every watched item at once, and 20 rounds a
//! second cost next to nothing, however many partitions there are. An event starts a round at once.
//!
//! Watches are one-shot: servers before 3.6 know no others, and persistent ones lose events over a reconnection (ZOOKEEPER-4698). After any
//! failure the session is thrown away and everything is read anew. That no watch was lost is audited by plain reads every 2 s; if one was,
//! the interval begins at the last read, and the timeline says so.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{FutureExt, join, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use kchaos_core::Interval;
use tokio::time::{Instant, Interval as Ticks, MissedTickBehavior, interval_at, sleep, timeout};
use zookeeper_client as zk;

use super::items::{self, Look, Value};
use super::ledger::{Shown, Version};
use super::{BACKOFF, Shared};
use crate::zookeeper::Session;

const ROUND_INTERVAL: Duration = Duration::from_millis(50);
/// In rounds.
const AUDIT_INTERVAL: u64 = 40;
/// How long a server may be silent before its session is thrown away.
const SILENCE_MAX: Duration = Duration::from_millis(1_500);
/// How often a torn read is made again before it is taken as it is.
const TORN_READS_MAX: u32 = 3;

/// The session is of no use any more. Why does not matter: what was lost shows in the intervals.
struct Lost;

type Event = Pin<Box<dyn Future<Output = usize> + Send>>;

struct Watcher {
    shared: Arc<Shared>,
    server: usize,
    source: String,
    session: Session,
    events: FuturesUnordered<Event>,
    /// Items that changed, or may have, since they were last read.
    dirty: BTreeSet<usize>,
    /// By item: version and invocation of the last read here.
    reads: Vec<Option<(Version, u64)>>,
    torn_reads: u32,
}

/// Watches through one server, for ever.
pub(super) async fn watch(shared: Arc<Shared>, server: usize) {
    let Some(at) = shared.servers.get(server).cloned() else { return };
    let section = &shared.inventory.zookeeper;
    // Servers are asked in turn, not all at the same moment: the majority's last proof is then younger.
    let offset = ROUND_INTERVAL * server as u32 / shared.servers.len().max(1) as u32;
    loop {
        if let Ok(session) = Session::connect(&at, section, SILENCE_MAX).await {
            let items = items::count(shared.keys.len());
            let mut watcher = Watcher {
                shared: shared.clone(),
                server,
                source: format!("zookeeper:{}", at.label),
                session,
                events: FuturesUnordered::new(),
                dirty: (0..items).collect(),
                reads: vec![None; items],
                torn_reads: 0,
            };
            let Lost = watcher.rounds(offset).await;
        }
        sleep(BACKOFF).await;
    }
}

impl Watcher {
    async fn rounds(&mut self, offset: Duration) -> Lost {
        let mut ticks = round_ticks(offset);
        let mut round = 0_u64;
        loop {
            match timeout(SILENCE_MAX * 2, self.round(round % AUDIT_INTERVAL == AUDIT_INTERVAL - 1)).await {
                Ok(Ok(())) => round += 1,
                Ok(Err(Lost)) | Err(_) => return Lost,
            }
            if self.dirty.is_empty() {
                tokio::select! {
                    _ = ticks.tick() => {}
                    Some(item) = self.events.next() => { self.dirty.insert(item); }
                }
            }
            self.take_events();
        }
    }

    async fn round(&mut self, is_audit: bool) -> Result<(), Lost> {
        let shared = self.shared.clone();
        let changed = std::mem::take(&mut self.dirty);
        let audited = (0..self.reads.len()).filter(|item| is_audit && !changed.contains(item));
        let asked: Vec<(usize, bool)> = changed.iter().map(|item| (*item, true)).chain(audited.map(|item| (item, false))).collect();
        let invoked_ns = shared.clock.now_ns();
        let client = self.session.client();
        // Futures are polled in this order, and a request is on its way with the first poll: the sync goes first.
        let looks = join_all(asked.iter().map(|(item, watch)| items::look(client, &shared.keys, *item, *watch)));
        let (synced, looks) = join(client.sync("/"), looks).await;
        let known_ns = shared.clock.now_ns();
        synced.map_err(|_| Lost)?;
        let looks = looks.into_iter().collect::<Result<Vec<Look>, zk::Error>>().map_err(|_| Lost)?;
        self.take_events();
        for ((item, watch), look) in asked.into_iter().zip(looks) {
            self.take_look(item, watch, look, invoked_ns, known_ns);
        }
        let mut ledger = shared.ledger();
        for item in (0..self.reads.len()).filter(|item| !self.dirty.contains(item)) {
            ledger.proves_old(self.server, item, invoked_ns);
        }
        let gap = ledger.saw(self.server, invoked_ns);
        drop(ledger);
        if let Some(gap) = gap {
            shared.blind("observer", gap, "no majority of the ZooKeeper servers answered".to_owned());
        }
        Ok(())
    }

    fn take_look(&mut self, item: usize, was_watched: bool, look: Look, invoked_ns: u64, known_ns: u64) {
        for watcher in look.watchers {
            self.events.push(Box::pin(async move {
                watcher.changed().await;
                item
            }));
        }
        if look.is_torn && self.torn_reads < TORN_READS_MAX {
            self.torn_reads += 1;
            self.dirty.insert(item);
            return;
        }
        if item == items::CONTROLLER {
            self.torn_reads = 0;
        }
        let Some((version, value)) = look.shown else { return };
        let last = self.reads[item].replace((version, invoked_ns));
        let mut after_ns_max = None;
        if !was_watched && last.is_none() {
            // It was not there to be watched when it was looked at before.
            self.dirty.insert(item);
        }
        if !was_watched && !self.dirty.contains(&item) && last.is_some_and(|(last, _)| last != version) {
            // An audit shows what no event told of. Its watch is set again by the next round.
            after_ns_max = last.map(|(_, read_ns)| read_ns);
            self.dirty.insert(item);
            let when = Interval { after_ns: after_ns_max.unwrap_or(0), before_ns: known_ns };
            self.shared.blind(&self.source, when, "a watch was lost; moments are bounded by reads here".to_owned());
        }
        self.tell(item, Shown { version, value, invoked_ns, known_ns, after_ns_max });
    }

    fn tell(&self, item: usize, shown: Shown<Value>) {
        // Emitted under the ledger's lock, so that the order in the timeline is the order of the changes.
        let mut ledger = self.shared.ledger();
        if let Some(change) = ledger.shows(self.server, item, shown) {
            for what in items::observed(&self.shared.keys, item, &change) {
                self.shared.emit(&self.source, change.when, what);
            }
        }
    }

    /// All events that have come by now.
    fn take_events(&mut self) {
        while let Some(Some(item)) = self.events.next().now_or_never() {
            self.dirty.insert(item);
        }
    }
}

fn round_ticks(offset: Duration) -> Ticks {
    let mut ticks = interval_at(Instant::now() + offset, ROUND_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
