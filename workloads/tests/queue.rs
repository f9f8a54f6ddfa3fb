//! The queue workload against librdkafka's own mock brokers: who was given what, and what was committed.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use common::{Memory, acked_and_read, check_processes, finale};
use kchaos_core::{Body, Draft, Key, Offset, OpType};
use kchaos_workloads::{Counts, GroupCommit, GroupOptions, Options, Running, find};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

struct Mock {
    _cluster: MockCluster<'static, DefaultProducerContext>,
    memory: Arc<Memory>,
    running: Box<dyn Running>,
}

impl Mock {
    fn start(group: &GroupOptions) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        let options = Options {
            replication_factor: 1,
            min_insync_replicas: 1,
            partitions: 2,
            producers: 1,
            consumers: 0,
            rate: 200.0,
            group: GroupOptions { members: 2, late: 0, ..group.clone() },
            ..Options::default()
        };
        let (context, memory) = common::context("mock", cluster.bootstrap_servers());
        let workload = (find("queue").unwrap().build)(&options).unwrap();
        cluster.create_topic(&workload.topics("mock")[0].name, 2, 1).unwrap();
        Self { running: workload.start(context).unwrap(), _cluster: cluster, memory }
    }

    fn wait(&self, what: &str, is_so: impl Fn(&Counts) -> bool) {
        for _ in 0..3_000 {
            if is_so(&self.running.counts()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let commits: Vec<Draft> = self.memory.take().into_iter().filter(|draft| matches!(draft.body, Body::Commit(_))).collect();
        panic!("no {what}: {:?}, commits {:?}", self.running.counts(), commits.iter().rev().take(6).collect::<Vec<_>>());
    }

    /// Waits until this many members have crashed.
    fn wait_for_crashes(&self, number: usize) {
        for _ in 0..3_000 {
            if crashes(&self.memory.0.lock().unwrap()).count() >= number {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("fewer than {number} crashes: {:?}", self.running.counts());
    }

    /// Lets the group come to the end, and gives the history.
    fn finish(mut self) -> Vec<Draft> {
        self.running.stop_writes(Duration::from_secs(5));
        let outcome = finale(self.running.as_mut());
        assert!(outcome.is_complete(), "{outcome:?}");
        assert!(outcome.groups.len() == 1 && outcome.groups[0].behind.is_empty(), "{:?}", outcome.groups);
        assert!(self.running.stop(Duration::from_secs(20)).left_behind.is_empty());
        let drafts = self.memory.take();
        check_processes(&drafts);
        drafts
    }
}

fn quiet(commit: GroupCommit) -> GroupOptions {
    let (crash_every_ms, pause_every_ms, leave_every_ms) = (0, 0, 0);
    GroupOptions { commit, crash_every_ms, pause_every_ms, leave_every_ms, ..GroupOptions::default() }
}

fn crashes(drafts: &[Draft]) -> impl Iterator<Item = &Draft> {
    drafts.iter().filter(|draft| matches!(draft.body, Body::Crash) && draft.op_type == OpType::Info)
}

/// What members' polls of this outcome returned.
fn given(drafts: &[Draft], op_type: OpType) -> BTreeSet<(Key, Offset)> {
    let mut given = BTreeSet::new();
    for draft in drafts.iter().filter(|draft| draft.op_type == op_type && draft.extra.group.is_some()) {
        if let Body::Poll(Some(polled)) = &draft.body {
            given.extend(polled.0.iter().flat_map(|(key, records)| records.iter().map(|(offset, _)| (*key, *offset))));
        }
    }
    given
}

fn committed(drafts: &[Draft]) -> BTreeMap<Key, Offset> {
    let mut committed = BTreeMap::new();
    for draft in drafts.iter().filter(|draft| draft.op_type == OpType::Ok) {
        if let Body::Commit(offsets) = &draft.body {
            for (key, offset) in offsets {
                committed.entry(*key).and_modify(|most: &mut Offset| *most = (*most).max(*offset)).or_insert(*offset);
            }
        }
    }
    committed
}

fn check_all_is_processed_and_committed(commit: GroupCommit) {
    let mock = Mock::start(&quiet(commit));
    mock.wait("acknowledgements", |counts| counts.ok > 100);
    mock.wait(&format!("records committed ({commit})"), |counts| counts.keys.iter().all(|key| key.read_next > 10));
    let drafts = mock.finish();
    let (acked, _) = acked_and_read(&drafts);
    let processed = given(&drafts, OpType::Ok);
    for ((key, _), offset) in &acked {
        let offset = offset.unwrap();
        assert!(processed.contains(&(*key, offset)), "{commit}: key {key} offset {offset}");
        assert!(committed(&drafts)[key] > offset, "{commit}: {:?}", committed(&drafts));
    }
    let assigned = drafts.iter().flat_map(|draft| &draft.extra.rebalance_log).count();
    assert!(assigned >= 2, "{commit}: {assigned}");
}

#[test]
fn what_is_acknowledged_is_processed_and_committed_whatever_the_way() {
    for commit in [GroupCommit::Sync, GroupCommit::Async, GroupCommit::Stored, GroupCommit::Auto] {
        check_all_is_processed_and_committed(commit);
    }
}

#[test]
fn what_a_crashed_member_held_is_given_to_the_group_again() {
    let group = GroupOptions { crash_every_ms: 1_500, ..quiet(GroupCommit::Sync) };
    let mock = Mock::start(&group);
    // Not after so many acknowledgements: on a slow machine those may all be there before a member has joined, and so before it can crash.
    mock.wait_for_crashes(2);
    mock.wait("acknowledgements", |counts| counts.ok > 100);
    let drafts = mock.finish();
    for crash in crashes(&drafts) {
        assert!(crash.error.as_deref().is_some_and(|error| error.starts_with("on purpose")), "{crash:?}");
    }
    let (acked, _) = acked_and_read(&drafts);
    let processed = given(&drafts, OpType::Ok);
    assert!(given(&drafts, OpType::Fail).is_subset(&processed), "what was not processed is given to others");
    assert!(acked.iter().all(|((key, _), offset)| processed.contains(&(*key, offset.unwrap()))));
}
