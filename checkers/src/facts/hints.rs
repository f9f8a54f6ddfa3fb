//! What a run tells of its end, in ops of the process "nemesis".

use std::collections::{BTreeMap, BTreeSet};

use kchaos_core::{Body, Key, Offset};
use serde_json::Value as Json;

use crate::replica_logs::ReplicaLogs;

/// The log's end as its current leader told it, after all was mended and the ISR full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FinalOffsets {
    pub(crate) start: Offset,
    /// The high watermark: the next offset.
    pub(crate) end: Offset,
    pub(crate) leader_epoch: Option<i64>,
}

/// What a run tells of its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hints {
    /// `final-offsets`: `{"0": {"start": 0, "end": 123, "leader": 2, "leader_epoch": 4}, …}`.
    pub(crate) offsets: BTreeMap<Key, FinalOffsets>,
    /// `final-reads`: `{"complete": true, "keys": {"0": {"next": 124, "end": 124}, …}}`.
    pub(crate) reads_complete: Option<bool>,
    /// Keys whose final read stopped before their end.
    pub(crate) unfinished_keys: Vec<Key>,
    /// `superseded`: `{"0": [12, 17], …}`.
    pub(crate) superseded: BTreeMap<Key, BTreeSet<Offset>>,
    /// `replica-log`: what each replica held on its disk.
    pub(crate) replica_logs: ReplicaLogs,
}

impl Hints {
    pub(super) fn hear(&mut self, body: &Body) {
        let Body::Nemesis { f, value } = body else { return };
        match f.as_str() {
            "final-offsets" => {
                for (key, told) in by_key(value) {
                    let number = |name| told.get(name).and_then(Json::as_i64);
                    if let (Some(start), Some(end)) = (number("start"), number("end")) {
                        self.offsets.insert(key, FinalOffsets { start, end, leader_epoch: number("leader_epoch") });
                    }
                }
            }
            "final-reads" => {
                self.reads_complete = value.get("complete").and_then(Json::as_bool);
                let keys = value.get("keys").map(by_key).into_iter().flatten();
                let number = |told: &Json, name| told.get(name).and_then(Json::as_i64);
                self.unfinished_keys = keys
                    .filter(|(_, told)| matches!((number(told, "next"), number(told, "end")), (Some(next), Some(end)) if next < end))
                    .map(|(key, _)| key)
                    .collect();
            }
            "superseded" => {
                for (key, offsets) in by_key(value) {
                    let offsets = offsets.as_array().into_iter().flatten().filter_map(Json::as_i64);
                    self.superseded.entry(key).or_default().extend(offsets);
                }
            }
            "replica-log" => self.replica_logs.hear(value),
            _ => {}
        }
    }
}

fn by_key(value: &Json) -> impl Iterator<Item = (Key, &Json)> {
    value.as_object().into_iter().flatten().filter_map(|(key, told)| Some((key.parse().ok()?, told)))
}
