//! `power-loss`: the daemon is gone in an instant, and its disk forgets what was not synced.
//!
//! Kafka acknowledges what stands in the memory of its brokers, and by default never syncs it: replication is its durability. So one broker may
//! lose power and nothing is lost; when all replicas do at once, what the kernel had not written back by itself (it waits up to about 30 s) is
//! gone, though it was acknowledged. The kernel of the host lives on here and closes the daemon's connections, which a dead machine's would not.
//!
//! kill -9, file-system shutdown without a flush of the journal, unmount, mount: what is then on the disk is what a real one would hold, as
//! ext4 recovers it. On a FUSE disk (`kchaos lab up --disks fuse`) everything goes that was not synced, whatever its age. The daemon stays down until it is mended.

use kchaos_core::Target;

use crate::fault::{Need, Scope};
use crate::faults::disk;
use crate::registry::Spec;

/// Of a disk of its own, which a lab's daemons have.
pub(crate) const TARGETS: &[Target] = &[
    Target::Leader,
    Target::Controller,
    Target::ZooKeeperLeader,
    Target::ZooKeeperFollower,
    Target::Follower,
    Target::Random,
    Target::LastIsr,
    Target::Minority,
    Target::Majority,
    Target::All,
    Target::ZooKeeperMinority,
    Target::ZooKeeperMajority,
    Target::ZooKeeperAll,
];

pub(crate) const SPEC: Spec = Spec {
    name: "power-loss",
    about: "SIGKILL, and the disk forgets what was not synced; down until mended (lab up --disks loop, or fuse)",
    targets: TARGETS,
    needs: &[Need::Signals, Need::Manager, Need::OwnDisk],
    scope: Scope::Daemon,
    plan: |ground, chosen| Box::pin(disk::plan(ground, chosen, disk::Way::PowerLoss)),
};
