//! Looking at a cluster without ZooKeeper: every broker and every controller asked by itself, all at once.
//!
//! No broker is believed alone: each answers from the metadata that it has replayed, and one that is cut off or has just come back answers with what
//! was. So the quorum's leader is asked how far each of them is, and whoever is furthest says which brokers there are; a partition is as the
//! highest leader epoch says, and its in-sync set as its leader of that epoch does. Metadata's own controller is of no use: brokers of KRaft name any
//! of themselves there (KIP-590). Fenced brokers are those that no client is told of.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::{join, join_all};

use super::look::{ViewError, host_names};
use super::{BrokerView, ControllerView, PartitionView, QuorumView, View};
use crate::inventory::{DaemonKind, Inventory};
use crate::protocol::{Client, Metadata, MetadataPartition, ProtocolError, Quorum, QuorumAnswer, Timeouts, controller_addresses};

pub(super) const TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_millis(1_000), request: Duration::from_millis(1_000) };

type Answers = BTreeMap<i32, Result<QuorumAnswer, ProtocolError>>;

pub(super) async fn look(inventory: &Inventory, client: &Client, topics: Option<&[String]>) -> Result<View, ViewError> {
    let brokers = inventory.daemons_of(DaemonKind::Kafka).map(|(_, daemon)| daemon.id);
    let metadata = join_all(brokers.map(async |id| (id, client.metadata(id, topics).await)));
    let addresses = controller_addresses(inventory);
    let quorum = join_all(addresses.iter().map(async |(id, address)| (*id, client.quorum(*id, address).await)));
    let (metadata, quorum) = join(metadata, quorum).await;
    let (mut told, mut silent) = (BTreeMap::new(), Vec::new());
    for (broker, answer) in metadata {
        match answer {
            Ok(metadata) => _ = told.insert(broker, metadata),
            Err(error) => silent.push(error.to_string()),
        }
    }
    view(inventory, &told, &quorum.into_iter().collect()).ok_or(ViewError::NoBroker(silent))
}

/// `None` if no broker told anything.
fn view(inventory: &Inventory, told: &BTreeMap<i32, Metadata>, answers: &Answers) -> Option<View> {
    let leader = newest_leader(answers).cloned();
    let reached = reached(leader.as_ref());
    let newest = told.iter().max_by_key(|(broker, metadata)| (reached.get(broker).copied(), metadata.brokers.len(), Reverse(**broker)));
    let (_, newest) = newest?;
    let hosts = host_names(inventory);
    let lag = |id: i32| leader_end(leader.as_ref()).zip(reached.get(&id)).map(|(end, reached)| (end - reached).max(0));
    let brokers: BTreeMap<i32, BrokerView> = newest
        .brokers
        .iter()
        .map(|endpoint| {
            let id = endpoint.broker;
            let view = BrokerView {
                host: hosts.get(&id).cloned(),
                endpoints: vec![format!("{}:{}", endpoint.host, endpoint.port)],
                rack: endpoint.rack.clone(),
                registered_zxid: None,
                knows_itself: Some(told.get(&id).is_some_and(|own| own.brokers.iter().any(|known| known.broker == id))),
                lag: lag(id),
            };
            (id, view)
        })
        .collect();
    let fenced = hosts.keys().copied().filter(|id| !brokers.contains_key(id)).collect();
    let controllers = inventory.controllers().map(|(host, daemon, _)| {
        let (mode, reason) = match answers.get(&daemon.id) {
            Some(Ok(QuorumAnswer::Leads(quorum))) if quorum.leader == leader.as_ref().and_then(|leader| leader.leader) => ("leader", None),
            Some(Ok(_)) => ("follower", None),
            Some(Err(error)) => ("none", Some(error.to_string())),
            None => ("none", None),
        };
        (daemon.id, ControllerView { host: host.name.clone(), mode: mode.to_owned(), lag: lag(daemon.id), reason })
    });
    let quorum = QuorumView {
        leader: leader.as_ref().and_then(|leader| leader.leader),
        leader_epoch: leader.as_ref().map(|leader| leader.leader_epoch),
        high_watermark: leader.as_ref().map(|leader| leader.high_watermark),
        controllers: controllers.collect(),
        fenced,
    };
    Some(View {
        cluster_id: newest.cluster_id.clone().unwrap_or_default(),
        brokers,
        controller: quorum.leader,
        controller_epoch: quorum.leader_epoch,
        partitions: partitions(newest, told),
        zookeepers: BTreeMap::new(),
        quorum: Some(quorum),
    })
}

/// One that was deposed may not know it yet: the highest epoch leads.
fn newest_leader(answers: &Answers) -> Option<&Quorum> {
    let leaders = answers.values().filter_map(|answer| match answer {
        Ok(QuorumAnswer::Leads(quorum)) => Some(quorum),
        _ => None,
    });
    leaders.max_by_key(|quorum| quorum.leader_epoch)
}

/// How far the log of each replica goes, as the leader knows.
fn reached(leader: Option<&Quorum>) -> BTreeMap<i32, i64> {
    let replicas = leader.into_iter().flat_map(|quorum| quorum.voters.iter().chain(&quorum.observers));
    replicas.map(|replica| (replica.id, replica.log_end_offset)).collect()
}

fn leader_end(leader: Option<&Quorum>) -> Option<i64> {
    let leader = leader?;
    leader.voters.iter().find(|voter| Some(voter.id) == leader.leader).map(|voter| voter.log_end_offset)
}

/// The topics of the broker that is furthest, each partition as the highest leader epoch says.
fn partitions(newest: &Metadata, told: &BTreeMap<i32, Metadata>) -> Vec<PartitionView> {
    let mut all: BTreeMap<(&str, i32), Vec<(i32, &MetadataPartition)>> = BTreeMap::new();
    let names: BTreeSet<&str> = newest.topics.iter().filter(|topic| topic.error == 0).map(|topic| topic.topic.as_str()).collect();
    for (broker, metadata) in told {
        for topic in metadata.topics.iter().filter(|topic| names.contains(topic.topic.as_str())) {
            for partition in &topic.partitions {
                all.entry((&topic.topic, partition.partition)).or_default().push((*broker, partition));
            }
        }
    }
    let views = all.into_iter().filter_map(|((topic, number), seen)| {
        let by_leader = |broker: i32, partition: &MetadataPartition| partition.leader == Some(broker);
        let (_, best) = seen.iter().max_by_key(|(broker, partition)| (partition.leader_epoch, by_leader(*broker, partition)))?;
        Some(PartitionView {
            topic: topic.to_owned(),
            partition: number,
            leader: best.leader,
            leader_epoch: best.leader_epoch,
            replicas: best.replicas.clone(),
            isr: best.isr.clone(),
        })
    });
    views.collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::protocol::{BrokerEndpoint, MetadataTopic, Peer, QuorumReplica};

    fn inventory() -> Inventory {
        let mut text =
            "[cluster]\nname = \"a\"\nenvironment = \"lab\"\nexpect_cluster_id = \"x\"\n[ssh]\nuser = \"root\"\nkey_file = \"k\"\n\
                        known_hosts_file = \"h\"\n[kafka]\nbootstrap = [\"b1:9092\"]\n"
                .to_owned();
        for (host, kind, id, port) in
            [("b1", "kafka", 1, 9092), ("b2", "kafka", 2, 9092), ("c1", "controller", 101, 9093), ("c2", "controller", 102, 9093)]
        {
            text += &format!(
                "[[host]]\nname = \"{host}\"\naddress = \"{host}\"\n[[host.daemon]]\nkind = \"{kind}\"\nid = {id}\nport = {port}\n\
                 start = \"a\"\nstop = \"b\"\nfind = {{ port = {port} }}\nlog_dir = \"/l\"\n"
            );
        }
        Inventory::parse(Path::new("kchaos.toml"), &text).unwrap()
    }

    fn metadata(brokers: &[i32], leader: i32, leader_epoch: i32, isr: &[i32]) -> Metadata {
        let endpoint = |id: &i32| BrokerEndpoint { broker: *id, host: format!("b{id}"), port: 9092, rack: None };
        let replicas = vec![1, 2];
        let partition =
            MetadataPartition { leader: Some(leader), leader_epoch, replicas, isr: isr.to_vec(), ..MetadataPartition::default() };
        let topics = vec![MetadataTopic { topic: "t".to_owned(), partitions: vec![partition], ..MetadataTopic::default() }];
        Metadata { brokers: brokers.iter().map(endpoint).collect(), cluster_id: Some("x".to_owned()), controller: Some(2), topics }
    }

    fn leads(leader: i32, leader_epoch: i32, reached: &[(i32, i64)]) -> Result<QuorumAnswer, ProtocolError> {
        let replica =
            |(id, log_end_offset): &(i32, i64)| QuorumReplica { id: *id, log_end_offset: *log_end_offset, ..QuorumReplica::default() };
        let voters = reached.iter().map(replica).collect();
        Ok(QuorumAnswer::Leads(Quorum { leader: Some(leader), leader_epoch, high_watermark: 9, voters, ..Quorum::default() }))
    }

    #[test]
    fn a_broker_that_is_cut_off_and_a_deposed_controller_are_not_believed() {
        let told = BTreeMap::from([(1, metadata(&[1, 2], 1, 4, &[1, 2])), (2, metadata(&[2], 2, 5, &[2]))]);
        let answers = Answers::from([(101, leads(101, 7, &[(1, 99), (2, 10)])), (102, leads(102, 8, &[(102, 30), (1, 10), (2, 30)]))]);
        let view = view(&inventory(), &told, &answers).unwrap();
        assert_eq!(view.brokers.keys().copied().collect::<Vec<_>>(), [2]);
        assert_eq!((view.controller, view.controller_epoch), (Some(102), Some(8)));
        assert_eq!((view.partitions[0].leader, view.partitions[0].leader_epoch, view.partitions[0].isr.as_slice()), (Some(2), 5, &[2][..]));
        let quorum = view.quorum.unwrap();
        assert_eq!(
            (quorum.fenced.as_slice(), quorum.controllers[&101].mode.as_str(), quorum.controllers[&102].mode.as_str()),
            (&[1][..], "follower", "leader")
        );
        assert_eq!((view.brokers[&2].lag, view.brokers[&2].knows_itself), (Some(0), Some(true)));
    }

    #[test]
    fn the_in_sync_set_is_the_leaders_own_word() {
        let told = BTreeMap::from([(1, metadata(&[1, 2], 1, 4, &[1, 2])), (2, metadata(&[1, 2], 1, 4, &[1]))]);
        let answers = Answers::from([(101, leads(101, 7, &[(1, 10), (2, 10)])), (102, Ok(QuorumAnswer::Follows))]);
        assert_eq!(view(&inventory(), &told, &answers).unwrap().partitions[0].isr, [1, 2]);
    }

    #[test]
    fn without_a_quorum_there_is_no_controller_and_without_a_broker_no_view() {
        let silent =
            || Err(ProtocolError::Timeout { peer: Peer { broker: None, address: "c1:9093".to_owned() }, what: "x", timeout_ms: 1 });
        let answers = || Answers::from([(101, silent()), (102, Ok(QuorumAnswer::Follows))]);
        let told = BTreeMap::from([(1, metadata(&[1, 2], 1, 4, &[1, 2]))]);
        let seen = view(&inventory(), &told, &answers()).unwrap();
        assert_eq!((seen.controller, seen.brokers[&1].lag, seen.brokers[&2].knows_itself), (None, None, Some(false)));
        assert_eq!(seen.quorum.unwrap().controllers[&101].mode, "none");
        assert_eq!(view(&inventory(), &BTreeMap::new(), &answers()), None);
    }
}
