//! What a history proves, before anybody judges it: completions paired with invocations, the log of each key, and the hints of the run.
//!
//! Pairing. A process does one thing at a time, so a completion belongs to the last invocation of its process. Histories that hold only
//! completions are read too: then nothing is known of when something was sent, and rules that need it are silent.
//!
//! All-or-nothing. A `send` is judged value by value. Of an info `txn`, any value that an ok op read (at read_committed) proves all; that
//! is settled at the end, when all reads are known.
//!
//! Hints. A run of ours tells what it knows of the end in ops of the process "nemesis": `final-offsets`, `final-reads` (see [`Hints`]).
//! Their data is open: what is absent or has another shape is passed over.

use std::collections::{BTreeMap, HashMap, HashSet};

use kchaos_core::{Body, Key, MicroOp, Offset, Op, OpType, Polled, Process, Send};
use serde_json::Value as Json;

use crate::hash::IntMap;
use crate::log::{Id, Isolation, KeyLog, Outcome, Written};
use crate::txns::{TxnId, Txns};

/// How many names of unknown `f`s are kept apart.
const MAX_UNKNOWN_FS: usize = 64;

/// What a process has begun.
pub(crate) struct Invocation {
    pub(crate) client: Option<u32>,
    in_txn: bool,
    txn: TxnId,
    /// Each with its value's place in the key's log.
    sends: Vec<(Send, Id)>,
}

impl Invocation {
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

/// The log's end as its current leader told it, after all was mended and the ISR full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FinalOffsets {
    pub(crate) start: Offset,
    /// The high watermark: the next offset.
    pub(crate) end: Offset,
    pub(crate) leader_epoch: Option<i64>,
}

/// What a run tells of its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hints {
    /// `final-offsets`: `{"0": {"start": 0, "end": 123, "leader": 2, "leader_epoch": 4}, …}`.
    pub(crate) offsets: BTreeMap<Key, FinalOffsets>,
    /// `final-reads`: `{"complete": true, "keys": {"0": {"next": 124, "end": 124}, …}}`.
    pub(crate) reads_complete: Option<bool>,
    /// Keys whose final read stopped before their end.
    pub(crate) unfinished_keys: Vec<Key>,
}

pub(crate) struct Facts {
    logs: IntMap<Key, KeyLog>,
    open: IntMap<u32, Invocation>,
    /// Transactions of which nobody knows: their sends.
    unknown_txns: Vec<Vec<Send>>,
    txns: Txns,
    pub(crate) counts: Counts,
    pub(crate) hints: Hints,
    /// Why the history's end is missing, if it is.
    pub(crate) truncated: Option<String>,
    default_isolation: Isolation,
    /// Of the op that was taken in last: what it sends, its invocation if it is a completion, and how it read.
    sends: Vec<Send>,
    invocation: Option<Invocation>,
    isolation: Isolation,
    txn: TxnId,
}

impl Facts {
    pub(crate) fn new(default_isolation: Isolation) -> Self {
        Self {
            logs: IntMap::default(),
            open: IntMap::default(),
            unknown_txns: Vec::new(),
            txns: Txns::default(),
            counts: Counts::default(),
            hints: Hints::default(),
            truncated: None,
            default_isolation,
            sends: Vec::new(),
            invocation: None,
            isolation: default_isolation,
            txn: 0,
        }
    }

    /// Takes an op in. What [`Facts::sends`], [`Facts::invocation`] and [`Facts::isolation`] say is of this op until the next.
    pub(crate) fn update(&mut self, op: &Op) {
        self.counts.ops += 1;
        self.sends.clear();
        self.invocation = None;
        self.txn = 0;
        self.isolation = match op.extra.isolation.as_deref() {
            Some("read_uncommitted") => Isolation::Uncommitted,
            Some("read_committed") => Isolation::Committed,
            _ => self.default_isolation,
        };
        self.count(op);
        let Process::Client(process) = op.process else {
            self.hint(&op.body);
            return;
        };
        if op.op_type == OpType::Invoke {
            self.begin(process, op);
        } else {
            self.end(process, op);
        }
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
        if let Some(abandoned) = self.open.remove(&process) {
            self.abandon(abandoned);
        }
        let in_txn = matches!(op.body, Body::Txn(_));
        if !in_txn && !matches!(op.body, Body::Send(_)) {
            return;
        }
        collect_sends(&op.body, &mut self.sends);
        let logs = &mut self.logs;
        let sends = self.sends.iter().map(|send| (*send, log(logs, send.key).invoked(send.value, op.index, in_txn))).collect();
        let invocation = Invocation { client: op.client, in_txn, txn: if in_txn { self.txns.begin(op) } else { 0 }, sends };
        for (send, id) in invocation.sends.iter().filter(|_| in_txn) {
            log(&mut self.logs, send.key).set_txn(*id, invocation.txn);
            self.txns.sends(send.key, *id);
        }
        self.open.insert(process, invocation);
    }

    /// An invocation that will never complete.
    fn abandon(&mut self, invocation: Invocation) {
        self.txns.abandon(invocation.txn);
        if invocation.in_txn && !invocation.sends.is_empty() {
            self.unknown_txns.push(invocation.sends.into_iter().map(|(send, _)| send).collect());
        }
    }

    fn end(&mut self, process: u32, op: &Op) {
        let in_txn = matches!(op.body, Body::Txn(_));
        if in_txn || matches!(op.body, Body::Send(_)) {
            collect_sends(&op.body, &mut self.sends);
            match self.open.remove(&process) {
                Some(invocation) if invocation.in_txn == in_txn && invocation.is_of(&self.sends) => self.invocation = Some(invocation),
                Some(other) => {
                    self.open.insert(process, other);
                }
                None => {}
            }
            if in_txn {
                let begun = self.invocation.as_ref().map(|invocation| invocation.txn);
                self.txn = begun.unwrap_or_else(|| self.txns.begin(op));
            }
            self.end_sends(op, in_txn);
        }
        let ok = op.op_type == OpType::Ok;
        for polled in polls(&op.body) {
            for (key, records) in &polled.0 {
                let log = log(&mut self.logs, *key);
                for (offset, value) in records {
                    log.polled(*value, *offset, op.index, ok, self.isolation);
                }
            }
        }
    }

    fn end_sends(&mut self, op: &Op, in_txn: bool) {
        let asked = self.invocation.as_ref().map_or(&[][..], |invocation| &invocation.sends);
        // The completion speaks for what it lists. Of what it leaves out (a fail or info op may carry no value at all) only a failure is sure.
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
            let log = log(&mut self.logs, send.key);
            let id = log.completed(send, id, outcome, op.index, in_txn);
            if in_txn && self.invocation.is_none() {
                log.set_txn(id, self.txn);
                self.txns.sends(send.key, id);
            }
            self.counts.acknowledged_values += u64::from(outcome == Outcome::Ok);
        }
        if in_txn {
            let outcome = match op.op_type {
                OpType::Ok => Outcome::Ok,
                OpType::Fail => Outcome::Fail,
                OpType::Info | OpType::Invoke => Outcome::Info,
            };
            self.txns.end(self.txn, op, outcome);
        }
        if in_txn && op.op_type == OpType::Info && !self.sends.is_empty() {
            self.unknown_txns.push(self.sends.clone());
        }
    }

    fn hint(&mut self, body: &Body) {
        let Body::Nemesis { f, value } = body else { return };
        match f.as_str() {
            "final-offsets" => {
                for (key, told) in by_key(value) {
                    let number = |name| told.get(name).and_then(Json::as_i64);
                    if let (Some(start), Some(end)) = (number("start"), number("end")) {
                        self.hints.offsets.insert(key, FinalOffsets { start, end, leader_epoch: number("leader_epoch") });
                    }
                }
            }
            "final-reads" => {
                self.hints.reads_complete = value.get("complete").and_then(Json::as_bool);
                let keys = value.get("keys").map(by_key).into_iter().flatten();
                let number = |told: &Json, name| told.get(name).and_then(Json::as_i64);
                self.hints.unfinished_keys = keys
                    .filter(|(_, told)| matches!((number(told, "next"), number(told, "end")), (Some(next), Some(end)) if next < end))
                    .map(|(key, _)| key)
                    .collect();
            }
            _ => {}
        }
    }

    /// Called once, when there are no more ops: settles what the reads prove of unknown transactions.
    pub(crate) fn settle(&mut self) {
        self.sends.clear();
        self.invocation = None;
        let mut open: Vec<u32> = self.open.keys().copied().collect();
        open.sort_unstable();
        for process in open {
            if let Some(invocation) = self.open.remove(&process) {
                self.abandon(invocation);
            }
        }
        for sends in std::mem::take(&mut self.unknown_txns) {
            let read = |send: &Send| self.logs.get(&send.key).and_then(|log| log.find(send.value));
            if !sends.iter().filter_map(read).any(|written| written.is_read_committed()) {
                continue;
            }
            for send in &sends {
                log(&mut self.logs, send.key).prove(send);
            }
        }
    }

    /// What the op sends, with the offsets it tells; in a completion also what only its invocation lists.
    pub(crate) fn sends(&self) -> &[Send] {
        &self.sends
    }

    pub(crate) fn invocation(&self) -> Option<&Invocation> {
        self.invocation.as_ref()
    }

    pub(crate) fn isolation(&self) -> Isolation {
        self.isolation
    }

    pub(crate) fn txns(&self) -> &Txns {
        &self.txns
    }

    /// The transaction of the op, if it is the completion of one; else 0.
    pub(crate) fn txn(&self) -> TxnId {
        self.txn
    }

    /// What a transaction sent, each value with its key.
    pub(crate) fn sent(&self, txn: TxnId) -> impl Iterator<Item = (Key, Id, &Written)> {
        self.txns.sent(txn).iter().filter_map(|(key, id)| self.logs.get(key).map(|log| (*key, *id, log.of(*id))))
    }

    /// It certainly took effect: it was ok, or a reader of committed was given a value of it.
    pub(crate) fn is_txn_committed(&self, txn: TxnId) -> bool {
        let proved = || self.sent(txn).any(|(_, _, written)| written.is_read_committed() && !written.is_sent_twice());
        match self.txns.get(txn).map(|txn| txn.outcome) {
            Some(Outcome::Ok) => true,
            Some(Outcome::Info | Outcome::Open) => proved(),
            Some(Outcome::Fail) | None => false,
        }
    }

    /// The logs in the order of their keys.
    pub(crate) fn logs(&self) -> Vec<(Key, &KeyLog)> {
        let mut logs: Vec<_> = self.logs.iter().map(|(key, log)| (*key, log)).collect();
        logs.sort_unstable_by_key(|(key, _)| *key);
        logs
    }

    pub(crate) fn log(&self, key: Key) -> Option<&KeyLog> {
        self.logs.get(&key)
    }

    /// Offsets below were removed on purpose (retention, delete-records): nothing is owed there.
    pub(crate) fn log_start(&self, key: Key) -> Offset {
        self.hints.offsets.get(&key).map_or(0, |told| told.start)
    }
}

fn log(logs: &mut IntMap<Key, KeyLog>, key: Key) -> &mut KeyLog {
    logs.entry(key).or_default()
}

fn collect_sends(body: &Body, sends: &mut Vec<Send>) {
    match body {
        Body::Send(all) => sends.extend_from_slice(all),
        Body::Txn(parts) => sends.extend(parts.iter().filter_map(|part| match part {
            MicroOp::Send(send) => Some(*send),
            MicroOp::Poll(_) => None,
        })),
        _ => {}
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

fn by_key(value: &Json) -> impl Iterator<Item = (Key, &Json)> {
    value.as_object().into_iter().flatten().filter_map(|(key, told)| Some((key.parse().ok()?, told)))
}
