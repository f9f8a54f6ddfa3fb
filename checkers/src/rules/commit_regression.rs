//! `commit-regression`: a fetch of a group's committed offset returned less than one acknowledged before the fetch was invoked, with no
//! reset between.
//!
//! A reset is a commit of a smaller offset: acknowledged, it lowers what is owed; in flight, or of unknown outcome (which may land at any
//! later time), it excuses exactly its own offset. A fetch that returns nothing for a key it asked for returned less than any commit.
//! Counted: fetches of a key. Ops that name no group are of one group without a name.

use std::collections::BTreeMap;

use kchaos_core::{Body, Key, Offset, Op, OpType, Process, Verdict};

use crate::facts::Facts;
use crate::hash::IntMap;
use crate::log::OpRef;
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example, hears};

pub(crate) const SPEC: Spec = Spec {
    name: "commit-regression",
    about: "a group's committed offset does not go back unless somebody asks for it",
    anomalies: &["commit-regression"],
    stable: true,
    hears: hears::COMMITS,
    build: || Box::new(CommitRegression::default()),
};

#[derive(Default)]
struct CommitRegression {
    /// By group and key.
    places: BTreeMap<String, IntMap<Key, Place>>,
    open: IntMap<u32, Open>,
    regressions: Vec<Regression>,
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
}

/// What a process has begun.
enum Open {
    Commit { group: String, offsets: BTreeMap<Key, Offset>, begun: u64 },
    Fetch { group: String, keys: Vec<(Key, Option<Owed>)>, op: OpRef },
}

struct Regression {
    group: String,
    key: Key,
    returned: Option<Offset>,
    owed: Owed,
    invoked: OpRef,
    op: OpRef,
}

impl Rule for CommitRegression {
    fn update(&mut self, op: &Op, _: &Facts) {
        let Process::Client(process) = op.process else { return };
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
        for Regression { group, key, returned, owed, invoked, op } in &self.regressions {
            findings.add("commit-regression", || {
                let returned_text = returned.map_or_else(|| "no offset".to_owned(), |offset| format!("offset {offset}"));
                let explanation = format!(
                    "group \"{group}\" committed offset {} of key {key}{}, and a fetch that was invoked later{} returned {returned_text}{}: it \
                     should have returned {} or more",
                    owed.offset,
                    cite(owed.op),
                    cite(*invoked),
                    cite(*op),
                    owed.offset,
                );
                let offsets = [Some(owed.offset), *returned].into_iter().flatten().collect();
                example(*key, Vec::new(), offsets, &[owed.op, *invoked, *op], explanation)
            });
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
        self.open.insert(process, Open::Commit { group, offsets: offsets.clone(), begun: op.index });
    }

    fn end_commit(&mut self, process: u32, op: &Op, told: &BTreeMap<Key, Offset>) {
        let begun = match self.open.remove(&process) {
            Some(Open::Commit { group, offsets, begun }) => Some((group, offsets, begun)),
            _ => None,
        };
        // A completion may carry no value; one without an invocation is an instant.
        let (group, offsets, begun) = begun.unwrap_or_else(|| (group(op), told.clone(), op.index));
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
            place.owed = Some(Owed { offset, op: OpRef::new(op.index) });
        }
    }

    fn fetched(&mut self, op: &Op, group: &str, keys: &[(Key, Option<Owed>)], invoked: OpRef, offsets: &BTreeMap<Key, Offset>) {
        for (key, owed) in keys {
            let Some(owed) = *owed else { continue };
            let returned = offsets.get(key).copied().filter(|offset| *offset >= 0);
            let loose =
                |offset| self.places.get(group).and_then(|places| places.get(key)).is_some_and(|place| place.loose.contains(&offset));
            if returned.is_none_or(|offset| offset < owed.offset && !loose(offset)) {
                let op = OpRef::new(op.index);
                self.regressions.push(Regression { group: group.to_owned(), key: *key, returned, owed, invoked, op });
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
