//! `kchaos lab`: what a cluster of one's own can be.

use clap::{Args, Subcommand, ValueEnum};

use super::values::{SessionTimeout, key_value, session_timeout};
use super::{Format, LabSecurityArg};

#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Bring it up
    Up(LabUpArgs),
    /// What is up, and what it uses
    Status {
        #[arg(long, default_value = "text")]
        format: Format,
    },
    /// A shell on a host, or a command
    Shell {
        host: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<std::ffi::OsString>,
    },
    /// A host's daemon logs
    Logs { host: String },
    /// Take it down, whatever is left of it
    Down {
        /// Even while a run is going on in it
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct LabUpArgs {
    #[arg(long, default_value_t = 3)]
    pub(crate) brokers: usize,
    /// [default: 3; with --kraft none]
    #[arg(long)]
    pub(crate) zookeepers: Option<usize>,
    /// A cluster without ZooKeeper, and where its controllers are; Kafka 3.3 and later
    #[arg(long)]
    pub(crate) kraft: Option<LabKraft>,
    /// ZooKeepers, and KRaft controllers beside them that wait for the cluster to migrate; Kafka 3.6 to 3.9 (docs/plans.md)
    #[arg(long, conflicts_with = "kraft")]
    pub(crate) migration: bool,
    /// With --kraft or --migration: how many [default: 3]
    #[arg(long)]
    pub(crate) controllers: Option<usize>,
    /// Put the daemons on this many hosts [default: a host for each]
    #[arg(long)]
    pub(crate) hosts: Option<usize>,
    /// `broker.id` of the first broker
    #[arg(long, value_name = "ID", default_value_t = 1)]
    pub(crate) first_broker_id: i32,
    /// `broker.rack`, dealt to the brokers in turn, as in a,b,c; their hosts are in these racks (target rack:NAME)
    #[arg(long, value_name = "RACK,…", value_delimiter = ',')]
    pub(crate) racks: Vec<String>,
    #[arg(long, default_value = "3.9.1")]
    pub(crate) kafka_version: String,
    /// Whom brokers let in; one of TLS and one of SASL may stand together, as in tls,scram-sha-512 (docs/security.md)
    #[arg(long, value_enum, value_delimiter = ',', default_value = "plaintext")]
    pub(crate) security: Vec<LabSecurityArg>,
    /// An authorizer, super users for the brokers alone, and for kchaos the least it needs
    #[arg(long)]
    pub(crate) acls: bool,
    /// ZooKeeper knows the brokers and kchaos by SASL (DIGEST-MD5), and its nodes are the brokers'; from Kafka 3.0 on it lets in nobody else
    #[arg(long)]
    pub(crate) zookeeper_sasl: bool,
    /// ZooKeepers have certificates and no port in the clear; with `mutual` their clients need certificates as well. Kafka 2.5 and later
    #[arg(long, value_name = "KIND", value_enum, num_args = 0..=1, default_missing_value = "tls")]
    pub(crate) zookeeper_tls: Option<LabZooKeeperTls>,
    /// A broker setting; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) settings: Vec<(String, String)>,
    /// Of the brokers; `unset` leaves what their version takes by itself: 6 s before Kafka 2.5, 18 s from it (KIP-537)
    #[arg(long, default_value = "18s", value_parser = session_timeout)]
    pub(crate) zookeeper_session_timeout: SessionTimeout,
    /// Who starts and stops the daemons; the other two are without --disks loop and --clock faketime
    #[arg(long, default_value = "scripts")]
    pub(crate) manager: LabManagerArg,
    /// Where daemons keep their data; with loop or fuse each has a disk of its own, which can be broken
    #[arg(long, value_enum, default_value = "directory")]
    pub(crate) disks: LabDisks,
    /// The daemons' clock; under libfaketime each has its own, which can be wrong
    #[arg(long, value_enum, default_value = "machine")]
    pub(crate) clock: LabClock,
    /// Rules that stand on the hosts beforehand
    #[arg(long, value_enum, default_value = "none")]
    pub(crate) firewall: LabFirewall,
    /// The cluster's name in the inventory, and in the hosts' opt-in files
    #[arg(long, default_value = "lab")]
    pub(crate) name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LabZooKeeperTls {
    Tls,
    Mutual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LabFirewall {
    None,
    /// Only SSH and the daemons' ports are admitted, all else is dropped (nftables)
    AdmitOnly,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LabManagerArg {
    /// Bare hosts, kafka-server-start.sh -daemon
    Scripts,
    /// Hosts with Debian's systemd: kafka.service and zookeeper.service with Restart=on-abnormal
    Systemd,
    /// One host with a Docker engine, and a container for each daemon
    Docker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LabKraft {
    /// Brokers are controllers too
    Combined,
    /// Daemons and hosts of their own, controller1 and so on
    Separate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LabDisks {
    Directory,
    /// ext4 on a loop device each: can lose power, die and fill up
    Loop,
    /// A FUSE file system each: can lose everything unsynced, fail and be slow
    Fuse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LabClock {
    Machine,
    Faketime,
}
