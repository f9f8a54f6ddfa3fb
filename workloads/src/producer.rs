//! One producer: a thread that starts sends on time. Its client takes the answers on a thread of its own, so that they are stamped when they
//! arrive, however busy this one is.
//!
//! What holds: the invoke is recorded before the client is told to send; every invoke gets exactly one completion, if need be "no delivery
//! report" at the end; a client that is dead is replaced by a new one with a new number, after a `crash`; clients are dropped on the thread
//! that made them.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kchaos_core::OpType;

use crate::instance::{Instance, Times, Told};
use crate::lanes::{Gate, HandOver};
use crate::library::{self, Library, Outgoing, Sending};
use crate::payload::{self, Record};
use crate::schedule::Next;
use crate::shared::Shared;
use crate::waiting::{Ready, Waiting};
use crate::writer::{Shape, Writer};

/// A generator sleeps no shorter, so that a high rate costs a thousand wake-ups a second and no more; and no longer, so that it hears of
/// the end.
const SLEEP_MIN: Duration = Duration::from_millis(1);
const SLEEP_MAX: Duration = Duration::from_millis(50);
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
/// Small buffers are used again, so many of them.
const SPARE_BYTES: usize = 4_096;
const SPARE_MAX: usize = 1_024;

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

/// Of a send that was begun when its client died or the run ended, before that client was given it.
const NEVER_SENT: &str = "never handed to the client";

pub(crate) const GIVEN_UP: &str = "given up: the client did not end in time";

/// Starts the producer's threads, with librdkafka. `ready` hears whether the first client could be made; of one that starts later, nothing but
/// that it will.
pub(crate) fn spawn(shared: &Arc<Shared>, writer: Writer, ready: SyncSender<Result<(), String>>) -> std::io::Result<ProducerHandle> {
    spawn_by(library::librdkafka(), shared, writer, ready)
}

/// The same with the clients of a library.
pub(crate) fn spawn_by(
    library: Arc<dyn Library>,
    shared: &Arc<Shared>,
    writer: Writer,
    ready: SyncSender<Result<(), String>>,
) -> std::io::Result<ProducerHandle> {
    let name = writer.name.clone();
    let current: Arc<Mutex<Option<Arc<Instance>>>> = Arc::default();
    let generator = Generator {
        library,
        shared: Arc::clone(shared),
        writer,
        current: Arc::clone(&current),
        sequence: 0,
        record_key: Vec::new(),
        payload: Vec::new(),
        waiting: Waiting::default(),
        going: Vec::new(),
        spare: Vec::new(),
    };
    let thread = std::thread::Builder::new().name(name.clone()).spawn(move || generator.run(&ready))?;
    let give_up = move || {
        let instance = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        instance.map_or(0, |instance| instance.give_up(GIVEN_UP))
    };
    Ok(ProducerHandle { name, thread, give_up: Box::new(give_up) })
}

struct Generator {
    library: Arc<dyn Library>,
    shared: Arc<Shared>,
    writer: Writer,
    current: Arc<Mutex<Option<Arc<Instance>>>>,
    /// Of the current client.
    sequence: u64,
    record_key: Vec<u8>,
    payload: Vec<u8>,
    /// Begun, and not handed to the client yet.
    waiting: Waiting,
    going: Vec<Ready>,
    /// Record keys and payloads that were handed over, for those that come.
    spare: Vec<(Vec<u8>, Vec<u8>)>,
}

enum End {
    /// No new sends; open ones are waited for until then.
    Stop(Instant),
    Fatal(String),
}

impl Generator {
    fn run(mut self, ready: &SyncSender<Result<(), String>>) {
        let mut is_first = true;
        let mut idle = Vec::new();
        if !self.writer.starts_after.is_zero() {
            let _ = ready.send(Ok(()));
            is_first = false;
            self.shared.wait_for_start(self.writer.starts_after);
            if self.shared.writes_until.get().is_some() {
                return;
            }
        }
        loop {
            let instance = Arc::new(Instance::new(&self.shared, &self.writer, self.gate(), std::mem::take(&mut idle)));
            match self.library.producer(&self.writer, &instance) {
                Err(error) if is_first => {
                    let _ = ready.send(Err(error));
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
            idle = instance.lock().lanes.take_idle();
            if self.shared.writes_until.get().is_some() {
                return;
            }
        }
    }

    /// The life of one client, from its first send to its end.
    fn run_instance(&mut self, instance: &Arc<Instance>, mut producer: Box<dyn Sending>) {
        let end = self.generate(instance, producer.as_mut());
        if let End::Stop(until) = end {
            self.hand_over_all(instance, producer.as_mut(), until);
        }
        for never_sent in self.waiting.drain() {
            let told = Told { op_type: OpType::Fail, error: Some(NEVER_SENT.to_owned()), offset: None, broker_id: None };
            instance.complete(never_sent.lane, |_, _| told);
        }
        match &end {
            End::Stop(until) => instance.wait_until_closed(*until),
            End::Fatal(_) => instance.wait_until_closed(Instant::now() + FATAL_DRAIN),
        }
        drop(producer);
        instance.give_up("no delivery report");
        if let End::Fatal(reason) = end {
            instance.record_crash(&reason);
            std::thread::sleep(RESTART_PAUSE);
        }
    }

    /// Of an idempotent producer's keys: closed a millisecond before the batch is sent.
    fn gate(&self) -> Option<Gate> {
        let is_wanted = self.shared.options.idempotence && self.library.has_gate();
        is_wanted.then(|| gate(self.writer.value_bytes, &self.shared.properties(self.writer.role, &self.writer.name)))
    }

    fn generate(&mut self, instance: &Instance, producer: &mut dyn Sending) -> End {
        let mut fatal_check = Instant::now();
        let mut told = Instant::now();
        loop {
            if let Some(until) = self.shared.writes_until.get() {
                return End::Stop(*until);
            }
            if fatal_check.elapsed() >= FATAL_CHECK_EVERY {
                fatal_check = Instant::now();
                if let Some(reason) = producer.fatal() {
                    return End::Fatal(reason);
                }
                if told.elapsed() >= STALL && instance.waits_for(self.shared.clock.now_ns()) >= STALL {
                    told = Instant::now();
                    if producer.is_stalled(self.shared.bootstrap()) {
                        instance.log.say("warning", "KCHAOS", "a send has been open for 15 s: telling the client its brokers again");
                    }
                }
            }
            if let Some(reason) = self.writer.source.is_replaced() {
                return End::Fatal(reason);
            }
            let now_ns = self.shared.clock.now_ns();
            let state = instance.lock();
            if let Some(key) = self.waiting.open(&state, now_ns) {
                drop(state);
                self.hand_over(instance, producer, key, now_ns);
                continue;
            }
            if let Some((key, shape)) = self.writer.source.due(now_ns, &|key| state.lanes.has_room(key)) {
                drop(state);
                self.send(instance, producer, (key, shape), Times { intended_ns: now_ns, now_ns });
                continue;
            }
            let first = self.shared.generations.first();
            match self.writer.schedule.next(now_ns, |stream| state.lanes.has_room(first + stream)) {
                Next::Send { stream, intended_ns } => {
                    drop(state);
                    let shape = self.writer.source.next(first + stream);
                    self.send(instance, producer, (first + stream, shape), Times { intended_ns, now_ns });
                }
                Next::Wait { until_ns, is_blocked } => {
                    let counters = &self.shared.counters;
                    counters.backlog[self.writer.number].store(self.writer.schedule.backlog(now_ns), Relaxed);
                    counters.shed[self.writer.number].store(self.writer.schedule.shed(), Relaxed);
                    let pause = Duration::from_nanos(until_ns.saturating_sub(now_ns)).clamp(SLEEP_MIN, SLEEP_MAX);
                    if is_blocked || !self.waiting.is_empty() {
                        instance.wait_for_room(state, pause);
                    } else {
                        drop(state);
                        std::thread::sleep(pause);
                    }
                }
            }
        }
    }

    /// Begins a send, and hands it to the client unless it must wait.
    fn send(&mut self, instance: &Instance, producer: &mut dyn Sending, (key, shape): (usize, Shape), times: Times) {
        let goes_first = !self.waiting.has(key);
        let Some((lane, send, hand_over)) = instance.begin(key, &shape, times, goes_first) else { return };
        let sequence = self.sequence;
        let record = Record { client: instance.client, sequence, value: send.value, record_key: shape.record_key };
        self.sequence += 1;
        payload::record_key_bytes(shape.record_key, &mut self.record_key);
        payload::encode(&self.shared.places[key], &record, &self.record_key, shape.value_bytes, &mut self.payload);
        match hand_over {
            HandOver::Go => {
                let (entry, record_key, payload) = (&self.shared.keys[key], self.record_key.as_slice(), self.payload.as_slice());
                if !producer.send(&Outgoing { lane, sequence, key, entry, record_key, payload }) {
                    std::thread::sleep(REFUSED_PAUSE);
                }
            }
            HandOver::Wait => {
                let (spare_key, spare_payload) = self.spare.pop().unwrap_or_default();
                let record_key = std::mem::replace(&mut self.record_key, spare_key);
                let payload = std::mem::replace(&mut self.payload, spare_payload);
                self.waiting.push(key, Ready { lane, sequence, record_key, payload });
            }
            HandOver::Gone => {}
        }
        // The client has copied it.
        if self.payload.capacity() > PAYLOAD_KEPT_BYTES {
            self.payload = Vec::new();
        }
    }

    /// Hands over what waits of a key, as far as its gate lets it through.
    fn hand_over(&mut self, instance: &Instance, producer: &mut dyn Sending, key: usize, now_ns: u64) {
        let mut going = std::mem::take(&mut self.going);
        self.waiting.go(instance, key, now_ns, &mut going);
        let entry = &self.shared.keys[key];
        let mut is_refused = false;
        for Ready { lane, sequence, record_key, payload } in going.drain(..) {
            is_refused |= !producer.send(&Outgoing { lane, sequence, key, entry, record_key: &record_key, payload: &payload });
            if payload.capacity() <= SPARE_BYTES && self.spare.len() < SPARE_MAX {
                self.spare.push((record_key, payload));
            }
        }
        self.going = going;
        if is_refused {
            std::thread::sleep(REFUSED_PAUSE);
        }
    }

    /// At the end of the writing: what waits is handed over as answers come.
    fn hand_over_all(&mut self, instance: &Instance, producer: &mut dyn Sending, until: Instant) {
        while !self.waiting.is_empty() && Instant::now() < until {
            let now_ns = self.shared.clock.now_ns();
            let state = instance.lock();
            if let Some(key) = self.waiting.open(&state, now_ns) {
                drop(state);
                self.hand_over(instance, producer, key, now_ns);
            } else {
                instance.wait_for_room(state, SLEEP_MAX);
            }
        }
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
