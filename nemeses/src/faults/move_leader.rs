//! `move-leader`: another in-sync replica is made the preferred leader of what the busiest leader leads, and elected.
//!
//! Nothing fails: a broker hands its leaderships over in good order, and clients that do not refuse to hear of it find the new leader. The
//! assignment keeps its brokers and changes their order alone, so no data is copied; put back, the old leader is elected again.

use std::sync::Arc;

use kchaos_cluster::change::Change;
use kchaos_core::{Chosen, Target};

use crate::error::FaultError;
use crate::fault::{HostFault, Scope};
use crate::faults::asked;
use crate::ground::Ground;
use crate::registry::Spec;

pub(crate) const SPEC: Spec = Spec {
    name: "move",
    about: "leaderships handed to another in-sync replica by a preferred election (move-leader)",
    targets: &[Target::Leader],
    needs: &[],
    scope: Scope::Cluster,
    plan: |ground, chosen| Box::pin(plan(ground, chosen)),
};

async fn plan(ground: Arc<Ground>, chosen: Chosen) -> Result<Box<dyn HostFault>, FaultError> {
    let client = asked::client(&ground)?;
    let id = ground.daemon(&chosen.host, &chosen.daemon).map(|daemon| daemon.id);
    let mut changes = Vec::new();
    for (entry, seen) in asked::own_partitions(&ground, &client).await? {
        if seen.leader.is_none() || seen.leader != id {
            continue;
        }
        let Some(next) = seen.replicas.iter().copied().find(|replica| Some(*replica) != id && seen.isr.contains(replica)) else { continue };
        let mut after = seen.replicas.clone();
        after.retain(|replica| *replica != next);
        after.insert(0, next);
        changes.push(Change::Replicas { topic: entry.topic, partition: entry.partition, before: seen.replicas, after });
    }
    if changes.is_empty() {
        return Err(FaultError::refused(&ground.nemesis, format!("no partition led by {} has another replica in sync", chosen.daemon)));
    }
    asked::plan(ground, chosen, changes)
}
