//! Who stands where: hosts, addresses, and the daemons on them with their ports and paths.
//!
//! Addresses: `10.99.0.0/24`, on a bridge that has no way out. The bridge itself is `.1` (kchaos' own side), hosts are `.11` and up.
//! Daemons of one kind on one host are told apart by their *slot*: the first has the usual ports and paths, the next ones are moved on by one.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use kchaos_cluster::inventory::DaemonKind;
use serde::{Deserialize, Serialize};

pub(crate) const BRIDGE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
pub(crate) const PREFIX_LENGTH: u8 = 24;
const FIRST_HOST: u8 = 11;
pub(crate) const ADDRESSES_MAX: usize = 240;
/// The host of the engine, where daemons are containers.
const ENGINE: &str = "engine1";
/// The namespace of the bridge, which the client side of a run enters.
pub const NETWORK_NAMESPACE: &str = "kchaos-net";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Layout {
    pub(crate) hosts: Vec<HostPlan>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostPlan {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) daemons: Vec<DaemonPlan>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DaemonPlan {
    pub(crate) kind: DaemonKind,
    /// `broker.id` or `myid`; of a controller its `node.id`, from 101.
    pub(crate) id: i32,
    /// How many of its kind stand before it on the same host.
    pub(crate) slot: u16,
    /// Of a container: its port on the engine's host.
    #[serde(default)]
    pub(crate) published: Option<u16>,
    /// Of a broker that is a KRaft controller too: where it listens as that.
    #[serde(default)]
    pub(crate) controller_port: Option<u16>,
    /// Of a broker: its `broker.rack`.
    #[serde(default)]
    pub(crate) rack: Option<String>,
}

/// Node ids are one space for brokers and controllers.
const FIRST_CONTROLLER: i32 = 101;
const CONTROLLER_PORT: u16 = 9093;

impl Layout {
    /// Brokers and ZooKeepers.
    pub(crate) fn new(brokers: usize, zookeepers: usize, hosts: Option<usize>) -> Self {
        Self::deal(brokers, (DaemonKind::Zookeeper, zookeepers), hosts)
    }

    /// Brokers and KRaft controllers.
    pub(crate) fn of_kraft(brokers: usize, controllers: usize, hosts: Option<usize>) -> Self {
        Self::deal(brokers, (DaemonKind::Controller, controllers), hosts)
    }

    /// Brokers, the first of which are KRaft controllers too.
    pub(crate) fn of_combined(brokers: usize, controllers: usize, hosts: Option<usize>) -> Self {
        let mut layout = Self::deal(brokers, (DaemonKind::Controller, 0), hosts);
        for daemon in layout.hosts.iter_mut().flat_map(|host| &mut host.daemons).filter(|daemon| daemon.id <= controllers as i32) {
            // Behind the ports of as many brokers as the host may have.
            daemon.controller_port = Some(CONTROLLER_PORT + 1_000 + daemon.slot);
        }
        layout
    }

    /// The same, with controllers on hosts of their own behind all others.
    pub(crate) fn with_waiting_controllers(mut self, count: usize) -> Self {
        for index in 0..count {
            let last = FIRST_HOST.saturating_add(u8::try_from(self.hosts.len()).unwrap_or(u8::MAX));
            let name = format!("{}{}", DaemonKind::Controller.name(), index + 1);
            let mut host = HostPlan { name, address: Ipv4Addr::new(10, 99, 0, last), daemons: Vec::new() };
            host.add(DaemonKind::Controller, index);
            self.hosts.push(host);
        }
        self
    }

    /// The second kind is that of those who keep the cluster's state.
    fn deal(brokers: usize, (kind, count_of_kind): (DaemonKind, usize), hosts: Option<usize>) -> Self {
        let stem = if kind == DaemonKind::Zookeeper { "zoo" } else { kind.name() };
        let names: Vec<String> = match hosts {
            Some(count) => (1..=count).map(|n| format!("host{n}")).collect(),
            None => (1..=brokers).map(|n| format!("kafka{n}")).chain((1..=count_of_kind).map(|n| format!("{stem}{n}"))).collect(),
        };
        let mut layout = Layout { hosts: Vec::new() };
        for (index, name) in names.into_iter().enumerate() {
            let last = FIRST_HOST.saturating_add(u8::try_from(index).unwrap_or(u8::MAX));
            layout.hosts.push(HostPlan { name, address: Ipv4Addr::new(10, 99, 0, last), daemons: Vec::new() });
        }
        let count = layout.hosts.len();
        // Round-robin by kind, so that three hosts get a broker and a ZooKeeper each.
        for index in 0..brokers {
            layout.hosts[index % count].add(DaemonKind::Kafka, index);
        }
        let first = if hosts.is_some() { 0 } else { brokers };
        for index in 0..count_of_kind {
            layout.hosts[(first + index) % count].add(kind, index);
        }
        // With fewer brokers than hosts the ZooKeepers might all sit in front: fill the empty hosts first.
        layout.fill_empty_hosts();
        layout
    }

    /// One host with an engine; each daemon is a container on it, published as people do it in Compose files: brokers on 32001 and up,
    /// ZooKeepers on 2181 and up.
    pub(crate) fn of_containers(brokers: usize, zookeepers: usize) -> Self {
        let mut layout = Self::new(brokers, zookeepers, Some(1));
        for host in &mut layout.hosts {
            ENGINE.clone_into(&mut host.name);
            for daemon in &mut host.daemons {
                daemon.published = Some(daemon.slot + if daemon.kind == DaemonKind::Kafka { 32_001 } else { 2_181 });
            }
        }
        layout
    }

    /// The same, with other ids of brokers. ZooKeepers' begin with 1 always.
    pub(crate) fn with_first_broker(mut self, first: i32) -> Self {
        let daemons = self.hosts.iter_mut().flat_map(|host| &mut host.daemons);
        daemons.filter(|daemon| daemon.kind == DaemonKind::Kafka).for_each(|daemon| daemon.id += first - 1);
        self
    }

    /// The same with the brokers in racks, dealt in turn.
    pub(crate) fn with_racks(mut self, racks: &[String]) -> Self {
        let brokers = self.hosts.iter_mut().flat_map(|host| &mut host.daemons).filter(|daemon| daemon.kind == DaemonKind::Kafka);
        let mut brokers: Vec<&mut DaemonPlan> = brokers.collect();
        brokers.sort_by_key(|broker| broker.id);
        for (broker, rack) in brokers.into_iter().zip(racks.iter().cycle()) {
            broker.rack = Some(rack.clone());
        }
        self
    }

    /// Moves ZooKeepers from the fullest hosts to hosts that have nothing.
    fn fill_empty_hosts(&mut self) {
        while let Some(empty) = self.hosts.iter().position(|host| host.daemons.is_empty()) {
            let Some(fullest) = (0..self.hosts.len()).rev().max_by_key(|&index| self.hosts[index].daemons.len()) else { return };
            let Some(mut daemon) = self.hosts[fullest].daemons.pop() else { return };
            daemon.slot = 0;
            self.hosts[empty].daemons.push(daemon);
        }
    }

    /// Every daemon of a kind with its host, by id.
    pub(crate) fn daemons(&self, kind: DaemonKind) -> Vec<(&HostPlan, &DaemonPlan)> {
        let mut found: Vec<_> = self
            .hosts
            .iter()
            .flat_map(|host| host.daemons.iter().map(move |daemon| (host, daemon)))
            .filter(|(_, d)| d.kind == kind)
            .collect();
        found.sort_by_key(|(_, daemon)| daemon.id);
        found
    }

    /// Every KRaft controller with its port, by node id; none where there is ZooKeeper.
    pub(crate) fn controllers(&self) -> Vec<(&HostPlan, &DaemonPlan, u16)> {
        let daemons = self.hosts.iter().flat_map(|host| host.daemons.iter().map(move |daemon| (host, daemon)));
        let mut found: Vec<_> = daemons.filter_map(|(host, daemon)| Some((host, daemon, daemon.as_controller()?))).collect();
        found.sort_by_key(|(_, daemon, _)| daemon.id);
        found
    }

    /// `address:port` of every daemon of a kind, where clients reach it.
    pub(crate) fn endpoints(&self, kind: DaemonKind) -> Vec<String> {
        self.daemons(kind).into_iter().map(|(host, daemon)| format!("{}:{}", host.address, daemon.port())).collect()
    }
}

impl HostPlan {
    fn add(&mut self, kind: DaemonKind, index: usize) {
        let slot = self.daemons.iter().filter(|daemon| daemon.kind == kind).count() as u16;
        let id = index as i32 + if kind == DaemonKind::Controller { FIRST_CONTROLLER } else { 1 };
        self.daemons.push(DaemonPlan { kind, id, slot, published: None, controller_port: None, rack: None });
    }

    /// Where its brokers are, and so whatever stands beside them.
    pub(crate) fn rack(&self) -> Option<String> {
        self.daemons.iter().find_map(|daemon| daemon.rack.clone())
    }

    /// In more racks than one, which no host is.
    pub(crate) fn is_torn(&self) -> bool {
        let racks = |daemon: &DaemonPlan| daemon.rack.clone();
        self.daemons.iter().filter_map(racks).collect::<std::collections::BTreeSet<_>>().len() > 1
    }

    /// The name under `/run/netns`.
    pub(crate) fn namespace(&self) -> String {
        format!("kchaos-{}", self.name)
    }
}

impl DaemonPlan {
    pub(crate) fn label(&self) -> String {
        format!("{}:{}", self.kind.name(), self.id)
    }

    /// For people: `broker 1`, `ZooKeeper 2`.
    pub(crate) fn spoken(&self) -> String {
        match self.kind {
            DaemonKind::Kafka => format!("broker {}", self.id),
            DaemonKind::Zookeeper => format!("ZooKeeper {}", self.id),
            DaemonKind::Controller => format!("controller {}", self.id),
        }
    }

    /// Where it listens as a KRaft controller, if it is one.
    pub(crate) fn as_controller(&self) -> Option<u16> {
        if self.kind == DaemonKind::Controller { Some(self.port()) } else { self.controller_port }
    }

    pub(crate) fn port(&self) -> u16 {
        let usual = match self.kind {
            DaemonKind::Kafka => 9092,
            DaemonKind::Zookeeper => 2181,
            DaemonKind::Controller => CONTROLLER_PORT,
        };
        self.published.unwrap_or(usual + self.slot)
    }

    /// `kafka1`, `zoo1`: the container, where daemons are containers.
    pub(crate) fn container(&self) -> String {
        let stem = if self.kind == DaemonKind::Zookeeper { "zoo" } else { self.kind.name() };
        format!("{stem}{}", self.id)
    }

    /// ZooKeeper's quorum and election ports; where a broker listens as a controller.
    pub(crate) fn peer_ports(&self) -> Vec<u16> {
        match self.kind {
            // Each has its own address, and so the usual ports.
            DaemonKind::Kafka if self.published.is_some() => vec![9092],
            DaemonKind::Zookeeper if self.published.is_some() => vec![2181, 2888, 3888],
            DaemonKind::Kafka => self.controller_port.into_iter().collect(),
            DaemonKind::Controller => Vec::new(),
            DaemonKind::Zookeeper => vec![2888 + self.slot, 3888 + self.slot],
        }
    }

    fn suffix(&self) -> String {
        if self.slot == 0 { String::new() } else { format!("-{}", self.id) }
    }

    /// Paths as the host sees them.
    pub(crate) fn settings_file(&self) -> String {
        let stem = match self.kind {
            DaemonKind::Kafka => "/etc/kafka/server",
            DaemonKind::Zookeeper => "/etc/zookeeper/zookeeper",
            DaemonKind::Controller => "/etc/kafka/controller",
        };
        format!("{stem}{}.properties", self.suffix())
    }

    pub(crate) fn data_dir(&self) -> String {
        format!("/var/lib/{}{}", self.kind.name(), self.suffix())
    }

    /// `kafka-1`, in names of files.
    pub(crate) fn file_name(&self) -> String {
        format!("{}-{}", self.kind.name(), self.id)
    }

    /// The device of its disk, where it has one of its own.
    pub(crate) fn disk_device(&self) -> String {
        format!("/dev/kchaos-{}", self.file_name())
    }

    /// Where libfaketime reads how wrong its clock is, where it has one of its own.
    pub(crate) fn clock_file(&self) -> String {
        format!("/etc/kchaos/clock/{}", self.file_name())
    }

    pub(crate) fn log_dir(&self) -> String {
        format!("/var/log/{}{}", self.kind.name(), self.suffix())
    }

    /// The daemon log that says most.
    pub(crate) fn main_log(&self) -> &'static str {
        match self.kind {
            DaemonKind::Kafka | DaemonKind::Controller => "server.log",
            DaemonKind::Zookeeper => "zookeeper.log",
        }
    }

    /// What the JVM itself says, before and beside its logs.
    pub(crate) fn console_log(&self) -> &'static str {
        match self.kind {
            DaemonKind::Kafka | DaemonKind::Controller => "kafkaServer.out",
            DaemonKind::Zookeeper => "zookeeper.out",
        }
    }

    pub(crate) fn main_class(&self) -> &'static str {
        match self.kind {
            DaemonKind::Kafka | DaemonKind::Controller => "kafka.Kafka",
            DaemonKind::Zookeeper => "org.apache.zookeeper.server.quorum.QuorumPeerMain",
        }
    }

    /// What is, exactly, among the arguments of its process.
    pub(crate) fn find(&self) -> Vec<String> {
        vec![self.main_class().to_owned(), self.settings_file()]
    }

    pub(crate) fn start_command(&self) -> Vec<String> {
        vec![format!("/opt/kafka/bin/{}-server-start.sh", self.script()), "-daemon".to_owned(), self.settings_file()]
    }

    /// Under systemd.
    pub(crate) fn unit(&self) -> String {
        format!("{}{}.service", self.kind.name(), self.suffix())
    }

    /// Under systemd each kind runs as a user of its own, and the user's number is its port: easy to remember, and nobody else's.
    pub(crate) fn user_id(&self) -> u32 {
        user_id(self.kind)
    }

    pub(crate) fn stop_command(&self) -> Vec<String> {
        vec![format!("/opt/kafka/bin/{}-server-stop.sh", self.script()), self.settings_file()]
    }

    /// A controller is started as a broker is, and under systemd as the same user.
    pub(crate) fn script(&self) -> &'static str {
        if self.kind == DaemonKind::Zookeeper { "zookeeper" } else { "kafka" }
    }

    /// Turns a path of the host into one of the machine: `/var` of a host is a directory of the lab's.
    pub(crate) fn on_machine(host_dir: &std::path::Path, path: &str) -> PathBuf {
        host_dir.join(path.trim_start_matches('/'))
    }
}

pub(crate) fn user_id(kind: DaemonKind) -> u32 {
    match kind {
        DaemonKind::Kafka | DaemonKind::Controller => 9092,
        DaemonKind::Zookeeper => 2181,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(brokers: usize, zookeepers: usize, hosts: Option<usize>, expect: &[&str]) {
        let layout = Layout::new(brokers, zookeepers, hosts);
        let got: Vec<String> = layout
            .hosts
            .iter()
            .map(|host| {
                let daemons: Vec<String> = host.daemons.iter().map(|d| format!("{}@{}", d.label(), d.port())).collect();
                format!("{} {} {}", host.name, host.address, daemons.join(" "))
            })
            .collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn each_daemon_has_a_host_of_its_own_by_default() {
        check(2, 1, None, &["kafka1 10.99.0.11 kafka:1@9092", "kafka2 10.99.0.12 kafka:2@9092", "zoo1 10.99.0.13 zookeeper:1@2181"]);
    }

    #[test]
    fn hosts_share_daemons_round_robin() {
        check(
            3,
            3,
            Some(3),
            &[
                "host1 10.99.0.11 kafka:1@9092 zookeeper:1@2181",
                "host2 10.99.0.12 kafka:2@9092 zookeeper:2@2181",
                "host3 10.99.0.13 kafka:3@9092 zookeeper:3@2181",
            ],
        );
    }

    #[test]
    fn daemons_of_one_kind_on_one_host_do_not_share_ports_or_paths() {
        check(3, 1, Some(2), &["host1 10.99.0.11 kafka:1@9092 kafka:3@9093 zookeeper:1@2181", "host2 10.99.0.12 kafka:2@9092"]);
        let layout = Layout::new(3, 1, Some(2));
        let third = &layout.hosts[0].daemons[1];
        assert_eq!(third.settings_file(), "/etc/kafka/server-3.properties");
        assert_eq!((third.data_dir().as_str(), third.log_dir().as_str()), ("/var/lib/kafka-3", "/var/log/kafka-3"));
    }

    #[test]
    fn controllers_have_hosts_of_their_own_or_are_brokers_too() {
        let layout = Layout::of_kraft(2, 2, None);
        let names: Vec<String> = layout.hosts.iter().map(|host| format!("{} {}", host.name, host.daemons[0].label())).collect();
        assert_eq!(names, ["kafka1 kafka:1", "kafka2 kafka:2", "controller1 controller:101", "controller2 controller:102"]);
        assert_eq!(layout.hosts[2].daemons[0].settings_file(), "/etc/kafka/controller.properties");
        let quorum =
            |layout: &Layout| layout.controllers().iter().map(|(host, _, port)| format!("{}:{port}", host.name)).collect::<Vec<_>>();
        assert_eq!(quorum(&layout), ["controller1:9093", "controller2:9093"]);
        assert_eq!(quorum(&Layout::of_combined(3, 2, None)), ["kafka1:10093", "kafka2:10093"]);
        assert_eq!(quorum(&Layout::of_combined(2, 2, Some(1))), ["host1:10093", "host1:10094"]);
    }

    #[test]
    fn containers_are_published_as_in_the_compose_file() {
        let layout = Layout::of_containers(3, 3);
        assert_eq!(layout.endpoints(DaemonKind::Kafka), ["10.99.0.11:32001", "10.99.0.11:32002", "10.99.0.11:32003"]);
        assert_eq!(layout.endpoints(DaemonKind::Zookeeper), ["10.99.0.11:2181", "10.99.0.11:2182", "10.99.0.11:2183"]);
        let names: Vec<String> = layout.hosts[0].daemons.iter().map(DaemonPlan::container).collect();
        assert_eq!(names, ["kafka1", "kafka2", "kafka3", "zoo1", "zoo2", "zoo3"]);
    }

    #[test]
    fn no_host_is_empty() {
        check(
            1,
            3,
            Some(4),
            &[
                "host1 10.99.0.11 kafka:1@9092",
                "host2 10.99.0.12 zookeeper:2@2181",
                "host3 10.99.0.13 zookeeper:3@2181",
                "host4 10.99.0.14 zookeeper:1@2181",
            ],
        );
    }
}
