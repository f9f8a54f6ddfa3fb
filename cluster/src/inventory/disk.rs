//! Where a daemon keeps its data and its time, and what may be done to them (`[host.daemon.disk]`, `[host.daemon.clock]`, `[host.clock]`).
//!
//! All of these tables are optional: without them the faults of disks and clocks are refused for this daemon. Nobody loses power who is not a lab's: the
//! call that drops unsynced data, aimed at the wrong path, would shut down a machine's own file system.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    pub kind: DiskKind,
    /// The daemon's data (`log.dirs` of a broker, `dataDir` of a ZooKeeper).
    pub data_dir: PathBuf,
    /// The owner's consent, by fault. Of a disk that a lab made, all that it can have are allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<DiskFault>,
    /// Of a loop disk: the block device on the host, whose file system is mounted at `data_dir`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<PathBuf>,
    /// Of a loop disk: the file behind the device, as the machine names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backing_file: Option<PathBuf>,
    /// Of a disk that a lab made: what stands in the file `.kchaos-disk` at its top.
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
    /// A FUSE file system of ours that a lab made: it loses, fails and is slow on demand.
    Fuse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskFault {
    PowerLoss,
    DeadDisk,
    Fill,
    Corrupt,
    Truncate,
    SlowDisk,
    IoError,
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

/// What may be done to the clock of a whole host: its owner's consent, by fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostClock {
    pub allow: Vec<ClockFault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClockFault {
    Bump,
    Skew,
    Strobe,
}

impl ClockFault {
    pub fn name(self) -> &'static str {
        match self {
            ClockFault::Bump => "bump",
            ClockFault::Skew => "skew",
            ClockFault::Strobe => "strobe",
        }
    }
}

impl HostClock {
    /// Whether the inventory lets this be done to the host's clock; the refusal says what to write.
    pub fn allows(&self, fault: ClockFault) -> Result<(), String> {
        let name = fault.name();
        let why = || format!("the inventory does not allow it: write allow = [\"{name}\"] under the host's [host.clock]");
        self.allow.contains(&fault).then_some(()).ok_or_else(why)
    }
}

impl Disk {
    /// Whether the inventory lets this be done to the disk; the refusal says what to write.
    pub fn allows(&self, fault: DiskFault) -> Result<(), String> {
        let name = fault.name();
        let here = self.data_dir.display();
        if self.kind == DiskKind::Directory && fault.kinds().contains(&DiskKind::Directory) {
            let why = || format!("the inventory does not allow it: write allow = [\"{name}\"] under the daemon's [host.daemon.disk]");
            return self.allow.contains(&fault).then_some(()).ok_or_else(why);
        }
        if fault.kinds().contains(&self.kind) {
            return Ok(());
        }
        let of_lab: Vec<&str> = fault.kinds().iter().filter_map(|kind| kind.made_by()).collect();
        let how = of_lab.join(" or ");
        Err(match self.kind {
            DiskKind::Directory => {
                format!("{name} needs a disk of its own, which `kchaos lab up {how}` makes; {here} is a directory of a host's file system")
            }
            DiskKind::Loop => format!("{name} needs a FUSE disk, which `kchaos lab up {how}` makes; {here} is on a loop device"),
            DiskKind::Fuse if fault == DiskFault::Fill => {
                format!("the room of {here}, a FUSE disk, is the machine's own: fill is for `kchaos lab up {how}`")
            }
            DiskKind::Fuse => {
                format!("{name} needs a loop device, which `kchaos lab up {how}` makes; of {here}, a FUSE disk, io-error comes nearest")
            }
        })
    }
}

impl DiskKind {
    /// How a lab is brought up whose disks are of this kind, where they are its own.
    fn made_by(self) -> Option<&'static str> {
        match self {
            DiskKind::Directory => None,
            DiskKind::Loop => Some("--disks loop"),
            DiskKind::Fuse => Some("--disks fuse"),
        }
    }
}

impl DiskFault {
    /// The kinds of disk that can have it.
    fn kinds(self) -> &'static [DiskKind] {
        match self {
            DiskFault::PowerLoss => &[DiskKind::Loop, DiskKind::Fuse],
            DiskFault::DeadDisk => &[DiskKind::Loop],
            DiskFault::SlowDisk | DiskFault::IoError => &[DiskKind::Fuse],
            // The room of a FUSE disk is the machine's own.
            DiskFault::Fill => &[DiskKind::Directory, DiskKind::Loop],
            DiskFault::Corrupt | DiskFault::Truncate => &[DiskKind::Directory, DiskKind::Loop, DiskKind::Fuse],
        }
    }

    pub const ALL: [DiskFault; 7] = [
        DiskFault::PowerLoss,
        DiskFault::DeadDisk,
        DiskFault::Fill,
        DiskFault::Corrupt,
        DiskFault::Truncate,
        DiskFault::SlowDisk,
        DiskFault::IoError,
    ];

    pub fn name(self) -> &'static str {
        match self {
            DiskFault::PowerLoss => "power-loss",
            DiskFault::DeadDisk => "dead-disk",
            DiskFault::Fill => "fill",
            DiskFault::Corrupt => "corrupt",
            DiskFault::Truncate => "truncate",
            DiskFault::SlowDisk => "slow-disk",
            DiskFault::IoError => "io-error",
        }
    }
}
