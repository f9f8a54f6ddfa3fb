//! One file for each fault; `cut` (with `cut_lines` and `cut_seen`), `link`, `daemon`, `disk`, `fuse_disk`, `damage`, `clock`, `wall`, `asked`, `down`, `revival` and `bring_up` are what several of them share.

pub(crate) mod asked;
pub(crate) mod bring_up;
pub(crate) mod bump;
pub(crate) mod change_config;
pub(crate) mod clock;
pub(crate) mod corrupt;
pub(crate) mod crash_loop;
pub(crate) mod cut;
pub(crate) mod cut_clients;
pub(crate) mod cut_lines;
pub(crate) mod cut_peers;
pub(crate) mod cut_seen;
pub(crate) mod cut_zookeeper;
pub(crate) mod daemon;
pub(crate) mod damage;
pub(crate) mod dead_disk;
pub(crate) mod delay_connection;
pub(crate) mod delete_records;
pub(crate) mod depose;
pub(crate) mod disk;
pub(crate) mod down;
pub(crate) mod expire_session;
pub(crate) mod fill;
pub(crate) mod flap;
pub(crate) mod fuse_disk;
pub(crate) mod io_error;
pub(crate) mod isolate;
pub(crate) mod kill;
pub(crate) mod link;
pub(crate) mod loss;
pub(crate) mod move_leader;
pub(crate) mod one_way;
pub(crate) mod partition;
pub(crate) mod pause;
pub(crate) mod power_loss;
pub(crate) mod reassign;
pub(crate) mod remove;
pub(crate) mod restart;
pub(crate) mod revival;
pub(crate) mod rolling_restart;
pub(crate) mod skew;
pub(crate) mod slow_disk;
pub(crate) mod stop;
pub(crate) mod strobe;
pub(crate) mod truncate;
pub(crate) mod wall;

use kchaos_core::Target;

/// Every target that is found by its role.
pub(crate) const ROLES: &[Target] = &[
    Target::Leader,
    Target::Controller,
    Target::QuorumLeader,
    Target::QuorumFollower,
    Target::ZooKeeperLeader,
    Target::ZooKeeperFollower,
    Target::Follower,
    Target::Random,
];

/// The same, and those that are several daemons or are found by asking the cluster.
pub(crate) const WIDE: &[Target] = &[
    Target::Leader,
    Target::Controller,
    Target::QuorumLeader,
    Target::QuorumFollower,
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
/// Those of them that are brokers.
pub(crate) const BROKERS: &[Target] = &[Target::Leader, Target::Controller, Target::Follower, Target::Random];
