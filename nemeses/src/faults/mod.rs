//! One file for each fault; `cut`, `daemon`, `disk`, `damage`, `clock`, `down` and `bring_up` are what several of them share.

pub(crate) mod bring_up;
pub(crate) mod bump;
pub(crate) mod clock;
pub(crate) mod corrupt;
pub(crate) mod cut;
pub(crate) mod daemon;
pub(crate) mod damage;
pub(crate) mod dead_disk;
pub(crate) mod depose;
pub(crate) mod disk;
pub(crate) mod down;
pub(crate) mod fill;
pub(crate) mod isolate;
pub(crate) mod kill;
pub(crate) mod pause;
pub(crate) mod power_loss;
pub(crate) mod skew;
pub(crate) mod stop;
pub(crate) mod truncate;

use kchaos_core::Target;

/// Every target that is found by its role.
pub(crate) const ROLES: &[Target] =
    &[Target::Leader, Target::Controller, Target::ZooKeeperLeader, Target::ZooKeeperFollower, Target::Follower, Target::Random];

/// The same, and those that are several daemons or are found by asking the cluster.
pub(crate) const WIDE: &[Target] = &[
    Target::Leader,
    Target::Controller,
    Target::ZooKeeperLeader,
    Target::ZooKeeperFollower,
    Target::Follower,
    Target::Random,
    Target::LastIsr,
    Target::GroupCoordinator,
    Target::TxnCoordinator,
    Target::Minority,
    Target::Majority,
    Target::All,
    Target::ZooKeeperMinority,
    Target::ZooKeeperMajority,
    Target::ZooKeeperAll,
];
