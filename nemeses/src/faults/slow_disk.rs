//! `slow-disk`: each write to the daemon's disk takes 100 ms longer, each fsync 500 ms.
//!
//! A broker whose disk is slow is slow to answer, and falls behind where it follows; with `flush.messages` it is slow to acknowledge. A ZooKeeper syncs
//! every transaction before it answers: a slow leader slows all of them.

use crate::fault::{Need, Scope};
use crate::faults::fuse_disk::{self, Trouble};
use crate::faults::power_loss;
use crate::registry::Spec;

pub(crate) const SPEC: Spec = Spec {
    name: "slow-disk",
    about: "each write to the daemon's disk takes 100 ms longer, each fsync 500 ms (lab up --disks fuse)",
    targets: power_loss::TARGETS,
    needs: &[Need::OwnDisk],
    scope: Scope::Link,
    plan: |ground, chosen| Box::pin(fuse_disk::plan(ground, chosen, Trouble::Slow)),
};
