//! `remove`: a broker leaves as its operator would take it out. Every replica of the run's own topics is reassigned away from it, the cluster says that
//! it is so, and then the broker is stopped by its own command. Mended, it is added: started, registered, and given its replicas back.
//!
//! Others' topics are not touched, so theirs lack a replica meanwhile, as when a broker is stopped. Where no other broker is free for a replica the
//! partition has one fewer, but never fewer than two, nor than `min.insync.replicas`.
//!
//! When a run dies, the host's lease starts the broker; what holds which replica is put back by `kchaos heal` and the next run, who can ask the cluster.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use kchaos_cluster::change::Change;
use kchaos_cluster::inventory::DaemonKind;
use kchaos_core::{Chosen, Interval, Proof};

use crate::error::FaultError;
use crate::fault::{HostFault, Injected, Need, Scope, Undo};
use crate::faults::reassign::min_insync;
use crate::faults::{BROKERS, asked, down};
use crate::ground::Ground;
use crate::registry::Spec;

pub(crate) const SPEC: Spec = Spec {
    name: "remove",
    about: "every replica of the run's topics is reassigned away from the broker, which is then stopped; mended, it is added again",
    targets: BROKERS,
    needs: &[Need::Manager],
    scope: Scope::Removed,
    plan: |ground, chosen| Box::pin(plan(ground, chosen)),
};

struct Remove {
    ground: Arc<Ground>,
    /// The replicas.
    moved: Box<dyn HostFault>,
    /// The daemon.
    stopped: Box<dyn HostFault>,
}

async fn plan(ground: Arc<Ground>, chosen: Chosen) -> Result<Box<dyn HostFault>, FaultError> {
    let refused = |reason: String| FaultError::refused(&ground.nemesis, reason);
    let entry = ground.daemon(&chosen.host, &chosen.daemon).filter(|entry| entry.kind == DaemonKind::Kafka);
    let id = entry.ok_or_else(|| refused(format!("{} on {} is no broker", chosen.daemon, chosen.host)))?.id;
    let client = asked::client(&ground)?;
    let view = ground.shared.view().await.map_err(|error| asked::environment(&ground, "the brokers could not be looked at", error.0))?;
    let brokers: BTreeSet<i32> = view.brokers.keys().copied().collect();
    let mut changes = Vec::new();
    for (place, (entry, seen)) in asked::own_partitions(&ground, &client).await?.into_iter().enumerate() {
        if !seen.replicas.contains(&id) {
            continue;
        }
        let least = min_insync(&client, &entry.topic).await.max(2);
        let turn = usize::try_from(ground.seed % 97).unwrap_or(0) + place;
        let after = without(&seen.replicas, id, &brokers, least, turn).ok_or_else(|| {
            refused(format!(
                "{}-{} has replicas {:?}: no other broker is there for that of broker {id}, and fewer than {least} are not asked for",
                entry.topic, entry.partition, seen.replicas
            ))
        })?;
        changes.push(Change::Replicas { topic: entry.topic, partition: entry.partition, before: seen.replicas, after });
    }
    if changes.is_empty() {
        return Err(refused(format!("broker {id} holds no replica of the run's topics: stop is what is left of remove")));
    }
    let stopped = down::plan(Arc::clone(&ground), chosen.clone(), down::Way::Stop).await?;
    let moved = asked::plan(Arc::clone(&ground), chosen, changes)?;
    Ok(Box::new(Remove { ground, moved, stopped }))
}

/// The order of the others stays, so the next of them is the preferred leader; a broker that has none yet comes last.
fn without(replicas: &[i32], id: i32, brokers: &BTreeSet<i32>, least: usize, turn: usize) -> Option<Vec<i32>> {
    let mut after: Vec<i32> = replicas.iter().copied().filter(|replica| *replica != id).collect();
    let free: Vec<i32> = brokers.iter().copied().filter(|broker| !replicas.contains(broker)).collect();
    if free.is_empty() {
        return (after.len() >= least && after.len() < replicas.len()).then_some(after);
    }
    after.push(free[turn % free.len()]);
    Some(after)
}

#[async_trait]
impl HostFault for Remove {
    fn host(&self) -> &str {
        self.stopped.host()
    }

    fn undo(&self) -> Undo {
        let (moved, stopped) = (self.moved.undo(), self.stopped.undo());
        // The host starts its daemon; that the cluster has put the rest back is for others to see.
        Undo { about: moved.about, mend: format!("{}\nreturn 1", stopped.mend), verify: moved.verify, ..stopped }
    }

    fn holds(&self) -> String {
        self.stopped.holds()
    }

    async fn inject(&self) -> Result<Injected, FaultError> {
        let asked = self.moved.inject().await?;
        let moved = self.moved.proof().await?;
        if !moved.proved {
            return Err(FaultError::NotProved { nemesis: self.ground.nemesis.clone(), text: moved.text });
        }
        let stopped = self.stopped.inject().await?;
        let when = Interval { after_ns: asked.when.after_ns, before_ns: stopped.when.before_ns };
        let mut effect = stopped.effect;
        effect.settings.extend(asked.effect.settings);
        Ok(Injected { when, effect })
    }

    /// That the replicas had gone was proved before the broker did.
    async fn proof(&self) -> Result<Proof, FaultError> {
        let stopped = self.stopped.proof().await?;
        let moved = self.moved.proof().await?;
        Ok(moved.and(&stopped))
    }

    async fn mend(&self) -> Result<Interval, String> {
        // A replica on a broker that is down would never be in sync.
        let up = self.stopped.mend().await?;
        let back = self.moved.mend().await?;
        Ok(Interval { after_ns: up.after_ns, before_ns: back.before_ns })
    }

    async fn mended(&self) -> Proof {
        self.stopped.mended().await.and(&self.moved.mended().await)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn brokers(count: i32) -> BTreeSet<i32> {
        (1..=count).collect()
    }

    #[test]
    fn the_replica_goes_to_a_free_broker_or_is_one_fewer_but_never_below_the_least() {
        assert_eq!(without(&[1, 2, 3], 1, &brokers(4), 2, 0), Some(vec![2, 3, 4]));
        assert_eq!(without(&[1, 2, 3], 2, &brokers(3), 2, 0), Some(vec![1, 3]));
        assert_eq!(without(&[1, 2, 3], 1, &brokers(3), 3, 0), None);
        assert_eq!(without(&[1, 2], 1, &brokers(2), 2, 0), None);
        assert_eq!(without(&[1], 1, &brokers(3), 2, 1), Some(vec![3]));
    }

    proptest! {
        #[test]
        fn nothing_is_left_on_the_broker_and_nothing_is_asked_of_one_that_is_not_there(
            replicas in proptest::sample::subsequence(vec![1, 2, 3, 4, 5], 1..=5), count in 1..6i32, least in 2..4usize, turn in 0..200usize,
        ) {
            let id = replicas[turn % replicas.len()];
            if let Some(after) = without(&replicas, id, &brokers(count), least, turn) {
                prop_assert!(!after.contains(&id));
                prop_assert!(after.iter().all(|broker| replicas.contains(broker) || (1..=count).contains(broker)));
                prop_assert!(!after.is_empty() && after.len() >= replicas.len().min(least));
                prop_assert_eq!(after.iter().collect::<BTreeSet<_>>().len(), after.len());
            }
        }
    }
}
