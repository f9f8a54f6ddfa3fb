//! `change-config`: a setting of the run's topic, or (of a broker that is aimed at) of that broker, is changed while it runs, and back.
//!
//! Only settings that take no promise away: whatever the clients then see, it is no excuse. What was not set before is taken away again,
//! not set to the default of the day.

use std::sync::Arc;

use kchaos_cluster::change::{Change, dynamic_setting};
use kchaos_cluster::inventory::DaemonKind;
use kchaos_cluster::protocol::{Client, ConfigSource};
use kchaos_core::{Chosen, Target};

use crate::error::FaultError;
use crate::fault::{HostFault, Scope};
use crate::faults::asked;
use crate::ground::Ground;
use crate::registry::Spec;

const NAME: &str = "change-config";

pub(crate) const SPEC: Spec = Spec {
    name: NAME,
    about: "a setting of the run's topic, or of a broker, changed while it runs, and back",
    targets: &[Target::Cluster, Target::Leader, Target::Controller, Target::Follower, Target::Random],
    needs: &[],
    scope: Scope::Cluster,
    plan: |ground, chosen| Box::pin(plan(ground, chosen)),
};

/// Segments that roll all the time; a flush for each record; batches that the broker compresses anew.
const OF_TOPICS: &[(&str, &str)] = &[("segment.bytes", "1048576"), ("flush.messages", "1"), ("compression.type", "gzip")];
/// Each makes the broker end threads and start others.
const OF_BROKERS: &[&str] = &["num.replica.fetchers", "num.io.threads", "num.network.threads"];

async fn plan(ground: Arc<Ground>, chosen: Chosen) -> Result<Box<dyn HostFault>, FaultError> {
    let client = asked::client(&ground)?;
    let is_of_topic = ground.nemesis == NAME;
    let changes = if is_of_topic { of_topics(&ground, &client).await? } else { vec![of_broker(&ground, &client, &chosen).await?] };
    asked::plan(ground, chosen, changes)
}

fn drawn<T: Copy>(from: &[T], seed: u64) -> T {
    from[usize::try_from(seed % from.len() as u64).unwrap_or(0)]
}

/// A broker takes between half of what it has and twice as many, and nothing else.
fn other_count(count: u32) -> u32 {
    if count <= 1 { 2 } else { count - 1 }
}

async fn of_topics(ground: &Ground, client: &Client) -> Result<Vec<Change>, FaultError> {
    let mut topics: Vec<String> = asked::own_partitions(ground, client).await?.into_iter().map(|(entry, _)| entry.topic).collect();
    topics.dedup();
    let (name, value) = drawn(OF_TOPICS, ground.seed);
    let mut changes = Vec::new();
    for topic in topics {
        let config = client.topic_config(&topic).await;
        let config = config.map_err(|error| FaultError::environment(&ground.nemesis, format!("the settings of topic {topic}"), error))?;
        let entry = config.get(name);
        if entry.and_then(|entry| entry.value.as_deref()) == Some(value) {
            return Err(FaultError::refused(&ground.nemesis, format!("{name} of topic {topic} is {value} already")));
        }
        let before = entry.filter(|entry| entry.source == ConfigSource::Topic).and_then(|entry| entry.value.clone());
        changes.push(Change::TopicSetting { topic, name: name.to_owned(), before, after: Some(value.to_owned()) });
    }
    Ok(changes)
}

async fn of_broker(ground: &Ground, client: &Client, chosen: &Chosen) -> Result<Change, FaultError> {
    let entry = ground.daemon(&chosen.host, &chosen.daemon).filter(|daemon| daemon.kind == DaemonKind::Kafka);
    let broker =
        entry.map(|daemon| daemon.id).ok_or_else(|| FaultError::refused(&ground.nemesis, format!("{} is no broker", chosen.daemon)))?;
    let name = drawn(OF_BROKERS, ground.seed);
    let failed = |error| FaultError::environment(&ground.nemesis, format!("the settings of broker {broker}"), error);
    let config = client.broker_config(broker).await.map_err(failed)?;
    let count = config.get(name).and_then(|entry| entry.value.as_deref()?.parse().ok());
    let count: u32 = count.ok_or_else(|| FaultError::refused(&ground.nemesis, format!("broker {broker} does not say its {name}")))?;
    let before = dynamic_setting(client, broker, name).await.map_err(failed)?;
    Ok(Change::BrokerSetting { broker, name: name.to_owned(), before, after: Some(other_count(count).to_string()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_count_of_threads_is_one_that_a_broker_takes() {
        for count in 1..200 {
            let other = other_count(count);
            assert!(other != count && other * 2 >= count && other <= count * 2);
        }
    }
}
