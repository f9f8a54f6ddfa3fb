//! The append workload against librdkafka's own mock brokers, which answer with whatever error is asked of them.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Memory, acked_and_read, check_processes, finale, send_errors};
use kchaos_core::{Body, Draft, OpType};
use kchaos_workloads::{Counts, Options, Running, find};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

struct Mock {
    cluster: MockCluster<'static, DefaultProducerContext>,
    memory: Arc<Memory>,
    running: Box<dyn Running>,
}

impl Mock {
    /// Starts the workload and waits for its first acknowledgements.
    fn start(options: Options) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        let options = Options { replication_factor: 1, min_insync_replicas: 1, partitions: 1, producers: 1, consumers: 1, ..options };
        let (context, memory) = common::context("mock", cluster.bootstrap_servers());
        let workload = (find("append").unwrap().build)(&options).unwrap();
        cluster.create_topic(&workload.topics("mock")[0].name, 1, 1).unwrap();
        let running = workload.start(context).unwrap();
        let mock = Self { cluster, memory, running };
        mock.wait("acknowledgements", |counts| counts.ok > 20);
        mock
    }

    fn wait(&self, what: &str, is_so: impl Fn(&Counts) -> bool) {
        for _ in 0..1_000 {
            if is_so(&self.running.counts()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("no {what}: {:?}", self.running.counts());
    }

    fn fail_produce(&self, error: RDKafkaRespErr, times: usize) {
        self.cluster.request_errors(RDKafkaApiKey::Produce, &vec![error; times]);
    }

    /// Goes on for a while after the trouble, ends, and gives the history.
    fn finish(mut self) -> Vec<Draft> {
        let ok = self.running.counts().ok;
        self.wait("acknowledgements after the trouble", |counts| counts.ok > ok + 20);
        self.running.stop_writes(Duration::from_secs(5));
        let outcome = finale(self.running.as_mut());
        assert!(outcome.is_complete(), "{outcome:?}");
        assert!(self.running.stop(Duration::from_secs(5)).left_behind.is_empty());
        let drafts = self.memory.take();
        check_processes(&drafts);
        drafts
    }
}

fn plain() -> Options {
    Options { idempotence: false, ..Options::default() }
}

/// What waited for its turn when the client died or the writing ended.
const NEVER_SENT: &str = "never handed to the client";

#[test]
fn what_is_acknowledged_is_read() {
    let drafts = Mock::start(Options::default()).finish();
    let (acked, read) = acked_and_read(&drafts);
    assert!(acked.len() >= 40 && acked.keys().all(|id| read.contains_key(id)));
    assert!(acked.iter().all(|(id, offset)| offset.is_some_and(|offset| read[id] == offset)));
}

#[test]
fn a_definite_refusal_of_the_first_attempt_fails() {
    let mock = Mock::start(plain());
    mock.fail_produce(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, 3);
    mock.wait("failed sends", |counts| counts.fail > 0);
    let drafts = mock.finish();
    let errors = send_errors(&drafts, OpType::Fail);
    assert!(errors.contains("TOPIC_AUTHORIZATION_FAILED (not persisted)"), "{errors:?}");
    assert!(errors.iter().all(|error| error.starts_with("TOPIC_AUTHORIZATION_FAILED")), "{errors:?}");
}

#[test]
fn a_definite_refusal_after_a_silent_retry_is_info() {
    let mock = Mock::start(plain());
    let errors = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]
        .repeat(20);
    mock.cluster.request_errors(RDKafkaApiKey::Produce, &errors);
    mock.wait("undecided sends", |counts| counts.info > 0);
    mock.cluster.clear_request_errors(RDKafkaApiKey::Produce);
    let drafts = mock.finish();
    assert!(send_errors(&drafts, OpType::Info).contains("TOPIC_AUTHORIZATION_FAILED (not persisted)"));
}

#[test]
fn an_indeterminate_error_without_retries_is_info() {
    let mock = Mock::start(Options { properties: vec![("retries".into(), "0".into())], ..plain() });
    mock.fail_produce(RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, 2);
    mock.wait("undecided sends", |counts| counts.info > 0);
    mock.fail_produce(RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, 2);
    mock.wait("failed sends", |counts| counts.fail > 0);
    let drafts = mock.finish();
    assert_eq!(send_errors(&drafts, OpType::Info), ["NOT_ENOUGH_REPLICAS_AFTER_APPEND (possibly persisted)".to_owned()].into());
    assert_eq!(send_errors(&drafts, OpType::Fail), ["NOT_ENOUGH_REPLICAS (not persisted)".to_owned()].into());
}

#[test]
fn an_acknowledgement_without_an_offset_has_none_for_the_whole_batch() {
    // Large batches, so that librdkafka counts up from the missing offset.
    let mock = Mock::start(Options { rate: 2_000.0, properties: vec![("linger.ms".into(), "20".into())], ..Options::default() });
    mock.fail_produce(RDKafkaRespErr::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER, 1);
    let drafts = mock.finish();
    let (acked, _) = acked_and_read(&drafts);
    assert!(acked.values().filter(|offset| offset.is_none()).count() > 1, "a whole batch");
    let mut offsets: Vec<_> = acked.values().flatten().collect();
    let count = offsets.len();
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!(offsets.len(), count, "no offset is acknowledged twice");
}

#[test]
fn a_client_that_is_declared_dead_is_replaced_and_its_sends_are_decided() {
    let mock = Mock::start(Options::default());
    mock.fail_produce(RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, 1);
    mock.wait("crash", |counts| counts.crashed == 1);
    let drafts = mock.finish();
    let crash = drafts.iter().find(|draft| draft.body == Body::Crash && draft.op_type == OpType::Info).unwrap();
    assert!(crash.error.as_ref().unwrap().contains("OUT_OF_ORDER_SEQUENCE_NUMBER"), "{crash:?}");
    let last = drafts.iter().rfind(|draft| matches!(draft.body, Body::Send(_))).unwrap();
    assert!(last.client > crash.client, "a new client sends");
    assert!(!send_errors(&drafts, OpType::Info).is_empty(), "what it had sent is in doubt");
    let failed = send_errors(&drafts, OpType::Fail);
    assert!(failed.iter().all(|error| error.ends_with("(refused by the client)") || error == NEVER_SENT), "{failed:?}");
}

#[test]
fn what_is_open_at_the_end_is_given_up_as_info() {
    let mut mock = Mock::start(Options::default());
    mock.cluster.broker_down(-1).unwrap();
    mock.wait("open sends", |counts| counts.outstanding() > 0 && counts.backlog > 100);
    let outstanding = mock.running.stop_writes(Duration::from_millis(300));
    assert!(outstanding.undecided > 0 && outstanding.left_behind.is_empty(), "{outstanding:?}");
    assert_eq!(mock.running.counts().outstanding(), 0);
    mock.running.stop(Duration::from_secs(5));
    let drafts = mock.memory.take();
    check_processes(&drafts);
    let failed = send_errors(&drafts, OpType::Fail);
    assert!(failed.iter().all(|error| error == NEVER_SENT), "{failed:?}");
}
