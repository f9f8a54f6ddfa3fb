//! `bump`: the daemon's wall clock jumps 90 s ahead, and back when it is mended.
//!
//! What Kafka stamps with it is in the future then: appended records under `LogAppendTime`, retention, the age of transactions and of group
//! members' data. Sessions are counted by the monotonic clock, and are to take no harm.

use kchaos_cluster::inventory::ClockFault;

use crate::fault::{Need, Scope};
use crate::faults::clock;
use crate::registry::Spec;

const AHEAD_S: i64 = 90;

pub(crate) const SPEC: Spec = Spec {
    name: "bump",
    about: "the daemon's wall clock jumps 90 s ahead (lab up --clock faketime; elsewhere the host's clock, with consent)",
    targets: clock::TARGETS,
    needs: &[Need::Clock],
    scope: Scope::Daemon,
    plan: |ground, chosen| Box::pin(clock::plan(ground, chosen, ClockFault::Bump, AHEAD_S)),
};
