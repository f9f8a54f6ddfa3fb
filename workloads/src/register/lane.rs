//! A lane: one session after another, each with its ops at the times at which they were meant to start.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kchaos_core::{Draft, KeyEntry};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value as Json;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::RegisterOptions;
use super::session::{self, Session};
use crate::options::Options;
use crate::schedule::{Next, Schedule};
use crate::shared::Shared;
use crate::{Context, WorkloadError, ZooKeeper};

/// How long an op may take before it is given up, and its session with it.
pub(super) const OP_TIMEOUT: Duration = Duration::from_secs(10);
/// Between attempts to have a session.
const BACKOFF: Duration = Duration::from_millis(250);
/// How long a session lasts before its lane ends it: from, and to.
const LIFE_MS: std::ops::Range<u64> = 8_000..22_000;

/// What all sessions of a run have in common, beside what all clients have.
pub(super) struct Board {
    pub(super) shared: Shared,
    pub(super) zookeeper: ZooKeeper,
    pub(super) root: String,
    /// Ephemeral nodes that were made and have not been seen gone.
    ephemerals: Mutex<BTreeMap<String, session::Ephemeral>>,
    is_over: AtomicBool,
    over: Notify,
    next_watch: AtomicI64,
    pub(super) next_sequential: AtomicI64,
}

impl Board {
    pub(super) fn new(options: &Options, context: Context, zookeeper: ZooKeeper, root: String) -> Result<Self, WorkloadError> {
        // A session stands where others have a producer, and a register where they have a partition.
        let options = Options { producers: options.register.sessions, consumers: 0, ..options.clone() };
        let keys = (0..options.register.registers).map(|key| KeyEntry { key: i64::from(key), topic: root.clone(), partition: 0 }).collect();
        Ok(Self {
            shared: Shared::new(options, keys, context)?,
            zookeeper,
            root,
            ephemerals: Mutex::default(),
            is_over: AtomicBool::new(false),
            over: Notify::new(),
            next_watch: AtomicI64::new(1),
            next_sequential: AtomicI64::new(0),
        })
    }

    pub(super) fn options(&self) -> &RegisterOptions {
        &self.shared.options.register
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.shared.clock.now_ns()
    }

    pub(super) fn below(&self, name: &str) -> String {
        format!("{}/{name}", self.root)
    }

    pub(super) fn register(&self, key: i64) -> String {
        self.below(&format!("r/{key}"))
    }

    pub(super) fn stop(&self) {
        self.is_over.store(true, Relaxed);
        self.over.notify_waiters();
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }

    pub(super) fn new_watch(&self) -> i64 {
        self.next_watch.fetch_add(1, Relaxed)
    }

    pub(super) fn ephemerals(&self) -> MutexGuard<'_, BTreeMap<String, session::Ephemeral>> {
        self.ephemerals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is no op of a client, but evidence for the checkers.
    pub(super) fn tell(&self, f: &str, value: Json) {
        self.shared.record(Draft::told(f, value));
    }

    pub(super) fn log(&self, level: &'static str, text: &str) {
        self.shared.log("register").say(level, "zookeeper", text);
    }

    /// Until then, or until the run's writing is over.
    pub(super) async fn sleep_until_ns(&self, until_ns: u64) {
        let wait = Duration::from_nanos(until_ns.saturating_sub(self.now_ns()));
        let over = self.over.notified();
        if !self.is_over() {
            tokio::select! {
                () = over => {}
                () = sleep(wait) => {}
            }
        }
    }
}

pub(super) async fn run(board: Arc<Board>, number: u32, start_ns: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(board.shared.seed ^ (u64::from(number) << 32 | 0x5e55));
    let register = board.options();
    let rate = board.shared.options.rate / f64::from(register.sessions);
    let phase = f64::from(number) / f64::from(register.sessions);
    let mut schedule = Schedule::new(start_ns, rate, &[phase], board.shared.options.backlog_ms * 1_000_000);
    let mut process = board.shared.new_process();
    while !board.is_over() {
        let client = match session::connect(&board).await {
            Ok(client) => client,
            Err(error) => {
                board.log("warning", &format!("lane {}: no session: {error}", number + 1));
                board.sleep_until_ns(board.now_ns() + BACKOFF.as_nanos() as u64).await;
                continue;
            }
        };
        let mut session = Session::new(&board, client, process);
        let until = Instant::now() + Duration::from_millis(rng.random_range(LIFE_MS));
        session.begin().await;
        while !board.is_over() && !session.is_lost() && Instant::now() < until {
            let now_ns = board.now_ns();
            match schedule.next(now_ns, |_| true) {
                Next::Wait { until_ns, .. } => board.sleep_until_ns(until_ns).await,
                Next::Send { intended_ns, .. } => session.op(intended_ns, &mut rng).await,
            }
            board.shared.counters.shed[number as usize].store(schedule.shed(), Relaxed);
            board.shared.counters.backlog[number as usize].store(schedule.backlog(board.now_ns()), Relaxed);
        }
        if session.is_lost() {
            board.shared.counters.crashed.fetch_add(1, Relaxed);
        }
        process = session.end();
    }
}
