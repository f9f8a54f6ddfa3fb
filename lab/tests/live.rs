//! The lab for real: `cargo test -p kchaos-lab --test live -- --ignored` (root, and the jars of `make setup`).
//!
//! Everything happens in a sandbox: pid, mount and network namespaces of its own with a `/run` of its own. So a lab that is up on this machine is
//! neither seen nor touched, and "nothing is left" can be compared exactly. The test is its own `main`, because it must also be what `kchaos` is
//! to the lab: the program that becomes a host's PID 1 (`lab-init`), and the `kchaos lab up` that gets killed (`lab-up`).

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use kchaos_cluster::inventory::{DaemonKind, Inventory};
use kchaos_lab::{Disks, LabError, LabOptions, LabPhase};

type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    ("a_lab_comes_up_serves_and_leaves_nothing", a_lab_comes_up_serves_and_leaves_nothing),
    ("daemons_that_share_a_host_are_stopped_one_by_one", daemons_that_share_a_host_are_stopped_one_by_one),
    ("a_setting_that_no_broker_knows_is_an_error", a_setting_that_no_broker_knows_is_an_error),
    ("a_daemon_that_dies_is_named_with_its_last_words", a_daemon_that_dies_is_named_with_its_last_words),
    ("what_is_not_ours_is_refused_and_left_alone", what_is_not_ours_is_refused_and_left_alone),
    ("a_lab_whose_hosts_have_ended_is_cleared_by_the_next", a_lab_whose_hosts_have_ended_is_cleared_by_the_next),
    ("a_kchaos_killed_at_any_moment_leaves_nothing_after_down", a_kchaos_killed_at_any_moment_leaves_nothing_after_down),
];

const SANDBOXED: &str = "KCHAOS_LAB_TEST_SANDBOX";
/// The machine's `/run/netns` is a mount that would shine through the new `/run`.
const ENTER: &str = "mount --make-rprivate / && { umount -l /run/netns 2>/dev/null; mount -t tmpfs tmpfs /run; } && exec \"$0\" \"$@\"";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    match arguments.first().and_then(|first| first.to_str()) {
        Some("lab-init") => return ExitCode::from(kchaos_lab::host_init::run(&arguments[1..]) as u8),
        Some("lab-disk") => return ExitCode::from(kchaos_lab::serve_disk(&arguments[1..]) as u8),
        Some("lab-up") => {
            let disks = if has("fuse") { Disks::Fuse } else { Disks::Loop };
            return ExitCode::from(u8::from(kchaos_lab::up(&LabOptions { disks, ..LabOptions::default() }, &mut |_| ()).is_err()));
        }
        _ => {}
    }
    if has("--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if !has("--ignored") && !has("--include-ignored") {
        println!("{} tests ignored: they need root and the jars; run them with --ignored", TESTS.len());
        return ExitCode::SUCCESS;
    }
    if std::env::var_os(SANDBOXED).is_none() {
        return sandbox(&arguments);
    }
    let wanted: Vec<&str> = arguments.iter().filter_map(|argument| argument.to_str()).filter(|word| !word.starts_with('-')).collect();
    for (name, test) in TESTS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|word| name.contains(word))) {
        let started = Instant::now();
        test();
        println!("test {name} ... ok ({:.1} s)", started.elapsed().as_secs_f64());
    }
    ExitCode::SUCCESS
}

/// Runs this program again where it sees nobody and nobody sees it. With the sandbox's PID 1 everything in it ends.
fn sandbox(arguments: &[OsString]) -> ExitCode {
    let directory = tempfile::tempdir().unwrap();
    let status = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--", "sh", "-c", ENTER])
        .arg(std::env::current_exe().unwrap())
        .args(arguments)
        .env(SANDBOXED, "1")
        .env("KCHAOS_LAB_DIR", directory.path().join("a, strange: place"))
        .status()
        .expect("unshare of util-linux");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn base_dir() -> PathBuf {
    std::env::var_os("KCHAOS_LAB_DIR").map(PathBuf::from).unwrap()
}

fn small() -> LabOptions {
    LabOptions { brokers: 1, zookeepers: 1, ..LabOptions::default() }
}

fn set(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn up(options: &LabOptions) -> Result<kchaos_lab::LabInfo, LabError> {
    up_with(options, &mut Vec::new())
}

fn up_with(options: &LabOptions, said: &mut Vec<String>) -> Result<kchaos_lab::LabInfo, LabError> {
    kchaos_lab::up(options, &mut |line| {
        println!("  {line}");
        said.push(line.to_owned());
    })
}

fn down() -> kchaos_lab::DownReport {
    kchaos_lab::down(&mut |_| ()).unwrap()
}

/// The loop devices whose file is below this test's directory: others' come and go.
fn loop_devices() -> String {
    let files = fs::read_dir("/sys/block").unwrap().flatten().map(|entry| entry.path().join("loop/backing_file"));
    let ours = files.filter(|file| fs::read_to_string(file).is_ok_and(|text| text.starts_with(base_dir().to_str().unwrap())));
    ours.map(|file| file.display().to_string()).collect::<Vec<_>>().join("\n")
}

/// Everything that a lab could leave: mounts, names, links, rules, processes, files.
fn traces() -> String {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let mut processes: Vec<String> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<i32>().is_ok()))
        .map(|entry| fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default().replace('\0', " "))
        .filter(|arguments| !arguments.is_empty())
        .collect();
    processes.sort();
    [
        fs::read_to_string("/proc/mounts").unwrap(),
        said("ip", &["netns"]),
        said("ip", &["-brief", "link"]),
        said("nft", &["list", "ruleset"]),
        loop_devices(),
        said("find", &["/run", base_dir().to_str().unwrap()]).replace("/run/kchaos/lab.lock\n", "").replace("/run/kchaos\n", ""),
        processes.join("\n"),
    ]
    .join("\n--\n")
}

fn on_host(address: &str, command: &str) -> String {
    let base = base_dir();
    let known_hosts = base.join("keys/known_hosts");
    let output = Command::new("nsenter")
        .args(["--net=/run/netns/kchaos-net", "ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-i"])
        .arg(base.join("keys/id_ed25519"))
        .arg("-o")
        // ssh reads several files from this option, so blanks need quotes.
        .arg(format!("UserKnownHostsFile=\"{}\"", known_hosts.display()))
        .arg(format!("root@{address}"))
        .arg(command)
        .output()
        .unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(40);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Whether the daemon's process is there, and whether it listens.
fn daemon(label: &str) -> (bool, bool) {
    let status = kchaos_lab::status().unwrap();
    let found = status.hosts.iter().flat_map(|host| &host.daemons).find(|daemon| daemon.daemon == label).unwrap();
    (found.pid.is_some(), found.listening)
}

fn a_lab_comes_up_serves_and_leaves_nothing() {
    let before = traces();
    let info = up(&LabOptions {
        settings: set(&[("log.retention.ms", "-1")]),
        zookeeper_session_timeout_ms: Some(6_000),
        ..LabOptions::default()
    })
    .unwrap();
    assert_eq!((info.bootstrap.len(), info.zookeeper_connect.len(), info.hosts.len()), (3, 3, 6));
    assert_eq!(kchaos_lab::current().unwrap().cluster_id, info.cluster_id);
    assert!(matches!(up(&LabOptions::default()), Err(LabError::AlreadyUp { hosts: 6, .. })));

    let status = kchaos_lab::status().unwrap();
    assert_eq!(status.phase, LabPhase::Up);
    assert!(status.hosts.iter().all(|host| host.sshd_listening && host.daemons.iter().all(|daemon| daemon.listening)), "{status:?}");
    assert!(status.memory_kib < 2 * 1024 * 1024, "{} KiB", status.memory_kib);
    println!("  up after {} ms, {} MiB", info.up_after_ms, status.memory_kib / 1024);

    let inventory = Inventory::load(&info.inventory).unwrap();
    assert_eq!(inventory.cluster.expect_cluster_id, info.cluster_id);
    assert!(inventory.cluster.notes.contains(&"ZooKeeper session 6 s, not the default 18 s".to_owned()), "{:?}", inventory.cluster.notes);
    assert_eq!(inventory.daemons_of(DaemonKind::Kafka).count(), 3);
    for host in &inventory.hosts {
        assert_eq!(on_host(&host.address, "hostname; cat /etc/kchaos/allow"), format!("{}\nlab", host.name));
    }

    // Hosts see their own processes, rules and files, and none of each other's; no packet finds a way out.
    let first = inventory.hosts[0].address.clone();
    assert_eq!(on_host(&first, "tr '\\0' ' ' </proc/1/cmdline | cut -d' ' -f1,2"), "kchaos lab-init");
    assert_eq!(on_host(&first, "nft add table inet mine; nft list tables; touch /etc/mine /var/mine /tmp/mine"), "table inet mine");
    assert_eq!(on_host(&inventory.hosts[1].address, "nft list tables; ls /etc/mine /var/mine /tmp/mine 2>/dev/null || true"), "");
    assert!(!Path::new("/etc/mine").exists() && !Path::new("/tmp/mine").exists());
    assert_eq!(on_host(&first, "ip route show default; touch /usr/mine 2>&1 | grep -c 'Read-only'"), "1");
    assert_eq!(kchaos_lab::shell("zoo2", &["test".into(), "-e".into(), "/etc/zookeeper/zookeeper.properties".into()]).unwrap(), 0);
    assert!(matches!(kchaos_lab::shell("nobody", &[]), Err(LabError::NoSuchHost { .. })));
    let logs = kchaos_lab::logs("kafka1").unwrap();
    assert!(logs[0].path.ends_with("server.log") && logs[0].bytes > 0, "{logs:?}");

    let report = down();
    assert_eq!((report.hosts_ended, report.namespaces_removed, report.strangers.len()), (6, 7, 0));
    assert!(kchaos_lab::current().is_none() && matches!(kchaos_lab::status(), Err(LabError::NotUp)));
    assert_eq!(down().hosts_ended, 0, "with no lab, down does nothing");
    assert_eq!(traces(), before);
}

fn daemons_that_share_a_host_are_stopped_one_by_one() {
    let before = traces();
    let options = LabOptions { brokers: 2, zookeepers: 1, hosts: Some(1), ..LabOptions::default() };
    let inventory = Inventory::load(&up(&options).unwrap().inventory).unwrap();
    let (host, second) = inventory.broker(2).unwrap();
    on_host(&host.address, &second.stop);
    wait_until("broker 2 is gone", || daemon("kafka:2") == (false, false));
    assert_eq!((daemon("kafka:1"), daemon("zookeeper:1")), ((true, true), (true, true)));
    on_host(&host.address, &second.start);
    wait_until("broker 2 listens again", || daemon("kafka:2") == (true, true));
    down();
    assert_eq!(traces(), before);
}

fn a_setting_that_no_broker_knows_is_an_error() {
    let before = traces();
    let error = up(&LabOptions { settings: set(&[("min.insync.replica", "1")]), ..small() }).unwrap_err();
    assert_eq!(error.to_string(), "settings are not in force: broker 1: does not know the setting min.insync.replica");
    fs::remove_dir_all(base_dir()).unwrap();
    assert_eq!(traces(), before);
}

fn a_daemon_that_dies_is_named_with_its_last_words() {
    let before = traces();
    let error = up(&LabOptions { settings: set(&[("log.retention.ms", "soon")]), ..small() }).unwrap_err();
    let LabError::DaemonDied { daemon, host, log, last_lines } = error else { panic!("{error}") };
    assert_eq!((daemon.as_str(), host.as_str()), ("broker 1", "kafka1"));
    assert!(last_lines.contains("Not a number of type LONG"), "{last_lines}");
    assert!(fs::read_to_string(&log).unwrap().contains("Not a number of type LONG"), "the log is kept: {}", log.display());
    fs::remove_dir_all(base_dir()).unwrap();
    assert_eq!(traces(), before);
}

fn what_is_not_ours_is_refused_and_left_alone() {
    let ip = |arguments: &[&str]| assert!(Command::new("ip").args(arguments).status().unwrap().success());
    ip(&["netns", "add", "kchaos-zoo1"]);
    let before = traces();
    assert!(matches!(up(&small()), Err(LabError::NameTaken { name }) if name == "kchaos-zoo1"));
    assert_eq!(traces(), before);
    ip(&["netns", "delete", "kchaos-zoo1"]);

    fs::create_dir_all(base_dir().join("keys")).unwrap();
    let before = traces();
    assert!(matches!(up(&small()), Err(LabError::DirectoryTaken { .. })));
    assert_eq!(traces(), before);
    fs::remove_dir_all(base_dir()).unwrap();
}

/// As in a sandbox of CI, which ends every process of a session and keeps its mounts and files.
fn a_lab_whose_hosts_have_ended_is_cleared_by_the_next() {
    let before = traces();
    up(&small()).unwrap();
    let pids: Vec<i32> = kchaos_lab::status().unwrap().hosts.iter().filter_map(|host| host.pid).collect();
    end(pids[0]);
    assert!(matches!(up(&small()), Err(LabError::AlreadyUp { .. })), "one host lives");
    pids[1..].iter().copied().for_each(end);

    let mut said = Vec::new();
    up_with(&small(), &mut said).unwrap();
    assert_eq!(said[0], "taking away lab lab, whose hosts have all ended");
    down();
    assert_eq!(traces(), before);

    let mut child = start_up("loop");
    std::thread::sleep(Duration::from_millis(1_000));
    child.kill().unwrap();
    child.wait().unwrap();
    let mut said = Vec::new();
    up_with(&small(), &mut said).unwrap();
    assert_eq!(said[0], "taking away lab lab, half-made, whose maker is gone");
    down();
    assert_eq!(traces(), before);
}

fn end(pid: i32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    // This test is the sandbox's PID 1, and reaps nobody: what has ended, with all that ran in it, stays as a zombie.
    let has_ended = |stat: String| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'));
    wait_until("the host has ended", || fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, has_ended));
}

fn start_up(disks: &str) -> Child {
    Command::new(std::env::current_exe().unwrap()).args(["lab-up", disks]).stdout(Stdio::null()).spawn().unwrap()
}

/// Most moments lie in the first half second, in which everything is made; the last ones while daemons start.
fn a_kchaos_killed_at_any_moment_leaves_nothing_after_down() {
    let before = traces();
    for (delay_ms, disks) in (0..600).step_by(23).chain([1_000, 1_000, 3_000, 3_000]).zip(["loop", "fuse"].into_iter().cycle()) {
        let mut child = start_up(disks);
        std::thread::sleep(Duration::from_millis(delay_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        down();
        assert_eq!(traces(), before, "killed after {delay_ms} ms, disks of {disks}");
    }
}
