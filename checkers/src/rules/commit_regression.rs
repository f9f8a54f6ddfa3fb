//! `commit-regression`: a fetch of a group's committed offset returned less than one acknowledged before the fetch was invoked, with no
//! reset between. `offsets-expired`: the same, because the group's offsets were dropped before their retention.
//!
//! A reset is a commit of a smaller offset: acknowledged, it lowers what is owed; in flight, or of unknown outcome (which may land at any
//! later time), it excuses exactly its own offset. A fetch that returns nothing for a key it asked for returned less than any commit.
//! Counted: fetches of a key. Ops that name no group are of one group without a name.
//!
//! That nothing is left of a committed offset looks the same whether it expired or was lost, so it counts as expired where the retention is
//! known, from ops of the process "nemesis" before the fetch:
//!
//! - `offsets-retention` `{"retention_ms": 604800000}`: `offsets.retention.minutes` as it is in force; with `"group"` beside, of one group.
//!
//! A fetch that ended before the commit's invocation and the retention together found its offset dropped too early; one that ended later
//! found what is legal, and is ignored (of the smallest retention told; what a group's members hold off is not asked for).
//!
//! What this cannot see: offsets that an administrator deleted, which look dropped.

use std::collections::BTreeMap;

use kchaos_core::{Body, Key, Offset, Op, OpType, Process, Verdict};
use serde_json::Value as Json;

use crate::facts::Facts;
use crate::hash::IntMap;
use crate::log::OpRef;
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example, hears};
use crate::told::{text, told};

pub(crate) const SPEC: Spec = Spec {
    name: "commit-regression",
    about: "a group's committed offset does not go back unless somebody asks for it",
    anomalies: &["commit-regression", "offsets-expired"],
    stable: true,
    hears: hears::COMMITS | hears::NEMESIS,
    build: || Box::new(CommitRegression::default()),
};

#[derive(Default)]
struct CommitRegression {
    /// By group and key.
    places: BTreeMap<String, IntMap<Key, Place>>,
    open: IntMap<u32, Open>,
    regressions: Vec<Regression>,
    /// By group; of all groups where it stands under `None`.
    retention_ns: BTreeMap<Option<String>, u64>,
}

#[derive(Default)]
struct Place {
    /// The acknowledged commit that is owed.
    owed: Option<Owed>,
    /// Offsets of commits in flight, of unknown outcome, or overtaken while in flight: legal whenever they are returned.
    loose: Vec<Offset>,
}

#[derive(Clone, Copy)]
struct Owed {
    offset: Offset,
    op: OpRef,
    /// Before this it was not committed; 0 where nobody knows.
    begun_ns: u64,
}

/// What a process has begun.
enum Open {
    Commit { group: String, offsets: BTreeMap<Key, Offset>, begun: u64, begun_ns: u64 },
    Fetch { group: String, keys: Vec<(Key, Option<Owed>)>, op: OpRef },
}

struct Regression {
    group: String,
    key: Key,
    returned: Option<Offset>,
    owed: Owed,
    invoked: OpRef,
    op: OpRef,
    /// Where nothing was left and the retention is known: whether it was over.
    expired: Option<Retention>,
}

struct Retention {
    ns: u64,
    is_over: bool,
}

impl Rule for CommitRegression {
    fn update(&mut self, op: &Op, _: &Facts) {
        let Process::Client(process) = op.process else {
            self.retention(op);
            return;
        };
        match (&op.body, op.op_type) {
            (Body::Commit(offsets), OpType::Invoke) => self.begin_commit(process, op, offsets),
            (Body::Commit(offsets), _) => self.end_commit(process, op, offsets),
            (Body::Committed { keys, .. }, OpType::Invoke) => {
                let group = group(op);
                let places = self.places.get(&group);
                let owed = |key: &Key| (*key, places.and_then(|places| places.get(key)).and_then(|place| place.owed));
                let keys = keys.iter().map(owed).collect();
                self.open.insert(process, Open::Fetch { group, keys, op: OpRef::new(op.index) });
            }
            (Body::Committed { offsets, .. }, op_type) => {
                if let Some(Open::Fetch { group, keys, op: invoked }) = self.open.remove(&process)
                    && op_type == OpType::Ok
                {
                    self.fetched(op, &group, &keys, invoked, offsets);
                }
            }
            _ => {}
        }
    }

    fn verdict(&self, _: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        for Regression { group, key, returned, owed, invoked, op, expired } in &self.regressions {
            let told = || {
                let returned_text = returned.map_or_else(|| "no offset".to_owned(), |offset| format!("offset {offset}"));
                let should = match expired {
                    None => format!("it should have returned {} or more", owed.offset),
                    Some(Retention { ns, is_over: false }) => format!("it should have been kept for {} ms", ns / 1_000_000),
                    Some(Retention { ns, is_over: true }) => format!("it was to be kept for {} ms, which were over", ns / 1_000_000),
                };
                let explanation = format!(
                    "group \"{group}\" committed offset {} of key {key}{}, and a fetch that was invoked later{} returned {returned_text}{}: \
                     {should}",
                    owed.offset,
                    cite(owed.op),
                    cite(*invoked),
                    cite(*op),
                );
                let offsets = [Some(owed.offset), *returned].into_iter().flatten().collect();
                example(*key, Vec::new(), offsets, &[owed.op, *invoked, *op], explanation)
            };
            match expired {
                None => findings.add("commit-regression", told),
                Some(Retention { is_over: false, .. }) => findings.add("offsets-expired", told),
                Some(Retention { is_over: true, .. }) => findings.ignore("offsets-expired", told),
            }
        }
        findings.verdict()
    }
}

pub(crate) fn group(op: &Op) -> String {
    op.extra.group.clone().unwrap_or_default()
}

impl CommitRegression {
    fn begin_commit(&mut self, process: u32, op: &Op, offsets: &BTreeMap<Key, Offset>) {
        let group = group(op);
        let places = self.places.entry(group.clone()).or_default();
        for (key, offset) in offsets {
            let place = places.entry(*key).or_default();
            place.loose.push(*offset);
            lower(&mut self.open, &group, *key, *offset);
        }
        self.open.insert(process, Open::Commit { group, offsets: offsets.clone(), begun: op.index, begun_ns: op.time_ns });
    }

    fn retention(&mut self, op: &Op) {
        let Some(value) = told(op, "offsets-retention") else { return };
        let Some(ms) = value.get("retention_ms").and_then(Json::as_u64) else { return };
        let ns = ms.saturating_mul(1_000_000);
        let shortest = self.retention_ns.entry(text(value, "group").map(str::to_owned)).or_insert(ns);
        *shortest = ns.min(*shortest);
    }

    fn end_commit(&mut self, process: u32, op: &Op, told: &BTreeMap<Key, Offset>) {
        let begun = match self.open.remove(&process) {
            Some(Open::Commit { group, offsets, begun, begun_ns }) => Some((group, offsets, begun, begun_ns)),
            _ => None,
        };
        // A completion may carry no value; one without an invocation is an instant.
        let (group, offsets, begun, begun_ns) = begun.unwrap_or_else(|| (group(op), told.clone(), op.index, 0));
        let places = self.places.entry(group.clone()).or_default();
        for (key, offset) in offsets {
            let place = places.entry(key).or_default();
            if op.op_type != OpType::Info
                && let Some(at) = place.loose.iter().position(|loose| *loose == offset)
            {
                place.loose.swap_remove(at);
            }
            if op.op_type != OpType::Ok {
                continue;
            }
            if let Some(owed) = place.owed {
                let overlaps = owed.op.get().is_none_or(|ended| ended > begun);
                if overlaps && owed.offset < offset {
                    place.loose.push(owed.offset);
                }
                if offset < owed.offset {
                    lower(&mut self.open, &group, key, offset);
                }
            }
            place.owed = Some(Owed { offset, op: OpRef::new(op.index), begun_ns });
        }
    }

    fn fetched(&mut self, op: &Op, group: &str, keys: &[(Key, Option<Owed>)], invoked: OpRef, offsets: &BTreeMap<Key, Offset>) {
        for (key, owed) in keys {
            let Some(owed) = *owed else { continue };
            let returned = offsets.get(key).copied().filter(|offset| *offset >= 0);
            let loose =
                |offset| self.places.get(group).and_then(|places| places.get(key)).is_some_and(|place| place.loose.contains(&offset));
            if returned.is_none_or(|offset| offset < owed.offset && !loose(offset)) {
                let retention = self.retention_ns.get(&Some(group.to_owned())).or_else(|| self.retention_ns.get(&None));
                let expired = retention.filter(|_| returned.is_none()).map(|ns| {
                    let over_ns = owed.begun_ns.saturating_add(*ns);
                    Retention { ns: *ns, is_over: op.time_ns >= over_ns }
                });
                let op = OpRef::new(op.index);
                self.regressions.push(Regression { group: group.to_owned(), key: *key, returned, owed, invoked, op, expired });
            }
        }
    }
}

/// A smaller commit was begun or acknowledged while others fetch: they may be given it.
fn lower(open: &mut IntMap<u32, Open>, of: &str, of_key: Key, offset: Offset) {
    for fetch in open.values_mut() {
        let Open::Fetch { group, keys, .. } = fetch else { continue };
        for (_, owed) in keys.iter_mut().filter(|(key, _)| group == of && *key == of_key) {
            if let Some(owed) = owed {
                owed.offset = owed.offset.min(offset);
            }
        }
    }
}
