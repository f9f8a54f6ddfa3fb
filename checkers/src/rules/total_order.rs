//! `total-order-disagreement`: two consumers of one partition saw different sequences.
//!
//! Offsets order the log, so two consumers can disagree in two ways only: at one offset they were given different values, or one was given
//! two values in an order that another was not. Where polls carry no offsets, the first consumer of a key who was given a value lends it
//! its place in that consumer's own sequence, and others are held against it.
//!
//! Who reads a value again (after a rewind) does not disagree: the first time counts. Counted: pairs of values. A value left out is a
//! `poll-skip`. What this cannot see: without offsets, disagreements of two consumers about values that the first did not read.
//!
//! Who else read two values, and in which order, is known at once where somebody else was the first to read both. Else the two are wanted, and
//! a second pass keeps all reads of them.
//!
//! Memory: 32 bytes for each value polled without an offset; 16 for each read of what an earlier pass wanted.

use std::collections::{BTreeMap, BTreeSet};

use kchaos_core::{Body, Key, Offset, Op, OpType, Process, Value, Verdict};

use crate::by_id::{ById, ByKey};
use crate::facts::{Facts, Last, each_polled};
use crate::hash::IntMap;
use crate::log::{KeyLog, OpRef};
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example, hears};

pub(crate) const SPEC: Spec = Spec {
    name: "total-order",
    about: "all consumers of a partition see one order",
    anomalies: &["total-order-disagreement"],
    stable: true,
    hears: hears::ENDS_OF_POLLS | hears::PLACES,
    build: || Box::new(TotalOrder::default()),
};

#[derive(Default)]
struct TotalOrder {
    /// The last record of each process and key, and the lowest offset, since the process was last given its place.
    last: ById<ByKey<Option<(Seen, Offset)>>>,
    /// Processes that a rebalance may move.
    subscribed: BTreeSet<u32>,
    /// Keys polled without offsets: the consumer they are held against, and its sequence.
    bare: BTreeMap<Key, (u32, Sequence)>,
    suspects: Vec<Pair>,
    /// Reads of values that are kept, by key, in order.
    reads: BTreeMap<Key, Vec<Read>>,
}

struct Read {
    value: Value,
    process: u32,
    op: OpRef,
}

/// Who read a value first when, and by which op: by process, the place among the reads of its key.
type Readers = BTreeMap<u32, (usize, OpRef)>;

/// Each value's place, and the op that read it there.
type Sequence = IntMap<Value, (u32, OpRef)>;

#[derive(Clone, Copy)]
struct Seen {
    value: Value,
    offset: Offset,
    op: OpRef,
}

/// One consumer was given `first` and then `second`; or, both being one offset's, `second` where somebody else was given `first`.
struct Pair {
    key: Key,
    process: u32,
    first: Seen,
    second: Seen,
}

impl Rule for TotalOrder {
    fn update(&mut self, op: &Op, facts: &Facts) {
        let Process::Client(process) = op.process else { return };
        for (key, Last { offset, value, op }) in facts.behind().iter().copied() {
            if let Some(Some((seen, _))) = self.last.or_default(u64::from(process)).get_mut(key as u64) {
                *seen = Seen { value, offset, op };
            }
        }
        if op.op_type.is_completion() && matches!(op.body, Body::Assign { .. } | Body::Subscribe { .. } | Body::Crash) {
            self.last.remove(u64::from(process));
            if matches!(op.body, Body::Subscribe { .. }) {
                self.subscribed.insert(process);
            } else {
                self.subscribed.remove(&process);
            }
        }
        if op.op_type != OpType::Ok {
            return;
        }
        each_polled(&op.body, |key, records| self.read(process, key, records, op, facts));
    }

    fn verdict(&self, facts: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        let mut told = BTreeSet::new();
        let readers = self.readers();
        for pair in &self.suspects {
            let (low, high) = (pair.first.value.min(pair.second.value), pair.first.value.max(pair.second.value));
            if told.contains(&(pair.key, low, high)) {
                continue;
            }
            let Some(witness) = facts.log(pair.key).and_then(|log| self.witness(pair, log, &readers)) else { continue };
            told.insert((pair.key, low, high));
            findings.add("total-order-disagreement", || {
                let Pair { key, process, first, second } = pair;
                let ops = [first.op, second.op, witness.1, witness.2];
                let values = vec![first.value, second.value];
                let offsets: BTreeSet<_> = [first.offset, second.offset].into_iter().filter(|offset| *offset >= 0).collect();
                let explanation = if first.offset >= 0 && first.offset == second.offset {
                    format!(
                        "process {process} was given value {} at offset {} of key {key}{}, and process {} value {}{}: all consumers should see \
                         the same",
                        second.value,
                        second.offset,
                        cite(second.op),
                        witness.0,
                        first.value,
                        cite(witness.1),
                    )
                } else {
                    format!(
                        "process {process} was given value {} of key {key}{} before value {}{}, and process {} the other way round{}: all \
                         consumers should see one order",
                        first.value,
                        cite(first.op),
                        second.value,
                        cite(second.op),
                        witness.0,
                        cite(witness.1),
                    )
                };
                example(*key, values, offsets.into_iter().collect(), &ops, explanation)
            });
        }
        findings.verdict()
    }
}

impl TotalOrder {
    fn read(&mut self, process: u32, key: Key, records: &[(Offset, Value)], op: &Op, facts: &Facts) {
        let Some(log) = facts.log(key) else { return };
        let rebalances = &op.extra.rebalance_log;
        if !rebalances.is_empty() && rebalances.iter().any(|event| event.keys.contains(&key)) {
            // Where in the op the key came or went is not known.
            if let Some(last) = self.last.get_mut(u64::from(process)) {
                last.remove(key as u64);
            }
            return;
        }
        if log.keeps_any() {
            self.keep((process, key), log, records, op);
        }
        if !self.goes_on((process, key), log, records, facts.gaps().goes_back, op) {
            for (offset, value) in records {
                self.see(process, key, log, Seen { value: *value, offset: *offset, op: OpRef::new(op.index) });
            }
        }
    }

    fn keep(&mut self, (process, key): (u32, Key), log: &KeyLog, records: &[(Offset, Value)], op: &Op) {
        for (_, value) in records.iter().filter(|(_, value)| log.is_kept(*value)) {
            self.reads.entry(key).or_default().push(Read { value: *value, process, op: OpRef::new(op.index) });
        }
    }

    /// Of the values of suspects.
    fn readers(&self) -> BTreeMap<(Key, Value), Readers> {
        let wanted = self.suspects.iter().flat_map(|pair| [(pair.key, pair.first.value), (pair.key, pair.second.value)]);
        let mut readers: BTreeMap<_, _> = wanted.map(|of| (of, Readers::new())).collect();
        if readers.is_empty() {
            return readers;
        }
        for (key, reads) in &self.reads {
            for (place, Read { value, process, op }) in reads.iter().enumerate() {
                if let Some(readers) = readers.get_mut(&(*key, *value)) {
                    readers.entry(*process).or_insert((place, *op));
                }
            }
        }
        readers
    }

    /// The usual case: a batch whose offsets rise from where the process was, in a log that nobody contests.
    fn goes_on(&mut self, of: (u32, Key), log: &KeyLog, records: &[(Offset, Value)], goes_back: bool, op: &Op) -> bool {
        let (Some((first, _)), Some((last, value))) = (records.first(), records.last()) else { return true };
        let rises = *first >= 0 && !goes_back;
        let before = self.last.or_default(u64::from(of.0)).or_default(of.1 as u64);
        if !rises || log.is_contested() || before.is_some_and(|(before, _)| before.offset >= *first) {
            return false;
        }
        let lowest = before.map_or(*first, |(_, lowest)| lowest.min(*first));
        *before = Some((Seen { value: *value, offset: *last, op: OpRef::new(op.index) }, lowest));
        true
    }

    fn see(&mut self, process: u32, key: Key, log: &KeyLog, seen: Seen) {
        let last = self.last.or_default(u64::from(process)).or_default(key as u64);
        let before = *last;
        let lowest = before.map_or(seen.offset, |(_, lowest)| lowest.min(seen.offset));
        *last = Some((seen, lowest));
        let (before, was_lowest) = (before.map(|(before, _)| before), before.map_or(Offset::MAX, |(_, lowest)| lowest));
        if seen.offset < 0 {
            self.see_bare(process, key, before, seen);
            return;
        }
        if log.is_contested()
            && let Some(other) = log.value_at(seen.offset).filter(|other| *other != seen.value)
        {
            let op = log.find_live(other).map(|other| other.read).unwrap_or_default();
            let first = Seen { value: other, offset: seen.offset, op };
            self.suspects.push(Pair { key, process, first, second: seen });
        }
        // Going back inside one op, or to what this process reads for the first time.
        let first_time = seen.offset < was_lowest && !self.subscribed.contains(&process);
        if let Some(before) = before.filter(|before| before.offset > seen.offset && before.value != seen.value)
            && (before.op == seen.op || first_time)
        {
            self.suspects.push(Pair { key, process, first: before, second: seen });
        }
    }

    fn see_bare(&mut self, process: u32, key: Key, before: Option<Seen>, seen: Seen) {
        let (reference, places) = self.bare.entry(key).or_insert_with(|| (process, Sequence::default()));
        if *reference == process {
            let next = u32::try_from(places.len()).unwrap_or(u32::MAX);
            places.entry(seen.value).or_insert((next, seen.op));
        } else if let Some(before) = before.filter(|before| before.value != seen.value)
            && let (Some((earlier, _)), Some((later, _))) = (places.get(&before.value), places.get(&seen.value))
            && later < earlier
        {
            self.suspects.push(Pair { key, process, first: before, second: seen });
        }
    }

    /// Another consumer, and its ops that show that it saw otherwise.
    fn witness(&self, pair: &Pair, log: &KeyLog, readers: &BTreeMap<(Key, Value), Readers>) -> Option<(u32, OpRef, OpRef)> {
        if pair.second.offset < 0 {
            let (reference, places) = self.bare.get(&pair.key)?;
            let (first, second) = (places.get(&pair.first.value)?, places.get(&pair.second.value)?);
            // Who rewound had read both before: the first time counts.
            return (second.0 < first.0).then_some((*reference, second.1, first.1));
        }
        let (first, second) = (log.find(pair.first.value)?, log.find(pair.second.value)?);
        if pair.first.offset == pair.second.offset {
            let other = first.read.get().is_some() && first.reader != pair.process;
            return other.then_some((first.reader, first.read, first.read));
        }
        let process = second.reader;
        let both = first.read.get().is_some() && second.read.get().is_some() && first.reader == process && process != pair.process;
        let in_order = second.read.get() < first.read.get() || (second.read == first.read && second.offset < first.offset);
        if both && in_order {
            return Some((process, second.read, first.read));
        }
        for value in [first.value, second.value].into_iter().filter(|value| !log.is_kept(*value)) {
            log.want(value);
        }
        let (firsts, seconds) = (readers.get(&(pair.key, first.value))?, readers.get(&(pair.key, second.value))?);
        let others = seconds.iter().filter(|(process, _)| **process != pair.process);
        let mut others = others.filter_map(|(process, second)| Some((*process, *second, *firsts.get(process)?)));
        others.find(|(_, second, first)| second.0 < first.0).map(|(process, second, first)| (process, second.1, first.1))
    }
}
