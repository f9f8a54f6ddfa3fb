//! A transactional producer: librdkafka's, with a thread that takes its delivery reports.
//!
//! Why a thread: `abort_transaction()` waits for reports that somebody must take, and rust-rdkafka's own waiting polls 100 ms at a time.
//!
//! Its calls block for as long as they are told to and are made again after a timeout, which librdkafka allows of all of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use kchaos_core::Offset;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::client_log::{ClientLog, log_by};
use crate::errors::{self, Attempt, Status};
use crate::lanes::OffsetGuard;
use crate::options::Options;
use crate::producer::first_attempt_ns;
use crate::properties::{self, Role};
use crate::raw;
use crate::shared::Shared;

const POLL: Duration = Duration::from_millis(100);
/// A report's opaque: the transaction's number above, the send's place below.
const PLACE_BITS: u32 = 20;

/// What a call was answered, if it did not succeed.
#[derive(Clone, Debug)]
pub(crate) struct CallError {
    pub(crate) code: Code,
    pub(crate) text: String,
    pub(crate) is_retriable: bool,
    pub(crate) requires_abort: bool,
}

pub(crate) struct TxnProducer {
    pub(crate) client: u32,
    pub(crate) log: ClientLog,
    /// An answer that comes sooner is about the first attempt.
    pub(crate) first_attempt_ns: u64,
    is_transactional: bool,
    producer: Arc<BaseProducer<Context>>,
    reports: Arc<Mutex<Reports>>,
    is_over: Arc<AtomicBool>,
    acks: Option<JoinHandle<()>>,
    transaction: usize,
    sequence: u64,
}

/// What is known of the sends of the transaction that is under way.
struct Reports {
    transaction: usize,
    sends: Vec<Sent>,
    guards: Vec<OffsetGuard>,
    /// The first send that failed.
    failed: Option<String>,
}

#[derive(Clone, Copy)]
struct Sent {
    key: usize,
    offset: Option<Offset>,
}

impl TxnProducer {
    /// Without a transactional id it sends like any other, and a transaction is nothing but the sends of which the offsets are wanted together.
    pub(crate) fn new(shared: &Arc<Shared>, name: &str, transactional_id: Option<&str>) -> Result<Self, String> {
        let properties = shared.properties(Role::Producer, name);
        let properties = match transactional_id {
            Some(id) => properties_of(properties, &shared.options, id),
            None => properties,
        };
        let guards = vec![OffsetGuard::default(); shared.keys.len()];
        let reports = Arc::new(Mutex::new(Reports { transaction: 0, sends: Vec::new(), guards, failed: None }));
        let context = Context { log: shared.log(name), reports: Arc::clone(&reports) };
        let producer = BaseProducer::from_config_and_context(&properties::config(&properties), context);
        let producer = Arc::new(producer.map_err(|error| error.to_string())?);
        let is_over = Arc::new(AtomicBool::new(false));
        let acks = {
            let (producer, is_over) = (Arc::clone(&producer), Arc::clone(&is_over));
            let poll = move || {
                while !is_over.load(Relaxed) {
                    producer.poll(POLL);
                }
            };
            let thread = std::thread::Builder::new().name(format!("{name}-acks")).spawn(poll);
            thread.map_err(|error| format!("cannot start a thread for delivery reports: {error}"))?
        };
        let (client, log, first_attempt_ns) = (shared.new_client(), shared.log(name), first_attempt_ns(&properties));
        let is_transactional = transactional_id.is_some();
        Ok(Self {
            client,
            log,
            first_attempt_ns,
            is_transactional,
            producer,
            reports,
            is_over,
            acks: Some(acks),
            transaction: 0,
            sequence: 0,
        })
    }

    /// Completes or aborts what an earlier producer with this id had begun, and fences it.
    pub(crate) fn init(&self, timeout: Duration) -> Result<(), CallError> {
        match self.is_transactional {
            true => self.producer.init_transactions(timeout).map_err(|error| CallError::of(&error)),
            false => Ok(()),
        }
    }

    pub(crate) fn begin(&mut self) -> Result<(), CallError> {
        self.transaction += 1;
        {
            let mut reports = self.lock();
            (reports.transaction, reports.failed) = (self.transaction, None);
            reports.sends.clear();
        }
        match self.is_transactional {
            true => self.producer.begin_transaction().map_err(|error| CallError::of(&error)),
            false => Ok(()),
        }
    }

    /// A number for the next record of this client.
    pub(crate) fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence - 1
    }

    /// Hands a record to librdkafka, or says why it takes none.
    pub(crate) fn send(&self, (topic, partition, key): (&str, i32, usize), record_key: &[u8], payload: &[u8]) -> Result<(), String> {
        let place = {
            let mut reports = self.lock();
            reports.sends.push(Sent { key, offset: None });
            reports.sends.len() - 1
        };
        let opaque = (self.transaction << PLACE_BITS) | place;
        let record = BaseRecord::with_opaque_to(topic, opaque).partition(partition).key(record_key).payload(payload);
        self.producer.send(record).map_err(|(error, _)| {
            let code = raw::code(&error);
            errors::describe(code, Status::NotPersisted, Attempt::Refused)
        })
    }

    /// Waits until every send has its report; `false` after the timeout. `linger.ms` is over at once.
    pub(crate) fn flush(&self, timeout: Duration) -> bool {
        raw::flush(self.producer.client(), timeout)
    }

    /// Makes offsets of a group part of the transaction, if the member still stands there as it did.
    pub(crate) fn send_offsets(
        &self,
        offsets: &TopicPartitionList,
        standing: &ConsumerGroupMetadata,
        timeout: Duration,
    ) -> Result<(), CallError> {
        self.producer.send_offsets_to_transaction(offsets, standing, timeout).map_err(|error| CallError::of(&error))
    }

    pub(crate) fn commit(&self, timeout: Duration) -> Result<(), CallError> {
        self.producer.commit_transaction(timeout).map_err(|error| CallError::of(&error))
    }

    pub(crate) fn abort(&self, timeout: Duration) -> Result<(), CallError> {
        self.producer.abort_transaction(timeout).map_err(|error| CallError::of(&error))
    }

    /// Why a send of the transaction failed, if one did.
    pub(crate) fn failed_send(&self) -> Option<String> {
        self.lock().failed.clone()
    }

    /// Where the sends of the transaction landed, in the order of sending.
    pub(crate) fn offsets(&self) -> Vec<Option<Offset>> {
        self.lock().sends.iter().map(|sent| sent.offset).collect()
    }

    /// The end of a partition as its leader tells it.
    pub(crate) fn end_of(&self, topic: &str, partition: i32, timeout: Duration) -> Result<Offset, CallError> {
        let bounds = self.producer.client().fetch_watermarks(topic, partition, timeout);
        bounds.map(|(_, end)| end).map_err(|error| CallError::of(&error))
    }

    /// For a client that may have forgotten its brokers.
    pub(crate) fn tell_brokers_again(&self, bootstrap: &str) {
        raw::tell_brokers_again(self.producer.client(), bootstrap);
    }

    fn lock(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TxnProducer {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        if let Some(acks) = self.acks.take() {
            let _ = acks.join();
        }
    }
}

impl CallError {
    fn of(error: &KafkaError) -> Self {
        match error {
            KafkaError::Transaction(told) => Self {
                code: told.code(),
                text: format!("{}: {}", raw::code_name(told.code()), told.string()),
                is_retriable: told.is_retriable(),
                requires_abort: told.txn_requires_abort(),
            },
            // rust-rdkafka flushes before it commits: nothing was asked of the coordinator yet.
            KafkaError::Flush(code) => Self {
                code: *code,
                text: format!("{}: waiting for delivery reports", raw::code_name(*code)),
                is_retriable: true,
                requires_abort: false,
            },
            other => {
                let code = raw::code(other);
                Self { code, text: other.to_string(), is_retriable: false, requires_abort: false }
            }
        }
    }
}

/// A producer's properties with the transaction's own. librdkafka refuses a message timeout beyond the transaction's.
fn properties_of(mut properties: BTreeMap<String, String>, options: &Options, transactional_id: &str) -> BTreeMap<String, String> {
    let timeout_ms = options.txn_timeout_ms;
    for name in ["message.timeout.ms", "delivery.timeout.ms"] {
        if let Some(value) = properties.get_mut(name)
            && value.trim().parse::<u64>().is_ok_and(|told| told == 0 || told > u64::from(timeout_ms))
        {
            *value = timeout_ms.to_string();
        }
    }
    properties.insert("transactional.id".into(), transactional_id.to_owned());
    properties.insert("transaction.timeout.ms".into(), timeout_ms.to_string());
    properties
}

/// librdkafka's callbacks, all on the report thread (and at the end on the one that drops the client).
struct Context {
    log: ClientLog,
    reports: Arc<Mutex<Reports>>,
}

log_by!(Context, log);

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        // One of an earlier transaction, which nobody waits for any more.
        if opaque >> PLACE_BITS != reports.transaction {
            return;
        }
        let place = opaque & ((1 << PLACE_BITS) - 1);
        match result {
            Ok(message) => {
                let Some(key) = reports.sends.get(place).map(|sent| sent.key) else { return };
                let offset = reports.guards[key].check(message.offset());
                reports.sends[place].offset = offset;
            }
            Err((error, message)) => {
                let code = raw::code(error);
                let text = errors::describe(code, raw::status(message), Attempt::Any);
                reports.failed.get_or_insert(text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_outlives_its_transaction() {
        let properties = |told: &str| {
            let options = Options { txn_timeout_ms: 20_000, ..Options::default() };
            properties_of([("message.timeout.ms".to_owned(), told.to_owned())].into(), &options, "t")["message.timeout.ms"].clone()
        };
        assert_eq!((properties("60000").as_str(), properties("5000").as_str(), properties("0").as_str()), ("20000", "5000", "20000"));
    }

    #[test]
    fn librdkafka_takes_the_properties_of_the_shortest_and_the_longest_transaction() {
        for txn_timeout_ms in [5_000, 60_000, 900_000] {
            let options = Options { txn_timeout_ms, ..Options::default() };
            let properties = properties::resolve(Role::Producer, &options, "localhost:1", &BTreeMap::new(), "me");
            let config = properties::config(&properties_of(properties, &options, "t"));
            // Some contradictions are found only when a client is made.
            config.create::<BaseProducer>().unwrap();
        }
    }
}
