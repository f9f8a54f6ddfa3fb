//! `corrupt`: 64 bytes in the middle of a replica's newest segment are overwritten while its broker is down.
//!
//! A batch whose checksum is wrong is what a disk leaves that lies, or a cable that flips bits. No follower and no reader may ever be given it.

use kchaos_cluster::inventory::DiskFault;

use crate::fault::{Need, Scope};
use crate::faults::damage;
use crate::registry::Spec;

pub(crate) const SPEC: Spec = Spec {
    name: "corrupt",
    about: "a replica's newest segment is overwritten in part, its broker killed; rebuilt from the leader (needs consent)",
    targets: damage::TARGETS,
    needs: &[Need::Signals, Need::Manager, Need::Disk],
    scope: Scope::Daemon,
    plan: |ground, chosen| Box::pin(damage::plan(ground, chosen, DiskFault::Corrupt)),
};
