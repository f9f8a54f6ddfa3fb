//! Producers and consumers of librdkafka.
//!
//! A producer's delivery reports are taken by a thread of their own. (And rust-rdkafka 0.39's `poll` spins through the last millisecond of
//! its timeout, so short timeouts would burn a core.)

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use kchaos_core::{KeyEntry, Offset, OpType};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaErrorCode;

use crate::client_log::{ClientLog, log_by};
use crate::errors::{self, Attempt, Status};
use crate::instance::{Instance, Told};
use crate::lanes::OpenSend;
use crate::library::{Incoming, Library, Outgoing, ReadError, Reading, Sending, made};
use crate::options::Isolation;
use crate::producer::first_attempt_ns;
use crate::properties::Role;
use crate::racks;
use crate::raw;
use crate::shared::Shared;
use crate::writer::Writer;

const POLL: Duration = Duration::from_millis(100);
/// What an assignment takes at most to reach librdkafka's own thread.
pub(crate) const ASSIGNED: Duration = Duration::from_secs(2);

pub(crate) struct Librdkafka;

impl Library for Librdkafka {
    fn has_gate(&self) -> bool {
        true
    }

    fn producer(&self, writer: &Writer, instance: &Arc<Instance>) -> Result<Box<dyn Sending>, String> {
        let shared = &instance.shared;
        let first_attempt = Duration::from_nanos(first_attempt_ns(&shared.properties(writer.role, &writer.name)));
        let context = Reports { instance: Arc::clone(instance), first_attempt };
        let producer: Arc<BaseProducer<Reports>> = Arc::new(made(&shared.config(writer.role, &writer.name), context)?);
        let is_over = Arc::new(AtomicBool::new(false));
        let poll = {
            let (producer, is_over) = (Arc::clone(&producer), Arc::clone(&is_over));
            move || {
                while !is_over.load(Relaxed) {
                    producer.poll(POLL);
                }
            }
        };
        let thread = std::thread::Builder::new().name(format!("{}-acks", writer.name)).spawn(poll);
        let reports = thread.map_err(|error| format!("cannot start a thread for delivery reports: {error}"))?;
        Ok(Box::new(RdProducer { producer, first_attempt, instance: Arc::clone(instance), is_over, reports: Some(reports) }))
    }

    fn consumer(&self, shared: &Arc<Shared>, name: &str, isolation: Isolation, rack: Option<&str>) -> Result<Box<dyn Reading>, String> {
        let mut config = shared.config(Role::Consumer, name);
        config.set("isolation.level", isolation.name());
        let mut log = shared.log(name);
        if let Some(rack) = rack {
            config.set(racks::PROPERTY, rack).set(racks::STATISTICS, racks::STATISTICS_MS);
            log.watch = Some(shared.served.watch(name, rack));
        }
        let consumer: BaseConsumer<ClientLog> = made(&config, log)?;
        Ok(Box::new(RdConsumer(consumer)))
    }
}

struct RdProducer {
    producer: Arc<BaseProducer<Reports>>,
    instance: Arc<Instance>,
    /// A report that comes sooner after the send is about the first attempt.
    first_attempt: Duration,
    is_over: Arc<AtomicBool>,
    reports: Option<JoinHandle<()>>,
}

impl Sending for RdProducer {
    fn send(&mut self, record: &Outgoing<'_>) -> bool {
        let entry = record.entry;
        let message =
            BaseRecord::with_opaque_to(&entry.topic, record.lane).partition(entry.partition).key(record.record_key).payload(record.payload);
        let Err((error, _)) = self.producer.send(message) else { return true };
        let report = Report::refused(raw::code(&error));
        self.instance.complete(record.lane, |send, after| report.told(send, after, self.first_attempt));
        false
    }

    fn fatal(&self) -> Option<String> {
        let (code, reason) = self.producer.client().fatal_error()?;
        Some(format!("{}: {reason}", raw::code_name(code)))
    }

    fn is_stalled(&self, bootstrap: &str) -> bool {
        raw::tell_brokers_again(self.producer.client(), bootstrap);
        true
    }
}

impl Drop for RdProducer {
    /// The last reference goes with it: that purges what is left and takes its delivery reports, with their status.
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        if let Some(reports) = self.reports.take() {
            let _ = reports.join();
        }
    }
}

/// What was said of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    code: Option<RDKafkaErrorCode>,
    status: Status,
    /// By `produce()` itself.
    is_refused: bool,
    offset: Offset,
    broker_id: Option<i32>,
}

impl Report {
    pub(crate) fn refused(code: RDKafkaErrorCode) -> Self {
        Self { code: Some(code), status: Status::NotPersisted, is_refused: true, offset: -1, broker_id: None }
    }

    pub(crate) fn of(result: &DeliveryResult<'_>) -> Self {
        let (message, code) = match result {
            Ok(message) => (message, None),
            Err((error, message)) => (message, Some(raw::code(error))),
        };
        Self { code, status: raw::status(message), is_refused: false, offset: message.offset(), broker_id: raw::broker_id(message) }
    }

    /// As a worker says it (`worker/protocol.rs`).
    pub(crate) fn line(&self, ticket: u64, took: Duration) -> String {
        let stage = if self.is_refused { "send" } else { "report" };
        let status = match self.status {
            Status::NotPersisted => 0,
            Status::PossiblyPersisted => 1,
            Status::Persisted => 2,
        };
        let (code, broker) = (self.code.map_or(0, |code| code as i32), self.broker_id.unwrap_or(-1));
        format!("d {ticket} {stage} {code} {status} {} {broker} {}", self.offset, took.as_nanos())
    }

    /// The ticket, what was said, and how long it took there. What cannot be read is no report.
    pub(crate) fn read(line: &str) -> Option<(u64, Self, u64)> {
        let words: Vec<&str> = line.split(' ').collect();
        let ["d", ticket, stage, code, status, offset, broker, took_ns] = words.as_slice() else { return None };
        let is_refused = match *stage {
            "send" => true,
            "report" => false,
            _ => return None,
        };
        let status = match *status {
            "0" => Status::NotPersisted,
            "1" => Status::PossiblyPersisted,
            "2" => Status::Persisted,
            _ => return None,
        };
        let code = match code.parse().ok()? {
            0 => None,
            number => Some(raw::code_of(number)),
        };
        let broker_id = Some(broker.parse().ok()?).filter(|id| *id >= 0);
        Some((ticket.parse().ok()?, Self { code, status, is_refused, offset: offset.parse().ok()?, broker_id }, took_ns.parse().ok()?))
    }

    pub(crate) fn told(&self, send: &OpenSend, after: Duration, first_attempt: Duration) -> Told {
        let attempt = if self.is_refused {
            Attempt::Refused
        } else if send.is_oversize {
            Attempt::Oversize
        } else if after < first_attempt {
            Attempt::First
        } else {
            Attempt::Any
        };
        let op_type = errors::classify(self.code, self.status, attempt);
        let error = match self.code {
            Some(code) => Some(errors::describe(code, self.status, attempt)),
            None if op_type == OpType::Info => Some("not acknowledged (acks=0)".to_owned()),
            None => None,
        };
        let is_acked = self.code.is_none() && self.status == Status::Persisted;
        Told { op_type, error, offset: is_acked.then_some(self.offset), broker_id: self.broker_id }
    }
}

/// librdkafka's callbacks, all on the report thread (and at the end on the one that drops the client).
struct Reports {
    instance: Arc<Instance>,
    first_attempt: Duration,
}

log_by!(Reports, instance.log);

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, lane: usize) {
        let report = Report::of(result);
        self.instance.complete(lane, |send, after| report.told(send, after, self.first_attempt));
    }
}

pub(crate) struct RdConsumer(pub(crate) BaseConsumer<ClientLog>);

impl Reading for RdConsumer {
    fn settles_in(&self) -> Duration {
        ASSIGNED
    }

    fn assign(&mut self, places: &[(&KeyEntry, Offset)]) -> Result<(), String> {
        let mut list = TopicPartitionList::with_capacity(places.len());
        let mut add = |entry: &KeyEntry, next| list.add_partition_offset(&entry.topic, entry.partition, rdkafka::Offset::Offset(next));
        let added = places.iter().try_for_each(|(entry, next)| add(entry, *next));
        added.and_then(|()| self.0.assign(&list)).map_err(|error| error.to_string())
    }

    fn poll(&mut self, timeout: Duration, take: &mut dyn FnMut(&Incoming<'_>)) -> Result<bool, ReadError> {
        match self.0.poll(timeout) {
            None => Ok(false),
            Some(Err(error)) => Err(read_error(&error)),
            Some(Ok(message)) => {
                take(&Incoming {
                    topic: message.topic(),
                    partition: message.partition(),
                    offset: message.offset(),
                    record_key: message.key(),
                    payload: message.payload(),
                    leader_epoch: raw::leader_epoch(&message),
                });
                Ok(true)
            }
        }
    }

    fn positions(&mut self, entries: &[&KeyEntry]) -> Vec<Option<Offset>> {
        let Ok(positions) = self.0.position() else { return vec![None; entries.len()] };
        let position = |entry: &&KeyEntry| match positions.find_partition(&entry.topic, entry.partition)?.offset() {
            rdkafka::Offset::Offset(position) => Some(position),
            _ => None,
        };
        entries.iter().map(position).collect()
    }

    fn start_of(&mut self, entry: &KeyEntry, timeout: Duration) -> Option<Offset> {
        self.0.fetch_watermarks(&entry.topic, entry.partition, timeout).ok().map(|(start, _)| start)
    }

    fn is_stalled(&self, bootstrap: &str) {
        raw::tell_brokers_again(self.0.client(), bootstrap);
    }
}

fn read_error(error: &KafkaError) -> ReadError {
    let code = raw::code(error);
    let is_out_of_range = matches!(
        code,
        RDKafkaErrorCode::OffsetOutOfRange
            | RDKafkaErrorCode::AutoOffsetReset
            | RDKafkaErrorCode::LogTruncation
            | RDKafkaErrorCode::NoOffset
    );
    ReadError { name: raw::code_name(code), is_out_of_range, is_fatal: matches!(error, KafkaError::MessageConsumptionFatal(_)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_said() {
        let acked = Report { code: None, status: Status::Persisted, is_refused: false, offset: 17, broker_id: Some(2) };
        let timed_out = Report {
            code: Some(RDKafkaErrorCode::MessageTimedOut),
            status: Status::PossiblyPersisted,
            is_refused: false,
            offset: -1001,
            broker_id: None,
        };
        for report in [acked, timed_out, Report::refused(RDKafkaErrorCode::QueueFull)] {
            assert_eq!(Report::read(&report.line(7, Duration::from_micros(3))), Some((7, report, 3_000)));
        }
        let whole = acked.line(7, Duration::ZERO);
        for (cut, _) in whole.match_indices(' ') {
            assert_eq!(Report::read(&whole[..cut]), None, "{}", &whole[..cut]);
        }
        for wrong in ["d 7 x 0 2 17 2 0", "d 7 report 0 3 17 2 0", "d 7 report x 2 17 2 0", "e 7 report 0 2 17 2 0"] {
            assert_eq!(Report::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_code_that_nobody_knows_is_nobody_s_knowledge() {
        let (_, report, _) = Report::read("d 7 report 9999 0 -1 -1 0").unwrap();
        assert_eq!(errors::classify(report.code, report.status, Attempt::First), OpType::Info);
    }
}
