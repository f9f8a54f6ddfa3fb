//! `partition-halves`, `partition-ring` and `bridge`: hosts are cut from hosts, while clients reach all. Who from whom: `crate::partition`.

use kchaos_core::Target;

use crate::fault::{Need, Scope};
use crate::faults::cut;
use crate::faults::cut_lines::Way;
use crate::registry::Spec;

pub(crate) const SPEC: Spec = Spec {
    name: "partition",
    about: "hosts are cut from hosts while clients reach all: in halves, in a ring of majorities, or with a bridge between",
    targets: &[Target::Halves, Target::Ring, Target::Bridge],
    needs: &[Need::Firewall],
    scope: Scope::Host,
    plan: |ground, chosen| Box::pin(cut::plan(ground, chosen, cut::From::OtherSide, Way::Both)),
};
