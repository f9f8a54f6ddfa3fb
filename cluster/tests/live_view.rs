//! The view and the protocol client against a running cluster: `KCHAOS_INVENTORY=kchaos.toml cargo test -p kchaos-cluster --test live_view
//! -- --ignored` (in a lab: inside its network namespace, by `nsenter --net=…`). They only read; some topic must be there.

use std::sync::Arc;
use std::time::Duration;

use kchaos_cluster::inventory::Inventory;
use kchaos_cluster::protocol::{Client, Timeouts};
use kchaos_cluster::view::{PartitionView, Viewer, all_registered, cluster_id, effective_config, isr_full, isr_lacking, topic_config};

fn inventory() -> Inventory {
    let path =
        std::env::var("KCHAOS_INVENTORY").expect("KCHAOS_INVENTORY names no inventory: set it to the kchaos.toml of a running cluster");
    toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap()
}

#[tokio::test]
#[ignore = "needs a running cluster"]
async fn the_view_agrees_with_each_brokers_own_metadata() {
    let inventory = Arc::new(inventory());
    let view = Viewer::new(inventory.clone()).look(None).await.unwrap();
    assert_eq!(view.cluster_id, cluster_id(&inventory).await.unwrap());
    assert!(all_registered(&view, &inventory));
    assert_eq!(view.zookeepers.len(), inventory.zookeeper.connect.len());
    let modes = |mode: &str| view.zookeepers.values().filter(|server| server.mode == mode).count();
    assert_eq!(modes("leader") + modes("standalone"), 1, "{:?}", view.zookeepers);
    let client = Client::new(&inventory, Timeouts::default()).unwrap();
    for broker in view.brokers.keys() {
        let metadata = client.metadata(*broker, None).await.unwrap();
        assert_eq!(metadata.cluster_id.as_ref(), Some(&view.cluster_id));
        let mut partitions = Vec::new();
        for topic in metadata.topics {
            partitions.extend(topic.partitions.into_iter().map(|partition| PartitionView {
                topic: topic.topic.clone(),
                partition: partition.partition,
                leader: partition.leader,
                leader_epoch: partition.leader_epoch,
                replicas: partition.replicas,
                isr: partition.isr,
            }));
        }
        partitions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        assert_eq!(partitions, view.partitions, "broker {broker} believes otherwise");
    }
}

#[tokio::test]
#[ignore = "needs a running cluster"]
async fn log_bounds_come_only_from_the_leader_at_its_epoch() {
    let inventory = inventory();
    let view = Viewer::new(Arc::new(inventory.clone())).look(None).await.unwrap();
    let client = Client::new(&inventory, Timeouts::default()).unwrap();
    let partition = view.partitions.first().expect("no topic in the cluster");
    let (leader, epoch) = (partition.leader.unwrap(), partition.leader_epoch);
    let ask =
        async |broker, epoch| client.log_bounds(broker, &partition.topic, partition.partition, epoch).await.map_err(|error| error.code());
    let bounds = ask(leader, epoch).await.unwrap();
    assert!(bounds.start <= bounds.end, "{bounds:?}");
    assert_eq!(ask(leader, -1).await.unwrap(), bounds);
    assert_eq!(ask(leader, epoch + 1).await, Err(Some(75)));
    if epoch > 0 {
        assert_eq!(ask(leader, epoch - 1).await, Err(Some(74)));
    }
    for follower in partition.replicas.iter().filter(|replica| **replica != leader) {
        assert_eq!(ask(*follower, epoch).await, Err(Some(6)));
    }
}

#[tokio::test]
#[ignore = "needs a running cluster"]
async fn settings_in_force_are_read_back_without_secrets() {
    let inventory = inventory();
    let view = Viewer::new(Arc::new(inventory.clone())).look(None).await.unwrap();
    for broker in view.brokers.keys() {
        let config = effective_config(&inventory, *broker).await.unwrap();
        assert_eq!(config["broker.id"].value, Some(broker.to_string()));
        assert!(config.len() > 100);
        assert!(config.values().all(|entry| !entry.is_sensitive || entry.value.is_none()));
    }
    let topic = &view.partitions.first().expect("no topic in the cluster").topic;
    assert!(topic_config(&inventory, topic).await.unwrap().contains_key("min.insync.replicas"));
    assert!(topic_config(&inventory, "kchaos-no-such-topic").await.is_err());
}

#[tokio::test]
#[ignore = "needs a running cluster"]
async fn waiting_in_vain_says_what_was_lacking() {
    let inventory = Arc::new(inventory());
    let topics = ["kchaos-no-such-topic".to_owned()];
    let viewer = Viewer::new(inventory);
    let error = viewer.wait_for(Some(&topics), Duration::from_secs(1), |view| isr_lacking(view, &topics)).await.unwrap_err();
    assert!(error.to_string().ends_with("topic kchaos-no-such-topic is not there"), "{error}");
    assert!(!isr_full(&viewer.look(Some(&topics)).await.unwrap(), &topics));
}
