//! More dumb oracles (see `oracles.rs`), of orders: sends inside one op, sends of one client, committed offsets, and what two consumers saw.
//!
//! Each has histories of its own, chaos in the one thing that it judges. Where the rule's own word on what it cannot see makes a count inexact,
//! it must lie between what is sure and what is possible.

use std::collections::{BTreeMap, BTreeSet};

use kchaos_checkers::{CheckReport, Judge, JudgeOptions};
use kchaos_core::{Body, Extra, Key, MicroOp, Offset, Op, OpType, Polled, Process, Send, Value};

const HISTORIES: u64 = 4000;

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end.max(1)
    }
}

fn push(ops: &mut Vec<Op>, process: u32, op_type: OpType, body: Body, client: u32) {
    let index = ops.len() as u64;
    ops.push(Op { index, time_ns: index, process: Process::Client(process), op_type, body, client: Some(client), ..Op::default() });
}

fn judged(ops: &[Op]) -> CheckReport {
    let mut judge = Judge::new(JudgeOptions::default());
    ops.iter().for_each(|op| judge.update(op));
    judge.finish()
}

fn count(report: &CheckReport, name: &str) -> usize {
    report.anomalies.get(name).map_or(0, |finding| finding.count as usize)
}

fn lines(ops: &[Op]) -> String {
    ops.iter().map(|op| format!("{} {:?} {:?} client {:?} {:?}\n", op.index, op.process, op.op_type, op.client, op.body)).collect()
}

const ENDS: [OpType; 5] = [OpType::Ok, OpType::Ok, OpType::Ok, OpType::Info, OpType::Fail];

fn sends(op: &Op) -> Vec<Send> {
    match &op.body {
        Body::Send(sends) => sends.clone(),
        Body::Txn(parts) => parts.iter().filter_map(|part| if let MicroOp::Send(send) = part { Some(*send) } else { None }).collect(),
        _ => Vec::new(),
    }
}

/// Sends of three processes, of two clients, `batch` values at most in one op, to two keys; offsets are any of a few.
fn sending(random: &mut Random, batch: usize) -> Vec<Op> {
    let (mut ops, mut next) = (Vec::new(), 0);
    let mut open: BTreeMap<u32, Vec<Send>> = BTreeMap::new();
    for _ in 0..6 + random.below(30) {
        let process = random.below(3) as u32;
        let client = process / 2;
        if let Some(sends) = open.remove(&process) {
            let op_type = ENDS[random.below(5)];
            let is_told = op_type != OpType::Fail;
            let offset = |random: &mut Random| (is_told && random.below(5) > 0).then(|| random.below(9) as Offset);
            let sends: Vec<Send> = sends.into_iter().map(|send| Send { offset: offset(random), ..send }).collect();
            let is_txn = ops.iter().rev().find(|op: &&Op| op.process == Process::Client(process)).is_some_and(|op| op.body.f() == "txn");
            let body = if is_txn { Body::Txn(sends.into_iter().map(MicroOp::Send).collect()) } else { Body::Send(sends) };
            push(&mut ops, process, op_type, body, client);
            continue;
        }
        let sends: Vec<Send> = (0..1 + random.below(batch))
            .map(|_| {
                next += 1;
                Send { key: random.below(2) as Key, value: next, offset: None }
            })
            .collect();
        open.insert(process, sends.clone());
        let is_txn = random.below(3) == 0;
        let body = if is_txn { Body::Txn(sends.into_iter().map(MicroOp::Send).collect()) } else { Body::Send(sends) };
        push(&mut ops, process, OpType::Invoke, body, client);
    }
    ops
}

/// Whether the op tells where the send landed, for certain.
fn is_acknowledged(op: &Op, send: &Send) -> bool {
    send.offset.is_some() && (op.op_type == OpType::Ok || (op.op_type == OpType::Info && op.body.f() == "send"))
}

#[test]
fn sends_inside_one_op_that_land_out_of_order() {
    let mut told = 0;
    for seed in 0..HISTORIES {
        let ops = sending(&mut Random(seed.wrapping_mul(33_331)), 4);
        let mut expected = 0;
        for op in ops.iter().filter(|op| matches!(op.op_type, OpType::Ok | OpType::Info)) {
            let sends = sends(op);
            for (at, later) in sends.iter().enumerate() {
                let earlier = sends[..at].iter().rev().find(|earlier| earlier.key == later.key);
                // Nobody polls: a place that the op does not tell is not known.
                expected += usize::from(matches!((earlier.and_then(|earlier| earlier.offset), later.offset), (Some(a), Some(b)) if b <= a));
            }
        }
        let report = judged(&ops);
        assert_eq!(count(&report, "int-nonmonotonic-send"), expected, "history {seed}\n{}", lines(&ops));
        told += expected;
    }
    assert!(told > 1000, "{told}");
}

#[test]
fn sends_of_one_client_that_land_out_of_order() {
    let (mut by_client, mut in_time) = (0, 0);
    for seed in 0..HISTORIES {
        let ops = sending(&mut Random(seed.wrapping_mul(77_773)), 1 + seed as usize % 3);
        // In the order of sending: where each landed, if that is known, and what stood in its log when it was invoked.
        let mut sent: Vec<(u32, Key, Offset, bool)> = Vec::new();
        let acknowledged = |before: u64, key: Key| {
            let all = ops.iter().filter(move |op| op.index < before && op.op_type.is_completion());
            all.flat_map(|op| sends(op).into_iter().filter(|send| is_acknowledged(op, send)).map(|send| (send.key, send.offset)))
                .filter(move |(of, _)| *of == key)
                .filter_map(|(_, offset)| offset)
                .max()
        };
        for op in ops.iter().filter(|op| op.op_type == OpType::Invoke) {
            let end = ops[op.index as usize + 1..].iter().find(|end| end.process == op.process);
            for (at, send) in sends(op).into_iter().enumerate() {
                let landed = end.and_then(|end| sends(end).get(at).copied().filter(|send| is_acknowledged(end, send)));
                if let Some(offset) = landed.and_then(|send| send.offset) {
                    let is_late = acknowledged(op.index, send.key).is_some_and(|floor| offset < floor);
                    sent.push((op.client.unwrap(), send.key, offset, is_late));
                }
            }
        }
        let mut expected = 0;
        for (at, (client, key, offset, is_late)) in sent.iter().enumerate() {
            let overtaken = sent[..at].iter().any(|(of, to, before, _)| (of, to) == (client, key) && before > offset);
            // What breaks both promises counts once.
            expected += usize::from(*is_late || overtaken);
            by_client += usize::from(overtaken && !is_late);
            in_time += usize::from(*is_late);
        }
        assert_eq!(count(&judged(&ops), "reordered"), expected, "history {seed}\n{}", lines(&ops));
    }
    assert!(by_client > 500 && in_time > 500, "{by_client} {in_time}");
}

/// Commits and fetches of one group's offset of one key, by three processes.
fn committing(random: &mut Random) -> Vec<Op> {
    let mut ops = Vec::new();
    let mut open: BTreeMap<u32, Option<Offset>> = BTreeMap::new();
    for _ in 0..4 + random.below(20) {
        let process = random.below(3) as u32;
        match open.remove(&process) {
            None => {
                let commit = (random.below(2) == 0).then(|| random.below(6) as Offset);
                open.insert(process, commit);
                let fetch = Body::Committed { keys: vec![0], offsets: BTreeMap::new() };
                push(&mut ops, process, OpType::Invoke, commit.map_or(fetch, |offset| Body::Commit([(0, offset)].into())), 0);
            }
            Some(Some(offset)) => push(&mut ops, process, ENDS[random.below(5)], Body::Commit([(0, offset)].into()), 0),
            Some(None) => {
                let offsets = (random.below(6) > 0).then(|| (0, random.below(6) as Offset)).into_iter().collect();
                push(&mut ops, process, OpType::Ok, Body::Committed { keys: vec![0], offsets }, 0);
            }
        }
    }
    ops.iter_mut().for_each(|op| op.extra = Extra { group: Some("g".to_owned()), ..Extra::default() });
    ops
}

/// A commit: when it was invoked, when it ended (if it did, and not as info), whether it failed, and its offset.
struct Commit {
    begun: u64,
    ended: Option<u64>,
    failed: bool,
    offset: Offset,
}

impl Commit {
    fn all(ops: &[Op]) -> Vec<Self> {
        let begun = ops.iter().filter(|op| op.op_type == OpType::Invoke);
        let commit = |op: &Op| {
            let Body::Commit(offsets) = &op.body else { return None };
            let end = ops[op.index as usize + 1..].iter().find(|end| end.process == op.process);
            let ended = end.filter(|end| end.op_type != OpType::Info).map(|end| end.index);
            let failed = end.is_some_and(|end| end.op_type == OpType::Fail);
            Some(Self { begun: op.index, ended, failed, offset: offsets[&0] })
        };
        begun.filter_map(commit).collect()
    }

    /// It took effect for certain, and before this.
    fn is_over(&self, by: u64) -> bool {
        !self.failed && self.ended.is_some_and(|ended| ended < by)
    }
}

#[test]
fn fetches_that_return_less_than_was_committed() {
    let [mut told, mut sures] = [0; 2];
    for seed in 0..HISTORIES {
        let ops = committing(&mut Random(seed.wrapping_mul(55_557)));
        let commits = Commit::all(&ops);
        let (mut sure, mut possible) = (0, 0);
        for end in ops.iter().filter(|op| op.op_type == OpType::Ok) {
            let Body::Committed { offsets, .. } = &end.body else { continue };
            let returned = offsets.get(&0).copied();
            let begun = ops[..end.index as usize].iter().rev().find(|op| op.process == end.process).unwrap().index;
            let over = || commits.iter().filter(|commit| commit.is_over(begun));
            // It may still have been the last to take effect at some moment of the fetch: nothing certain came after it and before the fetch.
            let overwritten = |commit: &&Commit| over().any(|later| commit.ended.is_some_and(|ended| ended < later.begun));
            let may_stand = |commit: &&Commit| !commit.failed && commit.begun < end.index && !overwritten(commit);
            let is_explained = match returned {
                Some(offset) => commits.iter().filter(may_stand).any(|commit| commit.offset == offset),
                None => over().next().is_none(),
            };
            let is_less = |commit: &Commit| returned.is_none_or(|offset| offset < commit.offset);
            possible += usize::from(!is_explained && over().any(is_less));
            // One after the other, and none of unknown outcome: the last is owed.
            let quiet = commits.iter().all(|commit| commit.begun > end.index || commit.ended.is_some_and(|ended| ended < begun));
            let apart = commits.windows(2).all(|two| two[0].ended.is_some_and(|ended| ended < two[1].begun));
            sure += usize::from(quiet && apart && over().next_back().is_some_and(is_less));
        }
        let report = judged(&ops);
        let counted = count(&report, "commit-regression");
        assert!((sure..=possible).contains(&counted), "history {seed}: {counted}, not from {sure} to {possible}\n{}", lines(&ops));
        told += counted;
        sures += sure;
    }
    assert!(told > 1000 && sures > 200, "{told} {sures}");
}

/// Three consumers, of whom one reads all in order and the others read some, each value once, in batches. Some offsets hold another value for
/// them. One after the other, or all at the same time.
fn consuming(random: &mut Random) -> Vec<Op> {
    let mut ops = Vec::new();
    let count = 3 + random.below(5);
    let all: Vec<(Offset, Value)> = (0..count).map(|at| (at as Offset, 10 + at as Value)).collect();
    for (offset, value) in &all {
        push(&mut ops, 0, OpType::Invoke, Body::Send(vec![Send { key: 0, value: *value, offset: None }]), 0);
        push(&mut ops, 0, OpType::Ok, Body::Send(vec![Send { key: 0, value: *value, offset: Some(*offset) }]), 0);
    }
    let whole = 1 + random.below(3) as u32;
    let mut left_of: Vec<(u32, Vec<(Offset, Value)>)> = Vec::new();
    for process in 1..4 {
        let mut left = all.clone();
        if process != whole {
            for _ in 0..random.below(4) {
                let (one, other) = (random.below(count), random.below(count));
                // Read in another order, or with each other's values.
                if random.below(2) == 0 {
                    left.swap(one, other);
                } else {
                    (left[one].1, left[other].1) = (left[other].1, left[one].1);
                }
            }
            left.truncate(1 + random.below(count));
        }
        left_of.push((process, left));
    }
    let one_by_one = random.below(2) == 0;
    while !left_of.is_empty() {
        let turn = if one_by_one { 0 } else { random.below(left_of.len()) };
        let (process, left) = &mut left_of[turn];
        let records = left.drain(..(1 + random.below(3)).min(left.len())).collect();
        push(&mut ops, *process, OpType::Invoke, Body::Poll(None), *process);
        push(&mut ops, *process, OpType::Ok, Body::Poll(Some(Polled(vec![(0, records)]))), *process);
        if left.is_empty() {
            left_of.remove(turn);
        }
    }
    ops
}

#[test]
fn consumers_that_saw_different_sequences() {
    let [mut told, mut sures] = [0; 2];
    for seed in 0..HISTORIES {
        let ops = consuming(&mut Random(seed.wrapping_mul(99_991)));
        // What each was given, in order, with the op.
        let mut given: BTreeMap<Process, Vec<(Offset, Value, u64)>> = BTreeMap::new();
        for op in ops.iter().filter(|op| op.op_type == OpType::Ok) {
            if let Body::Poll(Some(polled)) = &op.body {
                let records = polled.0.iter().flat_map(|(_, records)| records);
                given.entry(op.process).or_default().extend(records.map(|(offset, value)| (*offset, *value, op.index)));
            }
        }
        let at = |of: &[(Offset, Value, u64)], wanted: Value| of.iter().position(|(_, value, _)| *value == wanted);
        let (mut sure, mut possible) = (BTreeSet::new(), BTreeSet::new());
        let consumers: Vec<_> = given.values().collect();
        for (number, one) in consumers.iter().enumerate() {
            for other in consumers.iter().enumerate().filter(|(at, _)| *at != number).map(|(_, other)| other) {
                for (place, (offset, value, op)) in one.iter().enumerate() {
                    possible.extend(other.iter().filter(|(of, is, _)| of == offset && is != value).map(|(_, is, _)| pair(*is, *value)));
                    for (before_offset, before, before_op) in &one[..place] {
                        if let (Some(first), Some(second)) = (at(other, *before), at(other, *value))
                            && second < first
                        {
                            possible.insert(pair(*before, *value));
                            // It went back, to what it had not read, and somebody saw them the other way round.
                            let is_next = one[place - 1].1 == *before;
                            let is_new = op == before_op || one[..place].iter().all(|(of, ..)| offset < of);
                            let is_undisturbed =
                                one.iter().all(|(of, is, _)| *is == 10 + *of) && other.iter().all(|(of, is, _)| *is == 10 + *of);
                            if is_next && is_new && offset < before_offset && is_undisturbed {
                                sure.insert(pair(*before, *value));
                            }
                        }
                    }
                }
            }
        }
        let again = |judge: &mut Judge| {
            ops.iter().for_each(|op| judge.update(op));
            Ok::<_, std::convert::Infallible>(())
        };
        let mut judge = Judge::new(JudgeOptions::default());
        ops.iter().for_each(|op| judge.update(op));
        let counted = count(&judge.finish_reading_again(again), "total-order-disagreement");
        assert!(sure.is_subset(&possible));
        assert!((sure.len()..=possible.len()).contains(&counted), "history {seed}: {counted}, {sure:?} {possible:?}\n{}", lines(&ops));
        assert!(counted > 0 || possible.is_empty() || sure.is_empty(), "history {seed}\n{}", lines(&ops));
        told += counted;
        sures += sure.len();
    }
    assert!(told > 1000 && sures > 300, "{told} {sures}");
}

fn pair(one: Value, other: Value) -> (Value, Value) {
    (one.min(other), one.max(other))
}
