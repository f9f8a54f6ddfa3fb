//! What clients do to a cluster: workloads, their rdkafka clients, and the table that turns client errors into ok, fail and info.
//!
//! A workload is one file and one line in [`ALL`]. Its clients live on named threads and record what they do through the run's
//! [`Recorder`]; nothing here knows of faults, of SSH or of checkers.
//!
//! The order of a run: [`create_topics`], [`Workload::start`], (trouble), [`Running::stop_writes`], [`Running::finale`], [`Running::stop`].
//! These block: call them where blocking is allowed.

mod admin;
mod append;
mod aside;
mod bank;
mod by_hand;
mod client_log;
mod counts;
mod elections;
pub mod errors;
mod instance;
mod java;
mod lanes;
mod library;
mod librdkafka;
mod login;
mod mutants;
mod offsets;
mod options;
mod order;
mod payload;
mod producer;
mod properties;
mod queue;
mod racks;
mod raw;
mod reader;
mod register;
mod rotation;
mod run;
mod schedule;
mod shared;
mod sizes;
mod soak;
mod topics;
mod transactions;
mod waiting;
mod worker;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kchaos_core::{Clock, Key, KeyEntry, Offset, Recorder};
use rdkafka::error::KafkaError;

pub use admin::{Admin, Change, Done, NotDone, SeenOffset, SeenPartition, SeenTopic, TABLE as ADMIN_TABLE};
pub use bank::BankOptions;
pub use by_hand::{Access, Consumed, ConsumedTopic, Published, ToPublish, consume, publish};
pub use client_log::{LogLine, LogRing, LogSink};
pub use counts::{Counts, KeyCounts};
pub use elections::ElectionsOptions;
pub use java::{Java, JavaError};
pub use login::{Login, log_in};
#[cfg(feature = "mutants")]
pub use mutants::mutants;
pub use offsets::OffsetsOptions;
pub use options::{Acks, ClientLibrary, Isolation, Options, OptionsError};
pub use order::OrderOptions;
pub use payload::{Described, HEADER_BYTES, describe};
pub use properties::{effective_client_properties, is_hidden, shown_property};
pub use queue::{GroupAssignor, GroupCommit, GroupOffsetReset, GroupOptions, GroupProtocol};
pub use register::RegisterOptions;
pub use rotation::Rotation;
pub use sizes::SizeClass;
pub use soak::SoakOptions;
pub use topics::{TopicSpec, create_topics, delete_topics};
pub use worker::{ClientHost, Pipes, WorkerEnd, serve as serve_worker};

/// Every workload, in the order in which lists show them.
pub const ALL: &[Spec] = &[
    // A line for each: docs/write-a-workload.md.
    append::SPEC,
    queue::SPEC,
    transactions::SPEC,
    order::SPEC,
    bank::SPEC,
    register::SPEC,
    elections::SPEC,
    offsets::SPEC,
    soak::SPEC,
];

/// A workload that can be built.
pub struct Spec {
    pub name: &'static str,
    /// One sentence.
    pub about: &'static str,
    pub load: Load,
    pub build: fn(&Options) -> Result<Box<dyn Workload>, OptionsError>,
}

/// What a workload is driven with where nothing is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Sends a second, or transactions, or ops of registers.
    pub rate: f64,
    pub producers: u32,
    pub consumers: u32,
}

impl Load {
    pub(crate) const PLAIN: Self = Self { rate: 500.0, producers: 2, consumers: 2 };

    pub(crate) const fn at(rate: f64) -> Self {
        Self { rate, ..Self::PLAIN }
    }
}

/// What the clients of a run are given. It may hold secrets, so it has no `Debug`.
#[derive(Clone)]
pub struct Context {
    pub run_id: String,
    pub seed: u64,
    /// `host:port,host:port`.
    pub bootstrap: String,
    pub zookeeper: Option<ZooKeeper>,
    /// librdkafka properties from the inventory, with secrets resolved.
    pub properties: BTreeMap<String, String>,
    pub recorder: Arc<dyn Recorder>,
    pub clock: Arc<dyn Clock>,
    /// Where librdkafka's log lines go.
    pub log: Arc<dyn LogSink>,
    /// What changes the cluster and looks at single brokers, where that can be had.
    pub admin: Option<Arc<dyn Admin>>,
    /// What Java clients are made with, where they are asked for.
    pub java: Option<Java>,
    /// Where clients run; none: here.
    pub client_hosts: Vec<Arc<dyn ClientHost>>,
    /// Of a run that was cut off, and is only read to its end now.
    pub cut_off: Option<CutOff>,
}

/// Numbers that no client of the run had before it was cut off. Nobody writes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutOff {
    pub first_process: u32,
    pub first_client: u32,
}

/// Where ZooKeeper is.
#[derive(Clone, Debug, Default)]
pub struct ZooKeeper {
    /// `host:port,host:port`.
    pub connect: String,
    /// What the cluster's nodes stand under: a path, or nothing.
    pub chroot: String,
    /// As whom, by SASL with DIGEST-MD5.
    pub login: Option<ZooKeeperLogin>,
    /// Where the port is one of TLS.
    pub tls: Option<zookeeper_client::TlsOptions>,
}

/// A user and a password, which is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ZooKeeperLogin {
    pub user: String,
    pub password: String,
}

impl std::fmt::Debug for ZooKeeperLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ZooKeeperLogin({})", self.user)
    }
}

/// A workload with its options: a value, until it is started.
pub trait Workload: Send + Sync {
    /// What the history's keys are, for `plan.json`.
    fn keys(&self, run_id: &str) -> Vec<KeyEntry>;
    /// The topics to be made before the start.
    fn topics(&self, run_id: &str) -> Vec<TopicSpec>;
    /// Topics of the run that the workload makes itself, later.
    fn later_topics(&self, _run_id: &str) -> Vec<TopicSpec> {
        Vec::new()
    }
    /// Consumer groups of the run, whose coordinators can be broken.
    fn groups(&self, _run_id: &str) -> Vec<String> {
        Vec::new()
    }
    fn transactional_ids(&self, _run_id: &str) -> Vec<String> {
        Vec::new()
    }
    /// Refuses a cluster that cannot bear it, before anything is made. It may ask the cluster, and block.
    fn refuse_cluster(&self, _context: &Context) -> Result<(), WorkloadError> {
        Ok(())
    }
    /// Whether a run of it that was cut off can be read to its end by other clients ([`Context::cut_off`]).
    fn can_be_concluded(&self) -> bool {
        false
    }
    /// Why a fault of this name cannot be had beside it, if it cannot.
    fn clashes_with(&self, _nemesis: &str) -> Option<&'static str> {
        None
    }
    /// Starts the clients. It fails if one cannot be made (a property, a key file), not if no broker can be reached.
    fn start(&self, context: Context) -> Result<Box<dyn Running>, WorkloadError>;
}

/// A workload at work.
pub trait Running: Send {
    /// A snapshot without locks; of the run's keys, those that there are so far, the first ones.
    fn counts(&self) -> Counts;
    /// How long sends took by the size of their values, where these are of many sizes.
    fn latency_by_size(&self) -> Vec<SizeClass> {
        Vec::new()
    }
    /// Ends all sending. Open sends are waited for, and after the deadline given up as info; when this returns every invoke has its
    /// completion and the producers are gone. It may take 5 s beyond the deadline.
    fn stop_writes(&mut self, deadline: Duration) -> Outstanding;
    /// Rereads every key from its start to its end with fresh consumers. Live consumers go on beside it.
    fn finale(&mut self, targets: &[FinalTarget], deadline: Duration) -> FinaleOutcome;
    /// Ends everything that is still there.
    fn stop(self: Box<Self>, deadline: Duration) -> Stopped;
}

/// What became of the sends that were open when writing was stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outstanding {
    pub at_stop: u64,
    /// Those that ended in info.
    pub undecided: u64,
    /// Clients that would not end, by name.
    pub left_behind: Vec<String>,
}

/// What the finale must read of a key, as its current leader tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalTarget {
    pub key: Key,
    pub start: Offset,
    /// Exclusive.
    pub end: Offset,
    pub leader_epoch: i32,
}

/// What the finale read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FinaleOutcome {
    pub keys: Vec<FinalKey>,
    /// Consumer groups, and whether they came to the end.
    pub groups: Vec<FinalGroup>,
    /// Of an ordering service.
    pub order: Option<FinalOrder>,
    pub errors: Vec<String>,
    /// What else happened, in sentences.
    pub told: Vec<String>,
    /// Clients on other hosts that ended unasked, or whose host could not be reached any more.
    pub lost: Vec<Lost>,
    /// What could not be looked at in the end, so that nothing is proved of it: in sentences.
    pub unproved: Vec<String>,
}

/// A client on another host that ended unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub host: String,
    /// `producer-1`, `consumer-2`.
    pub client: String,
    pub time_ns: u64,
    pub why: String,
}

/// Where a consumer group stood when the run was over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FinalGroup {
    pub name: String,
    /// The committed offset of each key, `None` if there is none or nobody could say.
    pub committed: BTreeMap<Key, Option<Offset>>,
    /// Keys that were not processed to their end.
    pub behind: Vec<Key>,
    /// What happened to it, in a sentence.
    pub told: String,
}

/// What an ordering service made of its channels, when the run was over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FinalOrder {
    /// Blocks that were cut, by channel.
    pub blocks: BTreeMap<Key, u64>,
    /// Blocks that two orderers cut differently, and what else no orderer should have seen.
    pub disagreements: u64,
    /// The first of them, in sentences.
    pub examples: Vec<String>,
    /// Orderers that did not come to the end of a channel, in sentences.
    pub behind: Vec<String>,
    /// What happened, in a sentence.
    pub told: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalKey {
    pub key: Key,
    pub start: Offset,
    pub end: Offset,
    /// The next offset to read.
    pub next: Offset,
    pub is_complete: bool,
    /// The greatest epoch among the records read.
    pub leader_epoch: Option<i32>,
    /// A record was appended by a later leader than the target's: the target came from a deposed one, and the read proves nothing.
    pub is_epoch_ahead: bool,
}

/// Clients that would not end in time, by name; their threads are left to themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    pub left_behind: Vec<String>,
}

/// Why the clients' side of a run cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error("cannot make the client {name}: {reason}")]
    Client { name: String, reason: String },
    #[error("cannot start the thread {name}")]
    Thread { name: String, source: std::io::Error },
    #[error("topic {topic} is in use by others: it exists already; choose another name, or delete it if it is a leftover")]
    TopicInUse { topic: String },
    #[error("topic {topic} is not this run's ({run_id}), so it is not deleted")]
    NotOurs { topic: String, run_id: String },
    #[error("topic {topic} was made, but only {whole} of {partitions} partitions have a leader and a full ISR")]
    TopicNotWhole { topic: String, whole: usize, partitions: u32 },
    #[error("{reason}")]
    Unsupported { reason: String },
    #[error("cannot {doing}")]
    Cluster { doing: String, source: KafkaError },
}

/// `librdkafka 2.12.1`.
pub fn librdkafka_version() -> String {
    format!("librdkafka {}", rdkafka::util::get_rdkafka_version().1)
}

/// The workload of this name.
pub fn find(name: &str) -> Option<&'static Spec> {
    ALL.iter().find(|spec| spec.name == name)
}
