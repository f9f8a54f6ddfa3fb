//! The daemons' settings files.
//!
//! Defaults are the safe ones of the field (replication 3, min.insync.replicas 2, unclean election off), and what would make an experiment
//! hard to read is off: topics that make themselves, and leaders that move back by themselves.

use std::fmt::Write as _;

use kchaos_cluster::inventory::DaemonKind;

use crate::LabError;
use crate::docker;
use crate::layout::{DaemonPlan, HostPlan};
use crate::options::{LabManager, LabOptions, TICK_TIME_MS};
use crate::secrets::{self, Passwords};
use crate::secured;
use crate::security::TlsKind;
use crate::state::State;
use crate::waiting;

pub(crate) const SESSION_TIMEOUT: &str = "zookeeper.session.timeout.ms";
/// A lab in which these are not as the lab chose them is none.
pub(crate) const OWNED_BY_THE_LAB: &[&str] = &[
    "broker.id",
    "node.id",
    "process.roles",
    "controller.listener.names",
    "controller.quorum.bootstrap.servers",
    "controller.quorum.voters",
    "metadata.log.dir",
    "listeners",
    "advertised.listeners",
    "port",
    "host.name",
    "log.dir",
    "log.dirs",
    "zookeeper.connect",
    "security.inter.broker.protocol",
    "inter.broker.listener.name",
    "listener.security.protocol.map",
];

const INIT_LIMIT_TICKS: u32 = 10;
const SYNC_LIMIT_TICKS: u32 = 5;

/// The settings of one broker or controller in the order of the file. Every one of a broker's is read back from it.
pub(crate) fn broker_settings(
    options: &LabOptions,
    state: &State,
    host: &HostPlan,
    broker: &DaemonPlan,
) -> Result<Vec<(String, String)>, LabError> {
    let layout = &state.layout;
    let replicas = options.brokers.min(3).to_string();
    let min_insync = options.brokers.min(2).to_string();
    let is_waiting = options.kraft.is_none() && broker.kind == DaemonKind::Controller;
    let mut defaults: Vec<(&str, String)> = match options.kraft {
        None if is_waiting => [node_settings(state, host, broker), waiting::settings(state)].concat(),
        None => registered_settings(options, state, host, broker)?,
        Some(_) => node_settings(state, host, broker),
    };
    defaults.extend([
        ("num.partitions", "1".to_owned()),
        ("default.replication.factor", replicas.clone()),
        ("min.insync.replicas", min_insync.clone()),
        ("unclean.leader.election.enable", "false".to_owned()),
        ("auto.create.topics.enable", "false".to_owned()),
        ("auto.leader.rebalance.enable", "false".to_owned()),
        ("delete.topic.enable", "true".to_owned()),
        ("controlled.shutdown.enable", "true".to_owned()),
        ("offsets.topic.replication.factor", replicas.clone()),
        ("transaction.state.log.replication.factor", replicas),
        ("transaction.state.log.min.isr", min_insync),
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
    ]);
    defaults.extend(broker.rack.iter().map(|rack| ("broker.rack", rack.clone())));
    if options.manager != LabManager::Scripts && options.kraft.is_none() {
        // Hosts boot side by side: a broker must not give up before the ZooKeepers serve, since nobody starts it again.
        defaults.push(("zookeeper.connection.timeout.ms", "60000".to_owned()));
    }
    if options.manager == LabManager::Docker {
        defaults.retain(|(key, _)| !["listeners", "zookeeper.connect"].contains(key));
        defaults.extend(docker::broker_settings(layout, host, broker));
    }
    let mut settings: Vec<(String, String)> = defaults.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    settings.extend(secured::settings(state)?);
    for (key, value) in &options.settings {
        match settings.iter_mut().find(|(known, _)| known == key) {
            Some(entry) => entry.1.clone_from(value),
            None => settings.push((key.clone(), value.clone())),
        }
    }
    Ok(settings)
}

/// What only a broker with ZooKeeper has.
fn registered_settings(
    options: &LabOptions,
    state: &State,
    host: &HostPlan,
    broker: &DaemonPlan,
) -> Result<Vec<(&'static str, String)>, LabError> {
    let mut settings = vec![
        ("broker.id", broker.id.to_string()),
        ("listeners", format!("{}://{}:{}", state.security.protocol(), host.address, broker.port())),
        ("log.dirs", broker.data_dir()),
        ("zookeeper.connect", state.layout.endpoints(DaemonKind::Zookeeper).join(",")),
    ];
    if options.zookeeper_session_timeout_ms.is_some() {
        settings.push((SESSION_TIMEOUT, options.session_timeout_asked()?.to_string()));
    }
    Ok(settings)
}

/// What only a node of KRaft has. Its voters are those that the settings name: so every version knows it.
fn node_settings(state: &State, host: &HostPlan, node: &DaemonPlan) -> Vec<(&'static str, String)> {
    let (layout, protocol) = (&state.layout, state.security.protocol());
    let voter = |(host, daemon, port): (&HostPlan, &DaemonPlan, u16)| format!("{}@{}:{port}", daemon.id, host.address);
    let of_broker = (node.kind == DaemonKind::Kafka).then(|| ("broker", format!("{protocol}://{}:{}", host.address, node.port())));
    let of_controller = node.as_controller().map(|port| ("controller", format!("CONTROLLER://{}:{port}", host.address)));
    let (roles, listeners): (Vec<&str>, Vec<String>) = of_broker.into_iter().chain(of_controller).unzip();
    vec![
        ("node.id", node.id.to_string()),
        ("process.roles", roles.join(",")),
        ("controller.quorum.voters", layout.controllers().into_iter().map(voter).collect::<Vec<_>>().join(",")),
        ("controller.listener.names", "CONTROLLER".to_owned()),
        ("listener.security.protocol.map", format!("CONTROLLER:{protocol},{protocol}:{protocol}")),
        ("listeners", listeners.join(",")),
        ("log.dirs", node.data_dir()),
    ]
}

/// The settings of one ZooKeeper. A single one stands alone, without a quorum.
pub(crate) fn zookeeper_settings(state: &State, host: &HostPlan, zookeeper: &DaemonPlan) -> Result<Vec<(String, String)>, LabError> {
    let (layout, is_contained) = (&state.layout, zookeeper.published.is_some());
    // With TLS there is no port in the clear: the one there is is of TLS.
    let (port, address) = if state.security.zookeeper_tls.is_some() {
        ("secureClientPort", "secureClientPortAddress")
    } else {
        ("clientPort", "clientPortAddress")
    };
    let mut settings: Vec<(String, String)> = [
        ("tickTime", TICK_TIME_MS.to_string()),
        ("initLimit", INIT_LIMIT_TICKS.to_string()),
        ("syncLimit", SYNC_LIMIT_TICKS.to_string()),
        ("dataDir", zookeeper.data_dir()),
        (port, if is_contained { "2181".to_owned() } else { zookeeper.port().to_string() }),
        (address, if is_contained { "0.0.0.0".to_owned() } else { host.address.to_string() }),
        ("maxClientCnxns", "0".to_owned()),
        ("admin.enableServer", "false".to_owned()),
        ("4lw.commands.whitelist", "srvr,stat,ruok,mntr,conf,dump".to_owned()),
        ("autopurge.snapRetainCount", "3".to_owned()),
        ("autopurge.purgeInterval", "1".to_owned()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    if state.security.has_zookeeper_sasl {
        for (key, value) in [
            ("authProvider.1", "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"),
            // Only the second keeps out who says nothing, and 3.5 (Kafka before 3.0) does not know it.
            ("requireClientAuthScheme", "sasl"),
            ("sessionRequireClientSASLAuth", "true"),
        ] {
            settings.push((key.to_owned(), value.to_owned()));
        }
    }
    if let Some(kind) = state.security.zookeeper_tls {
        let password = Passwords::read(state)?.admin;
        for (key, value) in [
            ("serverCnxnFactory", "org.apache.zookeeper.server.NettyServerCnxnFactory"),
            ("ssl.keyStore.location", secrets::ZOOKEEPER_KEY_STORE),
            ("ssl.keyStore.password", &password),
            ("ssl.trustStore.location", secrets::ZOOKEEPER_TRUST_STORE),
            ("ssl.trustStore.password", &password),
            ("ssl.clientAuth", if kind == TlsKind::Mutual { "need" } else { "none" }),
        ] {
            settings.push((key.to_owned(), value.to_owned()));
        }
    }
    let ensemble = layout.daemons(DaemonKind::Zookeeper);
    if ensemble.len() > 1 {
        for (host, member) in ensemble {
            let address = if is_contained { format!("{}:2888:3888", member.container()) } else { peer_address(host, member) };
            settings.push((format!("server.{}", member.id), address));
        }
    }
    Ok(settings)
}

fn peer_address(host: &HostPlan, member: &DaemonPlan) -> String {
    let ports: Vec<String> = member.peer_ports().iter().map(u16::to_string).collect();
    format!("{}:{}", host.address, ports.join(":"))
}

/// A Java properties file. Keys are plain words; in values a backslash would be an escape.
pub(crate) fn render(comment: &str, settings: &[(String, String)]) -> String {
    let mut text = format!("# {comment}\n");
    for (key, value) in settings {
        let _ = writeln!(text, "{key}={}", value.replace('\\', "\\\\"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut LabOptions), broker: usize, expect: &[&str]) {
        let mut options = LabOptions::default();
        change(&mut options);
        let state = crate::up::plan(&options).unwrap();
        let (host, daemon) = state.layout.daemons(DaemonKind::Kafka)[broker];
        let text = render("a broker", &broker_settings(&options, &state, host, daemon).unwrap());
        for line in expect {
            assert!(text.lines().any(|have| have == *line), "{line:?} is not in\n{text}");
        }
    }

    #[test]
    fn the_defaults_are_the_safe_ones() {
        check(
            |_| (),
            1,
            &[
                "broker.id=2",
                "listeners=PLAINTEXT://10.99.0.12:9092",
                "zookeeper.connect=10.99.0.14:2181,10.99.0.15:2181,10.99.0.16:2181",
                "zookeeper.session.timeout.ms=18000",
                "default.replication.factor=3",
                "min.insync.replicas=2",
                "unclean.leader.election.enable=false",
                "auto.create.topics.enable=false",
            ],
        );
    }

    #[test]
    fn a_small_lab_can_still_place_its_replicas() {
        check(|o| o.brokers = 1, 0, &["default.replication.factor=1", "min.insync.replicas=1", "transaction.state.log.min.isr=1"]);
    }

    #[test]
    fn what_was_set_replaces_the_default_and_a_later_one_wins() {
        let set = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>();
        check(
            |o| o.settings = set(&[("min.insync.replicas", "1"), ("log.retention.ms", "-1"), ("min.insync.replicas", "3")]),
            0,
            &["min.insync.replicas=3", "log.retention.ms=-1"],
        );
        check(|o| o.settings = set(&[(SESSION_TIMEOUT, "9000")]), 0, &["zookeeper.session.timeout.ms=9000"]);
        check(|o| o.settings = set(&[("ssl.cipher.suites", r"a\b")]), 0, &[r"ssl.cipher.suites=a\\b"]);
    }

    #[test]
    fn nodes_of_kraft_have_roles_and_voters() {
        use crate::options::Kraft;
        let combined = |o: &mut LabOptions| (o.kraft, o.zookeepers, o.brokers) = (Some(Kraft::Combined(2)), 0, 2);
        check(
            combined,
            1,
            &[
                "node.id=2",
                "process.roles=broker,controller",
                "controller.quorum.voters=1@10.99.0.11:10093,2@10.99.0.12:10093",
                "listeners=PLAINTEXT://10.99.0.12:9092,CONTROLLER://10.99.0.12:10093",
                "min.insync.replicas=2",
            ],
        );
        let options = LabOptions { kraft: Some(Kraft::Separate(1)), zookeepers: 0, brokers: 1, ..LabOptions::default() };
        let state = crate::up::plan(&options).unwrap();
        let of = |kind| {
            let (host, daemon) = state.layout.daemons(kind)[0];
            render("a node", &broker_settings(&options, &state, host, daemon).unwrap())
        };
        let (broker, controller) = (of(DaemonKind::Kafka), of(DaemonKind::Controller));
        assert!(broker.contains("process.roles=broker\n") && broker.contains("listeners=PLAINTEXT://10.99.0.11:9092\n"), "{broker}");
        assert!(
            controller.contains("process.roles=controller\n") && controller.contains("listeners=CONTROLLER://10.99.0.12:9093\n"),
            "{controller}"
        );
        assert!(!(broker + &controller).contains("zookeeper"));
    }

    #[test]
    fn zookeepers_know_each_other_and_a_single_one_is_alone() {
        let options = LabOptions { hosts: Some(3), ..LabOptions::default() };
        let state = crate::up::plan(&options).unwrap();
        let (host, daemon) = state.layout.daemons(DaemonKind::Zookeeper)[0];
        let text = render("a ZooKeeper", &zookeeper_settings(&state, host, daemon).unwrap());
        assert!(text.contains("server.3=10.99.0.13:2888:3888\n"), "{text}");
        assert!(text.contains("clientPortAddress=10.99.0.11\n"), "{text}");
        let state = crate::up::plan(&LabOptions { brokers: 1, zookeepers: 1, ..LabOptions::default() }).unwrap();
        let (host, daemon) = state.layout.daemons(DaemonKind::Zookeeper)[0];
        assert!(!render("", &zookeeper_settings(&state, host, daemon).unwrap()).contains("server."));
    }
}
