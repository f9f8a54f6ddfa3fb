//! The lab's `kchaos.toml`: the same kind of inventory that staging has, so that both are driven the same way.

use std::fs;

use kchaos_cluster::inventory::{
    ClockKind, ClusterSection, DaemonClock, DaemonEntry, DaemonKind, Disk, DiskFault, DiskKind, Environment, Find, Firewall, Host,
    Inventory, KafkaSection, Limits, ManagerKind, SshOverride, SshSection, ZooKeeperSection, is_secret_property,
};

use crate::LabError;
use crate::disks;
use crate::host_files::{CLIENT_KEY, KNOWN_HOSTS, REPLACE_VERSION};
use crate::layout::{DaemonPlan, HostPlan, Layout, NETWORK_NAMESPACE};
use crate::network;
use crate::options::{self, Clock, DEFAULT_ZOOKEEPER_SESSION_TIMEOUT_MS, Disks, Kraft, LabManager, LabOptions};
use crate::security;
use crate::settings::SESSION_TIMEOUT;
use crate::state::State;

/// Must be valid as long as ZooKeeper's clock, too: see `options`.
const OWN_SESSION_TIMEOUT_MS: u64 = 10_000;

pub(crate) fn write(options: &LabOptions, state: &State, cluster_id: &str) -> Result<(), LabError> {
    let path = state.inventory_path();
    let text = toml::to_string(&inventory(options, state, cluster_id))
        .map_err(|error| LabError::State { path: path.clone(), reason: error.to_string() })?;
    let comment = "# The inventory of the lab that is up; written by `kchaos lab up`, removed by `kchaos lab down`.\n";
    fs::write(&path, format!("{comment}{text}")).map_err(LabError::io("cannot write", &path))
}

/// For the lab itself, as the user who may do everything.
pub(crate) fn of_admin(options: &LabOptions, state: &State) -> Inventory {
    let mut inventory = inventory(options, state, "");
    inventory.kafka.properties = security::client_properties(state, security::ADMIN);
    inventory.zookeeper.tls = security::zookeeper_tls(state, security::ADMIN);
    if state.security.has_zookeeper_sasl {
        inventory.zookeeper.user = Some(security::ADMIN.to_owned());
        inventory.zookeeper.password = Some(security::password_reference(state, security::ADMIN));
    }
    inventory
}

fn inventory(options: &LabOptions, state: &State, cluster_id: &str) -> Inventory {
    let layout = &state.layout;
    Inventory {
        cluster: ClusterSection {
            name: state.name.clone(),
            environment: Environment::Lab,
            expect_cluster_id: cluster_id.to_owned(),
            firewall: Firewall::Auto,
            network_namespace: Some(network::namespace_path(NETWORK_NAMESPACE)),
            notes: notes(options, state),
        },
        limits: Limits { hosts_down_max: hosts_down_max(layout), ..Limits::default() },
        ssh: SshSection {
            user: "root".to_owned(),
            port: 22,
            key_file: state.base_dir.join(CLIENT_KEY),
            key_passphrase: None,
            known_hosts_file: state.base_dir.join(KNOWN_HOSTS),
            connect_timeout_ms: 5_000,
            command_timeout_ms: 30_000,
            channels_max: 6,
            sudo: false,
            privilege: None,
        },
        kafka: KafkaSection {
            bootstrap: layout.endpoints(DaemonKind::Kafka),
            properties: security::client_properties(state, security::USER),
            // Containers of one engine share one, and a Debian of its own has it mounted.
            replace_version: (state.manager == LabManager::Scripts).then(|| format!("{REPLACE_VERSION} {{version}}")),
        },
        zookeeper: ZooKeeperSection {
            connect: layout.endpoints(DaemonKind::Zookeeper),
            chroot: String::new(),
            session_timeout_ms: OWN_SESSION_TIMEOUT_MS,
            user: state.security.has_zookeeper_sasl.then(|| security::USER.to_owned()),
            password: state.security.has_zookeeper_sasl.then(|| security::password_reference(state, security::USER)),
            tls: security::zookeeper_tls(state, security::USER),
        },
        hosts: match state.manager {
            LabManager::Docker => layout.hosts.iter().flat_map(|engine| container_entries(options, state, engine)).collect(),
            LabManager::Scripts | LabManager::Systemd => {
                layout.hosts.iter().map(|host| host_entry(host, daemon_entries(options, state, host))).collect()
            }
        },
    }
}

fn host_entry(host: &HostPlan, daemons: Vec<DaemonEntry>) -> Host {
    Host {
        name: host.name.clone(),
        address: host.address.to_string(),
        ssh: SshOverride::default(),
        rack: host.rack(),
        opt_in_file: "/etc/kchaos/allow".into(),
        docker_host: None,
        clock: None,
        daemons,
    }
}

fn daemon_entries(options: &LabOptions, state: &State, host: &HostPlan) -> Vec<DaemonEntry> {
    host.daemons.iter().map(|daemon| daemon_entry(options, state, host, daemon)).collect()
}

/// Each container is a host, all of them at the address of their engine.
fn container_entries(options: &LabOptions, state: &State, engine: &HostPlan) -> Vec<Host> {
    let entries = daemon_entries(options, state, engine);
    let of = |(daemon, entry): (&DaemonPlan, DaemonEntry)| Host {
        name: daemon.container(),
        rack: daemon.rack.clone(),
        ..host_entry(engine, vec![entry])
    };
    engine.daemons.iter().zip(entries).map(of).collect()
}

fn daemon_entry(options: &LabOptions, state: &State, host: &HostPlan, daemon: &DaemonPlan) -> DaemonEntry {
    let by_scripts = DaemonEntry {
        kind: daemon.kind,
        id: daemon.id,
        port: daemon.port(),
        peer_ports: daemon.peer_ports(),
        controller_port: daemon.controller_port,
        manager: ManagerKind::Scripts,
        unit: None,
        container: None,
        start: daemon.start_command().join(" "),
        stop: daemon.stop_command().join(" "),
        find: Find::Argv(daemon.find()),
        log_dir: daemon.log_dir().into(),
        disk: Some(disk(options, state, host, daemon)),
        clock: (options.clock == Clock::Faketime).then(|| DaemonClock { kind: ClockKind::Faketime, file: daemon.clock_file().into() }),
    };
    match state.manager {
        LabManager::Scripts => by_scripts,
        LabManager::Docker => DaemonEntry {
            manager: ManagerKind::Docker,
            start: String::new(),
            stop: String::new(),
            find: Find::default(),
            container: Some(daemon.container()),
            ..by_scripts
        },
        LabManager::Systemd => DaemonEntry {
            manager: ManagerKind::Systemd,
            start: String::new(),
            stop: String::new(),
            find: Find::default(),
            unit: Some(daemon.unit()),
            ..by_scripts
        },
    }
}

/// A directory of the lab is on the machine's own file system, so it is never filled; what the lab's own daemons wrote there may be damaged.
fn disk(options: &LabOptions, state: &State, host: &HostPlan, daemon: &DaemonPlan) -> Disk {
    let data_dir = daemon.data_dir().into();
    match options.disks {
        Disks::Directory => {
            // A service manager would start the daemon while its files are damaged.
            let allow = if state.manager == LabManager::Scripts { vec![DiskFault::Corrupt, DiskFault::Truncate] } else { Vec::new() };
            Disk { kind: DiskKind::Directory, data_dir, allow, device: None, backing_file: None, mark: None }
        }
        Disks::Fuse => Disk {
            kind: DiskKind::Fuse,
            data_dir,
            allow: Vec::new(),
            device: None,
            backing_file: None,
            mark: Some(disks::mark(state, daemon)),
        },
        Disks::Loop => Disk {
            kind: DiskKind::Loop,
            data_dir,
            allow: Vec::new(),
            device: Some(daemon.disk_device().into()),
            backing_file: Some(disks::image(&state.base_dir, host, daemon)),
            mark: Some(disks::mark(state, daemon)),
        },
    }
}

/// Half of the brokers and a minority of the ZooKeepers or controllers may be down or cut off at once (`partition-halves`), wherever they stand; one host stays.
fn hosts_down_max(layout: &Layout) -> usize {
    let count = |kind| layout.daemons(kind).len();
    let voters = count(DaemonKind::Zookeeper) + count(DaemonKind::Controller);
    let both = count(DaemonKind::Kafka) / 2 + voters.saturating_sub(1) / 2;
    both.min(layout.hosts.len() / 2).max(1)
}

/// What differs from a cluster as people run it, for the report.
fn notes(options: &LabOptions, state: &State) -> Vec<String> {
    let mut notes = vec![format!("a lab on one machine: Kafka {}, no route out", state.kafka_version)];
    match state.manager {
        LabManager::Scripts => {}
        LabManager::Systemd => notes.push("hosts with Debian's systemd; units with Restart=on-abnormal".to_owned()),
        LabManager::Docker => notes.push("containers of one Docker engine; restart=unless-stopped".to_owned()),
    }
    notes.extend(state.security.note());
    let session = state.zookeeper_session_timeout_ms;
    match state.kraft {
        None if options.waiting_controllers > 0 => {
            notes.push(format!("{} KRaft controllers beside the ZooKeepers, which wait for the migration", options.waiting_controllers));
        }
        None => {}
        Some(Kraft::Separate(controllers)) => notes.push(format!("KRaft, {controllers} controllers on hosts of their own")),
        Some(Kraft::Combined(controllers)) => notes.push(format!("KRaft, {controllers} brokers are controllers too")),
    }
    if state.kraft.is_none() && session != DEFAULT_ZOOKEEPER_SESSION_TIMEOUT_MS {
        let seconds = |ms: u64| ms as f64 / 1000.0;
        notes.push(format!(
            "ZooKeeper session {} s, not the default {} s",
            seconds(session),
            seconds(DEFAULT_ZOOKEEPER_SESSION_TIMEOUT_MS)
        ));
    }
    match options.disks {
        Disks::Directory => {}
        Disks::Loop => notes.push("each daemon's data on a disk of its own (ext4 on a loop device)".to_owned()),
        Disks::Fuse => notes.push("each daemon's data on a disk of its own (FUSE; an fsync reaches no device)".to_owned()),
    }
    if options.firewall == options::Firewall::AdmitOnly {
        notes.push("a firewall on each host, which admits SSH and the daemons' ports and drops all else".to_owned());
    }
    if options.clock == Clock::Faketime {
        notes.push("each daemon's clock is its own (libfaketime)".to_owned());
    }
    let set = options.settings.iter().filter(|(key, _)| key != SESSION_TIMEOUT && !is_secret_property(key));
    notes.extend(set.map(|(key, value)| format!("{key}={value}")));
    notes
}
