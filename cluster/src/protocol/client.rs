//! Calls by name to brokers by id, over one reused connection per broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::connection::{Connection, Stream};
use super::coordinator::{self, CoordinatorKind, FindCoordinatorRequest};
use super::error::{Peer, ProtocolError};
use super::messages::{
    ConfigEntry, DescribeConfigsRequest, EARLIEST, LATEST, ListOffsets, ListOffsetsRequest, Metadata, MetadataRequest, Request, Resource,
};
use super::quorum::{self, DescribeQuorumRequest, Quorum, QuorumAnswer};
use super::security::Security;
use crate::inventory::{DaemonKind, Inventory};

/// By setting.
pub type ConfigMap = BTreeMap<String, ConfigEntry>;

type Slot = Arc<Mutex<Option<Connection<Stream>>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    pub request: Duration,
}

/// Where one replica's log starts and ends, as the leader at one epoch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogBounds {
    /// The first offset that can be read.
    pub start: i64,
    /// The high watermark: one past the last offset that can be read.
    pub end: i64,
}

/// The brokers of one cluster.
pub struct Client {
    /// From the inventory, and learned from metadata.
    addresses: Mutex<BTreeMap<i32, String>>,
    bootstrap: Vec<String>,
    security: Security,
    timeouts: Timeouts,
    /// By address.
    connections: Mutex<BTreeMap<String, Slot>>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(2), request: Duration::from_secs(5) }
    }
}

impl Client {
    pub fn new(inventory: &Inventory, timeouts: Timeouts) -> Result<Self, ProtocolError> {
        let security = Security::of(inventory)?;
        if inventory.kafka.bootstrap.is_empty() {
            return Err(ProtocolError::NoBootstrap);
        }
        Ok(Self {
            addresses: Mutex::new(broker_addresses(inventory)),
            bootstrap: inventory.kafka.bootstrap.clone(),
            security,
            timeouts,
            connections: Mutex::default(),
        })
    }

    /// What this broker believes. `topics: None` asks for all; a topic that it does not know stands there with error 3.
    pub async fn metadata(&self, broker: i32, topics: Option<&[String]>) -> Result<Metadata, ProtocolError> {
        let peer = self.peer(broker).await?;
        self.call(&peer, &MetadataRequest { topics }).await
    }

    /// What this controller of KRaft says of the quorum. `address` is that of its controllers' listener.
    pub async fn quorum(&self, controller: i32, address: &str) -> Result<QuorumAnswer, ProtocolError> {
        let peer = Peer { broker: Some(controller), address: address.to_owned() };
        let answer = self.call(&peer, &DescribeQuorumRequest).await?;
        quorum_answer(peer, answer)
    }

    /// What the first bootstrap broker that answers believes.
    pub async fn metadata_from_any(&self, topics: Option<&[String]>) -> Result<Metadata, ProtocolError> {
        self.ask_any(&MetadataRequest { topics }).await
    }

    pub(super) async fn ask_any<R: Request>(&self, request: &R) -> Result<R::Response, ProtocolError> {
        let mut last = ProtocolError::NoBootstrap;
        for address in &self.bootstrap {
            let peer = Peer { broker: None, address: address.clone() };
            match self.call(&peer, request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
        }
        Err(ProtocolError::NoneAnswered { what: R::NAME, last: Box::new(last) })
    }

    /// Start and end of a partition's log, from `broker` as its leader at `leader_epoch` (-1: at whatever epoch it believes).
    ///
    /// A deposed leader that does not know it yet answers UNKNOWN_LEADER_EPOCH when asked at the newer epoch, a broker that leads no more
    /// NOT_LEADER_OR_FOLLOWER, and one asked at an old epoch FENCED_LEADER_EPOCH: bounds from a stale leader cannot be had by accident.
    pub async fn log_bounds(&self, broker: i32, topic: &str, partition: i32, leader_epoch: i32) -> Result<LogBounds, ProtocolError> {
        let ask = |timestamp| ListOffsetsRequest { topic, partition, leader_epoch, timestamp, is_committed: false };
        let start = self.log_offset(broker, ask(EARLIEST)).await?;
        let end = self.log_offset(broker, ask(LATEST)).await?;
        Ok(LogBounds { start, end })
    }

    /// The last stable offset, asked as [`Self::log_bounds`] asks: readers of committed are given nothing from here on, since the first
    /// record of a transaction that is under way stands here. It is the high watermark if there is none.
    pub async fn stable_offset(&self, broker: i32, topic: &str, partition: i32, leader_epoch: i32) -> Result<i64, ProtocolError> {
        self.log_offset(broker, ListOffsetsRequest { topic, partition, leader_epoch, timestamp: LATEST, is_committed: true }).await
    }

    /// The broker that coordinates this group or transactional id. Nobody has used one yet: refused, since asking would make a topic.
    pub async fn coordinator(&self, kind: CoordinatorKind, name: &str) -> Result<i32, ProtocolError> {
        let topic = kind.topic().to_owned();
        let metadata = self.metadata_from_any(Some(std::slice::from_ref(&topic))).await?;
        if !coordinator::is_there(&metadata.topics, kind) {
            return Err(ProtocolError::NoCoordinators { topic });
        }
        let mut last = ProtocolError::NoBootstrap;
        for address in &self.bootstrap {
            let peer = Peer { broker: None, address: address.clone() };
            match self.call(&peer, &FindCoordinatorRequest { kind, name }).await {
                Ok(found) if found.error == 0 => return Ok(found.broker),
                Ok(found) => last = ProtocolError::Refused { peer, what: format!("FindCoordinator of {name}"), code: found.error },
                Err(error) => last = error,
            }
        }
        Err(ProtocolError::NoneAnswered { what: FindCoordinatorRequest::NAME, last: Box::new(last) })
    }

    /// The settings in force in this broker, asked of itself.
    pub async fn broker_config(&self, broker: i32) -> Result<ConfigMap, ProtocolError> {
        let peer = self.peer(broker).await?;
        self.describe(&peer, Resource::Broker(broker), format!("DescribeConfigs of broker {broker}")).await
    }

    /// A topic's settings, from the first bootstrap broker that answers.
    pub async fn topic_config(&self, topic: &str) -> Result<ConfigMap, ProtocolError> {
        let mut last = ProtocolError::NoBootstrap;
        for address in &self.bootstrap {
            let peer = Peer { broker: None, address: address.clone() };
            match self.describe(&peer, Resource::Topic(topic), format!("DescribeConfigs of topic {topic}")).await {
                Ok(config) => return Ok(config),
                Err(error @ ProtocolError::Refused { .. }) => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(ProtocolError::NoneAnswered { what: DescribeConfigsRequest::NAME, last: Box::new(last) })
    }

    /// The first record whose timestamp is at this time or later (-1 offset: none), or an end of the log, asked as [`Self::log_bounds`] asks.
    pub async fn list_offset(
        &self,
        broker: i32,
        topic: &str,
        partition: i32,
        leader_epoch: i32,
        timestamp: i64,
    ) -> Result<ListOffsets, ProtocolError> {
        self.list_offsets(broker, ListOffsetsRequest { topic, partition, leader_epoch, timestamp, is_committed: false }).await
    }

    async fn log_offset(&self, broker: i32, request: ListOffsetsRequest<'_>) -> Result<i64, ProtocolError> {
        Ok(self.list_offsets(broker, request).await?.offset)
    }

    async fn list_offsets(&self, broker: i32, request: ListOffsetsRequest<'_>) -> Result<ListOffsets, ProtocolError> {
        let peer = self.peer(broker).await?;
        let answer = self.call(&peer, &request).await?;
        if answer.error != 0 {
            let ListOffsetsRequest { topic, partition, leader_epoch, .. } = request;
            let what = format!("ListOffsets of {topic}-{partition} at leader epoch {leader_epoch}");
            return Err(ProtocolError::Refused { peer, what, code: answer.error });
        }
        Ok(answer)
    }

    async fn describe(&self, peer: &Peer, resource: Resource<'_>, what: String) -> Result<ConfigMap, ProtocolError> {
        let answer = self.call(peer, &DescribeConfigsRequest { resource }).await?;
        if answer.error != 0 {
            return Err(ProtocolError::Refused { peer: peer.clone(), what, code: answer.error });
        }
        Ok(answer.configs.into_iter().collect())
    }

    pub(super) fn security(&self) -> &Security {
        &self.security
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// A topic's settings as this broker tells them.
    pub async fn topic_config_at(&self, broker: i32, topic: &str) -> Result<ConfigMap, ProtocolError> {
        let peer = self.peer(broker).await?;
        self.describe(&peer, Resource::Topic(topic), format!("DescribeConfigs of topic {topic}")).await
    }

    pub(super) async fn peer(&self, broker: i32) -> Result<Peer, ProtocolError> {
        if let Some(address) = self.addresses.lock().await.get(&broker) {
            return Ok(Peer { broker: Some(broker), address: address.clone() });
        }
        let metadata = self.metadata_from_any(Some(&[])).await?;
        let mut addresses = self.addresses.lock().await;
        for endpoint in metadata.brokers {
            addresses.entry(endpoint.broker).or_insert_with(|| join_address(&endpoint.host, endpoint.port));
        }
        match addresses.get(&broker) {
            Some(address) => Ok(Peer { broker: Some(broker), address: address.clone() }),
            None => Err(ProtocolError::UnknownBroker { broker }),
        }
    }

    /// One call on the peer's connection, which is made when there is none.
    pub(super) async fn call<R: Request>(&self, peer: &Peer, request: &R) -> Result<R::Response, ProtocolError> {
        let slot = self.connections.lock().await.entry(peer.address.clone()).or_default().clone();
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.as_mut() {
            match connection.call(request, self.timeouts.request).await {
                Err(error) if error.is_closed_stream() => *slot = None,
                other => {
                    if !connection.is_usable() {
                        *slot = None;
                    }
                    return other;
                }
            }
        }
        let mut connection = Connection::open(peer.clone(), &self.security, self.timeouts.connect, self.timeouts.request).await?;
        let answer = connection.call(request, self.timeouts.request).await;
        if connection.is_usable() {
            *slot = Some(connection);
        }
        answer
    }
}

/// `host:port` of each broker of the inventory.
pub(crate) fn broker_addresses(inventory: &Inventory) -> BTreeMap<i32, String> {
    let daemons = inventory.hosts.iter().flat_map(|host| host.daemons.iter().map(move |daemon| (host, daemon)));
    daemons
        .filter(|(_, daemon)| daemon.kind == DaemonKind::Kafka)
        .map(|(host, daemon)| (daemon.id, join_address(&host.address, i32::from(daemon.port))))
        .collect()
}

/// `host:port` of each controller of KRaft, where it listens as that.
pub fn controller_addresses(inventory: &Inventory) -> BTreeMap<i32, String> {
    inventory.controllers().map(|(host, daemon, port)| (daemon.id, join_address(&host.address, i32::from(port)))).collect()
}

pub(crate) fn quorum_answer(peer: Peer, answer: Quorum) -> Result<QuorumAnswer, ProtocolError> {
    match answer.error {
        0 => Ok(QuorumAnswer::Leads(answer)),
        quorum::NOT_LEADER_OR_FOLLOWER => Ok(QuorumAnswer::Follows),
        code => Err(ProtocolError::Refused { peer, what: DescribeQuorumRequest::NAME.to_owned(), code }),
    }
}

/// IPv6 addresses need brackets before a port.
pub(crate) fn join_address(host: &str, port: i32) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
