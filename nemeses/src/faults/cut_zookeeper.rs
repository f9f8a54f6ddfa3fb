//! `cut-zookeeper`: the broker is cut from ZooKeeper, and from nobody else.
//!
//! It goes on leading and replicating until its session ends; then others lead, and it hears of that from its followers alone. A ZooKeeper
//! on its own host is cut too, on loopback; of several brokers on a host, all are.

use crate::fault::{Need, Scope};
use crate::faults::cut_lines::Way;
use crate::faults::{BROKERS, cut};
use crate::registry::Spec;

pub(crate) const SPEC: Spec = Spec {
    name: "cut-zookeeper",
    about: "the broker is cut from ZooKeeper alone",
    targets: BROKERS,
    needs: &[Need::Firewall],
    scope: Scope::Host,
    plan: |ground, chosen| Box::pin(cut::plan(ground, chosen, cut::From::ZooKeeper, Way::Both)),
};
