//! The records that a member holds: gathered, and not processed yet.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use kchaos_core::{Key, Offset, Value};
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::types::RDKafkaErrorCode;

use super::context::{Mailbox, MemberContext};
use super::group::Group;
use crate::payload;
use crate::raw;

const RECORDS_MAX: usize = 500;
const GATHER: Duration = Duration::from_millis(50);
const EMPTY_POLL: Duration = Duration::from_secs(5);
const POLL_SLICE: Duration = Duration::from_millis(100);
/// An error that librdkafka repeats while it mends it is recorded once in this time.
const REPEATED: Duration = Duration::from_secs(1);

pub(crate) struct Batch {
    keys: Vec<OfKey>,
    count: usize,
}

#[derive(Default)]
struct OfKey {
    records: Vec<(Offset, Value)>,
    corrupt: Vec<(Offset, String)>,
    first: Option<Offset>,
    next: Option<Offset>,
    leader_epoch: Option<i32>,
}

/// What a poll op says of a batch.
pub(crate) struct Taken {
    pub(crate) count: usize,
    pub(crate) records: Vec<(Key, Vec<(Offset, Value)>)>,
    pub(crate) leader_epochs: BTreeMap<Key, i32>,
    pub(crate) corrupt: Vec<(Key, Offset, String)>,
}

impl Batch {
    pub(crate) fn new(keys: usize) -> Self {
        Self { keys: (0..keys).map(|_| OfKey::default()).collect(), count: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.keys.len());
    }

    /// Where each key of the batch is to go on when it is processed.
    pub(crate) fn next_offsets(&self) -> BTreeMap<usize, Offset> {
        self.keys.iter().enumerate().filter_map(|(index, key)| Some((index, key.next?))).collect()
    }

    /// Where each key of the batch was to be gone on with before it.
    pub(crate) fn first_offsets(&self) -> BTreeMap<usize, Offset> {
        self.keys.iter().enumerate().filter_map(|(index, key)| Some((index, key.first?))).collect()
    }

    /// What there is to process.
    pub(crate) fn values(&self) -> Vec<(usize, Value)> {
        let of = |(index, key): (usize, &OfKey)| key.records.iter().map(move |(_, value)| (index, *value)).collect::<Vec<_>>();
        self.keys.iter().enumerate().flat_map(of).collect()
    }

    /// The key is not the member's any more.
    pub(crate) fn let_go(&mut self, index: usize) {
        let gone = std::mem::take(&mut self.keys[index]);
        self.count -= gone.count();
    }

    pub(crate) fn take(&mut self, key_of: impl Fn(usize) -> Key) -> Taken {
        let mut taken =
            Taken { count: std::mem::take(&mut self.count), records: Vec::new(), leader_epochs: BTreeMap::new(), corrupt: Vec::new() };
        for (index, key) in self.keys.iter_mut().enumerate() {
            let OfKey { records, corrupt, leader_epoch, .. } = std::mem::take(key);
            let key = key_of(index);
            taken.leader_epochs.extend(leader_epoch.map(|epoch| (key, epoch)));
            taken.corrupt.extend(corrupt.into_iter().map(|(offset, wrong)| (key, offset, wrong)));
            if !records.is_empty() {
                taken.records.push((key, records));
            }
        }
        taken
    }

    fn put(&mut self, index: usize, offset: Offset, record: Result<Value, String>, leader_epoch: Option<i32>) {
        let key = &mut self.keys[index];
        match record {
            Ok(value) => key.records.push((offset, value)),
            Err(wrong) => key.corrupt.push((offset, wrong)),
        }
        key.first.get_or_insert(offset);
        key.next = Some(offset + 1);
        key.leader_epoch = leader_epoch;
        self.count += 1;
    }
}

impl OfKey {
    fn count(&self) -> usize {
        self.records.len() + self.corrupt.len()
    }
}

/// Why gathering ended.
pub(crate) enum GatherEnd {
    Done,
    Error { text: String, is_fatal: bool },
}

/// What a member remembers from one gathering to the next.
#[derive(Default)]
pub(crate) struct Gathering {
    last_error: Option<(RDKafkaErrorCode, Instant)>,
}

impl Gathering {
    /// Takes what arrives within a moment of the first record, and ends at once when keys come or go.
    pub(crate) fn gather(
        &mut self,
        consumer: &BaseConsumer<MemberContext>,
        group: &Group,
        mailbox: &Mailbox,
        batch: &mut Batch,
    ) -> GatherEnd {
        let mut until = Instant::now() + EMPTY_POLL;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || group.is_over.load(Relaxed) || mailbox.has_rebalance() {
                return GatherEnd::Done;
            }
            match consumer.poll(left.min(POLL_SLICE)) {
                None => {}
                Some(Ok(message)) => {
                    take(group, &message, batch);
                    if batch.count == 1 {
                        until = Instant::now() + GATHER;
                    }
                    if batch.count >= RECORDS_MAX {
                        return GatherEnd::Done;
                    }
                }
                Some(Err(error)) => {
                    if let Some(end) = self.judge(&error) {
                        return end;
                    }
                }
            }
        }
    }

    /// Whether an error ends the poll. librdkafka repeats what it mends by itself, several times a second.
    fn judge(&mut self, error: &KafkaError) -> Option<GatherEnd> {
        let is_fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
        let code = raw::code(error);
        let is_repeated = self.last_error.is_some_and(|(last, at)| last == code && at.elapsed() < REPEATED);
        if is_repeated && !is_fatal {
            return None;
        }
        self.last_error = Some((code, Instant::now()));
        Some(GatherEnd::Error { text: raw::code_name(code), is_fatal })
    }
}

fn take(group: &Group, message: &BorrowedMessage<'_>, batch: &mut Batch) {
    let Some(index) = group.key_of(message.partition()).filter(|_| message.topic() == group.topic) else { return };
    let record = payload::decode(&group.shared.places[index], message.key(), message.payload()).map(|record| record.value);
    batch.put(index, message.offset(), record, raw::leader_epoch(message));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_taken_away_leaves_with_its_records() {
        let mut batch = Batch::new(2);
        batch.put(0, 5, Ok(50), Some(1));
        batch.put(1, 8, Ok(80), Some(2));
        batch.put(1, 9, Err("torn".to_owned()), Some(2));
        assert_eq!(batch.next_offsets(), [(0, 6), (1, 10)].into());
        assert_eq!((batch.first_offsets(), batch.values()), ([(0, 5), (1, 8)].into(), vec![(0, 50), (1, 80)]));
        batch.let_go(0);
        assert_eq!((batch.is_empty(), batch.next_offsets()), (false, [(1, 10)].into()));
        let taken = batch.take(|index| index as Key + 100);
        assert_eq!((taken.count, taken.records), (2, vec![(101, vec![(8, 80)])]));
        assert_eq!((taken.leader_epochs, taken.corrupt), ([(101, 2)].into(), vec![(101, 9, "torn".to_owned())]));
        assert!(batch.is_empty() && batch.next_offsets().is_empty());
    }
}
