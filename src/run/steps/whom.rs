//! Whom a step means: a daemon, all of a kind, or what a nemesis may be aimed at.

use std::fmt;

use kchaos_cluster::inventory::{DaemonKind, Inventory};
use kchaos_core::Target;
use serde::Deserialize;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum Whom {
    /// `broker:1`, `controller:101`, `zookeeper:2`.
    Daemon(DaemonKind, i32),
    Brokers,
    Controllers,
    ZooKeepers,
    /// Found at the moment of the step.
    Target(Target),
}

impl TryFrom<String> for Whom {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let daemon = |kind, id: &str| id.parse().map(|id| Self::Daemon(kind, id)).map_err(|_| format!("target \"{text}\": {id} is no id"));
        match text.split_once(':') {
            Some(("broker" | "kafka", id)) => return daemon(DaemonKind::Kafka, id),
            Some(("controller", id)) => return daemon(DaemonKind::Controller, id),
            Some(("zookeeper", id)) => return daemon(DaemonKind::Zookeeper, id),
            _ => {}
        }
        match text.as_str() {
            "brokers" => Ok(Self::Brokers),
            "controllers" => Ok(Self::Controllers),
            "zookeepers" => Ok(Self::ZooKeepers),
            other => match other.parse::<Target>() {
                Ok(target) if target.is_partition() => Err(format!("target \"{other}\" is a part of the network, not daemons")),
                Ok(target) => Ok(Self::Target(target)),
                Err(why) => Err(format!("{why}; of a step also broker:ID, controller:ID, zookeeper:ID, brokers, controllers, zookeepers")),
            },
        }
    }
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Daemon(DaemonKind::Kafka, id) => write!(f, "broker:{id}"),
            Self::Daemon(kind, id) => write!(f, "{}:{id}", kind.name()),
            Self::Brokers => f.write_str("brokers"),
            Self::Controllers => f.write_str("controllers"),
            Self::ZooKeepers => f.write_str("zookeepers"),
            Self::Target(target) => write!(f, "{target}"),
        }
    }
}

impl Whom {
    /// Their labels, where the inventory alone says who they are.
    pub(super) fn labels(&self, inventory: &Inventory) -> Option<Vec<String>> {
        let of = |kind| inventory.daemons_of(kind).map(|(_, daemon)| daemon.label()).collect();
        match self {
            Self::Daemon(kind, id) => Some(inventory.daemon(*kind, *id).map(|(_, daemon)| daemon.label()).into_iter().collect()),
            Self::Brokers => Some(of(DaemonKind::Kafka)),
            Self::Controllers => Some(inventory.controllers().map(|(_, daemon, _)| daemon.label()).collect()),
            Self::ZooKeepers => Some(of(DaemonKind::Zookeeper)),
            Self::Target(_) => None,
        }
    }

    pub(super) fn refuse(&self, inventory: &Inventory) -> Result<(), String> {
        if let Self::Target(Target::Host(host)) = self
            && inventory.host(host).is_none()
        {
            return Err(format!("the inventory has no host \"{host}\""));
        }
        match self.labels(inventory) {
            Some(labels) if labels.is_empty() => {
                let known: Vec<String> = inventory.daemons().map(|(_, daemon)| daemon.label().replacen("kafka:", "broker:", 1)).collect();
                Err(format!("target \"{self}\": the inventory has none; it has {}", known.join(", ")))
            }
            _ => Ok(()),
        }
    }
}
