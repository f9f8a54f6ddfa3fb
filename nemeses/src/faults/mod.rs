//! One file for each fault; `cut`, `daemon`, `down` and `bring_up` are what several of them share.

pub(crate) mod bring_up;
pub(crate) mod cut;
pub(crate) mod daemon;
pub(crate) mod depose;
pub(crate) mod down;
pub(crate) mod isolate;
pub(crate) mod kill;
pub(crate) mod pause;
pub(crate) mod revival;
pub(crate) mod stop;

use kchaos_core::Target;

/// Every target that is found by its role.
pub(crate) const ROLES: &[Target] =
    &[Target::Leader, Target::Controller, Target::ZooKeeperLeader, Target::ZooKeeperFollower, Target::Follower, Target::Random];
