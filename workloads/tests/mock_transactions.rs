//! The workload `transactions` against librdkafka's own mock broker, which coordinates transactions and answers with whatever error is asked of it.
//! It writes no markers and shows readers everything, so what is tested here is what the clients record.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use common::{Memory, check_processes};
use kchaos_core::{Body, Draft, MicroOp, OpType};
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
    /// Starts the workload and waits for its first transactions.
    fn start(options: Options) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        let options =
            Options { replication_factor: 1, min_insync_replicas: 1, partitions: 2, producers: 1, consumers: 0, rate: 50.0, ..options };
        let (context, memory) = common::context("mock", cluster.bootstrap_servers());
        let workload = (find("transactions").unwrap().build)(&options).unwrap();
        cluster.create_topic(&workload.topics("mock")[0].name, 2, 1).unwrap();
        let running = workload.start(context).unwrap();
        let mock = Self { cluster, memory, running };
        mock.wait("transactions", |counts| counts.ok + counts.fail > 5);
        mock
    }

    fn wait(&self, what: &str, is_so: impl Fn(&Counts) -> bool) {
        for _ in 0..2_000 {
            if is_so(&self.running.counts()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("no {what}: {:?}", self.running.counts());
    }

    /// Goes on until more was committed, ends, and gives the history.
    fn finish(mut self) -> Vec<Draft> {
        let ok = self.running.counts().ok;
        self.wait("commits after the trouble", |counts| counts.ok > ok + 5);
        let outstanding = self.running.stop_writes(Duration::from_secs(10));
        assert!(outstanding.left_behind.is_empty(), "{outstanding:?}");
        assert_eq!(self.running.counts().outstanding(), 0);
        assert!(self.running.stop(Duration::from_secs(5)).left_behind.is_empty());
        let drafts = self.memory.take();
        check_processes(&drafts);
        check_transactions(&drafts);
        drafts
    }
}

/// What holds of every transaction.
fn check_transactions(drafts: &[Draft]) {
    let mut values = BTreeSet::new();
    for draft in drafts.iter().filter(|draft| draft.op_type == OpType::Invoke) {
        for send in sends(draft) {
            assert!(send.offset.is_none() && values.insert((send.key, send.value)), "sent once: {draft:?}");
        }
    }
    for draft in txns(drafts) {
        let has_offsets = sends(draft).all(|send| send.offset.is_some());
        match draft.op_type {
            OpType::Ok => assert!(has_offsets && draft.extra.commit_time_ns.is_some() && draft.error.is_none(), "{draft:?}"),
            OpType::Fail => assert!(sends(draft).all(|send| send.offset.is_none()) && draft.error.is_some(), "{draft:?}"),
            OpType::Info => assert!(draft.error.is_some(), "{draft:?}"),
            OpType::Invoke => {}
        }
    }
}

fn txns(drafts: &[Draft]) -> impl Iterator<Item = &Draft> {
    drafts.iter().filter(|draft| matches!(draft.body, Body::Txn(_)))
}

fn sends(draft: &Draft) -> impl Iterator<Item = &kchaos_core::Send> {
    let parts = if let Body::Txn(parts) = &draft.body { &parts[..] } else { &[] };
    parts.iter().filter_map(|part| if let MicroOp::Send(send) = part { Some(send) } else { None })
}

fn errors(drafts: &[Draft], op_type: OpType) -> Vec<String> {
    txns(drafts).filter(|draft| draft.op_type == op_type).filter_map(|draft| draft.error.clone()).collect()
}

fn quiet() -> Options {
    Options { txn_aborts: 0.0, txn_zombies: 0.0, ..Options::default() }
}

#[test]
fn transactions_commit_and_abort_as_planned() {
    let drafts = Mock::start(Options { txn_aborts: 0.4, txn_zombies: 0.0, ..Options::default() }).finish();
    assert!(txns(&drafts).any(|draft| draft.op_type == OpType::Ok && sends(draft).count() > 1));
    assert!(errors(&drafts, OpType::Fail).iter().any(|error| error == "aborted as planned"));
    assert!(errors(&drafts, OpType::Info).is_empty(), "{:?}", errors(&drafts, OpType::Info));
}

#[test]
fn a_commit_that_is_refused_as_fenced_at_once_failed() {
    let mock = Mock::start(quiet());
    mock.cluster.request_errors(RDKafkaApiKey::EndTxn, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_PRODUCER_FENCED]);
    mock.wait("a crash", |counts| counts.crashed == 1);
    let drafts = mock.finish();
    let failed = errors(&drafts, OpType::Fail);
    assert!(failed.iter().any(|error| error.contains("commit: _FENCED")), "{failed:?}");
    assert!(errors(&drafts, OpType::Info).is_empty());
}

#[test]
fn a_commit_that_was_sent_twice_and_then_refused_is_info() {
    let mock = Mock::start(quiet());
    let errors_told = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR, RDKafkaRespErr::RD_KAFKA_RESP_ERR_PRODUCER_FENCED];
    mock.cluster.request_errors(RDKafkaApiKey::EndTxn, &errors_told);
    mock.wait("an undecided transaction", |counts| counts.info == 1);
    let drafts = mock.finish();
    assert_eq!(errors(&drafts, OpType::Info).len(), 1);
    let info = txns(&drafts).find(|draft| draft.op_type == OpType::Info).unwrap();
    let later = txns(&drafts).last().unwrap();
    assert!(later.process != info.process && later.client > info.client, "a new process and a new client go on");
}

#[test]
fn a_commit_in_a_transaction_that_has_ended_already_is_info() {
    let mock = Mock::start(quiet());
    mock.cluster.request_errors(RDKafkaApiKey::EndTxn, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE]);
    mock.wait("an undecided transaction", |counts| counts.info == 1);
    let drafts = mock.finish();
    assert!(errors(&drafts, OpType::Info)[0].contains("INVALID_TXN_STATE"), "{:?}", errors(&drafts, OpType::Info));
}

#[test]
fn a_transaction_with_a_send_that_failed_is_aborted_without_being_committed() {
    let mock = Mock::start(quiet());
    mock.cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    mock.wait("a failed transaction", |counts| counts.fail > 0);
    let drafts = mock.finish();
    let failed = txns(&drafts).find(|draft| draft.op_type == OpType::Fail).unwrap();
    assert!(failed.error.as_ref().unwrap().contains("TOPIC_AUTHORIZATION_FAILED"), "{failed:?}");
    assert_eq!(failed.extra.commit_time_ns, None, "its commit was never invoked");
}

#[test]
fn zombies_fail_and_their_successors_go_on() {
    let drafts = Mock::start(Options { txn_aborts: 0.0, txn_zombies: 0.5, ..Options::default() }).finish();
    let failed = errors(&drafts, OpType::Fail);
    assert!(failed.iter().any(|error| error.starts_with("left in the middle")), "{failed:?}");
    let crashes = drafts.iter().filter(|draft| draft.body == Body::Crash && draft.op_type == OpType::Info).count();
    assert!(crashes > 0);
    assert!(txns(&drafts).any(|draft| draft.op_type == OpType::Ok && draft.client > Some(3)));
}

#[test]
fn what_is_open_at_the_end_is_given_up() {
    let mut mock = Mock::start(quiet());
    mock.cluster.broker_down(-1).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    mock.wait("an open transaction", |counts| counts.outstanding() > 0);
    let outstanding = mock.running.stop_writes(Duration::from_millis(300));
    assert!(outstanding.left_behind.is_empty(), "{outstanding:?}");
    assert_eq!(mock.running.counts().outstanding(), 0);
    mock.running.stop(Duration::from_secs(5));
    check_processes(&mock.memory.take());
}
