//! `dead-disk`: every access to the daemon's disk fails with an I/O error, and the daemon still runs.
//!
//! A broker whose only log directory fails stops by itself when it next touches it (exit 1, no controlled shutdown); one without traffic may go on
//! for a while. A ZooKeeper stops at its next transaction. What was not synced is lost, as with any disk that dies and is read again.

use crate::fault::{Need, Scope};
use crate::faults::{disk, power_loss};
use crate::registry::Spec;

pub(crate) const SPEC: Spec = Spec {
    name: "dead-disk",
    about: "every access to the daemon's disk fails; mounted anew and started when mended (lab up --disks loop)",
    targets: power_loss::TARGETS,
    needs: &[Need::Signals, Need::Manager, Need::OwnDisk],
    scope: Scope::Daemon,
    plan: |ground, chosen| Box::pin(disk::plan(ground, chosen, disk::Way::DeadDisk)),
};
