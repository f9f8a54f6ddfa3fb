//! The bank's processes and readers together: started, counted, read to the end, stopped.

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kchaos_core::{Draft, KeyEntry, Offset, Recorder};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::TopicPartitionList;
use serde_json::{Map, json};

use super::fold::Fold;
use super::ledger::{self, Ledger};
use super::note::Note;
use super::restore::Collector;
use super::teller::{self, OPENING};
use crate::client_log::ClientLog;
use crate::counts::Counts;
use crate::options::{Isolation, Options};
use crate::payload::{self, Record};
use crate::producer::ProducerHandle;
use crate::properties::Role;
use crate::reader::Listener;
use crate::run::{Clients, ClientsRun};
use crate::shared::Shared;
use crate::{Context, FinalTarget, FinaleOutcome, Outstanding, Running, Stopped, WorkloadError};

/// Of a reader's snapshots that are as they should be, one in this time is told.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// Brokers look for something to compact every 15 s by default (`log.cleaner.backoff.ms`).
const COMPACTION: Duration = Duration::from_secs(45);
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_secs(2);

pub(super) struct BankRun {
    clients: ClientsRun,
    ledger: Arc<Ledger>,
    watchers: Vec<Arc<Watcher>>,
    end: Arc<Collector>,
}

struct BankClients {
    ledger: Arc<Ledger>,
    watchers: Vec<Arc<Watcher>>,
    end: Arc<Collector>,
}

/// Of one reader: hears what it reads, and tells what the accounts come to.
struct Watcher {
    per_process: usize,
    isolation: Isolation,
    total: i64,
    name: String,
    recorder: Arc<dyn Recorder>,
    state: Mutex<Watched>,
}

struct Watched {
    fold: Fold,
    told: Option<Instant>,
    moments: u64,
}

impl BankRun {
    pub(super) fn start(options: Options, keys: Vec<KeyEntry>, context: Context) -> Result<Self, WorkloadError> {
        let (processes, per_process) = (options.producers as usize, options.bank.accounts as usize);
        let accounts = processes * per_process;
        let ledger = Arc::new(Ledger::new(accounts, keys.len()));
        let end = Arc::new(Collector::new(accounts, per_process, keys.len()));
        let recorder = Arc::clone(&context.recorder);
        let watcher = |number: usize| {
            let fold = Fold::new(processes, per_process, keys.len());
            Arc::new(Watcher {
                per_process,
                isolation: options.isolation,
                total: total(accounts),
                name: format!("consumer-{}", number + 1),
                recorder: Arc::clone(&recorder),
                state: Mutex::new(Watched { fold, told: None, moments: 0 }),
            })
        };
        let watchers: Vec<_> = (0..options.consumers as usize).map(watcher).collect();
        let clients = BankClients { ledger: Arc::clone(&ledger), watchers: watchers.clone(), end: Arc::clone(&end) };
        let clients = ClientsRun::start_with(options, keys, context, Box::new(clients))?;
        Ok(Self { clients, ledger, watchers, end })
    }

    /// Waits until a superseded record is gone. Not being read into the history, this proves nothing by itself: the final read does.
    fn wait_for_compaction(&self, until: Instant) {
        let shared = &self.clients.shared;
        let name = "compaction";
        let mut config = shared.config(Role::Consumer, name);
        config.set("isolation.level", Isolation::ReadCommitted.name());
        let Ok(consumer) = BaseConsumer::from_config_and_context(&config, shared.log(name)) else { return };
        let superseded = self.ledger.first_superseded();
        while Instant::now() < until && !superseded.iter().any(|(key, offset)| is_gone(shared, &consumer, *key, *offset)) {
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// What the final readers found of the keys that they read to the end.
    fn tell_end(&self, outcome: &mut FinaleOutcome) {
        let shared = &self.clients.shared;
        let is_read = |entry: &KeyEntry| outcome.keys.iter().any(|read| read.key == entry.key && read.is_complete && !read.is_epoch_ahead);
        let keys: Vec<usize> = (0..shared.keys.len()).filter(|key| is_read(&shared.keys[*key])).collect();
        let found = self.end.balances();
        self.ledger.tell(shared, &keys, 0..found.len(), &self.end.found());
        let balances: Option<Vec<i64>> = found.into_iter().map(|last| last.map(|(_, note)| note.balance)).collect();
        if let Some(balances) = balances.filter(|_| keys.len() == shared.keys.len()) {
            shared.record(Draft::told("bank-snapshot", snapshot(&balances, Isolation::ReadCommitted, "final")));
        }
        let (superseded, removed) = self.ledger.compacted(&self.end.found());
        let moments: u64 = self.watchers.iter().map(|watcher| watcher.lock().moments).sum();
        outcome.told.push(format!(
            "the bank: readers saw all {} accounts together {moments} times; of {superseded} superseded records {removed} were compacted away before the final read",
            self.end.balances().len(),
        ));
    }
}

/// Whether the first record from this offset on is a later one.
fn is_gone(shared: &Shared, consumer: &BaseConsumer<ClientLog>, key: usize, offset: Offset) -> bool {
    let entry = &shared.keys[key];
    let mut list = TopicPartitionList::with_capacity(1);
    let is_assigned =
        list.add_partition_offset(&entry.topic, entry.partition, rdkafka::Offset::Offset(offset)).is_ok() && consumer.assign(&list).is_ok();
    if !is_assigned {
        return false;
    }
    let until = Instant::now() + LOOK;
    while let Some(polled) = consumer.poll(until.saturating_duration_since(Instant::now())) {
        match polled {
            Ok(message) if message.partition() == entry.partition => return message.offset() > offset,
            _ if Instant::now() >= until => return false,
            _ => {}
        }
    }
    false
}

fn total(accounts: usize) -> i64 {
    OPENING.saturating_mul(i64::try_from(accounts).unwrap_or(i64::MAX))
}

fn snapshot(balances: &[i64], isolation: Isolation, reader: &str) -> serde_json::Value {
    let accounts: Map<_, _> = balances.iter().enumerate().map(|(account, balance)| (ledger::name(account), json!(balance))).collect();
    json!({"accounts": accounts, "total": total(balances.len()), "isolation": isolation.name(), "reader": reader})
}

impl Watcher {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Watcher {
    fn assigned(&self, _key: usize, _next: Offset) {}

    fn read(&self, key: usize, offset: Offset, record: &Result<Record, String>, payload: &[u8]) {
        let Ok(record) = record else { return };
        let Some(note) = Note::decode(payload::content(payload), self.per_process) else { return };
        let mut state = self.lock();
        for balances in state.fold.read(key, offset, record.record_key as usize, note) {
            state.moments += 1;
            let is_due = state.told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
            let is_right = balances.iter().map(|balance| i128::from(*balance)).sum::<i128>() == i128::from(self.total);
            if is_due || !is_right {
                state.told = Some(Instant::now());
                self.recorder.record(Draft::told("bank-snapshot", snapshot(&balances, self.isolation, &self.name)));
            }
        }
    }
}

impl Clients for BankClients {
    fn writer_name(&self, number: usize) -> String {
        teller::name(number)
    }

    fn spawn_writer(
        &self,
        shared: &Arc<Shared>,
        number: usize,
        _start_ns: u64,
        ready: SyncSender<Result<(), String>>,
    ) -> std::io::Result<ProducerHandle> {
        teller::spawn(shared, &self.ledger, number, ready)
    }

    fn reader(&self, consumer: usize) -> (Option<Arc<dyn Listener>>, Duration) {
        let watcher = self.watchers.get(consumer).map(|watcher| -> Arc<dyn Listener> { Arc::<Watcher>::clone(watcher) });
        (watcher, Duration::ZERO)
    }

    fn final_listener(&self) -> Option<Arc<dyn Listener>> {
        Some(Arc::<Collector>::clone(&self.end))
    }
}

impl Running for BankRun {
    fn counts(&self) -> Counts {
        self.clients.counts()
    }

    fn stop_writes(&mut self, deadline: Duration) -> Outstanding {
        self.clients.stop_writes(deadline)
    }

    fn finale(&mut self, targets: &[FinalTarget], deadline: Duration) -> FinaleOutcome {
        self.wait_for_compaction(Instant::now() + COMPACTION.min(deadline));
        self.end.clear();
        let mut outcome = self.clients.finale(targets, deadline);
        self.tell_end(&mut outcome);
        outcome
    }

    fn stop(self: Box<Self>, deadline: Duration) -> Stopped {
        Box::new(self.clients).stop(deadline)
    }
}
