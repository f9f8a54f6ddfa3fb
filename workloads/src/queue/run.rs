//! The group beside the clients of `append`: started, counted, drained, stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use kchaos_core::{Body, Draft, Key, KeyEntry, Offset, OpType, Process};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;

use super::group::{Figures, Group};
use super::member::{self, MemberHandle};
use super::outputs::{self, Outputs};
use crate::client_log::ClientLog;
use crate::counts::Counts;
use crate::options::Options;
use crate::run::{Clients, ClientsRun, join, wait_until_made};
use crate::shared::Shared;
use crate::sizes::SizeClass;
use crate::{Context, FinalGroup, FinalTarget, FinaleOutcome, Outstanding, Running, Stopped, WorkloadError};

/// A member that comes late comes within this time.
const LATE_S: std::ops::Range<u64> = 5..15;
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// What the group gets for its end, however long the final reads took.
const DRAIN_MIN: Duration = Duration::from_secs(30);
const END: Duration = Duration::from_secs(5);
/// The same of one whose members have ended: its coordinator is asked where it stands.
const ASK: Duration = Duration::from_secs(10);
const WATERMARKS: Duration = Duration::from_secs(3);

pub(super) struct QueueRun {
    clients: ClientsRun,
    group: Arc<Group>,
    members: Vec<MemberHandle>,
    left_behind: Vec<String>,
}

impl QueueRun {
    pub(super) fn start(
        options: Options,
        keys: Vec<KeyEntry>,
        topic: String,
        name: String,
        context: Context,
    ) -> Result<Self, WorkloadError> {
        let clients = ClientsRun::start_with(options, keys, context, Box::new(Producers))?;
        let group = Arc::new(group(Arc::clone(&clients.shared), topic, name));
        if group.outputs.is_some() {
            group.shared.record(outputs::told(&group.name, &group.shared.keys, group.inputs()));
        }
        let mut run = Self { clients, group, members: Vec::new(), left_behind: Vec::new() };
        if let Err(error) = run.start_members() {
            Box::new(run).stop(Duration::ZERO);
            return Err(error);
        }
        Ok(run)
    }

    fn start_members(&mut self) -> Result<(), WorkloadError> {
        let options = self.group.options();
        let mut random = ChaCha8Rng::seed_from_u64(self.group.shared.seed ^ 0x6c61_7465);
        for number in 0..options.members as usize {
            let is_late = number >= (options.members - options.late) as usize;
            let joins_after = if is_late { Duration::from_secs(random.random_range(LATE_S)) } else { Duration::ZERO };
            let (ready, made) = sync_channel(1);
            let member = member::spawn(&self.group, number, joins_after, ready);
            let member = member.map_err(|source| WorkloadError::Thread { name: format!("member-{}", number + 1), source })?;
            let name = member.name.clone();
            self.members.push(member);
            wait_until_made(&name, &made)?;
        }
        Ok(())
    }

    /// Until the coordinator says that every key is committed to its end.
    fn drain(&self, targets: &[FinalTarget], until: Instant) -> FinalGroup {
        let begun = Instant::now();
        let shared = &self.group.shared;
        let (client, mut process) = (shared.new_client(), shared.new_process());
        let keys: BTreeSet<usize> =
            targets.iter().filter_map(|target| shared.keys.iter().position(|entry| entry.key == target.key)).collect();
        let mut committed = BTreeMap::new();
        let mut auditor = None;
        loop {
            if auditor.is_none() {
                auditor = self.auditor().ok();
            }
            let draft = |op_type, body| self.draft(client, process, op_type, body);
            if let Some(found) = auditor.as_ref().and_then(|auditor| self.group.fetch_committed(auditor, &keys, draft)) {
                committed = found;
            } else {
                // Another client may find what this one does not.
                auditor = None;
                process = shared.new_process();
            }
            let behind = behind(targets, &committed);
            if behind.is_empty() || Instant::now() >= until {
                let committed = targets.iter().map(|target| (target.key, committed.get(&target.key).copied())).collect();
                return FinalGroup { name: self.group.name.clone(), committed, behind, told: self.told(begun.elapsed()) };
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn is_input(&self, key: Key) -> bool {
        self.group.shared.keys[..self.group.inputs()].iter().any(|entry| entry.key == key)
    }

    /// A client of the group that never joins it.
    fn auditor(&self) -> Result<BaseConsumer<ClientLog>, KafkaError> {
        BaseConsumer::from_config_and_context(&self.group.config("auditor"), self.group.shared.log("auditor"))
    }

    fn draft(&self, client: u32, process: u32, op_type: OpType, body: Body) -> Draft {
        let mut draft = Draft::new(Process::Client(process), op_type, body);
        draft.client = Some(client);
        draft.extra.group = Some(self.group.name.clone());
        draft
    }

    fn told(&self, took: Duration) -> String {
        let Figures { crashes, pauses, leaves, rebalances, committed, aborted, unknown } = &self.group.figures;
        let [crashes, pauses, leaves, rebalances] = [crashes, pauses, leaves, rebalances].map(|figure| figure.load(Relaxed));
        let [committed, aborted, unknown] = [committed, aborted, unknown].map(|figure| figure.load(Relaxed));
        let transactions = match self.group.outputs {
            Some(_) => format!(", {committed} transactions committed, {aborted} aborted or left open, {unknown} of unknown outcome"),
            None => String::new(),
        };
        format!(
            "{} members, {crashes} crashes, {pauses} pauses beyond max.poll.interval.ms, {leaves} departures, {rebalances} assignments and \
             revocations{transactions}; after the final reads its end was waited for for {:.1} s",
            self.group.options().members,
            took.as_secs_f64()
        )
    }

    /// A group that writes comes to its end before it is asked where logs end, and writes no more.
    fn finish_outputs(&mut self, until: Instant) {
        self.group.is_calm.store(true, Relaxed);
        let ends = self.input_ends(until);
        self.drain(&ends, until);
        self.end_members(until);
    }

    /// Where the inputs end, now that nobody writes them. No proof (a deposed leader may have answered): the finale's own look is.
    fn input_ends(&self, until: Instant) -> Vec<FinalTarget> {
        let of = |auditor: &BaseConsumer<ClientLog>, key: usize| {
            let entry = &self.group.shared.keys[key];
            let (start, end) = auditor.fetch_watermarks(&entry.topic, entry.partition, WATERMARKS).ok()?;
            let end = end.max(self.group.shared.counters.acked_offset_max(key) + 1);
            Some(FinalTarget { key: entry.key, start, end, leader_epoch: 0 })
        };
        loop {
            let found = self.auditor().ok().and_then(|auditor| (0..self.group.inputs()).map(|key| of(&auditor, key)).collect());
            match found {
                Some(ends) => return ends,
                None if Instant::now() >= until => return Vec::new(),
                None => std::thread::sleep(LOOK_EVERY),
            }
        }
    }

    fn end_members(&mut self, until: Instant) {
        self.group.is_over.store(true, Relaxed);
        let until = until.max(Instant::now() + END);
        for member in std::mem::take(&mut self.members) {
            if join(member.thread, until).is_none() {
                if let Some(book) = member.book {
                    book.give_up();
                }
                self.left_behind.push(member.name);
            }
        }
    }
}

/// Producers as in `append`, but for the keys of the group's outputs.
struct Producers;

impl Clients for Producers {
    fn written(&self, keys: &[KeyEntry]) -> usize {
        // The inputs come first, and are in the topic of the first key.
        keys.iter().take_while(|entry| entry.topic == keys[0].topic).count()
    }
}

pub(super) fn group(shared: Arc<Shared>, topic: String, name: String) -> Group {
    Group {
        committed: (0..shared.written).map(|_| AtomicI64::new(0)).collect(),
        outputs: shared.options.group.exactly_once.then(|| Outputs::new(shared.written)),
        started: Instant::now(),
        is_calm: AtomicBool::new(false),
        is_over: AtomicBool::new(false),
        figures: Figures::default(),
        shared,
        topic,
        name,
    }
}

/// Keys that are not committed to their end. Of one that is empty nothing can be committed.
fn behind(targets: &[FinalTarget], committed: &BTreeMap<Key, Offset>) -> Vec<Key> {
    let is_behind = |target: &&FinalTarget| target.start < target.end && committed.get(&target.key).is_none_or(|next| *next < target.end);
    targets.iter().filter(is_behind).map(|target| target.key).collect()
}

impl Running for QueueRun {
    /// The lag is that of the group or of the slowest reader, whichever is greater.
    fn counts(&self) -> Counts {
        let mut counts = self.clients.counts();
        let readers = self.group.shared.options.consumers > 0;
        for (key, committed) in counts.keys.iter_mut().zip(&self.group.committed) {
            let committed = committed.load(Relaxed);
            key.read_next = if readers { key.read_next.min(committed) } else { committed };
        }
        counts
    }

    fn latency_by_size(&self) -> Vec<SizeClass> {
        self.clients.latency_by_size()
    }

    fn stop_writes(&mut self, deadline: Duration) -> Outstanding {
        let (until, info_before) = (Instant::now() + deadline, self.counts().info);
        let mut outstanding = self.clients.stop_writes(deadline);
        if self.group.outputs.is_some() {
            self.finish_outputs(until);
            outstanding.undecided = outstanding.undecided.max(self.counts().info - info_before);
            outstanding.left_behind.extend_from_slice(&self.left_behind);
        }
        outstanding
    }

    /// The group goes on beside the final reads, unless it writes.
    fn finale(&mut self, targets: &[FinalTarget], deadline: Duration) -> FinaleOutcome {
        let until = Instant::now() + deadline;
        self.group.is_calm.store(true, Relaxed);
        let mut outcome = self.clients.finale(targets, deadline);
        let until = match self.group.outputs {
            Some(_) => Instant::now() + ASK,
            None => until.max(Instant::now() + DRAIN_MIN),
        };
        let inputs: Vec<FinalTarget> = targets.iter().filter(|target| self.is_input(target.key)).copied().collect();
        outcome.groups.push(self.drain(&inputs, until));
        outcome
    }

    fn stop(mut self: Box<Self>, deadline: Duration) -> Stopped {
        self.group.is_calm.store(true, Relaxed);
        let until = Instant::now() + deadline.max(END);
        self.end_members(until);
        let mut stopped = Box::new(self.clients).stop(until.saturating_duration_since(Instant::now()));
        stopped.left_behind.append(&mut self.left_behind);
        stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_behind_where_a_key_with_records_is_not_committed_to_its_end() {
        let target = |key, start, end| FinalTarget { key, start, end, leader_epoch: 0 };
        let targets = [target(0, 0, 5), target(1, 0, 5), target(2, 0, 5), target(3, 7, 7), target(4, 0, 5)];
        let committed = [(0, 5), (1, 4), (4, 9)].into();
        assert_eq!(behind(&targets, &committed), [1, 2]);
    }
}
