//! The nodes that Kafka keeps in ZooKeeper: where they are, and what is in them.
//!
//! Formats: `kafka.zk.ZkData` of Kafka 2.4 to 3.9. Fields not read here are ignored, so newer ones do no harm.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

pub const BROKER_IDS: &str = "/brokers/ids";
pub const TOPICS: &str = "/brokers/topics";
pub const CONTROLLER: &str = "/controller";
pub const CONTROLLER_EPOCH: &str = "/controller_epoch";
pub const CLUSTER_ID: &str = "/cluster/id";
/// How far the migration to KRaft is (KIP-866).
pub const MIGRATION: &str = "/migration";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what stands in {path} is not what Kafka writes there: {reason}")]
pub struct NodeError {
    pub path: String,
    pub reason: String,
}

/// `/brokers/ids/N`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct BrokerNode {
    #[serde(default)]
    pub endpoints: Vec<String>,
    #[serde(default)]
    pub rack: Option<String>,
    /// Of the node itself: when it was made.
    #[serde(skip)]
    pub czxid: Option<i64>,
}

/// `/brokers/topics/T/partitions/P/state`: what the controller decided.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StateNode {
    /// -1 for none.
    pub leader: i32,
    pub leader_epoch: i32,
    pub isr: Vec<i32>,
    pub controller_epoch: i32,
}

/// `/migration`: written by the KRaft controller that took over.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct MigrationNode {
    pub kraft_controller_id: i32,
    pub kraft_controller_epoch: i32,
    /// Up to where the metadata log has been written to ZooKeeper; below 1 until all that was in ZooKeeper is in the log.
    pub kraft_metadata_offset: i64,
}

impl MigrationNode {
    /// What ZooKeeper held is in the metadata log, and the KRaft controller decides from then on.
    pub fn has_taken_over(&self) -> bool {
        self.kraft_metadata_offset > 0
    }
}

#[derive(Deserialize)]
struct ControllerNode {
    brokerid: i32,
}

#[derive(Deserialize)]
struct ClusterIdNode {
    id: String,
}

#[derive(Deserialize)]
struct TopicNode {
    partitions: BTreeMap<String, Vec<i32>>,
}

impl StateNode {
    pub fn known_leader(&self) -> Option<i32> {
        (self.leader >= 0).then_some(self.leader)
    }
}

pub fn broker_path(broker: i32) -> String {
    format!("{BROKER_IDS}/{broker}")
}

pub fn topic_path(topic: &str) -> String {
    format!("{TOPICS}/{topic}")
}

pub fn state_path(topic: &str, partition: i32) -> String {
    format!("{TOPICS}/{topic}/partitions/{partition}/state")
}

pub fn parse_broker(path: &str, bytes: &[u8]) -> Result<BrokerNode, NodeError> {
    json(path, bytes)
}

pub fn parse_state(path: &str, bytes: &[u8]) -> Result<StateNode, NodeError> {
    json(path, bytes)
}

pub fn parse_controller(bytes: &[u8]) -> Result<i32, NodeError> {
    json(CONTROLLER, bytes).map(|node: ControllerNode| node.brokerid)
}

pub fn parse_migration(bytes: &[u8]) -> Result<MigrationNode, NodeError> {
    json(MIGRATION, bytes)
}

pub fn parse_controller_epoch(bytes: &[u8]) -> Result<i32, NodeError> {
    json(CONTROLLER_EPOCH, bytes)
}

pub fn parse_cluster_id(bytes: &[u8]) -> Result<String, NodeError> {
    json(CLUSTER_ID, bytes).map(|node: ClusterIdNode| node.id)
}

/// Replicas by partition.
pub fn parse_assignment(path: &str, bytes: &[u8]) -> Result<BTreeMap<i32, Vec<i32>>, NodeError> {
    let node: TopicNode = json(path, bytes)?;
    node.partitions
        .into_iter()
        .map(|(partition, replicas)| match partition.parse() {
            Ok(partition) => Ok((partition, replicas)),
            Err(_) => Err(NodeError { path: path.to_owned(), reason: format!("partition {partition:?} is not a number") }),
        })
        .collect()
}

fn json<T: DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T, NodeError> {
    serde_json::from_slice(bytes).map_err(|error| NodeError { path: path.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_as_kafka_3_9_writes_them_are_read() {
        let broker =
            br#"{"features":{},"listener_security_protocol_map":{"PLAINTEXT":"PLAINTEXT"},"endpoints":["PLAINTEXT://10.0.0.1:9092"],
            "jmx_port":-1,"port":9092,"host":"10.0.0.1","version":5,"rack":"a","timestamp":"1763706853000"}"#;
        let expect = BrokerNode { endpoints: vec!["PLAINTEXT://10.0.0.1:9092".to_owned()], rack: Some("a".to_owned()), czxid: None };
        assert_eq!(parse_broker("/brokers/ids/1", broker), Ok(expect));
        let state = br#"{"controller_epoch":3,"leader":-1,"version":1,"leader_epoch":7,"isr":[2]}"#;
        let expect = StateNode { leader: -1, leader_epoch: 7, isr: vec![2], controller_epoch: 3 };
        assert_eq!(expect.known_leader(), None);
        assert_eq!(parse_state("s", state), Ok(expect));
        assert_eq!(parse_controller(br#"{"version":2,"brokerid":2,"timestamp":"1","kraftControllerEpoch":-1}"#), Ok(2));
        assert_eq!(parse_controller_epoch(b"12"), Ok(12));
        let migration = |offset: i64| {
            let text = format!(
                "{{\"version\":0,\"kraft_metadata_offset\":{offset},\"kraft_controller_id\":101,\"kraft_metadata_epoch\":4,\"kraft_controller_epoch\":4}}"
            );
            parse_migration(text.as_bytes()).unwrap()
        };
        assert_eq!(
            (migration(117).kraft_controller_id, migration(117).has_taken_over(), migration(-1).has_taken_over()),
            (101, true, false)
        );
        assert_eq!(parse_cluster_id(br#"{"version":"1","id":"abc"}"#), Ok("abc".to_owned()));
        let topic = br#"{"removing_replicas":{},"partitions":{"1":[2,3],"0":[1,2]},"topic_id":"x","adding_replicas":{},"version":3}"#;
        assert_eq!(parse_assignment("t", topic), Ok(BTreeMap::from([(0, vec![1, 2]), (1, vec![2, 3])])));
    }

    #[test]
    fn other_bytes_are_an_error_that_names_the_node() {
        assert_eq!(parse_state("/brokers/topics/t/partitions/0/state", b"{}").unwrap_err().path, "/brokers/topics/t/partitions/0/state");
        assert!(parse_controller_epoch(b"").is_err());
        assert!(parse_assignment("t", br#"{"partitions":{"x":[1]}}"#).is_err());
        assert!(parse_controller(&[0xff, 0x00]).is_err());
    }
}
