//! `nothing-compacted` (a reason, no anomaly): a topic was to be compacted, and nothing shows that it ever was.
//!
//! Why: that the last record of every record key is kept is no achievement while all records are. Told by ops of the process "nemesis":
//!
//! - `superseded` `{"0": [12, 17], …}`: by key, offsets that have, or may have from now on, a later record of the same record key behind them in a compacted topic.
//!   They may be taken away at any time: nobody is accused of not having read them ([`Facts::is_superseded`]).
//! - `compacted-read` `{"0": {"last": {"k7": {"written": [20, 5], "read": [20, 5]}}, "superseded": 9, "removed": 8}, …}`: what somebody found who
//!   read the whole of these keys: by record key, the last record that was written for certain, as offset and value, and the last one that was there
//!   (`null`: none); and how many superseded records there are, and how many of them were gone.
//!
//! A record key of which less was there than had been written is a `lost-write`, whoever read it before ([`lost`]). Where `superseded` and `removed` are told,
//! and nothing was removed anywhere, the run is unknown.

use kchaos_core::{Example, Key, Offset, Op, Value, Verdict};
use serde_json::Value as Json;

use crate::facts::Facts;
use crate::log::OpRef;
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example, hears};
use crate::told::{by_number, number, told};

pub(crate) const SPEC: Spec = Spec {
    name: "compaction",
    about: "where a topic was to be compacted, it was",
    anomalies: &[],
    stable: false,
    hears: hears::NEMESIS,
    build: || Box::new(Compaction::default()),
};

#[derive(Default)]
struct Compaction {
    /// Of the reads that say so.
    told: Option<Told>,
}

#[derive(Clone, Copy, Default)]
struct Told {
    superseded: i64,
    removed: i64,
}

impl Rule for Compaction {
    fn update(&mut self, op: &Op, _: &Facts) {
        let Some(read) = told(op, "compacted-read") else { return };
        for (_, key) in by_number(read) {
            let (Some(superseded), Some(removed)) = (number(key, "superseded"), number(key, "removed")) else { continue };
            let told = self.told.get_or_insert_default();
            told.superseded = told.superseded.saturating_add(superseded);
            told.removed = told.removed.saturating_add(removed);
        }
    }

    fn verdict(&self, _: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        if let Some(Told { superseded, removed: ..=0 }) = self.told {
            let text = format!(
                "nothing was compacted: a final read found all of the {superseded} records that others had superseded, so that compaction keeps the last \
                 one is not proved"
            );
            findings.reason("nothing-compacted", text);
        }
        findings.verdict()
    }
}

/// The last record of a record key, and what was found in its place.
pub(crate) struct Gone {
    key: Key,
    name: String,
    written: (Offset, Value),
    read: Option<(Offset, Value)>,
    op: OpRef,
}

/// The record keys whose last record a read of the whole topic did not find, nor a later one.
pub(crate) fn lost(op: &Op, gone: &mut Vec<Gone>) {
    let Some(read) = told(op, "compacted-read") else { return };
    for (key, of_key) in by_number(read) {
        for (name, last) in of_key.get("last").and_then(Json::as_object).into_iter().flatten() {
            let (Some(written), Some(found)) = (last.get("written").and_then(place), last.get("read")) else { continue };
            let read = place(found);
            let is_kept = match read {
                Some((offset, _)) => offset >= written.0,
                None => !found.is_null(),
            };
            // Whoever looks again finds it gone again.
            let is_known = || gone.iter().any(|gone| (gone.key, &gone.name, gone.written) == (key, name, written));
            if !is_kept && !is_known() {
                gone.push(Gone { key, name: name.clone(), written, read, op: OpRef::new(op.index) });
            }
        }
    }
}

fn place(told: &Json) -> Option<(Offset, Value)> {
    match told.as_array()?.as_slice() {
        [offset, value] => Some((offset.as_i64()?, value.as_i64()?)),
        _ => None,
    }
}

impl Gone {
    pub(crate) fn tell(&self, facts: &Facts) -> Example {
        let Self { key, name, written: (offset, value), read, op } = self;
        let written = facts.log(*key).and_then(|log| log.find_live(*value));
        let (invoked, completed) = written.map_or((OpRef::default(), OpRef::default()), |written| (written.invoked, written.completed));
        let found = match read {
            Some((offset, value)) => format!("value {value} at offset {offset} as its last one"),
            None => "none of it".to_owned(),
        };
        let explanation = format!(
            "value {value} at offset {offset} of key {key} was the last committed one of record key \"{name}\"{}, and a read of the whole compacted \
             log{} found {found}: compaction keeps the last one of each",
            cite(completed),
            cite(*op),
        );
        example(*key, vec![*value], vec![*offset], &[invoked, completed, *op], explanation)
    }
}
