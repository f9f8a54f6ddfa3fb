//! A real local cluster on this one machine: genuine Kafka, with ZooKeeper or with KRaft, on hosts that are reached by SSH like any others.
//!
//! Why: a tool that breaks clusters must be tried on one that behaves like a real one, in seconds and without leaving a trace. A *host* here is
//! a network, mount, pid and uts namespace with its own sshd; its PID 1 is this executable ([`host_init`]). Around it there may be more ([`LabManager`]): a
//! Debian that systemd boots, or a Docker engine with a container for each daemon. All hosts hang on one bridge, in a
//! namespace that has no way out. The lab writes an inventory, and from then on nobody needs to know that it is a lab.
//!
//! **Invariant of absence:** knows no nemesis, no workload, no checker. It makes hosts and takes them away; it breaks nothing.
//!
//! Life: [`up`] … [`down`]. One lab at a time. What is about to be made is written down first, so [`down`] works after a crash at any moment.
//!
//! Limits: hosts share the machine's kernel, and with it its clock and its load; only systemd hosts and engines have control groups of
//! their own. `/usr` is the machine's.

mod base_dir;
mod base_root;
mod busy;
mod certificates;
mod cgroups;
mod clock;
mod commands;
mod disks;
mod docker;
mod down;
mod error;
mod firewall;
mod fuse_disks;
mod host_files;
pub mod host_init;
mod inside;
mod inventory_file;
mod jars;
mod layout;
mod network;
mod options;
mod processes;
mod read_back;
mod ready;
mod rootfs;
mod secrets;
mod secured;
mod security;
mod settings;
mod state;
mod status;
mod storage;
mod systemd;
mod up;
mod users;
mod waiting;

use std::path::PathBuf;

pub use busy::run_in_progress;
pub use down::{DownReport, down};
pub use error::LabError;
pub use inside::{LogFile, logs, print_logs, shell};
pub use kchaos_disk::run as serve_disk;
pub use layout::NETWORK_NAMESPACE;
pub use options::{
    Clock, DEFAULT_KAFKA_VERSION, DEFAULT_ZOOKEEPER_SESSION_TIMEOUT_MS, Disks, Firewall, Kraft, LabManager, LabOptions, parse_setting,
};
pub use security::{LabSecurity, SecurityWord};
pub use status::{DaemonStatus, HostStatus, LabPhase, LabStatus, status};
pub use up::{LabInfo, up};

/// The lab that is up, if one is: whole, and of this boot.
pub fn current() -> Option<LabInfo> {
    let state = state::State::load().ok().flatten()?;
    (state.phase == state::Phase::Up && state.is_of_this_boot()).then(|| LabInfo::of(&state))
}

/// Where the inventory of the lab that is up stands.
pub fn inventory_path() -> Option<PathBuf> {
    current().map(|info| info.inventory)
}
