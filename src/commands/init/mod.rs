//! `kchaos init`: a first inventory to fill in, with a word on each setting, and what to do next.
//!
//! Why not `inventory discover` alone: it needs a login, and the settings that it leaves at their defaults are not seen. Here all of them are.

use anyhow::{Context, anyhow};
use kchaos_cluster::inventory::DaemonKind::{self, Controller, Kafka, Zookeeper};

use super::discover;
use crate::cli::{InitArgs, InitManager};
use crate::exit::{self, Failure};
use crate::store::write_whole;

const HEAD: &str = include_str!("head.toml");
const ZOOKEEPER: &str = include_str!("zookeeper.toml");
const FIRST_HOST: &str = include_str!("first_host.toml");
/// As many brokers and as many ZooKeepers or controllers.
const HOSTS: i32 = 3;

pub(super) fn run(args: &InitArgs) -> Result<u8, Failure> {
    if !args.force && args.file.exists() {
        let path = args.file.display();
        return Err(Failure::usage(anyhow!("{path}: it is there, and is not overwritten (--force replaces it; or name another file)")));
    }
    let text = if args.from.is_empty() { template(args.manager, args.kraft) } else { discover::text_from(&args.from)? };
    write_whole(&args.file, text.as_bytes()).context("write the inventory")?;
    crate::say_raw!("{}", next_steps(&args.file.display().to_string(), !args.from.is_empty()));
    Ok(exit::VALID)
}

fn next_steps(file: &str, is_asked: bool) -> String {
    let flag = if file == "kchaos.toml" { String::new() } else { format!(" --inventory {file}") };
    let fill_in = if is_asked {
        "[ssh], and each host's daemons (with a login `kchaos inventory discover` finds them)"
    } else {
        "cluster.expect_cluster_id, [ssh], the brokers, and each host's daemons"
    };
    format!(
        "{file} is written. Next:\n\
         1. fill in {fill_in}\n\
         2. ssh-keyscan ADDRESS… >known_hosts, and compare the fingerprints\n\
         3. kchaos inventory check{flag}      every host reached, every daemon found, or what is wrong with it\n\
         4. on every host its administrator writes the cluster's name into /etc/kchaos/allow: that is the consent\n\
         5. kchaos doctor{flag}               is all ready for a run; writes nothing anywhere\n\
         6. kchaos test{flag} --nemesis none --time-limit 30s\n\
         docs/staging.md goes on from there\n"
    )
}

/// Every setting with a word on it; those that may be left out are comments.
fn template(manager: InitManager, is_kraft: bool) -> String {
    let id = if is_kraft {
        "It stands in meta.properties of a broker's log.dirs, as cluster.id."
    } else {
        "ZooKeeper has it: zookeeper-shell.sh zoo1.example:2181 get /cluster/id"
    };
    let mut text = HEAD.replace("@ID@", id);
    if !is_kraft {
        text.push_str(ZOOKEEPER);
    }
    for number in 1..=HOSTS {
        text.push_str(&host("kafka", number, manager));
        text.push_str(&daemon(Kafka, number, manager, number == 1));
    }
    let (kind, name, first_id) = if is_kraft { (Controller, "controller", 101) } else { (Zookeeper, "zoo", 1) };
    for number in 1..=HOSTS {
        text.push_str(&host(name, number, manager));
        text.push_str(&daemon(kind, first_id + number - 1, manager, number == 1));
    }
    text
}

fn host(name: &str, number: i32, manager: InitManager) -> String {
    if (name, number) != ("kafka", 1) {
        return format!("\n[[host]]\nname = \"{name}{number}\"\naddress = \"{name}{number}.example\"\n");
    }
    let engine = match manager {
        InitManager::Docker => {
            "# Each container is a host of its own (docs/doors.md). An engine on this machine needs no SSH:\n\
             #docker_host = \"unix:///run/docker.sock\""
        }
        InitManager::Scripts | InitManager::Systemd => {
            "# The owner's consent to set the clock of the whole host. Without it nobody does (docs/faults.md).\n\
             #clock = { allow = [\"bump\", \"skew\", \"strobe\"] }"
        }
    };
    FIRST_HOST.replace("@ENGINE@", engine)
}

/// The first of each kind has the words, the others are as short as can be.
fn daemon(kind: DaemonKind, id: i32, manager: InitManager, is_first: bool) -> String {
    let name = kind.name();
    let (port, peers, id_is) = match kind {
        Kafka => (9092, "", "broker.id, or node.id"),
        Zookeeper => (2181, "2888, 3888", "myid"),
        Controller => (9093, "", "node.id"),
    };
    let word = |text: &str| if is_first { format!("# {text}\n") } else { String::new() };
    let mut text = format!("\n[[host.daemon]]\nkind = \"{name}\"\n");
    text.push_str(&word(&format!("Its {id_is}.")));
    text.push_str(&format!("id = {id}\n"));
    text.push_str(&word("Where clients reach it on this host."));
    text.push_str(&format!("port = {port}\n"));
    match (kind, peers) {
        (_, peers) if !peers.is_empty() => {
            text.push_str(&word("Its quorum and election ports: a cut knows only what stands here."));
            text.push_str(&format!("peer_ports = [{peers}]\n"));
        }
        (Kafka, _) if is_first => {
            text.push_str(
                "# Its other listeners, above all that of other brokers: a cut knows only what stands here.\n#peer_ports = [9091]\n",
            );
            text.push_str("# Where it is a controller of KRaft too (process.roles=broker,controller).\n#controller_port = 9093\n");
        }
        _ => {}
    }
    text.push_str(&looked_after(kind, id, manager, is_first));
    text.push_str(&word("Its daemon logs, which are fetched at the end of a run."));
    let log_name = if kind == Zookeeper { "zookeeper" } else { "kafka" };
    text.push_str(&format!("log_dir = \"/var/log/{log_name}\"\n"));
    text
}

/// Who starts it, and how it is told from all other processes.
fn looked_after(kind: DaemonKind, id: i32, manager: InitManager, is_first: bool) -> String {
    let (home, script, main, settings) = match kind {
        Kafka => ("/opt/kafka", "kafka-server", "kafka.Kafka", "/etc/kafka/server.properties"),
        Controller => ("/opt/kafka", "kafka-server", "kafka.Kafka", "/etc/kafka/controller.properties"),
        Zookeeper => ("/opt/zookeeper", "zkServer", "org.apache.zookeeper.server.quorum.QuorumPeerMain", "/etc/zookeeper/zoo.cfg"),
    };
    match manager {
        InitManager::Systemd => {
            let unit = if kind == Zookeeper { "zookeeper" } else { "kafka" };
            format!("manager = \"systemd\"\nunit = \"{unit}.service\"\n")
        }
        InitManager::Docker => {
            let container = match kind {
                Kafka => format!("kafka{id}"),
                Zookeeper => format!("zoo{id}"),
                Controller => format!("controller{}", id - 100),
            };
            format!("manager = \"docker\"\ncontainer = \"{container}\"\n")
        }
        InitManager::Scripts => {
            let (start, stop) = if kind == Zookeeper {
                (format!("{home}/bin/{script}.sh start {settings}"), format!("{home}/bin/{script}.sh stop {settings}"))
            } else {
                (format!("{home}/bin/{script}-start.sh -daemon {settings}"), format!("{home}/bin/{script}-stop.sh {settings}"))
            };
            let find = if is_first {
                "# The process of which each of these is, exactly, one argument: a broker and a ZooKeeper are both `java`.\n"
            } else {
                ""
            };
            format!("start = \"{start}\"\nstop = \"{stop}\"\n{find}find = {{ argv = [\"{main}\", \"{settings}\"] }}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kchaos_cluster::inventory::Inventory;

    const SHAPES: [(InitManager, bool); 6] = [
        (InitManager::Scripts, false),
        (InitManager::Scripts, true),
        (InitManager::Systemd, false),
        (InitManager::Systemd, true),
        (InitManager::Docker, false),
        (InitManager::Docker, true),
    ];

    /// With the files that it names, and the one thing filled in that has no default.
    fn load(text: &str) -> Result<Inventory, String> {
        let directory = tempfile::tempdir().unwrap();
        for name in ["key", "known_hosts", "ca.pem"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let path = directory.path().join("kchaos.toml");
        std::fs::write(&path, text.replace("~/.ssh/kchaos", "key")).unwrap();
        Inventory::load(&path).map_err(|error| error.to_string())
    }

    fn filled_in(text: &str) -> String {
        text.replace("expect_cluster_id = \"\"", "expect_cluster_id = \"8vVnAYPLQ4q0FDTvJ4QtFg\"")
    }

    #[test]
    fn what_is_not_filled_in_is_refused_and_what_is_lacking_is_said() {
        for (manager, is_kraft) in SHAPES {
            let why = load(&template(manager, is_kraft)).unwrap_err();
            assert!(why.contains("expect_cluster_id") && !why.contains('\n'), "{manager:?}: {why}");
        }
    }

    #[test]
    fn filled_in_it_is_an_inventory() {
        for (manager, is_kraft) in SHAPES {
            let inventory = load(&filled_in(&template(manager, is_kraft))).unwrap_or_else(|why| panic!("{manager:?} {is_kraft}: {why}"));
            assert_eq!((inventory.hosts.len(), inventory.is_kraft()), (6, is_kraft));
        }
    }

    #[test]
    fn every_setting_that_may_be_left_out_is_one_that_there_is() {
        for (manager, is_kraft) in SHAPES {
            let is_setting =
                |line: &str| line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '"'));
            // A broker that is a controller too has none of its own beside it, and a clock that may be set is no lab's.
            let all: String =
                filled_in(&template(manager, is_kraft))
                    .lines()
                    .map(|line| {
                        if is_setting(line) && !line.starts_with("#controller_port") {
                            line.strip_prefix('#').unwrap_or(line)
                        } else {
                            line
                        }
                    })
                    .flat_map(|line| [line, "\n"])
                    .collect();
            load(&all).unwrap_or_else(|why| panic!("{manager:?} {is_kraft}: {why}"));
        }
    }

    #[test]
    fn the_words_are_looked_at() {
        insta::assert_snapshot!("init-systemd", template(InitManager::Systemd, false));
        insta::assert_snapshot!("init-next", next_steps("staging.toml", false));
    }
}
