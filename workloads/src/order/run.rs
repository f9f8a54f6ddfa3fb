//! The orderers, the client of large envelopes and the readers beside them: started, counted, brought to the same place, stopped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use kchaos_core::{Key, KeyEntry, Offset};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::cutter::Rules;
use super::large::Large;
use super::ledger::{Found, Ledger};
use super::options::OrderOptions;
use super::orderer::{Envelopes, Orderer, Service};
use crate::counts::Counts;
use crate::options::Options;
use crate::producer::{self, ProducerHandle};
use crate::properties::Role;
use crate::reader::Listener;
use crate::run::{Clients, ClientsRun};
use crate::schedule::Schedule;
use crate::shared::Shared;
use crate::writer::{Drawn, Writer, schedule};
use crate::{Context, FinalOrder, FinalTarget, FinaleOutcome, Outstanding, Running, SizeClass, Stopped, WorkloadError};

/// A late orderer starts within this time.
const LATE_S: std::ops::Range<u64> = 5..15;
/// What orderers get to come to the end of their channels, however long the final reads took.
const CATCH_UP_MIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Of large sends that could not start in time the oldest are left out sooner than of others: they would come one after the other.
const LARGE_BACKLOG_MAX: u64 = 3;

pub(super) struct OrderRun {
    clients: ClientsRun,
    service: Arc<Service>,
    orderers: Vec<Arc<Orderer>>,
}

/// The clients: orderers first, then readers without a part in it; the writer of large envelopes last.
struct OrderClients {
    service: Arc<Service>,
    orderers: Vec<Arc<Orderer>>,
    late: Vec<Duration>,
    order: OrderOptions,
    seed: u64,
}

impl OrderRun {
    pub(super) fn start(mut options: Options, keys: Vec<KeyEntry>, context: Context) -> Result<Self, WorkloadError> {
        let order = options.order.clone().unwrap_or_default();
        let count = options.producers;
        let service = Arc::new(Service {
            rules: Rules {
                messages: order.batch_messages,
                bytes: u64::from(order.batch_bytes),
                timeout_ns: order.batch_timeout_ms.saturating_mul(1_000_000),
            },
            ledger: Ledger::new(keys.len()),
            keys: keys.iter().map(|entry| entry.key).collect(),
            names: (0..count).map(|number| format!("orderer-{}", number + 1)).collect(),
            clock: Arc::clone(&context.clock),
            restart_every: Duration::from_millis(order.restart_every_ms),
            is_calm: AtomicBool::new(false),
            restarts: AtomicU64::new(0),
            times_to_cut: AtomicU64::new(0),
        });
        let seed = context.seed;
        let orderers: Vec<_> = (0..count as usize).map(|number| Orderer::new(&service, number, seed)).collect();
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x6c61_7465);
        let late = (0..count)
            .map(|number| Duration::from_secs(if number >= count - order.late { random.random_range(LATE_S) } else { 0 }))
            .collect();
        // Each orderer reads, and whoever sends large envelopes is one more who writes.
        options.consumers += count;
        options.producers += u32::from(order.large_bytes > 0);
        let clients = OrderClients { service: Arc::clone(&service), orderers: orderers.clone(), late, order, seed };
        let clients = ClientsRun::start_with(options, keys, context, Box::new(clients))?;
        Ok(Self { clients, service, orderers })
    }

    fn calm(&self) {
        self.service.is_calm.store(true, Relaxed);
        self.clients.shared.is_calm.store(true, Relaxed);
    }

    /// Waits until every orderer has read every channel to its end, and says who has not.
    fn catch_up(&self, targets: &[FinalTarget], until: Instant) -> Vec<String> {
        loop {
            let behind = self.behind(targets);
            if behind.is_empty() || Instant::now() >= until {
                return behind;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn behind(&self, targets: &[FinalTarget]) -> Vec<String> {
        let mut behind = Vec::new();
        for target in targets {
            let Some(channel) = self.service.keys.iter().position(|key| *key == target.key) else { continue };
            for (orderer, name) in self.orderers.iter().zip(&self.service.names) {
                let cutter = orderer.cutter(channel);
                if cutter.next() < target.end {
                    behind.push(format!("{name} came to offset {} of key {}, which ends at {}", cutter.next(), target.key, target.end));
                } else if cutter.is_lost() {
                    behind.push(format!("{name} has not read all of key {}, and cannot know its blocks", target.key));
                }
            }
        }
        behind
    }

    /// All orderers at the end of a channel hold the same that is in no block yet.
    fn compare_rests(&self) {
        for (channel, key) in self.service.keys.iter().enumerate() {
            let mut first: Option<(&str, State)> = None;
            for (orderer, name) in self.orderers.iter().zip(&self.service.names) {
                let cutter = orderer.cutter(channel);
                let state = (cutter.next(), cutter.height(), cutter.rest());
                match first {
                    _ if cutter.is_lost() => {}
                    None => first = Some((name, state)),
                    // Somewhere else: it says nothing.
                    Some((_, (next, ..))) if next != state.0 => {}
                    Some((_, known)) if known == state => {}
                    Some((other, (next, height, _))) => {
                        let text = format!(
                            "at offset {next} of key {key} {other} had cut {height} blocks and {name} {}, or they hold different envelopes: all \
                             orderers should come to the same",
                            state.1
                        );
                        self.service.ledger.wrong(None, text);
                    }
                }
            }
        }
    }

    fn told(&self, heights: &BTreeMap<Key, u64>) -> String {
        let (restarts, times) = (self.service.restarts.load(Relaxed), self.service.times_to_cut.load(Relaxed));
        let (refused, taken) = self.clients.shared.sizes.as_ref().map(crate::sizes::Sizes::oversize).unwrap_or_default();
        let oversize = match (refused, taken) {
            (0, 0) => String::new(),
            (refused, 0) => format!("; {refused} sends over the limit were refused for their size"),
            (refused, taken) => format!("; {taken} sends over the limit WERE TAKEN, {refused} refused"),
        };
        format!(
            "{} orderers cut {} blocks in {} ({times} times to cut were sent), with {restarts} restarts{oversize}",
            self.orderers.len(),
            heights.values().sum::<u64>(),
            if heights.len() == 1 { "one channel".to_owned() } else { format!("{} channels", heights.len()) },
        )
    }
}

/// Next offset, height, and what is in no block.
type State = (Offset, u64, Option<(Offset, u32, u64)>);

impl Clients for OrderClients {
    fn writers(&self, shared: &Shared) -> usize {
        shared.options.producers as usize
    }

    fn writer_name(&self, number: usize) -> String {
        self.service.names.get(number).cloned().unwrap_or_else(|| "large".to_owned())
    }

    fn spawn_writer(
        &self,
        shared: &Arc<Shared>,
        number: usize,
        start_ns: u64,
        ready: SyncSender<Result<(), String>>,
    ) -> std::io::Result<ProducerHandle> {
        let writer = match self.orderers.get(number) {
            Some(orderer) => self.envelopes(shared, orderer, start_ns),
            None => self.large(shared, number, start_ns),
        };
        producer::spawn(shared, writer, ready)
    }

    fn reader_name(&self, consumer: usize) -> String {
        match self.service.names.get(consumer) {
            Some(name) => format!("{name}-reader"),
            None => format!("consumer-{}", consumer - self.orderers.len() + 1),
        }
    }

    fn reader(&self, consumer: usize) -> (Option<Arc<dyn Listener>>, Duration) {
        match self.orderers.get(consumer) {
            Some(orderer) => (Some(Arc::clone(orderer) as Arc<dyn Listener>), self.late[consumer]),
            None => (None, Duration::ZERO),
        }
    }

    /// One who reads everything once more, and cuts as the orderers did.
    fn final_listener(&self) -> Option<Arc<dyn Listener>> {
        Some(Orderer::new(&self.service, self.orderers.len(), self.seed))
    }
}

impl OrderClients {
    fn envelopes(&self, shared: &Shared, orderer: &Arc<Orderer>, start_ns: u64) -> Writer {
        let (number, options) = (orderer.number, &shared.options);
        let starts_after = self.late[number];
        // What it would have sent before it was there is none of its backlog.
        let start_ns = start_ns + u64::try_from(starts_after.as_nanos()).unwrap_or(0);
        Writer {
            name: self.writer_name(number),
            number,
            role: Role::Producer,
            schedule: schedule(shared, number, self.orderers.len(), start_ns),
            in_flight: options.in_flight as usize,
            value_bytes: self.order.value_bytes_max as usize,
            source: Box::new(Envelopes {
                orderer: Arc::clone(orderer),
                drawn: Drawn::new(shared, number, self.order.value_bytes_max as usize),
            }),
            starts_after,
        }
    }

    /// One at a time, to the channels in turn.
    fn large(&self, shared: &Shared, number: usize, start_ns: u64) -> Writer {
        let (keys, every_ms) = (shared.keys.len(), self.order.large_every_ms.max(1));
        let phases: Vec<f64> = (0..keys).map(|key| key as f64 / keys as f64).collect();
        let backlog_ns = every_ms.saturating_mul(LARGE_BACKLOG_MAX * 1_000_000);
        Writer {
            name: self.writer_name(number),
            number,
            role: Role::Large,
            schedule: Schedule::new(start_ns, 1_000.0 / every_ms as f64, &phases, backlog_ns),
            in_flight: 1,
            value_bytes: self.order.large_bytes as usize,
            source: Box::new(Large::new(self.seed, &shared.options, &self.order)),
            starts_after: Duration::ZERO,
        }
    }
}

impl Running for OrderRun {
    fn counts(&self) -> Counts {
        self.clients.counts()
    }

    fn latency_by_size(&self) -> Vec<SizeClass> {
        self.clients.latency_by_size()
    }

    fn stop_writes(&mut self, deadline: Duration) -> Outstanding {
        self.calm();
        self.clients.stop_writes(deadline)
    }

    fn finale(&mut self, targets: &[FinalTarget], deadline: Duration) -> FinaleOutcome {
        self.calm();
        let until = Instant::now() + deadline;
        let mut outcome = self.clients.finale(targets, deadline);
        let behind = self.catch_up(targets, until.max(Instant::now() + CATCH_UP_MIN));
        self.compare_rests();
        let ledger = &self.service.ledger;
        let blocks: BTreeMap<Key, u64> = self.service.keys.iter().enumerate().map(|(at, key)| (*key, ledger.height(at))).collect();
        let Found { count, examples, .. } = ledger.found();
        outcome.order = Some(FinalOrder { told: self.told(&blocks), blocks, behind, disagreements: count, examples });
        outcome
    }

    fn stop(self: Box<Self>, deadline: Duration) -> Stopped {
        self.calm();
        Box::new(self.clients).stop(deadline)
    }
}
