//! What a consumer group owes: every value before its committed offset to some member, and ideally once.
//!
//! `unprocessed`: an acknowledged value below an offset that the group committed for certain, which no member's ok poll returned.
//! `redelivered`: a group delivers an offset again. That is what at-least-once means, so it is counted and allowed.
//!
//! A member is a process whose last assign or subscribe was a subscribe. Its group stands beside the poll or the subscribe; without a
//! name, who is in which group is not known, and nothing counts as delivered again. Counted by value, and by offset. Offsets below the log's start are exempt.
//!
//! What this cannot see: where a group began; it is taken to begin at the log's start (`auto.offset.reset=earliest`).
//!
//! Memory: a bit for each offset delivered to a group, and nothing where nobody subscribes.

use std::collections::{BTreeMap, BTreeSet};

use kchaos_core::{Body, Key, Offset, Op, OpType, Process, Verdict};

use crate::facts::{Facts, polls};
use crate::hash::IntMap;
use crate::log::OpRef;
use crate::pages::Slot;
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example, hears};
use crate::rules::commit_regression::group;

pub(crate) const SPEC: Spec = Spec {
    name: "delivery",
    about: "a group processes every value before its committed offset; what it is given again is counted",
    anomalies: &["unprocessed", "redelivered"],
    stable: false,
    hears: hears::ENDS_OF_POLLS | hears::PLACES | hears::COMMITS,
    build: || Box::new(Delivery::default()),
};

#[derive(Default)]
struct Delivery {
    /// The group of each process that subscribed.
    members: IntMap<u32, String>,
    groups: BTreeMap<String, BTreeMap<Key, Place>>,
}

#[derive(Default)]
struct Place {
    delivered: Bits,
    again: BTreeMap<Offset, OpRef>,
    /// The greatest offset committed for certain.
    committed: Option<(Offset, OpRef)>,
    has_members: bool,
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
        let Process::Client(process) = op.process else { return };
        if op.op_type == OpType::Invoke {
            return;
        }
        match &op.body {
            Body::Subscribe { keys } if op.op_type != OpType::Fail => {
                let group = group(op);
                let places = self.groups.entry(group.clone()).or_default();
                keys.iter().for_each(|key| places.entry(*key).or_default().has_members = true);
                self.members.insert(process, group);
            }
            Body::Assign { .. } if op.op_type != OpType::Fail => {
                self.members.remove(&process);
            }
            Body::Crash => {
                self.members.remove(&process);
            }
            Body::Poll(_) | Body::Txn(_) if op.op_type == OpType::Ok => self.deliver(process, op),
            Body::Commit(offsets) if op.op_type == OpType::Ok => {
                // A member that named no group when it subscribed commits for the group it is in.
                let group = match self.members.get(&process) {
                    Some(unnamed) if unnamed.is_empty() => String::new(),
                    member => op.extra.group.as_ref().or(member).cloned().unwrap_or_default(),
                };
                let places = self.groups.entry(group).or_default();
                for (key, offset) in offsets {
                    let committed = &mut places.entry(*key).or_default().committed;
                    if committed.is_none_or(|(before, _)| before < *offset) {
                        *committed = Some((*offset, OpRef::new(op.index)));
                    }
                }
            }
            _ => {}
        }
    }

    fn verdict(&self, facts: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        for (group, places) in &self.groups {
            for (key, place) in places.iter().filter(|(_, place)| place.has_members) {
                for (offset, op) in place.again.iter().filter(|_| !group.is_empty()) {
                    findings.add("redelivered", || {
                        let explanation = format!("group \"{group}\" was given offset {offset} of key {key} again{}", cite(*op));
                        example(*key, Vec::new(), vec![*offset], &[*op], explanation)
                    });
                }
                if let Some((committed, op)) = place.committed {
                    unprocessed(facts, &mut findings, (group, *key), place, committed, op);
                }
            }
        }
        findings.verdict()
    }
}

impl Delivery {
    fn deliver(&mut self, process: u32, op: &Op) {
        let Some(member) = self.members.get(&process) else { return };
        let group = op.extra.group.as_ref().unwrap_or(member);
        // Of one poll no offset counts twice: that is `int-nonmonotonic-poll`.
        let mut here = BTreeSet::new();
        for (key, records) in polls(&op.body).flat_map(|polled| &polled.0) {
            let Some(places) = self.groups.get_mut(group) else { return };
            let place = places.entry(*key).or_default();
            place.has_members = true;
            for (offset, _) in records.iter().filter(|(offset, _)| *offset >= 0) {
                if place.delivered.insert(*offset) {
                    here.insert((*key, *offset));
                } else if !here.contains(&(*key, *offset)) {
                    place.again.entry(*offset).or_insert(OpRef::new(op.index));
                }
            }
        }
    }
}

fn unprocessed(facts: &Facts, findings: &mut Findings, (group, key): (&str, Key), place: &Place, committed: Offset, op: OpRef) {
    let Some(log) = facts.log(key) else { return };
    let start = facts.log_start(key);
    let live = log.written(|written| written.is_acknowledged() && !written.is_sent_twice() && written.offset >= 0);
    let live = live.into_iter().filter(|(id, _)| match log.places(*id) {
        Some(places) => !places.keys().any(|offset| place.delivered.contains(*offset)),
        None => !place.delivered.contains(log.last_offset(*id)),
    });
    let packed = log.packed().filter(|(offset, _, acknowledged)| *acknowledged && !place.delivered.contains(*offset));
    let packed = packed.map(|(offset, value, _)| (offset, Slot::Packed(value)));
    let mut passed: Vec<_> = live.map(|(id, _)| (log.last_offset(id), Slot::Live(id))).chain(packed).collect();
    passed.retain(|(offset, _)| (start..committed).contains(offset));
    passed.sort_unstable_by_key(|(offset, _)| *offset);
    for (offset, slot) in passed {
        findings.add("unprocessed", || {
            let written = log.tell(offset, slot);
            let explanation = format!(
                "group \"{group}\" committed offset {committed} of key {key}{}, and no member's ok poll returned value {} at offset {offset}, \
                 which was acknowledged{}: it should have been processed before",
                cite(op),
                written.value,
                cite(written.completed),
            );
            example(key, vec![written.value], vec![offset], &[written.invoked, written.completed, op], explanation)
        });
    }
}
