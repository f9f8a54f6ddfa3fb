//! `--exactly-once`: a member consumes, transforms and produces. For each batch it begins a transaction, sends one output for each record to the key of
//! the outputs, sends the offsets of the batch in the transaction, and commits.
//!
//! The poll op of the batch is open until the transaction has ended and ends as it does: ok if it was committed, a failure if it certainly was not,
//! else info. So are the offsets, an op `commit` of a process of its own. The transaction is an op of a third process, which is the producer's.
//!
//! A member's standing in the group (its generation, KIP-447) is taken when the batch was polled and not when its offsets are sent: by then a
//! member that was thrown out meanwhile is in no generation at all, and such offsets nobody refuses.
//!
//! After a transaction that was aborted the member goes back to where the batch began, which is where the group stands as long as the key is the
//! member's; if it is not any more, a rebalance waits to be heard of. After one of unknown outcome, and when the producer is of no use any more, both
//! clients are replaced: the new producer settles what the old one left before the new consumer joins and asks where the group stands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kchaos_core::{Body, Draft, MicroOp, Offset, OpType, Process, Send as SendOp, Value};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::topic_partition_list::{TopicPartitionList, TopicPartitionListElem};

use super::context::MemberContext;
use super::group::{Group, named};
use super::member::{End, Member};
use super::trouble::Trouble;
use crate::options::Options;
use crate::payload::{self, Record};
use crate::raw;
use crate::shared::Shared;
use crate::transactions::book::Book;
use crate::transactions::plan::Ending;
use crate::transactions::producer::TxnProducer;
use crate::transactions::seat::{CALL, Open, SETTLE, Seat};
use crate::{Context, WorkloadError};

const SEEK: Duration = Duration::from_secs(5);
/// For the first coordinator of all.
const COORDINATOR: Duration = Duration::from_secs(90);

/// One for each member: after a crash the next client with it settles what the last one left.
pub(super) fn transactional_id(run_id: &str, member: usize) -> String {
    format!("kchaos-{run_id}-member-{}", member + 1)
}

/// The first transactional id of a cluster makes the topic of the coordinators. This may take a minute: it is waited for here, or a run's trouble would
/// begin before its group.
pub(super) fn refuse_cluster(options: &Options, context: &Context) -> Result<(), WorkloadError> {
    let name = "coordinator-probe";
    let shared = Arc::new(Shared::new(options.clone(), Vec::new(), context.clone())?);
    let id = transactional_id(&context.run_id, 0);
    let unmade = |reason: String| WorkloadError::Client { name: name.to_owned(), reason };
    let producer = TxnProducer::new(&shared, name, Some(&id)).map_err(unmade)?;
    let until = Instant::now() + COORDINATOR;
    loop {
        match producer.init(CALL) {
            Ok(()) => return Ok(()),
            Err(error) if error.is_retriable && Instant::now() < until => {}
            Err(error) => {
                let reason = format!("no coordinator takes the transactions of --exactly-once: {}", error.text);
                return Err(WorkloadError::Unsupported { reason });
            }
        }
    }
}

/// What a member produces with.
pub(super) struct Producing {
    seat: Seat,
    /// Of the commits in transactions.
    process: u32,
    random: ChaCha8Rng,
    record_key: Vec<u8>,
    payload: Vec<u8>,
}

impl Producing {
    pub(super) fn new(group: &Group, book: &Arc<Book>, number: usize, name: &str) -> Result<Self, String> {
        let shared = &group.shared;
        let id = transactional_id(shared.run_id(), number);
        Ok(Self {
            seat: Seat::new(book, shared, number, &format!("{name}-producer"), Some(id))?,
            process: shared.new_process(),
            random: ChaCha8Rng::seed_from_u64(shared.seed ^ (0x6f75_7470_7574 + number as u64)),
            record_key: Vec::new(),
            payload: Vec::new(),
        })
    }

    /// Whether nothing of an earlier transaction is open any more; it tries for a moment.
    pub(super) fn make_ready(&mut self) -> bool {
        self.seat.make_ready()
    }

    /// So that nobody waits for what a crashed member left.
    pub(super) fn settle(&mut self) {
        let until = self.seat.deadline(Instant::now(), SETTLE);
        while Instant::now() < until && !self.make_ready() {}
    }

    /// Begins a transaction and sends an output for each input, by the input's key.
    fn produce(&mut self, producer: &mut TxnProducer, group: &Group, inputs: &[(usize, Value)]) -> Open {
        let shared = &group.shared;
        let output = |(key, input): &(usize, Value)| {
            let value = group.outputs.as_ref()?.next(*key, *input, shared.greatest_value(*key))?;
            Some((group.inputs() + key, value))
        };
        let outputs: Vec<(usize, Value)> = inputs.iter().filter_map(output).collect();
        let part = |(key, value): &(usize, Value)| MicroOp::Send(SendOp { key: shared.keys[*key].key, value: *value, offset: None });
        let mut open = self.seat.begin(producer, outputs.iter().map(part).collect(), self.seat.process, shared.clock.now_ns());
        for (key, value) in outputs {
            if open.broken.is_some() {
                break;
            }
            let record_key = self.random.random_range(0..shared.options.key_count);
            let record = Record { client: producer.client, sequence: producer.next_sequence(), value, record_key };
            payload::record_key_bytes(record_key, &mut self.record_key);
            payload::encode(&shared.places[key], &record, &self.record_key, shared.options.value_bytes as usize, &mut self.payload);
            let entry = &shared.keys[key];
            open.broken = producer.send((&entry.topic, entry.partition, key), &self.record_key, &self.payload).err();
        }
        open
    }

    /// Why the offsets are not part of the transaction, if they are not.
    fn send_offsets(&self, producer: &TxnProducer, offsets: &TopicPartitionList, standing: &ConsumerGroupMetadata) -> Option<String> {
        let timeout = Duration::from_millis(u64::from(self.seat.shared.options.txn_timeout_ms));
        let until = self.seat.deadline(Instant::now(), timeout);
        let mut told = Instant::now();
        loop {
            match producer.send_offsets(offsets, standing, CALL) {
                Ok(()) => return None,
                Err(error) if error.is_retriable && Instant::now() < until => self.seat.tell_brokers_if_stalled(producer, &mut told),
                Err(error) => return Some(format!("its offsets: {}", error.text)),
            }
        }
    }
}

impl Member {
    /// Makes outputs of the batch in hand, and ends its poll op.
    pub(super) fn transact(&mut self, consumer: &BaseConsumer<MemberContext>) -> Option<End> {
        self.busy = Instant::now();
        // First of all: what comes later may be of another generation.
        let standing = raw::standing(consumer);
        let begins = self.batch.first_offsets();
        let trouble = self.trouble();
        if matches!(trouble, Some(Trouble::Crash { is_before_processing: true })) {
            self.complete(OpType::Fail, Some("crashed before this was processed".to_owned()));
            return Some(End::Crash);
        }
        let Some(standing) = standing else {
            self.complete(OpType::Fail, Some("in no generation of the group any more".to_owned()));
            return self.go_back(consumer, &begins);
        };
        let mut producing = self.producing.take()?;
        let end = self.transact_with(consumer, &mut producing, &standing, trouble);
        self.producing = Some(producing);
        match end {
            Ended::Committed if matches!(trouble, Some(Trouble::Leave)) => Some(End::Leave),
            Ended::Committed => None,
            Ended::Aborted => self.go_back(consumer, &begins),
            Ended::Of(end) => Some(end),
        }
    }

    fn transact_with(
        &mut self,
        consumer: &BaseConsumer<MemberContext>,
        producing: &mut Producing,
        standing: &ConsumerGroupMetadata,
        trouble: Option<Trouble>,
    ) -> Ended {
        let Some(mut producer) = producing.seat.producer.take() else {
            self.complete(OpType::Fail, Some("without a producer".to_owned()));
            return Ended::Of(End::Fatal("without a producer".to_owned()));
        };
        let group = Arc::clone(&self.group);
        let offsets = self.batch.next_offsets();
        let is_outside = group.options().exactly_once_unsafe;
        let mut open = producing.produce(&mut producer, &group, &self.batch.values());
        // Half of the pauses are before the offsets are sent, which the coordinator must then refuse; others are at work on the keys meanwhile. The
        // rest are behind them, so that others have to wait for the transaction before they are told where the group stands.
        let is_late = !is_outside && producing.random.random_bool(0.5);
        let pause = |member: &Self, wanted: bool| match trouble {
            Some(Trouble::Pause { beyond }) if wanted == is_late => member.pause(beyond),
            _ => {}
        };
        producer.flush(CALL);
        pause(self, false);
        self.sleep(Duration::from_millis(group.options().processing_ms));
        if !is_outside {
            self.record_offsets(producing.process, OpType::Invoke, &offsets, None);
            if open.broken.is_none() {
                let list = group.list(offsets.iter().map(|(key, offset)| (*key, Some(*offset))));
                open.broken = producing.send_offsets(&producer, &list, standing);
            }
            pause(self, true);
        }
        let is_crash = matches!(trouble, Some(Trouble::Crash { .. }));
        let ended = match is_crash && !is_outside {
            true => producing.seat.leave("the member crashed"),
            false => producing.seat.end(&producer, &open, Ending::Commit, false),
        };
        let (op_type, error, is_dead) = (ended.op_type, ended.error.clone(), ended.dead.is_some());
        producing.seat.complete(producer, open, ended);
        self.complete(op_type, error.clone());
        group.figures.transaction(op_type);
        match is_outside {
            false => self.end_offsets(producing, op_type, &offsets, error.as_deref()),
            true if op_type == OpType::Ok && !is_crash => self.commit_sync(consumer, &offsets),
            true => {}
        }
        match op_type {
            _ if is_crash => Ended::Of(End::Crash),
            OpType::Ok => Ended::Committed,
            OpType::Fail if !is_dead => Ended::Aborted,
            _ => Ended::Of(End::Fatal(error.unwrap_or_default())),
        }
    }

    /// The offsets came to what their transaction came to.
    fn end_offsets(&self, producing: &mut Producing, op_type: OpType, offsets: &BTreeMap<usize, Offset>, error: Option<&str>) {
        self.record_offsets(producing.process, op_type, offsets, error);
        match op_type {
            OpType::Ok => offsets.iter().for_each(|(key, offset)| self.group.saw_committed(*key, *offset)),
            OpType::Info => producing.process = self.group.shared.new_process(),
            OpType::Invoke | OpType::Fail => {}
        }
    }

    fn record_offsets(&self, process: u32, op_type: OpType, offsets: &BTreeMap<usize, Offset>, error: Option<&str>) {
        let body = Body::Commit(offsets.iter().map(|(key, offset)| (self.group.key(*key), *offset)).collect());
        let draft = self.draft(op_type, body);
        self.group.shared.record(Draft { process: Process::Client(process), error: error.map(str::to_owned), ..draft });
    }

    /// To where the batch began, of the keys that are still the member's. One that cannot go back is replaced.
    fn go_back(&self, consumer: &BaseConsumer<MemberContext>, begins: &BTreeMap<usize, Offset>) -> Option<End> {
        let own = begins.iter().filter(|(key, _)| self.assigned.contains(key));
        let list = self.group.list(own.map(|(key, offset)| (*key, Some(*offset))));
        if list.count() == 0 {
            return None;
        }
        let gone = consumer.seek_partitions(list, SEEK);
        let gone = gone.and_then(|list| list.elements().iter().try_for_each(TopicPartitionListElem::error));
        gone.err().map(|error| End::Fatal(format!("cannot go back to where the transaction began: {}", named(&error))))
    }
}

/// How a transaction ended.
enum Ended {
    Committed,
    /// Certainly not committed, and its clients can go on.
    Aborted,
    Of(End),
}
