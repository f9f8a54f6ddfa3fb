//! One transactional client: a thread that begins transactions on time and sees each to its end.
//!
//! What holds: the invoke is recorded before the transaction is begun; every invoke gets exactly one completion; the commit is invoked only
//! when every send was acknowledged (of a zombie, whatever became of them); `commit-time` is stamped before the commit is invoked; a
//! transaction of unknown outcome retires its process and its producer, and the next producer with the same transactional id settles it.
//! Before the thread ends, whatever may still hold the last stable offset is settled so as well.

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, atomic::Ordering::Relaxed};
use std::time::{Duration, Instant};

use kchaos_core::{Body, Draft, MicroOp, OpType, Process, Send as SendOp, Value};

use super::book::{Book, fill_in};
use super::outcome::{self, Answer};
use super::plan::{Ending, Generator, Step, TxnPlan, Zombie};
use super::producer::{CallError, TxnProducer};
use super::tail::{Corrupt, Tail};
use super::transactional_id;
use crate::errors::Attempt;
use crate::payload::{self, Record};
use crate::producer::ProducerHandle;
use crate::schedule::{Next, Schedule};
use crate::shared::Shared;

const SLEEP_MIN: Duration = Duration::from_millis(1);
const SLEEP_MAX: Duration = Duration::from_millis(50);
/// One call of librdkafka's that may block; it is made again, so that the end of the run is heard of.
const CALL: Duration = Duration::from_secs(2);
/// What goes on for so long may be waited for by a client that has forgotten its brokers.
const STALL: Duration = Duration::from_secs(15);
/// Beyond the transaction's timeout: the coordinator looks for those that are over every 10 s, and may just have moved.
const COMMIT_BEYOND_TIMEOUT: Duration = Duration::from_secs(30);
/// A zombie's vain attempts.
const ZOMBIE: Duration = Duration::from_secs(10);
/// For an abort, and for the last producer that settles what was left.
const SETTLE: Duration = Duration::from_secs(30);
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Starts the client's thread. `ready` hears whether its producer and its consumer could be made.
pub(super) fn spawn(
    shared: &Arc<Shared>,
    number: usize,
    _start_ns: u64,
    ready: SyncSender<Result<(), String>>,
) -> std::io::Result<ProducerHandle> {
    let name = format!("txn-{}", number + 1);
    let book = Arc::new(Book::new(shared));
    let (giving_up, shared, own_name) = (Arc::clone(&book), Arc::clone(shared), name.clone());
    let run = move || {
        let tail = Tail::new(&shared, format!("{own_name}-reader"));
        let id = transactional_id(shared.run_id(), number);
        let made = tail.and_then(|tail| Ok((tail, TxnProducer::new(&shared, &own_name, &id)?)));
        let (tail, producer) = match made {
            Ok(made) => made,
            Err(error) => return drop(ready.send(Err(error))),
        };
        let _ = ready.send(Ok(()));
        Client {
            schedule: None,
            generator: Generator::new(shared.seed, number, shared.keys.len(), &shared.options),
            process: shared.new_process(),
            producer: Some(producer),
            is_ready: false,
            payload: Vec::new(),
            record_key: Vec::new(),
            name: own_name,
            number,
            id,
            tail,
            book,
            shared,
        }
        .run();
    };
    let thread = std::thread::Builder::new().name(name.clone()).spawn(run)?;
    Ok(ProducerHandle { name, thread, give_up: Box::new(move || giving_up.give_up()) })
}

/// The clients begin theirs in turn.
fn schedule(shared: &Shared, number: usize, start_ns: u64) -> Schedule {
    let clients = f64::from(shared.options.producers.max(1));
    Schedule::new(start_ns, shared.options.rate / clients, &[number as f64 / clients], shared.options.backlog_ms.saturating_mul(1_000_000))
}

struct Client {
    shared: Arc<Shared>,
    book: Arc<Book>,
    number: usize,
    name: String,
    id: String,
    /// From when it is first ready: the first `init_transactions()` of a cluster makes the topic of the coordinators.
    schedule: Option<Schedule>,
    generator: Generator,
    tail: Tail,
    /// `None` until a new one is made.
    producer: Option<TxnProducer>,
    /// It has its epoch.
    is_ready: bool,
    process: u32,
    record_key: Vec<u8>,
    payload: Vec<u8>,
}

/// A transaction that is under way.
struct Txn {
    process: u32,
    client: u32,
    intended_ns: u64,
    begun: Instant,
    plan: TxnPlan,
    /// As invoked, with the polls as far as they were made.
    parts: Vec<MicroOp>,
    /// The next step.
    at: usize,
    corrupt: Corrupt,
    /// A zombie's is its successor's.
    has_reader: bool,
    /// Why it cannot be committed.
    broken: Option<String>,
}

/// How one ended.
struct Ended {
    op_type: OpType,
    commit_ns: Option<u64>,
    error: Option<String>,
    /// Why its producer is of no use any more.
    dead: Option<String>,
}

impl Client {
    fn run(mut self) {
        loop {
            if let Some(until) = self.shared.writes_until.get().copied() {
                return self.settle(until);
            }
            let is_ready = self.make_ready();
            let now_ns = self.shared.clock.now_ns();
            if is_ready {
                let schedule = self.schedule.get_or_insert_with(|| schedule(&self.shared, self.number, now_ns));
                match schedule.next(now_ns, |_| true) {
                    Next::Send { intended_ns, .. } => self.transaction(intended_ns),
                    Next::Wait { until_ns, .. } => {
                        let pause = Duration::from_nanos(until_ns.saturating_sub(now_ns));
                        std::thread::sleep(pause.clamp(SLEEP_MIN, SLEEP_MAX));
                    }
                }
            }
            if let Some(schedule) = &self.schedule {
                let counters = &self.shared.counters;
                counters.backlog[self.number].store(schedule.backlog(self.shared.clock.now_ns()), Relaxed);
                counters.shed[self.number].store(schedule.shed(), Relaxed);
            }
        }
    }

    /// Of a wait that began then: not beyond the end of writing.
    fn deadline(&self, from: Instant, wait: Duration) -> Instant {
        let until = from + wait;
        self.shared.writes_until.get().map_or(until, |end| until.min(*end))
    }

    /// Makes a producer if there is none, and lets it take the transactional id over. `false`: not yet.
    fn make_ready(&mut self) -> bool {
        if self.is_ready {
            return true;
        }
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => match TxnProducer::new(&self.shared, &self.name, &self.id) {
                Ok(producer) => producer,
                Err(error) => {
                    self.shared.log(&self.name).say("error", "KCHAOS", &format!("cannot make a new producer: {error}"));
                    std::thread::sleep(RESTART_PAUSE);
                    return false;
                }
            },
        };
        match producer.init(CALL) {
            Ok(()) => (self.producer, self.is_ready) = (Some(producer), true),
            Err(error) if error.is_retriable => {
                producer.tell_brokers_again(self.shared.bootstrap());
                self.producer = Some(producer);
            }
            Err(error) => self.crash(producer, &error.text),
        }
        self.is_ready
    }

    /// At the end: a producer whose id is not its own yet takes it over, so that nothing of it holds the last stable offset.
    fn settle(mut self, until: Instant) {
        let until = until.min(Instant::now() + SETTLE);
        while Instant::now() < until && !self.make_ready() {}
    }

    fn transaction(&mut self, intended_ns: u64) {
        let plan = self.generator.next();
        let Some(mut producer) = self.producer.take() else { return };
        let zombie = plan.zombie;
        let process = self.process;
        let mut txn = self.begin(&mut producer, plan, process, intended_ns);
        let Some(zombie) = zombie else {
            self.go_on(&mut producer, &mut txn, usize::MAX);
            let ended = self.end(&producer, &txn, false);
            return self.complete(producer, txn, ended);
        };
        let middle = txn.plan.steps.len().div_ceil(2);
        self.go_on(&mut producer, &mut txn, middle);
        producer.flush(CALL);
        self.zombie(producer, txn, zombie);
    }

    /// A second producer takes the id over while the first is in mid-transaction.
    fn zombie(&mut self, mut first: TxnProducer, mut txn: Txn, zombie: Zombie) {
        let Some(mut second) = self.second(&first) else {
            // Nobody took over, or nobody knows: the first ends its transaction as it meant to.
            self.go_on(&mut first, &mut txn, usize::MAX);
            let mut ended = self.end(&first, &txn, false);
            ended.dead.get_or_insert_with(|| "a second producer may have taken its transactional id over".into());
            return self.complete(first, txn, ended);
        };
        let dead = Some("a second producer took its transactional id over".to_owned());
        if zombie == Zombie::Vanishes {
            let error = Some("left in the middle; a second producer took its transactional id over".to_owned());
            self.complete(first, txn, Ended { op_type: OpType::Fail, commit_ns: None, error, dead });
            (self.producer, self.is_ready) = (Some(second), true);
            self.process = self.shared.new_process();
            return;
        }
        let process = self.shared.new_process();
        let (plan, intended_ns) = (self.generator.next_plain(), self.shared.clock.now_ns());
        let mut successor = self.begin(&mut second, plan, process, intended_ns);
        let middle = successor.plan.steps.len().div_ceil(2);
        self.go_on(&mut second, &mut successor, middle);
        second.flush(CALL);

        txn.has_reader = false;
        self.go_on(&mut first, &mut txn, usize::MAX);
        let late = self.end(&first, &txn, true);
        self.complete(first, txn, Ended { dead, ..late });

        self.process = process;
        self.go_on(&mut second, &mut successor, usize::MAX);
        let ended = self.end(&second, &successor, false);
        self.is_ready = true;
        self.complete(second, successor, ended);
    }

    /// A second producer with the same id, that has its epoch: whoever had it before is fenced.
    fn second(&mut self, first: &TxnProducer) -> Option<TxnProducer> {
        let second = match TxnProducer::new(&self.shared, &self.name, &self.id) {
            Ok(second) => second,
            Err(error) => {
                first.log.say("error", "KCHAOS", &format!("cannot make a second producer: {error}"));
                return None;
            }
        };
        let until = self.deadline(Instant::now(), SETTLE);
        loop {
            match second.init(CALL) {
                Ok(()) => return Some(second),
                Err(error) if error.is_retriable && Instant::now() < until => {}
                Err(_) => return None,
            }
        }
    }

    /// Records the invoke, with every value that is to be sent, and begins.
    fn begin(&mut self, producer: &mut TxnProducer, plan: TxnPlan, process: u32, intended_ns: u64) -> Txn {
        self.tail.prepare(process, producer.client);
        let part = |step: &Step| match *step {
            Step::Send(key) => MicroOp::Send(SendOp { key: self.shared.keys[key].key, value: self.shared.new_value(key), offset: None }),
            Step::Poll => MicroOp::Poll(None),
        };
        let parts: Vec<MicroOp> = plan.steps.iter().map(part).collect();
        let (client, begun, corrupt) = (producer.client, Instant::now(), Corrupt::default());
        self.book.invoke(process, client, intended_ns, &parts);
        let broken = producer.begin().err().map(|error| format!("cannot be begun: {}", error.text));
        Txn { process, client, intended_ns, begun, plan, parts, at: 0, corrupt, has_reader: true, broken }
    }

    /// Makes its steps up to `end`, unless it is broken.
    fn go_on(&mut self, producer: &mut TxnProducer, txn: &mut Txn, end: usize) {
        while txn.broken.is_none() && txn.at < txn.plan.steps.len().min(end) {
            match (txn.plan.steps[txn.at], &mut txn.parts[txn.at]) {
                (Step::Send(key), MicroOp::Send(send)) => txn.broken = self.send(producer, key, send.value).err(),
                (Step::Poll, MicroOp::Poll(polled)) if txn.has_reader => *polled = Some(self.tail.poll(&mut txn.corrupt)),
                (Step::Poll | Step::Send(_), _) => {}
            }
            txn.at += 1;
        }
    }

    fn send(&mut self, producer: &mut TxnProducer, key: usize, value: Value) -> Result<(), String> {
        let record_key = self.generator.record_key(self.shared.options.key_count);
        let record = Record { client: producer.client, sequence: producer.next_sequence(), value, record_key };
        payload::record_key_bytes(record_key, &mut self.record_key);
        let value_bytes = self.shared.options.value_bytes as usize;
        payload::encode(&self.shared.places[key], &record, &self.record_key, value_bytes, &mut self.payload);
        let entry = &self.shared.keys[key];
        producer.send((&entry.topic, entry.partition, key), &self.record_key, &self.payload)
    }

    /// Commits or aborts, as planned or as it must.
    fn end(&self, producer: &TxnProducer, txn: &Txn, is_superseded: bool) -> Ended {
        let timeout = Duration::from_millis(u64::from(self.shared.options.txn_timeout_ms));
        if is_superseded {
            producer.flush(CALL);
            return self.commit(producer, self.deadline(Instant::now(), ZOMBIE), true);
        }
        let is_flushed = txn.plan.ending == Ending::Abort { flushed: false } || self.flush(producer, self.deadline(txn.begun, timeout));
        // A send that failed makes librdkafka refuse the next ones: it is the cause.
        let broken = producer.failed_send().or_else(|| txn.broken.clone());
        let broken = broken.or_else(|| (!is_flushed).then(|| "its sends were not acknowledged in time".to_owned()));
        if broken.is_none() && txn.plan.ending == Ending::Commit {
            return self.commit(producer, self.deadline(Instant::now(), timeout + COMMIT_BEYOND_TIMEOUT), false);
        }
        let dead = self.abort(producer).err().map(|error| error.text);
        let error = match (broken, &dead) {
            (None, None) => "aborted as planned".to_owned(),
            (None, Some(error)) => format!("never committed, as planned; its abort: {error}"),
            (Some(broken), None) => format!("aborted: {broken}"),
            (Some(broken), Some(error)) => format!("never committed: {broken}; its abort: {error}"),
        };
        Ended { op_type: OpType::Fail, commit_ns: None, error: Some(error), dead }
    }

    /// `false`: not every send has its report by the deadline.
    fn flush(&self, producer: &TxnProducer, deadline: Instant) -> bool {
        let mut told = Instant::now();
        loop {
            if producer.flush(Duration::from_millis(500)) {
                return true;
            }
            if producer.failed_send().is_some() || Instant::now() >= self.deadline(deadline, Duration::ZERO) {
                return false;
            }
            self.tell_brokers_if_stalled(producer, &mut told);
        }
    }

    /// Invokes the commit, again after every timeout, until the deadline.
    fn commit(&self, producer: &TxnProducer, deadline: Instant, is_superseded: bool) -> Ended {
        let commit_ns = self.shared.clock.now_ns();
        let mut told = Instant::now();
        let answer = loop {
            match producer.commit(CALL) {
                Err(error) if error.is_retriable && Instant::now() < self.deadline(deadline, Duration::ZERO) => {
                    self.tell_brokers_if_stalled(producer, &mut told);
                }
                other => break other,
            }
        };
        let took_ns = self.shared.clock.now_ns().saturating_sub(commit_ns);
        let attempt = if took_ns < producer.first_attempt_ns { Attempt::First } else { Attempt::Any };
        let (code, requires_abort) = answer.as_ref().err().map_or((None, false), |error| (Some(error.code), error.requires_abort));
        let op_type = outcome::classify(Answer { code, requires_abort, attempt, is_superseded });
        let mut ended = Ended { op_type, commit_ns: Some(commit_ns), error: None, dead: None };
        if let Err(error) = answer {
            let is_usable = op_type == OpType::Fail && requires_abort && !is_superseded && self.abort(producer).is_ok();
            ended.dead = (!is_usable).then(|| error.text.clone());
            let late = if is_superseded { "; a second producer had taken its transactional id over" } else { "" };
            ended.error = Some(format!("commit: {}{late}", error.text));
        }
        ended
    }

    fn abort(&self, producer: &TxnProducer) -> Result<(), CallError> {
        let deadline = Instant::now() + SETTLE;
        let mut told = Instant::now();
        loop {
            match producer.abort(CALL) {
                Err(error) if error.is_retriable && Instant::now() < self.deadline(deadline, Duration::ZERO) => {
                    self.tell_brokers_if_stalled(producer, &mut told);
                }
                other => return other,
            }
        }
    }

    fn tell_brokers_if_stalled(&self, producer: &TxnProducer, told: &mut Instant) {
        if told.elapsed() >= STALL {
            *told = Instant::now();
            producer.log.say("warning", "KCHAOS", "a transaction has been waiting for 15 s: telling the client its brokers again");
            producer.tell_brokers_again(self.shared.bootstrap());
        }
    }

    /// Records the completion, and goes back where the transaction was not ok.
    fn complete(&mut self, producer: TxnProducer, txn: Txn, ended: Ended) {
        let Ended { op_type, commit_ns, error, dead } = ended;
        let (process, parts) = (txn.process, fill_in(txn.parts, op_type, &producer.offsets()));
        let mut draft = self.book.draft(process, txn.client, txn.intended_ns, op_type, parts);
        (draft.error, draft.extra.commit_time_ns, draft.extra.corrupt) = (error, commit_ns, txn.corrupt.0);
        self.book.complete(process, draft);
        if op_type == OpType::Ok {
            self.tail.keep(process);
        }
        if op_type == OpType::Info && process == self.process {
            self.process = self.shared.new_process();
        }
        match dead {
            Some(reason) => self.crash(producer, &reason),
            None => self.producer = Some(producer),
        }
    }

    /// The producer is of no use any more; the next one takes over.
    fn crash(&mut self, producer: TxnProducer, reason: &str) {
        self.shared.counters.crashed.fetch_add(1, Relaxed);
        let process = Process::Client(self.shared.new_process());
        let client = producer.client;
        (self.producer, self.is_ready) = (None, false);
        drop(producer);
        for op_type in [OpType::Invoke, OpType::Info] {
            let mut draft = Draft::new(process, op_type, Body::Crash);
            draft.client = Some(client);
            draft.error = (op_type == OpType::Info).then(|| reason.to_owned());
            self.shared.record(draft);
        }
    }
}
