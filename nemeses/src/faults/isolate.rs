//! `isolate`: the host is cut from all other hosts of the cluster, and its daemons from all clients; SSH stays.

use crate::fault::{Need, Scope};
use crate::faults::cut_lines::Way;
use crate::faults::{ROLES, cut};
use crate::registry::Spec;

pub(crate) const SPEC: Spec = Spec {
    name: "isolate",
    about: "cut from peers and clients; SSH stays",
    targets: ROLES,
    needs: &[Need::Firewall],
    scope: Scope::Host,
    plan: |ground, chosen| Box::pin(cut::plan(ground, chosen, cut::From::PeersAndClients, Way::Both)),
};
