//! What the replicas' own logs hold at an offset, from dumps of their segments (`replica-log`, docs/history.md): no rule's evidence, but what is
//! said beside a value that is gone.

use std::collections::BTreeMap;

use kchaos_core::{Key, Offset};
use serde_json::Value as Json;

use crate::told::number;

/// The last dump of each replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplicaLogs(BTreeMap<(Key, i64), Log>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Log {
    start: Offset,
    /// First and last offset and leader epoch of each batch, rising.
    batches: Vec<(Offset, Offset, i64)>,
}

impl ReplicaLogs {
    /// A dump that has another shape is passed over.
    pub(crate) fn hear(&mut self, value: &Json) {
        let (Some(key), Some(replica), Some(start)) = (number(value, "key"), number(value, "replica"), number(value, "start")) else {
            return;
        };
        let Some(batches) = value.get("batches").and_then(Json::as_array) else { return };
        let batch = |batch: &Json| {
            let [first, last, leader_epoch, ..] = batch.as_array()?.as_slice() else { return None };
            Some((first.as_i64()?, last.as_i64()?, leader_epoch.as_i64()?))
        };
        let batches: Option<Vec<_>> = batches.iter().map(batch).collect();
        let Some(batches) = batches.filter(|all| all.windows(2).all(|two| two[0].1 < two[1].0)) else { return };
        self.0.insert((key, replica), Log { start, batches });
    }

    /// "; on disk, replica 1 ends at 57, replica 2 holds offsets 40 to 44 of leader epoch 3 there", to end an explanation with; empty where no dump
    /// reaches.
    pub(crate) fn at(&self, key: Key, offset: Offset) -> String {
        let all = self.0.range((key, i64::MIN)..=(key, i64::MAX));
        let said: Vec<String> = all.filter_map(|((_, replica), log)| Some(format!("replica {replica} {}", log.at(offset)?))).collect();
        if said.is_empty() { String::new() } else { format!("; on disk, {}", said.join(", ")) }
    }
}

impl Log {
    fn at(&self, offset: Offset) -> Option<String> {
        if offset < self.start {
            return None;
        }
        let place = self.batches.partition_point(|(_, last, _)| *last < offset);
        Some(match (self.batches.get(place), self.batches.last()) {
            (Some((first, last, epoch)), _) if *first <= offset => format!("holds offsets {first} to {last} of leader epoch {epoch} there"),
            (Some(_), _) => "holds nothing there".to_owned(),
            (None, Some((_, last, _))) => format!("ends at {}", last.saturating_add(1)),
            (None, None) => format!("is empty from {} on", self.start),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_truncated_offset_is_shown_in_every_replica() {
        let mut logs = ReplicaLogs::default();
        logs.hear(&json!({"key": 0, "replica": 1, "start": 0, "high_watermark": 9, "batches": [[0, 4, 1, 7], [5, 9, 3, 8]]}));
        logs.hear(&json!({"key": 0, "replica": 2, "start": 0, "high_watermark": 9, "batches": [[0, 4, 1, 7]]}));
        logs.hear(&json!({"key": 0, "replica": 3, "start": 0, "high_watermark": 0, "batches": []}));
        logs.hear(&json!({"key": 0, "replica": 4, "start": 8, "high_watermark": 9, "batches": [[8, 9, 3, 8]]}));
        logs.hear(&json!({"key": 0, "replica": 5, "start": 0, "batches": [[0, 4]]}));
        let expected =
            "; on disk, replica 1 holds offsets 5 to 9 of leader epoch 3 there, replica 2 ends at 5, replica 3 is empty from 0 on";
        assert_eq!(logs.at(0, 6), expected);
        assert_eq!(logs.at(1, 6), "");
    }

    proptest! {
        #[test]
        fn no_dump_makes_it_panic(batches in prop::collection::vec((any::<i64>(), any::<i64>(), any::<i64>()), 0..4), offset in any::<i64>()) {
            let mut logs = ReplicaLogs::default();
            logs.hear(&json!({"key": 0, "replica": 1, "start": 0, "batches": batches}));
            let _ = logs.at(0, offset);
        }
    }
}
