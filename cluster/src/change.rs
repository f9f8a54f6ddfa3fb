//! A change of the cluster that is asked for by Kafka's own protocol, with what was there before, so that it can be put back by anybody.
//!
//! Each is stated as what is to be, so making and putting back are idempotent, and each is proved by asking the cluster anew. It is data:
//! what a host keeps of it (as JSON) is enough to put it back with an inventory and no run.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::protocol::{Client, ConfigSource, MetadataPartition, ProtocolError};

const PAUSE: Duration = Duration::from_millis(300);
const UNKNOWN_TOPIC: i16 = 3;

/// Only what was ours to change, and only to what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Which brokers hold a partition, the preferred leader first.
    Replicas { topic: String, partition: i32, before: Vec<i32>, after: Vec<i32> },
    /// A topic's own setting; `None`: it had none, and the default holds.
    TopicSetting { topic: String, name: String, before: Option<String>, after: Option<String> },
    /// A broker's dynamic setting.
    BrokerSetting { broker: i32, name: String, before: Option<String>, after: Option<String> },
    /// The records below an offset are gone for good.
    RecordsDeleted { topic: String, partition: i32, below: i64 },
}

/// Which of its two states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Before,
    After,
}

impl Change {
    /// For people, and for the record of a fault's effect.
    pub fn words(&self) -> String {
        let or_default = |value: &Option<String>| value.clone().unwrap_or_else(|| "the default".to_owned());
        match self {
            Change::Replicas { topic, partition, before, after } => format!("replicas of {topic}-{partition}: {before:?} to {after:?}"),
            Change::TopicSetting { topic, name, before, after } => {
                format!("{name} of topic {topic}: {} to {}", or_default(before), or_default(after))
            }
            Change::BrokerSetting { broker, name, before, after } => {
                format!("{name} of broker {broker}: {} to {}", or_default(before), or_default(after))
            }
            Change::RecordsDeleted { topic, partition, below } => format!("records of {topic}-{partition} below offset {below}: deleted"),
        }
    }

    /// Asks for one side of it, and for nothing if it cannot be had back.
    pub async fn ask(&self, client: &Client, side: Side) -> Result<(), ProtocolError> {
        let pick = |before: &Option<String>, after: &Option<String>| if side == Side::Before { before.clone() } else { after.clone() };
        match self {
            Change::Replicas { topic, partition, before, after } => {
                let wanted = if side == Side::Before { before } else { after };
                client.reassign(topic, *partition, wanted).await
            }
            Change::TopicSetting { topic, name, before, after } => {
                client.set_topic_config(topic, name, pick(before, after).as_deref()).await
            }
            Change::BrokerSetting { broker, name, before, after } => {
                client.set_broker_config(*broker, name, pick(before, after).as_deref()).await
            }
            Change::RecordsDeleted { .. } if side == Side::Before => Ok(()),
            Change::RecordsDeleted { topic, partition, below } => {
                let leader = partition_of(client, topic, *partition).await?.leader.ok_or(ProtocolError::NoLeader)?;
                client.delete_records(leader, topic, *partition, *below).await
            }
        }
    }

    /// Asks, and waits until the cluster says that it is so: how it said it. A topic that is gone has nothing to be put back.
    pub async fn bring_about(&self, client: &Client, side: Side, limit: Duration) -> Result<String, String> {
        self.until(client, side, limit, false).await
    }

    /// Waits until the cluster says that it is so, and asks for nothing: a proof that asked would make true what it is to look at.
    pub async fn await_seen(&self, client: &Client, side: Side, limit: Duration) -> Result<String, String> {
        self.until(client, side, limit, true).await
    }

    async fn until(&self, client: &Client, side: Side, limit: Duration, mut is_asked: bool) -> Result<String, String> {
        let deadline = Instant::now() + limit;
        loop {
            let last = match self.step(client, side, &mut is_asked).await {
                Ok(Seen::Yes(text)) => return Ok(text),
                Ok(Seen::No(text)) => text,
                Err(error) if error.code() == Some(UNKNOWN_TOPIC) && side == Side::Before => {
                    return Ok("the topic is gone, so there is nothing to be put back".to_owned());
                }
                Err(error) => error.to_string(),
            };
            if Instant::now() >= deadline {
                return Err(last);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn step(&self, client: &Client, side: Side, is_asked: &mut bool) -> Result<Seen, ProtocolError> {
        if !*is_asked {
            self.ask(client, side).await?;
            *is_asked = true;
        }
        self.look(client, side).await
    }

    /// Whether the cluster is on that side of it now. Elects the preferred leader where that is what is still lacking.
    pub async fn look(&self, client: &Client, side: Side) -> Result<Seen, ProtocolError> {
        match self {
            Change::Replicas { topic, partition, before, after } => {
                let wanted = if side == Side::Before { before } else { after };
                let seen = partition_of(client, topic, *partition).await?;
                let text = format!("{topic}-{partition} has replicas {:?}, ISR {:?}, leader {:?}", seen.replicas, seen.isr, seen.leader);
                if seen.replicas != *wanted || !wanted.iter().all(|replica| seen.isr.contains(replica)) {
                    return Ok(Seen::No(text));
                }
                if seen.leader != wanted.first().copied() {
                    client.elect_preferred(topic, *partition).await?;
                    return Ok(Seen::No(text));
                }
                Ok(Seen::Yes(text))
            }
            Change::TopicSetting { topic, name, before, after } => {
                let config = client.topic_config(topic).await?;
                let own = config.get(name).filter(|entry| entry.source == ConfigSource::Topic).and_then(|entry| entry.value.clone());
                Ok(compare(&format!("topic {topic}"), name, own.as_ref(), if side == Side::Before { before } else { after }))
            }
            Change::BrokerSetting { broker, name, before, after } => {
                let own = dynamic_setting(client, *broker, name).await?;
                Ok(compare(&format!("broker {broker}"), name, own.as_ref(), if side == Side::Before { before } else { after }))
            }
            Change::RecordsDeleted { topic, partition, below } => {
                if side == Side::Before {
                    return Ok(Seen::Yes(format!("the records of {topic}-{partition} below {below} stay deleted")));
                }
                let seen = partition_of(client, topic, *partition).await?;
                let leader = seen.leader.ok_or(ProtocolError::NoLeader)?;
                let start = client.log_bounds(leader, topic, *partition, -1).await?.start;
                let text = format!("the log of {topic}-{partition} starts at {start}");
                Ok(if start >= *below { Seen::Yes(text) } else { Seen::No(text) })
            }
        }
    }
}

/// What a look said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Yes(String),
    No(String),
}

fn compare(whose: &str, name: &str, is: Option<&String>, wanted: &Option<String>) -> Seen {
    let text = format!("{whose} says {name} is {}", is.map_or("the default", String::as_str));
    if is == wanted.as_ref() { Seen::Yes(text) } else { Seen::No(text) }
}

/// A broker's own dynamic value of a setting; `None` while a static one or the default holds.
pub async fn dynamic_setting(client: &Client, broker: i32, name: &str) -> Result<Option<String>, ProtocolError> {
    let config = client.broker_config(broker).await?;
    Ok(config.get(name).filter(|entry| entry.source == ConfigSource::DynamicBroker).and_then(|entry| entry.value.clone()))
}

/// As the controller sees it, whose word counts in a change.
async fn partition_of(client: &Client, topic: &str, partition: i32) -> Result<MetadataPartition, ProtocolError> {
    let topics = [topic.to_owned()];
    let metadata = client.metadata_from_any(Some(&topics)).await?;
    let metadata = match metadata.controller {
        Some(controller) => client.metadata(controller, Some(&topics)).await?,
        None => metadata,
    };
    let found = metadata.topics.into_iter().flat_map(|seen| seen.partitions).find(|seen| seen.partition == partition);
    found.ok_or_else(|| ProtocolError::NoPartition { topic: topic.to_owned(), partition })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_keeps_of_a_change_is_the_change() {
        let changes = [
            Change::Replicas { topic: "t".into(), partition: 2, before: vec![1, 2, 3], after: vec![2, 3, 1] },
            Change::TopicSetting { topic: "t".into(), name: "segment.bytes".into(), before: None, after: Some("1048576".into()) },
            Change::BrokerSetting { broker: 3, name: "num.replica.fetchers".into(), before: Some("1".into()), after: Some("2".into()) },
            Change::RecordsDeleted { topic: "t".into(), partition: 0, below: 77 },
        ];
        let text = serde_json::to_string(&changes).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Change>>(&text).unwrap(), changes);
        assert!(!text.contains('\\') && !text.contains('\''));
        assert_eq!(changes[1].words(), "segment.bytes of topic t: the default to 1048576");
    }

    #[test]
    fn a_setting_that_a_default_gives_is_not_the_topic_s_own() {
        assert_eq!(compare("topic t", "n", None, &None), Seen::Yes("topic t says n is the default".into()));
        assert_eq!(compare("topic t", "n", Some(&"1".into()), &None), Seen::No("topic t says n is 1".into()));
    }
}
