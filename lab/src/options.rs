//! What a lab is asked to be, and whether that can be had.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

use crate::LabError;
use crate::layout::{ADDRESSES_MAX, Layout};
use crate::security::{LabSecurity, SaslKind};
use crate::settings;

pub const DEFAULT_KAFKA_VERSION: &str = "3.9.1";
/// Kafka's own default since 2.5 (KIP-537).
pub const DEFAULT_ZOOKEEPER_SESSION_TIMEOUT_MS: u64 = 18_000;
/// ZooKeeper's clock; it grants sessions of 2 to 20 ticks and silently moves any other wish into that range.
/// Below `reserved.broker.max.id`, above which brokers would number themselves.
const FIRST_BROKER_ID_MAX: i32 = 500;
pub(crate) const TICK_TIME_MS: u64 = 2_000;

/// The options of `kchaos lab up`.
#[derive(Clone, Debug)]
pub struct LabOptions {
    /// The cluster's name in the inventory and in every host's opt-in file.
    pub name: String,
    pub brokers: usize,
    /// None of them with [`Self::kraft`].
    pub zookeepers: usize,
    /// Without ZooKeeper: who keeps the cluster's state.
    pub kraft: Option<Kraft>,
    /// Controllers beside the ZooKeepers, which wait for the cluster's migration to KRaft.
    pub waiting_controllers: usize,
    /// `None`: a host for each daemon (`kafka1`…, `zoo1`…), so that a host can be cut off without its neighbour.
    /// `Some(n)`: daemons dealt out round-robin to `host1` … `hostN`.
    pub hosts: Option<usize>,
    pub kafka_version: String,
    /// Broker settings on top of the defaults, in the order given; a later one wins.
    pub settings: Vec<(String, String)>,
    /// `None`: not set, so it is the version's own ([`broker_session_timeout_ms`]).
    pub zookeeper_session_timeout_ms: Option<u64>,
    pub disks: Disks,
    pub clock: Clock,
    pub firewall: Firewall,
    /// Who starts and stops the daemons on their hosts.
    pub manager: LabManager,
    /// Whom brokers let in, and how.
    pub security: LabSecurity,
    /// `broker.id` of the first broker.
    pub first_broker_id: i32,
    /// `broker.rack`, dealt to the brokers in turn; none by default.
    pub racks: Vec<String>,
    /// How this very executable is told to become a host's PID 1: the arguments that lead it to [`crate::host_init::run`].
    pub init_arguments: Vec<OsString>,
    /// The same for a process that serves a disk: what leads to [`crate::serve_disk`].
    pub disk_arguments: Vec<OsString>,
}

/// The controllers of a cluster without ZooKeeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "roles", content = "controllers")]
pub enum Kraft {
    /// Daemons and hosts of their own, so many.
    Separate(usize),
    /// So many of the brokers are controllers too.
    Combined(usize),
}

impl Kraft {
    pub(crate) fn controllers(self) -> usize {
        match self {
            Kraft::Separate(controllers) | Kraft::Combined(controllers) => controllers,
        }
    }
}

/// Where daemons keep their data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disks {
    /// In a directory of the machine.
    #[default]
    Directory,
    /// Each on an ext4 file system of its own, on a loop device: it can lose power, die and fill up.
    Loop,
    /// Each on a FUSE file system of ours: it can forget everything that was not synced, fail by kind and be slow.
    Fuse,
}

/// The clock that daemons see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    #[default]
    Machine,
    /// Each its own, by libfaketime: it can be wrong while the machine's is right.
    Faketime,
}

/// Rules that stand on the hosts before anybody breaks anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Firewall {
    #[default]
    None,
    /// Only SSH and the daemons' ports are admitted; all else is dropped.
    AdmitOnly,
}

impl Default for LabOptions {
    fn default() -> Self {
        Self {
            name: "lab".to_owned(),
            brokers: 3,
            zookeepers: 3,
            kraft: None,
            waiting_controllers: 0,
            hosts: None,
            kafka_version: DEFAULT_KAFKA_VERSION.to_owned(),
            settings: Vec::new(),
            zookeeper_session_timeout_ms: Some(DEFAULT_ZOOKEEPER_SESSION_TIMEOUT_MS),
            disks: Disks::Directory,
            clock: Clock::Machine,
            firewall: Firewall::None,
            manager: LabManager::Scripts,
            security: LabSecurity::default(),
            first_broker_id: 1,
            racks: Vec::new(),
            init_arguments: vec!["lab-init".into()],
            disk_arguments: vec!["lab-disk".into()],
        }
    }
}

/// What the hosts of a lab are like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabManager {
    /// Bare hosts: `kafka-server-start.sh -daemon`.
    #[default]
    Scripts,
    /// Hosts with Debian's systemd: `kafka.service` and `zookeeper.service`, `Restart=on-abnormal`, users of their own.
    Systemd,
    /// One host with a Docker engine, and a container for each daemon.
    Docker,
}

/// Parses the value of `--set`: `KEY=VALUE`, where the value may be empty and may hold further `=`.
pub fn parse_setting(text: &str) -> Result<(String, String), LabError> {
    let (key, value) =
        text.split_once('=').ok_or_else(|| LabError::Usage(format!("--set {text}: write it as KEY=VALUE, as in min.insync.replicas=1")))?;
    let (key, value) = (key.trim(), value.trim());
    let well_formed = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !well_formed {
        return Err(LabError::Usage(format!("--set {text}: {key:?} is not the name of a setting")));
    }
    if value.chars().any(char::is_control) {
        return Err(LabError::Usage(format!("--set {key}: a value is one line of text")));
    }
    Ok((key.to_owned(), value.to_owned()))
}

impl LabOptions {
    /// Checks everything that can be known without touching the machine.
    pub fn check(&self) -> Result<(), LabError> {
        let usage = |text: String| Err(LabError::Usage(text));
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !plain(&self.name) || self.name.len() > 64 {
            return usage(format!("lab name {:?}: letters, digits, '.', '_' and '-' only, 64 at most", self.name));
        }
        if self.brokers == 0 || (self.zookeepers == 0 && self.kraft.is_none()) {
            return usage("a lab has at least one broker and one ZooKeeper (or --kraft)".to_owned());
        }
        self.check_manager()?;
        if !(0..=FIRST_BROKER_ID_MAX).contains(&self.first_broker_id) {
            return usage(format!("--first-broker-id {}: between 0 and {FIRST_BROKER_ID_MAX}", self.first_broker_id));
        }
        if self.hosts == Some(0) {
            return usage("a lab has at least one host".to_owned());
        }
        let counts = [self.brokers, self.zookeepers, self.kraft.map_or(0, Kraft::controllers), self.waiting_controllers];
        if counts.into_iter().chain(self.hosts).any(|count| count > ADDRESSES_MAX) || self.daemons() > ADDRESSES_MAX {
            return usage(format!("a lab has room for {ADDRESSES_MAX} hosts"));
        }
        if self.hosts.is_some_and(|hosts| hosts > self.daemons()) {
            return usage(format!("{} hosts for {} daemons: some would be empty", self.hosts.unwrap_or(0), self.daemons()));
        }
        check_version(&self.kafka_version, self.kraft.is_some())?;
        self.check_security()?;
        self.check_kraft()?;
        self.check_migration()?;
        self.check_racks()?;
        for (key, value) in &self.settings {
            parse_setting(&format!("{key}={value}"))?;
            if settings::OWNED_BY_THE_LAB.contains(&key.as_str()) {
                return usage(format!("--set {key}: the lab itself must choose this one"));
            }
        }
        if self.kraft.is_some() { Ok(()) } else { self.check_session_timeout() }
    }

    /// What has a process of its own.
    pub(crate) fn daemons(&self) -> usize {
        let of_controllers = if let Some(Kraft::Separate(controllers)) = self.kraft { controllers } else { 0 };
        self.brokers + self.zookeepers + of_controllers + self.waiting_controllers
    }

    /// The version is in order by now.
    fn check_security(&self) -> Result<(), LabError> {
        let usage = |text: String| Err(LabError::Usage(text));
        let version = &self.kafka_version;
        let mut numbers = version.split('.').map_while(|part| part.parse::<u32>().ok());
        let release = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        if self.kraft.is_some() && self.security.is_of_zookeeper() {
            return usage("--zookeeper-sasl and --zookeeper-tls: a cluster of --kraft has no ZooKeeper: leave them out".to_owned());
        }
        if self.security.zookeeper_tls.is_some() && release < (2, 5) {
            return usage(format!(
                "--zookeeper-tls: Kafka {version} comes to ZooKeeper in the clear alone; from 2.5.0 on it knows TLS (KIP-515)"
            ));
        }
        let is_scram = matches!(self.security.sasl, Some(SaslKind::ScramSha256 | SaslKind::ScramSha512));
        if self.kraft.is_some() && is_scram && release < (3, 5) {
            return usage(format!(
                "--security scram-…: Kafka {version} has SCRAM with ZooKeeper alone; with --kraft from 3.5.0 on (KIP-900)"
            ));
        }
        Ok(())
    }

    fn check_racks(&self) -> Result<(), LabError> {
        let usage = |text: String| Err(LabError::Usage(text));
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if let Some(rack) = self.racks.iter().find(|rack| !plain(rack)) {
            return usage(format!("--racks: {rack:?} is no rack's name: letters, digits, '.', '_' and '-' only"));
        }
        if self.racks.len() > self.brokers {
            return usage(format!("--racks: {} racks for {} brokers: some would be empty", self.racks.len(), self.brokers));
        }
        if !self.racks.is_empty() && self.settings.iter().any(|(key, _)| key == "broker.rack") {
            return usage("--set broker.rack: --racks says it for each broker".to_owned());
        }
        // Containers are hosts of their own, whichever engine runs them.
        let torn = self.layout().hosts.into_iter().find(|host| self.manager != LabManager::Docker && host.is_torn());
        match torn {
            Some(host) => usage(format!(
                "--racks: brokers of several racks would be on {}: a host is in one rack; leave --hosts out, or change it",
                host.name
            )),
            None => Ok(()),
        }
    }

    fn check_migration(&self) -> Result<(), LabError> {
        let usage = |text: &str| Err(LabError::Usage(text.to_owned()));
        if self.waiting_controllers == 0 {
            return Ok(());
        }
        let mut numbers = self.kafka_version.split('.').map_while(|part| part.parse::<u32>().ok());
        if (numbers.next(), numbers.next()) < (Some(3), Some(6)) {
            return usage("--migration: brokers can migrate from Kafka 3.4 on, and are meant to from 3.6 on (KIP-866): use 3.6 to 3.9");
        }
        let is_plain = self.kraft.is_none() && self.manager == LabManager::Scripts && self.hosts.is_none();
        if !is_plain || self.security.is_on() || self.security.is_of_zookeeper() || self.disks != Disks::Directory {
            return usage(
                "--migration is for bare hosts, one for each daemon, without security: leave --kraft, --manager, --hosts, --disks and --security out",
            );
        }
        Ok(())
    }

    fn check_kraft(&self) -> Result<(), LabError> {
        let Some(kraft) = self.kraft else { return Ok(()) };
        let usage = |text: String| Err(LabError::Usage(text));
        if self.zookeepers > 0 {
            return usage(format!(
                "--kraft: such a cluster has no ZooKeeper, and {} are asked for: leave --zookeepers out",
                self.zookeepers
            ));
        }
        if kraft.controllers() == 0 {
            return usage("--controllers 0: a cluster without ZooKeeper has at least one controller".to_owned());
        }
        if matches!(kraft, Kraft::Combined(controllers) if controllers > self.brokers) {
            return usage(format!(
                "--controllers {}: with --kraft combined brokers are the controllers, and there are {} of them",
                kraft.controllers(),
                self.brokers
            ));
        }
        if let Some((key, _)) = self.settings.iter().find(|(key, _)| key.starts_with("zookeeper.")) {
            return usage(format!("--set {key}: a cluster of --kraft has no ZooKeeper"));
        }
        if self.manager == LabManager::Docker {
            return usage("--kraft is for --manager scripts and --manager systemd".to_owned());
        }
        Ok(())
    }

    /// What is made for bare hosts alone.
    fn check_manager(&self) -> Result<(), LabError> {
        let usage = |text: &str| Err(LabError::Usage(text.to_owned()));
        if self.security.has_secrets() && self.manager == LabManager::Docker {
            return usage(
                "--security, --acls, --zookeeper-sasl and --zookeeper-tls: with Docker, listeners are those of the Compose file: leave them out, or --manager docker",
            );
        }
        if self.hosts.is_some() && self.manager == LabManager::Docker {
            return usage("--hosts: with Docker there is one engine, and each container is a host of its own");
        }
        if self.firewall == Firewall::AdmitOnly && self.manager == LabManager::Docker {
            return usage("--firewall admit-only: the engine makes the rules of its host; leave it out, or choose another manager");
        }
        if self.manager == LabManager::Scripts {
            return Ok(());
        }
        if self.disks != Disks::Directory {
            return usage(
                "--disks loop and --disks fuse are for daemons that scripts start: leave --disks out, or bring the lab up with --manager scripts",
            );
        }
        if self.clock == Clock::Faketime {
            return usage(
                "--clock faketime is for daemons that scripts start: leave --clock out, or bring the lab up with --manager scripts",
            );
        }
        Ok(())
    }

    fn check_session_timeout(&self) -> Result<(), LabError> {
        let asked = self.session_timeout_asked()?;
        let (least, most) = (2 * TICK_TIME_MS, 20 * TICK_TIME_MS);
        if (least..=most).contains(&asked) {
            return Ok(());
        }
        Err(LabError::Usage(format!(
            "ZooKeeper session timeout {asked} ms: with ticks of {TICK_TIME_MS} ms ZooKeeper grants {least} to {most} ms and would silently use another"
        )))
    }

    /// The session timeout in force: `--set zookeeper.session.timeout.ms` wins over its own option.
    pub(crate) fn session_timeout_asked(&self) -> Result<u64, LabError> {
        match self.settings.iter().rev().find(|(key, _)| key == settings::SESSION_TIMEOUT) {
            None => Ok(self.zookeeper_session_timeout_ms.unwrap_or_else(|| broker_session_timeout_ms(&self.kafka_version))),
            Some((key, value)) => value.parse().map_err(|_| LabError::Usage(format!("--set {key}={value}: a number of milliseconds"))),
        }
    }

    pub(crate) fn layout(&self) -> Layout {
        match (self.manager, self.kraft) {
            (_, Some(Kraft::Separate(controllers))) => Layout::of_kraft(self.brokers, controllers, self.hosts),
            (_, Some(Kraft::Combined(controllers))) => Layout::of_combined(self.brokers, controllers, self.hosts),
            (LabManager::Scripts | LabManager::Systemd, None) => {
                Layout::new(self.brokers, self.zookeepers, self.hosts).with_waiting_controllers(self.waiting_controllers)
            }
            (LabManager::Docker, None) => Layout::of_containers(self.brokers, self.zookeepers),
        }
        .with_first_broker(self.first_broker_id)
        .with_racks(&self.racks)
    }
}

/// What a broker asks ZooKeeper for where no setting says it: 6 s before Kafka 2.5, 18 s from it (KIP-537).
fn broker_session_timeout_ms(version: &str) -> u64 {
    if version.starts_with("2.4.") { 6_000 } else { DEFAULT_ZOOKEEPER_SESSION_TIMEOUT_MS }
}

/// 2.4 is the first with Scala 2.13, 3.3 the first whose KRaft is meant for use (KIP-833), 3.9 the last with ZooKeeper.
fn check_version(version: &str, is_kraft: bool) -> Result<(), LabError> {
    let numbers: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
    let usage = |text: String| Err(LabError::Usage(text));
    match (numbers.as_deref(), is_kraft) {
        (Some([major, minor, _]), true) if (*major == 3 && *minor >= 3) || *major == 4 => Ok(()),
        (Some([2 | 3, _, _]), true) => usage(format!("Kafka {version}: the lab runs KRaft from 3.3.0 on; leave --kraft out")),
        (Some([major, minor, _]), false) if (*major == 2 && *minor >= 4) || *major == 3 => Ok(()),
        (Some([major, _, _]), false) if *major >= 4 => {
            usage(format!("Kafka {version} has no ZooKeeper: bring it up with --kraft separate or --kraft combined"))
        }
        _ => usage(format!("Kafka version {version:?}: three numbers, from 2.4.0 to 4.x, as in {DEFAULT_KAFKA_VERSION}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_timeout_that_nobody_set_is_the_versions_own() {
        let of = |version: &str| {
            let options = LabOptions { kafka_version: version.to_owned(), zookeeper_session_timeout_ms: None, ..LabOptions::default() };
            options.session_timeout_asked().unwrap()
        };
        assert_eq!((of("2.4.1"), of("2.5.0"), of("3.9.1")), (6_000, 18_000, 18_000));
    }

    fn check(change: impl FnOnce(&mut LabOptions), expect: Result<(), &str>) {
        let mut options = LabOptions::default();
        change(&mut options);
        match (options.check(), expect) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(part)) => {
                assert!(error.is_usage(), "{error:?}");
                assert!(error.to_string().contains(part), "{error} lacks {part:?}");
            }
            (got, expect) => panic!("got {got:?}, expected {expect:?}"),
        }
    }

    #[test]
    fn the_defaults_are_sound() {
        check(|_| (), Ok(()));
    }

    #[test]
    fn daemons_and_hosts_must_fit_each_other() {
        check(|o| o.brokers = 0, Err("at least one broker"));
        check(|o| o.zookeepers = 0, Err("one ZooKeeper"));
        check(|o| o.hosts = Some(0), Err("at least one host"));
        check(|o| o.hosts = Some(7), Err("some would be empty"));
        check(|o| o.brokers = 500, Err("room for"));
        check(|o| o.hosts = Some(2), Ok(()));
    }

    #[test]
    fn a_host_is_in_one_rack_and_no_rack_is_empty() {
        let racks = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        check(|o| o.racks = racks(&["a", "b", "c"]), Ok(()));
        check(|o| (o.racks, o.brokers) = (racks(&["a", "b"]), 5), Ok(()));
        check(|o| o.racks = racks(&["a", "b c"]), Err("is no rack's name"));
        check(|o| o.racks = racks(&["a", "b", "c", "d"]), Err("some would be empty"));
        check(|o| (o.racks, o.hosts) = (racks(&["a", "b", "c"]), Some(2)), Err("a host is in one rack"));
        check(|o| (o.racks, o.hosts) = (racks(&["a", "b", "c"]), Some(3)), Ok(()));
    }

    #[test]
    fn disks_and_clocks_of_their_own_are_for_daemons_that_scripts_start() {
        for manager in [LabManager::Systemd, LabManager::Docker] {
            for disks in [Disks::Loop, Disks::Fuse] {
                check(|o| (o.manager, o.disks) = (manager, disks), Err("--disks fuse are for daemons that scripts start"));
            }
            check(|o| (o.manager, o.clock) = (manager, Clock::Faketime), Err("--clock faketime is for daemons that scripts start"));
            check(|o| o.manager = manager, Ok(()));
        }
        check(|o| (o.manager, o.hosts) = (LabManager::Docker, Some(1)), Err("--hosts: with Docker"));
        check(|o| (o.disks, o.clock) = (Disks::Loop, Clock::Faketime), Ok(()));
    }

    #[test]
    fn a_firewall_is_for_hosts_without_an_engine() {
        for (manager, expect) in
            [(LabManager::Scripts, Ok(())), (LabManager::Systemd, Ok(())), (LabManager::Docker, Err("the engine makes the rules"))]
        {
            check(|o| (o.manager, o.firewall) = (manager, Firewall::AdmitOnly), expect);
        }
    }

    #[test]
    fn a_session_that_zookeeper_would_not_grant_is_refused() {
        check(|o| o.zookeeper_session_timeout_ms = Some(3_999), Err("grants 4000 to 40000"));
        check(|o| o.zookeeper_session_timeout_ms = Some(40_001), Err("grants 4000 to 40000"));
        check(|o| o.zookeeper_session_timeout_ms = Some(4_000), Ok(()));
        check(|o| o.settings = vec![("zookeeper.session.timeout.ms".into(), "1000".into())], Err("grants 4000"));
        check(|o| o.settings = vec![("zookeeper.session.timeout.ms".into(), "6 s".into())], Err("milliseconds"));
    }

    #[test]
    fn versions_without_zookeeper_or_without_our_scala_are_refused() {
        check(|o| o.kafka_version = "4.1.0".into(), Err("no ZooKeeper: bring it up with --kraft"));
        check(|o| o.kafka_version = "2.3.1".into(), Err("from 2.4.0"));
        check(|o| o.kafka_version = "../../etc".into(), Err("three numbers"));
        check(|o| o.kafka_version = "2.6.0".into(), Ok(()));
    }

    #[test]
    fn a_cluster_of_kraft_has_controllers_and_no_zookeeper() {
        let kraft = |kraft, version: &str| {
            let version = version.to_owned();
            move |o: &mut LabOptions| (o.kraft, o.zookeepers, o.kafka_version) = (Some(kraft), 0, version)
        };
        check(kraft(Kraft::Separate(3), "4.1.1"), Ok(()));
        check(kraft(Kraft::Combined(3), "3.9.1"), Ok(()));
        check(kraft(Kraft::Combined(4), "3.9.1"), Err("brokers are the controllers"));
        check(kraft(Kraft::Separate(0), "3.9.1"), Err("at least one controller"));
        check(kraft(Kraft::Separate(1), "2.8.2"), Err("KRaft from 3.3.0"));
        check(|o| o.kraft = Some(Kraft::Separate(1)), Err("leave --zookeepers out"));
        check(|o| (o.kraft, o.zookeepers, o.manager) = (Some(Kraft::Separate(1)), 0, LabManager::Docker), Err("--kraft is for"));
        let session = |o: &mut LabOptions| o.settings = vec![("zookeeper.session.timeout.ms".into(), "6000".into())];
        check(|o| (o.kraft, o.zookeepers, ()) = (Some(Kraft::Separate(1)), 0, session(o)), Err("no ZooKeeper"));
    }

    #[test]
    fn settings_that_the_lab_must_choose_are_refused() {
        check(|o| o.settings = vec![("broker.id".into(), "7".into())], Err("the lab itself"));
        check(|o| o.settings = vec![("zookeeper.connect".into(), "elsewhere:2181".into())], Err("the lab itself"));
        check(|o| o.settings = vec![("min.insync.replicas".into(), "1".into())], Ok(()));
    }

    #[test]
    fn names_that_would_not_be_plain_words_are_refused() {
        check(|o| o.name = "my lab".into(), Err("letters, digits"));
        check(|o| o.name = String::new(), Err("letters, digits"));
    }

    #[test]
    fn a_setting_is_a_key_and_one_line() {
        assert_eq!(parse_setting(" a.b = c=d ").unwrap(), ("a.b".to_owned(), "c=d".to_owned()));
        assert_eq!(parse_setting("a.b=").unwrap(), ("a.b".to_owned(), String::new()));
        for bad in ["a.b", "=c", "a b=c", "a.b=c\nd=e"] {
            assert!(parse_setting(bad).is_err(), "{bad:?}");
        }
    }
}
