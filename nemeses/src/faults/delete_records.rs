//! `delete-records`: the older half of each of the run's partitions is deleted while it is written to and read from.
//!
//! It cannot be put back, and so is done to the run's own topics alone. What was deleted is not owed to anybody: the run tells where each
//! log starts, and below that nothing counts as lost.

use std::sync::Arc;
use std::time::Duration;

use kchaos_cluster::change::Change;
use kchaos_cluster::protocol::{Client, LogBounds, ProtocolError};
use kchaos_core::{Chosen, KeyEntry, Target};

use crate::error::FaultError;
use crate::fault::{HostFault, Scope};
use crate::faults::asked;
use crate::ground::Ground;
use crate::registry::Spec;

pub(crate) const SPEC: Spec = Spec {
    name: "delete-records",
    about: "the older half of each of the run's partitions deleted, for good",
    targets: &[Target::Cluster],
    needs: &[],
    scope: Scope::Cluster,
    plan: |ground, chosen| Box::pin(plan(ground, chosen)),
};

const BOUNDS_TRIES: u32 = 20;

async fn plan(ground: Arc<Ground>, chosen: Chosen) -> Result<Box<dyn HostFault>, FaultError> {
    let client = asked::client(&ground)?;
    let mut changes = Vec::new();
    for (entry, seen) in asked::own_partitions(&ground, &client).await? {
        let name = format!("{}-{}", entry.topic, entry.partition);
        let leader = seen.leader.ok_or_else(|| FaultError::refused(&ground.nemesis, format!("{name} has no leader at this moment")))?;
        let bounds = bounds(&client, leader, &entry).await;
        let bounds = bounds.map_err(|error| FaultError::environment(&ground.nemesis, format!("the bounds of {name}"), error))?;
        let below = bounds.start + (bounds.end - bounds.start) / 2;
        if below > bounds.start {
            changes.push(Change::RecordsDeleted { topic: entry.topic, partition: entry.partition, below });
        }
    }
    if changes.is_empty() {
        return Err(FaultError::refused(&ground.nemesis, "the run's partitions hold no two records yet"));
    }
    asked::plan(ground, chosen, changes)
}

/// A leader that has just been elected does not say where its log ends until its followers have caught up with its epoch.
async fn bounds(client: &Client, leader: i32, entry: &KeyEntry) -> Result<LogBounds, ProtocolError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match client.log_bounds(leader, &entry.topic, entry.partition, -1).await {
            Err(error) if error.code().is_some() && tries < BOUNDS_TRIES => tokio::time::sleep(Duration::from_millis(500)).await,
            other => return other,
        }
    }
}
