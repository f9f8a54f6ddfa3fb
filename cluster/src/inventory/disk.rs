//! Where a daemon keeps its data and its time, and what may be done to them (`[host.daemon.disk]`, `[host.daemon.clock]`).
//!
//! Both tables are optional: without them the faults of disks and clocks are refused for this daemon. Nobody loses power who is not a lab's: the
//! call that drops unsynced data, aimed at the wrong path, would shut down a machine's own file system.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    pub kind: DiskKind,
    /// The daemon's data (`log.dirs` of a broker, `dataDir` of a ZooKeeper).
    pub data_dir: PathBuf,
    /// The owner's consent, by fault. Of a loop disk, which is a lab's, all are allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<DiskFault>,
    /// Of a loop disk: the block device on the host, whose file system is mounted at `data_dir`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<PathBuf>,
    /// Of a loop disk: the file behind the device, as the machine names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backing_file: Option<PathBuf>,
    /// Of a loop disk: what stands in the file `.kchaos-disk` at its top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskKind {
    /// A directory of whatever file system the host has.
    Directory,
    /// A file system of its own on a loop device that a lab made.
    Loop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskFault {
    PowerLoss,
    DeadDisk,
    Fill,
    Corrupt,
    Truncate,
}

/// How the daemon's clock can be moved without moving the host's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DaemonClock {
    pub kind: ClockKind,
    /// libfaketime's timestamp file for this daemon, on the host: it holds the offset.
    pub file: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockKind {
    Faketime,
}

impl Disk {
    /// Whether the inventory lets this be done to the disk; the refusal says what to write.
    pub fn allows(&self, fault: DiskFault) -> Result<(), String> {
        let name = fault.name();
        match self.kind {
            DiskKind::Loop => Ok(()),
            DiskKind::Directory if matches!(fault, DiskFault::PowerLoss | DiskFault::DeadDisk) => Err(format!(
                "{name} needs a disk of its own on a loop device, which `kchaos lab up --disks loop` makes; {} is a directory of a host's file system",
                self.data_dir.display()
            )),
            DiskKind::Directory if self.allow.contains(&fault) => Ok(()),
            DiskKind::Directory => {
                Err(format!("the inventory does not allow it: write allow = [\"{name}\"] under the daemon's [host.daemon.disk]"))
            }
        }
    }
}

impl DiskFault {
    pub fn name(self) -> &'static str {
        match self {
            DiskFault::PowerLoss => "power-loss",
            DiskFault::DeadDisk => "dead-disk",
            DiskFault::Fill => "fill",
            DiskFault::Corrupt => "corrupt",
            DiskFault::Truncate => "truncate",
        }
    }
}
