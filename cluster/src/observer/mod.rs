//! The observer: when did what change in the cluster, as an interval that surely holds the moment.
//!
//! Why: "how long was it unavailable, and where did the time go" is a difference of moments that nobody logs in one place and on one clock.
//! The observer watches from outside, independently of the workload, and stamps with the run's own clock. It never knows an instant, only
//! *not before* (the last look that still showed the old state was begun then) and *not after* (the first look that showed the new state had
//! ended then). Both bounds are sound; how they are won is said in [`ledger`]. Only changes go to the sink; the first look at a thing is a
//! change with `after_ns` 0.
//!
//! Sources, each with its own connection per server, so that one that hangs blinds nobody else:
//! - **ZooKeeper** ([`zookeeper`]): registrations, the controller and its epoch, the states of our partitions; from every server, watches
//!   for promptness and a `sync` every 50 ms as proof that nothing changed. One observation per change, in the name of the server that
//!   showed it first.
//! - **Each broker's own metadata** ([`brokers`]), every 50 ms: what each of them tells clients, and whether it answers at all.
//! - **ZooKeeper modes** ([`modes`]), by `srvr` every 100 ms.
//!
//! Without ZooKeeper: **each controller's own word of the quorum** ([`quorum`]), every 50 ms, and what the brokers' metadata tell together of
//! registrations and of our partitions ([`image`]).
//!
//! On the way from ZooKeeper to KRaft: as without ZooKeeper, and ZooKeeper's modes beside it; until the quorum has taken over, nobody tells of the
//! controller.
//!
//! Limits: brokers are those of the inventory; partitions are those of `keys`. A change that is undone within one round trip may be seen as
//! one change or none. While ZooKeeper has no leader, or one that hangs, nothing is proved: the first moments after that are as wide as it
//! was away, and an [`Observed::Blind`] says so.
//!
//! Cost, measured on two cores shared with six JVMs, with 6 to 53 partitions: 2.5 to 3 % of one core.

mod brokers;
mod image;
mod items;
mod ledger;
mod modes;
mod quorum;
mod zookeeper;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kchaos_core::{Clock, Interval, KeyEntry, Observation, Observed};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::inventory::Inventory;
use crate::protocol::{Security, broker_addresses, controller_addresses};
use crate::zookeeper::{Server, servers};
use image::Image;
use ledger::Ledger;
use quorum::Leadership;

/// Where observations go, in the order in which they were made. It is called on a task of its own and may take its time.
pub type Sink = Arc<dyn Fn(Observation) + Send + Sync>;

/// Who answers in a few milliseconds as a rule is silent after this long; a full collection of its JVM may take about as long.
const PATIENCE: Duration = Duration::from_millis(400);

/// How often a long wait is noted.
const WAIT_TICK: Duration = Duration::from_millis(50);

const GOODBYE: Duration = Duration::from_millis(50);

/// After a panic in a source, and between tries to reach what cannot be reached.
const BACKOFF: Duration = Duration::from_millis(150);

pub struct Observer;

/// A running observer. Dropping it ends it as well, but loses what was not delivered yet.
pub struct ObserverHandle {
    sources: JoinSet<()>,
    delivery: JoinHandle<()>,
    shared: Arc<Shared>,
}

/// What the sources have in common.
struct Shared {
    inventory: Arc<Inventory>,
    servers: Vec<Server>,
    keys: Vec<KeyEntry>,
    clock: Arc<dyn Clock>,
    observations: mpsc::UnboundedSender<Observation>,
    ledger: Mutex<Ledger>,
    /// Of a cluster without ZooKeeper.
    image: Option<Mutex<Image>>,
    leadership: Mutex<Leadership>,
}

impl Observer {
    /// Starts on the current tokio runtime and returns at once; what cannot be reached is tried for ever.
    pub fn start(inventory: Arc<Inventory>, keys: Vec<KeyEntry>, clock: Arc<dyn Clock>, sink: Sink) -> ObserverHandle {
        let (observations, mut delivered) = mpsc::unbounded_channel::<Observation>();
        let servers = servers(&inventory);
        let ledger = Mutex::new(Ledger::new(servers.len(), keys.len(), clock.now_ns()));
        let image = (inventory.is_kraft() || inventory.is_migrating()).then(Mutex::default);
        let leadership = Mutex::default();
        let shared = Arc::new(Shared { inventory, servers, keys, clock, observations, ledger, image, leadership });
        let delivery = tokio::spawn(async move {
            while let Some(observation) = delivered.recv().await {
                sink(observation);
            }
        });
        ObserverHandle { sources: start_sources(&shared), delivery, shared }
    }
}

impl ObserverHandle {
    /// Ends all sources, closes their sessions and returns once every observation has been delivered.
    pub async fn stop(self) {
        let Self { mut sources, delivery, shared } = self;
        sources.shutdown().await;
        // Sessions say goodbye in the background when they are dropped; without it a server would keep them until they expire.
        tokio::time::sleep(GOODBYE).await;
        let now_ns = shared.clock.now_ns();
        if let Some(gap) = shared.ledger().sight_gap(now_ns).filter(|_| shared.image.is_none()) {
            shared.blind("observer", gap, "no majority of the ZooKeeper servers answered until the observer was stopped".to_owned());
        }
        // The last sender goes with it, so the delivery ends.
        drop(shared);
        // An error here is a panic of the sink's own.
        let _ = delivery.await;
    }
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // A source that panicked is started anew; the ledger's numbers are whole between its calls.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn image(&self) -> Option<MutexGuard<'_, Image>> {
        Some(self.image.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn leadership(&self) -> MutexGuard<'_, Leadership> {
        self.leadership.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn emit(&self, source: &str, when: Interval, what: Observed) {
        // Fails only when nobody listens any more.
        let _ = self.observations.send(Observation { when, source: source.to_owned(), what });
    }

    fn blind(&self, source: &str, when: Interval, text: String) {
        self.emit(source, when, Observed::Blind { text });
    }
}

fn start_sources(shared: &Arc<Shared>) -> JoinSet<()> {
    let mut sources = JoinSet::new();
    for server in 0..shared.servers.len() {
        // What stands in ZooKeeper ends being so somewhere on the way to KRaft.
        if shared.image.is_none() {
            sources.spawn(supervise(shared.clone(), move |shared| zookeeper::watch(shared, server)));
        }
        sources.spawn(supervise(shared.clone(), move |shared| modes::watch(shared, server)));
    }
    let security = match Security::of(&shared.inventory) {
        Ok(security) => Arc::new(security),
        Err(error) => {
            shared.blind("observer", Interval::at(shared.clock.now_ns()), format!("brokers are not asked for metadata: {error}"));
            return sources;
        }
    };
    for (position, (broker, address)) in broker_addresses(&shared.inventory).into_iter().enumerate() {
        let security = Arc::clone(&security);
        sources.spawn(supervise(shared.clone(), move |shared| {
            brokers::watch(shared, Arc::clone(&security), (broker, address.clone()), position)
        }));
    }
    for (position, (controller, address)) in controller_addresses(&shared.inventory).into_iter().enumerate() {
        let security = Arc::clone(&security);
        sources.spawn(supervise(shared.clone(), move |shared| {
            quorum::watch(shared, Arc::clone(&security), (controller, address.clone()), position)
        }));
    }
    sources
}

/// Runs a source for ever. A bug in it, or in a library below it, must not end the observation: it is started anew and the gap is told.
async fn supervise<F>(shared: Arc<Shared>, source: impl Fn(Arc<Shared>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let started_ns = shared.clock.now_ns();
        // A set of one: dropping it ends the task within.
        let mut running = JoinSet::new();
        running.spawn(source(shared.clone()));
        if let Some(Err(error)) = running.join_next().await {
            let when = Interval { after_ns: started_ns, before_ns: shared.clock.now_ns() };
            shared.blind("observer", when, format!("a source of the observer failed and was started anew: {error}"));
        }
        tokio::time::sleep(BACKOFF).await;
    }
}

/// Waits for an answer to its end, and tells every now and then that there is none yet, and how long it has been waited for.
async fn patiently<T>(answer: impl Future<Output = T>, mut none_yet: impl FnMut(Duration)) -> T {
    let mut answer = std::pin::pin!(answer);
    let mut waited = Duration::ZERO;
    loop {
        if let Ok(answer) = timeout(WAIT_TICK, answer.as_mut()).await {
            return answer;
        }
        waited += WAIT_TICK;
        none_yet(waited);
    }
}
