//! The flags of the load: what every workload has, and what some have.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;

use super::bank::BankArgs;
use super::elections::ElectionsArgs;
use super::group::GroupArgs;
use super::offsets::OffsetsArgs;
use super::order::OrderArgs;
use super::register::RegisterArgs;
use super::soak::SoakArgs;
use super::transactions::TxnArgs;
use super::{duration, key_value};
use crate::exit::Failure;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Load")]
pub(crate) struct LoadArgs {
    /// Sends (or transactions, or ops of registers) per second over all clients, at an open-model rate: latency counts from the intended start [default: 500 sends, 240 of elections, 300 of offsets, 200 envelopes of orderers, 20 transactions, 10 transfers, or 100 ops of registers]
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Of the workloads transactions and bank: each has a transactional id of its own. Of order: the orderers, each of which reads as well [default: 2; orderers, 3]
    #[arg(long)]
    pub(crate) producers: Option<u32>,
    /// Each reads everything, beside groups and orderers [default: 2; beside orderers, none]
    #[arg(long)]
    pub(crate) consumers: Option<u32>,
    /// Of the workload order: channels, which are topics of one partition. Of elections and offsets: of each topic
    #[arg(long, default_value_t = 3)]
    pub(crate) partitions: u32,
    /// Write to a topic of this name, which the run makes and leaves; one that exists is refused [default: the run's own]
    #[arg(long)]
    pub(crate) topic: Option<String>,
    #[arg(long, default_value_t = 3)]
    pub(crate) replication_factor: u32,
    #[arg(long, default_value_t = 2)]
    pub(crate) min_insync_replicas: u32,
    /// Acknowledgements a send waits for: all, 1 or 0
    #[arg(long, default_value = "all")]
    pub(crate) acks: String,
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) idempotence: bool,
    /// Sends that one producer keeps open at once (the protocol's own limit is -X max.in.flight)
    #[arg(long, default_value_t = 500)]
    pub(crate) in_flight: u32,
    /// Distinct record keys
    #[arg(long, default_value_t = 100)]
    pub(crate) key_count: u32,
    #[arg(long, default_value_t = 200)]
    pub(crate) value_bytes: u32,
    /// Of the workloads append and queue: sizes are drawn from --value-bytes to this, evenly by the logarithm; at most 1000000
    #[arg(long, value_name = "BYTES")]
    pub(crate) value_bytes_max: Option<u32>,
    /// Of the same: one partition gets this part of all sends, say 0.8 [default: all partitions the same]
    #[arg(long, value_name = "FRACTION")]
    pub(crate) hot_share: Option<f64>,
    /// Of the workload append: so often a new topic takes the place of the one that is written to, say 10s; all are read to the end
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) rotate_keys: Option<Duration>,
    /// What readers are given: read_committed or read_uncommitted, with which a workload of transactions shows aborted values
    #[arg(long, default_value = "read_committed")]
    pub(crate) isolation: String,
    /// Of the workload append: whose producers and live consumers, librdkafka's or Java's kafka-clients; final reads are librdkafka's
    #[arg(long, value_name = "LIBRARY", default_value = "librdkafka")]
    pub(crate) client: String,
    /// Where the jars of kafka-clients and slf4j-api are, for --client java [default: the newest Kafka that `make setup` or a lab has fetched]
    #[arg(long, value_name = "DIR", env = "KCHAOS_CLIENT_JARS", hide_env_values = true)]
    pub(crate) client_jars: Option<PathBuf>,
    /// Of the same workload: producers and live consumers run on these hosts of the inventory, in turn, and not here (docs/clients.md)
    #[arg(long, value_name = "HOST,…", value_delimiter = ',')]
    pub(crate) client_hosts: Vec<String>,
    /// In which rack live readers are (client.rack), dealt to them in turn, so that followers there serve them; final reads are from leaders
    #[arg(long = "client-rack", value_name = "RACK,…", value_delimiter = ',')]
    pub(crate) client_racks: Vec<String>,
    /// A librdkafka property for every client; may be given several times
    #[arg(short = 'X', value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) properties: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) transactions: TxnArgs,
    #[command(flatten)]
    pub(crate) group: GroupArgs,
    #[command(flatten)]
    pub(crate) order: OrderArgs,
    #[command(flatten)]
    pub(crate) bank: BankArgs,
    #[command(flatten)]
    pub(crate) register: RegisterArgs,
    #[command(flatten)]
    pub(crate) soak: SoakArgs,
    #[command(flatten)]
    pub(crate) elections: ElectionsArgs,
    #[command(flatten)]
    pub(crate) offsets: OffsetsArgs,
}

/// What the value of a flag names.
pub(crate) fn named<T: FromStr<Err = String>>(flag: &str, name: &str) -> Result<T, Failure> {
    name.parse().map_err(|why| Failure::usage(anyhow!("{flag}: {why}")))
}
