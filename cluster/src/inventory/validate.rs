//! What a well-formed inventory may still get wrong. All of it is found at once, so that a person mends a file in one go.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::hash::Hash;
use std::path::Path;

use super::load::{Finding, Step};
use super::lookup::is_secret_property;
use super::{DaemonClock, DaemonEntry, DaemonKind, Disk, DiskFault, DiskKind, Environment, Find, Host, Inventory, ManagerKind, Privilege};
use crate::secret;

/// sshd's own limit on channels is 10 by default; hundreds are a typing error.
const CHANNELS_MAX: usize = 100;
/// A day: no fault is meant to last longer.
const FAULT_DURATION_MAX_S: u64 = 86_400;

struct Findings(Vec<Finding>);

/// What can be told from the text alone.
pub(super) fn contents(inventory: &Inventory) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    cluster_and_limits(inventory, &mut findings);
    ssh(inventory, &mut findings);
    kafka_and_zookeeper(inventory, &mut findings);
    for (index, host) in inventory.hosts.iter().enumerate() {
        check_host(index, host, &mut findings);
        check_disks_and_clocks(index, host, inventory.cluster.environment, &mut findings);
    }
    uniqueness(inventory, &mut findings);
    findings.0
}

/// What needs a look at this machine. The network namespace is not looked for: whoever enters it says so better.
pub(super) fn files(inventory: &Inventory) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    let key_hint = "name the private key that logs in on the hosts, or make one with ssh-keygen -t ed25519";
    let known_hosts_hint = "make it with ssh-keyscan ADDRESS, and compare the fingerprints with the hosts' own before you trust it";
    if inventory.hosts.iter().any(Host::is_reached_by_ssh) {
        findings.file(&["ssh", "key_file"], &inventory.ssh.key_file, key_hint);
        findings.file(&["ssh", "known_hosts_file"], &inventory.ssh.known_hosts_file, known_hosts_hint);
    }
    for (name, value) in &inventory.kafka.properties {
        let is_file = name.starts_with("ssl.") && name.ends_with(".location") && !secret::is_reference(value) && value != "probe";
        if is_file && !Path::new(value).is_dir() {
            findings.file(&["kafka", "properties", name], Path::new(value), "docs/security.md says what belongs there");
        }
    }
    if let Some(tls) = &inventory.zookeeper.tls {
        let hint = "docs/security.md says what belongs there";
        let all =
            [("ca_file", Some(&tls.ca_file)), ("certificate_file", tls.certificate_file.as_ref()), ("key_file", tls.key_file.as_ref())];
        for (key, path) in all {
            path.into_iter().for_each(|path| findings.file(&["zookeeper", "tls", key], path, hint));
        }
    }
    for (index, host) in inventory.hosts.iter().enumerate() {
        if let Some(path) = &host.ssh.key_file {
            let key = in_host(index, &["ssh", "key_file"]);
            findings.file_at(key, path, key_hint);
        }
    }
    findings.0
}

fn cluster_and_limits(inventory: &Inventory, findings: &mut Findings) {
    let cluster = &inventory.cluster;
    findings.name(keys(&["cluster", "name"]), &cluster.name);
    findings.require(!cluster.expect_cluster_id.trim().is_empty(), &["cluster", "expect_cluster_id"], || {
        "is empty: read it from ZooKeeper's /cluster/id, and write it here".to_owned()
    });
    let limits = &inventory.limits;
    let host_count = inventory.hosts.len();
    findings.require(limits.hosts_down_max >= 1, &["limits", "hosts_down_max"], || {
        "is 0: no fault could ever be injected; 1 is the least".to_owned()
    });
    findings.require(host_count <= 1 || limits.hosts_down_max < host_count, &["limits", "hosts_down_max"], || {
        format!("is {}, but there are only {host_count} hosts: at least one must stay up", limits.hosts_down_max)
    });
    findings.require((1..=FAULT_DURATION_MAX_S).contains(&limits.fault_duration_max_s), &["limits", "fault_duration_max_s"], || {
        format!("is {}: it must be between 1 and {FAULT_DURATION_MAX_S}", limits.fault_duration_max_s)
    });
    findings
        .require(limits.recovery_timeout_s >= 1, &["limits", "recovery_timeout_s"], || "is 0: a cluster needs time to recover".to_owned());
}

fn ssh(inventory: &Inventory, findings: &mut Findings) {
    let ssh = &inventory.ssh;
    let is_used = inventory.hosts.iter().any(Host::is_reached_by_ssh);
    findings.require(!is_used || !ssh.user.trim().is_empty(), &["ssh", "user"], || {
        "is missing or empty: the user who logs in on the hosts".to_owned()
    });
    findings.require(ssh.port != 0, &["ssh", "port"], || "is 0: a port is between 1 and 65535".to_owned());
    let timeouts = [("connect_timeout_ms", ssh.connect_timeout_ms, 100), ("command_timeout_ms", ssh.command_timeout_ms, 1_000)];
    for (key, value, least) in timeouts {
        findings.require(value >= least, &["ssh", key], || format!("is {value}: it must be {least} or more"));
    }
    findings.require((1..=CHANNELS_MAX).contains(&ssh.channels_max), &["ssh", "channels_max"], || {
        format!("is {}: it must be between 1 and {CHANNELS_MAX}, and below sshd's MaxSessions (10 by default)", ssh.channels_max)
    });
    findings.require(!ssh.sudo || ssh.privilege() == Privilege::SudoSh, &["ssh", "privilege"], || {
        "is not what ssh.sudo = true says: leave ssh.sudo out".to_owned()
    });
    if ssh.privilege() == Privilege::Helper {
        for (index, host) in inventory.hosts.iter().enumerate().filter(|(_, host)| host.container().is_some()) {
            findings.require_at(false, in_host(index, &["name"]), || {
                format!(
                    "\"{}\" is a container, and whoever drives an engine is root there: ssh.privilege = \"helper\" is for hosts",
                    host.name
                )
            });
        }
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        findings.require(is_plain(&ssh.user) && ssh.user != "root", &["ssh", "user"], || {
            format!("is \"{}\": with ssh.privilege = \"helper\" it is a user other than root, by a plain name", ssh.user)
        });
    }
    if let Some(reference) = &ssh.key_passphrase {
        findings.require(secret::is_reference(reference), &["ssh", "key_passphrase"], || BY_REFERENCE.to_owned());
    }
}

const BY_REFERENCE: &str = "a secret stands here by reference only: write env:NAME or file:PATH";

fn kafka_and_zookeeper(inventory: &Inventory, findings: &mut Findings) {
    let is_kraft = inventory.is_kraft();
    for (section, key, endpoints, is_needed) in
        [("kafka", "bootstrap", &inventory.kafka.bootstrap, true), ("zookeeper", "connect", &inventory.zookeeper.connect, !is_kraft)]
    {
        findings.require(!is_needed || !endpoints.is_empty(), &[section, key], || {
            let hint = if section == "zookeeper" {
                " (a cluster of KRaft has controllers instead: kind = \"controller\", or controller_port of a broker)"
            } else {
                ""
            };
            format!("is empty: give at least one host:port{hint}")
        });
        for (index, endpoint) in endpoints.iter().enumerate() {
            let path = [keys(&[section, key]), vec![Step::Index(index)]].concat();
            findings.require_at(is_endpoint(endpoint), path, || format!("\"{endpoint}\" is no host:port"));
        }
    }
    for (name, value) in &inventory.kafka.properties {
        let in_order = !is_secret_property(name) || secret::is_reference(value);
        findings.require(in_order, &["kafka", "properties", name], || BY_REFERENCE.to_owned());
        let ours = ["bootstrap.servers", "metadata.broker.list"].contains(&name.as_str());
        findings.require(!ours, &["kafka", "properties", name], || "the brokers stand in kafka.bootstrap".to_owned());
    }
    if let Some(command) = &inventory.kafka.replace_version {
        findings.require(command.contains("{version}"), &["kafka", "replace_version"], || {
            "lacks {version}, which stands for the version that a plan asks for: \"/opt/bin/install-kafka {version}\"".to_owned()
        });
    }
    let zookeeper = &inventory.zookeeper;
    let chroot = &zookeeper.chroot;
    let chroot_in_order = chroot.is_empty() || (chroot.starts_with('/') && !chroot.ends_with('/') && !chroot.contains("//"));
    findings
        .require(chroot_in_order, &["zookeeper", "chroot"], || format!("\"{chroot}\" must be empty, or begin with / and not end with one"));
    findings.require(zookeeper.session_timeout_ms >= 1_000, &["zookeeper", "session_timeout_ms"], || {
        format!("is {}: it must be 1000 or more", zookeeper.session_timeout_ms)
    });
    findings.require(zookeeper.user.is_some() == zookeeper.password.is_some(), &["zookeeper", "user"], || {
        "user and password belong together".to_owned()
    });
    if let Some(reference) = &zookeeper.password {
        findings.require(secret::is_reference(reference), &["zookeeper", "password"], || BY_REFERENCE.to_owned());
    }
    if let Some(tls) = &zookeeper.tls {
        findings.require(tls.certificate_file.is_some() == tls.key_file.is_some(), &["zookeeper", "tls"], || {
            "certificate_file and key_file belong together".to_owned()
        });
    }
    let has = |kind| inventory.daemons_of(kind).next().is_some();
    let controllers = inventory.controllers().count();
    findings.require(has(DaemonKind::Kafka), &["host"], || {
        "no host has a broker (kind = \"kafka\"): add [[host.daemon]] to the hosts that run one".to_owned()
    });
    findings.require(has(DaemonKind::Zookeeper) || controllers > 0, &["host"], || {
        "no host has a ZooKeeper (kind = \"zookeeper\"), nor a controller of KRaft (kind = \"controller\", or controller_port of a broker that is \
         one too): add [[host.daemon]] to the hosts that run one"
            .to_owned()
    });
    let is_combined = inventory.controllers().any(|(_, daemon, _)| daemon.kind == DaemonKind::Kafka);
    findings.require(!(inventory.is_migrating() && is_combined), &["host"], || {
        "there are ZooKeepers, and brokers with controller_port: on the way from ZooKeeper to KRaft controllers are daemons of their own \
         (kind = \"controller\"; KIP-866)"
            .to_owned()
    });
    findings.require(!is_kraft || zookeeper.connect.is_empty(), &["zookeeper", "connect"], || {
        "is not for a cluster of KRaft, which has no ZooKeeper: leave [zookeeper] out".to_owned()
    });
}

fn check_host(index: usize, host: &Host, findings: &mut Findings) {
    findings.name(in_host(index, &["name"]), &host.name);
    findings.require_at(is_address(&host.address), in_host(index, &["address"]), || not_an_address(&host.address));
    if let Some(address) = &host.ssh.address {
        findings.require_at(is_address(address), in_host(index, &["ssh", "address"]), || not_an_address(address));
    }
    findings.require_at(host.ssh.port != Some(0), in_host(index, &["ssh", "port"]), || "is 0: a port is between 1 and 65535".to_owned());
    findings.require_at(host.opt_in_file.is_absolute(), in_host(index, &["opt_in_file"]), || not_absolute(&host.opt_in_file));
    let has_rack = host.rack.as_ref().is_none_or(|rack| !rack.trim().is_empty());
    findings.require_at(has_rack, in_host(index, &["rack"]), || "is empty: leave it out, or write its brokers' broker.rack".to_owned());
    let containers: HashSet<Option<&str>> = host.daemons.iter().map(|daemon| daemon.container.as_deref()).collect();
    findings.require_at(containers.len() <= 1, in_host(index, &["daemon"]), || {
        "has daemons in a container and others that are not in it: each container is a host of its own".to_owned()
    });
    if let Some(address) = &host.docker_host {
        findings.require_at(host.container().is_some(), in_host(index, &["docker_host"]), || {
            "is for hosts whose daemons have manager = \"docker\"".to_owned()
        });
        let is_local = address.strip_prefix("unix://").is_some_and(|path| path.starts_with('/') && !path.contains(['\0', '\n']));
        findings.require_at(is_local, in_host(index, &["docker_host"]), || {
            format!("\"{}\" must be unix:///PATH: an engine elsewhere is reached by SSH to its host", address.escape_default())
        });
    }
    for (daemon_index, daemon) in host.daemons.iter().enumerate() {
        check_daemon(|key| in_daemon(index, daemon_index, key), daemon, findings);
    }
}

fn check_daemon(key: impl Fn(&[&str]) -> Vec<Step>, daemon: &DaemonEntry, findings: &mut Findings) {
    let ids = match daemon.kind {
        DaemonKind::Kafka | DaemonKind::Controller => 0..=i32::MAX,
        DaemonKind::Zookeeper => 1..=255,
    };
    findings.require_at(ids.contains(&daemon.id), key(&["id"]), || match daemon.kind {
        DaemonKind::Kafka => format!("is {}: a broker.id is 0 or more", daemon.id),
        DaemonKind::Controller => format!("is {}: a node.id is 0 or more", daemon.id),
        DaemonKind::Zookeeper => format!("is {}: a myid is between 1 and 255", daemon.id),
    });
    findings.require_at(daemon.port != 0, key(&["port"]), || "is 0: a port is between 1 and 65535".to_owned());
    findings.require_at(!daemon.peer_ports.contains(&0), key(&["peer_ports"]), || "holds 0: a port is between 1 and 65535".to_owned());
    findings.require_at(daemon.controller_port != Some(0), key(&["controller_port"]), || "is 0: a port is between 1 and 65535".to_owned());
    findings.require_at(daemon.controller_port.is_none() || daemon.kind == DaemonKind::Kafka, key(&["controller_port"]), || {
        "is for a broker that is a controller too; of any other daemon the port is port".to_owned()
    });
    manager(&key, daemon, findings);
    findings.require_at(daemon.log_dir.is_absolute(), key(&["log_dir"]), || not_absolute(&daemon.log_dir));
    let contained = daemon.manager == ManagerKind::Docker && !daemon.find.is_unset();
    findings.require_at(!contained, key(&["find"]), || "is not for containers: the daemon is the container's first process".to_owned());
    let message = match &daemon.find {
        Find::Argv(words) if words.is_empty() && daemon.manager == ManagerKind::Scripts => {
            "is empty: give the arguments that only this daemon has, its main class and its settings file"
        }
        Find::Argv(words) if words.iter().any(|word| word.is_empty() || word.contains(['\0', '\n'])) => {
            "holds an empty argument, or one with a NUL or a line break"
        }
        Find::PidFile(path) if !path.is_absolute() => "must be an absolute path on the host",
        Find::Port(0) => "is 0: a port is between 1 and 65535",
        _ => return,
    };
    findings.require_at(false, key(&["find"]), || message.to_owned());
}

/// What belongs to a lab alone is refused elsewhere, by whoever reads the file first.
fn check_disks_and_clocks(index: usize, host: &Host, environment: Environment, findings: &mut Findings) {
    if host.clock.is_some() {
        let key = || in_host(index, &["clock"]);
        findings.require_at(environment != Environment::Lab, key(), || {
            "the hosts of a lab share this machine's clock, which is never set: leave [host.clock] out, and give its daemons clocks of their own \
             (kchaos lab up --clock faketime)"
                .to_owned()
        });
        findings.require_at(host.container().is_none(), key(), || {
            "a container has the clock of its engine's host, and of everything else there: leave [host.clock] out".to_owned()
        });
    }
    for (daemon_index, daemon) in host.daemons.iter().enumerate() {
        let by_scripts = daemon.manager == ManagerKind::Scripts;
        if let Some(disk) = &daemon.disk {
            findings.require_at(by_scripts || disk.kind == DiskKind::Directory, in_daemon(index, daemon_index, &["disk", "kind"]), || {
                "a loop disk, and one of FUSE, is for manager = \"scripts\" alone: another manager would start the daemon while its disk is gone".to_owned()
            });
            check_disk(|key| in_daemon(index, daemon_index, &[&["disk"], key].concat()), disk, environment, findings);
        }
        if let Some(DaemonClock { file, .. }) = &daemon.clock {
            let key = |key| in_daemon(index, daemon_index, &["clock", key]);
            findings.require_at(file.is_absolute(), key("file"), || not_absolute(file));
            findings.require_at(by_scripts, key("kind"), || {
                "faketime is for manager = \"scripts\" alone: leave [host.daemon.clock] out".to_owned()
            });
            findings.require_at(environment == Environment::Lab, key("kind"), || {
                "faketime is for daemons of a lab, which starts them under it: leave [host.daemon.clock] out".to_owned()
            });
        }
    }
}

fn check_disk(key: impl Fn(&[&str]) -> Vec<Step>, disk: &Disk, environment: Environment, findings: &mut Findings) {
    let has_name = disk.data_dir.is_absolute() && disk.data_dir.file_name().is_some();
    findings.require_at(has_name, key(&["data_dir"]), || {
        format!("\"{}\" must be an absolute path on the host, and not its root", disk.data_dir.display())
    });
    let of_loop = [
        ("device", disk.device.as_ref().map(|path| path.is_absolute())),
        ("backing_file", disk.backing_file.as_ref().map(|path| path.is_absolute())),
        ("mark", disk.mark.as_ref().map(|mark| !mark.trim().is_empty() && !mark.contains(['\n', '\0']))),
    ];
    match disk.kind {
        DiskKind::Loop => {
            findings.require_at(environment == Environment::Lab, key(&["kind"]), || {
                "a loop disk is a lab's, and may lose power: elsewhere write kind = \"directory\"".to_owned()
            });
            for (name, in_order) in of_loop {
                findings.require_at(in_order == Some(true), key(&[name]), || {
                    format!("a loop disk has a {name} (an absolute path, or a mark of one line); `kchaos lab up --disks loop` writes it")
                });
            }
        }
        DiskKind::Fuse => {
            findings.require_at(environment == Environment::Lab, key(&["kind"]), || {
                "a FUSE disk is a lab's, and may lose power: elsewhere write kind = \"directory\"".to_owned()
            });
            let [device, file, (_, mark)] = of_loop;
            findings.require_at(mark == Some(true), key(&["mark"]), || {
                "a FUSE disk has a mark of one line; `kchaos lab up --disks fuse` writes it".to_owned()
            });
            for (name, given) in [device, file] {
                findings.require_at(given.is_none(), key(&[name]), || format!("{name} is of a loop disk, and this is a FUSE disk"));
            }
        }
        DiskKind::Directory => {
            for (name, given) in of_loop {
                findings.require_at(given.is_none(), key(&[name]), || format!("{name} is of a loop disk, and this is a directory"));
            }
            for fault in [DiskFault::PowerLoss, DiskFault::DeadDisk, DiskFault::SlowDisk, DiskFault::IoError] {
                findings.require_at(!disk.allow.contains(&fault), key(&["allow"]), || {
                    format!("{} cannot be allowed of a directory: it would hit the host's own file system", fault.name())
                });
            }
        }
    }
}

/// Each manager has its own keys, and those of another would be ignored in silence.
fn manager(key: &impl Fn(&[&str]) -> Vec<Step>, daemon: &DaemonEntry, findings: &mut Findings) {
    let by_scripts = daemon.manager == ManagerKind::Scripts;
    for (name, command) in [("start", &daemon.start), ("stop", &daemon.stop)] {
        findings
            .require_at(!by_scripts || !command.trim().is_empty(), key(&[name]), || format!("is empty: the command that would {name} it"));
        findings.require_at(by_scripts || command.is_empty(), key(&[name]), || "is for manager = \"scripts\" alone".to_owned());
        findings.require_at(!command.contains('\0'), key(&[name]), || "holds a NUL".to_owned());
    }
    let keys = [
        ("unit", &daemon.unit, ManagerKind::Systemd, "systemd", "the unit's whole name, as in \"kafka.service\""),
        ("container", &daemon.container, ManagerKind::Docker, "docker", "the container's name, as in \"kafka1\""),
    ];
    for (name, value, kind, manager, what) in keys {
        match value {
            None => {
                findings.require_at(daemon.manager != kind, key(&["manager"]), || format!("is \"{manager}\": {name} is missing, {what}"));
            }
            Some(value) => {
                let plain =
                    |c: char| c.is_ascii_alphanumeric() || "._-".contains(c) || (kind == ManagerKind::Systemd && ":@\\".contains(c));
                let whole = kind != ManagerKind::Systemd || value.strip_suffix(".service").is_some_and(|stem| !stem.is_empty());
                let in_order = !value.is_empty() && !value.starts_with(['.', '-']) && value.chars().all(plain) && whole;
                findings.require_at(in_order, key(&[name]), || format!("\"{}\" is not {what}", value.escape_default()));
                findings.require_at(daemon.manager == kind, key(&[name]), || format!("is for manager = \"{manager}\" alone"));
            }
        }
    }
}

fn uniqueness(inventory: &Inventory, findings: &mut Findings) {
    findings.unique(inventory.hosts.iter().enumerate().map(|(index, host)| {
        let key = in_host(index, &["name"]);
        (key, host.name.as_str(), host.name.clone())
    }));
    // Containers of one engine share the way to it.
    let by_themselves = inventory.hosts.iter().enumerate().filter(|(_, host)| host.container().is_none());
    findings.unique(by_themselves.map(|(index, host)| {
        let way = (host.ssh_address().to_ascii_lowercase(), host.ssh_port(inventory));
        let text = format!("the way to a host by SSH, {} port {}", way.0, way.1);
        (in_host(index, &["address"]), way, text)
    }));
    let daemons: Vec<(usize, usize, &DaemonEntry)> = inventory
        .hosts
        .iter()
        .enumerate()
        .flat_map(|(index, host)| host.daemons.iter().enumerate().map(move |(daemon_index, daemon)| (index, daemon_index, daemon)))
        .collect();
    findings.unique(daemons.iter().map(|(index, daemon_index, daemon)| {
        let key = in_daemon(*index, *daemon_index, &["id"]);
        (key, (daemon.kind, daemon.id), daemon.label())
    }));
    findings.unique(daemons.iter().map(|(index, daemon_index, daemon)| {
        let text = format!("port {} on host {}", daemon.port, inventory.hosts[*index].name);
        (in_daemon(*index, *daemon_index, &["port"]), (*index, daemon.port), text)
    }));
}

impl Findings {
    fn require(&mut self, holds: bool, key: &[&str], message: impl FnOnce() -> String) {
        self.require_at(holds, keys(key), message);
    }

    fn require_at(&mut self, holds: bool, key: Vec<Step>, message: impl FnOnce() -> String) {
        if !holds {
            self.0.push(Finding { key, message: message() });
        }
    }

    /// Names end up in file names, in chains' names and in scripts.
    fn name(&mut self, key: Vec<Step>, name: &str) {
        let in_order = !name.is_empty()
            && name.len() <= 64
            && !name.starts_with(['.', '-'])
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        self.require_at(in_order, key, || {
            format!(
                "\"{}\": a name is 1 to 64 letters, digits, dots, underscores and hyphens, and begins with none of . and -",
                name.escape_default()
            )
        });
    }

    fn file(&mut self, key: &[&str], path: &Path, hint: &str) {
        self.file_at(keys(key), path, hint);
    }

    fn file_at(&mut self, key: Vec<Step>, path: &Path, hint: &str) {
        if let Err(error) = std::fs::File::open(path) {
            self.require_at(false, key, || format!("{}: {error}; {hint}", path.display()));
        }
    }

    fn unique<T: Eq + Hash>(&mut self, entries: impl Iterator<Item = (Vec<Step>, T, impl Display)>) {
        let mut seen = HashMap::new();
        for (key, value, text) in entries {
            if seen.insert(value, ()).is_some() {
                self.require_at(false, key, || format!("{text} is there twice"));
            }
        }
    }
}

fn keys(names: &[&str]) -> Vec<Step> {
    names.iter().map(|name| Step::Key((*name).to_owned())).collect()
}

fn in_host(index: usize, names: &[&str]) -> Vec<Step> {
    [keys(&["host"]), vec![Step::Index(index)], keys(names)].concat()
}

fn in_daemon(index: usize, daemon_index: usize, names: &[&str]) -> Vec<Step> {
    [in_host(index, &["daemon"]), vec![Step::Index(daemon_index)], keys(names)].concat()
}

/// An IP address or a host's name; whether it exists is DNS' to say.
fn is_address(text: &str) -> bool {
    let is_name = text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) && !text.starts_with(['.', '-']);
    !text.is_empty() && (is_name || text.parse::<std::net::IpAddr>().is_ok())
}

/// `host:port` or `[v6]:port`.
fn is_endpoint(text: &str) -> bool {
    let Some((address, port)) = text.rsplit_once(':') else { return false };
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address_in_order = match bare {
        Some(bare) => bare.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_address(address) && !address.contains(':'),
    };
    address_in_order && port.parse::<u16>().is_ok_and(|port| port != 0)
}

fn not_an_address(text: &str) -> String {
    format!("\"{}\" is no IP address and no host name (ports stand apart, without brackets)", text.escape_default())
}

fn not_absolute(path: &Path) -> String {
    format!("\"{}\" is a path on the host, and must begin with /", path.display())
}
