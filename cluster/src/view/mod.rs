//! The view: what the cluster looks like at one moment, from its own sources.
//!
//! Why: people answered "who leads, who is in the ISR, who is the controller, which ZooKeeper leads" with four tools side by side
//! (`kafkacat -L`, `kafka-topics --describe`, `zookeeper-shell ls /brokers/ids`, a script around `srvr`). This joins them in one look.
//!
//! Sources: brokers, controller and partitions from ZooKeeper, which holds what the controller decided, read after a `sync` in one session;
//! modes from each ZooKeeper server by itself. A minority of servers may be down; they show as mode `none` with the reason.
//!
//! Limits: the parts of one look are read within a few milliseconds of each other, not at one instant. A ZooKeeper leader that was cut from
//! its peers answers, with what it last knew, until it notices (`syncLimit` ticks). Who needs moments uses the observer.

mod kraft;
mod look;
mod predicates;
mod render;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use look::{ViewError, Viewer, cluster_id, effective_config, look, topic_config};
pub use predicates::{all_registered, isr_full, isr_lacking, leaders_lacking, preferred_leaders, registrations_lacking};
pub use render::render_text;

/// One look at the cluster: `kchaos status --format json` prints it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct View {
    pub cluster_id: String,
    /// `/brokers/ids`.
    pub brokers: BTreeMap<i32, BrokerView>,
    pub controller: Option<i32>,
    pub controller_epoch: Option<i32>,
    /// By topic, then partition.
    pub partitions: Vec<PartitionView>,
    /// By host name, each server asked by itself.
    pub zookeepers: BTreeMap<String, ZooKeeperView>,
    /// Of a cluster without ZooKeeper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<QuorumView>,
}

/// The controllers of KRaft.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QuorumView {
    /// The active controller.
    pub leader: Option<i32>,
    pub leader_epoch: Option<i32>,
    /// Of the metadata log.
    pub high_watermark: Option<i64>,
    /// By node id, each asked by itself.
    pub controllers: BTreeMap<i32, ControllerView>,
    /// Brokers of the inventory that no client is told of: fenced, or never registered.
    pub fenced: Vec<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ControllerView {
    /// The inventory's name of the host.
    pub host: String,
    /// `leader`, `follower`, or `none` while it does not answer.
    pub mode: String,
    /// How many records of the metadata log it lacks, as the leader knows.
    pub lag: Option<i64>,
    /// Why the mode is `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BrokerView {
    /// The inventory's name of the host, where it has one.
    pub host: Option<String>,
    pub endpoints: Vec<String>,
    pub rack: Option<String>,
    /// The transaction that made its registration: a broker that was started anew has another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_zxid: Option<i64>,
    /// Of KRaft: whether the broker itself answers that it is registered and not fenced. Another one may tell of its dead self.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub knows_itself: Option<bool>,
    /// Of KRaft: how many records of the metadata log it lacks, as the quorum's leader knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PartitionView {
    pub topic: String,
    pub partition: i32,
    pub leader: Option<i32>,
    /// -1 before the first election.
    pub leader_epoch: i32,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ZooKeeperView {
    pub id: i32,
    /// `leader`, `follower`, `standalone`, or `none` while it does not serve.
    pub mode: String,
    pub zxid: Option<i64>,
    pub version: String,
    /// Why the mode is `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
