//! `depose`: the host is cut from all other hosts of the cluster while clients still reach it.
//!
//! A deposed leader goes on acknowledging acks=1 writes that nobody else has, until some seconds after the heal: nearly all of them are
//! lost. With acks=all it acknowledges nothing that can be lost.

use kchaos_core::Target;

use crate::fault::{Need, Scope};
use crate::faults::cut;
use crate::faults::cut_lines::Way;
use crate::registry::Spec;

pub(crate) const SPEC: Spec = Spec {
    name: "depose",
    about: "cut from peers and ZooKeeper while clients still reach it (deposed-leader)",
    targets: &[Target::Leader, Target::Controller, Target::QuorumLeader, Target::ZooKeeperLeader],
    needs: &[Need::Firewall],
    scope: Scope::Host,
    plan: |ground, chosen| Box::pin(cut::plan(ground, chosen, cut::From::Peers, Way::Both)),
};
