//! What librdkafka tells a member while it polls: rebalances, and what became of commits. Kept until the op that polled has ended.

use std::sync::{Arc, Mutex, PoisonError};

use kchaos_core::{Offset, RebalanceType};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{TopicPartitionList, TopicPartitionListElem};
use rdkafka::types::RDKafkaErrorCode;

use crate::client_log::{ClientLog, log_by};
use crate::raw;

/// One thing that was told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    Rebalance {
        event: RebalanceType,
        partitions: Vec<i32>,
    },
    /// By partition, with the whole request's error, if it has one.
    Commit {
        code: Option<RDKafkaErrorCode>,
        offsets: Vec<(i32, Offset)>,
    },
}

/// What was told and not yet heard, in order.
#[derive(Clone, Default)]
pub(crate) struct Mailbox(Arc<Mutex<Vec<Told>>>);

impl Mailbox {
    pub(crate) fn put(&self, told: Told) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(told);
    }

    pub(crate) fn take(&self) -> Vec<Told> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn has_rebalance(&self) -> bool {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter().any(|told| matches!(told, Told::Rebalance { .. }))
    }
}

/// A member's context. The callbacks run on the thread that polls.
pub(crate) struct MemberContext {
    pub(crate) log: ClientLog,
    pub(crate) mailbox: Mailbox,
}

log_by!(MemberContext, log);

impl ConsumerContext for MemberContext {
    // rust-rdkafka assigns and unassigns itself between this and `post_rebalance`, incrementally where the protocol is cooperative.
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let (event, list) = match rebalance {
            Rebalance::Assign(list) => (RebalanceType::Assigned, list),
            // Lost: the group went on without this member, and others may be at its partitions already.
            Rebalance::Revoke(list) if consumer.assignment_lost() => (RebalanceType::Lost, list),
            Rebalance::Revoke(list) => (RebalanceType::Revoked, list),
            Rebalance::Error(error) => return self.log.say("error", "KCHAOS", &format!("a rebalance failed: {error}")),
        };
        self.mailbox.put(Told::Rebalance { event, partitions: list.elements().iter().map(|element| element.partition()).collect() });
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let code = result.err().map(|error| raw::code(&error));
        self.mailbox.put(Told::Commit { code, offsets: absolute(offsets) });
    }
}

/// The partitions of a list that have an offset.
pub(crate) fn absolute(list: &TopicPartitionList) -> Vec<(i32, Offset)> {
    let offset = |element: &TopicPartitionListElem<'_>| match element.offset() {
        rdkafka::Offset::Offset(offset) if offset >= 0 => Some((element.partition(), offset)),
        _ => None,
    };
    list.elements().iter().filter_map(offset).collect()
}
