//! `lost-write`: somebody read past a value that certainly was written, and nobody ever read the value.
//!
//! For each key: bound = the greatest, over read values, of each value's earliest offset (offsets order the log, so dense indices compare as
//! offsets do). A value is lost if its last offset is at or below the bound, its writer certainly committed, and no ok op returned it.
//! Values that only fail or info polls saw are unread. Offsets below the log's start (retention, delete-records) are exempt.
//!
//! What this cannot see: a value without a known offset, or one beyond everything that was read; `unseen` lists those.
//! Compacted topics are not told apart yet.

use kchaos_core::{Key, Offset, Verdict};

use crate::facts::Facts;
use crate::log::{Id, KeyLog};
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example};

pub(crate) const SPEC: Spec = Spec {
    name: "lost-write",
    about: "a value that was written for certain, and that readers passed, is read by somebody",
    anomalies: &["lost-write"],
    stable: false,
    build: || Box::new(LostWrite),
};

struct LostWrite;

impl Rule for LostWrite {
    fn verdict(&self, facts: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        for (key, log) in facts.logs() {
            for (id, bound) in lost(facts, key, log) {
                let (lost, reader) = (log.of(id), log.of(bound));
                let offset = log.last_offset(id);
                findings.add("lost-write", || {
                    let explanation = format!(
                        "value {} was written to key {key} at offset {offset}{}; a reader got as far as value {} at offset {}{}, yet no ok op \
                         ever returned value {}: it should have been read on the way",
                        lost.value,
                        cite(lost.completed),
                        reader.value,
                        log.first_offset(bound),
                        cite(reader.read),
                        lost.value,
                    );
                    example(key, vec![lost.value], vec![offset], &[lost.invoked, lost.completed, reader.read], explanation)
                });
            }
        }
        findings.verdict()
    }
}

/// How far readers of a key got: the greatest first offset of a read value. Of several values there, the first.
pub(crate) fn bound(log: &KeyLog) -> Option<(Offset, Id)> {
    let read = log.written().filter(|(_, written)| written.is_read() && written.offset >= 0).map(|(id, _)| (log.first_offset(id), id));
    read.max_by_key(|(offset, id)| (*offset, std::cmp::Reverse(*id)))
}

/// The lost values of a key, and the read value that bounds them.
pub(crate) fn lost(facts: &Facts, key: Key, log: &KeyLog) -> Vec<(Id, Id)> {
    let Some((bound, reader)) = bound(log) else { return Vec::new() };
    let start = facts.log_start(key);
    let unread = log.written().filter(|(_, written)| !written.is_read() && written.offset >= 0 && written.is_committed());
    unread.map(|(id, _)| id).filter(|id| (start..=bound).contains(&log.last_offset(*id))).map(|id| (id, reader)).collect()
}
