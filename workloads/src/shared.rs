//! What all clients of one run have in common.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use kchaos_core::{Clock, Draft, KeyEntry, Recorder, Value};
use rdkafka::ClientConfig;

use crate::client_log::{ClientLog, LogSink};
use crate::counts::Counters;
use crate::options::Options;
use crate::payload::Place;
use crate::properties::{self, Role};
use crate::racks::Served;
use crate::rotation::Generations;
use crate::sizes::Sizes;
use crate::{Context, WorkloadError};

const NAP: Duration = Duration::from_millis(20);

pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) seed: u64,
    pub(crate) recorder: Arc<dyn Recorder>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) keys: Vec<KeyEntry>,
    /// So many of them, the first ones, are written to by the run's producers.
    pub(crate) written: usize,
    pub(crate) places: Vec<Place>,
    /// Which of the keys there are so far.
    pub(crate) generations: Generations,
    pub(crate) counters: Counters,
    /// Set once: no new sends, and open ones are waited for until then.
    pub(crate) writes_until: OnceLock<Instant>,
    pub(crate) is_reading_over: AtomicBool,
    /// Nothing happens to clients any more on purpose, and who was to start late starts now.
    pub(crate) is_calm: AtomicBool,
    /// Where values are of many sizes: how long their sends took.
    pub(crate) sizes: Option<Sizes>,
    /// The run was cut off, and nobody writes any more.
    pub(crate) is_cut_off: bool,
    /// Who served those of its readers that are in a rack.
    pub(crate) served: Arc<Served>,
    run_id: String,
    bootstrap: String,
    /// May hold secrets.
    properties: BTreeMap<String, String>,
    log: Arc<dyn LogSink>,
    next_process: AtomicU32,
    next_client: AtomicU32,
    next_values: Vec<AtomicI64>,
}

impl Shared {
    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    pub(crate) fn run_id(&self) -> &str {
        &self.run_id
    }

    pub(crate) fn new(options: Options, keys: Vec<KeyEntry>, context: Context) -> Result<Self, WorkloadError> {
        for (name, value) in &context.properties {
            properties::check_one(name, value)?;
        }
        Ok(Self {
            seed: context.seed,
            recorder: context.recorder,
            clock: context.clock,
            generations: Generations::new(options.rotation, keys.len()),
            places: keys.iter().map(|entry| Place::new(&context.run_id, entry)).collect(),
            counters: Counters::new(&keys, options.producers as usize, options.consumers as usize),
            writes_until: OnceLock::new(),
            is_reading_over: AtomicBool::new(false),
            is_calm: AtomicBool::new(false),
            sizes: (options.order.is_some() || options.value_bytes_max.is_some()).then(Sizes::default),
            served: Arc::default(),
            run_id: context.run_id,
            bootstrap: context.bootstrap,
            properties: context.properties,
            log: context.log,
            is_cut_off: context.cut_off.is_some(),
            next_process: AtomicU32::new(context.cut_off.map_or(0, |cut_off| cut_off.first_process)),
            next_client: AtomicU32::new(context.cut_off.map_or(1, |cut_off| cut_off.first_client)),
            next_values: keys.iter().map(|_| AtomicI64::new(1)).collect(),
            written: keys.len(),
            keys,
            options,
        })
    }

    /// Keys that the run's producers write to at a time.
    pub(crate) fn written_at_a_time(&self) -> usize {
        self.written.min(self.generations.keys())
    }

    /// For clients that start late.
    pub(crate) fn wait_for_start(&self, after: Duration) {
        let until = Instant::now() + after;
        let is_over = || self.is_calm.load(Relaxed) || self.is_reading_over.load(Relaxed) || self.writes_until.get().is_some();
        while Instant::now() < until && !is_over() {
            std::thread::sleep(NAP);
        }
    }

    /// Numbers of processes are never used twice in a run.
    pub(crate) fn new_process(&self) -> u32 {
        self.next_process.fetch_add(1, Relaxed)
    }

    pub(crate) fn new_client(&self) -> u32 {
        self.next_client.fetch_add(1, Relaxed)
    }

    /// Values count from 1 for each key, over all producers.
    pub(crate) fn new_value(&self, key: usize) -> Value {
        self.next_values[key].fetch_add(1, Relaxed)
    }

    /// No greater value was sent to the key.
    pub(crate) fn greatest_value(&self, key: usize) -> Value {
        self.next_values[key].load(Relaxed) - 1
    }

    pub(crate) fn record(&self, draft: Draft) {
        self.recorder.record(draft);
    }

    /// A client's properties; `client.id` names the run and the client, so that broker logs can be read.
    pub(crate) fn properties(&self, role: Role, client: &str) -> BTreeMap<String, String> {
        let client_id = format!("kchaos-{}-{client}", self.run_id);
        properties::resolve(role, &self.options, &self.bootstrap, &self.properties, &client_id)
    }

    pub(crate) fn config(&self, role: Role, client: &str) -> ClientConfig {
        properties::config(&self.properties(role, client))
    }

    /// Where the live reader of this number says that it is.
    pub(crate) fn rack(&self, consumer: usize) -> Option<&str> {
        let racks = &self.options.client_racks;
        if racks.is_empty() { None } else { racks.get(consumer % racks.len()).map(String::as_str) }
    }

    pub(crate) fn log(&self, client: &str) -> ClientLog {
        ClientLog { sink: Arc::clone(&self.log), clock: Arc::clone(&self.clock), client: client.to_owned(), watch: None }
    }
}
