//! The append workload against a real cluster: `KCHAOS_TEST_BOOTSTRAP=HOST:PORT cargo test -p kchaos-workloads -- --ignored`.
//! `KCHAOS_TEST_REPLICATION` (default 3) is lowered for a cluster of one broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kchaos_core::{Body, Clock, Draft, OpType, Process, Recorder, Stamp};
use kchaos_workloads::{Context, FinalTarget, LogRing, Options, WorkloadError, create_topics, delete_topics, find};

struct RunClock(Instant);

impl Clock for RunClock {
    fn now_ns(&self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

#[derive(Default)]
struct Memory(Mutex<Vec<Draft>>);

impl Recorder for Memory {
    fn record(&self, draft: Draft) -> Stamp {
        let mut drafts = self.0.lock().unwrap();
        drafts.push(draft);
        Stamp { index: drafts.len() as u64 - 1, time_ns: 0 }
    }
}

fn context(run_id: &str) -> (Context, Arc<Memory>, u32) {
    let bootstrap = std::env::var("KCHAOS_TEST_BOOTSTRAP").expect("KCHAOS_TEST_BOOTSTRAP names a cluster to write to");
    let replication = std::env::var("KCHAOS_TEST_REPLICATION").map_or(3, |text| text.parse().unwrap());
    let memory = Arc::new(Memory::default());
    let context = Context {
        run_id: format!("{run_id}-{}", std::process::id()),
        seed: 7,
        bootstrap,
        properties: BTreeMap::new(),
        recorder: memory.clone(),
        clock: Arc::new(RunClock(Instant::now())),
        log: Arc::new(LogRing::new(100)),
    };
    (context, memory, replication)
}

/// Every invoke has one completion of its process, which does one thing at a time.
fn check_processes(drafts: &[Draft]) {
    let mut open: BTreeMap<Process, &str> = BTreeMap::new();
    for draft in drafts {
        if draft.op_type == OpType::Invoke {
            assert_eq!(open.insert(draft.process, draft.body.f()), None, "{draft:?}");
        } else {
            assert_eq!(open.remove(&draft.process), Some(draft.body.f()), "{draft:?}");
        }
    }
    assert!(open.is_empty(), "never completed: {open:?}");
}

#[test]
#[ignore = "needs a cluster"]
fn what_is_acknowledged_is_read_in_the_finale() {
    let (context, memory, replication_factor) = context("live");
    let min_insync_replicas = replication_factor.min(2);
    let options = Options { rate: 1_000.0, replication_factor, min_insync_replicas, ..Options::default() };
    let workload = (find("append").unwrap().build)(&options).unwrap();
    let topics = workload.topics(&context.run_id);
    create_topics(&context, &topics, Duration::from_secs(30)).unwrap();
    let again = create_topics(&context, &topics, Duration::from_secs(30)).unwrap_err();
    assert!(matches!(again, WorkloadError::TopicInUse { .. }), "{again}");

    let mut running = workload.start(context.clone()).unwrap();
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(running.stop_writes(Duration::from_secs(10)).undecided, 0);
    let end = |offset: Option<i64>| offset.map_or(0, |offset| offset + 1);
    let targets: Vec<FinalTarget> = running
        .counts()
        .keys
        .iter()
        .map(|key| FinalTarget { key: key.key, start: 0, end: end(key.acked_offset_max), leader_epoch: 1_000 })
        .collect();
    let outcome = running.finale(&targets, Duration::from_secs(30));
    assert!(outcome.is_complete(), "{outcome:?}");
    let counts = running.counts();
    assert_eq!((counts.outstanding(), counts.fail, counts.corrupt), (0, 0, 0), "{counts:?}");
    assert!(counts.ok > 3_000, "{counts:?}");
    assert!(running.stop(Duration::from_secs(10)).left_behind.is_empty());

    let drafts = memory.0.lock().unwrap();
    check_processes(&drafts);
    let mut acked = BTreeSet::new();
    let mut read = BTreeSet::new();
    for draft in drafts.iter().filter(|draft| draft.op_type == OpType::Ok) {
        match &draft.body {
            Body::Send(sends) => acked.extend(sends.iter().map(|send| (send.key, send.offset.unwrap(), send.value))),
            Body::Poll(Some(polled)) if draft.extra.is_final => {
                read.extend(polled.0.iter().flat_map(|(key, records)| records.iter().map(|(offset, value)| (*key, *offset, *value))));
                assert!(!draft.extra.leader_epochs.is_empty());
            }
            _ => (),
        }
    }
    assert_eq!(acked, read);
    delete_topics(&context, &topics.into_iter().map(|topic| topic.name).collect::<Vec<_>>(), Duration::from_secs(30)).unwrap();
}

#[test]
#[ignore = "needs a cluster"]
fn a_position_beyond_the_log_is_recorded_and_read_again_from_the_start() {
    let (context, memory, replication_factor) = context("live-range");
    let min_insync_replicas = replication_factor.min(2);
    let options = Options { rate: 200.0, consumers: 1, replication_factor, min_insync_replicas, ..Options::default() };
    let workload = (find("append").unwrap().build)(&options).unwrap();
    let topics = workload.topics(&context.run_id);
    create_topics(&context, &topics, Duration::from_secs(30)).unwrap();
    let mut running = workload.start(context.clone()).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    running.stop_writes(Duration::from_secs(10));
    // A finale that is told of a start beyond the end.
    let outcome = running.finale(&[FinalTarget { key: 0, start: 1_000_000, end: 1_000_001, leader_epoch: 0 }], Duration::from_secs(4));
    assert!(!outcome.is_complete() && !outcome.keys[0].is_complete, "{outcome:?}");
    assert!(outcome.errors.iter().any(|error| error.contains("OFFSET")), "{outcome:?}");
    running.stop(Duration::from_secs(10));
    let drafts = memory.0.lock().unwrap();
    check_processes(&drafts);
    let failed = |draft: &&Draft| draft.extra.is_final && draft.op_type == OpType::Fail && matches!(draft.body, Body::Poll(_));
    assert!(drafts.iter().any(|draft| failed(&draft)));
    delete_topics(&context, &topics.into_iter().map(|topic| topic.name).collect::<Vec<_>>(), Duration::from_secs(30)).unwrap();
}

#[test]
fn an_unreachable_cluster_is_a_clear_error_in_time() {
    let context = Context {
        run_id: "r".into(),
        seed: 1,
        // Nothing listens on the discard port.
        bootstrap: "127.0.0.1:9".into(),
        properties: BTreeMap::new(),
        recorder: Arc::new(Memory::default()),
        clock: Arc::new(RunClock(Instant::now())),
        log: Arc::new(LogRing::new(10)),
    };
    let topics = (find("append").unwrap().build)(&Options::default()).unwrap().topics("r");
    let begin = Instant::now();
    let error = create_topics(&context, &topics, Duration::from_secs(2)).unwrap_err();
    assert!(matches!(error, WorkloadError::Cluster { .. }), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(12));
}
