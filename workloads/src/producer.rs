//! One producer: a thread that starts sends on time, and one that takes the delivery reports.
//!
//! Why two: acknowledgements are stamped when they arrive, however busy the generator is. (And rust-rdkafka 0.39's `poll` spins through the
//! last millisecond of its timeout, so short timeouts would burn a core.)
//!
//! What holds: the invoke is recorded before `produce()`; every invoke gets exactly one completion, if need be "no delivery report" at the
//! end; a client that librdkafka declared dead is replaced by a new one with a new number, after a `crash`; clients are dropped on the
//! thread that made them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kchaos_core::{Body, Draft, Offset, OpType, Process, Send as SendOp};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;

use crate::client_log::{ClientLog, log_by};
use crate::errors::{self, Attempt, Status};
use crate::lanes::{Gate, Lanes, OffsetGuard, OpenSend};
use crate::payload::{self, Record};
use crate::raw;
use crate::schedule::Next;
use crate::shared::Shared;
use crate::writer::{Shape, Writer};

/// A generator sleeps no shorter, so that a high rate costs a thousand wake-ups a second and no more; and no longer, so that it hears of
/// the end.
const SLEEP_MIN: Duration = Duration::from_millis(1);
const SLEEP_MAX: Duration = Duration::from_millis(50);
const POLL: Duration = Duration::from_millis(100);
const FATAL_CHECK_EVERY: Duration = Duration::from_millis(100);
/// A send that is open for so long may be one of a client that has forgotten its brokers.
const STALL: Duration = Duration::from_secs(15);
/// How long a dead client's own delivery reports are waited for before it is dropped.
const FATAL_DRAIN: Duration = Duration::from_secs(5);
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// Of a record in a batch, its key included, generously.
const RECORD_OVERHEAD_BYTES: usize = 64;
const REFUSED_PAUSE: Duration = Duration::from_millis(10);
/// A larger buffer is given back after each send.
const PAYLOAD_KEPT_BYTES: usize = 1 << 20;

/// The producer as its run holds it.
pub(crate) struct ProducerHandle {
    pub(crate) name: String,
    pub(crate) thread: JoinHandle<()>,
    pub(crate) give_up: Box<dyn Fn() -> u64 + Send>,
}

impl ProducerHandle {
    /// Completes what is still open as info, for a thread that does not end. A report that comes later is ignored.
    pub(crate) fn give_up(&self) -> u64 {
        (self.give_up)()
    }
}

pub(crate) const GIVEN_UP: &str = "given up: the client did not end in time";

/// Starts the producer's threads. `ready` hears whether the first client could be made; of one that starts later, nothing but that it will.
pub(crate) fn spawn(shared: &Arc<Shared>, writer: Writer, ready: SyncSender<Result<(), String>>) -> std::io::Result<ProducerHandle> {
    let name = writer.name.clone();
    let current: Arc<Mutex<Option<Arc<Instance>>>> = Arc::default();
    let generator = Generator {
        shared: Arc::clone(shared),
        writer,
        current: Arc::clone(&current),
        sequence: 0,
        record_key: Vec::new(),
        payload: Vec::new(),
    };
    let thread = std::thread::Builder::new().name(name.clone()).spawn(move || generator.run(&ready))?;
    let give_up = move || {
        let instance = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        instance.map_or(0, |instance| instance.give_up(GIVEN_UP))
    };
    Ok(ProducerHandle { name, thread, give_up: Box::new(give_up) })
}

struct Generator {
    shared: Arc<Shared>,
    writer: Writer,
    current: Arc<Mutex<Option<Arc<Instance>>>>,
    /// Of the current client.
    sequence: u64,
    record_key: Vec<u8>,
    payload: Vec<u8>,
}

enum End {
    /// No new sends; open ones are waited for until then.
    Stop(Instant),
    Fatal(String),
}

impl Generator {
    fn run(mut self, ready: &SyncSender<Result<(), String>>) {
        let mut is_first = true;
        if !self.writer.starts_after.is_zero() {
            let _ = ready.send(Ok(()));
            is_first = false;
            self.shared.wait_for_start(self.writer.starts_after);
            if self.shared.writes_until.get().is_some() {
                return;
            }
        }
        loop {
            let instance = Arc::new(Instance::new(&self.shared, &self.writer));
            let config = self.shared.config(self.writer.role, &self.writer.name);
            match BaseProducer::from_config_and_context(&config, InstanceContext(Arc::clone(&instance))) {
                Err(error) if is_first => {
                    let _ = ready.send(Err(error.to_string()));
                    return;
                }
                Err(error) => {
                    instance.log.say("error", "KCHAOS", &format!("cannot make a new producer: {error}"));
                    std::thread::sleep(RESTART_PAUSE);
                }
                Ok(producer) => {
                    if std::mem::take(&mut is_first) {
                        let _ = ready.send(Ok(()));
                    }
                    *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&instance));
                    self.sequence = 0;
                    self.run_instance(&instance, producer);
                }
            }
            if self.shared.writes_until.get().is_some() {
                return;
            }
        }
    }

    /// The life of one client, from its first send to its end.
    fn run_instance(&mut self, instance: &Arc<Instance>, producer: BaseProducer<InstanceContext>) {
        let producer = Arc::new(producer);
        let is_over = Arc::new(AtomicBool::new(false));
        let reports = {
            let (producer, is_over) = (Arc::clone(&producer), Arc::clone(&is_over));
            let poll = move || {
                while !is_over.load(Relaxed) {
                    producer.poll(POLL);
                }
            };
            std::thread::Builder::new().name(format!("{}-acks", self.writer.name)).spawn(poll)
        };
        let Ok(reports) = reports else {
            instance.log.say("error", "KCHAOS", "cannot start a thread for delivery reports");
            std::thread::sleep(RESTART_PAUSE);
            return;
        };
        let end = self.generate(instance, &producer);
        match &end {
            End::Stop(until) => instance.wait_until_closed(*until),
            End::Fatal(_) => instance.wait_until_closed(Instant::now() + FATAL_DRAIN),
        }
        is_over.store(true, Relaxed);
        let _ = reports.join();
        // Dropping purges what is left and takes its delivery reports, with their status.
        drop(producer);
        instance.give_up("no delivery report");
        if let End::Fatal(reason) = end {
            instance.record_crash(&reason);
            std::thread::sleep(RESTART_PAUSE);
        }
    }

    fn generate(&mut self, instance: &Instance, producer: &BaseProducer<InstanceContext>) -> End {
        let mut fatal_check = Instant::now();
        let mut told = Instant::now();
        loop {
            if let Some(until) = self.shared.writes_until.get() {
                return End::Stop(*until);
            }
            if fatal_check.elapsed() >= FATAL_CHECK_EVERY {
                fatal_check = Instant::now();
                if let Some((code, reason)) = producer.client().fatal_error() {
                    return End::Fatal(format!("{}: {reason}", raw::code_name(code)));
                }
                if told.elapsed() >= STALL && instance.waits_for(self.shared.clock.now_ns()) >= STALL {
                    told = Instant::now();
                    instance.log.say("warning", "KCHAOS", "a send has been open for 15 s: telling the client its brokers again");
                    raw::tell_brokers_again(producer.client(), self.shared.bootstrap());
                }
            }
            if let Some(reason) = self.writer.source.is_replaced() {
                return End::Fatal(reason);
            }
            let now_ns = self.shared.clock.now_ns();
            let state = instance.lock();
            if let Some((key, shape)) = self.writer.source.due(now_ns, &|key| state.lanes.has_room(key, now_ns)) {
                drop(state);
                self.send(instance, producer, (key, shape), now_ns, now_ns);
                continue;
            }
            match self.writer.schedule.next(now_ns, |key| state.lanes.has_room(key, now_ns)) {
                Next::Send { stream, intended_ns } => {
                    drop(state);
                    let shape = self.writer.source.next(stream);
                    self.send(instance, producer, (stream, shape), intended_ns, now_ns);
                }
                Next::Wait { until_ns, is_blocked } => {
                    let counters = &self.shared.counters;
                    counters.backlog[self.writer.number].store(self.writer.schedule.backlog(now_ns), Relaxed);
                    counters.shed[self.writer.number].store(self.writer.schedule.shed(), Relaxed);
                    let pause = Duration::from_nanos(until_ns.saturating_sub(now_ns)).clamp(SLEEP_MIN, SLEEP_MAX);
                    if is_blocked {
                        drop(instance.freed.wait_timeout(state, pause));
                    } else {
                        drop(state);
                        std::thread::sleep(pause);
                    }
                }
            }
        }
    }

    fn send(
        &mut self,
        instance: &Instance,
        producer: &BaseProducer<InstanceContext>,
        (key, shape): (usize, Shape),
        intended_ns: u64,
        now_ns: u64,
    ) {
        let Some((lane, send)) = instance.begin(key, &shape, intended_ns, now_ns) else { return };
        let record = Record { client: instance.client, sequence: self.sequence, value: send.value, record_key: shape.record_key };
        self.sequence += 1;
        payload::record_key_bytes(shape.record_key, &mut self.record_key);
        payload::encode(&self.shared.places[key], &record, &self.record_key, shape.value_bytes, &mut self.payload);
        let entry = &self.shared.keys[key];
        let record = BaseRecord::with_opaque_to(&entry.topic, lane)
            .partition(entry.partition)
            .key(self.record_key.as_slice())
            .payload(self.payload.as_slice());
        if let Err((error, _)) = producer.send(record) {
            let code = raw::code(&error);
            instance
                .complete(lane, &Report { code: Some(code), status: Status::NotPersisted, is_refused: true, offset: -1, broker_id: None });
            std::thread::sleep(REFUSED_PAUSE);
        }
        // librdkafka has copied it.
        if self.payload.capacity() > PAYLOAD_KEPT_BYTES {
            self.payload = Vec::new();
        }
    }
}

/// One client, as its two threads see it.
struct Instance {
    shared: Arc<Shared>,
    client: u32,
    log: ClientLog,
    /// A report that comes sooner after the send is about the first attempt.
    first_attempt_ns: u64,
    state: Mutex<State>,
    /// A lane was freed.
    freed: Condvar,
}

struct State {
    lanes: Lanes,
    guards: Vec<OffsetGuard>,
}

/// What was said of a send.
struct Report {
    code: Option<RDKafkaErrorCode>,
    status: Status,
    /// By `produce()` itself.
    is_refused: bool,
    offset: Offset,
    broker_id: Option<i32>,
}

impl Instance {
    fn new(shared: &Arc<Shared>, writer: &Writer) -> Self {
        let keys = shared.written;
        let properties = shared.properties(writer.role, &writer.name);
        let gate = shared.options.idempotence.then(|| gate(writer.value_bytes, &properties));
        let lanes = Lanes::new(writer.in_flight, keys, gate);
        Self {
            client: shared.new_client(),
            log: shared.log(&writer.name),
            first_attempt_ns: first_attempt_ns(&properties),
            state: Mutex::new(State { lanes, guards: vec![OffsetGuard::default(); keys] }),
            freed: Condvar::new(),
            shared: Arc::clone(shared),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For how long its oldest open send has been waiting.
    fn waits_for(&self, now_ns: u64) -> Duration {
        let oldest_ns = self.lock().lanes.oldest_sent_ns();
        Duration::from_nanos(oldest_ns.map_or(0, |sent_ns| now_ns.saturating_sub(sent_ns)))
    }

    /// Takes a lane and records the invoke.
    fn begin(&self, key: usize, shape: &Shape, intended_ns: u64, now_ns: u64) -> Option<(usize, OpenSend)> {
        let (lane, process) = self.lock().lanes.take(key, now_ns, || self.shared.new_process())?;
        let Shape { value_bytes, is_oversize, .. } = *shape;
        let send = OpenSend { process, key, value: self.shared.new_value(key), intended_ns, sent_ns: now_ns, value_bytes, is_oversize };
        self.shared.counters.invoked.fetch_add(1, Relaxed);
        self.shared.record(self.draft(&send, OpType::Invoke, None));
        self.lock().lanes.open(lane, send);
        Some((lane, send))
    }

    /// Records the completion and frees the lane. The second report about a lane, if there ever is one, is nobody's.
    fn complete(&self, lane: usize, report: &Report) {
        let (send, offset) = {
            let mut state = self.lock();
            let Some(send) = state.lanes.close(lane) else { return };
            let is_acked = report.code.is_none() && report.status == Status::Persisted;
            (send, if is_acked { state.guards[send.key].check(report.offset) } else { None })
        };
        let attempt = if report.is_refused {
            Attempt::Refused
        } else if send.is_oversize {
            Attempt::Oversize
        } else if self.shared.clock.now_ns().saturating_sub(send.sent_ns) < self.first_attempt_ns {
            Attempt::First
        } else {
            Attempt::Any
        };
        let op_type = errors::classify(report.code, report.status, attempt);
        let mut draft = self.draft(&send, op_type, offset);
        draft.error = match report.code {
            Some(code) => Some(errors::describe(code, report.status, attempt)),
            None if op_type == OpType::Info => Some("not acknowledged (acks=0)".to_owned()),
            None => None,
        };
        draft.node = report.broker_id.map(|id| format!("kafka:{id}"));
        self.finish(lane, &send, draft, offset);
    }

    fn finish(&self, lane: usize, send: &OpenSend, draft: Draft, offset: Option<Offset>) {
        let op_type = draft.op_type;
        self.shared.record(draft);
        self.shared.counters.completed(op_type, send.key, offset);
        if let Some(sizes) = &self.shared.sizes {
            sizes.completed(send, op_type, self.shared.clock.now_ns());
        }
        let is_room = self.lock().lanes.release(lane, send.key, op_type == OpType::Info);
        if is_room {
            self.freed.notify_all();
        }
    }

    /// Completes as info what has no delivery report and will get none.
    fn give_up(&self, reason: &str) -> u64 {
        let open = self.lock().lanes.close_all();
        for (lane, send) in &open {
            let mut draft = self.draft(send, OpType::Info, None);
            draft.error = Some(reason.to_owned());
            self.finish(*lane, send, draft, None);
        }
        open.len() as u64
    }

    fn wait_until_closed(&self, until: Instant) {
        let mut state = self.lock();
        while state.lanes.used() > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.freed.wait_timeout(state, left.min(SLEEP_MAX)).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn record_crash(&self, reason: &str) {
        self.shared.counters.crashed.fetch_add(1, Relaxed);
        let process = Process::Client(self.shared.new_process());
        for op_type in [OpType::Invoke, OpType::Info] {
            let mut draft = Draft::new(process, op_type, Body::Crash);
            draft.client = Some(self.client);
            draft.error = (op_type == OpType::Info).then(|| reason.to_owned());
            self.shared.record(draft);
        }
    }

    fn draft(&self, send: &OpenSend, op_type: OpType, offset: Option<Offset>) -> Draft {
        let body = Body::Send(vec![SendOp { key: self.shared.keys[send.key].key, value: send.value, offset }]);
        let mut draft = Draft::new(Process::Client(send.process), op_type, body);
        draft.client = Some(self.client);
        draft.extra.intended_ns = Some(send.intended_ns);
        draft
    }
}

/// The shortest time after which librdkafka may have sent a message again: 0.8 × `retry.backoff.ms`, which jitter can take off.
pub(crate) fn first_attempt_ns(properties: &BTreeMap<String, String>) -> u64 {
    let read = |name: &str| properties.get(name).and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0);
    read("retry.backoff.ms").min(read("retry.backoff.max.ms")).saturating_mul(800_000)
}

/// The gate of an idempotent producer's keys: closed a millisecond before librdkafka sends the batch.
fn gate(value_bytes: usize, properties: &BTreeMap<String, String>) -> Gate {
    let linger = ["queue.buffering.max.ms", "linger.ms"].iter().find_map(|name| properties.get(*name));
    let linger_ms = linger.and_then(|text| text.trim().parse::<f64>().ok()).unwrap_or(0.0);
    let window_ns = ((linger_ms - 1.0).max(0.0) * 1e6) as u64;
    Gate { window_ns, record_bytes: value_bytes + RECORD_OVERHEAD_BYTES }
}

/// librdkafka's callbacks, all on the report thread (and at the end on the one that drops the client).
struct InstanceContext(Arc<Instance>);

log_by!(InstanceContext, 0.log);

impl ProducerContext for InstanceContext {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, lane: usize) {
        let (message, code) = match result {
            Ok(message) => (message, None),
            Err((error, message)) => (message, Some(raw::code(error))),
        };
        let report =
            Report { code, status: raw::status(message), is_refused: false, offset: message.offset(), broker_id: raw::broker_id(message) };
        self.0.complete(lane, &report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_attempt_ends_where_a_retry_may_begin() {
        for (backoff, max, expected_ms) in [("100", "1000", 80), ("2000", "1000", 800), ("0", "1000", 0), ("soon", "1000", 0)] {
            let properties = [("retry.backoff.ms", backoff), ("retry.backoff.max.ms", max)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
            assert_eq!(first_attempt_ns(&properties), expected_ms * 1_000_000, "{backoff} {max}");
        }
    }
}
