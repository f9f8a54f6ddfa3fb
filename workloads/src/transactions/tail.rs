//! The consumer of a transactional client: it reads every key inside the client's transactions, and goes back when one is not ok.
//!
//! Why it goes back: what was read in a transaction that was aborted was read by nobody. So its position is that of the last transaction
//! that was ok, and every other one is followed by an assign of that position, as a client with `assign` has to do it (a consumer knows
//! nothing of transactions, KAFKA-17582).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use kchaos_core::{Body, Draft, Key, Offset, OpType, Polled, Process, Value};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::client_log::ClientLog;
use crate::payload;
use crate::properties::Role;
use crate::raw;
use crate::shared::Shared;

/// A poll waits so long for a first record, and then takes what is there.
const FIRST: Duration = Duration::from_millis(10);
const RECORDS_MAX: usize = 500;
/// Positions out of range in a row, a second apart, before it believes that the log no longer reaches its position.
const OUT_OF_RANGE_TRIES: u32 = 5;
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);
/// It assigns anew if it got nothing for so long although there is something to read.
const STALL: Duration = Duration::from_secs(15);

pub(crate) struct Tail {
    shared: Arc<Shared>,
    name: String,
    log: ClientLog,
    consumer: BaseConsumer<ClientLog>,
    /// That of the last transaction that was ok.
    kept: Vec<Offset>,
    next: Vec<Offset>,
    /// Whose position it is.
    process: Option<u32>,
    must_assign: bool,
    is_from_start: bool,
    out_of_range: u32,
    error_at: Option<Instant>,
    is_dead: bool,
    /// When a record was last read, or an assignment made.
    progress: Instant,
}

/// What one transaction's polls returned, beside the records.
#[derive(Default)]
pub(crate) struct Corrupt(pub(crate) Vec<(Key, Offset, String)>);

impl Tail {
    pub(crate) fn new(shared: &Arc<Shared>, name: String) -> Result<Self, String> {
        let log = shared.log(&name);
        let consumer = make(shared, &name, &log)?;
        let kept = vec![0; shared.keys.len()];
        Ok(Self {
            shared: Arc::clone(shared),
            name,
            log,
            consumer,
            next: kept.clone(),
            kept,
            process: None,
            must_assign: true,
            is_from_start: true,
            out_of_range: 0,
            error_at: None,
            is_dead: false,
            progress: Instant::now(),
        })
    }

    /// Before a transaction of `process` is begun: it reads on from the last one that was ok.
    pub(crate) fn prepare(&mut self, process: u32, client: u32) {
        if self.is_dead {
            match make(&self.shared, &self.name, &self.log) {
                Ok(consumer) => (self.consumer, self.is_dead, self.must_assign) = (consumer, false, true),
                Err(error) => return self.log.say("error", "KCHAOS", &format!("cannot make a new consumer: {error}")),
            }
        }
        if self.out_of_range > OUT_OF_RANGE_TRIES {
            (self.out_of_range, self.is_from_start) = (0, true);
            self.kept.fill(0);
        }
        let is_stalled = self.progress.elapsed() >= STALL && self.has_more();
        if is_stalled {
            self.log.say("warning", "KCHAOS", "nothing read for 15 s although there is more: assigning anew");
            raw::tell_brokers_again(self.consumer.client(), self.shared.bootstrap());
        }
        if self.must_assign || is_stalled || self.process != Some(process) || self.next != self.kept {
            self.assign(process, client);
        }
    }

    /// The transaction of `process` was ok: what it read was read.
    pub(crate) fn keep(&mut self, process: u32) {
        if self.process == Some(process) {
            self.kept.clone_from(&self.next);
        }
    }

    fn has_more(&self) -> bool {
        self.kept.iter().enumerate().any(|(key, next)| self.shared.counters.acked_offset_max(key) >= *next)
    }

    fn assign(&mut self, process: u32, client: u32) {
        self.next.clone_from(&self.kept);
        let keys = self.shared.keys.iter().map(|entry| entry.key).collect();
        let body = Body::Assign { keys, seek_to_beginning: self.is_from_start };
        let record = |op_type, error: Option<String>| {
            let mut draft = Draft::new(Process::Client(process), op_type, body.clone());
            (draft.client, draft.error) = (Some(client), error);
            draft.extra.isolation = Some(self.shared.options.isolation.name().to_owned());
            self.shared.record(draft);
        };
        record(OpType::Invoke, None);
        let mut list = TopicPartitionList::with_capacity(self.next.len());
        let added = self
            .shared
            .keys
            .iter()
            .zip(&self.next)
            .try_for_each(|(entry, next)| list.add_partition_offset(&entry.topic, entry.partition, rdkafka::Offset::Offset(*next)));
        let result = added.and_then(|()| self.consumer.assign(&list));
        match &result {
            Ok(()) => record(OpType::Ok, None),
            Err(error) => record(OpType::Fail, Some(error.to_string())),
        }
        if result.is_ok() {
            (self.process, self.must_assign, self.is_from_start) = (Some(process), false, false);
        }
        self.progress = Instant::now();
    }

    /// One poll: waits for a first record for a little while.
    pub(crate) fn poll(&mut self, corrupt: &mut Corrupt) -> Polled {
        let mut records: Vec<Vec<(Offset, Value)>> = vec![Vec::new(); self.next.len()];
        let until = Instant::now() + FIRST;
        let mut count = 0;
        // A position that is not this process' own is no place to read from.
        while !self.must_assign && !self.is_dead && count < RECORDS_MAX {
            let left = if count == 0 { until.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
            match self.consumer.poll(left) {
                Some(Ok(message)) => {
                    let found = take(&self.shared, &message, &mut records, corrupt);
                    if let Some((key, next)) = found {
                        (self.next[key], self.progress, self.out_of_range) = (next, Instant::now(), 0);
                        count += 1;
                    }
                }
                Some(Err(error)) => self.judge(&error),
                None if count > 0 || left.is_zero() => break,
                None => {}
            }
        }
        self.shared.counters.polls.fetch_add(1, Relaxed);
        self.shared.counters.records_polled.fetch_add(count as u64, Relaxed);
        let read = self.shared.keys.iter().zip(records).filter(|(_, records)| !records.is_empty());
        Polled(read.map(|(entry, records)| (entry.key, records)).collect())
    }

    /// librdkafka mends most by itself, and says so several times a second.
    fn judge(&mut self, error: &KafkaError) {
        let code = raw::code(error);
        if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
            self.log.say("error", "KCHAOS", &format!("the consumer is dead: {}", raw::code_name(code)));
            self.is_dead = true;
        }
        // A deposed leader's answer passes; its position is assigned again with the next transaction.
        if matches!(code, Code::OffsetOutOfRange | Code::AutoOffsetReset | Code::LogTruncation | Code::NoOffset) {
            self.must_assign = true;
            if self.error_at.is_none_or(|at| at.elapsed() >= PAUSE_AFTER_ERROR) {
                (self.error_at, self.out_of_range) = (Some(Instant::now()), self.out_of_range + 1);
            }
        }
    }
}

fn make(shared: &Shared, name: &str, log: &ClientLog) -> Result<BaseConsumer<ClientLog>, String> {
    let config = shared.config(Role::Consumer, name);
    BaseConsumer::from_config_and_context(&config, log.clone()).map_err(|error| error.to_string())
}

/// The key's place and the next offset; nothing of a partition that is none of the run's.
fn take(
    shared: &Shared,
    message: &BorrowedMessage<'_>,
    records: &mut [Vec<(Offset, Value)>],
    corrupt: &mut Corrupt,
) -> Option<(usize, Offset)> {
    let key = shared.keys.iter().position(|entry| entry.partition == message.partition() && entry.topic == message.topic())?;
    let offset = message.offset();
    match payload::decode(&shared.places[key], message.key(), message.payload()) {
        Ok(record) => records[key].push((offset, record.value)),
        Err(wrong) => {
            shared.counters.corrupt.fetch_add(1, Relaxed);
            corrupt.0.push((shared.keys[key].key, offset, wrong));
        }
    }
    Some((key, offset + 1))
}
