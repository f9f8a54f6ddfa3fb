//! The ordering service against librdkafka's own mock brokers.

mod common;

use std::time::Duration;

use common::{acked_and_read, check_processes, finale};
use kchaos_core::{Body, OpType};
use kchaos_workloads::{Options, OrderOptions, find};
use rdkafka::mocking::MockCluster;

#[test]
fn orderers_that_are_late_and_restarted_cut_the_same_blocks() {
    let cluster = MockCluster::new(1).unwrap();
    let order =
        OrderOptions { value_bytes_max: 800, large_bytes: 0, batch_messages: 5, restart_every_ms: 500, late: 1, ..OrderOptions::default() };
    let options = Options {
        replication_factor: 1,
        min_insync_replicas: 1,
        partitions: 2,
        producers: 3,
        consumers: 0,
        rate: 50.0,
        order: Some(order),
        ..Options::default()
    };
    let (context, memory) = common::context("mock", cluster.bootstrap_servers());
    let workload = (find("order").unwrap().build)(&options).unwrap();
    for topic in workload.topics("mock") {
        cluster.create_topic(&topic.name, 1, 1).unwrap();
    }
    let mut running = workload.start(context).unwrap();
    std::thread::sleep(Duration::from_secs(6));
    running.stop_writes(Duration::from_secs(5));
    let outcome = finale(running.as_mut());
    assert!(outcome.is_complete(), "{outcome:?}");
    let order = outcome.order.clone().unwrap();
    assert_eq!((order.disagreements, order.behind.len()), (0, 0), "{order:?}");
    assert!(order.blocks.len() == 2 && order.blocks.values().all(|blocks| *blocks > 5), "{order:?}");
    let sizes = running.latency_by_size();
    assert!(sizes.len() == 1 && sizes[0].ok > 100, "{sizes:?}");
    assert!(running.stop(Duration::from_secs(5)).left_behind.is_empty());

    let drafts = memory.take();
    check_processes(&drafts);
    let (acked, read) = acked_and_read(&drafts);
    assert!(acked.len() > 100 && acked.keys().all(|id| read.contains_key(id)));
    // A restart takes with it what waited at its key's gate.
    let failed = drafts.iter().filter(|draft| draft.op_type == OpType::Fail).map(|draft| draft.error.as_deref().unwrap());
    assert!(failed.clone().all(|message| message.contains("never handed to the client")), "{:?}", failed.collect::<Vec<_>>());
    let restarts = drafts.iter().filter(|draft| draft.op_type == OpType::Info && draft.body == Body::Crash).count();
    assert!(restarts >= 4, "{restarts} ends of readers and producers");
}
