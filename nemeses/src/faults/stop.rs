//! `stop`: the service's own stop command (a broker hands its leaderships over first), and down until it is mended.

use crate::fault::{Need, Scope};
use crate::faults::{WIDE, down};
use crate::registry::Spec;

pub(crate) const SPEC: Spec = Spec {
    name: "stop",
    about: "the service's own stop command; down until mended",
    targets: WIDE,
    needs: &[Need::Manager],
    scope: Scope::Daemon,
    plan: |ground, chosen| Box::pin(down::plan(ground, chosen, down::Way::Stop)),
};
