//! One file for each fault; `cut`, `daemon`, `down` and `bring_up` are what several of them share.

pub(crate) mod asked;
pub(crate) mod bring_up;
pub(crate) mod change_config;
pub(crate) mod crash_loop;
pub(crate) mod cut;
pub(crate) mod daemon;
pub(crate) mod delete_records;
pub(crate) mod depose;
pub(crate) mod down;
pub(crate) mod isolate;
pub(crate) mod kill;
pub(crate) mod move_leader;
pub(crate) mod pause;
pub(crate) mod reassign;
pub(crate) mod restart;
pub(crate) mod rolling_restart;
pub(crate) mod stop;

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
