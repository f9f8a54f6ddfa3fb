//! What the members of a group have in common, and what its coordinator says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use kchaos_core::{Body, Draft, Key, Offset, OpType};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{TopicPartitionList, TopicPartitionListElem};

use super::context::absolute;
use super::options::GroupOptions;
use super::outputs::Outputs;
use crate::properties::{self, Role};
use crate::raw;
use crate::shared::Shared;

const FETCH_COMMITTED: Duration = Duration::from_secs(3);

/// What the members of a group have in common.
pub(crate) struct Group {
    pub(crate) shared: Arc<Shared>,
    pub(crate) name: String,
    pub(crate) topic: String,
    pub(crate) started: Instant,
    /// Nothing happens to members any more: the group is to reach the log's end.
    pub(crate) is_calm: AtomicBool,
    pub(crate) is_over: AtomicBool,
    /// By key: the greatest offset known to be committed.
    pub(crate) committed: Vec<AtomicI64>,
    pub(crate) figures: Figures,
    /// With `--exactly-once`.
    pub(super) outputs: Option<Outputs>,
}

/// What happened to members, over all of them.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) crashes: AtomicU64,
    pub(crate) pauses: AtomicU64,
    pub(crate) leaves: AtomicU64,
    pub(crate) rebalances: AtomicU64,
    /// Transactions, with `--exactly-once`.
    pub(crate) committed: AtomicU64,
    pub(crate) aborted: AtomicU64,
    pub(crate) unknown: AtomicU64,
}

impl Figures {
    pub(crate) fn transaction(&self, op_type: OpType) {
        let figure = match op_type {
            OpType::Ok => &self.committed,
            OpType::Fail => &self.aborted,
            OpType::Info | OpType::Invoke => &self.unknown,
        };
        figure.fetch_add(1, Relaxed);
    }
}

impl Group {
    pub(crate) fn options(&self) -> &GroupOptions {
        &self.shared.options.group
    }

    pub(crate) fn config(&self, client: &str) -> rdkafka::ClientConfig {
        let mut all = self.shared.properties(Role::Member, client);
        self.options().fixed(&self.name, client, |name, value| {
            all.insert(name.to_owned(), value.to_owned());
        });
        properties::config(&all)
    }

    /// A list of partitions for librdkafka; without offsets where there are none.
    pub(crate) fn list(&self, offsets: impl IntoIterator<Item = (usize, Option<Offset>)>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (key, offset) in offsets {
            let mut element = list.add_partition(&self.topic, self.shared.keys[key].partition);
            // Any offset that a record had can be represented.
            let _ = offset.map(|offset| element.set_offset(rdkafka::Offset::Offset(offset)));
        }
        list
    }

    /// Keys that the group is given; those of its outputs, if it has any, stand behind them.
    pub(crate) fn inputs(&self) -> usize {
        self.shared.written
    }

    pub(crate) fn key_of(&self, partition: i32) -> Option<usize> {
        // Key k is partition k.
        usize::try_from(partition).ok().filter(|index| *index < self.inputs())
    }

    pub(crate) fn key(&self, index: usize) -> Key {
        self.shared.keys[index].key
    }

    pub(crate) fn saw_committed(&self, key: usize, offset: Offset) {
        self.committed[key].fetch_max(offset, Relaxed);
    }

    /// Asks the coordinator where the group stands, as an op; by key. An answer that is incomplete is none.
    pub(crate) fn fetch_committed<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        keys: &BTreeSet<usize>,
        draft: impl Fn(OpType, Body) -> Draft,
    ) -> Option<BTreeMap<Key, Offset>> {
        let asked: Vec<Key> = keys.iter().map(|key| self.key(*key)).collect();
        let body = |offsets| Body::Committed { keys: asked.clone(), offsets };
        self.shared.record(draft(OpType::Invoke, body(BTreeMap::new())));
        let list = self.list(keys.iter().map(|key| (*key, None)));
        let result = consumer.committed_offsets(list, FETCH_COMMITTED).and_then(|list| {
            list.elements().iter().try_for_each(TopicPartitionListElem::error)?;
            Ok(absolute(&list))
        });
        match result {
            Ok(found) => {
                let found = found.into_iter().filter_map(|(partition, offset)| Some((self.key_of(partition)?, offset)));
                let found: Vec<_> = found.inspect(|(key, offset)| self.saw_committed(*key, *offset)).collect();
                let offsets: BTreeMap<Key, Offset> = found.into_iter().map(|(key, offset)| (self.key(key), offset)).collect();
                self.shared.record(draft(OpType::Ok, body(offsets.clone())));
                Some(offsets)
            }
            Err(error) => {
                self.shared.record(Draft { error: Some(named(&error)), ..draft(OpType::Fail, body(BTreeMap::new())) });
                None
            }
        }
    }
}

pub(crate) fn named(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), raw::code_name)
}
