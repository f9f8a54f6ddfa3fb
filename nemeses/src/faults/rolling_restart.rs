//! `rolling-restart`: one daemon after another is stopped in good order and started, each back in sync before the next, as an upgrade does
//! it. A cluster should not lose a write by it, nor be without a leader for longer than a hand-over takes.

use kchaos_core::Target;

use crate::fault::{Need, Scope};
use crate::faults::restart;
use crate::registry::Spec;

pub(crate) const SPEC: Spec = Spec {
    name: "rolling-restart",
    about: "each broker (or ZooKeeper) restarted, one after another, each back in sync before the next",
    targets: &[Target::Cluster, Target::ZooKeeperAll],
    needs: &[Need::Manager],
    scope: Scope::OneByOne,
    plan: |ground, chosen| Box::pin(restart::plan(ground, chosen)),
};
