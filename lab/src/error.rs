//! What can go wrong with the lab. The caller ends with exit code 3 (environment), or 254 where [`LabError::is_usage`] says so.

use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error("{0}")]
    Usage(String),
    #[error("the lab needs root, for its namespaces and mounts; run this with sudo")]
    NotRoot,
    #[error("lab {name} is already up ({hosts} hosts, inventory {inventory}); take it down first: kchaos lab down")]
    AlreadyUp { name: String, hosts: usize, inventory: PathBuf },
    #[error("another kchaos (process {pid}) is bringing the lab up or down at this moment; wait for it to end")]
    Busy { pid: String },
    #[error("no lab is up; bring one up: kchaos lab up")]
    NotUp,
    #[error("the lab has no host {host}; its hosts are {known}")]
    NoSuchHost { host: String, known: String },
    #[error(
        "{tool} is missing; install what the lab needs: make setup, or make setup-doors for systemd and Docker (Debian package {package})"
    )]
    ToolMissing { tool: &'static str, package: &'static str },
    #[error("the jars of Kafka {version} are not in {directory}: {reason}; fetch them, with a network: KCHAOS_KAFKA={version} make setup")]
    JarsMissing { version: String, directory: PathBuf, reason: String },
    #[error("not enough memory: {daemons} need about {need_mib} MiB, {available_mib} MiB are available")]
    NotEnoughMemory { daemons: String, need_mib: u64, available_mib: u64 },
    #[error("--disks loop needs loop devices, and this machine (or the container this is) has no /dev/loop-control")]
    NoLoopDevices,
    #[error("--disks fuse needs FUSE, and this machine (or the container this is) has no /dev/fuse")]
    NoFuse,
    #[error(
        "the base of a systemd host is not in {directory}: {reason}; it is made once by debootstrap, with a network: kchaos lab up --manager systemd"
    )]
    BaseMissing { directory: PathBuf, reason: String },
    #[error("{directory} holds files that are not a lab's; empty it, or name another directory by KCHAOS_LAB_DIR")]
    DirectoryTaken { directory: PathBuf },
    #[error("network namespace {name} exists and no lab that we know of made it; if nobody needs it: ip netns delete {name}")]
    NameTaken { name: String },
    #[error("`{command}` failed ({status}): {stderr}")]
    Command { command: String, status: String, stderr: String },
    #[error("{what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("host {host} could not be made: {reason}")]
    Host { host: String, reason: String },
    #[error("{daemon} on {host} died while starting; the end of {log}:\n{last_lines}")]
    DaemonDied { daemon: String, host: String, log: PathBuf, last_lines: String },
    #[error("after {waited_s} s still waiting for {what}; the end of {log}:\n{last_lines}")]
    NotReady { what: String, waited_s: u64, log: PathBuf, last_lines: String },
    /// Read back from the running daemons: what they use is not what was asked for.
    #[error("settings are not in force: {}", .0.join("; "))]
    SettingsNotInForce(Vec<String>),
    #[error("{path}: {reason}")]
    State { path: PathBuf, reason: String },
    /// `down` did all it could, and this is still there.
    #[error("the lab is not wholly gone: {}", .0.join("; "))]
    Left(Vec<String>),
}

impl LabError {
    /// Wrong options: exit code 254.
    pub fn is_usage(&self) -> bool {
        matches!(self, LabError::Usage(_) | LabError::NoSuchHost { .. })
    }

    /// For `map_err`: which action on which path failed.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LabError {
        move |source| LabError::Io { what, path: path.to_owned(), source }
    }
}
