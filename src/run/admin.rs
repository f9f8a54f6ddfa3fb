//! The way to change the cluster that workloads are given: Kafka's protocol, by our own client.

use std::collections::BTreeMap;

use kchaos_cluster::inventory::{DaemonKind, Inventory};
use kchaos_cluster::protocol::{Ask, Client, ConfigSource, ProtocolError, Timeouts};
use kchaos_workloads::{Admin, Change, NotDone, SeenOffset, SeenPartition, SeenTopic};
use tokio::runtime::Handle;

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;

/// Called from threads that are none of the runtime's.
pub(super) struct ProtocolAdmin {
    client: Client,
    brokers: Vec<i32>,
    runtime: Handle,
}

impl ProtocolAdmin {
    /// `None` where the brokers do not speak what the client speaks, or outside the runtime.
    pub(super) fn new(inventory: &Inventory) -> Option<Self> {
        let client = Client::new(inventory, Timeouts::default()).ok()?;
        let brokers = inventory.daemons_of(DaemonKind::Kafka).map(|(_, daemon)| daemon.id).collect();
        Some(Self { client, brokers, runtime: Handle::try_current().ok()? })
    }
}

impl Admin for ProtocolAdmin {
    fn brokers(&self) -> Vec<i32> {
        self.brokers.clone()
    }

    fn change(&self, change: &Change) -> Result<(), NotDone> {
        match self.runtime.block_on(self.client.ask_once(ask(change))) {
            Ok(0) => Ok(()),
            Ok(code) => Err(NotDone { is_sent: true, code: Some(code), text: kchaos_cluster::protocol::error_name(code).to_owned() }),
            Err(unanswered) => Err(NotDone { is_sent: unanswered.is_sent, code: None, text: unanswered.to_string() }),
        }
    }

    fn topics(&self, broker: Option<i32>, names: &[String]) -> Result<Vec<SeenTopic>, String> {
        let asked = async {
            match broker {
                Some(broker) => self.client.metadata(broker, Some(names)).await,
                None => self.client.metadata_from_any(Some(names)).await,
            }
        };
        let metadata = self.runtime.block_on(asked).map_err(|error| error.to_string())?;
        let known = metadata.topics.into_iter().filter(|topic| topic.error != UNKNOWN_TOPIC_OR_PARTITION);
        let seen = known.map(|topic| SeenTopic {
            topic: topic.topic,
            partitions: topic
                .partitions
                .into_iter()
                .map(|seen| SeenPartition {
                    partition: seen.partition,
                    leader: seen.leader,
                    leader_epoch: seen.leader_epoch,
                    replicas: seen.replicas,
                    isr: seen.isr,
                })
                .collect(),
        });
        Ok(seen.collect())
    }

    fn settings(&self, broker: i32, topic: &str) -> Result<Option<BTreeMap<String, String>>, String> {
        match self.runtime.block_on(self.client.topic_config_at(broker, topic)) {
            Ok(config) => {
                let own = config.into_iter().filter(|(_, entry)| entry.source == ConfigSource::Topic);
                Ok(Some(own.filter_map(|(name, entry)| Some((name, entry.value?))).collect()))
            }
            Err(error) if error.code() == Some(UNKNOWN_TOPIC_OR_PARTITION) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn list_offset(&self, broker: i32, topic: &str, partition: i32, leader_epoch: i32, timestamp_ms: i64) -> Result<SeenOffset, NotDone> {
        let asked = self.client.list_offset(broker, topic, partition, leader_epoch, timestamp_ms);
        match self.runtime.block_on(asked) {
            Ok(seen) => Ok(SeenOffset { offset: seen.offset, timestamp_ms: seen.timestamp_ms, leader_epoch: seen.leader_epoch }),
            Err(error) => Err(not_done(&error)),
        }
    }
}

fn ask(change: &Change) -> Ask<'_> {
    match change {
        Change::Elect { topic, partition } => Ask::Elect { topic, partition: *partition },
        Change::Reassign { topic, partition, replicas } => Ask::Reassign { topic, partition: *partition, replicas },
        Change::Setting { topic, name, value } => Ask::TopicSetting { topic, name, value: value.as_deref() },
        Change::Create { topic, partitions, replication_factor, settings } => {
            Ask::Create { topic, partitions: *partitions, replication_factor: *replication_factor, settings }
        }
        Change::Delete { topic } => Ask::Delete { topic },
        Change::Grow { topic, partitions } => Ask::Grow { topic, partitions: *partitions },
        Change::DeleteRecords { leader, topic, partition, before } => {
            Ask::DeleteRecords { leader: *leader, topic, partition: *partition, before: *before }
        }
    }
}

/// Of a call that only reads, whether it was sent means nothing.
fn not_done(error: &ProtocolError) -> NotDone {
    NotDone { is_sent: true, code: error.code(), text: error.to_string() }
}
