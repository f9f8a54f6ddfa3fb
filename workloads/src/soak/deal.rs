//! How the ops of several workloads stand in one history: keys, processes and clients that no two of them share.

use std::collections::BTreeMap;
use std::sync::Arc;

use kchaos_core::{Body, Draft, Key, MicroOp, Offset, Polled, Process, Recorder, Stamp};

/// The place of one part among several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deal {
    /// The history's key of the part's key 0.
    pub(super) keys_from: Key,
    /// Of the part, from 0.
    pub(super) number: u32,
    /// Parts there are.
    pub(super) count: u32,
}

impl Deal {
    pub(super) fn recorder(self, history: Arc<dyn Recorder>) -> Arc<dyn Recorder> {
        Arc::new(Dealt { deal: self, history })
    }

    /// The history's key of one of the part's.
    pub(super) fn key(self, own: Key) -> Key {
        own + self.keys_from
    }

    /// The part's key of one of the history's.
    pub(super) fn own_key(self, key: Key) -> Key {
        key - self.keys_from
    }

    /// The number in the history of one of the part's processes or clients.
    fn actor(self, own: u32) -> u32 {
        own.wrapping_mul(self.count).wrapping_add(self.number)
    }

    pub(super) fn keys<V>(self, map: BTreeMap<Key, V>) -> BTreeMap<Key, V> {
        map.into_iter().map(|(key, value)| (self.key(key), value)).collect()
    }

    fn all(self, keys: &mut [Key]) {
        for key in keys {
            *key = self.key(*key);
        }
    }

    fn polled(self, polled: &mut Option<Polled>) {
        for (key, _) in polled.iter_mut().flat_map(|polled| &mut polled.0) {
            *key = self.key(*key);
        }
    }

    fn draft(self, draft: &mut Draft) {
        if let Process::Client(number) = &mut draft.process {
            *number = self.actor(*number);
        }
        draft.client = draft.client.map(|client| self.actor(client));
        let extra = &mut draft.extra;
        extra.leader_epochs = self.keys(std::mem::take(&mut extra.leader_epochs));
        extra.corrupt.iter_mut().for_each(|(key, ..)| *key = self.key(*key));
        extra.rebalance_log.iter_mut().for_each(|event| self.all(&mut event.keys));
        self.body(&mut draft.body);
    }

    /// Which key holds the outputs of which.
    fn outputs(self, value: &mut serde_json::Value) {
        let Some(keys) = value.get_mut("keys").and_then(serde_json::Value::as_object_mut) else { return };
        let dealt = std::mem::take(keys).into_iter().filter_map(|(input, output)| {
            let (input, output): (Key, Key) = (input.parse().ok()?, output.as_i64()?);
            Some((self.key(input).to_string(), self.key(output).into()))
        });
        keys.extend(dealt.collect::<Vec<_>>());
    }

    fn body(self, body: &mut Body) {
        let offsets = |map: &mut BTreeMap<Key, Offset>| *map = self.keys(std::mem::take(map));
        match body {
            Body::Send(sends) => sends.iter_mut().for_each(|send| send.key = self.key(send.key)),
            Body::Poll(polled) => self.polled(polled),
            Body::Txn(micro_ops) => {
                for micro_op in micro_ops {
                    match micro_op {
                        MicroOp::Send(send) => send.key = self.key(send.key),
                        MicroOp::Poll(polled) => self.polled(polled),
                    }
                }
            }
            Body::Assign { keys, .. } | Body::Subscribe { keys } => self.all(keys),
            Body::Commit(map) => offsets(map),
            Body::Committed { keys, offsets: map } => {
                self.all(keys);
                offsets(map);
            }
            Body::Read { key, .. } | Body::Write { key, .. } | Body::Cas { key, .. } => *key = self.key(*key),
            Body::Nemesis { f, value } if f == "outputs" => self.outputs(value),
            // What else a workload tells in words of its own names no key: those that do have no part in a mix.
            Body::Crash | Body::Nemesis { .. } | Body::Unknown { .. } => {}
        }
    }
}

struct Dealt {
    deal: Deal,
    history: Arc<dyn Recorder>,
}

impl Recorder for Dealt {
    fn record(&self, mut draft: Draft) -> Stamp {
        self.deal.draft(&mut draft);
        self.history.record(draft)
    }
}

#[cfg(test)]
mod tests {
    use kchaos_core::{OpType, RebalanceEvent, RebalanceType, Send};

    use super::*;

    const SECOND_OF_THREE: Deal = Deal { keys_from: 3, number: 1, count: 3 };

    #[test]
    fn no_two_parts_share_a_process() {
        let all = (0..3).flat_map(|number| (0..50).map(move |own| Deal { number, ..SECOND_OF_THREE }.actor(own)));
        let mut all: Vec<u32> = all.collect();
        all.sort_unstable();
        assert_eq!(all, (0..150).collect::<Vec<_>>());
    }

    #[test]
    fn every_key_of_an_op_is_the_history_s() {
        let send = |key| Send { key, value: 7, offset: None };
        let polled = |key| Some(Polled(vec![(key, vec![(4, 7)])]));
        let map = |key| BTreeMap::from([(key, 9)]);
        let outputs = |key: Key| serde_json::json!({"keys": {key.to_string(): key}, "modulus": 9});
        // The same op with the part's key 1, and with the history's key 4.
        let bodies = |key| {
            [
                Body::Send(vec![send(key)]),
                Body::Poll(polled(key)),
                Body::Txn(vec![MicroOp::Send(send(key)), MicroOp::Poll(polled(key))]),
                Body::Assign { keys: vec![key], seek_to_beginning: true },
                Body::Subscribe { keys: vec![key] },
                Body::Commit(map(key)),
                Body::Committed { keys: vec![key], offsets: map(key) },
                Body::Cas { key, old: 1, new: 2 },
                Body::Nemesis { f: "outputs".into(), value: outputs(key) },
                Body::Crash,
            ]
        };
        let draft = |process, client, key, body| {
            let mut draft = Draft { client: Some(client), ..Draft::new(Process::Client(process), OpType::Ok, body) };
            draft.extra.leader_epochs = BTreeMap::from([(key, 2)]);
            draft.extra.corrupt = vec![(key, 0, "crc".into())];
            draft.extra.rebalance_log = vec![RebalanceEvent { event: RebalanceType::Assigned, keys: vec![key] }];
            draft
        };
        for (own, dealt) in bodies(1).into_iter().zip(bodies(4)) {
            let mut found = draft(5, 2, 1, own);
            SECOND_OF_THREE.draft(&mut found);
            let expected = draft(16, 7, 4, dealt);
            assert_eq!(
                (found.process, found.client, found.body, found.extra),
                (expected.process, expected.client, expected.body, expected.extra)
            );
        }
        assert_eq!(SECOND_OF_THREE.own_key(SECOND_OF_THREE.key(1)), 1);
    }
}
