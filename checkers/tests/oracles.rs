//! Dumb oracles: the sentences of ANOMALIES.md, word for word and quadratic, against the rules, on thousands of small random histories.
//!
//! The histories are chaos (any value may be seen at any of a few offsets), so that every rule has much to say; each op is invoked and completed,
//! values are sent once, and nobody reads what is yet to be sent. What a rule does beyond that is tested elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use kchaos_checkers::{CheckReport, FinalRead, Judge, JudgeOptions};
use kchaos_core::{Body, Key, MicroOp, Offset, Op, OpType, Polled, Process, Send, Value};

const HISTORIES: u64 = 2500;
const OFFSETS: usize = 7;
/// Values from here on are nobody's.
const FOREIGN: Value = 1000;

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end.max(1)
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}

/// Makes a history: two producers and two consumers, two keys.
struct Chaos {
    random: Random,
    ops: Vec<Op>,
    sent: Vec<(Key, Value)>,
    open: BTreeMap<u32, Body>,
}

impl Chaos {
    fn history(seed: u64) -> Vec<Op> {
        let mut chaos = Self { random: Random(seed.wrapping_mul(77_777)), ops: Vec::new(), sent: Vec::new(), open: BTreeMap::new() };
        for _ in 0..4 + chaos.random.below(30) {
            let process = chaos.random.below(4) as u32;
            match chaos.open.remove(&process) {
                Some(body) => chaos.complete(process, body),
                None => chaos.invoke(process),
            }
        }
        for (process, body) in std::mem::take(&mut chaos.open) {
            chaos.complete(process, body);
        }
        chaos.ops
    }

    fn push(&mut self, process: u32, op_type: OpType, body: Body) {
        // Each op by a client of its own: what is of one client is judged by process.
        let (index, client) = (self.ops.len() as u64, Some(1000 + self.ops.len() as u32));
        self.ops.push(Op { index, time_ns: index, process: Process::Client(process), op_type, body, client, ..Op::default() });
    }

    /// At most one value to each key: what one op sends has no order of time.
    fn sends(&mut self) -> Vec<Send> {
        let first = self.random.below(2) as Key;
        let keys = if self.random.one_in(3) { vec![first, 1 - first] } else { vec![first] };
        let mut sends = Vec::new();
        for key in keys {
            let value = self.sent.len() as Value;
            self.sent.push((key, value));
            sends.push(Send { key, value, offset: None });
        }
        sends
    }

    fn invoke(&mut self, process: u32) {
        let body = match (process, self.random.below(3)) {
            (0 | 1, 0) => Body::Txn(self.sends().into_iter().map(MicroOp::Send).collect()),
            (0 | 1, _) => Body::Send(self.sends()),
            _ => Body::Poll(None),
        };
        self.push(process, OpType::Invoke, body.clone());
        self.open.insert(process, body);
    }

    fn complete(&mut self, process: u32, body: Body) {
        let op_type = [OpType::Ok, OpType::Ok, OpType::Ok, OpType::Info, OpType::Fail][self.random.below(5)];
        let is_known = op_type == OpType::Ok || (op_type == OpType::Info && matches!(body, Body::Send(_)));
        let random = &mut self.random;
        let mut told = |send: Send| {
            let offset = (is_known && !random.one_in(4)).then(|| random.below(OFFSETS) as Offset);
            Send { offset, ..send }
        };
        let body = match body {
            Body::Send(sends) => Body::Send(sends.into_iter().map(told).collect()),
            Body::Txn(parts) => Body::Txn(
                parts.into_iter().map(|part| if let MicroOp::Send(send) = part { MicroOp::Send(told(send)) } else { part }).collect(),
            ),
            _ => Body::Poll(Some(self.polled())),
        };
        self.push(process, op_type, body);
    }

    /// Offsets that mostly rise; values that mostly were sent to the key.
    fn polled(&mut self) -> Polled {
        let key = self.random.below(2) as Key;
        let of_key: Vec<_> = self.sent.iter().filter(|(to, _)| *to == key).map(|(_, value)| *value).collect();
        let mut at = self.random.below(OFFSETS);
        let mut records = Vec::new();
        for _ in 0..self.random.below(4) {
            let value = if of_key.is_empty() || self.random.one_in(12) {
                FOREIGN + self.random.below(2) as Value
            } else {
                of_key[self.random.below(of_key.len())]
            };
            records.push((if self.random.one_in(10) { -1 } else { at as Offset }, value));
            at = if self.random.one_in(5) { self.random.below(OFFSETS) } else { at + 1 + self.random.below(2) };
        }
        Polled(vec![(key, records)])
    }
}

type Named = (Key, Value);

/// A history, flat. Everything is looked for from the start, each time.
struct Flat<'a> {
    ops: &'a [Op],
}

fn sends(op: &Op) -> Vec<Send> {
    match &op.body {
        Body::Send(sends) => sends.clone(),
        Body::Txn(parts) => parts.iter().filter_map(|part| if let MicroOp::Send(send) = part { Some(*send) } else { None }).collect(),
        _ => Vec::new(),
    }
}

fn records(op: &Op) -> Vec<(Key, Offset, Value)> {
    let Body::Poll(Some(polled)) = &op.body else { return Vec::new() };
    polled.0.iter().flat_map(|(key, records)| records.iter().map(|(offset, value)| (*key, *offset, *value))).collect()
}

fn is_txn(op: &Op) -> bool {
    matches!(op.body, Body::Txn(_))
}

impl<'a> Flat<'a> {
    fn completions(&self) -> impl Iterator<Item = &'a Op> {
        self.ops.iter().filter(|op| op.op_type.is_completion())
    }

    /// Every value that was sent, with the completion of its op.
    fn sent(&self) -> Vec<(Named, &'a Op, Option<Offset>)> {
        self.completions().flat_map(|op| sends(op).into_iter().map(move |send| ((send.key, send.value), op, send.offset))).collect()
    }

    fn is_read(&self, named: Named) -> bool {
        self.completions().any(|op| op.op_type == OpType::Ok && records(op).iter().any(|(key, _, value)| (*key, *value) == named))
    }

    /// Reading any value of an info transaction proves all of it.
    fn is_proven(&self, op: &Op) -> bool {
        is_txn(op) && op.op_type == OpType::Info && sends(op).iter().any(|send| self.is_read((send.key, send.value)))
    }

    fn is_acknowledged(&self, op: &Op, offset: Option<Offset>) -> bool {
        op.op_type == OpType::Ok || (op.op_type == OpType::Info && !is_txn(op) && offset.is_some())
    }

    fn is_committed(&self, op: &Op, offset: Option<Offset>) -> bool {
        self.is_acknowledged(op, offset) || self.is_proven(op)
    }

    /// Where each value was seen: (op, key, offset, value), in file order.
    fn places(&self) -> Vec<(u64, Key, Offset, Value)> {
        let mut places = Vec::new();
        for op in self.completions() {
            for send in sends(op) {
                if let Some(offset) = send.offset.filter(|offset| self.is_acknowledged(op, Some(*offset))) {
                    places.push((op.index, send.key, offset, send.value));
                }
            }
            places.extend(
                records(op).into_iter().filter(|(_, offset, _)| *offset >= 0).map(|(key, offset, value)| (op.index, key, offset, value)),
            );
        }
        places
    }

    fn offsets_of(&self, named: Named) -> Vec<Offset> {
        self.places().into_iter().filter(|(_, key, _, value)| (*key, *value) == named).map(|(_, _, offset, _)| offset).collect()
    }

    fn duplicate(&self) -> usize {
        let all: BTreeSet<Named> = self.places().into_iter().map(|(_, key, _, value)| (key, value)).collect();
        all.into_iter().filter(|named| self.offsets_of(*named).into_iter().collect::<BTreeSet<_>>().len() > 1).count()
    }

    fn inconsistent_offsets(&self) -> usize {
        let mut holders: BTreeMap<(Key, Offset), BTreeSet<Value>> = BTreeMap::new();
        self.places().into_iter().for_each(|(_, key, offset, value)| {
            holders.entry((key, offset)).or_default().insert(value);
        });
        holders.values().filter(|values| values.len() > 1).count()
    }

    fn phantom(&self) -> usize {
        let polled: BTreeSet<Named> = self.completions().flat_map(records).map(|(key, _, value)| (key, value)).collect();
        polled.into_iter().filter(|named| self.sent().iter().all(|(sent, ..)| sent != named)).count()
    }

    fn aborted_read(&self) -> usize {
        self.sent().into_iter().filter(|(named, op, _)| op.op_type == OpType::Fail && self.is_read(*named)).count()
    }

    fn unseen(&self) -> usize {
        self.sent().into_iter().filter(|(named, op, offset)| self.is_acknowledged(op, *offset) && !self.is_read(*named)).count()
    }

    fn lost_write(&self) -> usize {
        let bound = |wanted: Key| {
            let read = self.places().into_iter().filter(|(_, key, _, value)| *key == wanted && self.is_read((*key, *value)));
            read.filter_map(|(_, key, _, value)| self.offsets_of((key, value)).into_iter().min()).max()
        };
        let unread = self.sent().into_iter().filter(|(named, op, offset)| self.is_committed(op, *offset) && !self.is_read(*named));
        unread.filter(|(named, ..)| self.offsets_of(*named).into_iter().max().is_some_and(|last| Some(last) <= bound(named.0))).count()
    }

    /// Of successive reads: how many skip, and how many go back or stand still; between ops, and inside one.
    fn poll_order(&self) -> [usize; 4] {
        let [mut skips, mut backs, mut inner_skips, mut inner_backs] = [0; 4];
        let mut last: BTreeMap<(Process, Key), Offset> = BTreeMap::new();
        for op in self.completions() {
            let mut before: BTreeMap<Key, Offset> = BTreeMap::new();
            for (key, to, _) in records(op) {
                let inside = before.insert(key, to);
                let from = inside.or_else(|| last.get(&(op.process, key)).copied());
                let (skip, back) = if inside.is_some() { (&mut inner_skips, &mut inner_backs) } else { (&mut skips, &mut backs) };
                let Some(from) = from.filter(|from| *from >= 0 && to >= 0) else { continue };
                if to <= from {
                    *back += 1;
                } else if self.places().iter().any(|(_, of, offset, _)| *of == key && from < *offset && *offset < to) {
                    *skip += 1;
                }
            }
            if op.op_type == OpType::Ok {
                last.extend(before.into_iter().map(|(key, offset)| ((op.process, key), offset)));
            }
        }
        [skips, backs, inner_skips, inner_backs]
    }

    /// Of successive ok or info ops of a process: the later landed at or before the earlier.
    fn nonmonotonic_send(&self) -> usize {
        let place = |send: &Send| {
            let known: BTreeSet<_> = self.offsets_of((send.key, send.value)).into_iter().collect();
            send.offset.or_else(|| known.first().copied().filter(|_| known.len() == 1))
        };
        let took_effect: Vec<_> = self
            .completions()
            .filter(|op| op.op_type != OpType::Fail)
            .flat_map(|op| sends(op).into_iter().map(move |send| (op.process, send)))
            .collect();
        let mut count = 0;
        for (at, (process, later)) in took_effect.iter().enumerate() {
            let earlier = took_effect[..at].iter().rev().find(|(other, send)| other == process && send.key == later.key);
            if let (Some(earlier), Some(later)) = (earlier.and_then(|(_, send)| place(send)), place(later)) {
                count += usize::from(later <= earlier);
            }
        }
        count
    }

    /// A value whose first known offset lies before one that was known when its send was invoked. What failed was promised no place.
    fn reordered(&self) -> usize {
        let places = self.places();
        let is_sent = |named: Named| self.sent().iter().any(|(sent, ..)| *sent == named);
        let counts = |named: Named, op: &Op| {
            let invoked = self
                .ops
                .iter()
                .find(|other| other.op_type == OpType::Invoke && sends(other).iter().any(|send| (send.key, send.value) == named));
            let known = places
                .iter()
                .filter(|(index, key, _, value)| *key == named.0 && invoked.is_some_and(|op| *index < op.index) && is_sent((*key, *value)));
            let floor = known.map(|(_, _, offset, _)| *offset).max();
            op.op_type != OpType::Fail && self.offsets_of(named).first().is_some_and(|offset| Some(*offset) < floor)
        };
        self.sent().into_iter().filter(|(named, op, _)| counts(*named, op)).count()
    }

    /// Values of committed transactions strictly between two records of one poll: those that stand there alone and nowhere else, and all.
    fn intermediate_read(&self) -> [usize; 2] {
        let places = self.places();
        let [mut sure, mut all] = [BTreeSet::new(), BTreeSet::new()];
        for op in self.completions() {
            for two in records(op).windows(2).filter(|two| two[0].1 >= 0) {
                let ((key, from, _), (_, to, _)) = (two[0], two[1]);
                let committed = |(_, sender, offset): &(Named, &Op, Option<Offset>)| is_txn(sender) && self.is_committed(sender, *offset);
                for (named, ..) in self.sent().into_iter().filter(|(named, ..)| named.0 == key).filter(committed) {
                    let inside = |offset: &Offset| from < *offset && *offset < to;
                    let offsets: BTreeSet<_> = self.offsets_of(named).into_iter().collect();
                    let alone = |at: Offset| places.iter().all(|(_, of, offset, value)| (*of, *offset) != (key, at) || *value == named.1);
                    if offsets.iter().any(inside) {
                        all.insert(named);
                        // Begun after the poll ended, it is `reordered` and no more.
                        let begun = self.ops[..op.index as usize]
                            .iter()
                            .any(|other| other.body.f() == "txn" && sends(other).iter().any(|send| (send.key, send.value) == named));
                        if begun && offsets.len() == 1 && offsets.into_iter().all(alone) {
                            sure.insert(named);
                        }
                    }
                }
            }
        }
        [sure.len(), all.len()]
    }
}

fn judged(ops: &[Op]) -> CheckReport {
    let mut judge = Judge::new(JudgeOptions { final_read: FinalRead::Complete, ..JudgeOptions::default() });
    ops.iter().for_each(|op| judge.update(op));
    judge.finish()
}

fn lines(ops: &[Op]) -> String {
    ops.iter().map(|op| format!("{:?} {:?} {:?}\n", op.process, op.op_type, op.body)).collect()
}

/// Holds a rule against its oracle. Where they never have anything to say, nothing is tested.
#[track_caller]
fn agree(names: &[&str], oracle: impl Fn(&Flat) -> Vec<usize>) {
    let mut told = vec![0; names.len()];
    for seed in 0..HISTORIES {
        let ops = Chaos::history(seed);
        let report = judged(&ops);
        let counts = names.iter().map(|name| report.anomalies.get(*name).map_or(0, |finding| finding.count as usize));
        let expected = oracle(&Flat { ops: &ops });
        for ((at, name), (count, expected)) in names.iter().enumerate().zip(counts.zip(expected)) {
            assert_eq!(count, expected, "{name}, history {seed}\n{}\n{:#?}", lines(&ops), report.anomalies.get(*name));
            told[at] += count;
        }
    }
    assert!(told.iter().all(|told| *told > 100), "{names:?}: {told:?}");
}

#[test]
fn one_value_at_several_offsets() {
    agree(&["duplicate"], |flat| vec![flat.duplicate()]);
}

#[test]
fn several_values_at_one_offset() {
    agree(&["inconsistent-offsets"], |flat| vec![flat.inconsistent_offsets()]);
}

#[test]
fn values_nobody_sent() {
    agree(&["phantom"], |flat| vec![flat.phantom()]);
}

#[test]
fn values_read_although_their_send_failed() {
    agree(&["G1a"], |flat| vec![flat.aborted_read()]);
}

#[test]
fn values_acknowledged_and_never_read() {
    agree(&["unseen"], |flat| vec![flat.unseen()]);
}

#[test]
fn values_that_readers_passed() {
    agree(&["lost-write"], |flat| vec![flat.lost_write()]);
}

#[test]
fn reads_that_skip_or_go_back() {
    agree(&["poll-skip", "nonmonotonic-poll", "int-poll-skip", "int-nonmonotonic-poll"], |flat| flat.poll_order().to_vec());
}

#[test]
fn sends_of_a_process_that_land_out_of_order() {
    agree(&["nonmonotonic-send"], |flat| vec![flat.nonmonotonic_send()]);
}

#[test]
fn writes_that_land_before_what_was_known_when_they_began() {
    agree(&["reordered"], |flat| vec![flat.reordered()]);
}

/// Which of several values an offset holds nobody can say, so the count lies between two.
#[test]
fn values_of_transactions_missing_inside_a_poll() {
    let mut told = 0;
    for seed in 0..4 * HISTORIES {
        let ops = Chaos::history(seed);
        let count = judged(&ops).anomalies.get("G1b").map_or(0, |finding| finding.count as usize);
        let [sure, all] = Flat { ops: &ops }.intermediate_read();
        assert!((sure..=all).contains(&count), "history {seed}: {count}, not from {sure} to {all}\n{}", lines(&ops));
        told += sure;
    }
    assert!(told > 60, "{told}");
}

/// On chaos as well, a judge that forgets transactions as soon as it may says what one says that keeps everything.
#[test]
fn forgetting_changes_no_word() {
    let options = || JudgeOptions { final_read: FinalRead::Complete, ..JudgeOptions::default() };
    for seed in 0..HISTORIES {
        let ops = Chaos::history(seed);
        let [kept, forgotten] = [Judge::without_packing(options()), Judge::forgetful(options())].map(|mut judge| {
            ops.iter().for_each(|op| judge.update(op));
            let report = judge.finish_reading_again(|judge| {
                ops.iter().for_each(|op| judge.update(op));
                Ok::<_, String>(())
            });
            serde_json::to_string_pretty(&report).unwrap()
        });
        assert_eq!(kept, forgotten, "history {seed}\n{}", lines(&ops));
    }
}
