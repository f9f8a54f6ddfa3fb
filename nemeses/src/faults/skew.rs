//! `skew`: the daemon's wall clock is 90 s behind, and right again when it is mended.
//!
//! Time goes backwards when it begins, which programs expect least. A host that lost its time daemon long ago looks like this. Where it is the clock of
//! a whole host, it falls behind bit by bit: half a second in each second.

use kchaos_cluster::inventory::ClockFault;

use crate::fault::{Need, Scope};
use crate::faults::clock;
use crate::registry::Spec;

const BEHIND_S: i64 = -90;

pub(crate) const SPEC: Spec = Spec {
    name: "skew",
    about: "the daemon's wall clock is 90 s behind (lab up --clock faketime; elsewhere the host's clock, with consent)",
    targets: clock::TARGETS,
    needs: &[Need::Clock],
    scope: Scope::Daemon,
    plan: |ground, chosen| Box::pin(clock::plan(ground, chosen, ClockFault::Skew, BEHIND_S)),
};
