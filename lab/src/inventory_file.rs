//! The lab's `kchaos.toml`: the same kind of inventory that staging has, so that both are driven the same way.

use std::collections::BTreeMap;
use std::fs;

use kchaos_cluster::inventory::{
    ClusterSection, DaemonEntry, DaemonKind, Environment, Find, Firewall, Host, Inventory, KafkaSection, Limits, ManagerKind, SshOverride,
    SshSection, ZooKeeperSection,
};

use crate::LabError;
use crate::host_files::{CLIENT_KEY, KNOWN_HOSTS};
use crate::layout::{DaemonPlan, HostPlan, NETWORK_NAMESPACE};
use crate::network;
use crate::options::{DEFAULT_ZOOKEEPER_SESSION_TIMEOUT_MS, LabManager, LabOptions};
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
        limits: Limits::default(),
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
        },
        kafka: KafkaSection { bootstrap: layout.endpoints(DaemonKind::Kafka), properties: BTreeMap::new() },
        zookeeper: ZooKeeperSection {
            connect: layout.endpoints(DaemonKind::Zookeeper),
            chroot: String::new(),
            session_timeout_ms: OWN_SESSION_TIMEOUT_MS,
        },
        hosts: match state.manager {
            LabManager::Docker => layout.hosts.iter().flat_map(container_entries).collect(),
            manager => layout.hosts.iter().map(|host| host_entry(manager, host)).collect(),
        },
    }
}

fn host_entry(manager: LabManager, host: &HostPlan) -> Host {
    Host {
        name: host.name.clone(),
        address: host.address.to_string(),
        ssh: SshOverride::default(),
        opt_in_file: "/etc/kchaos/allow".into(),
        docker_host: None,
        daemons: host.daemons.iter().map(|daemon| daemon_entry(manager, daemon)).collect(),
    }
}

/// Each container is a host, all of them at the address of their engine.
fn container_entries(engine: &HostPlan) -> impl Iterator<Item = Host> {
    engine.daemons.iter().map(|daemon| Host {
        name: daemon.container(),
        daemons: vec![daemon_entry(LabManager::Docker, daemon)],
        ..host_entry(LabManager::Docker, engine)
    })
}

fn daemon_entry(manager: LabManager, daemon: &DaemonPlan) -> DaemonEntry {
    let by_scripts = DaemonEntry {
        kind: daemon.kind,
        id: daemon.id,
        port: daemon.port(),
        peer_ports: daemon.peer_ports(),
        manager: ManagerKind::Scripts,
        unit: None,
        container: None,
        start: daemon.start_command().join(" "),
        stop: daemon.stop_command().join(" "),
        find: Find::Argv(daemon.find()),
        log_dir: daemon.log_dir().into(),
    };
    match manager {
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

/// What differs from a cluster as people run it, for the report.
fn notes(options: &LabOptions, state: &State) -> Vec<String> {
    let mut notes = vec![format!("a lab on one machine: Kafka {}, no route out", state.kafka_version)];
    match state.manager {
        LabManager::Scripts => {}
        LabManager::Systemd => notes.push("hosts with Debian's systemd; units with Restart=on-abnormal".to_owned()),
        LabManager::Docker => notes.push("containers of one Docker engine; restart=unless-stopped".to_owned()),
    }
    let session = state.zookeeper_session_timeout_ms;
    if session != DEFAULT_ZOOKEEPER_SESSION_TIMEOUT_MS {
        let seconds = |ms: u64| ms as f64 / 1000.0;
        notes.push(format!(
            "ZooKeeper session {} s, not the default {} s",
            seconds(session),
            seconds(DEFAULT_ZOOKEEPER_SESSION_TIMEOUT_MS)
        ));
    }
    let set = options.settings.iter().filter(|(key, _)| key != SESSION_TIMEOUT && !is_secret(key));
    notes.extend(set.map(|(key, value)| format!("{key}={value}")));
    notes
}

fn is_secret(key: &str) -> bool {
    ["password", "secret", "jaas"].iter().any(|part| key.contains(part))
}
