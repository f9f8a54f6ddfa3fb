//! Disks of the lab that forget, fail and are slow (`--disks fuse`): each daemon's data directory is a file system of ours ([`kchaos_disk`]), served
//! by a process of its own on the host.
//!
//! The processes are started by the host's PID 1 before the daemons, in the host's mount and pid namespaces: with PID 1 they end, and the mounts
//! with them, whatever has happened to kchaos. The backing files lie on the machine's own file system, below the lab's directory.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::LabError;
use crate::disks;
use crate::layout::{DaemonPlan, HostPlan};
use crate::options::LabOptions;
use crate::rootfs::Outcome;
use crate::state::State;

/// What the kernel serves file systems of processes by.
pub(crate) const DEVICE: &str = "/dev/fuse";

/// What a host's PID 1 must know of one disk; paths as the host sees them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FuseDisk {
    /// By which this very executable serves a disk.
    arguments: Vec<String>,
    backing: PathBuf,
    mount_point: PathBuf,
    mark: String,
}

fn backing(daemon: &DaemonPlan) -> String {
    format!("/var/lib/kchaos-disks/{}", daemon.file_name())
}

pub(crate) fn spec(options: &LabOptions, state: &State, host: &HostPlan) -> Vec<FuseDisk> {
    let of = |daemon: &DaemonPlan| FuseDisk {
        arguments: options.disk_arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect(),
        backing: backing(daemon).into(),
        mount_point: daemon.data_dir().into(),
        mark: disks::mark(state, daemon),
    };
    host.daemons.iter().map(of).collect()
}

/// What stands in a daemon's data directory by now, and its mark, is what will be on its disk.
pub(crate) fn fill(state: &State, daemon: &DaemonPlan, host_dir: &Path) -> Result<(), LabError> {
    let data_dir = DaemonPlan::on_machine(host_dir, &daemon.data_dir());
    disks::write_mark(state, daemon, &data_dir)?;
    let backing = DaemonPlan::on_machine(host_dir, &backing(daemon));
    fs::create_dir_all(&backing).map_err(LabError::io("cannot make", &backing))?;
    let tree = backing.join(kchaos_disk::TREE);
    fs::rename(&data_dir, &tree).map_err(LabError::io("cannot move", &data_dir))?;
    // Where it will be mounted.
    fs::create_dir(&data_dir).map_err(LabError::io("cannot make", &data_dir))
}

/// In the host, after its root has been changed: each is there when this returns.
pub(crate) fn start_all(disks: &[FuseDisk]) -> Outcome {
    disks.iter().try_for_each(start)
}

/// A lab that is up has disks on which everything is synced, as if it had been up for long: ZooKeeper never syncs the snapshot that it writes when it is
/// first started, and does not start again without it.
pub(crate) fn sync_all(state: &State) -> Result<(), LabError> {
    for host in &state.layout.hosts {
        let Some((_, init)) = state.inits.iter().find(|(name, _)| *name == host.name) else { continue };
        for daemon in &host.daemons {
            let directory = DaemonPlan::on_machine(&PathBuf::from(format!("/proc/{}/root", init.pid)), &daemon.data_dir());
            let control = directory.join(kchaos_disk::CONTROL);
            // Never made: what is not there is no disk.
            let ordered = OpenOptions::new().write(true).open(&control);
            ordered
                .and_then(|mut file| file.write_all(kchaos_disk::SYNC_ORDER.as_bytes()))
                .map_err(LabError::io("cannot write", &control))?;
        }
    }
    Ok(())
}

fn start(disk: &FuseDisk) -> Outcome {
    let failed = |reason: String| format!("disk at {}: {reason}", disk.mount_point.display());
    // The running executable: its file is not in sight any more.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("kchaos").args(&disk.arguments).args([&disk.backing, &disk.mount_point]).arg(&disk.mark);
    command.env_clear().current_dir("/").process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    let mut said = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut said).map_err(|error| failed(error.to_string()))?;
    }
    // From here on it is a child like any other, reaped should it end.
    match said.trim_end() {
        "ready" => Ok(()),
        "" => Err(failed("its process ended without a word".to_owned())),
        reason => Err(failed(reason.trim_start_matches("error: ").to_owned())),
    }
}
