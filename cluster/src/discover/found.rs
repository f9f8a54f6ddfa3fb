//! What a host said of the daemons on it, as entries of an inventory.

use std::collections::BTreeMap;

use crate::inventory::{DaemonEntry, DaemonKind, Find, ManagerKind};

const BROKER: &str = "kafka.Kafka";
const ZOOKEEPER: &str = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
const ZOOKEEPER_PORT: u16 = 2181;
const BROKER_PORT: u16 = 9092;

/// What was found on a host, and what is left to its owner to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// As the host calls itself.
    pub name: String,
    pub daemons: Vec<DaemonEntry>,
    /// A sentence each.
    pub notes: Vec<String>,
}

#[derive(Default)]
struct Process {
    pid: String,
    arguments: Vec<String>,
    unit: Option<String>,
    container: Option<String>,
    settings_file: String,
    settings: BTreeMap<String, String>,
    myid: Option<i32>,
    bin: Option<String>,
    is_unreadable: bool,
}

/// Reads what the host's script printed.
pub(super) fn parse(text: &str) -> Found {
    let mut found = Found::default();
    let mut processes: Vec<Process> = Vec::new();
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == "@host" {
            rest.clone_into(&mut found.name);
        } else if word == "@process" {
            processes.push(Process { pid: rest.to_owned(), ..Process::default() });
        } else if let Some(process) = processes.last_mut() {
            process.line(word, rest);
        }
    }
    for process in &processes {
        match process.entry() {
            Ok(entry) => {
                found.notes.extend(process.lacks(&entry));
                found.daemons.push(entry);
            }
            Err(why) => found.notes.push(format!("process {} is left out: {why}", process.pid)),
        }
    }
    found.daemons.sort_by_key(|daemon| (daemon.kind, daemon.id));
    found
}

impl Process {
    fn line(&mut self, word: &str, rest: &str) {
        match word {
            "@argument" => self.arguments.push(rest.to_owned()),
            // The innermost unit that is a service: `…/system.slice/kafka.service`.
            "@cgroup" => {
                self.unit = self.unit.take().or_else(|| rest.rsplit('/').find(|part| part.ends_with(".service")).map(str::to_owned));
            }
            "@container" => self.container = Some(rest.trim_start_matches('/').to_owned()).filter(|name| !name.is_empty()),
            "@settings" => rest.clone_into(&mut self.settings_file),
            "@setting" => {
                if let Some((key, value)) = rest.split_once('=') {
                    let known = self.settings.entry(key.trim().to_owned()).or_default();
                    // `broker.id=-1`: the one in meta.properties counts.
                    if known.is_empty() || known == "-1" {
                        value.trim().clone_into(known);
                    }
                }
            }
            "@myid" => self.myid = rest.trim().parse().ok(),
            "@bin" => self.bin = Some(rest.to_owned()),
            "@unreadable" => self.is_unreadable = true,
            _ => {}
        }
    }

    fn has(&self, argument: &str) -> bool {
        self.arguments.iter().any(|word| word == argument)
    }

    fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    fn kind(&self) -> Option<DaemonKind> {
        if self.has(ZOOKEEPER) {
            Some(DaemonKind::Zookeeper)
        } else if self.has(BROKER) {
            let is_controller = self.setting("process.roles").is_some_and(|roles| roles.trim() == "controller");
            Some(if is_controller { DaemonKind::Controller } else { DaemonKind::Kafka })
        } else {
            None
        }
    }

    fn entry(&self) -> Result<DaemonEntry, String> {
        let kind = self.kind().ok_or("it is neither a broker nor a ZooKeeper")?;
        if self.is_unreadable {
            return Err(format!(
                "{} cannot be read by the user who logs in (--ssh-user root, or --privilege sudo-sh, can)",
                self.settings_file
            ));
        }
        let id = match kind {
            // A server that stands alone needs none.
            DaemonKind::Zookeeper => self.myid.or(Some(1)),
            DaemonKind::Kafka | DaemonKind::Controller => {
                self.setting("node.id").or(self.setting("broker.id")).and_then(|text| text.parse().ok())
            }
        };
        let id = id.ok_or_else(|| format!("{} says no broker.id, and neither does its meta.properties", self.settings_file))?;
        let ports = self.ports(kind, id);
        let manager = match (&self.container, &self.unit) {
            (Some(_), _) => ManagerKind::Docker,
            (None, Some(_)) => ManagerKind::Systemd,
            (None, None) => ManagerKind::Scripts,
        };
        let is_by_scripts = manager == ManagerKind::Scripts;
        let [start, stop] = if is_by_scripts { self.commands(kind) } else { [String::new(), String::new()] };
        let main = if kind == DaemonKind::Zookeeper { ZOOKEEPER } else { BROKER };
        let written = self.arguments.iter().skip_while(|word| *word != main).nth(1).cloned().unwrap_or_default();
        Ok(DaemonEntry {
            kind,
            id,
            port: ports.clients,
            peer_ports: ports.peers,
            controller_port: ports.controller,
            manager,
            start,
            stop,
            unit: self.unit.clone().filter(|_| manager == ManagerKind::Systemd),
            container: self.container.clone(),
            find: if is_by_scripts { Find::Argv(vec![main.to_owned(), written]) } else { Find::default() },
            log_dir: self.log_dir().into(),
            disk: None,
            clock: None,
        })
    }

    fn log_dir(&self) -> String {
        let of = |name: &str| self.arguments.iter().find_map(|word| word.strip_prefix(name)).map(str::to_owned);
        of("-Dkafka.logs.dir=")
            .or_else(|| of("-Dzookeeper.log.dir="))
            .filter(|path| path.starts_with('/'))
            .unwrap_or_else(|| "/var/log".to_owned())
    }

    /// Those of Kafka's own distribution.
    fn commands(&self, kind: DaemonKind) -> [String; 2] {
        let Some(bin) = &self.bin else { return [String::new(), String::new()] };
        let name = if kind == DaemonKind::Zookeeper { "zookeeper" } else { "kafka" };
        [format!("{bin}/{name}-server-start.sh -daemon {}", self.settings_file), format!("{bin}/{name}-server-stop.sh")]
    }

    fn lacks(&self, entry: &DaemonEntry) -> Vec<String> {
        let mut notes = Vec::new();
        let label = entry.label();
        if entry.manager == ManagerKind::Scripts && entry.start.is_empty() {
            notes.push(format!("{label}: which command starts it, and which stops it, could not be told: fill in start and stop"));
        } else if entry.manager == ManagerKind::Scripts {
            notes.push(format!(
                "{label}: start and stop are guessed from where its jars are; stop ends every daemon of its kind on the host, if there are several"
            ));
        }
        if entry.manager == ManagerKind::Docker {
            notes.push(format!("{label}: it is a container; its address and ports are its own (docs/doors.md)"));
        }
        if entry.log_dir.as_os_str() == "/var/log" {
            notes.push(format!("{label}: where its daemon log is could not be told: log_dir is a guess"));
        }
        notes
    }

    fn ports(&self, kind: DaemonKind, id: i32) -> Ports {
        if kind == DaemonKind::Zookeeper {
            let clients = self.setting("clientPort").and_then(|text| text.parse().ok()).unwrap_or(ZOOKEEPER_PORT);
            // server.1=host:2888:3888[:observer][;2181]
            let server = self.setting(&format!("server.{id}")).unwrap_or_default();
            let words = server.split(';').next().unwrap_or_default().rsplit(':');
            let peers = words.filter_map(|word| word.parse().ok()).collect::<Vec<u16>>().into_iter().rev().take(2).collect();
            return Ports { clients, peers, controller: None };
        }
        let of_controllers: Vec<String> = self.setting("controller.listener.names").unwrap_or_default().split(',').map(named).collect();
        let mut clients = Vec::new();
        let mut controller = None;
        for listener in self.setting("listeners").unwrap_or_default().split(',') {
            let Some((name, address)) = listener.split_once("://") else { continue };
            let Some(port) = address.rsplit(':').next().and_then(|text| text.trim().parse().ok()) else { continue };
            if of_controllers.contains(&named(name)) {
                controller = Some(port);
            } else {
                clients.push(port);
            }
        }
        match kind {
            DaemonKind::Controller => Ports { clients: controller.unwrap_or(BROKER_PORT), peers: Vec::new(), controller: None },
            _ => {
                let mut clients = clients.into_iter();
                Ports { clients: clients.next().unwrap_or(BROKER_PORT), peers: clients.collect(), controller }
            }
        }
    }
}

struct Ports {
    clients: u16,
    peers: Vec<u16>,
    controller: Option<u16>,
}

fn named(name: &str) -> String {
    name.trim().to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPTS: &str = "@host kafka1\n@process 17\n@argument java\n@argument -Dkafka.logs.dir=/var/log/kafka\n@argument -cp\n\
        @argument /opt/kafka/libs/*\n@argument kafka.Kafka\n@argument /etc/kafka/server.properties\n@cgroup 0::/user.slice/session-1.scope\n\
        @settings /etc/kafka/server.properties\n@setting broker.id=-1\n@setting listeners=PLAINTEXT://10.0.0.1:9092,INSIDE://10.0.0.1:9093\n\
        @setting broker.id=4\n@bin /opt/kafka/bin\n";

    #[test]
    fn a_broker_that_scripts_started_has_its_commands_from_where_its_jars_are() {
        let found = parse(SCRIPTS);
        let [broker] = found.daemons.as_slice() else { panic!("{found:?}") };
        assert_eq!((found.name.as_str(), broker.kind, broker.id, broker.port), ("kafka1", DaemonKind::Kafka, 4, 9092));
        assert_eq!(broker.peer_ports, [9093]);
        assert_eq!(broker.start, "/opt/kafka/bin/kafka-server-start.sh -daemon /etc/kafka/server.properties");
        assert_eq!(broker.find, Find::Argv(vec![BROKER.to_owned(), "/etc/kafka/server.properties".to_owned()]));
        assert_eq!(broker.log_dir.as_os_str(), "/var/log/kafka");
        assert!(found.notes[0].contains("guessed"), "{:?}", found.notes);
    }

    #[test]
    fn a_daemon_of_systemd_has_its_unit_and_a_container_its_name() {
        let unit = parse(&SCRIPTS.replace("/user.slice/session-1.scope", "/system.slice/kafka.service"));
        assert_eq!((unit.daemons[0].manager, unit.daemons[0].unit.as_deref()), (ManagerKind::Systemd, Some("kafka.service")));
        assert!(unit.daemons[0].start.is_empty() && unit.daemons[0].find.is_unset() && unit.notes.is_empty());
        let container = parse(&format!("{SCRIPTS}@container /kafka1\n"));
        assert_eq!((container.daemons[0].manager, container.daemons[0].container.as_deref()), (ManagerKind::Docker, Some("kafka1")));
    }

    #[test]
    fn a_zookeeper_has_its_myid_and_the_ports_of_its_own_line() {
        let text = "@host zoo2\n@process 9\n@argument org.apache.zookeeper.server.quorum.QuorumPeerMain\n@argument zoo.cfg\n@settings /etc/zoo.cfg\n\
            @setting clientPort=2182\n@setting server.1=a:2888:3888\n@setting server.2=b:2889:3889;2182\n@myid 2\n";
        let found = parse(text);
        let zookeeper = &found.daemons[0];
        assert_eq!((zookeeper.kind, zookeeper.id, zookeeper.port), (DaemonKind::Zookeeper, 2, 2182));
        assert_eq!(zookeeper.peer_ports, [2889, 3889]);
        assert_eq!(zookeeper.find, Find::Argv(vec![ZOOKEEPER.to_owned(), "zoo.cfg".to_owned()]));
        assert!(found.notes.iter().any(|note| note.contains("fill in start and stop")), "{:?}", found.notes);
    }

    #[test]
    fn a_controller_of_kraft_is_no_broker_and_one_that_is_both_has_both_ports() {
        let of = |roles: &str, listeners: &str| {
            let text = format!(
                "@process 9\n@argument kafka.Kafka\n@argument s\n@settings /s\n@setting node.id=7\n@setting process.roles={roles}\n\
                 @setting controller.listener.names=CONTROLLER\n@setting listeners={listeners}\n"
            );
            let daemon = parse(&text).daemons.remove(0);
            (daemon.kind, daemon.port, daemon.controller_port)
        };
        assert_eq!(of("controller", "CONTROLLER://:9093"), (DaemonKind::Controller, 9093, None));
        assert_eq!(of("broker,controller", "PLAINTEXT://:9092,CONTROLLER://:9093"), (DaemonKind::Kafka, 9092, Some(9093)));
    }

    #[test]
    fn what_cannot_be_read_is_left_out_and_says_why() {
        let found = parse(
            "@process 9\n@argument kafka.Kafka\n@argument s\n@settings /s\n@unreadable /s\n@process 10\n@argument kafka.Kafka\n@settings /t\n",
        );
        assert!(found.daemons.is_empty());
        assert!(found.notes[0].contains("cannot be read") && found.notes[1].contains("no broker.id"), "{:?}", found.notes);
    }
}
