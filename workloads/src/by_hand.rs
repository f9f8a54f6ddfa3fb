//! What people do with the console tools: publish some records and wait for them, read a topic from its beginning. Outside of any history.
//!
//! The clients are set up as those of a run are, with acks=all and idempotence, and live for the one call. These block.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kchaos_core::{Clock, Offset};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset as Position, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

use crate::client_log::{ClientLog, LogSink, log_by};
use crate::options::Options;
use crate::properties::{self, Role};
use crate::{WorkloadError, raw};

const POLL: Duration = Duration::from_millis(100);
const METADATA: Duration = Duration::from_secs(5);
/// librdkafka gives a record up by itself; its report comes a little later.
const AFTER_THE_TIMEOUT: Duration = Duration::from_secs(2);

/// The way to a cluster. It may hold secrets, so it has no `Debug`.
#[derive(Clone)]
pub struct Access {
    /// `host:port,host:port`.
    pub bootstrap: String,
    /// librdkafka properties from the inventory, with secrets resolved.
    pub properties: BTreeMap<String, String>,
    /// Part of the clients' ids.
    pub name: String,
    pub log: Arc<dyn LogSink>,
    pub clock: Arc<dyn Clock>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToPublish {
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub partition: i32,
    /// Where it stands, or why it was not acknowledged.
    pub offset: Result<Offset, String>,
    /// From when it was handed over.
    pub after: Duration,
}

/// A record as a consumer was given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumed {
    pub partition: i32,
    pub offset: Offset,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

/// A topic, read from its beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumedTopic {
    pub records: Vec<Consumed>,
    /// Of each partition: where it started and ended when reading began.
    pub bounds: BTreeMap<i32, (Offset, Offset)>,
    /// Of partitions that were not read to that end in time: how far they were.
    pub behind: BTreeMap<i32, Offset>,
}

struct Reports {
    log: ClientLog,
    reports: Mutex<Vec<Option<Published>>>,
    handed_over: Mutex<Vec<Instant>>,
}

log_by!(Reports, log);

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let (message, offset) = match result {
            Ok(message) => (message, Ok(message.offset())),
            Err((error, message)) => (message, Err(raw::code_name(raw::code(error)))),
        };
        let began = self.handed_over.lock().unwrap_or_else(PoisonError::into_inner).get(number).copied();
        let after = began.map_or(Duration::ZERO, |began| began.elapsed());
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(report) = reports.get_mut(number) {
            *report = Some(Published { partition: message.partition(), offset, after });
        }
    }
}

/// Publishes these records in their order, and waits until each was acknowledged or given up, `patience` after the call.
pub fn publish(access: &Access, topic: &str, records: &[ToPublish], patience: Duration) -> Result<Vec<Published>, WorkloadError> {
    let largest = records.iter().map(|record| record.value.len()).max().unwrap_or(0);
    let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX).clamp(1, 2_147_483_000);
    let options = Options {
        value_bytes: u32::try_from(largest).unwrap_or(u32::MAX),
        properties: vec![("message.timeout.ms".to_owned(), patience_ms.to_string())],
        ..Options::default()
    };
    let log = access.log("producer");
    let reports = Reports { log, reports: Mutex::new(vec![None; records.len()]), handed_over: Mutex::default() };
    let config = access.config(Role::Producer, &options, "producer");
    let producer = BaseProducer::from_config_and_context(&config, reports).map_err(|error| not_made("producer", &error))?;
    let deadline = Instant::now() + patience + AFTER_THE_TIMEOUT;
    for (number, record) in records.iter().enumerate() {
        producer.context().handed_over.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        hand_over(&producer, topic, number, record, deadline);
    }
    while producer.in_flight_count() > 0 && Instant::now() < deadline {
        producer.poll(POLL);
    }
    let reports = std::mem::take(&mut *producer.context().reports.lock().unwrap_or_else(PoisonError::into_inner));
    let unanswered = || Published { partition: -1, offset: Err("no answer".to_owned()), after: patience };
    Ok(reports.into_iter().map(|report| report.unwrap_or_else(unanswered)).collect())
}

fn hand_over(producer: &BaseProducer<Reports>, topic: &str, number: usize, record: &ToPublish, deadline: Instant) {
    loop {
        let mut message = BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, number).payload(&record.value);
        message.key = record.key.as_deref();
        match producer.send(message) {
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) if Instant::now() < deadline => {
                producer.poll(POLL);
            }
            Err((error, _)) => {
                let mut reports = producer.context().reports.lock().unwrap_or_else(PoisonError::into_inner);
                let offset = Err(raw::code_name(raw::code(&error)));
                reports[number] = Some(Published { partition: -1, offset, after: Duration::ZERO });
                return;
            }
            Ok(()) => return,
        }
    }
}

/// Reads every partition from its beginning to where it ended when reading began, for at most `patience`.
pub fn consume(access: &Access, topic: &str, patience: Duration) -> Result<ConsumedTopic, WorkloadError> {
    let deadline = Instant::now() + patience;
    let config = access.config(Role::Consumer, &Options::default(), "consumer");
    let consumer: BaseConsumer<ClientLog> =
        BaseConsumer::from_config_and_context(&config, access.log("consumer")).map_err(|error| not_made("consumer", &error))?;
    let mut read = ConsumedTopic { bounds: bounds(&consumer, topic, deadline)?, ..ConsumedTopic::default() };
    let mut assignment = TopicPartitionList::new();
    for (partition, (start, _)) in &read.bounds {
        let added = assignment.add_partition_offset(topic, *partition, Position::Offset(*start));
        added.map_err(|source| failed(format!("read {topic}-{partition} from {start}"), source))?;
    }
    consumer.assign(&assignment).map_err(|source| failed(format!("read {topic}"), source))?;
    loop {
        read.behind = behind(&consumer, topic, &read.bounds);
        if read.behind.is_empty() || Instant::now() >= deadline {
            return Ok(read);
        }
        // A transient error shows as time that passes; what is behind in the end is told.
        if let Some(Ok(message)) = consumer.poll(POLL)
            && read.bounds.get(&message.partition()).is_some_and(|(_, end)| message.offset() < *end)
        {
            read.records.push(consumed(&message));
        }
    }
}

fn consumed(message: &BorrowedMessage<'_>) -> Consumed {
    Consumed {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
    }
}

/// Start and end of every partition, by its leader: asked until there is one.
fn bounds(consumer: &BaseConsumer<ClientLog>, topic: &str, deadline: Instant) -> Result<BTreeMap<i32, (Offset, Offset)>, WorkloadError> {
    let left = || deadline.saturating_duration_since(Instant::now()).clamp(POLL, METADATA);
    loop {
        let asked = consumer.fetch_metadata(Some(topic), left()).and_then(|metadata| {
            let partitions = metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions);
            partitions.map(|one| Ok((one.id(), consumer.fetch_watermarks(topic, one.id(), left())?))).collect()
        });
        match asked {
            Ok(bounds) => {
                let bounds: BTreeMap<_, _> = bounds;
                if !bounds.is_empty() {
                    return Ok(bounds);
                }
                if Instant::now() >= deadline {
                    let source = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
                    return Err(failed(format!("ask where {topic} starts and ends"), source));
                }
            }
            Err(source) if Instant::now() >= deadline => return Err(failed(format!("ask where {topic} starts and ends"), source)),
            Err(_) => {}
        }
        std::thread::sleep(POLL);
    }
}

/// By the consumer's position, which moves past markers of transactions too.
fn behind(consumer: &BaseConsumer<ClientLog>, topic: &str, bounds: &BTreeMap<i32, (Offset, Offset)>) -> BTreeMap<i32, Offset> {
    let positions = consumer.position().unwrap_or_default();
    let of = |partition: i32, start: Offset| match positions.find_partition(topic, partition).map(|found| found.offset()) {
        Some(Position::Offset(offset)) => offset,
        _ => start,
    };
    let all = bounds.iter().map(|(partition, (start, end))| (*partition, of(*partition, *start), *end));
    all.filter(|(_, at, end)| at < end).map(|(partition, at, _)| (partition, at)).collect()
}

impl Access {
    fn config(&self, role: Role, options: &Options, what: &str) -> rdkafka::ClientConfig {
        let client_id = format!("kchaos-{}-{what}", self.name);
        properties::config(&properties::resolve(role, options, &self.bootstrap, &self.properties, &client_id))
    }

    fn log(&self, client: &str) -> ClientLog {
        ClientLog { sink: Arc::clone(&self.log), clock: Arc::clone(&self.clock), client: client.to_owned(), watch: None }
    }
}

fn not_made(name: &str, error: &KafkaError) -> WorkloadError {
    WorkloadError::Client { name: name.to_owned(), reason: error.to_string() }
}

fn failed(doing: String, source: KafkaError) -> WorkloadError {
    WorkloadError::Cluster { doing, source }
}
