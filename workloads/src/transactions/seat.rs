//! What every client with a transactional id does: a producer that is made and made again, transactions that are seen to their end.
//!
//! What holds: the invoke is recorded before the transaction is begun; every invoke gets exactly one completion; the commit is invoked only
//! when every send was acknowledged (of a zombie, whatever became of them); `commit-time` is stamped before the commit is invoked; a
//! transaction of unknown outcome retires its process and its producer, and the next producer with the same transactional id settles it.
//! Before the thread ends, whatever may still hold the last stable offset is settled so as well.
//!
//! The same seat serves a client that does without transactions, for a workload that shows what they are for: nobody has to be fenced then, and sends
//! that belong together are one `send`, which is ok when all were acknowledged, and else unknown.

use std::sync::{Arc, atomic::Ordering::Relaxed};
use std::time::{Duration, Instant};

use kchaos_core::{Body, Draft, Key, MicroOp, Offset, OpType, Process};

use super::book::{Book, fill_in};
use super::outcome::{self, Answer};
use super::plan::Ending;
use super::producer::{CallError, TxnProducer};
use crate::errors::Attempt;
use crate::schedule::{Next, Schedule};
use crate::shared::Shared;

const SLEEP_MIN: Duration = Duration::from_millis(1);
const SLEEP_MAX: Duration = Duration::from_millis(50);
/// One call of librdkafka's that may block; it is made again, so that the end of the run is heard of.
pub(crate) const CALL: Duration = Duration::from_secs(2);
/// What goes on for so long may be waited for by a client that has forgotten its brokers.
const STALL: Duration = Duration::from_secs(15);
/// Beyond the transaction's timeout: the coordinator looks for those that are over every 10 s, and may just have moved.
const COMMIT_BEYOND_TIMEOUT: Duration = Duration::from_secs(30);
/// A zombie's vain attempts.
const ZOMBIE: Duration = Duration::from_secs(10);
/// For an abort, and for the last producer that settles what was left.
pub(crate) const SETTLE: Duration = Duration::from_secs(30);
const RESTART_PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Seat {
    pub(crate) shared: Arc<Shared>,
    pub(crate) book: Arc<Book>,
    pub(crate) number: usize,
    pub(crate) name: String,
    /// Its transactional id; `None`: it does without transactions.
    id: Option<String>,
    /// From when it is first ready: the first `init_transactions()` of a cluster makes the topic of the coordinators.
    schedule: Option<Schedule>,
    /// `None` until a new one is made.
    pub(crate) producer: Option<TxnProducer>,
    /// It has its epoch.
    pub(crate) is_ready: bool,
    pub(crate) process: u32,
}

/// A transaction that is under way.
pub(crate) struct Open {
    pub(crate) process: u32,
    pub(crate) client: u32,
    intended_ns: u64,
    begun: Instant,
    /// As invoked, with the polls as far as they were made.
    pub(crate) parts: Vec<MicroOp>,
    pub(crate) corrupt: Vec<(Key, Offset, String)>,
    /// Why it cannot be committed.
    pub(crate) broken: Option<String>,
}

/// How one ended.
pub(crate) struct Ended {
    pub(crate) op_type: OpType,
    pub(crate) commit_ns: Option<u64>,
    pub(crate) error: Option<String>,
    /// Why its producer is of no use any more.
    pub(crate) dead: Option<String>,
}

/// Who sits there.
pub(crate) trait Client {
    fn seat(&mut self) -> &mut Seat;

    /// With a producer that is ready. `false`: not yet.
    fn prepare(&mut self) -> bool {
        true
    }

    fn transaction(&mut self, intended_ns: u64);
}

/// Begins transactions on time, until writing is over.
pub(crate) fn run(client: &mut impl Client) {
    loop {
        if let Some(until) = client.seat().shared.writes_until.get().copied() {
            let until = until.min(Instant::now() + SETTLE);
            return while Instant::now() < until && !(client.seat().make_ready() && client.prepare()) {};
        }
        let is_ready = client.seat().make_ready() && client.prepare();
        let seat = client.seat();
        let now_ns = seat.shared.clock.now_ns();
        if is_ready {
            let schedule = seat.schedule.get_or_insert_with(|| schedule(&seat.shared, seat.number, now_ns));
            match schedule.next(now_ns, |_| true) {
                Next::Send { intended_ns, .. } => client.transaction(intended_ns),
                Next::Wait { until_ns, .. } => {
                    let pause = Duration::from_nanos(until_ns.saturating_sub(now_ns));
                    std::thread::sleep(pause.clamp(SLEEP_MIN, SLEEP_MAX));
                }
            }
        }
        let seat = client.seat();
        if let Some(schedule) = &seat.schedule {
            let counters = &seat.shared.counters;
            counters.backlog[seat.number].store(schedule.backlog(seat.shared.clock.now_ns()), Relaxed);
            counters.shed[seat.number].store(schedule.shed(), Relaxed);
        }
    }
}

/// The clients begin theirs in turn.
fn schedule(shared: &Shared, number: usize, start_ns: u64) -> Schedule {
    let clients = f64::from(shared.options.producers.max(1));
    Schedule::new(start_ns, shared.options.rate / clients, &[number as f64 / clients], shared.options.backlog_ms.saturating_mul(1_000_000))
}

impl Seat {
    pub(crate) fn new(book: &Arc<Book>, shared: &Arc<Shared>, number: usize, name: &str, id: Option<String>) -> Result<Self, String> {
        Ok(Self {
            producer: Some(TxnProducer::new(shared, name, id.as_deref())?),
            process: shared.new_process(),
            shared: Arc::clone(shared),
            book: Arc::clone(book),
            number,
            name: name.to_owned(),
            id,
            schedule: None,
            is_ready: false,
        })
    }

    /// Of a wait that began then: not beyond the end of writing.
    pub(crate) fn deadline(&self, from: Instant, wait: Duration) -> Instant {
        let until = from + wait;
        self.shared.writes_until.get().map_or(until, |end| until.min(*end))
    }

    /// Makes a producer if there is none, and lets it take the transactional id over, so that nothing of an earlier one holds the last stable offset.
    /// `false`: not yet.
    pub(crate) fn make_ready(&mut self) -> bool {
        if self.is_ready {
            return true;
        }
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => match TxnProducer::new(&self.shared, &self.name, self.id.as_deref()) {
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

    /// A second producer with the same id, that has its epoch: whoever had it before is fenced.
    pub(super) fn second(&mut self, first: &TxnProducer) -> Option<TxnProducer> {
        let second = match TxnProducer::new(&self.shared, &self.name, self.id.as_deref()) {
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
    pub(crate) fn begin(&self, producer: &mut TxnProducer, parts: Vec<MicroOp>, process: u32, intended_ns: u64) -> Open {
        let (client, begun) = (producer.client, Instant::now());
        self.book.invoke(process, client, intended_ns, &parts);
        let broken = producer.begin().err().map(|error| format!("cannot be begun: {}", error.text));
        Open { process, client, intended_ns, begun, parts, corrupt: Vec::new(), broken }
    }

    /// Commits or aborts, as planned or as it must.
    pub(crate) fn end(&self, producer: &TxnProducer, open: &Open, ending: Ending, is_superseded: bool) -> Ended {
        let timeout = Duration::from_millis(u64::from(self.shared.options.txn_timeout_ms));
        if is_superseded {
            producer.flush(CALL);
            return self.commit(producer, self.deadline(Instant::now(), ZOMBIE), true);
        }
        let is_flushed = ending == Ending::Abort { flushed: false } || self.flush(producer, self.deadline(open.begun, timeout));
        // A send that failed makes librdkafka refuse the next ones: it is the cause.
        let broken = producer.failed_send().or_else(|| open.broken.clone());
        let broken = broken.or_else(|| (!is_flushed).then(|| "its sends were not acknowledged in time".to_owned()));
        if self.id.is_none() {
            // Of one that failed others may have been written, or may still be.
            let op_type = if broken.is_none() { OpType::Ok } else { OpType::Info };
            return Ended { op_type, commit_ns: None, error: broken.clone(), dead: broken };
        }
        if broken.is_none() && ending == Ending::Commit {
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

    /// Left in the middle, without a word to the coordinator: the next producer with its id settles it.
    pub(crate) fn leave(&self, why: &str) -> Ended {
        let op_type = if self.id.is_some() { OpType::Fail } else { OpType::Info };
        Ended { op_type, commit_ns: None, error: Some(format!("left in the middle; {why}")), dead: Some(why.to_owned()) }
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

    pub(crate) fn tell_brokers_if_stalled(&self, producer: &TxnProducer, told: &mut Instant) {
        if told.elapsed() >= STALL {
            *told = Instant::now();
            producer.log.say("warning", "KCHAOS", "a transaction has been waiting for 15 s: telling the client its brokers again");
            producer.tell_brokers_again(self.shared.bootstrap());
        }
    }

    /// Records the completion. The producer is kept, unless it is of no use any more.
    pub(crate) fn complete(&mut self, producer: TxnProducer, open: Open, ended: Ended) {
        let Ended { op_type, commit_ns, error, dead } = ended;
        let (process, parts) = (open.process, fill_in(open.parts, op_type, &producer.offsets()));
        let mut draft = self.book.draft(process, open.client, open.intended_ns, op_type, parts);
        (draft.error, draft.extra.commit_time_ns, draft.extra.corrupt) = (error, commit_ns, open.corrupt);
        self.book.complete(process, draft);
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
