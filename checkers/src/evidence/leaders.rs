//! Under which leaders the ops of an example stood: who reads of a lost write asks first whether the leader had changed.
//!
//! Told by ops `leader-epochs` of the process "nemesis" (docs/history.md), each when it was first seen: an epoch may have begun a little earlier.

use std::collections::BTreeMap;

use kchaos_core::{Example, Key, LeaderSeen, Op};

use crate::told::{by_number, number, told};

/// Of one example; more than that is a storm of elections, which no one example explains.
const SHOWN_MAX: usize = 8;

#[derive(Default)]
pub(super) struct Leaders {
    by_key: BTreeMap<Key, Vec<LeaderSeen>>,
}

impl Leaders {
    pub(super) fn update(&mut self, op: &Op) {
        let Some(value) = told(op, "leader-epochs") else { return };
        for (key, state) in by_number(value) {
            let Some(leader_epoch) = number(state, "leader_epoch") else { continue };
            let seen = LeaderSeen { leader: number(state, "leader"), leader_epoch, time_ns: op.time_ns, op: op.index };
            self.by_key.entry(key).or_default().push(seen);
        }
    }

    /// Those from the first of the example's ops to its last, and how many are left out. Where the leader never changed meanwhile, nobody.
    pub(super) fn of(&self, example: &Example) -> (Vec<LeaderSeen>, u64) {
        let ops = || example.ops.iter().copied();
        let (Some(key), Some(first), Some(last)) = (example.key, ops().min(), ops().max()) else { return (Vec::new(), 0) };
        let seen = self.by_key.get(&key).map_or(&[][..], Vec::as_slice);
        let from = seen.partition_point(|seen| seen.op <= first).saturating_sub(1);
        let to = seen.partition_point(|seen| seen.op <= last);
        let meanwhile = seen.get(from..to).unwrap_or_default();
        if meanwhile.len() < 2 {
            return (Vec::new(), 0);
        }
        let shown = meanwhile.len().min(SHOWN_MAX);
        (meanwhile[..shown].to_vec(), (meanwhile.len() - shown) as u64)
    }
}
