//! One consumer: a thread that assigns partitions to itself and reads them, while the run goes on or at its end.
//!
//! Why assign and not subscribe: a reader of its own position depends on no group, and dropping it takes 0.1 s where a group member of a
//! paused broker can block for a minute. Its own next offset goes into every assign, so positions never rest on what librdkafka remembers.
//!
//! One poll op gathers what arrives within 50 ms of its first record, up to 500 records; a poll that finds nothing stays open for 5 s, so
//! an idle reader writes a line or two every 5 s and not a thousand.
//!
//! Offsets are taken by the markers of transactions too, which no poll returns. So the next offset follows the consumer's own position, which
//! passes them, and a log that ends in markers is read to its end. The final reads are of what is committed, whatever the run's isolation.
//!
//! A position out of range (a log that was cut, or a deposed leader with a shorter one) is recorded as the failure of the poll. The reader
//! then assigns its own position again, a second apart: a deposed leader's answer passes. If it lasts, all keys are read again from the
//! start of their logs, which is a known place; unless some log starts beyond the position now (its records expired or were deleted): then the
//! reader ends, and a new one goes on where the logs start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kchaos_core::{Body, Draft, Offset, OpType, Polled, Process, Value};

use crate::client_log::ClientLog;
use crate::library::{self, Incoming, Library, ReadError, Reading};
use crate::options::Isolation;
use crate::payload::{self, Record};
use crate::shared::Shared;

const BATCH_RECORDS_MAX: usize = 500;
const GATHER: Duration = Duration::from_millis(50);
const EMPTY_POLL: Duration = Duration::from_secs(5);
const POLL_SLICE: Duration = Duration::from_millis(100);
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);
/// Assigns of its own position before a reader believes that the log no longer reaches it.
const OUT_OF_RANGE_TRIES: u32 = 5;
/// librdkafka has lost wake-ups before: a reader that gets nothing for so long although there is something to read assigns anew.
const STALL: Duration = Duration::from_secs(15);
/// To be told where one log starts.
const WATERMARKS: Duration = Duration::from_secs(5);

/// What a reader is there for.
pub(crate) enum Purpose {
    /// Reads until told to stop; `consumer` counts from 0.
    Live { consumer: usize },
    /// Reads until every key's next offset is at its end (exclusive), or the time is up.
    Final { ends: Vec<Offset>, until: Instant },
}

/// How far a reader came, in the order of its keys.
pub(crate) struct ReaderOutcome {
    pub(crate) next: Vec<Offset>,
    /// The greatest epoch of a leader that appended a record read.
    pub(crate) leader_epochs: Vec<Option<i32>>,
    pub(crate) errors: Vec<String>,
}

pub(crate) struct ReaderHandle {
    pub(crate) name: String,
    pub(crate) thread: JoinHandle<ReaderOutcome>,
}

/// Hears what a reader reads, in order. Keys are positions in the run's keys.
pub(crate) trait Listener: Send + Sync {
    /// The key is read from here on.
    fn assigned(&self, key: usize, next: Offset);

    /// `record` is an error's text where it was not what was sent.
    fn read(&self, key: usize, offset: Offset, record: &Result<Record, String>, payload: &[u8]);

    /// Whether the client is to end now as in a crash; where the next one goes on, for every key of the run.
    fn restarts_at(&self) -> Option<Vec<Offset>> {
        None
    }
}

/// A reader before it is started.
pub(crate) struct ReaderPlan {
    pub(crate) name: String,
    /// Positions in the run's keys.
    pub(crate) keys: Vec<usize>,
    /// An offset for each of them.
    pub(crate) start: Vec<Offset>,
    pub(crate) purpose: Purpose,
    pub(crate) listener: Option<Arc<dyn Listener>>,
    /// It is made so long after the others.
    pub(crate) starts_after: Duration,
}

/// Starts a reader, with librdkafka. `ready` hears whether the client could be made; of one that starts later, nothing but that it will.
pub(crate) fn spawn(shared: &Arc<Shared>, plan: ReaderPlan, ready: SyncSender<Result<(), String>>) -> std::io::Result<ReaderHandle> {
    spawn_by(library::librdkafka(), shared, plan, ready)
}

/// The same with a client of a library.
pub(crate) fn spawn_by(
    library: Arc<dyn Library>,
    shared: &Arc<Shared>,
    plan: ReaderPlan,
    ready: SyncSender<Result<(), String>>,
) -> std::io::Result<ReaderHandle> {
    let ReaderPlan { name, keys, start, purpose, listener, starts_after } = plan;
    let reader = Reader {
        library,
        log: shared.log(&name),
        client: shared.new_client(),
        process: shared.new_process(),
        batch: Batch::new(keys.len()),
        leader_epochs: vec![None; keys.len()],
        next: start.clone(),
        out_of_range: 0,
        progress: Instant::now(),
        position_from: Instant::now(),
        last_error: None,
        errors: Vec::new(),
        shared: Arc::clone(shared),
        name: name.clone(),
        keys,
        start,
        purpose,
        listener,
        is_restarted: false,
    };
    let run = move || {
        if !starts_after.is_zero() {
            let _ = ready.try_send(Ok(()));
            reader.shared.wait_for_start(starts_after);
        }
        reader.run(&ready)
    };
    let thread = std::thread::Builder::new().name(name.clone()).spawn(run)?;
    Ok(ReaderHandle { name, thread })
}

struct Reader {
    library: Arc<dyn Library>,
    shared: Arc<Shared>,
    name: String,
    log: ClientLog,
    client: u32,
    process: u32,
    keys: Vec<usize>,
    start: Vec<Offset>,
    purpose: Purpose,
    next: Vec<Offset>,
    leader_epochs: Vec<Option<i32>>,
    batch: Batch,
    /// Positions out of range in a row.
    out_of_range: u32,
    /// When a record was last read, or an assignment made.
    progress: Instant,
    /// Since when the consumer's position is of its present assignment: that of an earlier one may be told for a moment.
    position_from: Instant,
    /// The last error and when it was recorded: repetitions within a second are not.
    last_error: Option<(String, Instant)>,
    errors: Vec<String>,
    listener: Option<Arc<dyn Listener>>,
    /// Some key goes on elsewhere than where the last client stopped.
    is_restarted: bool,
}

/// The records of one poll.
struct Batch {
    count: usize,
    records: Vec<Vec<(Offset, Value)>>,
    leader_epochs: Vec<Option<i32>>,
    corrupt: Vec<(usize, Offset, String)>,
}

/// Why a poll op ended.
enum PollEnd {
    Done,
    Error { text: String, is_out_of_range: bool, is_fatal: bool },
}

impl Reader {
    fn run(mut self, ready: &SyncSender<Result<(), String>>) -> ReaderOutcome {
        let mut is_first = true;
        while !self.is_over() {
            match self.library.consumer(&self.shared, &self.name, self.isolation(), self.rack()) {
                Ok(mut consumer) => {
                    let _ = ready.try_send(Ok(()));
                    self.position_from = Instant::now();
                    self.read(consumer.as_mut(), is_first);
                    is_first = false;
                }
                Err(error) => {
                    self.errors.push(error.clone());
                    if ready.try_send(Err(error)).is_ok() && is_first {
                        break;
                    }
                    std::thread::sleep(PAUSE_AFTER_ERROR);
                }
            }
        }
        ReaderOutcome { next: self.next, leader_epochs: self.leader_epochs, errors: self.errors }
    }

    fn isolation(&self) -> Isolation {
        match self.purpose {
            Purpose::Live { .. } => self.shared.options.isolation,
            Purpose::Final { .. } => Isolation::ReadCommitted,
        }
    }

    /// Final reads are the leader's own word: they name no rack.
    fn rack(&self) -> Option<&str> {
        match self.purpose {
            Purpose::Live { consumer } => self.shared.rack(consumer),
            Purpose::Final { .. } => None,
        }
    }

    fn is_over(&self) -> bool {
        match &self.purpose {
            Purpose::Live { .. } => self.shared.is_reading_over.load(Relaxed),
            Purpose::Final { ends, until } => self.is_complete(ends) || Instant::now() >= *until,
        }
    }

    fn is_complete(&self, ends: &[Offset]) -> bool {
        self.next.iter().zip(ends).all(|(next, end)| next >= end)
    }

    /// The life of one client. It returns when reading is over, or when the client is dead and a new one (a new process) must go on.
    fn read(&mut self, consumer: &mut dyn Reading, is_from_start: bool) {
        let is_again = std::mem::take(&mut self.is_restarted) && self.next == self.start;
        self.assign(consumer, is_from_start || is_again);
        while !self.is_over() {
            match self.poll(consumer) {
                PollEnd::Done => {}
                PollEnd::Error { is_fatal: true, text, .. } => {
                    self.crash(&text);
                    return;
                }
                PollEnd::Error { is_out_of_range: true, .. } => {
                    std::thread::sleep(PAUSE_AFTER_ERROR);
                    self.position_from = Instant::now() + consumer.settles_in();
                    self.out_of_range += 1;
                    let is_lost = self.out_of_range > OUT_OF_RANGE_TRIES;
                    if is_lost && self.skip_to_starts(consumer) {
                        self.out_of_range = 0;
                        self.crash("out of range: goes on where the logs start now");
                        return;
                    }
                    if is_lost {
                        self.out_of_range = 0;
                        self.next.clone_from(&self.start);
                    }
                    self.assign(consumer, is_lost);
                }
                PollEnd::Error { .. } => {}
            }
            if self.take_up_new_keys() {
                self.position_from = Instant::now() + consumer.settles_in();
                self.assign(consumer, false);
            }
            if let Some(next) = self.listener.as_ref().and_then(|listener| listener.restarts_at()) {
                self.next = self.keys.iter().map(|key| next[*key]).collect();
                self.is_restarted = true;
                self.replace("restarted on purpose: reads again");
                return;
            }
            if self.progress.elapsed() >= STALL && self.has_more() {
                self.log.say("warning", "KCHAOS", "nothing read for 15 s although there is more: assigning anew");
                consumer.is_stalled(self.shared.bootstrap());
                self.position_from = Instant::now() + consumer.settles_in();
                self.assign(consumer, false);
            }
        }
    }

    /// Those that came since, from their starts; whether there are any.
    fn take_up_new_keys(&mut self) -> bool {
        let (known, begun) = (self.keys.len(), self.shared.generations.begun());
        if matches!(self.purpose, Purpose::Final { .. }) || begun <= known {
            return false;
        }
        self.keys.extend(known..begun);
        self.start.resize(begun, 0);
        self.next.resize(begun, 0);
        self.leader_epochs.resize(begun, None);
        self.batch.records.resize(begun, Vec::new());
        self.batch.leader_epochs.resize(begun, None);
        true
    }

    /// Where a log starts beyond the next offset to read: its records were deleted or have expired. Whether it is so of any key.
    fn skip_to_starts(&mut self, consumer: &mut dyn Reading) -> bool {
        let mut skipped = false;
        for (key, next) in self.keys.iter().zip(&mut self.next) {
            let Some(start) = consumer.start_of(&self.shared.keys[*key], WATERMARKS) else { continue };
            if start > *next {
                (*next, skipped) = (start, true);
            }
        }
        skipped
    }

    fn has_more(&self) -> bool {
        match &self.purpose {
            Purpose::Live { .. } => {
                self.keys.iter().zip(&self.next).any(|(key, next)| self.shared.counters.acked_offset_max(*key) >= *next)
            }
            Purpose::Final { ends, .. } => !self.is_complete(ends),
        }
    }

    /// Assigns all keys at their next offsets; `from_start` says that those are the starts of the logs.
    fn assign(&mut self, consumer: &mut dyn Reading, from_start: bool) {
        let keys = self.keys.iter().map(|key| self.shared.keys[*key].key).collect();
        let body = Body::Assign { keys, seek_to_beginning: from_start };
        self.record(OpType::Invoke, body.clone(), None);
        if let Some(listener) = &self.listener {
            self.keys.iter().zip(&self.next).for_each(|(key, next)| listener.assigned(*key, *next));
        }
        let places: Vec<_> = self.keys.iter().zip(&self.next).map(|(key, next)| (&self.shared.keys[*key], *next)).collect();
        let result = consumer.assign(&places);
        self.progress = Instant::now();
        match result {
            Ok(()) => self.record(OpType::Ok, body, None),
            Err(error) => {
                self.errors.push(error.clone());
                self.record(OpType::Fail, body, Some(error));
                std::thread::sleep(PAUSE_AFTER_ERROR);
            }
        }
    }

    /// One poll op.
    fn poll(&mut self, consumer: &mut dyn Reading) -> PollEnd {
        self.record(OpType::Invoke, Body::Poll(None), None);
        let mut end = self.gather(consumer);
        self.shared.counters.polls.fetch_add(1, Relaxed);
        if self.batch.count > 0 {
            self.complete_with_records();
            // What was read was read. An error gets a poll of its own.
            if matches!(end, PollEnd::Error { .. }) {
                self.record(OpType::Invoke, Body::Poll(None), None);
            }
        } else if matches!(end, PollEnd::Done) {
            self.record(OpType::Ok, Body::Poll(Some(Polled::default())), None);
        }
        if let PollEnd::Error { text, .. } = &mut end {
            self.record(OpType::Fail, Body::Poll(None), Some(text.clone()));
            if self.errors.last() != Some(text) {
                self.errors.push(text.clone());
            }
        }
        end
    }

    fn gather(&mut self, consumer: &mut dyn Reading) -> PollEnd {
        let mut until = Instant::now() + EMPTY_POLL;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.is_over() {
                return PollEnd::Done;
            }
            match consumer.poll(left.min(POLL_SLICE), &mut |message| self.take(message)) {
                Ok(false) => self.pass_markers(consumer),
                Ok(true) => {
                    if self.batch.count == 1 {
                        until = Instant::now() + GATHER;
                    }
                    if self.batch.count >= BATCH_RECORDS_MAX {
                        return PollEnd::Done;
                    }
                }
                Err(error) => {
                    if let Some(end) = self.judge(error) {
                        return end;
                    }
                }
            }
        }
    }

    /// Everything that was fetched has been returned: what the consumer's position is beyond it are markers, and what was aborted.
    fn pass_markers(&mut self, consumer: &mut dyn Reading) {
        if Instant::now() < self.position_from {
            return;
        }
        let entries: Vec<_> = self.keys.iter().map(|key| &self.shared.keys[*key]).collect();
        for (next, position) in self.next.iter_mut().zip(consumer.positions(&entries)) {
            *next = position.map_or(*next, |position| position.max(*next));
        }
    }

    /// Whether an error ends the poll. Clients repeat what they mend by themselves (a broker out of reach), several times a second.
    fn judge(&mut self, error: ReadError) -> Option<PollEnd> {
        let ReadError { name, is_out_of_range, is_fatal } = error;
        let is_repeated = self.last_error.as_ref().is_some_and(|(last, at)| *last == name && at.elapsed() < PAUSE_AFTER_ERROR);
        if is_repeated && !is_fatal && !is_out_of_range {
            return None;
        }
        self.last_error = Some((name.clone(), Instant::now()));
        Some(PollEnd::Error { text: name, is_out_of_range, is_fatal })
    }

    fn take(&mut self, message: &Incoming<'_>) {
        // Where keys come and go, the last are the busiest.
        let found = self.keys.iter().rposition(|key| {
            let entry = &self.shared.keys[*key];
            entry.partition == message.partition && entry.topic == message.topic
        });
        // Nothing else was assigned; a message of an earlier assignment cannot be of another topic either.
        let Some(index) = found else { return };
        let offset = message.offset;
        let record = payload::decode(&self.shared.places[self.keys[index]], message.record_key, message.payload);
        if let Some(listener) = &self.listener {
            listener.read(self.keys[index], offset, &record, message.payload.unwrap_or_default());
        }
        match record {
            Ok(record) => self.batch.records[index].push((offset, record.value)),
            Err(wrong) => self.batch.corrupt.push((index, offset, wrong)),
        }
        let epoch = message.leader_epoch;
        self.batch.leader_epochs[index] = epoch;
        self.leader_epochs[index] = self.leader_epochs[index].max(epoch);
        self.batch.count += 1;
        self.next[index] = offset + 1;
    }

    fn complete_with_records(&mut self) {
        self.progress = Instant::now();
        self.out_of_range = 0;
        let mut polled = Polled::default();
        let mut epochs = BTreeMap::new();
        for (index, key) in self.keys.iter().enumerate() {
            let key_number = self.shared.keys[*key].key;
            if let Some(epoch) = self.batch.leader_epochs[index].take() {
                epochs.insert(key_number, epoch);
            }
            if !self.batch.records[index].is_empty() {
                polled.0.push((key_number, std::mem::take(&mut self.batch.records[index])));
            }
        }
        let counters = &self.shared.counters;
        let mut draft = self.draft(OpType::Ok, Body::Poll(Some(polled)), None);
        draft.extra.leader_epochs = epochs;
        for (index, offset, wrong) in self.batch.corrupt.drain(..) {
            counters.corrupt.fetch_add(1, Relaxed);
            draft.extra.corrupt.push((self.shared.keys[self.keys[index]].key, offset, wrong));
        }
        self.shared.record(draft);
        counters.records_polled.fetch_add(std::mem::take(&mut self.batch.count) as u64, Relaxed);
        if let Purpose::Live { consumer } = self.purpose {
            for (key, next) in self.keys.iter().zip(&self.next) {
                counters.read_next[consumer][*key].store(*next, Relaxed);
            }
        }
    }

    /// The client is dead. A new one is a new client and a new process, which goes on at the old positions.
    fn crash(&mut self, reason: &str) {
        self.shared.counters.crashed.fetch_add(1, Relaxed);
        self.replace(reason);
    }

    fn replace(&mut self, reason: &str) {
        self.record(OpType::Invoke, Body::Crash, None);
        self.record(OpType::Info, Body::Crash, Some(reason.to_owned()));
        self.client = self.shared.new_client();
        self.process = self.shared.new_process();
        std::thread::sleep(PAUSE_AFTER_ERROR);
    }

    fn record(&self, op_type: OpType, body: Body, error: Option<String>) {
        self.shared.record(self.draft(op_type, body, error));
    }

    fn draft(&self, op_type: OpType, body: Body, error: Option<String>) -> Draft {
        let mut draft = Draft::new(Process::Client(self.process), op_type, body);
        draft.error = error;
        draft.client = Some(self.client);
        draft.extra.isolation = Some(self.isolation().name().to_owned());
        draft.extra.is_final = matches!(self.purpose, Purpose::Final { .. });
        draft
    }
}

impl Batch {
    fn new(keys: usize) -> Self {
        Self { count: 0, records: vec![Vec::new(); keys], leader_epochs: vec![None; keys], corrupt: Vec::new() }
    }
}
