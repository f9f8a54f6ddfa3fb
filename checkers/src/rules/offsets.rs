//! What leaders say of their logs: where they start and end, and which record is the first of a time.
//!
//! Told by ops `list-offsets` of clients, invoked with `{"key": 0, "at": "start", "broker": 1, "leader_epoch": 4}` (`"end"`, or a time in milliseconds)
//! and completed with `offset` beside it, `timestamp_ms` of the record that was found (offset -1: there is none), and `now_ms`, the wall clock then; by
//! ops `admin` with `{"change": "delete-records", "key": 0, "before": 17}`; and by ops of the process "nemesis":
//!
//! - `log-retention` `{"0": {"retention_ms": 20000}, "1": {"retention_ms": null}, "slack_ms": 1000}`: how long records are kept, `null` for good. Keys that
//!   it leaves out promise nothing.
//! - `final-offsets`: bounds at the end.
//!
//! - `offset-regression`: a log's end, told at an epoch no earlier, is below one that was told before it was asked for (what lay between was truncated); or
//!   its start, at the same epoch; or its start is below what an acknowledged deletion had cut off. Between epochs a start may go back: replicas hear of
//!   it later.
//! - `expired-early`: the log starts beyond all that anybody asked to be deleted, and beyond a record that was to be kept still.
//! - `lookup-wrong`: the record found for a time is older; or an earlier one that is known to be of that time or later, and to be kept, was not found.
//!
//! Counted: answers. What this cannot see: records whose times nobody was told; of keys that expire, deletion by anything but time.

use std::collections::{BTreeMap, VecDeque};

use kchaos_core::{Body, Key, Offset, Op, OpType, Process, Verdict};
use serde_json::Value as Json;

use crate::facts::Facts;
use crate::log::OpRef;
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example, hears};
use crate::told::{by_number, number, text, told};

pub(crate) const SPEC: Spec = Spec {
    name: "offsets",
    about: "told bounds of logs never go back, what is to be kept is kept, and a time finds its first record",
    anomalies: &["offset-regression", "expired-early", "lookup-wrong"],
    stable: true,
    hears: hears::NEMESIS,
    build: || Box::new(Offsets::default()),
};

/// Records that are remembered by their time, of each key.
const MAX_KNOWN: usize = 512;
/// Accusations that are remembered.
const MAX_FOUND: usize = 10_000;

#[derive(Default)]
struct Offsets {
    keys: BTreeMap<Key, Log>,
    /// By process: what was told when it asked.
    open: BTreeMap<u32, Known>,
    slack_ms: i64,
    found: Vec<Found>,
}

#[derive(Default)]
struct Log {
    /// `None`: nothing is promised. `Some(None)`: kept for good.
    retention_ms: Option<Option<i64>>,
    /// Below this somebody asked for deletion.
    asked: Offset,
    records: VecDeque<Record>,
    known: Known,
}

/// What is known of a log at a time.
#[derive(Clone, Default)]
struct Known {
    end: Option<Told>,
    start: Option<Told>,
    /// Acknowledged as deleted below.
    deleted: Option<(Offset, OpRef)>,
    /// How many were told by their time until then.
    records: u64,
    /// The greatest under which a record was told.
    epoch: i64,
}

impl Known {
    /// No later epoch was known: a deposed leader answers with what it had.
    fn is_of(&self, epoch: i64) -> bool {
        [self.start, self.end].into_iter().flatten().all(|told| told.epoch <= epoch) && self.epoch <= epoch
    }
}

#[derive(Clone, Copy)]
struct Told {
    offset: Offset,
    epoch: i64,
    op: OpRef,
}

#[derive(Clone, Copy)]
struct Record {
    number: u64,
    offset: Offset,
    timestamp_ms: i64,
    op: OpRef,
}

struct Found {
    anomaly: &'static str,
    key: Key,
    offsets: Vec<Offset>,
    ops: [OpRef; 2],
    text: String,
}

impl Rule for Offsets {
    fn update(&mut self, op: &Op, _: &Facts) {
        if let Some(value) = told(op, "log-retention") {
            self.slack_ms = number(value, "slack_ms").unwrap_or(0).clamp(0, 1 << 40);
            for (key, value) in by_number(value) {
                let retention = value.get("retention_ms");
                self.keys.entry(key).or_default().retention_ms =
                    retention.and_then(|ms| if ms.is_null() { Some(None) } else { ms.as_i64().map(Some) });
            }
        } else if let Some(value) = told(op, "final-offsets") {
            for (key, value) in by_number(value) {
                let Some(epoch) = number(value, "leader_epoch") else { continue };
                // Of runs that ask nothing nothing is judged here.
                let Some(known) = self.keys.get(&key).map(|log| log.known.clone()) else { continue };
                for (name, at) in [("start", At::Start), ("end", At::End)] {
                    let Some(offset) = number(value, name) else { continue };
                    self.bound(key, at, Told { offset, epoch, op: OpRef::new(op.index) }, &known, None);
                }
            }
        } else if let (Process::Client(process), Body::Nemesis { f, value }) = (op.process, &op.body) {
            match f.as_str() {
                "list-offsets" => self.question(process, op, value),
                "admin" if text(value, "change") == Some("delete-records") => self.deletion(op, value),
                _ => {}
            }
        }
    }

    fn verdict(&self, _: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        for Found { anomaly, key, offsets, ops, text } in &self.found {
            findings.add(anomaly, || example(*key, Vec::new(), offsets.clone(), ops, text.clone()));
        }
        findings.verdict()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    End,
    Time(i64),
}

fn at(value: &Json) -> Option<At> {
    match (text(value, "at"), number(value, "at")) {
        (Some("start"), _) => Some(At::Start),
        (Some("end"), _) => Some(At::End),
        (None, Some(ms)) if ms >= 0 => Some(At::Time(ms)),
        _ => None,
    }
}

impl Offsets {
    fn question(&mut self, process: u32, op: &Op, value: &Json) {
        let (Some(key), Some(at)) = (number(value, "key"), at(value)) else { return };
        if op.op_type == OpType::Invoke {
            let known = self.keys.entry(key).or_default().known.clone();
            self.open.insert(process, known);
            return;
        }
        let Some(known) = self.open.remove(&process).filter(|_| op.op_type == OpType::Ok) else { return };
        let (Some(offset), Some(epoch)) = (number(value, "offset"), number(value, "leader_epoch")) else { return };
        let answer = Told { offset, epoch, op: OpRef::new(op.index) };
        let now_ms = number(value, "now_ms");
        match at {
            At::Time(asked_ms) => self.lookup(key, asked_ms, answer, number(value, "timestamp_ms"), &known, now_ms),
            at => self.bound(key, at, answer, &known, now_ms),
        }
    }

    fn deletion(&mut self, op: &Op, value: &Json) {
        let (Some(key), Some(before)) = (number(value, "key"), number(value, "before")) else { return };
        let log = self.keys.entry(key).or_default();
        log.asked = log.asked.max(before);
        if op.op_type == OpType::Ok && log.known.deleted.is_none_or(|(deleted, _)| deleted < before) {
            log.known.deleted = Some((before, OpRef::new(op.index)));
        }
    }

    /// `known`: as it was when the question was asked.
    fn bound(&mut self, key: Key, at: At, answer: Told, known: &Known, now_ms: Option<i64>) {
        let Told { offset, epoch, op } = answer;
        let (name, before) = if at == At::Start { ("start", known.start) } else { ("end", known.end) };
        let is_comparable = |before: &Told| if at == At::Start { epoch == before.epoch } else { epoch >= before.epoch };
        if let Some(before) = before.filter(|before| is_comparable(before) && offset < before.offset) {
            let text = format!(
                "the log of key {key} was told to {name} at {} at leader epoch {}{}, and at {offset} at epoch {epoch}{}: it should not have gone back{}",
                before.offset,
                before.epoch,
                cite(before.op),
                cite(op),
                if at == At::End { ", so what lay between was truncated" } else { "" }
            );
            self.accuse("offset-regression", key, vec![offset, before.offset], [before.op, op], text);
        } else if let Some((deleted, by)) = known.deleted.filter(|(deleted, _)| at == At::Start && offset < *deleted && known.is_of(epoch))
        {
            let text = format!(
                "the records of key {key} below {deleted} were deleted, as was acknowledged{}, and its log was told to start at {offset} at leader epoch {epoch}{}: \
                 it should not start below what was deleted",
                cite(by),
                cite(op)
            );
            self.accuse("offset-regression", key, vec![offset, deleted], [by, op], text);
        }
        if at == At::Start {
            self.kept(key, answer, now_ms);
        }
        let log = self.keys.entry(key).or_default();
        let best = if at == At::Start { &mut log.known.start } else { &mut log.known.end };
        // Of a start the latest epoch counts, since it may go back from one to the next.
        let is_better = |best: Told| if at == At::Start { (epoch, offset) > (best.epoch, best.offset) } else { offset > best.offset };
        if best.is_none_or(is_better) {
            *best = Some(answer);
        }
    }

    /// Nothing that was to be kept is gone.
    fn kept(&mut self, key: Key, answer: Told, now_ms: Option<i64>) {
        let slack_ms = self.slack_ms;
        let Some(log) = self.keys.get(&key) else { return };
        let Told { offset, op, .. } = answer;
        if offset <= log.asked {
            return;
        }
        let (asked, gone) = (log.asked, log.records.iter().filter(|record| record.offset < offset && record.offset >= log.asked));
        let found = match (log.retention_ms, now_ms) {
            (Some(None), _) => Some((None, op)),
            (Some(Some(retention_ms)), Some(now_ms)) => {
                let from_ms = now_ms.saturating_sub(retention_ms).saturating_add(slack_ms);
                let youngest = gone.max_by_key(|record| record.timestamp_ms).filter(|record| record.timestamp_ms > from_ms);
                youngest.map(|record| (Some((record.offset, now_ms.saturating_sub(record.timestamp_ms), retention_ms)), record.op))
            }
            _ => None,
        };
        let Some((young, by)) = found else { return };
        let why = match young {
            None if asked == 0 => "and nobody asked for any of its records to be deleted: it should start at 0".to_owned(),
            None => format!("and nobody asked for more than those below {asked} to be deleted: nothing else should be gone"),
            Some((gone, age_ms, retention_ms)) => format!(
                "so that the record at offset {gone}{} is gone at an age of {age_ms} ms: records should be kept for {retention_ms} ms",
                cite(by)
            ),
        };
        let text = format!("the log of key {key} starts at {offset}{}, {why}", cite(op));
        self.accuse("expired-early", key, vec![offset], [by, op], text);
    }

    fn lookup(&mut self, key: Key, asked_ms: i64, answer: Told, timestamp_ms: Option<i64>, known: &Known, now_ms: Option<i64>) {
        let Told { offset, epoch, op } = answer;
        if let Some(timestamp_ms) = timestamp_ms.filter(|timestamp_ms| offset >= 0 && *timestamp_ms < asked_ms) {
            let text = format!(
                "of key {key} the first record of time {asked_ms} or later was asked for, and the one at offset {offset} is of {timestamp_ms}{}: it should be none that is older",
                cite(op)
            );
            self.accuse("lookup-wrong", key, vec![offset], [op, op], text);
        }
        let slack_ms = self.slack_ms;
        let log = self.keys.entry(key).or_default();
        // Of records that were told before the question was asked, those that must be there still.
        let is_kept = |record: &&Record| {
            let is_young = match (log.retention_ms, now_ms) {
                (Some(None), _) => true,
                (Some(Some(retention_ms)), Some(now_ms)) => {
                    record.timestamp_ms > now_ms.saturating_sub(retention_ms).saturating_add(slack_ms)
                }
                _ => false,
            };
            is_young && record.offset >= log.asked && record.number < known.records
        };
        let passed = |record: &&Record| record.timestamp_ms >= asked_ms && (offset < 0 || record.offset < offset);
        let missed =
            log.records.iter().filter(|_| known.is_of(epoch)).filter(is_kept).filter(passed).min_by_key(|record| record.offset).copied();
        if offset >= 0
            && let Some(timestamp_ms) = timestamp_ms
        {
            log.records.push_back(Record { number: log.known.records, offset, timestamp_ms, op });
            log.known.records += 1;
            log.known.epoch = log.known.epoch.max(epoch);
            if log.records.len() > MAX_KNOWN {
                log.records.pop_front();
            }
        }
        if let Some(missed) = missed {
            let instead = if offset < 0 { "none was found".to_owned() } else { format!("the one at offset {offset} was found") };
            let text = format!(
                "of key {key} the first record of time {asked_ms} or later was asked for and {instead}{}: the one at offset {}, of {}{}, comes before",
                cite(op),
                missed.offset,
                missed.timestamp_ms,
                cite(missed.op)
            );
            self.accuse("lookup-wrong", key, vec![missed.offset, offset], [missed.op, op], text);
        }
    }

    fn accuse(&mut self, anomaly: &'static str, key: Key, offsets: Vec<Offset>, ops: [OpRef; 2], text: String) {
        if self.found.len() < MAX_FOUND {
            self.found.push(Found { anomaly, key, offsets, ops, text });
        }
    }
}
