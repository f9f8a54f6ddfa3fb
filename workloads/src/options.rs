//! What a user chooses about a workload.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::bank::BankOptions;
use crate::elections::ElectionsOptions;
use crate::offsets::OffsetsOptions;
use crate::order::OrderOptions;
use crate::payload::{HEADER_BYTES, TIME_TO_CUT};
use crate::properties;
use crate::queue::GroupOptions;
use crate::register::RegisterOptions;
use crate::rotation::{self, Rotation};
use crate::soak::SoakOptions;

/// What fits a topic's default limit, and hundreds of which a client can hold.
const DRAWN_BYTES_MAX: u32 = 1_000_000;

/// The options of every workload. They stand in `plan.json`, resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Sends (of the workload `transactions`: transactions) a second over all producers, started on time whether or not earlier ones are answered.
    pub rate: f64,
    pub producers: u32,
    /// Each reads every partition, so that readers that disagree are seen to.
    pub consumers: u32,
    /// Each is one key of the history.
    pub partitions: u32,
    pub replication_factor: u32,
    pub min_insync_replicas: u32,
    pub acks: Acks,
    pub idempotence: bool,
    /// Sends that one producer keeps open at once, shared out over the partitions. The protocol's own limit is
    /// `max.in.flight.requests.per.connection`, among the properties.
    pub in_flight: u32,
    /// Distinct record keys (not the history's keys).
    pub key_count: u32,
    pub value_bytes: u32,
    /// Of the workloads `append` and `queue`: sizes of values are drawn, evenly by the logarithm, from `value_bytes` to this.
    pub value_bytes_max: Option<u32>,
    /// Of the same: one partition, drawn by the seed, gets this part of all sends, and the others share the rest.
    pub hot_share: Option<f64>,
    /// Of the workload `append`: keys are replaced by those of a new topic all through the run.
    pub rotation: Option<Rotation>,
    pub isolation: Isolation,
    /// Of the workload `transactions`: a transaction has from 1 to so many micro-ops (sends and polls).
    pub txn_size: u32,
    /// The fraction of transactions that are meant to be aborted.
    pub txn_aborts: f64,
    /// The fraction of transactions in whose middle a second producer takes the transactional id over.
    pub txn_zombies: f64,
    /// `transaction.timeout.ms`: after this time the coordinator aborts what nobody ended.
    pub txn_timeout_ms: u32,
    /// How long a transaction stays open after its last step, with everything sent, before it is ended.
    pub txn_pause_ms: u32,
    /// A send that could not start within this time of when it was meant to is never made, and counted as shed.
    pub backlog_ms: u64,
    /// A topic of this name instead of one named after the run; it must not exist.
    pub topic: Option<String>,
    /// Of the topic made for the run: `flush.messages`, say.
    pub topic_settings: BTreeMap<String, String>,
    /// Of the workload `queue`.
    pub group: GroupOptions,
    /// Of the workload `order`, which takes its own defaults where there is nothing; others have none.
    pub order: Option<OrderOptions>,
    /// Of the workload `bank`.
    pub bank: BankOptions,
    /// Of the workload `register`.
    pub register: RegisterOptions,
    /// Of the workload `soak`.
    pub soak: SoakOptions,
    /// Of the workload `elections`.
    pub elections: ElectionsOptions,
    /// Of the workload `offsets`.
    pub offsets: OffsetsOptions,
    /// Whose producers and live consumers the workload `append` has.
    pub client: ClientLibrary,
    /// Of the workload `append`: the hosts on which its producers and live consumers run, by their names in the inventory; none: here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub client_hosts: Vec<String>,
    /// In which racks live readers say that they are, dealt to them in turn; none: they say nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub client_racks: Vec<String>,
    /// `-X key=value`, for librdkafka, in the order given: the last one wins.
    #[serde(serialize_with = "properties::as_shown")]
    pub properties: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rate: 500.0,
            producers: 2,
            consumers: 2,
            partitions: 3,
            replication_factor: 3,
            min_insync_replicas: 2,
            acks: Acks::All,
            idempotence: true,
            in_flight: 256,
            key_count: 16,
            value_bytes: 200,
            value_bytes_max: None,
            hot_share: None,
            rotation: None,
            isolation: Isolation::ReadCommitted,
            txn_size: 6,
            txn_aborts: 0.2,
            txn_zombies: 0.02,
            txn_timeout_ms: 60_000,
            txn_pause_ms: 0,
            backlog_ms: 30_000,
            topic: None,
            topic_settings: BTreeMap::new(),
            group: GroupOptions::default(),
            order: None,
            bank: BankOptions::default(),
            register: RegisterOptions::default(),
            soak: SoakOptions::default(),
            elections: ElectionsOptions::default(),
            offsets: OffsetsOptions::default(),
            client: ClientLibrary::default(),
            client_hosts: Vec::new(),
            client_racks: Vec::new(),
            properties: Vec::new(),
        }
    }
}

/// How many replicas must have a record before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Acks {
    #[serde(rename = "0")]
    None,
    #[serde(rename = "1")]
    Leader,
    #[serde(rename = "all")]
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    ReadCommitted,
    ReadUncommitted,
}

/// A client library.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientLibrary {
    #[default]
    Librdkafka,
    Java,
}

/// Why a workload cannot be had with these options. Each says what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    #[error("{option} must be {allowed}, not {found}")]
    Range { option: &'static str, allowed: String, found: String },
    #[error("value-bytes {found} is too small: the header that proves where a record comes from takes {HEADER_BYTES} bytes")]
    ValueTooSmall { found: u32 },
    #[error("idempotence needs acks=all: add --idempotence false to use acks={acks}")]
    IdempotenceNeedsAcksAll { acks: Acks },
    #[error("transactions need idempotence and acks=all: leave --idempotence and --acks as they are")]
    TransactionsNeedIdempotence,
    #[error(
        "min-insync-replicas {min_insync_replicas} is more than replication-factor {replication_factor}: no acks=all write could succeed"
    )]
    InSyncBeyondReplication { min_insync_replicas: u32, replication_factor: u32 },
    #[error("the property {name} is kchaos' own: {instead}")]
    PropertyReserved { name: String, instead: &'static str },
    #[error(
        "the property {name} has no twin in the Java client that kchaos knows of (docs/clients.md lists them): leave out one of the two"
    )]
    PropertyWithoutTwin { name: String },
    #[error("librdkafka refuses the property {name}: {reason}")]
    PropertyRefused { name: String, reason: String },
    #[error("\"{name}\" {}", if *is_again { "twice in a mix: each workload once".to_owned() } else { format!("has no part in a mix: {parts} have") })]
    Mix { name: String, parts: String, is_again: bool },
    #[error("a mix of workloads has topics of its own: leave --topic out")]
    MixTopic,
    #[error("\"{name}\" is no topic name: up to 249 of a-z, A-Z, 0-9, \".\", \"_\" and \"-\"")]
    TopicName { name: String },
}

impl Options {
    /// The greatest value that is meant to be accepted.
    pub(crate) fn greatest_value_bytes(&self) -> u32 {
        let drawn = self.value_bytes_max.unwrap_or(self.value_bytes);
        self.order.as_ref().map_or(drawn, OrderOptions::greatest_value_bytes)
    }

    /// What holds for every workload.
    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        if !(self.rate > 0.0 && self.rate <= 1_000_000.0) {
            return Err(range("rate", "more than 0 and at most 1000000", self.rate));
        }
        for (option, found, greatest) in [
            ("producers", self.producers, 1_000),
            ("partitions", self.partitions, 10_000),
            ("in-flight", self.in_flight, 100_000),
            ("key-count", self.key_count, TIME_TO_CUT),
            ("replication-factor", self.replication_factor, 32_767),
            ("min-insync-replicas", self.min_insync_replicas, 32_767),
        ] {
            if found == 0 || found > greatest {
                return Err(range(option, &format!("from 1 to {greatest}"), found));
            }
        }
        if self.consumers > 1_000 {
            return Err(range("consumers", "at most 1000", self.consumers));
        }
        if self.backlog_ms == 0 {
            return Err(range("backlog-ms", "at least 1", self.backlog_ms));
        }
        if (self.value_bytes as usize) < HEADER_BYTES {
            return Err(OptionsError::ValueTooSmall { found: self.value_bytes });
        }
        if let Some(found) = self.value_bytes_max.filter(|max| !(self.value_bytes..=DRAWN_BYTES_MAX).contains(max)) {
            let allowed = format!("from value-bytes ({}) to {DRAWN_BYTES_MAX}; the workload order has larger ones", self.value_bytes);
            return Err(range("value-bytes-max", &allowed, found));
        }
        if let Some(found) = self.hot_share.filter(|share| !(*share > 0.0 && *share < 1.0)) {
            return Err(range("hot-share", "more than 0 and less than 1", found));
        }
        self.check_rotation()?;
        if self.idempotence && self.acks != Acks::All {
            return Err(OptionsError::IdempotenceNeedsAcksAll { acks: self.acks });
        }
        if self.min_insync_replicas > self.replication_factor {
            return Err(OptionsError::InSyncBeyondReplication {
                min_insync_replicas: self.min_insync_replicas,
                replication_factor: self.replication_factor,
            });
        }
        if let Some(name) = self.topic.as_ref().filter(|name| !is_topic_name(name)) {
            return Err(OptionsError::TopicName { name: name.clone() });
        }
        self.check_transactions()?;
        properties::check(&self.properties)
    }

    fn check_rotation(&self) -> Result<(), OptionsError> {
        let Some(Rotation { every_ms, generations }) = self.rotation else { return Ok(()) };
        if every_ms < rotation::EVERY_MS_MIN {
            return Err(range("rotate-keys", &format!("at least {} s", rotation::EVERY_MS_MIN / 1_000), format!("{every_ms} ms")));
        }
        if generations > rotation::GENERATIONS_MAX {
            let allowed = format!("so long that a run has at most {} topics", rotation::GENERATIONS_MAX);
            return Err(range("rotate-keys", &allowed, format!("{every_ms} ms, which makes {generations}")));
        }
        if self.topic.is_some() {
            return Err(range("topic", "left out: with --rotate-keys there are many topics, named after the run", "given"));
        }
        Ok(())
    }

    fn check_transactions(&self) -> Result<(), OptionsError> {
        if !(1..=1_000).contains(&self.txn_size) {
            return Err(range("txn-size", "from 1 to 1000", self.txn_size));
        }
        for (option, share) in [("txn-aborts", self.txn_aborts), ("txn-zombies", self.txn_zombies)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(range(option, "from 0 to 1", share));
            }
        }
        // Above `socket.timeout.ms`, and no more than brokers allow by default (`transaction.max.timeout.ms`).
        if !(5_000..=900_000).contains(&self.txn_timeout_ms) {
            return Err(range("txn-timeout", "from 5 s to 900 s", format!("{} ms", self.txn_timeout_ms)));
        }
        if self.txn_pause_ms > self.txn_timeout_ms / 2 {
            return Err(range("txn-pause", "at most half of txn-timeout", format!("{} ms", self.txn_pause_ms)));
        }
        Ok(())
    }
}

pub(crate) fn range(option: &'static str, allowed: &str, found: impl fmt::Display) -> OptionsError {
    OptionsError::Range { option, allowed: allowed.to_owned(), found: found.to_string() }
}

fn is_topic_name(name: &str) -> bool {
    let is_legal = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    is_legal && !name.is_empty() && name.len() <= 249 && name != "." && name != ".."
}

impl Acks {
    /// As librdkafka's `acks` wants it.
    pub fn name(self) -> &'static str {
        match self {
            Acks::None => "0",
            Acks::Leader => "1",
            Acks::All => "all",
        }
    }
}

impl Isolation {
    /// As librdkafka's `isolation.level` wants it, and as it stands in a history.
    pub fn name(self) -> &'static str {
        match self {
            Isolation::ReadCommitted => "read_committed",
            Isolation::ReadUncommitted => "read_uncommitted",
        }
    }
}

impl FromStr for ClientLibrary {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "librdkafka" => Ok(ClientLibrary::Librdkafka),
            "java" => Ok(ClientLibrary::Java),
            _ => Err(format!("a client is librdkafka or java, not \"{text}\"")),
        }
    }
}

impl fmt::Display for Acks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Acks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "0" => Ok(Acks::None),
            "1" => Ok(Acks::Leader),
            "all" | "-1" => Ok(Acks::All),
            _ => Err(format!("acks is 0, 1 or all, not \"{text}\"")),
        }
    }
}

impl FromStr for Isolation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "read_committed" => Ok(Isolation::ReadCommitted),
            "read_uncommitted" => Ok(Isolation::ReadUncommitted),
            _ => Err(format!("isolation is read_committed or read_uncommitted, not \"{text}\"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Options), expected: &str) {
        let mut options = Options::default();
        change(&mut options);
        let found = options.check().map_or_else(|error| error.to_string(), |()| "ok".to_owned());
        assert!(found.contains(expected), "{found}");
    }

    #[test]
    fn the_defaults_are_legal() {
        check(|_| (), "ok");
    }

    #[test]
    fn what_cannot_work_is_refused_with_what_to_change() {
        check(|options| options.value_bytes = 10, "value-bytes 10 is too small");
        check(
            |options| options.value_bytes_max = Some(199),
            "value-bytes-max must be from value-bytes (200) to 1000000; the workload order",
        );
        check(|options| options.value_bytes_max = Some(1_000_001), "not 1000001");
        check(|options| options.hot_share = Some(1.0), "hot-share must be more than 0 and less than 1, not 1");
        check(|options| options.hot_share = Some(f64::NAN), "hot-share must be more than 0");
        check(|options| options.rate = 0.0, "rate must be more than 0");
        check(|options| options.rate = f64::NAN, "rate must be more than 0");
        check(|options| options.producers = 0, "producers must be from 1");
        check(|options| options.in_flight = 0, "in-flight must be from 1");
        check(|options| options.txn_size = 0, "txn-size must be from 1 to 1000, not 0");
        check(|options| options.txn_aborts = f64::NAN, "txn-aborts must be from 0 to 1");
        check(|options| options.txn_zombies = 1.5, "txn-zombies must be from 0 to 1, not 1.5");
        check(|options| options.txn_pause_ms = 30_001, "txn-pause must be at most half of txn-timeout, not 30001 ms");
        check(|options| options.txn_timeout_ms = 1_000, "txn-timeout must be from 5 s to 900 s, not 1000 ms");
        check(|options| options.acks = Acks::Leader, "add --idempotence false to use acks=1");
        check(|options| options.min_insync_replicas = 4, "min-insync-replicas 4 is more than replication-factor 3");
        check(|options| options.topic = Some("a topic".into()), "\"a topic\" is no topic name");
        check(|options| options.properties = vec![("acks".into(), "1".into())], "the property acks is kchaos' own: use --acks");
        check(|options| options.properties = vec![("no.such".into(), "1".into())], "librdkafka refuses the property no.such");
        check(|options| options.properties = vec![("linger.ms".into(), "soon".into())], "librdkafka refuses the property linger.ms");
    }

    #[test]
    fn acks_1_without_idempotence_is_legal() {
        check(
            |options| {
                options.acks = Acks::Leader;
                options.idempotence = false;
            },
            "ok",
        );
    }

    #[test]
    fn options_survive_plan_json() {
        let options =
            Options { acks: Acks::None, idempotence: false, properties: vec![("linger.ms".into(), "0".into())], ..Options::default() };
        let text = serde_json::to_string(&options).unwrap();
        assert!(text.contains("\"acks\":\"0\"") && text.contains("\"isolation\":\"read_committed\""), "{text}");
        assert_eq!(serde_json::from_str::<Options>(&text).unwrap(), options);
    }
}
