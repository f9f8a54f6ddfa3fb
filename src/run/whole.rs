//! Waiting until the cluster is whole: everybody registered, every replica in sync, every ZooKeeper serving.

use std::time::{Duration, Instant};

use kchaos_cluster::view::{self, View};

use super::Live;
use super::abort::Abort;

const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Whole {
    Yes,
    /// Not within the time: what is missing.
    No(String),
    Aborted,
}

/// Looks until the cluster is whole, the time is over, or the run is to end.
pub(super) async fn wait(live: &Live, timeout: Duration, abort: &Abort) -> Whole {
    let deadline = Instant::now() + timeout;
    loop {
        let missing = match view::look(&live.inventory, Some(&live.topics())).await {
            Ok(view) => missing(live, &view),
            Err(error) => Some(format!("the cluster cannot be seen: {error}")),
        };
        let Some(missing) = missing else { return Whole::Yes };
        if Instant::now() >= deadline {
            return Whole::No(missing);
        }
        if !abort.sleep(LOOK_EVERY).await {
            return Whole::Aborted;
        }
    }
}

/// What is missing for the cluster to be whole, in a sentence; `None` if nothing is.
pub(super) fn missing(live: &Live, view: &View) -> Option<String> {
    what_is_missing(&live.inventory, view)
}

pub(crate) fn what_is_missing(inventory: &kchaos_cluster::inventory::Inventory, view: &View) -> Option<String> {
    let mut parts = Vec::new();
    for (_, daemon) in inventory.daemons_of(kchaos_cluster::inventory::DaemonKind::Kafka) {
        if !view.brokers.contains_key(&daemon.id) {
            parts.push(format!("broker {} is not registered", daemon.id));
        }
    }
    for (host, zookeeper) in &view.zookeepers {
        if zookeeper.mode == "none" {
            parts.push(format!("the ZooKeeper on {host} does not serve"));
        }
    }
    for (id, controller) in view.quorum.iter().flat_map(|quorum| &quorum.controllers) {
        if controller.mode == "none" {
            parts.push(format!("controller {id} on {} does not answer", controller.host));
        }
    }
    if view.controller.is_none() {
        parts.push("there is no controller".into());
    }
    let shrunk: Vec<_> = view
        .partitions
        .iter()
        .filter(|partition| partition.leader.is_none() || partition.isr.len() < partition.replicas.len())
        .map(|partition| format!("{}:{} has ISR {:?} of {:?}", partition.topic, partition.partition, partition.isr, partition.replicas))
        .collect();
    match shrunk.as_slice() {
        [] => {}
        [first] => parts.push(first.clone()),
        [first, rest @ ..] => parts.push(format!("{first}, and {} more partitions are not in sync", rest.len())),
    }
    if parts.is_empty() { None } else { Some(parts.join("; ")) }
}
