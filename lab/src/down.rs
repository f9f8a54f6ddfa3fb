//! Taking the lab down, whatever state it is in: whole, half-made by a kchaos that was killed, or half taken down.
//!
//! Judged by what is seen on the machine, not by exit codes. Only what the state names as ours is touched. Killing a host's PID 1 ends everything
//! in its pid namespace and with its mount namespace all its mounts; what is left on the machine are the names under `/run/netns`.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::LabError;
use crate::base_dir;
use crate::cgroups;
use crate::disks;
use crate::host_init;
use crate::network;
use crate::processes::{self, ProcessId};
use crate::state::{self, Lock, State};

const PATIENCE: Duration = Duration::from_secs(20);

/// What `down` took away. All zero if there was nothing.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DownReport {
    pub name: Option<String>,
    /// First processes of hosts, with everything that ran in them.
    pub hosts_ended: usize,
    pub namespaces_removed: usize,
    /// Processes that are not the lab's and still are in one of its network namespaces (a client that runs on): not touched, and the
    /// nameless namespace goes with them.
    pub strangers: Vec<String>,
}

/// Takes the lab down. With no lab it does nothing, and that is fine.
pub fn down(progress: &mut dyn FnMut(&str)) -> Result<DownReport, LabError> {
    processes::must_be_root()?;
    let lock = Lock::take()?;
    let Some(state) = State::load()? else { return Ok(DownReport::default()) };
    progress(&format!("taking lab {} down", state.name));
    take_away(&state, &lock, PATIENCE)
}

pub(crate) fn take_away(state: &State, lock: &Lock, patience: Duration) -> Result<DownReport, LabError> {
    let mut report = DownReport { name: Some(state.name.clone()), ..DownReport::default() };
    report.hosts_ended = end_hosts(state, patience)?;
    cgroups::remove(&state.lab_id)?;
    report.strangers = strangers(&state.namespaces);
    report.namespaces_removed = network::remove(&state.namespaces, state.netns_dir_before, lock.file())?;
    // A disk's file is removed when nobody writes to it any more.
    let held = disks::release(&state.base_dir, patience);
    if !held.is_empty() {
        return Err(LabError::Left(held.iter().map(|name| format!("loop device {name}")).collect()));
    }
    base_dir::clear(&state.base_dir)?;
    let left = left(state);
    if !left.is_empty() {
        return Err(LabError::Left(left));
    }
    let directory = state::state_dir();
    fs::remove_dir_all(&directory).map_err(LabError::io("cannot remove", &directory))?;
    Ok(report)
}

/// Kills every first process, known or found by its mark, until two looks in a row find none: one look is no snapshot.
fn end_hosts(state: &State, patience: Duration) -> Result<usize, LabError> {
    if !state.is_of_this_boot() {
        return Ok(0);
    }
    let deadline = Instant::now() + patience;
    let mut ended = BTreeMap::new();
    let mut clean_looks = 0;
    while clean_looks < 2 {
        let found = living(state);
        clean_looks = if found.is_empty() { clean_looks + 1 } else { 0 };
        for process in found {
            processes::kill(process);
            ended.insert(process.pid, process);
        }
        if Instant::now() > deadline {
            let names = living(state).iter().map(|process| format!("process {} does not end", process.pid)).collect();
            return Err(LabError::Left(names));
        }
        std::thread::sleep(Duration::from_millis(if clean_looks == 0 { 20 } else { 5 }));
    }
    Ok(ended.len())
}

pub(crate) fn living(state: &State) -> Vec<ProcessId> {
    let mark = host_init::mark(&state.lab_id);
    let marked = processes::all().into_iter().filter(|pid| processes::has_arguments(*pid, &[&mark])).filter_map(processes::identify);
    let mut found: Vec<ProcessId> =
        state.inits.iter().map(|(_, init)| *init).chain(marked).filter(|init| processes::is_alive(*init)).collect();
    found.sort_by_key(|process| process.pid);
    found.dedup();
    found
}

/// Processes inside the namespaces of the lab, after its own have ended; this one does not count.
fn strangers(namespaces: &[String]) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let ours: Vec<((u64, u64), &String)> = namespaces
        .iter()
        .filter(|name| network::is_mount_point(&network::namespace_path(name)))
        .filter_map(|name| fs::metadata(network::namespace_path(name)).ok().map(|found| ((found.dev(), found.ino()), name)))
        .collect();
    let own = std::process::id() as i32;
    let mut found = Vec::new();
    for pid in processes::all().into_iter().filter(|pid| *pid != own) {
        let Some(namespace) = processes::namespace(pid, "net") else { continue };
        if let Some((_, name)) = ours.iter().find(|(id, _)| *id == namespace) {
            let argument = processes::arguments(pid).into_iter().next().unwrap_or_default();
            found.push(format!("process {pid} ({}) in {name}", String::from_utf8_lossy(&argument)));
        }
    }
    found
}

fn left(state: &State) -> Vec<String> {
    let names = state.namespaces.iter().map(|name| network::namespace_path(name)).filter(|path| fs::symlink_metadata(path).is_ok());
    let mounts = network::mount_points().into_iter().filter(|mount| mount.starts_with(state.base_dir.join("hosts")));
    let groups = cgroups::of(&state.lab_id).into_iter().filter(|path| path.exists());
    let groups = groups.map(|path| format!("control group {}", path.display()));
    names
        .map(|path| format!("namespace {}", path.display()))
        .chain(mounts.map(|mount| format!("mount {}", mount.display())))
        .chain(groups)
        .collect()
}
