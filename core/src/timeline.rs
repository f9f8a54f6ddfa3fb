//! What the observer saw of the cluster over time: `timeline.jsonl`.

use serde::{Deserialize, Serialize};

use crate::{Interval, Key};

/// One change of the cluster, as one source saw it. One line of `timeline.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// When it happened: after the last look that did not show it, before the first that did.
    #[serde(flatten)]
    pub when: Interval,
    /// Who saw it: `zookeeper:HOST`, `broker:ID` or, of KRaft, `controller:ID`. Sources are independent of the workload.
    pub source: String,
    #[serde(flatten)]
    pub what: Observed,
}

/// What changed. The first look at a thing is reported as a change with `after_ns` 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Observed {
    /// `/brokers/ids/N` appeared; of KRaft: the first broker told its clients of this one, which is fenced no more.
    BrokerRegistered { broker: i32 },
    /// `/brokers/ids/N` went: the broker's ZooKeeper session is gone. Of KRaft: it is fenced, so the first broker told its clients of it no more.
    BrokerGone { broker: i32 },
    /// `/controller` and `/controller_epoch`. `broker` is `None` while there is no controller. Of KRaft: the leader of the quorum by its own word, a
    /// node id that need not be a broker's, and its epoch.
    Controller { broker: Option<i32>, epoch: Option<i32> },
    /// The partition's state in ZooKeeper, which is what the controller decided. `leader` is `None` for none (-1). Of KRaft: in the metadata of the
    /// first broker that told of it; the in-sync set is its leader's word, and `controller_epoch` is -1.
    PartitionState { key: Key, leader: Option<i32>, leader_epoch: i32, isr: Vec<i32>, controller_epoch: i32 },
    /// What one broker itself (the `source`) answers to a metadata request.
    PartitionMetadata { key: Key, leader: Option<i32>, leader_epoch: i32, isr: Vec<i32> },
    /// Whom one broker itself (the `source`) takes for the controller, by its answer to a metadata request. `None` if for nobody. Of KRaft: a controller
    /// of the quorum that says it leads names itself; one that says it does not, or is silent, nobody.
    ControllerMetadata { broker: i32, controller: Option<i32> },
    /// A broker's metadata port stopped or began to answer.
    BrokerAnswers { broker: i32, answers: bool },
    /// `leader`, `follower`, `standalone`, `observer`, or `none` while the server does not serve. `zxid`'s upper half is the epoch.
    ZooKeeperMode { host: String, mode: String, zxid: Option<i64> },
    /// The observer itself could not see for a while; moments that fall in here have wide intervals.
    Blind { text: String },
}
