//! The order in which one process reads a key.
//!
//! `poll-skip`, `nonmonotonic-poll`: between successive ops of a process. Its position is the last record of the last **ok** op that read
//! the key; fail and info ops are judged against it and do not move it, since an abort must rewind. It survives `assign` and `subscribe` for
//! keys still listed. `seek-to-beginning?` makes the beginning the position, so that the first read is judged too; elsewhere a first read
//! is not, since where it should start is not known.
//! `int-poll-skip`, `int-nonmonotonic-poll`: the same inside one op.
//!
//! A skip is a gap with something in it that the reader had to see: certainly committed, or read by somebody at the same isolation. Holes
//! are legal. What is in a gap is only known at the end, so gaps are kept until then. Offsets below the log's start are exempt, and what a later
//! record of a compacted topic has superseded.
//!
//! Rebalances excuse. A process that subscribed is not judged between ops if it never logged a rebalance; if it does, the keys that were
//! revoked, lost or assigned since its last ok read are exempt. A log does not say where in its op the rebalance fell: a key revoked or
//! lost in the very op that read it may have been taken away after the read, so its next read is exempt as well. Inside an op, the keys in
//! that op's log are exempt.
//!
//! What this cannot see: where a subscribed consumer should start (its group's committed offset).

use std::collections::HashSet;

use kchaos_core::{Body, Key, Offset, Op, OpType, Polled, Process, RebalanceType, Verdict};

use crate::by_id::{ById, ByKey};
use crate::facts::{Facts, polls};
use crate::gaps::Gap;
use crate::log::{Isolation, KeyLog, OpRef};
use crate::rule::{Findings, JudgeOptions, MAX_LISTED, Rule, Spec, cite, example, hears};
use crate::undecided::Undecided;

pub(crate) const SPEC: Spec = Spec {
    name: "poll-order",
    about: "a process reads each key in order and leaves nothing out",
    anomalies: &["poll-skip", "nonmonotonic-poll", "int-poll-skip", "int-nonmonotonic-poll"],
    stable: true,
    hears: hears::ENDS_OF_POLLS | hears::PLACES | hears::REBALANCES,
    build: || Box::new(PollOrder::default()),
};

#[derive(Default)]
struct PollOrder {
    readers: ById<Reader>,
    /// Processes that logged a rebalance, ever.
    logs_rebalances: HashSet<u32>,
    /// Pairs that do not follow one another; what of them counts is decided at the end.
    suspects: Undecided<Pair>,
    /// Of the op that is looked at: the last record of each key so far.
    last: Vec<(Key, Offset)>,
}

const LOOKED_AT_MIN: usize = 4096;

#[derive(Default)]
struct Reader {
    subscribed: bool,
    positions: ByKey<Position>,
}

#[derive(Clone, Copy, Default)]
struct Position {
    place: Place,
    /// Revoked, lost or assigned since the last ok read.
    rebalanced: bool,
}

#[derive(Clone, Copy, Default)]
enum Place {
    #[default]
    Unknown,
    /// Sought to the beginning, by this op.
    Beginning(OpRef),
    /// Read this record, in this op.
    At(Offset, OpRef),
}

/// Two successive reads of a key.
#[derive(Clone, Copy)]
struct Pair {
    key: Key,
    process: u32,
    /// -1 for the beginning.
    from: Offset,
    to: Offset,
    before: OpRef,
    op: OpRef,
    isolation: Isolation,
    inside: bool,
    /// Counts only if the process logs rebalances.
    subscribed: bool,
}

impl Rule for PollOrder {
    fn update(&mut self, op: &Op, facts: &Facts) {
        let Process::Client(process) = op.process else { return };
        for (key, last) in facts.behind() {
            self.readers.or_default(u64::from(process)).positions.or_default(*key as u64).place = Place::At(last.offset, last.op);
        }
        self.rebalance(process, op);
        if !op.op_type.is_completion() {
            return;
        }
        let took_effect = matches!(op.op_type, OpType::Ok | OpType::Info);
        match &op.body {
            Body::Assign { keys, seek_to_beginning } if took_effect => {
                let reader = self.readers.or_default(u64::from(process));
                reader.subscribed = false;
                reader.keep_only(keys);
                if *seek_to_beginning {
                    // An info op may or may not have sought.
                    let place = if op.op_type == OpType::Ok { Place::Beginning(OpRef::new(op.index)) } else { Place::Unknown };
                    for key in keys {
                        reader.positions.insert(*key as u64, Position { place, rebalanced: false });
                    }
                }
            }
            Body::Subscribe { keys } if took_effect => {
                let reader = self.readers.or_default(u64::from(process));
                reader.subscribed = true;
                reader.keep_only(keys);
            }
            Body::Crash => {
                self.readers.remove(u64::from(process));
            }
            Body::Poll(_) | Body::Txn(_) => {
                self.read(process, op, facts);
                if self.suspects.are_many(LOOKED_AT_MIN) && !facts.never_packs() {
                    self.suspects.forget(|pair| pair.is_closed(facts.log(pair.key)));
                }
            }
            _ => {}
        }
    }

    fn verdict(&self, facts: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        let inside = facts.gaps().iter().map(Pair::inside);
        for pair in inside.chain(self.suspects.as_slice().iter().copied()) {
            if pair.subscribed && !self.logs_rebalances.contains(&pair.process) {
                continue;
            }
            if pair.to <= pair.from {
                let rule = if pair.inside { "int-nonmonotonic-poll" } else { "nonmonotonic-poll" };
                findings.add(rule, || pair.went_back());
            } else if let Some(log) = facts.log(pair.key)
                && facts.is_any_owed_between(pair.key, pair.from, pair.to, pair.isolation)
            {
                let rule = if pair.inside { "int-poll-skip" } else { "poll-skip" };
                findings.add(rule, || pair.skipped(log, facts));
            }
        }
        findings.verdict()
    }
}

impl Reader {
    fn keep_only(&mut self, keys: &[Key]) {
        if keys.len() < 16 {
            self.positions.retain(|key| keys.contains(&(key as Key)));
        } else {
            let keys: HashSet<_> = keys.iter().collect();
            self.positions.retain(|key| keys.contains(&(key as Key)));
        }
    }
}

impl PollOrder {
    fn rebalance(&mut self, process: u32, op: &Op) {
        if op.extra.rebalance_log.is_empty() {
            return;
        }
        self.logs_rebalances.insert(process);
        let reader = self.readers.or_default(u64::from(process));
        for key in op.extra.rebalance_log.iter().flat_map(|event| &event.keys) {
            reader.positions.or_default(*key as u64).rebalanced = true;
        }
    }

    fn read(&mut self, process: u32, op: &Op, facts: &Facts) {
        let (this, isolation) = (OpRef::new(op.index), facts.isolation());
        let reader = self.readers.or_default(u64::from(process));
        if let Body::Poll(Some(Polled(polled))) = &op.body
            && let [(key, records)] = &polled[..]
            && let (Some((first, _)), Some((end, _))) = (records.first(), records.last())
            && op.extra.rebalance_log.is_empty()
            && !facts.gaps().goes_back
            && let Some(position) = reader.positions.get_mut(*key as u64)
            && let Place::At(from, _) = position.place
            && from.checked_add(1) == Some(*first)
            && *end >= 0
        {
            // One key, read on from where the process was: as nearly always.
            if op.op_type == OpType::Ok {
                *position = Position { place: Place::At(*end, this), rebalanced: false };
            }
            return;
        }
        let (logged, goes_back) = (logged_keys(op, |_| true), facts.gaps().goes_back);
        let last = &mut self.last;
        last.clear();
        for (key, records) in polls(&op.body).flat_map(|polled| &polled.0) {
            let (Some((first, _)), Some((end, _))) = (records.first(), records.last()) else { continue };
            let log = facts.log(*key).filter(|_| !facts.never_packs());
            let exempt = logged.contains(key);
            let within = last.iter_mut().find(|(read, _)| read == key);
            let pair = Pair {
                key: *key,
                process,
                from: -1,
                to: *first,
                before: this,
                op: this,
                isolation,
                inside: within.is_some(),
                subscribed: reader.subscribed && within.is_none(),
            };
            match within {
                Some((_, from)) => {
                    suspect(&mut self.suspects, Pair { from: *from, ..pair }, exempt, log);
                    *from = *end;
                }
                None => {
                    let position = reader.positions.get(*key as u64).copied().unwrap_or_default();
                    let exempt = reader.subscribed && position.rebalanced;
                    if let Place::At(from, before) = position.place {
                        suspect(&mut self.suspects, Pair { from, before, ..pair }, exempt, log);
                    } else if let Place::Beginning(before) = position.place {
                        suspect_beginning(&mut self.suspects, Pair { before, ..pair }, exempt);
                    }
                    last.push((*key, *end));
                }
            }
            // What is left out inside one poll stands in the facts.
            let backwards = if goes_back { &records[..] } else { &[] };
            for two in backwards.windows(2).filter(|two| two[1].0 <= two[0].0) {
                let pair = Pair { from: two[0].0, to: two[1].0, before: this, inside: true, subscribed: false, ..pair };
                suspect(&mut self.suspects, pair, exempt, log);
            }
        }
        if op.op_type == OpType::Ok {
            // Taken away in the op that read it, perhaps after the read.
            let taken = logged_keys(op, |event| event != RebalanceType::Assigned);
            for (key, offset) in &*last {
                let place = if *offset >= 0 { Place::At(*offset, this) } else { Place::Unknown };
                *reader.positions.or_default(*key as u64) = Position { place, rebalanced: taken.contains(key) };
            }
        }
    }
}

/// Unknown offsets on either side prove nothing.
#[inline]
fn suspect(suspects: &mut Undecided<Pair>, pair: Pair, exempt: bool, log: Option<&KeyLog>) {
    let follows = pair.from.checked_add(1) == Some(pair.to);
    if pair.from >= 0 && pair.to >= 0 && !follows && !exempt && !pair.is_closed(log) {
        suspects.push(pair);
    }
}

fn suspect_beginning(suspects: &mut Undecided<Pair>, pair: Pair, exempt: bool) {
    if pair.to > 0 && !exempt {
        suspects.push(Pair { from: -1, ..pair });
    }
}

/// The keys in an op's rebalance log.
fn logged_keys(op: &Op, wanted: impl Fn(RebalanceType) -> bool) -> HashSet<Key> {
    op.extra.rebalance_log.iter().filter(|entry| wanted(entry.event)).flat_map(|entry| &entry.keys).copied().collect()
}

impl Pair {
    /// What one poll passed over.
    fn inside(gap: &Gap) -> Self {
        let Gap { key, from, to, op, process, isolation } = *gap;
        Self { key, process, from, to, before: op, op, isolation, inside: true, subscribed: false }
    }

    /// It leaves out nothing, and that is known for good.
    fn is_closed(&self, log: Option<&KeyLog>) -> bool {
        self.from < self.to && log.is_some_and(|log| log.is_closed_between(self.from, self.to))
    }

    fn place(&self) -> String {
        match (self.from, self.inside) {
            (-1, _) => format!("sought to the beginning of key {}{}", self.key, cite(self.before)),
            (from, true) => format!("read offset {from} of key {}", self.key),
            (from, false) => format!("read offset {from} of key {}{}", self.key, cite(self.before)),
        }
    }

    fn offsets(&self) -> Vec<Offset> {
        [self.from, self.to].into_iter().filter(|offset| *offset >= 0).collect()
    }

    fn went_back(&self) -> kchaos_core::Example {
        let how = if self.to == self.from { "the same again" } else { "going back" };
        let explanation =
            format!("process {} {} and next offset {}{}, {how}: it should move on", self.process, self.place(), self.to, cite(self.op));
        example(self.key, Vec::new(), self.offsets(), &[self.before, self.op], explanation)
    }

    fn skipped(&self, log: &KeyLog, facts: &Facts) -> kchaos_core::Example {
        let skipped: Vec<_> = facts.owed_between(self.key, self.from, self.to, self.isolation).take(MAX_LISTED + 1).collect();
        let more = if skipped.len() > MAX_LISTED { " and more" } else { "" };
        let skipped = &skipped[..skipped.len().min(MAX_LISTED)];
        let listed = skipped.iter().map(|(offset, slot)| format!("{} at {offset}", log.value(*slot))).collect::<Vec<_>>().join(", ");
        let explanation = format!(
            "process {} {} and next offset {}{}, passing over {listed}{more}: it should have returned them",
            self.process,
            self.place(),
            self.to,
            cite(self.op),
        );
        let mut ops = vec![self.before, self.op];
        let first = skipped.first().map(|(offset, slot)| log.tell(*offset, *slot));
        ops.extend(first.map(|written| if written.is_committed() { written.completed } else { written.placed }));
        example(self.key, skipped.iter().map(|(_, slot)| log.value(*slot)).collect(), self.offsets(), &ops, explanation)
    }
}
