//! What a consumer group owes: every value before its committed offset to some member, and ideally once.
//!
//! `unprocessed`: an acknowledged value below an offset that the group committed for certain, which no member's ok poll returned.
//! `redelivered`: a group delivers an offset again. That is what at-least-once means, so it is counted and allowed;
//! a profile made `exactly_once` (`kchaos check --exactly-once`) does not.
//!
//! A group that makes outputs of what it is given ([`outputs`], where `processed-twice` is told of) has processed a value when a committed output of it
//! is there, if the outputs were read to their end: what polls say counts only until then, and of a value that only polls of unknown outcome returned
//! nothing is known before (`unknown-outputs`).
//!
//! [`outputs`]: super::outputs
//!
//! A member is a process whose last assign or subscribe was a subscribe; what others with its `client` commit, it commits. Its group stands beside the poll or the subscribe; without a
//! name, who is in which group is not known, and nothing counts as delivered again. Counted by value, and by offset. Offsets below the log's
//! start are exempt.
//!
//! **Where a group began.** Before its beginning nothing is owed, and what the beginning was depends on what nobody may have told: with
//! `auto.offset.reset=latest`, a group that has committed nothing yet may begin anew, further on, whenever a member is replaced. So, for each
//! key, the first of these that holds:
//!
//! 1. `"reset": "earliest"` stands beside a subscribe or the end of a poll of the group, and no other reset does: at the log's start; or where a fetch
//!    found it, or somebody outside put it by a commit (tried, or certain), before the first delivery and before a member committed.
//! 2. A fetch of the committed offset returned a place, or a commit was acknowledged, before the first delivery: there.
//! 3. The group's first acknowledged commit came from a member that had been given values of the key without a break before (no rebalance
//!    of the key, subscribe, assign or crash between; it logs its rebalances, or it is the only member that ever was and no other reset is
//!    told): at the first of those values.
//! 4. Else: at that commit, or at a place that a later fetch returned before there was one.
//!
//! What was acknowledged below a beginning of the last two kinds and not delivered may have been owed: it is listed, and the run is unknown
//! (`unknown-beginning`), unless the group said `"reset": "latest"` or `"none"`. Say `reset`, and nothing is in doubt.
//!
//! What this cannot see: seeks of a member, and that the only member of a group, which logs no rebalances and says no reset, was thrown out
//! before the group's first commit and began anew at the log's end.
//!
//! Memory: a bit for each offset delivered to a group, and nothing where nobody subscribes.

use std::collections::{BTreeMap, BTreeSet};

use kchaos_core::{Body, Example, Key, Offset, Op, OpType, Process, RebalanceType, Verdict};

use crate::facts::{Facts, polls};
use crate::hash::IntMap;
use crate::log::{KeyLog, OpRef};
use crate::pages::Slot;
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example, hears};
use crate::rules::commit_regression::group;
use crate::rules::outputs::{Committed, Outputs};

pub(crate) const SPEC: Spec = Spec {
    name: "delivery",
    about: "a group processes every value before its committed offset, and makes one output of it where it makes any; what it is given again is counted",
    anomalies: &["unprocessed", "redelivered", "processed-twice"],
    stable: false,
    hears: hears::ENDS_OF_POLLS | hears::PLACES | hears::COMMITS | hears::NEMESIS,
    build: || Box::new(Delivery::default()),
};

#[derive(Default)]
struct Delivery {
    /// The group of each process that subscribed.
    members: IntMap<u32, String>,
    groups: BTreeMap<String, Group>,
    /// The first offset that a process was given of a key since it joined, or got the key.
    first: BTreeMap<(u32, Key), Offset>,
    /// Processes that log rebalances.
    logging: BTreeSet<u32>,
    outputs: Outputs,
}

#[derive(Default)]
struct Group {
    places: BTreeMap<Key, Place>,
    /// All that ever subscribed.
    members: BTreeSet<u32>,
    /// Their clients, which may commit as other processes: several commits at once.
    clients: BTreeSet<u32>,
    says_earliest: bool,
    says_other: bool,
}

#[derive(Default)]
struct Place {
    delivered: Bits,
    /// By polls of unknown outcome.
    doubtful: Bits,
    again: BTreeMap<Offset, OpRef>,
    /// The greatest offset committed for certain.
    committed: Option<(Offset, OpRef)>,
    has_members: bool,
    is_delivered: bool,
    /// The greatest offset that a fetch found, or somebody outside tried to commit, before the first delivery.
    put: Option<Offset>,
    /// The smallest that a member tried to commit.
    tried: Option<Offset>,
    /// The greatest that was found or committed for certain before it, by whomever.
    found: Option<Offset>,
    /// Where the first commit or fetch after it says that the group began at the latest.
    later: Option<Offset>,
}

/// A set of offsets, 64 to a page.
#[derive(Default)]
struct Bits(BTreeMap<i64, u64>);

impl Bits {
    /// `false` if it was there.
    fn insert(&mut self, offset: Offset) -> bool {
        let page = self.0.entry(offset >> 6).or_default();
        let bit = 1 << (offset & 63);
        let new = *page & bit == 0;
        *page |= bit;
        new
    }

    fn contains(&self, offset: Offset) -> bool {
        self.0.get(&(offset >> 6)).is_some_and(|page| page & (1 << (offset & 63)) != 0)
    }
}

impl Rule for Delivery {
    fn update(&mut self, op: &Op, _: &Facts) {
        let Process::Client(process) = op.process else { return self.outputs.hear(op) };
        self.reset(process, op);
        match (&op.body, op.op_type) {
            (Body::Commit(offsets), OpType::Invoke | OpType::Info) => self.try_commit(process, op, offsets),
            (_, OpType::Invoke) => {}
            (Body::Subscribe { keys }, OpType::Ok | OpType::Info) => {
                let name = group(op);
                let group = self.groups.entry(name.clone()).or_default();
                keys.iter().for_each(|key| group.places.entry(*key).or_default().has_members = true);
                group.members.insert(process);
                group.clients.extend(op.client);
                self.members.insert(process, name);
                self.forget(process);
            }
            (Body::Assign { .. }, OpType::Ok | OpType::Info) | (Body::Crash, _) => {
                self.members.remove(&process);
                self.forget(process);
            }
            (Body::Poll(_) | Body::Txn(_), _) => self.poll(process, op),
            (Body::Commit(offsets), OpType::Ok) => self.commit(process, op, offsets),
            (Body::Committed { offsets, .. }, OpType::Ok) => self.fetched(process, op, offsets),
            _ => {}
        }
    }

    fn verdict(&self, facts: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        let mut doubts = Vec::new();
        let mut is_proved = false;
        let mut unread = 0;
        self.outputs.accuse(facts, options, &mut findings);
        for (name, group) in &self.groups {
            for (key, place) in group.places.iter().filter(|(_, place)| place.has_members) {
                for (offset, op) in place.again.iter().filter(|_| !name.is_empty()) {
                    findings.add("redelivered", || {
                        let explanation = format!("group \"{name}\" was given offset {offset} of key {key} again{}", cite(*op));
                        example(*key, Vec::new(), vec![*offset], &[*op], explanation)
                    });
                }
                let (Some((committed, op)), Some(log)) = (place.committed, facts.log(*key)) else { continue };
                let outputs = self.outputs.of(name, *key, facts, options);
                let outputs = outputs.as_ref();
                for missed in missed(log, facts.log_start(*key), place, outputs, committed) {
                    if outputs.is_some_and(|outputs| !outputs.is_complete) && place.doubtful.contains(missed.offset) {
                        unread += 1;
                        continue;
                    }
                    match group.owes(place, missed.offset) {
                        Some(true) => {
                            findings.add("unprocessed", || missed.told(log, name, *key, committed, op, outputs));
                            is_proved = true;
                        }
                        Some(false) => {}
                        None => doubts.push((log, name, *key, missed, committed, op)),
                    }
                }
            }
        }
        if !doubts.is_empty() {
            let text = format!(
                "{} acknowledged values lie below a group's committed offset and were given to no member, and nothing tells whether the group \
                 began before them: say \"reset\" beside its subscribes",
                doubts.len()
            );
            for (log, name, key, missed, committed, op) in doubts.iter().filter(|_| !is_proved) {
                findings.add("unprocessed", || missed.told(log, name, *key, *committed, *op, None));
            }
            if is_proved { findings.reason("unknown-beginning", text) } else { findings.unproved("unprocessed", "unknown-beginning", text) }
        }
        if unread > 0 {
            let text = format!(
                "{unread} acknowledged values lie below a group's committed offset, and only polls of unknown outcome returned them; no output of them \
                 was read, and no complete final read of the outputs is proved"
            );
            findings.reason("unknown-outputs", text);
        }
        findings.verdict()
    }
}

impl Delivery {
    /// Whatever a member was given before, what it is given next need not follow.
    fn forget(&mut self, process: u32) {
        let of: Vec<(u32, Key)> = self.first.range((process, Key::MIN)..=(process, Key::MAX)).map(|(of, _)| *of).collect();
        for of in of {
            self.first.remove(&of);
        }
    }

    fn reset(&mut self, process: u32, op: &Op) {
        let Some(reset) = &op.extra.reset else { return };
        let name = match &op.body {
            Body::Subscribe { .. } => group(op),
            Body::Poll(_) | Body::Txn(_) => match op.extra.group.as_ref().or(self.members.get(&process)) {
                Some(name) => name.clone(),
                None => return,
            },
            _ => return,
        };
        let group = self.groups.entry(name).or_default();
        if reset == "earliest" { group.says_earliest = true } else { group.says_other = true }
    }

    /// A member that named no group when it subscribed commits for the group it is in.
    fn group_of(&self, process: u32, op: &Op) -> String {
        match self.members.get(&process) {
            Some(unnamed) if unnamed.is_empty() => String::new(),
            member => op.extra.group.as_ref().or(member).cloned().unwrap_or_default(),
        }
    }

    fn try_commit(&mut self, process: u32, op: &Op, offsets: &BTreeMap<Key, Offset>) {
        let name = self.group_of(process, op);
        let by_member = self.members.get(&process).is_some_and(|member| *member == name);
        let Group { places, clients, .. } = self.groups.entry(name).or_default();
        let by_member = by_member || op.client.is_some_and(|client| clients.contains(&client));
        for (key, offset) in offsets {
            let place = places.entry(*key).or_default();
            if by_member {
                place.tried = Some(place.tried.map_or(*offset, |tried| tried.min(*offset)));
            } else if !place.is_delivered {
                place.put = place.put.max(Some(*offset));
            }
        }
    }

    fn commit(&mut self, process: u32, op: &Op, offsets: &BTreeMap<Key, Offset>) {
        self.try_commit(process, op, offsets);
        let group = self.groups.entry(self.group_of(process, op)).or_default();
        let alone = !group.says_other && group.members.iter().eq([&process]);
        for (key, offset) in offsets {
            let first = self.first.get(&(process, *key)).filter(|_| alone || self.logging.contains(&process));
            let place = group.places.entry(*key).or_default();
            if place.committed.is_none_or(|(before, _)| before < *offset) {
                place.committed = Some((*offset, OpRef::new(op.index)));
            }
            if !place.is_delivered {
                place.found = place.found.max(Some(*offset));
            } else if place.later.is_none() {
                place.later = Some(first.map_or(*offset, |first| *first.min(offset)));
            }
        }
    }

    fn fetched(&mut self, process: u32, op: &Op, offsets: &BTreeMap<Key, Offset>) {
        let places = &mut self.groups.entry(self.group_of(process, op)).or_default().places;
        for (key, offset) in offsets.iter().filter(|(_, offset)| **offset >= 0) {
            let place = places.entry(*key).or_default();
            if place.is_delivered {
                place.later.get_or_insert(*offset);
            } else {
                place.found = place.found.max(Some(*offset));
                // What a member committed meanwhile is not where the group began.
                if place.tried.is_none_or(|tried| *offset < tried) {
                    place.put = place.put.max(Some(*offset));
                }
            }
        }
    }

    fn poll(&mut self, process: u32, op: &Op) {
        let rebalanced = |key: Key| op.extra.rebalance_log.iter().filter(move |event| event.keys.contains(&key));
        if !op.extra.rebalance_log.is_empty() {
            self.logging.insert(process);
            for key in op.extra.rebalance_log.iter().flat_map(|event| &event.keys) {
                self.first.remove(&(process, *key));
            }
        }
        let Some(member) = self.members.get(&process) else { return };
        let Some(group) = self.groups.get_mut(op.extra.group.as_ref().unwrap_or(member)) else { return };
        if op.op_type != OpType::Ok {
            for (key, records) in polls(&op.body).filter(|_| op.op_type == OpType::Info).flat_map(|polled| &polled.0) {
                let place = group.places.entry(*key).or_default();
                records.iter().filter(|(offset, _)| *offset >= 0).for_each(|(offset, _)| _ = place.doubtful.insert(*offset));
            }
            return;
        }
        // Of one poll no offset counts twice: that is `int-nonmonotonic-poll`.
        let mut here = BTreeSet::new();
        for (key, records) in polls(&op.body).flat_map(|polled| &polled.0) {
            let place = group.places.entry(*key).or_default();
            place.has_members = true;
            for (offset, _) in records.iter().filter(|(offset, _)| *offset >= 0) {
                place.is_delivered = true;
                if place.delivered.insert(*offset) {
                    here.insert((*key, *offset));
                } else if !here.contains(&(*key, *offset)) {
                    place.again.entry(*offset).or_insert(OpRef::new(op.index));
                }
            }
            // Where in the op a key went is not known; where it only came, all of it came after.
            let mut events = rebalanced(*key).map(|event| event.event);
            let (event, more) = (events.next(), events.next());
            if let Some(lowest) = records.iter().map(|(offset, _)| *offset).filter(|offset| *offset >= 0).min()
                && matches!((event, more), (None | Some(RebalanceType::Assigned), None))
            {
                self.first.entry((process, *key)).or_insert(lowest);
            }
        }
    }
}

impl Group {
    /// Whether the group had to process an offset that it committed past; `None` if nobody knows.
    fn owes(&self, place: &Place, offset: Offset) -> Option<bool> {
        if self.says_earliest && !self.says_other {
            return Some(place.put.is_none_or(|put| offset >= put));
        }
        match (place.found, place.later) {
            (Some(found), _) => Some(offset >= found),
            (None, Some(later)) if offset >= later => Some(true),
            (None, _) if self.says_other && !self.says_earliest => Some(false),
            (None, _) => None,
        }
    }
}

/// An acknowledged value that no member was given.
#[derive(Clone, Copy)]
struct Missed {
    offset: Offset,
    slot: Slot,
}

impl Missed {
    fn told(self, log: &KeyLog, group: &str, key: Key, committed: Offset, op: OpRef, outputs: Option<&Committed>) -> Example {
        let Missed { offset, slot } = self;
        let written = log.tell(offset, slot);
        let value = written.value;
        let lacks = match outputs.filter(|outputs| outputs.is_complete) {
            Some(outputs) => {
                format!("key {}, which was read to its end, has no committed output of value {value} at offset {offset}", outputs.key)
            }
            None => format!("no member's ok poll returned value {value} at offset {offset}"),
        };
        let explanation = format!(
            "group \"{group}\" committed offset {committed} of key {key}{}, and {lacks}, which was acknowledged{}: it should have been processed before",
            cite(op),
            cite(written.completed),
        );
        example(key, vec![written.value], vec![offset], &[written.invoked, written.completed, op], explanation)
    }
}

/// What lies between the log's start and the committed offset, and was not processed.
fn missed(log: &KeyLog, start: Offset, place: &Place, outputs: Option<&Committed>, committed: Offset) -> Vec<Missed> {
    let is_output = |value| outputs.is_some_and(|outputs| outputs.has(value));
    let is_delivered = |offset| outputs.is_none_or(|outputs| !outputs.is_complete) && place.delivered.contains(offset);
    let live = log.written(|written| written.is_acknowledged() && !written.is_sent_twice() && written.offset >= 0);
    let live = live.into_iter().filter(|(id, written)| match log.places(*id) {
        _ if is_output(written.value) => false,
        Some(places) => !places.keys().any(|offset| is_delivered(*offset)),
        None => !is_delivered(log.last_offset(*id)),
    });
    let packed = log.packed().filter(|(offset, value, acknowledged)| *acknowledged && !is_delivered(*offset) && !is_output(*value));
    let packed = packed.map(|(offset, value, _)| Missed { offset, slot: Slot::Packed(value) });
    let mut missed: Vec<_> = live.map(|(id, _)| Missed { offset: log.last_offset(id), slot: Slot::Live(id) }).chain(packed).collect();
    missed.retain(|missed| (start..committed).contains(&missed.offset));
    missed.sort_unstable_by_key(|missed| missed.offset);
    missed
}
