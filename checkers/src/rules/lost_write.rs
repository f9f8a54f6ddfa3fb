//! `lost-write`: somebody read past a value that certainly was written, and nobody ever read the value.
//!
//! For each key: bound = the greatest, over read values, of each value's earliest offset (offsets order the log, so dense indices compare as
//! offsets do). A value is lost if its last offset is at or below the bound, its writer certainly committed, and no ok op returned it.
//! Values that only fail or info polls saw are unread. Offsets below the log's start (retention, delete-records) are exempt.
//!
//! What this cannot see: a value without a known offset, or one beyond everything that was read; `unseen` lists those.
//! Compacted topics are not told apart yet.

use kchaos_core::{Key, Verdict};

use crate::facts::Facts;
use crate::log::{Bound, Id, KeyLog};
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example, hears};

pub(crate) const SPEC: Spec = Spec {
    name: "lost-write",
    about: "a value that was written for certain, and that readers passed, is read by somebody",
    anomalies: &["lost-write"],
    stable: false,
    hears: hears::NOTHING,
    build: || Box::new(LostWrite),
};

struct LostWrite;

impl Rule for LostWrite {
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
        findings.verdict()
    }
}

/// The lost values of a key, and the read value that bounds them.
pub(crate) fn lost(facts: &Facts, key: Key, log: &KeyLog) -> Vec<(Id, Bound)> {
    let Some(bound) = log.bound() else { return Vec::new() };
    let start = facts.log_start(key);
    let unread = log.written(|written| !written.is_read() && written.offset >= 0 && written.is_committed());
    unread.into_iter().map(|(id, _)| id).filter(|id| (start..=bound.offset).contains(&log.last_offset(*id))).map(|id| (id, bound)).collect()
}
