use std::path::Path;

use proptest::prelude::*;

use super::*;

/// An inventory with nothing wrong with it. Tests replace a part of it.
const GOOD: &str = r#"[cluster]
name = "lab"
environment = "lab"
expect_cluster_id = "x5T0cUZgQsyq0bRyr9CSeg"

[ssh]
user = "root"
key_file = "id_ed25519"
known_hosts_file = "known_hosts"

[kafka]
bootstrap = ["10.0.0.1:9092", "[fd00::2]:9092"]

[kafka.properties]
"security.protocol" = "SASL_SSL"
"sasl.password" = "env:KCHAOS_TEST_PASSWORD"

[zookeeper]
connect = ["b1.example:2181"]

[[host]]
name = "b1"
address = "10.0.0.1"

[[host.daemon]]
kind = "kafka"
id = 1
port = 9092
start = "/opt/kafka/bin/kafka-server-start.sh -daemon /opt/kafka/config/server.properties"
stop = "/opt/kafka/bin/kafka-server-stop.sh"
find = { argv = ["kafka.Kafka", "/opt/kafka/config/server.properties"] }
log_dir = "/opt/kafka/logs"

[[host]]
name = "b2"
address = "fd00::2"
ssh = { port = 2222, user = "admin" }

[[host.daemon]]
kind = "zookeeper"
id = 1
port = 2181
peer_ports = [2888, 3888]
start = "zkServer.sh start"
stop = "zkServer.sh stop"
find = { pid-file = "/var/run/zookeeper.pid" }
log_dir = "/var/log/zookeeper"
"#;

fn parse(text: &str) -> Result<Inventory, InventoryError> {
    Inventory::parse(Path::new("kchaos.toml"), text)
}

/// Replaces `from` by `to` in the good one, and expects this error, whole.
fn check(from: &str, to: &str, expect: &str) {
    assert!(GOOD.contains(from), "{from}");
    let error = parse(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
    assert_eq!(error, expect);
}

/// As `check`, for a part of the error.
fn check_says(from: &str, to: &str, part: &str) {
    assert!(GOOD.contains(from), "{from}");
    let error = parse(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
}

#[test]
fn a_good_inventory_is_read_and_its_parts_are_found() {
    let inventory = parse(GOOD).unwrap();
    assert_eq!(inventory.ssh.channels_max, 6);
    assert_eq!(inventory.limits, Limits::default());
    let (host, daemon) = inventory.broker(1).unwrap();
    assert_eq!((host.name.as_str(), daemon.label().as_str()), ("b1", "kafka:1"));
    assert_eq!(inventory.zookeeper(1).unwrap().0.name, "b2");
    assert!(inventory.broker(2).is_none());
    assert_eq!(inventory.daemon_by_label("zookeeper:1").unwrap().1.port, 2181);
    assert_eq!(inventory.daemons().count(), 2);
    let host = inventory.host("b2").unwrap();
    assert_eq!((host.ssh_user(&inventory), host.ssh_address(), host.ssh_port(&inventory)), ("admin", "fd00::2", 2222));
    assert_eq!(host.opt_in_file, Path::new("/etc/kchaos/allow"));
}

const LOG_DIR: &str = "log_dir = \"/opt/kafka/logs\"\n";

#[test]
fn a_daemon_may_have_a_disk_and_a_clock() {
    let disk = "[host.daemon.disk]\nkind = \"directory\"\ndata_dir = \"/var/lib/kafka\"\nallow = [\"fill\"]\n";
    let clock = "[host.daemon.clock]\nkind = \"faketime\"\nfile = \"/etc/kchaos/clock/kafka-1\"\n";
    let text = GOOD.replacen(LOG_DIR, &format!("{LOG_DIR}{disk}{clock}"), 1);
    let inventory = parse(&text).unwrap();
    let daemon = inventory.broker(1).unwrap().1;
    let disk = daemon.disk.as_ref().unwrap();
    assert_eq!(disk.allows(DiskFault::Fill), Ok(()));
    assert!(disk.allows(DiskFault::Corrupt).unwrap_err().contains("allow = [\"corrupt\"]"));
    assert!(disk.allows(DiskFault::PowerLoss).unwrap_err().contains("--disks loop"));
    assert_eq!(parse(&toml::to_string(&inventory).unwrap()).unwrap(), inventory);
}

#[test]
fn each_kind_of_disk_says_which_faults_it_can_have() {
    let lines = [
        (
            "kind = \"directory\"\ndata_dir = \"/d\"\nallow = [\"fill\", \"corrupt\", \"truncate\"]",
            [false, false, true, true, true, false, false],
        ),
        (
            "kind = \"loop\"\ndata_dir = \"/d\"\ndevice = \"/dev/d\"\nbacking_file = \"/i\"\nmark = \"m\"",
            [true, true, true, true, true, false, false],
        ),
        ("kind = \"fuse\"\ndata_dir = \"/d\"\nmark = \"m\"", [true, false, false, true, true, true, true]),
    ];
    for (lines, expect) in lines {
        let inventory = parse(&GOOD.replacen(LOG_DIR, &format!("{LOG_DIR}[host.daemon.disk]\n{lines}\n"), 1)).unwrap();
        let disk = inventory.broker(1).unwrap().1.disk.clone().unwrap();
        assert_eq!(DiskFault::ALL.map(|fault| disk.allows(fault).is_ok()), expect, "{lines}");
        for why in DiskFault::ALL.iter().filter_map(|fault| disk.allows(*fault).err()) {
            assert!(why.contains("kchaos lab up --disks "), "{why}");
        }
    }
}

#[test]
fn the_clock_of_a_host_is_its_owner_s_to_lend_and_never_a_lab_s() {
    let address = "address = \"10.0.0.1\"\n";
    let clock = format!("{address}[host.clock]\nallow = [\"bump\", \"strobe\"]\n");
    check_says(address, &clock, "host[1].clock: the hosts of a lab share this machine's clock");
    let staging = GOOD.replacen("environment = \"lab\"", "environment = \"staging\"", 1);
    let inventory = parse(&staging.replacen(address, &clock, 1)).unwrap();
    let of_host = inventory.host("b1").unwrap().clock.as_ref().unwrap();
    assert_eq!(of_host.allows(ClockFault::Strobe), Ok(()));
    assert!(of_host.allows(ClockFault::Skew).unwrap_err().contains("allow = [\"skew\"]"));
    assert!(inventory.host("b2").unwrap().clock.is_none());
    assert_eq!(parse(&toml::to_string(&inventory).unwrap()).unwrap(), inventory);
    let contained = staging.replacen(address, &clock, 1).replacen(BY_SCRIPTS, "manager = \"docker\"\ncontainer = \"kafka1\"\n", 1);
    let error = parse(&contained).unwrap_err().to_string();
    assert!(error.contains("a container has the clock of its engine's host"), "{error}");
}

#[test]
fn a_disk_that_could_reach_a_hosts_own_file_system_is_an_error() {
    let disk = |lines: &str| format!("{LOG_DIR}[host.daemon.disk]\n{lines}\n");
    let of_loop = "kind = \"loop\"\ndata_dir = \"/d\"\ndevice = \"/dev/d\"\nbacking_file = \"/i\"\nmark = \"m\"";
    check_says(
        LOG_DIR,
        &disk("kind = \"directory\"\ndata_dir = \"/\""),
        "kchaos.toml:35:1: host[1].daemon[1].disk.data_dir: \"/\" must be",
    );
    check_says(LOG_DIR, &disk("kind = \"directory\"\ndata_dir = \"/d\"\nallow = [\"power-loss\"]"), "cannot be allowed of a directory");
    check_says(LOG_DIR, &disk("kind = \"directory\"\ndata_dir = \"/d\"\nmark = \"m\""), "mark is of a loop disk");
    check_says(LOG_DIR, &disk(&of_loop.replace("mark", "marc")), "kchaos.toml:38:1: host[1].daemon[1].disk.marc: unknown key `marc`");
    check_says(LOG_DIR, &disk(&of_loop.replace("\"/dev/d\"", "\"dev\"")), "disk.device: a loop disk has a device");
    let of_fuse = "kind = \"fuse\"\ndata_dir = \"/d\"\nmark = \"m\"";
    check_says(LOG_DIR, &disk(&of_fuse.replace("\"m\"", "\"\"")), "disk.mark: a FUSE disk has a mark");
    check_says(LOG_DIR, &disk(&format!("{of_fuse}\ndevice = \"/dev/d\"")), "device is of a loop disk, and this is a FUSE disk");
    let staging = GOOD.replacen("environment = \"lab\"", "environment = \"staging\"", 1);
    let error = parse(&staging.replacen(LOG_DIR, &disk(of_fuse), 1)).unwrap_err().to_string();
    assert!(error.contains("a FUSE disk is a lab's"), "{error}");
    let error = parse(&staging.replacen(LOG_DIR, &disk(of_loop), 1)).unwrap_err().to_string();
    assert!(error.contains("a loop disk is a lab's"), "{error}");
}

#[test]
fn loop_disks_and_clocks_are_for_daemons_that_scripts_start() {
    let disk = "[host.daemon.disk]\nkind = \"loop\"\ndata_dir = \"/d\"\ndevice = \"/dev/d\"\nbacking_file = \"/i\"\nmark = \"m\"\n";
    let clock = "[host.daemon.clock]\nkind = \"faketime\"\nfile = \"/c\"\n";
    let by_systemd = GOOD.replacen(BY_SCRIPTS, "manager = \"systemd\"\nunit = \"kafka.service\"\n", 1);
    for (more, says) in
        [(disk, "a loop disk, and one of FUSE, is for manager = \"scripts\" alone"), (clock, "faketime is for manager = \"scripts\" alone")]
    {
        let of = |text: &str| parse(&text.replacen(LOG_DIR, &format!("{LOG_DIR}{more}"), 1));
        assert!(of(GOOD).is_ok(), "{:?}", of(GOOD));
        let error = of(&by_systemd).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let directory = "[host.daemon.disk]\nkind = \"directory\"\ndata_dir = \"/d\"\nallow = [\"fill\"]\n";
    assert!(parse(&by_systemd.replacen(LOG_DIR, &format!("{LOG_DIR}{directory}"), 1)).is_ok());
}

#[test]
fn what_is_written_is_read_again() {
    let inventory = parse(GOOD).unwrap();
    assert_eq!(parse(&toml::to_string(&inventory).unwrap()).unwrap(), inventory);
}

#[test]
fn an_unknown_key_is_named_with_file_line_and_column() {
    check_says(
        "expect_cluster_id = ",
        "expect_cluster_ids = ",
        "kchaos.toml:4:1: cluster.expect_cluster_ids: unknown key `expect_cluster_ids`",
    );
    check_says("port = 2181", "prot = 2181", "kchaos.toml:42:1: host[2].daemon[1].prot: unknown key `prot`");
    check_says("port = 2222", "prot = 2222", "kchaos.toml:37:9: host[2].ssh.prot: unknown key `prot`");
    check_says("pid-file = ", "pidfile = ", "kchaos.toml:46:10: host[2].daemon[1].find.pidfile: unknown");
    check_says("[zookeeper]", "[zookeper]", "kchaos.toml:18:2: zookeper: unknown key `zookeper`");
}

#[test]
fn a_wrong_type_is_named_with_file_line_and_column() {
    check_says("port = 9092", "port = \"9092\"", "kchaos.toml:28:8: host[1].daemon[1].port: invalid type: string \"9092\", expected u16");
    check_says("port = 9092", "port = 99092", "kchaos.toml:28:8: host[1].daemon[1].port: ");
    check_says("environment = \"lab\"", "environment = \"labs\"", "kchaos.toml:3:15: cluster.environment: unknown variant `labs`");
    check_says("kind = \"kafka\"", "kind = \"kafak\"", "unknown variant `kafak`");
    check_says("user = \"root\"\n", "", "ssh: missing key `user`");
    check_says("address = \"10.0.0.1\"\n", "", "missing key `address`");
}

#[test]
fn what_is_no_toml_is_named_with_file_line_and_column() {
    check_says("name = \"lab\"", "name = \"lab", "kchaos.toml:2:");
    check_says("[ssh]", "[ssh", "kchaos.toml:6:");
    assert!(parse("").unwrap_err().to_string().starts_with("kchaos.toml:1:1: "));
}

#[test]
fn names_ids_and_ports_are_unique() {
    check("name = \"b2\"", "name = \"b1\"", "kchaos.toml:35:1: host[2].name: b1 is there twice");
    check_says("kind = \"zookeeper\"", "kind = \"kafka\"", "kchaos.toml:41:1: host[2].daemon[1].id: kafka:1 is there twice");
    check(
        "address = \"fd00::2\"\nssh = { port = 2222, user = \"admin\" }",
        "address = \"10.0.0.1\"",
        "kchaos.toml:36:1: host[2].address: the way to a host by SSH, 10.0.0.1 port 22 is there twice",
    );
}

#[test]
fn a_cluster_has_a_broker_and_a_zookeeper() {
    check_says("kind = \"zookeeper\"\nid = 1", "kind = \"kafka\"\nid = 2", "no host has a ZooKeeper");
    check_says("kind = \"kafka\"", "kind = \"zookeeper\"", "no host has a broker");
}

#[test]
fn values_are_sane() {
    check_says("name = \"lab\"", "name = \"my lab\"", "cluster.name: \"my lab\": a name is");
    check_says("name = \"b1\"", "name = \"../b1\"", "host[1].name: ");
    check_says("address = \"10.0.0.1\"", "address = \"10.0.0.1:22\"", "host[1].address: \"10.0.0.1:22\" is no IP address");
    check_says(
        "[ssh]",
        "[limits]\nhosts_down_max = 2\n\n[ssh]",
        "kchaos.toml:7:1: limits.hosts_down_max: is 2, but there are only 2 hosts",
    );
    check_says("[ssh]", "[limits]\nhosts_down_max = 0\n\n[ssh]", "limits.hosts_down_max: is 0");
    check_says("[ssh]", "[limits]\nfault_duration_max_s = 864000\n\n[ssh]", "limits.fault_duration_max_s: is 864000");
    check_says("[ssh]", "[ssh]\nchannels_max = 0", "ssh.channels_max: is 0");
    check_says("10.0.0.1:9092", "10.0.0.1", "kchaos.toml:12:14: kafka.bootstrap[1]: \"10.0.0.1\" is no host:port");
    check_says("[fd00::2]:9092", "fd00::2:9092", "kafka.bootstrap[2]");
    check_says("connect = [\"b1.example:2181\"]", "connect = []", "zookeeper.connect: is empty");
    check_says("[zookeeper]", "[zookeeper]\nchroot = \"kafka/\"", "zookeeper.chroot: \"kafka/\"");
    check_says("log_dir = \"/opt", "log_dir = \"opt", "host[1].daemon[1].log_dir: \"opt/kafka/logs\" is a path on the host");
    check_says("argv = [\"kafka.Kafka\", \"/opt/kafka/config/server.properties\"]", "argv = []", "host[1].daemon[1].find: is empty");
    check_says("id = 1\nport = 2181", "id = 0\nport = 2181", "host[2].daemon[1].id: is 0: a myid");
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let text = GOOD.replacen("name = \"b2\"", "name = \"b1\"", 1).replacen("log_dir = \"/opt", "log_dir = \"opt", 1);
    let InventoryError::Invalid { problems } = parse(&text).unwrap_err() else { panic!("not invalid") };
    assert_eq!(problems.len(), 2);
}

#[test]
fn secrets_stand_there_by_reference_only_and_are_never_shown() {
    check_says("env:KCHAOS_TEST_PASSWORD", "canary-7f3a", "kafka.properties.sasl.password: a secret stands here by reference only");
    check_says("[ssh]", "[ssh]\nkey_passphrase = \"canary-7f3a\"", "ssh.key_passphrase: a secret stands here by reference only");
    let error = parse(&GOOD.replacen("env:KCHAOS_TEST_PASSWORD", "canary-7f3a", 1)).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("canary"));

    let mut inventory = parse(GOOD).unwrap();
    let shown = inventory.without_secrets().to_string();
    assert!(shown.contains("env:KCHAOS_TEST_PASSWORD"), "{shown}");
    inventory.kafka.properties.insert("ssl.key.password".to_owned(), "canary-7f3a".to_owned());
    inventory.ssh.key_passphrase = Some("canary-7f3a".to_owned());
    let shown = inventory.without_secrets().to_string();
    assert!(!shown.contains("canary"), "{shown}");
}

#[test]
fn a_reference_is_followed_when_it_is_needed() {
    let error = parse(GOOD).unwrap().kafka_properties().unwrap_err().to_string();
    assert!(error.starts_with("kafka.properties.sasl.password: environment variable KCHAOS_TEST_PASSWORD is not set"), "{error}");
    let text = GOOD.replacen("env:KCHAOS_TEST_PASSWORD", "env:PATH", 1);
    let properties = parse(&text).unwrap().kafka_properties().unwrap();
    assert_eq!(properties["security.protocol"].reveal(), "SASL_SSL");
    assert_eq!(properties["sasl.password"].reveal(), std::env::var("PATH").unwrap());
}

#[test]
fn files_are_looked_for_beside_the_inventory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kchaos.toml");
    std::fs::write(&path, GOOD).unwrap();
    let error = Inventory::load(&path).unwrap_err().to_string();
    assert!(error.contains("kchaos.toml:8:1: ssh.key_file: ") && error.contains("ssh-keygen -t ed25519"), "{error}");
    assert!(error.contains("kchaos.toml:9:1: ssh.known_hosts_file: ") && error.contains("ssh-keyscan"), "{error}");
    for name in ["id_ed25519", "known_hosts"] {
        std::fs::write(directory.path().join(name), "").unwrap();
    }
    let inventory = Inventory::load(&path).unwrap();
    assert_eq!(inventory.ssh.key_file, directory.path().join("id_ed25519"));
}

#[test]
fn the_flag_is_meant_even_if_its_file_is_not_there() {
    let path = Path::new("/nonexistent/kchaos.toml");
    assert_eq!(find_inventory(Some(path)).as_deref(), Some(path));
    assert!(Inventory::load(path).unwrap_err().to_string().contains("/nonexistent/kchaos.toml"));
}

proptest! {
    #[test]
    fn no_text_makes_the_loader_panic(position in 0..GOOD.len(), junk in "[\\[\\]{}=\".a0\n]{0,3}", cut in 0_usize..40) {
        let end = (position + cut).min(GOOD.len());
        let text = format!("{}{junk}{}", &GOOD[..position], &GOOD[end..]);
        if let Err(InventoryError::Invalid { problems }) = parse(&text) {
            prop_assert!(problems.iter().all(|problem| problem.line <= text.lines().count() + 1));
        }
    }
}

const BY_SCRIPTS: &str = r#"start = "/opt/kafka/bin/kafka-server-start.sh -daemon /opt/kafka/config/server.properties"
stop = "/opt/kafka/bin/kafka-server-stop.sh"
find = { argv = ["kafka.Kafka", "/opt/kafka/config/server.properties"] }
"#;

#[test]
fn each_manager_has_its_own_keys() {
    for (keys, says) in [
        ("manager = \"systemd\"\n", "manager: is \"systemd\": unit is missing"),
        ("manager = \"docker\"\n", "manager: is \"docker\": container is missing"),
        ("manager = \"systemd\"\nunit = \"kafka\"\n", "\"kafka\" is not the unit's whole name"),
        ("manager = \"systemd\"\nunit = \"../x.service\"\n", "is not the unit's whole name"),
        ("manager = \"docker\"\ncontainer = \"a b\"\n", "is not the container's name"),
        ("manager = \"systemd\"\nunit = \"kafka.service\"\nstart = \"x\"\n", "start: is for manager = \"scripts\" alone"),
        ("manager = \"docker\"\ncontainer = \"k\"\nfind = { port = 9092 }\n", "find: is not for containers"),
        ("unit = \"kafka.service\"\nstart = \"x\"\nstop = \"x\"\nfind = { port = 9092 }\n", "unit: is for manager = \"systemd\" alone"),
        ("manager = \"upstart\"\n", "unknown variant `upstart`"),
    ] {
        check_says(BY_SCRIPTS, keys, says);
    }
    let inventory = parse(&GOOD.replacen(BY_SCRIPTS, "manager = \"systemd\"\nunit = \"kafka@1.service\"\n", 1)).unwrap();
    assert_eq!(inventory.broker(1).unwrap().1.unit.as_deref(), Some("kafka@1.service"));
    assert_eq!(parse(&toml::to_string(&inventory).unwrap()).unwrap(), inventory);
}

/// Both hosts as containers at one address.
fn of_containers() -> String {
    let by_scripts = "start = \"zkServer.sh start\"\nstop = \"zkServer.sh stop\"\nfind = { pid-file = \"/var/run/zookeeper.pid\" }\n";
    GOOD.replacen(BY_SCRIPTS, "manager = \"docker\"\ncontainer = \"kafka1\"\n", 1)
        .replacen(by_scripts, "manager = \"docker\"\ncontainer = \"zoo1\"\n", 1)
        .replacen("address = \"fd00::2\"\nssh = { port = 2222, user = \"admin\" }\n", "address = \"10.0.0.1\"\n", 1)
}

#[test]
fn containers_share_the_way_to_their_engine_and_need_no_ssh_if_it_is_here() {
    let inventory = parse(&of_containers()).unwrap();
    assert_eq!(inventory.host("b2").unwrap().container(), Some("zoo1"));
    let ssh = "[ssh]\nuser = \"root\"\nkey_file = \"id_ed25519\"\nknown_hosts_file = \"known_hosts\"\n";
    let without = of_containers().replacen(ssh, "", 1);
    assert!(parse(&without).unwrap_err().to_string().contains("ssh.user: is missing or empty"));
    let here = without.replace("address = \"10.0.0.1\"\n", "address = \"10.0.0.1\"\ndocker_host = \"unix:///run/docker.sock\"\n");
    let inventory = parse(&here).unwrap();
    assert!(inventory.hosts.iter().all(|host| !host.is_reached_by_ssh()));
    let elsewhere = here.replacen("unix:///run/docker.sock", "tcp://10.0.0.1:2375", 1);
    assert!(parse(&elsewhere).unwrap_err().to_string().contains("must be unix:///PATH"));
    let bare = GOOD.replacen("address = \"10.0.0.1\"\n", "address = \"10.0.0.1\"\ndocker_host = \"unix:///run/docker.sock\"\n", 1);
    assert!(parse(&bare).unwrap_err().to_string().contains("docker_host: is for hosts whose daemons have manager"));
}
