//! Bringing the lab up.
//!
//! Order: everything that can be refused is refused before anything is made; the state that names all that will be made is written; then it is
//! made. If a step fails, all of it is taken away again and the daemon logs are kept for looking at.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kchaos_cluster::inventory::DaemonKind;
use serde::Serialize;

use crate::LabError;
use crate::base_dir;
use crate::base_root;
use crate::clock;
use crate::commands;
use crate::disks;
use crate::docker;
use crate::down;
use crate::firewall;
use crate::fuse_disks;
use crate::host_files;
use crate::host_init;
use crate::inventory_file;
use crate::jars;
use crate::layout::{HostPlan, NETWORK_NAMESPACE};
use crate::network;
use crate::options::{Clock, Disks, Firewall, Kraft, LabManager, LabOptions};
use crate::processes;
use crate::read_back;
use crate::ready;
use crate::rootfs::HostSpec;
use crate::state::{self, Lock, Phase, State};
use crate::storage;
use crate::systemd;
use crate::users;
use crate::waiting;

/// Program and Debian package.
const TOOLS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("sshd", "openssh-server"),
    ("ssh-keygen", "openssh-client"),
    ("java", "default-jre-headless"),
    ("nft", "nftables"),
];
/// Measured: a broker at rest has 310 MiB, a ZooKeeper 75 MiB; brokers grow under load.
const BROKER_MIB: u64 = 450;
const ZOOKEEPER_MIB: u64 = 100;
const CONTROLLER_MIB: u64 = 250;

/// A lab that is up.
#[derive(Clone, Debug, Serialize)]
pub struct LabInfo {
    pub name: String,
    pub inventory: PathBuf,
    /// Where the client side of a run has to be.
    pub network_namespace: PathBuf,
    pub cluster_id: String,
    pub kafka_version: String,
    pub zookeeper_session_timeout_ms: u64,
    pub bootstrap: Vec<String>,
    pub zookeeper_connect: Vec<String>,
    /// Of KRaft: where the controllers listen.
    pub controllers: Vec<String>,
    pub hosts: Vec<String>,
    pub up_after_ms: u64,
}

impl LabInfo {
    pub(crate) fn of(state: &State) -> LabInfo {
        LabInfo {
            name: state.name.clone(),
            inventory: state.inventory_path(),
            network_namespace: network::namespace_path(NETWORK_NAMESPACE),
            cluster_id: state.cluster_id.clone().unwrap_or_default(),
            kafka_version: state.kafka_version.clone(),
            zookeeper_session_timeout_ms: state.zookeeper_session_timeout_ms,
            bootstrap: state.layout.endpoints(DaemonKind::Kafka),
            zookeeper_connect: state.layout.endpoints(DaemonKind::Zookeeper),
            controllers: state.layout.controllers().into_iter().map(|(host, _, port)| format!("{}:{port}", host.address)).collect(),
            hosts: state.layout.hosts.iter().map(|host| host.name.clone()).collect(),
            up_after_ms: state.up_after_ms.unwrap_or_default(),
        }
    }
}

/// Brings a lab up; `progress` gets a line for each step. A caller that is killed meanwhile leaves a half-made lab, which [`crate::down`] clears, as does the next `up`.
pub fn up(options: &LabOptions, progress: &mut dyn FnMut(&str)) -> Result<LabInfo, LabError> {
    let started = Instant::now();
    options.check()?;
    processes::must_be_root()?;
    let lock = Lock::take()?;
    clear_or_refuse_second(&lock, progress)?;
    check_machine(options)?;
    let libs = jars::ensure(&options.kafka_version, &lock, progress)?;
    if options.manager == LabManager::Systemd {
        base_root::ensure(&lock, progress)?;
    }
    let mut state = plan(options)?;
    match make(options, &mut state, &libs, &lock, progress) {
        Ok(()) => {}
        Err(error) => return Err(give_up(&state, &lock, error, progress)),
    }
    state.phase = Phase::Up;
    state.up_after_ms = Some(started.elapsed().as_millis() as u64);
    state.save()?;
    progress(&format!("up after {:.1} s; inventory {}", started.elapsed().as_secs_f64(), state.inventory_path().display()));
    Ok(LabInfo::of(&state))
}

/// Patience with what is left of a lab that does not live.
const CLEARING: Duration = Duration::from_secs(20);

/// A lab that lives is another's, and refused. One that does not is in nobody's use and is taken away first: its machine was booted since, its hosts
/// have ended (a container or a sandbox of CI ends its processes and keeps its mounts), or its maker died on the way: with the lock in hand nobody is at work.
fn clear_or_refuse_second(lock: &Lock, progress: &mut dyn FnMut(&str)) -> Result<(), LabError> {
    let Some(state) = State::load()? else { return Ok(()) };
    let why = match state.phase {
        _ if !state.is_of_this_boot() => "of before this machine was booted",
        Phase::Making => "half-made, whose maker is gone",
        Phase::Up if down::living(&state).is_empty() => "whose hosts have all ended",
        Phase::Up => {
            return Err(LabError::AlreadyUp { hosts: state.layout.hosts.len(), inventory: state.inventory_path(), name: state.name });
        }
    };
    progress(&format!("taking away lab {}, {why}", state.name));
    down::take_away(&state, lock, CLEARING).map(|_| ())
}

fn check_machine(options: &LabOptions) -> Result<(), LabError> {
    let more = match options.manager {
        LabManager::Scripts => &[],
        LabManager::Systemd => systemd::TOOLS,
        LabManager::Docker => docker::TOOLS,
    };
    for (tool, package) in TOOLS.iter().chain(more) {
        if !commands::exists(tool) {
            return Err(LabError::ToolMissing { tool, package });
        }
    }
    if options.security.has_secrets() && !commands::exists("keytool") {
        return Err(LabError::ToolMissing { tool: "keytool", package: "default-jre-headless" });
    }
    if options.disks == Disks::Loop {
        if !commands::exists("mkfs.ext4") {
            return Err(LabError::ToolMissing { tool: "mkfs.ext4", package: "e2fsprogs" });
        }
        if !Path::new("/dev/loop-control").exists() {
            return Err(LabError::NoLoopDevices);
        }
    }
    if options.disks == Disks::Fuse && !Path::new(fuse_disks::DEVICE).exists() {
        return Err(LabError::NoFuse);
    }
    if options.clock == Clock::Faketime && clock::library().is_none() {
        return Err(LabError::ToolMissing { tool: "libfaketimeMT.so.1", package: "libfaketime" });
    }
    // Its PID 1, journal, bus and sshd.
    let host_mib = if options.manager == LabManager::Systemd { 60 * options.layout().hosts.len() as u64 } else { 0 };
    let controllers = (options.daemons() - options.brokers - options.zookeepers) as u64;
    let need_mib =
        host_mib + options.brokers as u64 * BROKER_MIB + options.zookeepers as u64 * ZOOKEEPER_MIB + controllers * CONTROLLER_MIB;
    // Unknown is no reason to refuse.
    let available_mib = available_memory_mib().unwrap_or(u64::MAX);
    if available_mib < need_mib {
        return Err(LabError::NotEnoughMemory { daemons: spoken(options), need_mib, available_mib });
    }
    for name in network::namespaces(&options.layout()) {
        if fs::symlink_metadata(network::namespace_path(&name)).is_ok() {
            return Err(LabError::NameTaken { name });
        }
    }
    base_dir::refuse_foreign(&state::default_base_dir())
}

/// `3 brokers and 3 ZooKeepers`.
fn spoken(options: &LabOptions) -> String {
    let of_state = match options.kraft {
        None if options.waiting_controllers > 0 => {
            format!("and {} ZooKeepers, with {} controllers that wait for the migration", options.zookeepers, options.waiting_controllers)
        }
        None => format!("and {} ZooKeepers", options.zookeepers),
        Some(Kraft::Separate(controllers)) => format!("and {controllers} controllers"),
        Some(Kraft::Combined(controllers)) => format!("({controllers} of them controllers too)"),
    };
    format!("{} brokers {of_state}", options.brokers)
}

fn available_memory_mib() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib / 1024)
}

pub(crate) fn plan(options: &LabOptions) -> Result<State, LabError> {
    let layout = options.layout();
    Ok(State {
        lab_id: random_id()?,
        name: options.name.clone(),
        phase: Phase::Making,
        boot_id: state::boot_id(),
        maker: std::process::id() as i32,
        made_unix_ms: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64,
        up_after_ms: None,
        kafka_version: options.kafka_version.clone(),
        zookeeper_session_timeout_ms: options.session_timeout_asked()?,
        cluster_id: (options.kraft.is_some() || options.waiting_controllers > 0).then(storage::random_cluster_id).transpose()?,
        base_dir: state::default_base_dir(),
        namespaces: network::namespaces(&layout),
        netns_dir_before: network::netns_dir_now(),
        inits: Vec::new(),
        layout,
        manager: options.manager,
        security: options.security,
        kraft: options.kraft,
    })
}

fn random_id() -> Result<String, LabError> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; 8];
    fs::File::open(source).and_then(|mut file| file.read_exact(&mut bytes)).map_err(LabError::io("cannot read", source))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn make(options: &LabOptions, state: &mut State, libs: &Path, lock: &Lock, progress: &mut dyn FnMut(&str)) -> Result<(), LabError> {
    state.save()?;
    let hosts = state.layout.hosts.len();
    progress(&format!("making {hosts} hosts on 10.99.0.0/24"));
    base_dir::make(&state.base_dir)?;
    host_files::write_all(options, state, lock)?;
    network::make(&state.layout, lock.file())?;
    if options.firewall == Firewall::AdmitOnly {
        firewall::raise(&state.layout, lock.file())?;
    }
    progress(&format!("starting Kafka {}: {}", options.kafka_version, spoken(options)));
    let admin = inventory_file::of_admin(options, state);
    if options.waiting_controllers > 0 {
        start_hosts(options, state, libs, waiting::is_first)?;
        waiting::name_cluster(state, &admin)?;
        start_hosts(options, state, libs, |host| !waiting::is_first(host))?;
    } else {
        start_hosts(options, state, libs, |_| true)?;
    }
    users::make_scram(state, &admin)?;
    ready::wait(options, state, progress)?;
    let cluster_id = read_back::verify(options, state)?;
    progress(&format!("settings read back from every broker; cluster {cluster_id}"));
    if options.disks == Disks::Fuse {
        fuse_disks::sync_all(state)?;
    }
    if state.security.has_acls {
        users::grant(state, &admin)?;
        progress("ACLs: kchaos may do what docs/security.md lists, and nothing else");
    }
    inventory_file::write(options, state, &cluster_id)?;
    state.cluster_id = Some(cluster_id);
    Ok(())
}

/// All hosts are started first and listened to after: they come up side by side.
fn start_hosts(options: &LabOptions, state: &mut State, libs: &Path, is_meant: impl Fn(&HostPlan) -> bool) -> Result<(), LabError> {
    let failed = |host: &HostPlan, reason: String| LabError::Host { host: host.name.clone(), reason };
    let mut children = Vec::new();
    for host in state.layout.hosts.iter().filter(|host| is_meant(host)) {
        let spec = host_spec(options, state, host, libs);
        let child = host_init::start(&spec, &state.lab_id, &options.init_arguments).map_err(|error| failed(host, error.to_string()))?;
        children.push((host.clone(), child));
    }
    for (host, mut child) in children {
        let stdout = child.stdout.take().ok_or_else(|| failed(&host, "no pipe".to_owned()))?;
        let (mut lines, mut early) = (BufReader::new(stdout).lines(), Vec::new());
        let pid = expect_line(&mut lines, &mut early, "pid ").and_then(|pid| pid.parse().map_err(|_| format!("pid {pid:?}")));
        let init = pid.and_then(|pid| processes::identify(pid).ok_or_else(|| "its first process ended at once".to_owned()));
        let _ = child.wait();
        state.inits.push((host.name.clone(), init.map_err(|reason| failed(&host, reason))?));
        state.save()?;
        expect_line(&mut lines, &mut early, "ready").map_err(|reason| failed(&host, reason))?;
    }
    Ok(())
}

/// What follows `wanted`. Both processes of a host talk on one pipe, so another line may come first: it is kept for whoever expects it.
fn expect_line(lines: &mut impl Iterator<Item = std::io::Result<String>>, early: &mut Vec<String>, wanted: &str) -> Result<String, String> {
    if let Some(rest) = early.iter().find_map(|line| line.strip_prefix(wanted)) {
        return Ok(rest.to_owned());
    }
    for line in lines {
        let line = line.map_err(|error| error.to_string())?;
        if let Some(reason) = line.strip_prefix("error: ") {
            return Err(reason.to_owned());
        }
        if let Some(rest) = line.strip_prefix(wanted) {
            return Ok(rest.to_owned());
        }
        early.push(line);
    }
    Err("its first process ended without a word".to_owned())
}

fn host_spec(options: &LabOptions, state: &State, host: &HostPlan, libs: &Path) -> HostSpec {
    let mut daemons: Vec<_> = host.daemons.iter().collect();
    // ZooKeepers and controllers first, for whoever shares a host with a broker.
    daemons.sort_by_key(|daemon| (daemon.kind == DaemonKind::Kafka, daemon.id));
    HostSpec {
        name: host.name.clone(),
        network_namespace: network::namespace_path(&host.namespace()),
        host_dir: state.host_dir(&host.name),
        libs_dir: libs.to_owned(),
        versions: jars::versions(&options.kafka_version),
        java_home: commands::find("java").and_then(|java| host_init::foreign_java_home(&java)),
        sshd: commands::find("sshd").unwrap_or_else(|| PathBuf::from("/usr/sbin/sshd")),
        disks: if options.disks == Disks::Loop { disks::spec(state, host) } else { Vec::new() },
        fuse_disks: if options.disks == Disks::Fuse { fuse_disks::spec(options, state, host) } else { Vec::new() },
        boot: match state.manager {
            LabManager::Docker => vec![vec![format!("/opt/kafka/bin/{}", docker::BOOT)]],
            LabManager::Scripts | LabManager::Systemd => daemons.iter().map(|daemon| daemon.start_command()).collect(),
        },
        has_engine: state.manager == LabManager::Docker,
        systemd: (state.manager == LabManager::Systemd).then(|| systemd::spec(state, host)),
    }
}

/// Takes everything away again; the logs of the failed attempt stay in the lab's directory until the next `up`.
fn give_up(state: &State, lock: &Lock, error: LabError, progress: &mut dyn FnMut(&str)) -> LabError {
    progress("failed; taking away what was made");
    let kept = keep_logs(state);
    if let Err(also) = down::take_away(state, lock, Duration::from_secs(20)) {
        progress(&format!("{also}; try: kchaos lab down"));
    } else if let Some(kept) = &kept {
        progress(&format!("daemon logs kept in {}", kept.display()));
    }
    // The path in the error is about to be of use: it must be the one that is still there.
    match (error, kept) {
        (LabError::DaemonDied { daemon, host, log, last_lines }, Some(kept)) => {
            LabError::DaemonDied { daemon, log: moved(state, &log, &kept), host, last_lines }
        }
        (LabError::NotReady { what, waited_s, log, last_lines }, Some(kept)) => {
            LabError::NotReady { what, waited_s, log: moved(state, &log, &kept), last_lines }
        }
        (error, _) => error,
    }
}

fn moved(state: &State, log: &Path, kept: &Path) -> PathBuf {
    match log.strip_prefix(state.base_dir.join("hosts")) {
        Ok(rest) => kept.join(rest.iter().filter(|part| *part != "var" && *part != "log").collect::<PathBuf>()),
        Err(_) => log.to_owned(),
    }
}

/// `failed-up/HOST/kafka/server.log`
fn keep_logs(state: &State) -> Option<PathBuf> {
    let kept = state.base_dir.join(base_dir::KEPT_LOGS);
    for host in &state.layout.hosts {
        let logs = state.host_dir(&host.name).join("var/log");
        if logs.is_dir() {
            fs::create_dir_all(&kept).ok()?;
            fs::rename(&logs, kept.join(&host.name)).ok()?;
        }
    }
    kept.is_dir().then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(said: &[&str], expect: Result<(), &str>) {
        let mut lines = said.iter().map(|line| Ok((*line).to_owned()));
        let mut early = Vec::new();
        let pid = expect_line(&mut lines, &mut early, "pid ");
        let ready = pid.and_then(|pid| {
            assert_eq!(pid, "17");
            expect_line(&mut lines, &mut early, "ready").map(drop)
        });
        assert_eq!(ready, expect.map_err(str::to_owned), "{said:?}");
    }

    #[test]
    fn a_host_that_is_ready_before_its_maker_tells_its_pid_is_ready() {
        check(&["pid 17", "ready"], Ok(()));
        check(&["ready", "pid 17"], Ok(()));
        check(&["pid 17"], Err("its first process ended without a word"));
        check(&["pid 17", "error: no disk"], Err("no disk"));
        check(&["error: no disk", "pid 17"], Err("no disk"));
    }
}
