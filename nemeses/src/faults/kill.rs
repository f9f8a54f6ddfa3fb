//! `kill`: SIGKILL, and down until it is mended.
//!
//! The host lives on, so its kernel closes the daemon's connections: clients and peers learn of it at once, while ZooKeeper keeps the
//! session until it expires. (Losing power or being cut off tells nobody anything.)

use crate::fault::{Need, Scope};
use crate::faults::{WIDE, down};
use crate::registry::Spec;

pub(crate) const SPEC: Spec = Spec {
    name: "kill",
    about: "SIGKILL, by pid and start time; down until mended",
    targets: WIDE,
    needs: &[Need::Signals, Need::Manager],
    scope: Scope::Daemon,
    plan: |ground, chosen| Box::pin(down::plan(ground, chosen, down::Way::Kill)),
};
