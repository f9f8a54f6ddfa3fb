//! The things that are watched in ZooKeeper, how one server is asked for them, and what their changes are called.
//!
//! An item is one small set of nodes whose states can be put in order by zxids:
//! - registrations: the children of `/brokers/ids`, ordered by its `pzxid`; each with its `czxid`, so that one that went and came back
//!   between two looks is told from one that stayed;
//! - the controller: `/controller` and `/controller_epoch`, ordered by the epoch node's `mzxid`, then *present* before *gone*. Kafka makes
//!   the one and raises the other in one transaction (KAFKA-6082), so `czxid` and `mzxid` are equal; if not, the read was torn: read again;
//! - each partition's state, ordered by its `mzxid`.

use std::collections::BTreeMap;

use futures_util::future::{join, try_join_all};
use kchaos_core::{KeyEntry, Observed};
use zookeeper_client as zk;

use super::ledger::{Change, Version};
use crate::zookeeper::nodes::{self, StateNode};

/// Position of an item in the ledger: the two that always are, then the keys in their order.
pub(super) const REGISTRATIONS: usize = 0;
pub(super) const CONTROLLER: usize = 1;
const FIRST_KEY: usize = 2;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Brokers with the `czxid` of their registration.
    Registrations(BTreeMap<i32, i64>),
    Controller {
        broker: Option<i32>,
        epoch: Option<i32>,
    },
    State(StateNode),
    /// What stands there is not what Kafka writes.
    Unreadable(String),
}

/// What one look at an item at one server gave.
pub(super) struct Look {
    /// `None`: the node is not there, or the read was torn.
    pub(super) shown: Option<(Version, Value)>,
    pub(super) is_torn: bool,
    pub(super) watchers: Vec<zk::OneshotWatcher>,
}

struct Node {
    content: Option<(Vec<u8>, zk::Stat)>,
    watcher: Option<zk::OneshotWatcher>,
}

pub(super) fn count(keys: usize) -> usize {
    FIRST_KEY + keys
}

/// Asks one server for an item. With `watch`, a one-shot watch is set before the data is read, so no later change can be missed.
pub(super) async fn look(client: &zk::Client, keys: &[KeyEntry], item: usize, watch: bool) -> Result<Look, zk::Error> {
    match item {
        REGISTRATIONS => look_at_registrations(client, watch).await,
        CONTROLLER => look_at_controller(client, watch).await,
        _ => match keys.get(item - FIRST_KEY) {
            Some(key) => look_at_state(client, key, watch).await,
            None => Ok(Look { shown: None, is_torn: false, watchers: Vec::new() }),
        },
    }
}

/// What a change is called in the timeline.
pub(super) fn observed(keys: &[KeyEntry], item: usize, change: &Change<Value>) -> Vec<Observed> {
    match &change.value {
        Value::Registrations(brokers) => registrations_observed(change.previous.as_ref(), brokers),
        Value::Controller { broker, epoch } => vec![Observed::Controller { broker: *broker, epoch: *epoch }],
        Value::State(state) => keys.get(item.wrapping_sub(FIRST_KEY)).map(|entry| state_observed(entry, state)).into_iter().collect(),
        Value::Unreadable(text) => vec![Observed::Blind { text: text.clone() }],
    }
}

fn registrations_observed(previous: Option<&Value>, brokers: &BTreeMap<i32, i64>) -> Vec<Observed> {
    let none = BTreeMap::new();
    let before = match previous {
        Some(Value::Registrations(brokers)) => brokers,
        _ => &none,
    };
    let gone = before.iter().filter(|(broker, czxid)| brokers.get(broker) != Some(czxid));
    let came = brokers.iter().filter(|(broker, czxid)| before.get(broker) != Some(czxid));
    let gone = gone.map(|(broker, _)| Observed::BrokerGone { broker: *broker });
    gone.chain(came.map(|(broker, _)| Observed::BrokerRegistered { broker: *broker })).collect()
}

fn state_observed(entry: &KeyEntry, state: &StateNode) -> Observed {
    Observed::PartitionState {
        key: entry.key,
        leader: state.known_leader(),
        leader_epoch: state.leader_epoch,
        isr: state.isr.clone(),
        controller_epoch: state.controller_epoch,
    }
}

async fn look_at_registrations(client: &zk::Client, watch: bool) -> Result<Look, zk::Error> {
    let listed = if watch {
        client.get_and_watch_children(nodes::BROKER_IDS).await.map(|(names, stat, watcher)| (names, stat, vec![watcher]))
    } else {
        client.get_children(nodes::BROKER_IDS).await.map(|(names, stat)| (names, stat, Vec::new()))
    };
    let (names, stat, watchers) = match listed {
        Ok(listed) => listed,
        // Before any broker has ever started: nothing to watch yet, so it is looked at again in the next audit.
        Err(zk::Error::NoNode) => return Ok(Look { shown: None, is_torn: false, watchers: Vec::new() }),
        Err(error) => return Err(error),
    };
    let ids: Vec<i32> = names.iter().filter_map(|name| name.parse().ok()).collect();
    let stats = try_join_all(ids.iter().map(|id| client.check_stat(&nodes::broker_path(*id)))).await?;
    // One that went after the listing is left out: it is gone, and the watch brings the listing that says so.
    let brokers = ids.into_iter().zip(stats).filter_map(|(id, stat)| Some((id, stat?.czxid))).collect();
    Ok(Look { shown: Some(((stat.pzxid, 0), Value::Registrations(brokers))), is_torn: false, watchers })
}

async fn look_at_controller(client: &zk::Client, watch: bool) -> Result<Look, zk::Error> {
    // The epoch first: whatever happens between the two reads then shows as a controller that is newer than its epoch.
    let (epoch, controller) = join(node(client, nodes::CONTROLLER_EPOCH, watch), node(client, nodes::CONTROLLER, watch)).await;
    let (epoch, controller) = (epoch?, controller?);
    let watchers = epoch.watcher.into_iter().chain(controller.watcher).collect();
    let epoch_zxid = epoch.content.as_ref().map_or(0, |(_, stat)| stat.mzxid);
    let is_torn = controller.content.as_ref().is_some_and(|(_, stat)| stat.czxid != epoch_zxid);
    let parsed_epoch = epoch.content.map(|(bytes, _)| nodes::parse_controller_epoch(&bytes)).transpose();
    let parsed_broker = controller.content.map(|(bytes, _)| nodes::parse_controller(&bytes)).transpose();
    let (is_gone, value) = match (parsed_broker, parsed_epoch) {
        (Ok(broker), Ok(epoch)) => (broker.is_none(), Value::Controller { broker, epoch }),
        (Err(error), _) | (_, Err(error)) => (false, Value::Unreadable(error.to_string())),
    };
    Ok(Look { shown: Some(((epoch_zxid, i64::from(is_gone)), value)), is_torn, watchers })
}

async fn look_at_state(client: &zk::Client, key: &KeyEntry, watch: bool) -> Result<Look, zk::Error> {
    let path = nodes::state_path(&key.topic, key.partition);
    let node = node(client, &path, watch).await?;
    let shown = node.content.map(|(bytes, stat)| {
        let value = nodes::parse_state(&path, &bytes).map_or_else(|error| Value::Unreadable(error.to_string()), Value::State);
        ((stat.mzxid, 0), value)
    });
    Ok(Look { shown, is_torn: false, watchers: node.watcher.into_iter().collect() })
}

/// Watch and data in one go: both requests are on their way before either is waited for. An absent node is watched for its creation.
async fn node(client: &zk::Client, path: &str, watch: bool) -> Result<Node, zk::Error> {
    let watched = watch.then(|| client.check_and_watch_stat(path));
    let data = client.get_data(path);
    let watcher = match watched {
        Some(watched) => Some(watched.await?.1),
        None => None,
    };
    match data.await {
        Ok(content) => Ok(Node { content: Some(content), watcher }),
        Err(zk::Error::NoNode) => Ok(Node { content: None, watcher }),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registrations_that_went_came_or_both_are_told_apart() {
        let check = |before: &[(i32, i64)], after: &[(i32, i64)], expect: &[Observed]| {
            let previous = Value::Registrations(before.iter().copied().collect());
            assert_eq!(registrations_observed(Some(&previous), &after.iter().copied().collect()), expect);
        };
        let gone = |broker| Observed::BrokerGone { broker };
        let came = |broker| Observed::BrokerRegistered { broker };
        check(&[(1, 10), (2, 11)], &[(2, 11)], &[gone(1)]);
        check(&[(2, 11)], &[(1, 12), (2, 11)], &[came(1)]);
        // The same id with another node: its session ended and it registered again between two looks.
        check(&[(1, 10)], &[(1, 12)], &[gone(1), came(1)]);
        check(&[(1, 10)], &[(1, 10)], &[]);
        assert_eq!(registrations_observed(None, &BTreeMap::from([(3, 9)])), [came(3)]);
    }
}
