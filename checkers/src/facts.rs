//! What a history proves, before anybody judges it: completions paired with invocations, the log of each key, and the hints of the run.
//!
//! Pairing. A process does one thing at a time, so a completion belongs to the last invocation of its process. Histories that hold only
//! completions are read too: then nothing is known of when something was sent, and rules that need it are silent.
//!
//! All-or-nothing. A `send` is judged value by value. Of an info `txn`, any value that an ok op read (at read_committed) proves all; that
//! is settled at the end, when all reads are known.
//!
//! Settling. What may be forgotten of transactions is forgotten in [`settling`].
//!
//! Hints. A run of ours tells what it knows of the end in ops of the process "nemesis": `final-offsets`, `final-reads` (see [`Hints`]).
//! Their data is open: what is absent or has another shape is passed over.

mod hints;
mod logs;
mod owed;
mod plain;
mod readers;
pub(crate) mod senders;
mod settling;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use kchaos_core::{Body, Key, MicroOp, Offset, Op, OpType, Polled, Process, Send, Value};

use crate::by_id::ById;
use crate::gaps::Gaps;
use crate::log::{Id, Isolation, KeyLog, Outcome, PollOp, Written};
use crate::txns::{TxnId, Txns};
use hints::Hints;
use logs::Logs;
use plain::{Attempt, Routes, Underway};
pub(crate) use readers::Last;
use readers::Reading;
use senders::Senders;

const JUDGED_MIN: usize = 2048;

/// How many names of unknown `f`s are kept apart.
const MAX_UNKNOWN_FS: usize = 64;

/// What a process has begun. Kept when it has ended, for the next one's sake: nothing is allocated for each op.
#[derive(Default)]
pub(crate) struct Invocation {
    is_open: bool,
    pub(crate) client: Option<u32>,
    in_txn: bool,
    txn: TxnId,
    /// Each with its value's place in the key's log.
    sends: Vec<(Send, Id)>,
    /// A plain send, in the place of those; what is said of a transaction is not of it.
    is_plain: bool,
    plain: Underway,
}

/// What a process does.
#[derive(Default)]
struct Doing {
    invocation: Invocation,
    routes: Routes,
    attempt: Attempt,
    reading: Reading,
}

impl Invocation {
    /// From now on no plain send.
    fn spell_out(&mut self) {
        if std::mem::take(&mut self.is_plain) {
            let Underway { key, value, id, .. } = self.plain;
            (self.in_txn, self.txn) = (false, 0);
            self.sends.clear();
            self.sends.push((Send { key, value, offset: None }, id));
        }
    }

    /// A completion that lists other sends only, and none of these, completes something else.
    fn is_of(&self, sends: &[Send]) -> bool {
        let name = |send: &Send| (send.key, send.value);
        match (self.sends.first(), sends.first()) {
            (Some((asked, _)), Some(told)) if name(asked) != name(told) => {
                let told: HashSet<_> = sends.iter().map(name).collect();
                self.sends.iter().any(|(asked, _)| told.contains(&name(asked)))
            }
            _ => true,
        }
    }
}

/// Counts of ops and values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) ops: u64,
    pub(crate) ok_sends: u64,
    pub(crate) ok_polls: u64,
    pub(crate) ok_txns: u64,
    pub(crate) ok_registers: u64,
    pub(crate) acknowledged_values: u64,
    pub(crate) unknown_fs: BTreeMap<String, u64>,
}

/// Values of each key.
pub(crate) type Values = BTreeMap<Key, BTreeSet<Value>>;

/// What a pass over the history wishes that it had not forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) values: Values,
    pub(crate) everything: bool,
}

impl Wanted {
    pub(crate) fn is_nothing(&self) -> bool {
        self.values.is_empty() && !self.everything
    }
}

pub(crate) struct Facts {
    logs: Logs,
    open: ById<Doing>,
    senders: Senders,
    /// Transactions of which nobody knows: their sends.
    unknown_txns: Vec<Vec<Send>>,
    txns: Txns,
    gaps: Gaps,
    /// See [`Facts::doubt`].
    doubted: Cell<bool>,
    /// So many transactions are judged together at least: few enough for a processor's cache.
    judge_every: usize,
    pub(crate) counts: Counts,
    pub(crate) hints: Hints,
    /// Why the history's end is missing, if it is.
    pub(crate) truncated: Option<String>,
    default_isolation: Isolation,
    /// Of the op that was taken in last: what it sends, its invocation if it is a completion, and how it read.
    sends: Vec<Send>,
    invocation: Invocation,
    isolation: Isolation,
    txn: TxnId,
    behind: Vec<(Key, Last)>,
}

impl Facts {
    pub(crate) fn new(default_isolation: Isolation, pinned: Values) -> Self {
        Self {
            logs: Logs::pinning(pinned),
            open: ById::default(),
            senders: Senders::default(),
            unknown_txns: Vec::new(),
            txns: Txns::default(),
            gaps: Gaps::default(),
            doubted: Cell::new(false),
            judge_every: JUDGED_MIN,
            counts: Counts::default(),
            hints: Hints::default(),
            truncated: None,
            default_isolation,
            sends: Vec::new(),
            invocation: Invocation::default(),
            isolation: default_isolation,
            txn: 0,
            behind: Vec::new(),
        }
    }

    /// Before anybody looks at the logs: [`KeyLog::spell_out`].
    pub(crate) fn spell_out(&mut self) {
        self.logs.logs.iter_mut().for_each(|(_, log)| log.spell_out());
    }

    /// Keeps every value for good.
    pub(crate) fn never_pack(&mut self) {
        self.logs.never_pack = true;
    }

    pub(crate) fn never_packs(&self) -> bool {
        self.logs.never_pack
    }

    /// Judges so many transactions together at least.
    pub(crate) fn judge_every(&mut self, count: usize) {
        self.judge_every = count;
    }

    pub(crate) fn judged_min(&self) -> usize {
        self.judge_every
    }

    /// Takes an op in. What [`Facts::sends`], [`Facts::invocation`] and [`Facts::isolation`] say is of this op until the next.
    pub(crate) fn update(&mut self, op: &Op) {
        self.counts.ops += 1;
        if self.txns.has_passed() {
            self.settle_txns();
        }
        self.forget_pairs();
        self.sends.clear();
        self.invocation.is_open = false;
        self.gaps.goes_back = false;
        self.txn = 0;
        self.isolation = self.isolation_of(op.extra.isolation.as_deref());
        self.count(op);
        let Process::Client(process) = op.process else {
            self.hints.hear(&op.body);
            return;
        };
        self.reads(process, op);
        if op.op_type == OpType::Invoke {
            self.begin(process, op);
        } else {
            self.end(process, op);
        }
        if !self.sends.is_empty() || op.body == Body::Crash {
            self.send(process, op);
        }
    }

    #[inline(never)]
    fn send(&mut self, process: u32, op: &Op) {
        if op.body == Body::Crash
            && let Some(doing) = self.open.get_mut(u64::from(process))
        {
            // Its windows are nobody's now.
            doing.routes = Routes::default();
            doing.invocation.spell_out();
        }
        let invoked = self.invocation().map(|invocation| invocation.client);
        self.senders.update(op, &self.sends, invoked);
    }

    fn count(&mut self, op: &Op) {
        let ok = u64::from(op.op_type == OpType::Ok);
        let counts = &mut self.counts;
        match &op.body {
            Body::Send(_) => counts.ok_sends += ok,
            Body::Poll(_) => counts.ok_polls += ok,
            Body::Txn(parts) => {
                counts.ok_txns += ok;
                counts.ok_polls += if parts.iter().any(|part| matches!(part, MicroOp::Poll(_))) { ok } else { 0 };
            }
            Body::Read { .. } | Body::Write { .. } | Body::Cas { .. } => counts.ok_registers += ok,
            Body::Unknown { f } => {
                let name = if counts.unknown_fs.len() < MAX_UNKNOWN_FS || counts.unknown_fs.contains_key(f) { f } else { "…" };
                *counts.unknown_fs.entry(name.to_owned()).or_default() += 1;
            }
            Body::Assign { .. }
            | Body::Subscribe { .. }
            | Body::Commit(_)
            | Body::Committed { .. }
            | Body::Crash
            | Body::Nemesis { .. } => {}
        }
    }

    fn begin(&mut self, process: u32, op: &Op) {
        let Self { logs, open, sends, txns, .. } = self;
        let invocation = match open.get_mut(u64::from(process)) {
            Some(Doing { invocation, .. }) => {
                if invocation.is_open {
                    abandon(invocation, txns, &mut self.unknown_txns);
                }
                Some(invocation)
            }
            None => None,
        };
        let in_txn = matches!(op.body, Body::Txn(_));
        if !in_txn && !matches!(op.body, Body::Send(_)) {
            return;
        }
        if in_txn {
            logs.leave_light();
        }
        op.body.collect_sends(sends);
        let invocation = match invocation {
            Some(invocation) => invocation,
            None => &mut open.or_default(u64::from(process)).invocation,
        };
        (invocation.is_open, invocation.client, invocation.in_txn) = (true, op.client, in_txn);
        invocation.txn = if in_txn { txns.begin(op) } else { 0 };
        invocation.sends.clear();
        invocation.is_plain = false;
        for send in sends.iter() {
            let log = logs.get_mut(send.key);
            let id = log.invoked(send.value, op.index, in_txn);
            invocation.sends.push((*send, id));
            if in_txn {
                log.set_txn(id, invocation.txn);
                txns.sends(send.key, id);
            }
        }
    }

    fn end(&mut self, process: u32, op: &Op) {
        let in_txn = matches!(op.body, Body::Txn(_));
        if in_txn {
            self.logs.leave_light();
        }
        if in_txn || matches!(op.body, Body::Send(_)) {
            op.body.collect_sends(&mut self.sends);
            if let Some(Doing { invocation, .. }) = self.open.get_mut(u64::from(process))
                && invocation.is_open
                && let () = invocation.spell_out()
                && invocation.in_txn == in_txn
                && invocation.is_of(&self.sends)
            {
                std::mem::swap(&mut self.invocation, invocation);
                invocation.is_open = false;
            }
            if in_txn {
                let begun = self.invocation().map(|invocation| invocation.txn);
                self.txn = begun.unwrap_or_else(|| self.txns.begin(op));
            }
            self.end_sends(op, in_txn);
        }
        let Process::Client(process) = op.process else { return };
        let poll = PollOp { op: op.index, process, ok: op.op_type == OpType::Ok, isolation: self.isolation };
        let packs = !self.logs.never_pack;
        let Self { logs, gaps, .. } = self;
        each_polled(&op.body, |key, records| {
            let log = logs.get_mut(key);
            log.polled(records, poll);
            gaps.polled(op, key, records, poll.isolation, Some(&*log).filter(|_| packs));
        });
        if packs && gaps.are_many() {
            gaps.forget(|gap| logs.get(gap.key).is_some_and(|log| log.is_closed_between(gap.from, gap.to)));
        }
    }

    fn end_sends(&mut self, op: &Op, in_txn: bool) {
        let Self { logs, invocation, txns, counts, .. } = self;
        let was_invoked = invocation.is_open;
        let asked = if was_invoked { &invocation.sends[..] } else { &[][..] };
        // The completion speaks for what it lists. Of what it leaves out (a fail or info op may carry no value at all) only a failure is sure.
        if let ([send], [(told, id)]) = (&self.sends[..], asked)
            && (send.key, send.value) == (told.key, told.value)
        {
            let outcome = if in_txn && op.op_type == OpType::Info { Outcome::Info } else { outcome(op.op_type, send) };
            logs.get_mut(send.key).completed(send, Some(*id), outcome, op.index, in_txn);
            counts.acknowledged_values += u64::from(outcome == Outcome::Ok);
            if in_txn {
                self.end_txn(op);
            }
            return;
        }
        let listed = self.sends.len();
        let name = |send: &Send| (send.key, send.value);
        let as_asked = self.sends.iter().map(name).eq(asked.iter().map(|(send, _)| name(send)));
        let ids: HashMap<_, _> = if as_asked { HashMap::new() } else { asked.iter().map(|(send, id)| (name(send), *id)).collect() };
        if !as_asked {
            let told: HashSet<_> = self.sends.iter().map(name).collect();
            let untold = asked.iter().filter(|(send, _)| !told.contains(&name(send)));
            self.sends.extend(untold.map(|(send, _)| Send { offset: None, ..*send }));
        }
        for (position, send) in self.sends.iter().enumerate() {
            let acknowledged = send.offset.is_some_and(|offset| offset >= 0) && !in_txn;
            let outcome = match op.op_type {
                OpType::Ok if position < listed => Outcome::Ok,
                OpType::Info if acknowledged => Outcome::Ok,
                OpType::Fail => Outcome::Fail,
                _ => Outcome::Info,
            };
            let id = if as_asked { asked.get(position).map(|(_, id)| *id) } else { ids.get(&name(send)).copied() };
            let log = logs.get_mut(send.key);
            let id = log.completed(send, id, outcome, op.index, in_txn);
            if in_txn && !was_invoked {
                log.set_txn(id, self.txn);
                txns.sends(send.key, id);
            }
            counts.acknowledged_values += u64::from(outcome == Outcome::Ok);
        }
        if in_txn {
            self.end_txn(op);
        }
    }

    fn end_txn(&mut self, op: &Op) {
        let outcome = match op.op_type {
            OpType::Ok => Outcome::Ok,
            OpType::Fail => Outcome::Fail,
            OpType::Info | OpType::Invoke => Outcome::Info,
        };
        self.txns.end(self.txn, op, outcome);
        if op.op_type == OpType::Info && !self.sends.is_empty() {
            self.unknown_txns.push(self.sends.clone());
        }
    }

    /// What the op sends, with the offsets it tells; in a completion also what only its invocation lists.
    pub(crate) fn sends(&self) -> &[Send] {
        &self.sends
    }

    pub(crate) fn invocation(&self) -> Option<&Invocation> {
        Some(&self.invocation).filter(|invocation| invocation.is_open)
    }

    pub(crate) fn senders(&self) -> &Senders {
        &self.senders
    }

    pub(crate) fn isolation(&self) -> Isolation {
        self.isolation
    }

    pub(crate) fn txns(&self) -> &Txns {
        &self.txns
    }

    /// What polls passed over inside, but for what is known to be nothing.
    pub(crate) fn gaps(&self) -> &Gaps {
        &self.gaps
    }

    /// The transaction of the op, if it is the completion of one; else 0.
    pub(crate) fn txn(&self) -> TxnId {
        self.txn
    }

    /// What a transaction sent, each value with its key.
    pub(crate) fn sent(&self, txn: TxnId) -> impl Iterator<Item = (Key, Id, &Written)> {
        self.sent_of(&self.txns, txn)
    }

    /// It certainly took effect: it was ok, or a reader of committed was given a value of it.
    pub(crate) fn is_txn_committed(&self, txn: TxnId) -> bool {
        self.is_committed_of(&self.txns, txn)
    }

    /// The logs in the order of their keys.
    pub(crate) fn logs(&self) -> Vec<(Key, &KeyLog)> {
        let mut logs: Vec<_> = self.logs.logs.iter().map(|(key, log)| (*key, log)).collect();
        logs.sort_unstable_by_key(|(key, _)| *key);
        logs
    }

    pub(crate) fn log(&self, key: Key) -> Option<&KeyLog> {
        self.logs.get(key)
    }

    /// Offsets below were removed on purpose (retention, delete-records): nothing is owed there.
    pub(crate) fn log_start(&self, key: Key) -> Offset {
        self.hints.offsets.get(&key).map_or(0, |told| told.start)
    }
}

/// An invocation that will never complete.
fn abandon(invocation: &mut Invocation, txns: &mut Txns, unknown: &mut Vec<Vec<Send>>) {
    invocation.is_open = false;
    invocation.spell_out();
    txns.abandon(invocation.txn);
    if invocation.in_txn && !invocation.sends.is_empty() {
        unknown.push(invocation.sends.drain(..).map(|(send, _)| send).collect());
    }
}

/// What became of a send outside a transaction, if the op that says so lists it.
fn outcome(op_type: OpType, send: &Send) -> Outcome {
    match op_type {
        OpType::Ok => Outcome::Ok,
        OpType::Info if send.offset.is_some_and(|offset| offset >= 0) => Outcome::Ok,
        OpType::Fail => Outcome::Fail,
        OpType::Info | OpType::Invoke => Outcome::Info,
    }
}

/// The polls of an op that returned something, in order.
pub(crate) fn polls(body: &Body) -> impl Iterator<Item = &Polled> {
    let (alone, parts) = match body {
        Body::Poll(polled) => (polled.as_ref(), &[][..]),
        Body::Txn(parts) => (None, &parts[..]),
        _ => (None, &[][..]),
    };
    alone.into_iter().chain(parts.iter().filter_map(|part| match part {
        MicroOp::Poll(polled) => polled.as_ref(),
        MicroOp::Send(_) => None,
    }))
}

/// Calls `each` with what an op's polls returned, key by key, in order.
#[inline]
pub(crate) fn each_polled<'a>(body: &'a Body, mut each: impl FnMut(Key, &'a [(Offset, Value)])) {
    match body {
        Body::Poll(Some(polled)) => polled.0.iter().for_each(|(key, records)| each(*key, records)),
        Body::Txn(_) => polls(body).flat_map(|polled| &polled.0).for_each(|(key, records)| each(*key, records)),
        _ => {}
    }
}
