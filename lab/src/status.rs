//! How the lab is: hosts, their first processes, daemons, memory. Seen on the machine; nobody is asked over the network.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::Serialize;

use crate::LabError;
use crate::layout::{DaemonPlan, HostPlan};
use crate::network;
use crate::options::Kraft;
use crate::processes::{self, ProcessId};
use crate::state::{Phase, State};

/// `kchaos lab status` prints it; `--format json` serialises it.
#[derive(Clone, Debug, Serialize)]
pub struct LabStatus {
    pub name: String,
    /// `up` means that `lab up` finished; the hosts below say how it is now.
    pub phase: LabPhase,
    pub kafka_version: String,
    pub cluster_id: Option<String>,
    pub zookeeper_session_timeout_ms: u64,
    /// None: with ZooKeeper.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kraft: Option<Kraft>,
    pub inventory: PathBuf,
    pub network_namespace: PathBuf,
    pub made_unix_ms: u64,
    pub up_after_ms: Option<u64>,
    pub hosts: Vec<HostStatus>,
    /// Of everything in the lab's hosts: proportional set sizes.
    pub memory_kib: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LabPhase {
    Making,
    Up,
    /// Made before the machine's last boot: nothing of it runs.
    Stale,
}

#[derive(Clone, Debug, Serialize)]
pub struct HostStatus {
    pub name: String,
    pub address: Ipv4Addr,
    /// The name under `/run/netns`, and whether it is there.
    pub namespace: String,
    pub namespace_exists: bool,
    /// Its PID 1 as the machine counts, while it lives.
    pub pid: Option<i32>,
    pub processes: usize,
    pub sshd_listening: bool,
    pub memory_kib: u64,
    pub daemons: Vec<DaemonStatus>,
}

#[derive(Clone, Debug, Serialize)]
pub struct DaemonStatus {
    /// `kafka:1`
    pub daemon: String,
    pub port: u16,
    /// As the machine counts, and as the host does.
    pub pid: Option<i32>,
    pub pid_on_host: Option<i32>,
    pub listening: bool,
    pub memory_kib: u64,
}

pub fn status() -> Result<LabStatus, LabError> {
    processes::must_be_root()?;
    let state = State::load()?.ok_or(LabError::NotUp)?;
    let phase = match state.phase {
        _ if !state.is_of_this_boot() => LabPhase::Stale,
        Phase::Making => LabPhase::Making,
        Phase::Up => LabPhase::Up,
    };
    let hosts: Vec<HostStatus> = state.layout.hosts.iter().map(|host| host_status(&state, host)).collect();
    Ok(LabStatus {
        name: state.name.clone(),
        phase,
        kafka_version: state.kafka_version.clone(),
        cluster_id: state.cluster_id.clone(),
        zookeeper_session_timeout_ms: state.zookeeper_session_timeout_ms,
        kraft: state.kraft,
        inventory: state.inventory_path(),
        network_namespace: network::namespace_path(crate::NETWORK_NAMESPACE),
        made_unix_ms: state.made_unix_ms,
        up_after_ms: state.up_after_ms,
        memory_kib: hosts.iter().map(|host| host.memory_kib).sum(),
        hosts,
    })
}

fn host_status(state: &State, host: &HostPlan) -> HostStatus {
    let init = state.first_process(&host.name);
    let pids = init.map(members).unwrap_or_default();
    let daemons = host.daemons.iter().map(|daemon| daemon_status(init, daemon)).collect();
    HostStatus {
        name: host.name.clone(),
        address: host.address,
        namespace: host.namespace(),
        namespace_exists: network::is_mount_point(&network::namespace_path(&host.namespace())),
        pid: init.map(|init| init.pid),
        processes: pids.len(),
        sshd_listening: init.is_some_and(|init| listens(init.pid, 22)),
        memory_kib: pids.iter().filter_map(|pid| processes::memory_kib(*pid)).sum(),
        daemons,
    }
}

fn daemon_status(init: Option<ProcessId>, daemon: &DaemonPlan) -> DaemonStatus {
    let pid = init.and_then(|init| find_daemon(init, daemon));
    DaemonStatus {
        daemon: daemon.label(),
        port: daemon.port(),
        pid,
        pid_on_host: pid.and_then(processes::inner_pid),
        // Of a container: on the engine's host.
        listening: pid.is_some_and(|pid| listens(init.filter(|_| daemon.published.is_some()).map_or(pid, |init| init.pid), daemon.port())),
        memory_kib: pid.and_then(processes::memory_kib).unwrap_or(0),
    }
}

/// The processes of the host whose PID 1 this is: those in its pid namespace, and those in its containers.
fn members(init: ProcessId) -> Vec<i32> {
    let Some(namespace) = processes::namespace(init.pid, "pid") else { return Vec::new() };
    let is_one = |pid: &i32| processes::namespace(*pid, "pid") == Some(namespace) || processes::descends(*pid, init);
    processes::all().into_iter().filter(is_one).collect()
}

/// The daemon's process on the host whose PID 1 this is.
pub(crate) fn find_daemon(init: ProcessId, daemon: &DaemonPlan) -> Option<i32> {
    let namespace = processes::namespace(init.pid, "pid")?;
    let wanted = daemon.find();
    processes::all()
        .into_iter()
        .filter(|pid| processes::has_arguments(*pid, &wanted))
        .filter(|pid| processes::namespace(*pid, "pid") == Some(namespace) || processes::descends(*pid, init))
        .find(|pid| processes::identify(*pid).is_some_and(processes::is_alive))
}

/// Whether anybody in the process' network namespace listens on the port.
fn listens(pid: i32, port: u16) -> bool {
    ["tcp", "tcp6"].iter().any(|table| {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        listens_in(&text, port)
    })
}

/// Lines are `sl local_address rem_address st …`; state 0A is LISTEN, addresses are hexadecimal.
fn listens_in(table: &str, port: u16) -> bool {
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = fields.next().and_then(|local| local.rsplit_once(':')).and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
        local == Some(port) && fields.nth(1) == Some("0A")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_listening_socket_counts() {
        let table = "  sl  local_address rem_address   st tx_queue\n   0: 0B00630A:2384 00000000:0000 0A 0:0\n   1: 0B00630A:0016 0100630A:9A2C 01 0:0\n";
        assert!(listens_in(table, 9092));
        assert!(!listens_in(table, 22));
        assert!(!listens_in(table, 2181));
    }
}
