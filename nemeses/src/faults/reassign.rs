//! `reassign`: one replica of each of the run's partitions moves to a broker that has none; where every broker has one, it is taken away,
//! and copied anew when it is put back.
//!
//! Never below two replicas, nor below `min.insync.replicas`: what is asked for is a change, not a loss.

use std::collections::BTreeSet;
use std::sync::Arc;

use kchaos_cluster::change::Change;
use kchaos_cluster::protocol::Client;
use kchaos_core::{Chosen, Target};

use crate::error::FaultError;
use crate::fault::{HostFault, Scope};
use crate::faults::asked;
use crate::ground::Ground;
use crate::registry::Spec;

pub(crate) const SPEC: Spec = Spec {
    name: "reassign",
    about: "a replica of each of the run's partitions moved to another broker, or taken away, and back",
    targets: &[Target::Cluster],
    needs: &[],
    scope: Scope::Cluster,
    plan: |ground, chosen| Box::pin(plan(ground, chosen)),
};

async fn plan(ground: Arc<Ground>, chosen: Chosen) -> Result<Box<dyn HostFault>, FaultError> {
    let client = asked::client(&ground)?;
    let view = ground.shared.view().await.map_err(|error| asked::environment(&ground, "the brokers could not be looked at", error.0))?;
    let brokers: BTreeSet<i32> = view.brokers.keys().copied().collect();
    let mut changes = Vec::new();
    for (place, (entry, seen)) in asked::own_partitions(&ground, &client).await?.into_iter().enumerate() {
        let least = min_insync(&client, &entry.topic).await.max(2);
        let turn = usize::try_from(ground.seed % 97).unwrap_or(0) + place;
        match elsewhere(&seen.replicas, &brokers, least, turn) {
            Some(after) => changes.push(Change::Replicas { topic: entry.topic, partition: entry.partition, before: seen.replicas, after }),
            None => {
                let reason = format!(
                    "{}-{} has replicas {:?}: no other broker is there, and fewer than {least} are not asked for",
                    entry.topic, entry.partition, seen.replicas
                );
                return Err(FaultError::refused(&ground.nemesis, reason));
            }
        }
    }
    asked::plan(ground, chosen, changes)
}

/// Where it cannot be asked, no less than there is.
pub(crate) async fn min_insync(client: &Client, topic: &str) -> usize {
    let config = client.topic_config(topic).await.ok();
    let value = config.and_then(|config| config.get("min.insync.replicas")?.value.clone()?.parse().ok());
    value.unwrap_or(usize::MAX)
}

/// The preferred leader stays where it is, as long as it is not the only replica.
fn elsewhere(replicas: &[i32], brokers: &BTreeSet<i32>, least: usize, turn: usize) -> Option<Vec<i32>> {
    let free: Vec<i32> = brokers.iter().copied().filter(|broker| !replicas.contains(broker)).collect();
    let last = replicas.len().checked_sub(1)?;
    let mut after = replicas.to_vec();
    if !free.is_empty() {
        after[last] = free[turn % free.len()];
        return Some(after);
    }
    if replicas.len() <= least {
        return None;
    }
    after.remove(1 + turn % last);
    Some(after)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_replica_moves_to_a_free_broker_or_is_taken_away_but_not_the_last_two() {
        let brokers = |count: i32| (1..=count).collect::<BTreeSet<i32>>();
        assert_eq!(elsewhere(&[1, 2, 3], &brokers(4), 2, 0), Some(vec![1, 2, 4]));
        assert_eq!(elsewhere(&[1, 2, 3], &brokers(3), 2, 0), Some(vec![1, 3]));
        assert_eq!(elsewhere(&[1, 2, 3], &brokers(3), 2, 1), Some(vec![1, 2]));
        assert_eq!(elsewhere(&[1, 2], &brokers(2), 2, 0), None);
        assert_eq!(elsewhere(&[1, 2, 3], &brokers(3), 3, 0), None);
        assert_eq!(elsewhere(&[1], &brokers(2), 2, 0), Some(vec![2]));
        assert_eq!(elsewhere(&[], &brokers(2), 2, 0), None);
    }

    proptest! {
        #[test]
        fn what_is_asked_for_is_another_set_of_living_brokers(
            replicas in proptest::sample::subsequence(vec![1, 2, 3, 4, 5], 0..=5), count in 1..6i32, least in 2..4usize, turn in 0..200usize,
        ) {
            let brokers: BTreeSet<i32> = (1..=count).collect();
            if let Some(after) = elsewhere(&replicas, &brokers, least, turn) {
                let set: BTreeSet<i32> = after.iter().copied().collect();
                prop_assert_eq!(set.len(), after.len());
                prop_assert_ne!(&after, &replicas);
                prop_assert!(after.len() >= replicas.len().min(least));
            }
        }
    }
}
