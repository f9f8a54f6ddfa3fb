//! The workload `bank` against librdkafka's own mock broker. It writes no markers, shows readers everything and compacts nothing, so it is also a broker
//! that breaks its promise, whenever a transaction does not commit.

mod common;

use std::time::Duration;

use common::check_processes;
use kchaos_core::{Body, Draft, OpType, Process};
use kchaos_workloads::{BankOptions, Options, Running, find};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

fn run(bank: BankOptions, txn_aborts: f64, ops: u64) -> Vec<Draft> {
    run_with(bank, txn_aborts, ops, |_| {})
}

/// Runs until so many ops are through, with trouble after a third of them, and gives the history.
fn run_with(
    bank: BankOptions,
    txn_aborts: f64,
    ops: u64,
    trouble: impl FnOnce(&MockCluster<'static, DefaultProducerContext>),
) -> Vec<Draft> {
    let cluster = MockCluster::new(1).unwrap();
    let options = Options {
        replication_factor: 1,
        min_insync_replicas: 1,
        partitions: 2,
        producers: 1,
        consumers: 1,
        rate: 50.0,
        bank,
        txn_aborts,
        ..Options::default()
    };
    let (context, memory) = common::context("mock", cluster.bootstrap_servers());
    let workload = (find("bank").unwrap().build)(&options).unwrap();
    cluster.create_topic(&workload.topics("mock")[0].name, 2, 1).unwrap();
    let mut running = workload.start(context).unwrap();
    let wait = |running: &dyn Running, ops: u64| {
        for _ in 0..4_000 {
            let counts = running.counts();
            if counts.ok + counts.fail + counts.info >= ops {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    wait(&*running, ops / 3);
    trouble(&cluster);
    wait(&*running, ops);
    let outstanding = running.stop_writes(Duration::from_secs(10));
    assert!(outstanding.left_behind.is_empty(), "{outstanding:?}");
    // What was written last is read.
    std::thread::sleep(Duration::from_millis(500));
    assert!(running.stop(Duration::from_secs(5)).left_behind.is_empty());
    let drafts = memory.take();
    let of_clients: Vec<_> = drafts.iter().filter(|draft| draft.process != Process::Nemesis).cloned().collect();
    check_processes(&of_clients);
    drafts
}

/// How many snapshots there are, and how many of them come to another sum.
fn sums(drafts: &[Draft]) -> (usize, usize) {
    let snapshots: Vec<_> = told(drafts, "bank-snapshot").collect();
    let is_wrong = |snapshot: &&&serde_json::Value| {
        let sum: i64 = snapshot["accounts"].as_object().unwrap().values().map(|balance| balance.as_i64().unwrap()).sum();
        Some(sum) != snapshot["total"].as_i64()
    };
    (snapshots.len(), snapshots.iter().filter(is_wrong).count())
}

fn told<'a>(drafts: &'a [Draft], wanted: &'a str) -> impl Iterator<Item = &'a serde_json::Value> {
    drafts.iter().filter_map(move |draft| match &draft.body {
        Body::Nemesis { f, value } if f == wanted => Some(value),
        _ => None,
    })
}

fn crashes(drafts: &[Draft]) -> usize {
    drafts.iter().filter(|draft| draft.error.as_deref() == Some("the process crashed on purpose")).count()
}

#[test]
fn a_bank_in_which_nothing_fails_keeps_its_sum() {
    for transactions in [true, false] {
        let drafts = run(BankOptions { crashes: 0.0, transactions, ..BankOptions::default() }, 0.0, 60);
        let (snapshots, wrong) = sums(&drafts);
        assert!(snapshots > 0 && wrong == 0, "{wrong} of {snapshots}");
        assert!(told(&drafts, "superseded").count() > 30);
        let is_txn = drafts.iter().any(|draft| matches!(draft.body, Body::Txn(_)));
        assert_eq!(is_txn, transactions);
    }
}

#[test]
fn a_process_that_crashes_between_two_sends_takes_money_with_it_and_reads_back_what_is_left() {
    let drafts = run(BankOptions { crashes: 0.2, transactions: false, ..BankOptions::default() }, 0.0, 60);
    let (snapshots, wrong) = sums(&drafts);
    assert!(wrong > 0, "{wrong} of {snapshots}");
    let restored: Vec<_> = told(&drafts, "compacted-read").collect();
    assert!(!restored.is_empty() && restored.len() <= crashes(&drafts), "{restored:?}");
    let all_read =
        restored.iter().flat_map(|keys| keys.as_object().unwrap().values()).flat_map(|key| key["last"].as_object().unwrap().values());
    for last in all_read {
        assert!(last["read"][0].as_i64() >= last["written"][0].as_i64(), "{last}");
    }
}

#[test]
fn a_broker_that_shows_what_was_aborted_changes_the_sum() {
    let (snapshots, wrong) = sums(&run(BankOptions { crashes: 0.0, ..BankOptions::default() }, 0.4, 100));
    assert!(wrong > 0, "{wrong} of {snapshots}");
}

#[test]
fn after_a_commit_of_unknown_outcome_the_accounts_are_read_back_and_the_sum_stays() {
    let drafts = run_with(BankOptions { crashes: 0.0, ..BankOptions::default() }, 0.0, 60, |cluster| {
        cluster.request_errors(RDKafkaApiKey::EndTxn, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE]);
    });
    let undecided = drafts.iter().filter(|draft| matches!(draft.body, Body::Txn(_)) && draft.op_type == OpType::Info).count();
    let (snapshots, wrong) = sums(&drafts);
    assert!(undecided == 1 && snapshots > 0 && wrong == 0, "{undecided} undecided, {wrong} of {snapshots}");
    let restored: Vec<_> = told(&drafts, "compacted-read").collect();
    assert_eq!(restored.len(), 1, "{restored:?}");
    let later = |last: &serde_json::Value| last["read"][0].as_i64() > last["written"][0].as_i64() && last["in_doubt"] == true;
    let accounts = restored[0].as_object().unwrap().values().flat_map(|key| key["last"].as_object().unwrap().values());
    assert_eq!(accounts.filter(|last| later(last)).count(), 2, "the transaction had been committed: {restored:?}");
}
