//! `lost-write`: somebody read past a value that certainly was written, and nobody ever read the value.
//!
//! For each key: bound = the greatest, over read values, of each value's earliest offset (offsets order the log, so dense indices compare as
//! offsets do). A value is lost if its last offset is at or below the bound, its writer certainly committed, and no ok op returned it.
//! Values that only fail or info polls saw are unread. Offsets below the log's start (retention, delete-records) are exempt.
//!
//! So are those that a later one of their record key has superseded in a compacted topic. Of each record key the last one must be there, however often it was
//! read before: one that a read of the whole topic did not find is lost as well (`compacted-read`, see [`compaction`]).
//!
//! What this cannot see: a value without a known offset, or one beyond everything that was read; `unseen` lists those.

use kchaos_core::{Key, Offset, Op, Verdict};

use crate::facts::Facts;
use crate::log::{Bound, Id, KeyLog};
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example, hears};
use crate::rules::compaction::{self, Gone};

pub(crate) const SPEC: Spec = Spec {
    name: "lost-write",
    about: "a value that was written for certain, and that readers passed, is read by somebody",
    anomalies: &["lost-write"],
    stable: false,
    hears: hears::NEMESIS,
    build: || Box::new(LostWrite::default()),
};

#[derive(Default)]
struct LostWrite {
    compacted: Vec<Gone>,
}

impl Rule for LostWrite {
    fn update(&mut self, op: &Op, _: &Facts) {
        compaction::lost(op, &mut self.compacted);
    }

    fn verdict(&self, facts: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        for (key, log) in facts.logs() {
            for (id, bound) in lost(facts, key, log) {
                let lost = log.of(id);
                let offset = log.last_offset(id);
                findings.add("lost-write", || {
                    let explanation = format!(
                        "value {} was written to key {key} at offset {offset}{}; a reader got as far as value {} at offset {}{}, yet no ok op \
                         ever returned value {}: it should have been read on the way",
                        lost.value,
                        cite(lost.completed),
                        bound.value,
                        bound.offset,
                        cite(bound.read),
                        lost.value,
                    );
                    example(key, vec![lost.value], vec![offset], &[lost.invoked, lost.completed, bound.read], explanation)
                });
            }
        }
        self.compacted.iter().for_each(|gone| findings.add("lost-write", || gone.tell(facts)));
        findings.verdict()
    }
}

/// The lost values of a key, and the read value that bounds them.
pub(crate) fn lost(facts: &Facts, key: Key, log: &KeyLog) -> Vec<(Id, Bound)> {
    let Some(bound) = log.bound() else { return Vec::new() };
    let start = facts.log_start(key);
    let unread = log.written(|written| !written.is_read() && written.offset >= 0 && written.is_committed());
    let is_owed = |offset: Offset| (start..=bound.offset).contains(&offset) && !facts.is_superseded(key, offset);
    unread.into_iter().map(|(id, _)| id).filter(|id| is_owed(log.last_offset(*id))).map(|id| (id, bound)).collect()
}
