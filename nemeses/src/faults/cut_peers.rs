//! `cut-peers`: a daemon is cut from those of its own kind.
//!
//! A broker keeps its session and its clients, and can neither replicate nor be replicated; a ZooKeeper keeps its clients and loses its
//! quorum (or leaves it).

use crate::fault::{Need, Scope};
use crate::faults::cut_lines::Way;
use crate::faults::{ROLES, cut};
use crate::registry::Spec;

pub(crate) const SPEC: Spec = Spec {
    name: "cut-peers",
    about: "the daemon is cut from those of its own kind: broker from brokers, ZooKeeper from its quorum",
    targets: ROLES,
    needs: &[Need::Firewall],
    scope: Scope::Host,
    plan: |ground, chosen| Box::pin(cut::plan(ground, chosen, cut::From::OwnKind, Way::Both)),
};
