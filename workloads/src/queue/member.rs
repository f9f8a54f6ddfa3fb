//! One member of the group: a thread that subscribes, processes and commits, and to which things happen.
//!
//! What counts as processed is what an *ok* poll returned. So a poll op lasts from the first wait until its batch is processed: it is ok then; it is
//! a failure with its records beside it when the member crashed before. Records of a key that was taken away before they were processed are
//! let go: whoever has the key now is given them.
//!
//! A member's troubles come while it holds a batch, where they hurt; an idle one's after a while. A crash closes the connections and tells nobody
//! (`raw::crash`), so that the group waits for its session to end. A pause lasts longer than `max.poll.interval.ms`: librdkafka's heartbeats go on, and
//! it leaves the group for the application, which then processes and commits what is not its own any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kchaos_core::{Body, Draft, Key, Offset, OpType, Polled, Process, RebalanceEvent, RebalanceType};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::batch::{Batch, GatherEnd, Gathering};
use super::commits::{self, Commits, Ended};
use super::context::{Mailbox, MemberContext, Told};
use super::group::{Group, named};
use super::options::GroupCommit;
use super::transact::Producing;
use super::trouble::{Trouble, Troubles};
use crate::client_log::ClientLog;
use crate::raw;
use crate::transactions::book::Book;

/// Before a member that crashed or left comes back.
const AWAY: Duration = Duration::from_secs(1);
/// A member without records is not spared for longer: by then it has no keys, and does not only wait for a rebalance to end.
const IDLE: Duration = Duration::from_secs(15);
/// Sleeps beyond this end when the group is to come to its end.
const LONG: Duration = Duration::from_secs(3);
const NAP: Duration = Duration::from_millis(20);

pub(crate) struct MemberHandle {
    pub(crate) name: String,
    pub(crate) thread: JoinHandle<()>,
    /// Of its transactions, with `--exactly-once`.
    pub(crate) book: Option<Arc<Book>>,
}

/// Starts a member that joins after `joins_after`. `ready` hears whether its client could be made.
pub(crate) fn spawn(
    group: &Arc<Group>,
    number: usize,
    joins_after: Duration,
    ready: SyncSender<Result<(), String>>,
) -> std::io::Result<MemberHandle> {
    let shared = &group.shared;
    let name = format!("member-{}", number + 1);
    let book = group.outputs.is_some().then(|| Arc::new(Book::new(shared)));
    let mut member = Member {
        log: shared.log(&name),
        client: shared.new_client(),
        process: shared.new_process(),
        troubles: Troubles::new(group.options(), shared.seed, number),
        mailbox: Mailbox::default(),
        commits: Commits::default(),
        assigned: BTreeSet::new(),
        joined: BTreeSet::new(),
        rebalances: Vec::new(),
        batch: Batch::new(group.inputs()),
        producing: None,
        gathering: Gathering::default(),
        busy: Instant::now(),
        group: Arc::clone(group),
        name: name.clone(),
    };
    let own_book = book.clone();
    let run = move || {
        let producing = own_book.map(|book| Producing::new(&member.group, &book, number, &member.name)).transpose();
        match producing {
            Ok(producing) => member.producing = producing,
            Err(error) => return drop(ready.try_send(Err(error))),
        }
        member.run(joins_after, &ready);
    };
    let thread = std::thread::Builder::new().name(name.clone()).spawn(run)?;
    Ok(MemberHandle { name, thread, book })
}

pub(super) struct Member {
    pub(super) group: Arc<Group>,
    name: String,
    log: ClientLog,
    client: u32,
    process: u32,
    troubles: Troubles,
    mailbox: Mailbox,
    commits: Commits,
    pub(super) assigned: BTreeSet<usize>,
    /// Assigned, and the group's place not asked for yet.
    joined: BTreeSet<usize>,
    /// Since the last poll op ended.
    rebalances: Vec<RebalanceEvent>,
    pub(super) batch: Batch,
    /// With `--exactly-once`.
    pub(super) producing: Option<Producing>,
    gathering: Gathering,
    /// When it last held records, or joined.
    pub(super) busy: Instant,
}

/// Why a client's life ended.
pub(super) enum End {
    Over,
    Leave,
    Crash,
    Fatal(String),
}

impl Member {
    fn run(mut self, joins_after: Duration, ready: &SyncSender<Result<(), String>>) {
        if joins_after > Duration::ZERO {
            let _ = ready.try_send(Ok(()));
        }
        self.sleep(joins_after);
        while !self.group.is_over.load(Relaxed) {
            self.mailbox = Mailbox::default();
            let context = MemberContext { log: self.log.clone(), mailbox: self.mailbox.clone() };
            match BaseConsumer::from_config_and_context(&self.group.config(&self.name), context) {
                Ok(consumer) => {
                    let _ = ready.try_send(Ok(()));
                    let end = self.life(&consumer);
                    self.bury(consumer, end);
                }
                Err(error) => {
                    self.log.say("error", "KCHAOS", &format!("cannot make a member: {error}"));
                    let _ = ready.try_send(Err(error.to_string()));
                }
            }
            self.sleep(AWAY);
        }
        if let Some(producing) = &mut self.producing {
            producing.settle();
        }
    }

    /// The life of one client, from its subscription on.
    fn life(&mut self, consumer: &BaseConsumer<MemberContext>) -> End {
        // What its last producer left may hold the group's place back.
        while self.producing.as_mut().is_some_and(|producing| !producing.make_ready()) {
            if self.group.is_over.load(Relaxed) {
                return End::Over;
            }
        }
        self.busy = Instant::now();
        self.subscribe(|group| consumer.subscribe(&[&group.topic]));
        while !self.group.is_over.load(Relaxed) {
            if let Some(end) = self.step(consumer) {
                return end;
            }
            if !self.joined.is_empty() {
                let keys = std::mem::take(&mut self.joined);
                self.group.fetch_committed(consumer, &keys, |op_type, body| self.draft(op_type, body));
            }
        }
        End::Over
    }

    /// A new client, if there is one, is a new client and a new process.
    fn bury(&mut self, consumer: BaseConsumer<MemberContext>, end: End) {
        let figures = &self.group.figures;
        match end {
            End::Over | End::Leave => {
                figures.leaves.fetch_add(u64::from(matches!(end, End::Leave)), Relaxed);
                // Leaves the group; with a coordinator that does not answer this may take a minute, on this thread alone.
                drop(consumer);
            }
            End::Crash => {
                figures.crashes.fetch_add(1, Relaxed);
                self.record_crash("on purpose: connections closed, the group not told");
                raw::crash(consumer);
            }
            End::Fatal(reason) => {
                self.group.shared.counters.crashed.fetch_add(1, Relaxed);
                self.record_crash(&reason);
                drop(consumer);
            }
        }
        self.hear();
        for ended in self.commits.give_up() {
            self.record_commit(&ended, Some("the member ended before an answer"));
        }
        self.client = self.group.shared.new_client();
        self.process = self.group.shared.new_process();
        self.batch.clear();
        self.assigned.clear();
        self.joined.clear();
        self.rebalances.clear();
    }

    fn subscribe(&self, subscribe: impl FnOnce(&Group) -> Result<(), KafkaError>) {
        let keys = (0..self.group.inputs()).map(|key| self.group.key(key)).collect();
        let body = Body::Subscribe { keys };
        let reset = |mut draft: Draft| {
            draft.extra.reset = Some(self.group.options().offset_reset.name().to_owned());
            draft
        };
        self.group.shared.record(reset(self.draft(OpType::Invoke, body.clone())));
        let (op_type, error) = match subscribe(&self.group) {
            Ok(()) => (OpType::Ok, None),
            Err(error) => (OpType::Fail, Some(named(&error))),
        };
        self.group.shared.record(Draft { error, ..reset(self.draft(op_type, body)) });
    }

    /// One poll op with its processing, and the commit that follows.
    fn step(&mut self, consumer: &BaseConsumer<MemberContext>) -> Option<End> {
        self.record(OpType::Invoke, Body::Poll(None), None);
        let group = Arc::clone(&self.group);
        let end = self.gathering.gather(consumer, &group, &self.mailbox, &mut self.batch);
        group.shared.counters.polls.fetch_add(1, Relaxed);
        self.hear();
        let mut ended = None;
        if self.batch.is_empty() {
            match &end {
                GatherEnd::Done => self.complete(OpType::Ok, None),
                GatherEnd::Error { text, .. } => self.complete(OpType::Fail, Some(text.clone())),
            }
            if self.busy.elapsed() >= IDLE {
                ended = self.suffer_idle();
            }
        } else {
            ended = if self.producing.is_some() { self.transact(consumer) } else { self.process(consumer) };
            if let (None, GatherEnd::Error { text, .. }) = (&ended, &end) {
                // What was read was read. An error gets a poll of its own.
                self.record(OpType::Invoke, Body::Poll(None), None);
                self.complete(OpType::Fail, Some(text.clone()));
            }
        }
        match end {
            GatherEnd::Error { text, is_fatal: true } if ended.is_none() => Some(End::Fatal(text)),
            _ => ended,
        }
    }

    fn process(&mut self, consumer: &BaseConsumer<MemberContext>) -> Option<End> {
        self.busy = Instant::now();
        let offsets = self.batch.next_offsets();
        let options = self.group.options().clone();
        if options.commit == GroupCommit::Auto {
            self.store(consumer, &offsets);
        }
        let trouble = self.trouble();
        if let Some(Trouble::Pause { beyond }) = trouble {
            self.pause(beyond);
        }
        self.sleep(Duration::from_millis(options.processing_ms));
        if let Some(Trouble::Crash { is_before_processing }) = trouble {
            if is_before_processing || options.commit == GroupCommit::Auto {
                self.complete(OpType::Fail, Some("crashed before this was processed".to_owned()));
            } else {
                self.complete(OpType::Ok, None);
            }
            return Some(End::Crash);
        }
        self.complete(OpType::Ok, None);
        match options.commit {
            GroupCommit::Sync => self.commit_sync(consumer, &offsets),
            GroupCommit::Async => self.commit_async(consumer, &offsets),
            GroupCommit::Stored => self.store(consumer, &offsets),
            GroupCommit::Auto => {}
        }
        matches!(trouble, Some(Trouble::Leave)).then_some(End::Leave)
    }

    pub(super) fn trouble(&mut self) -> Option<Trouble> {
        let now = self.group.started.elapsed();
        let is_due = !self.group.is_calm.load(Relaxed) && self.troubles.due().is_some_and(|due| due <= now);
        if is_due { self.troubles.take(now) } else { None }
    }

    fn suffer_idle(&mut self) -> Option<End> {
        match self.trouble()? {
            Trouble::Crash { .. } => Some(End::Crash),
            Trouble::Leave => Some(End::Leave),
            Trouble::Pause { beyond } => {
                self.pause(beyond);
                None
            }
        }
    }

    pub(super) fn pause(&self, beyond: Duration) {
        self.group.figures.pauses.fetch_add(1, Relaxed);
        let length = Duration::from_millis(self.group.options().max_poll_interval_ms) + beyond;
        self.log.say("notice", "KCHAOS", &format!("pausing for {} ms", length.as_millis()));
        self.sleep(length);
    }

    /// Naps, until the run is over or is to become calm.
    pub(super) fn sleep(&self, length: Duration) {
        let group = &self.group;
        let until = Instant::now() + length;
        let is_cut_short = || group.is_over.load(Relaxed) || (length > LONG && group.is_calm.load(Relaxed));
        while !is_cut_short() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(NAP));
        }
    }

    /// Takes what was told while polling: keys that come and go, and commits that ended.
    fn hear(&mut self) {
        for told in self.mailbox.take() {
            match told {
                Told::Rebalance { event, partitions } => {
                    let keys: Vec<usize> = partitions.iter().filter_map(|partition| self.group.key_of(*partition)).collect();
                    for key in &keys {
                        if event == RebalanceType::Assigned {
                            self.assigned.insert(*key);
                            self.joined.insert(*key);
                        } else {
                            self.assigned.remove(key);
                            self.joined.remove(key);
                            self.batch.let_go(*key);
                        }
                    }
                    self.group.figures.rebalances.fetch_add(1, Relaxed);
                    self.rebalances.push(RebalanceEvent { event, keys: keys.into_iter().map(|key| self.group.key(key)).collect() });
                }
                Told::Commit { code, offsets } => {
                    for (partition, offset) in offsets {
                        let Some(key) = self.group.key_of(partition) else { continue };
                        self.end_commit(key, offset, code);
                    }
                }
            }
        }
    }

    pub(super) fn commit_sync(&mut self, consumer: &BaseConsumer<MemberContext>, offsets: &BTreeMap<usize, Offset>) {
        let body = Body::Commit(offsets.iter().map(|(key, offset)| (self.group.key(*key), *offset)).collect());
        self.record(OpType::Invoke, body.clone(), None);
        let list = self.group.list(offsets.iter().map(|(key, offset)| (*key, Some(*offset))));
        let error = consumer.commit(&list, CommitMode::Sync).err();
        let op_type = commits::classify(error.as_ref().map(raw::code));
        self.record(op_type, body, error.as_ref().map(named));
        match op_type {
            OpType::Ok => offsets.iter().for_each(|(key, offset)| self.group.saw_committed(*key, *offset)),
            // Nobody knows: the process is retired, and the member goes on as another, with the keys that it has.
            OpType::Info => {
                self.process = self.group.shared.new_process();
                self.subscribe(|_| Ok(()));
                let keys = self.assigned.iter().map(|key| self.group.key(*key)).collect();
                self.rebalances.push(RebalanceEvent { event: RebalanceType::Assigned, keys });
            }
            OpType::Invoke | OpType::Fail => {}
        }
    }

    fn commit_async(&mut self, consumer: &BaseConsumer<MemberContext>, offsets: &BTreeMap<usize, Offset>) {
        offsets.iter().for_each(|(key, offset)| self.begin_commit(*key, *offset));
        let list = self.group.list(offsets.iter().map(|(key, offset)| (*key, Some(*offset))));
        if let Err(code) = raw::commit_async(consumer, &list) {
            offsets.iter().for_each(|(key, offset)| self.end_commit(*key, *offset, Some(code)));
        }
    }

    /// For librdkafka's timer, one key at a time: of several the error would be anybody's.
    fn store(&mut self, consumer: &BaseConsumer<MemberContext>, offsets: &BTreeMap<usize, Offset>) {
        for (key, offset) in offsets {
            self.begin_commit(*key, *offset);
            if let Err(error) = consumer.store_offsets(&self.group.list([(*key, Some(*offset))])) {
                self.end_commit(*key, *offset, Some(raw::code(&error)));
            }
        }
    }

    fn begin_commit(&mut self, key: usize, offset: Offset) {
        let key = self.group.key(key);
        let process = self.commits.begin(key, offset, || self.group.shared.new_process());
        let draft = self.draft(OpType::Invoke, Body::Commit([(key, offset)].into()));
        self.group.shared.record(Draft { process: Process::Client(process), ..draft });
    }

    fn end_commit(&mut self, key: usize, offset: Offset, code: Option<RDKafkaErrorCode>) {
        if code.is_none() {
            self.group.saw_committed(key, offset);
        }
        let error = code.map(raw::code_name);
        for ended in self.commits.end(self.group.key(key), offset, code) {
            let overtaken = (ended.offset != offset).then_some("a later offset was committed");
            self.record_commit(&ended, overtaken.or(error.as_deref()));
        }
    }

    fn record_commit(&self, ended: &Ended, error: Option<&str>) {
        let mut draft = self.draft(ended.op_type, Body::Commit([(ended.key, ended.offset)].into()));
        draft.process = Process::Client(ended.process);
        draft.error = error.map(str::to_owned);
        self.group.shared.record(draft);
    }

    /// Ends the poll op with what the batch holds and the rebalances since the last.
    pub(super) fn complete(&mut self, op_type: OpType, error: Option<String>) {
        let is_nothing = op_type == OpType::Fail && self.batch.is_empty();
        let shared = &self.group.shared;
        let keys: Vec<Key> = shared.keys.iter().map(|entry| entry.key).collect();
        let taken = self.batch.take(|index| keys[index]);
        let mut draft = self.draft(op_type, Body::Poll((!is_nothing).then_some(Polled(taken.records))));
        draft.error = error;
        draft.extra.leader_epochs = taken.leader_epochs;
        draft.extra.corrupt = taken.corrupt;
        draft.extra.rebalance_log = std::mem::take(&mut self.rebalances);
        shared.counters.corrupt.fetch_add(draft.extra.corrupt.len() as u64, Relaxed);
        shared.counters.records_polled.fetch_add(taken.count as u64, Relaxed);
        shared.record(draft);
    }

    fn record_crash(&self, reason: &str) {
        self.record(OpType::Invoke, Body::Crash, None);
        self.record(OpType::Info, Body::Crash, Some(reason.to_owned()));
    }

    fn record(&self, op_type: OpType, body: Body, error: Option<String>) {
        self.group.shared.record(Draft { error, ..self.draft(op_type, body) });
    }

    pub(super) fn draft(&self, op_type: OpType, body: Body) -> Draft {
        let mut draft = Draft::new(Process::Client(self.process), op_type, body);
        draft.client = Some(self.client);
        draft.extra.group = Some(self.group.name.clone());
        draft.extra.isolation = Some(self.group.shared.options.isolation.name().to_owned());
        draft
    }
}
