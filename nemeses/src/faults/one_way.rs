//! `one-way-in` and `one-way-out`: packets of peers and clients pass in one direction only.
//!
//! What is not heard is not answered, so no new connection comes about in either case; but what the deaf host says is heard, and what is
//! said to the mute one arrives: requests are carried out whose answers nobody gets.

use crate::fault::{Need, Scope};
use crate::faults::cut_lines::Way;
use crate::faults::{ROLES, cut};
use crate::registry::Spec;

pub(crate) const IN: Spec = Spec {
    name: "one-way-in",
    about: "deaf: what peers and clients say to the host is dropped; what it says arrives",
    targets: ROLES,
    needs: &[Need::Firewall],
    scope: Scope::Host,
    plan: |ground, chosen| Box::pin(cut::plan(ground, chosen, cut::From::PeersAndClients, Way::In)),
};

pub(crate) const OUT: Spec = Spec {
    name: "one-way-out",
    about: "mute: what the host says to peers and clients is dropped; what they say arrives",
    targets: ROLES,
    needs: &[Need::Firewall],
    scope: Scope::Host,
    plan: |ground, chosen| Box::pin(cut::plan(ground, chosen, cut::From::PeersAndClients, Way::Out)),
};
