//! `cut-clients`: nobody can ask the daemon but those of its own kind.
//!
//! A broker goes on leading, replicating and holding its session: no election helps its clients. Of a ZooKeeper the brokers are clients too.

use crate::fault::{Need, Scope};
use crate::faults::cut_lines::Way;
use crate::faults::{ROLES, cut};
use crate::registry::Spec;

pub(crate) const SPEC: Spec = Spec {
    name: "cut-clients",
    about: "clients cannot ask the daemon; its peers can",
    targets: ROLES,
    needs: &[Need::Firewall],
    scope: Scope::Daemon,
    plan: |ground, chosen| Box::pin(cut::plan(ground, chosen, cut::From::Clients, Way::Both)),
};
