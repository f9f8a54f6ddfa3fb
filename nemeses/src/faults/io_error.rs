//! `io-error`: every write and every fsync of the daemon's disk fails with an I/O error; reads go on.
//!
//! A broker takes a log directory that fails once for dead, and stops with its only one. Mended is a disk that takes writes again, and the daemon
//! started again. What was not synced before stays as it was: this disk forgets nothing.

use crate::fault::{Need, Scope};
use crate::faults::fuse_disk::{self, Trouble};
use crate::faults::power_loss;
use crate::registry::Spec;

pub(crate) const SPEC: Spec = Spec {
    name: "io-error",
    about: "writes to the daemon's disk and their fsyncs fail with EIO; started again when mended (lab up --disks fuse)",
    targets: power_loss::TARGETS,
    needs: &[Need::Signals, Need::Manager, Need::OwnDisk],
    scope: Scope::Daemon,
    plan: |ground, chosen| Box::pin(fuse_disk::plan(ground, chosen, Trouble::Fails)),
};
