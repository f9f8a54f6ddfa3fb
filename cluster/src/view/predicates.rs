//! What the runner and the nemeses wait for, and what is still lacking, in words for the error when the waiting was in vain.

use std::collections::BTreeSet;

use super::{PartitionView, View};
use crate::inventory::{DaemonKind, Inventory};

/// Every partition of these topics has a leader and all its replicas in the ISR. A topic that is not in the view is not whole.
pub fn isr_full(view: &View, topics: &[String]) -> bool {
    isr_lacking(view, topics).is_empty()
}

/// Every broker of the inventory is registered, and not fenced.
pub fn all_registered(view: &View, inventory: &Inventory) -> bool {
    registrations_lacking(view, inventory).is_empty()
}

/// Every partition of these topics is led by its first replica.
pub fn preferred_leaders(view: &View, topics: &[String]) -> bool {
    leaders_lacking(view, topics).is_empty()
}

/// One line for each partition that keeps [`isr_full`] from holding.
pub fn isr_lacking(view: &View, topics: &[String]) -> Vec<String> {
    lacking(view, topics, |partition| {
        let set = |brokers: &[i32]| brokers.iter().copied().collect::<BTreeSet<_>>();
        if partition.leader.is_none() {
            Some("no leader".to_owned())
        } else if set(&partition.isr) != set(&partition.replicas) {
            Some(format!("ISR {:?} of replicas {:?}", partition.isr, partition.replicas))
        } else {
            None
        }
    })
}

/// One line for each broker that is not registered.
pub fn registrations_lacking(view: &View, inventory: &Inventory) -> Vec<String> {
    let daemons = inventory.hosts.iter().flat_map(|host| host.daemons.iter().map(move |daemon| (host, daemon)));
    daemons
        .filter(|(_, daemon)| daemon.kind == DaemonKind::Kafka && !view.brokers.contains_key(&daemon.id))
        .map(|(host, daemon)| format!("broker {} ({}) is not registered", daemon.id, host.name))
        .collect()
}

/// One line for each partition that is not led by its first replica.
pub fn leaders_lacking(view: &View, topics: &[String]) -> Vec<String> {
    lacking(view, topics, |partition| {
        let (leader, preferred) = (partition.leader, partition.replicas.first().copied());
        (leader != preferred || leader.is_none()).then(|| format!("led by {}, not by {}", name(leader), name(preferred)))
    })
}

fn lacking(view: &View, topics: &[String], why: impl Fn(&PartitionView) -> Option<String>) -> Vec<String> {
    let absent = topics.iter().filter(|topic| !view.partitions.iter().any(|partition| partition.topic == **topic));
    let absent = absent.map(|topic| format!("topic {topic} is not there"));
    let partitions = view.partitions.iter().filter(|partition| topics.contains(&partition.topic));
    let partitions = partitions.filter_map(|each| why(each).map(|why| format!("{}-{}: {why}", each.topic, each.partition)));
    absent.chain(partitions).collect()
}

fn name(broker: Option<i32>) -> String {
    broker.map_or_else(|| "none".to_owned(), |broker| broker.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(leader: Option<i32>, replicas: &[i32], isr: &[i32]) -> View {
        let partition =
            PartitionView { topic: "t".to_owned(), partition: 0, leader, leader_epoch: 1, replicas: replicas.to_vec(), isr: isr.to_vec() };
        View { partitions: vec![partition], ..View::default() }
    }

    #[test]
    fn the_isr_is_full_whatever_its_order() {
        let topics = ["t".to_owned()];
        let check = |view: View, expect: &[&str]| assert_eq!(isr_lacking(&view, &topics), expect);
        check(view(Some(1), &[1, 2, 3], &[3, 1, 2]), &[]);
        check(view(Some(1), &[1, 2, 3], &[1, 2]), &["t-0: ISR [1, 2] of replicas [1, 2, 3]"]);
        check(view(None, &[1, 2], &[1, 2]), &["t-0: no leader"]);
        check(View::default(), &["topic t is not there"]);
    }

    #[test]
    fn the_preferred_leader_is_the_first_replica() {
        let topics = ["t".to_owned()];
        assert!(preferred_leaders(&view(Some(2), &[2, 1], &[1]), &topics));
        assert_eq!(leaders_lacking(&view(Some(1), &[2, 1], &[1]), &topics), ["t-0: led by 1, not by 2"]);
        assert_eq!(leaders_lacking(&view(None, &[2, 1], &[1]), &topics), ["t-0: led by none, not by 2"]);
        assert!(!preferred_leaders(&view(None, &[], &[]), &topics));
        assert!(!preferred_leaders(&View::default(), &topics));
    }
}
