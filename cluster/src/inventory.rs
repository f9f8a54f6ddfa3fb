//! The inventory (`kchaos.toml`): which hosts there are, which daemons run on them, how to reach them, and how far kchaos may go.
//!
//! The lab writes one too, so a lab and staging are driven the same way. Unknown keys are errors with file and line. Secrets stand in it
//! only by reference: `env:NAME` or `file:PATH`. They are followed when they are needed and not before, so that `kchaos heal` works where
//! nobody knows Kafka's password.
//!
//! Paths on this machine (`key_file`, `known_hosts_file`, `network_namespace`, librdkafka's `ssl.*.location`) may begin with `~/`, and are otherwise relative to the
//! inventory's directory. Paths on a host (`opt_in_file`, `log_dir`, `find`'s `pid-file`) are absolute.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

mod disk;
mod load;
mod lookup;
mod validate;

#[cfg(test)]
mod tests;

pub use disk::{ClockFault, ClockKind, DaemonClock, Disk, DiskFault, DiskKind, HostClock};
pub use load::{InventoryError, Problem, find_inventory};
pub use lookup::is_secret_property;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    pub cluster: ClusterSection,
    #[serde(default)]
    pub limits: Limits,
    /// Needed but where all hosts are containers of an engine on this machine.
    #[serde(default)]
    pub ssh: SshSection,
    pub kafka: KafkaSection,
    /// Not of a cluster of KRaft, which has controllers instead.
    #[serde(default, skip_serializing_if = "ZooKeeperSection::is_unset")]
    pub zookeeper: ZooKeeperSection,
    #[serde(rename = "host")]
    pub hosts: Vec<Host>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSection {
    pub name: String,
    /// `production` needs the typed consent.
    pub environment: Environment,
    /// The id in ZooKeeper's `/cluster/id`, or that of KRaft's storage; a cluster that answers with another is not touched.
    pub expect_cluster_id: String,
    #[serde(default)]
    pub firewall: Firewall,
    /// Lab only: the network namespace that the client side of a run enters before it starts threads (`/run/netns/NAME` or another path).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_namespace: Option<PathBuf>,
    /// Settings worth showing in a report ("ZooKeeper session 6 s, not the default 18 s").
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Environment {
    Lab,
    Staging,
    Production,
}

/// How cuts are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Firewall {
    /// nftables where `nft` works, else iptables.
    #[default]
    Auto,
    Nftables,
    Iptables,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Never more hosts down at once than this.
    pub hosts_down_max: usize,
    pub fault_duration_max_s: u64,
    /// How long the cluster may take to be whole again after the last mend before the verdict is `never-recovered`.
    pub recovery_timeout_s: u64,
    /// A run ends, and mends, when a disk of a host has less room than this.
    pub disk_free_min_mib: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshSection {
    pub user: String,
    #[serde(default = "default_ssh_port")]
    pub port: u16,
    pub key_file: PathBuf,
    /// The key's passphrase, by reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_passphrase: Option<String>,
    pub known_hosts_file: PathBuf,
    #[serde(default = "default_connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    #[serde(default = "default_command_timeout_ms")]
    pub command_timeout_ms: u64,
    /// Channels open at once on one connection; sshd's own `MaxSessions` is 10.
    #[serde(default = "default_channels_max")]
    pub channels_max: usize,
    /// The same as `privilege = "sudo-sh"`.
    #[serde(default)]
    pub sudo: bool,
    /// How commands become root's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privilege: Option<Privilege>,
}

/// How commands become root's on the hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Privilege {
    /// The user who logs in is root.
    #[default]
    Root,
    /// By the helper that `kchaos inventory install-helper` puts there, which knows fixed verbs and nothing else.
    Helper,
    /// By `sudo -n sh`, which may do anything.
    SudoSh,
}

/// What a host overrides of `[ssh]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SshOverride {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSection {
    /// `host:port` of brokers.
    pub bootstrap: Vec<String>,
    /// librdkafka properties for every client (`security.protocol`, …); values may be `env:` or `file:` references.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
    /// How a host gets another version of Kafka while its daemon is stopped: a command in which `{version}` stands for the version, run on the
    /// host by who may do all. What it does is its owner's; a plan's step `replace-version` needs it (docs/plans.md).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_version: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZooKeeperSection {
    /// `host:port` of every server.
    pub connect: Vec<String>,
    /// Where Kafka keeps its nodes; empty for the root.
    #[serde(default)]
    pub chroot: String,
    /// Of kchaos' own session.
    #[serde(default = "default_zookeeper_session_timeout_ms")]
    pub session_timeout_ms: u64,
    /// As whom kchaos' sessions come, by SASL with DIGEST-MD5; without it they say nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user's password, by reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// The servers' port is one of TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ZooKeeperTls>,
}

/// PEM files on this machine; relative to the inventory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZooKeeperTls {
    /// Who signed the servers' certificates. These are held against the names by which the servers are reached.
    pub ca_file: PathBuf,
    /// Our own certificate, where the servers want one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// Its key, without a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    pub name: String,
    /// As the other hosts of the cluster reach it: an IP address or a name.
    pub address: String,
    #[serde(default)]
    pub ssh: SshOverride,
    /// What fails together with it, in the words of its brokers' `broker.rack`: whom `rack:NAME` means. Without it the brokers' own word counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// The consent on the host: a file that holds the cluster's name, made by its administrator, never by kchaos.
    #[serde(default = "default_opt_in_file")]
    pub opt_in_file: PathBuf,
    /// The engine that runs this host's container, if it is not the one that the `docker` command finds by itself: `unix:///run/…`. Then the
    /// engine is on this machine and the host is reached without SSH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker_host: Option<String>,
    /// The owner's consent to set the clock of the whole host. Without it nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<HostClock>,
    #[serde(rename = "daemon", default)]
    pub daemons: Vec<DaemonEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DaemonEntry {
    pub kind: DaemonKind,
    /// `broker.id`, `node.id`, or ZooKeeper's `myid`.
    pub id: i32,
    /// Where clients reach it on this host.
    pub port: u16,
    /// ZooKeeper's quorum and election ports, the broker's other listeners.
    #[serde(default)]
    pub peer_ports: Vec<u16>,
    /// Of a broker that is a KRaft controller too (`process.roles=broker,controller`): where it listens as that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller_port: Option<u16>,
    #[serde(default)]
    pub manager: ManagerKind,
    /// With `manager = "scripts"`: the command that starts it and returns.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub start: String,
    /// The command that stops it in good order; it may return before the daemon is gone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stop: String,
    /// With `manager = "systemd"`: its unit, `kafka.service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// With `manager = "docker"`: its container, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Needed with `manager = "scripts"`. systemd and Docker know the process themselves; a unit whose main process is a shell needs it too.
    #[serde(default, skip_serializing_if = "Find::is_unset")]
    pub find: Find,
    /// Where its daemon logs are; fetched at the end of a run.
    pub log_dir: PathBuf,
    /// Without it the faults of disks are refused for this daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Disk>,
    /// Without it the faults of clocks are, but where the host's own may be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<DaemonClock>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DaemonKind {
    Kafka,
    Zookeeper,
    /// A KRaft controller that is no broker.
    Controller,
}

/// How a daemon is started, stopped and found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ManagerKind {
    /// By commands of its own.
    #[default]
    Scripts,
    /// A unit of the host's systemd.
    Systemd,
    /// A container of a Docker engine.
    Docker,
}

/// How to tell the daemon's process from all others. Never by a name alone: a broker and a ZooKeeper are both `java`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Find {
    /// The process of which each of these is, exactly, one argument (its main class and its settings file).
    Argv(Vec<String>),
    /// The process whose id stands in this file.
    PidFile(PathBuf),
    /// The process that listens on this TCP port.
    Port(u16),
}

/// Nobody who could log in anywhere.
impl Default for SshSection {
    fn default() -> Self {
        Self {
            user: String::new(),
            port: default_ssh_port(),
            key_file: PathBuf::new(),
            key_passphrase: None,
            known_hosts_file: PathBuf::new(),
            connect_timeout_ms: default_connect_timeout_ms(),
            command_timeout_ms: default_command_timeout_ms(),
            channels_max: default_channels_max(),
            sudo: false,
            privilege: None,
        }
    }
}

/// Nothing: left to the manager.
impl Default for Find {
    fn default() -> Self {
        Self::Argv(Vec::new())
    }
}

impl Default for ZooKeeperSection {
    fn default() -> Self {
        let session_timeout_ms = default_zookeeper_session_timeout_ms();
        Self { connect: Vec::new(), chroot: String::new(), session_timeout_ms, user: None, password: None, tls: None }
    }
}

impl ZooKeeperSection {
    pub fn is_unset(&self) -> bool {
        self.connect.is_empty()
    }
}

impl Find {
    pub fn is_unset(&self) -> bool {
        matches!(self, Self::Argv(words) if words.is_empty())
    }
}

impl SshSection {
    pub fn privilege(&self) -> Privilege {
        self.privilege.unwrap_or(if self.sudo { Privilege::SudoSh } else { Privilege::Root })
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { hosts_down_max: 1, fault_duration_max_s: 600, recovery_timeout_s: 300, disk_free_min_mib: 64 }
    }
}

fn default_ssh_port() -> u16 {
    22
}

fn default_connect_timeout_ms() -> u64 {
    5_000
}

fn default_command_timeout_ms() -> u64 {
    30_000
}

fn default_channels_max() -> usize {
    6
}

fn default_zookeeper_session_timeout_ms() -> u64 {
    10_000
}

fn default_opt_in_file() -> PathBuf {
    PathBuf::from("/etc/kchaos/allow")
}

impl DaemonKind {
    pub fn name(self) -> &'static str {
        match self {
            DaemonKind::Kafka => "kafka",
            DaemonKind::Zookeeper => "zookeeper",
            DaemonKind::Controller => "controller",
        }
    }
}

impl DaemonEntry {
    /// Where it listens as a KRaft controller, if it is one.
    pub fn as_controller(&self) -> Option<u16> {
        if self.kind == DaemonKind::Controller { Some(self.port) } else { self.controller_port }
    }

    /// `true` if it keeps the cluster's state: a ZooKeeper, or a voter of KRaft's quorum.
    pub fn is_voter(&self) -> bool {
        self.kind == DaemonKind::Zookeeper || self.as_controller().is_some()
    }

    /// `kafka:1`, `zookeeper:2`, `controller:101`.
    pub fn label(&self) -> String {
        format!("{}:{}", self.kind.name(), self.id)
    }
}
