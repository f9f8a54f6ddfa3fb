//! The append workload against a real cluster: `KCHAOS_TEST_BOOTSTRAP=HOST:PORT cargo test -p kchaos-workloads -- --ignored`.
//! `KCHAOS_TEST_REPLICATION` (default 3) is lowered for a cluster of one broker.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Memory, acked_and_read, check_processes, finale};
use kchaos_core::{Body, Draft, OpType};
use kchaos_workloads::{Context, FinalTarget, Options, TopicSpec, Workload, WorkloadError, create_topics, delete_topics, find};

struct Live {
    context: Context,
    memory: Arc<Memory>,
    workload: Box<dyn Workload>,
    topics: Vec<TopicSpec>,
}

impl Live {
    fn new(name: &str, options: Options) -> Self {
        let bootstrap = std::env::var("KCHAOS_TEST_BOOTSTRAP").expect("KCHAOS_TEST_BOOTSTRAP names a cluster to write to");
        let replication_factor = std::env::var("KCHAOS_TEST_REPLICATION").map_or(3, |text| text.parse().unwrap());
        let (context, memory) = common::context(&format!("{name}-{}", std::process::id()), bootstrap);
        let options = Options { replication_factor, min_insync_replicas: replication_factor.min(2), ..options };
        let workload = (find("append").unwrap().build)(&options).unwrap();
        let topics = workload.topics(&context.run_id);
        create_topics(&context, &topics, Duration::from_secs(30)).unwrap();
        Self { context, memory, workload, topics }
    }

    fn delete(&self) {
        let names: Vec<String> = self.topics.iter().map(|topic| topic.name.clone()).collect();
        delete_topics(&self.context, &names, Duration::from_secs(30)).unwrap();
    }
}

#[test]
#[ignore = "needs a cluster"]
fn what_is_acknowledged_is_read_in_the_finale() {
    let live = Live::new("live", Options { rate: 1_000.0, ..Options::default() });
    let again = create_topics(&live.context, &live.topics, Duration::from_secs(30)).unwrap_err();
    assert!(matches!(again, WorkloadError::TopicInUse { .. }), "{again}");

    let mut running = live.workload.start(live.context.clone()).unwrap();
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(running.stop_writes(Duration::from_secs(10)).undecided, 0);
    let outcome = finale(running.as_mut());
    assert!(outcome.is_complete() && outcome.keys.iter().all(|key| key.leader_epoch.is_some()), "{outcome:?}");
    let counts = running.counts();
    assert_eq!((counts.outstanding(), counts.fail, counts.corrupt), (0, 0, 0), "{counts:?}");
    assert!(counts.ok > 3_000, "{counts:?}");
    assert!(running.stop(Duration::from_secs(10)).left_behind.is_empty());

    let drafts = live.memory.take();
    check_processes(&drafts);
    let (acked, read) = acked_and_read(&drafts);
    assert_eq!(acked, read.into_iter().map(|(id, offset)| (id, Some(offset))).collect());
    live.delete();
}

#[test]
#[ignore = "needs a cluster"]
fn a_position_beyond_the_log_is_recorded_as_a_failed_poll() {
    let live = Live::new("live-range", Options { rate: 200.0, consumers: 1, ..Options::default() });
    let mut running = live.workload.start(live.context.clone()).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    running.stop_writes(Duration::from_secs(10));
    let beyond = FinalTarget { key: 0, start: 1_000_000, end: 1_000_001, leader_epoch: 0 };
    let outcome = running.finale(&[beyond], Duration::from_secs(4));
    assert!(!outcome.is_complete() && !outcome.keys[0].is_complete, "{outcome:?}");
    assert!(outcome.errors.iter().any(|error| error.contains("OFFSET")), "{outcome:?}");
    running.stop(Duration::from_secs(10));
    let drafts = live.memory.take();
    check_processes(&drafts);
    let is_failed = |draft: &Draft| draft.extra.is_final && draft.op_type == OpType::Fail && matches!(draft.body, Body::Poll(_));
    assert!(drafts.iter().any(is_failed));
    live.delete();
}

#[test]
fn an_unreachable_cluster_is_a_clear_error_in_time() {
    // Nothing listens on the discard port.
    let (context, _) = common::context("r", "127.0.0.1:9".to_owned());
    let topics = (find("append").unwrap().build)(&Options::default()).unwrap().topics("r");
    let begin = Instant::now();
    let error = create_topics(&context, &topics, Duration::from_secs(2)).unwrap_err();
    assert!(matches!(error, WorkloadError::Cluster { .. }), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(12));
}
