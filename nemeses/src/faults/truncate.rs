//! `truncate`: a replica's newest segment loses its second half while its broker is down.
//!
//! It is what an administrator's hand does, or a repair of the file system: acknowledged records are gone from one replica, and the others must give them back.

use kchaos_cluster::inventory::DiskFault;

use crate::fault::{Need, Scope};
use crate::faults::damage;
use crate::registry::Spec;

pub(crate) const SPEC: Spec = Spec {
    name: "truncate",
    about: "a replica's newest segment loses its second half, its broker killed; rebuilt from the leader (needs consent)",
    targets: damage::TARGETS,
    needs: &[Need::Signals, Need::Manager, Need::Disk],
    scope: Scope::Daemon,
    plan: |ground, chosen| Box::pin(damage::plan(ground, chosen, DiskFault::Truncate)),
};
