//! The clients of `append`, with record keys that never come twice, and the one who asks beside them.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use kchaos_core::{Draft, KeyEntry};
use serde_json::{Map, json};

use super::lane::{Lane, Told};
use crate::admin::{Admin, Change};
use crate::aside::{self, Aside};
use crate::counts::Counts;
use crate::options::Options;
use crate::producer::{self, ProducerHandle};
use crate::run::{Clients, ClientsRun};
use crate::shared::Shared;
use crate::writer::{Shape, Source, Writer};
use crate::{Context, FinalTarget, FinaleOutcome, Outstanding, Running, SizeClass, Stopped, WorkloadError};

const RETENTION: &str = "retention.ms";
/// How often a setting is asked for until it is taken, and how long brokers get to hear of it.
const TRIES: u32 = 20;
const HEARD: Duration = Duration::from_secs(2);
/// What a broker's clock may differ by from ours, and a timer be early.
const SLACK_MS: u64 = 1_000;

pub(super) struct OffsetsRun {
    clients: ClientsRun,
    admin: Arc<dyn Admin>,
    told: Arc<Told>,
    lane: Aside,
    retention_ms: u64,
    is_put_off: bool,
    unproved: Vec<String>,
}

/// Records whose keys are their own.
struct Unlike {
    count: u32,
    step: u32,
    value_bytes: usize,
}

impl Source for Unlike {
    fn next(&mut self, _key: usize) -> Shape {
        let record_key = self.count & (crate::payload::TIME_TO_CUT - 1);
        self.count = self.count.wrapping_add(self.step);
        Shape { record_key, value_bytes: self.value_bytes, is_oversize: false }
    }
}

struct UnlikeClients;

impl Clients for UnlikeClients {
    fn spawn_writer(
        &self,
        shared: &Arc<Shared>,
        number: usize,
        start_ns: u64,
        ready: SyncSender<Result<(), String>>,
    ) -> std::io::Result<ProducerHandle> {
        let mut writer = Writer::plain(shared, number, start_ns);
        let (count, step) = (u32::try_from(number).unwrap_or(0), shared.options.producers);
        writer.source = Box::new(Unlike { count, step, value_bytes: shared.options.value_bytes as usize });
        producer::spawn(shared, writer, ready)
    }
}

impl OffsetsRun {
    pub(super) fn start(options: Options, keys: Vec<KeyEntry>, context: Context) -> Result<Self, WorkloadError> {
        let admin = aside::admin("offsets", &context)?;
        let (offsets, partitions) = (options.offsets.clone(), options.partitions as usize);
        let clients = ClientsRun::start_with(options, keys, context, Box::new(UnlikeClients))?;
        let told = Arc::new(Told::default());
        let shared = Arc::clone(&clients.shared);
        tell_retention(&shared, partitions, offsets.retention_ms);
        let lane = Lane {
            shared,
            admin: Arc::clone(&admin),
            told: Arc::clone(&told),
            interval: Duration::from_millis(offsets.interval_ms),
            delete_every: Duration::from_millis(offsets.delete_every_ms),
            deleted: 0..partitions,
        };
        let lane = Aside::spawn("offsets", move |over| lane.run(&over))?;
        let retention_ms = offsets.retention_ms;
        Ok(Self { clients, admin, told, lane, retention_ms, is_put_off: false, unproved: Vec::new() })
    }

    /// Whether it was acknowledged.
    fn set_retention(&mut self, value: &str) -> bool {
        let topic = super::topic(self.clients.shared.run_id(), "expiring");
        self.clients.shared.record(Draft::told("config-asked", json!({format!("topic:{topic}"): {RETENTION: value}})));
        let change = Change::Setting { topic, name: RETENTION.to_owned(), value: Some(value.to_owned()) };
        for _ in 0..TRIES {
            match self.admin.change(&change) {
                Ok(()) => return true,
                Err(_) => std::thread::sleep(Duration::from_millis(500)),
            }
        }
        self.unproved
            .push(format!("{RETENTION}={value} of the topic that expires was not taken: what expired while it was read is not known"));
        false
    }

    fn report(&self) -> String {
        let of = |count: &std::sync::atomic::AtomicU64| count.load(Relaxed);
        let told = &self.told;
        format!(
            "leaders told {} starts and {} ends of logs and {} records by their time ({} questions had no answer); records were deleted {} times ({} refused or unknown)",
            of(&told.starts),
            of(&told.ends),
            of(&told.times),
            of(&told.unanswered),
            of(&told.deletions),
            of(&told.not_deleted)
        )
    }
}

/// What each key's topic promises to keep, for whoever judges.
fn tell_retention(shared: &Shared, partitions: usize, retention_ms: u64) {
    let of = |(at, entry): (usize, &KeyEntry)| {
        let expires = at / partitions.max(1) == 1;
        (entry.key.to_string(), if expires { json!({"retention_ms": retention_ms}) } else { json!({"retention_ms": null}) })
    };
    let mut value: Map<_, _> = shared.keys.iter().enumerate().map(of).collect();
    value.insert("slack_ms".into(), SLACK_MS.into());
    shared.record(Draft::told("log-retention", value.into()));
}

impl Running for OffsetsRun {
    fn counts(&self) -> Counts {
        self.clients.counts()
    }

    fn latency_by_size(&self) -> Vec<SizeClass> {
        self.clients.latency_by_size()
    }

    fn stop_writes(&mut self, deadline: Duration) -> Outstanding {
        self.lane.end();
        let mut outstanding = self.clients.stop_writes(deadline);
        // Only the finale asks for this before the end, and it reads what is there then.
        if !std::mem::replace(&mut self.is_put_off, true) && self.set_retention("-1") {
            std::thread::sleep(HEARD);
        }
        outstanding.left_behind.extend(self.lane.left_behind.iter().cloned());
        outstanding
    }

    fn finale(&mut self, targets: &[FinalTarget], deadline: Duration) -> FinaleOutcome {
        let mut outcome = self.clients.finale(targets, deadline);
        if std::mem::take(&mut self.is_put_off) {
            let as_it_was = self.retention_ms.to_string();
            self.set_retention(&as_it_was);
        }
        outcome.told = vec![self.report()];
        outcome.unproved = std::mem::take(&mut self.unproved);
        outcome
    }

    fn stop(mut self: Box<Self>, deadline: Duration) -> Stopped {
        self.lane.end();
        let Self { clients, mut lane, .. } = *self;
        let mut stopped = Box::new(clients).stop(deadline);
        stopped.left_behind.append(&mut lane.left_behind);
        stopped
    }
}
