//! What stands beside an op, and what is JSON.

use std::collections::BTreeMap;

use kchaos_core::{Body, Extra, Key, MicroOp, Op, Polled};

use super::{Decoder, unknown};
use crate::block::Fault;
use crate::encode::BESIDE_PREFIX;
use crate::kind::Kind;
use crate::layout::Id;
use crate::ops::Pools;

/// In a slot: anything may stand beside the op.
const ANYTHING: u32 = 1 << 21;
/// What stands beside the sends of a healthy run.
const OFTEN: u32 = Kind::INTENDED | Kind::INTENDED_AS_OPEN | Kind::NODE;

impl Decoder {
    /// Writes what stands beside the op, and takes away what stood beside the one before it in this slot.
    #[inline(never)]
    pub(super) fn decorate(
        &mut self,
        op: &mut Op,
        flags: u32,
        slot: &mut u32,
        actor: usize,
        key: Option<usize>,
        pools: &mut Pools,
    ) -> Result<(), Fault> {
        let stale = std::mem::replace(slot, flags);
        if (flags | stale) & !OFTEN != 0 {
            self.decorate_rarely(op, flags, stale, actor, pools)?;
        }
        if flags & Kind::INTENDED != 0 {
            self.intended_ns = self.intended_ns.wrapping_add(self.next(Id::Intended) as u64);
            self.block.actors[actor].intended_ns = self.intended_ns;
        }
        let is_intended = flags & (Kind::INTENDED | Kind::INTENDED_AS_OPEN) != 0;
        op.extra.intended_ns = is_intended.then_some(self.block.actors[actor].intended_ns);
        if flags & Kind::NODE == 0 {
            pools.unset(&mut op.node);
            return Ok(());
        }
        let code = self.next(Id::Node);
        let last = match key {
            Some(key) => &mut self.block.keys[key].node,
            None => &mut self.other_node,
        };
        if code != 0 {
            *last = code;
        }
        let number = *last;
        pools.set(&mut op.node, self.text(number)?);
        Ok(())
    }

    #[inline(never)]
    fn decorate_rarely(&mut self, op: &mut Op, flags: u32, stale: u32, actor: usize, pools: &mut Pools) -> Result<(), Fault> {
        let extra = &mut op.extra;
        if stale & (ANYTHING | Kind::BESIDE) != 0 {
            *extra = Extra::default();
        }
        if stale & Kind::EPOCHS != 0 {
            extra.leader_epochs.clear();
        }
        extra.is_final = flags & Kind::FINAL != 0;
        let (isolation, group) = (self.block.actors[actor].isolation, self.block.actors[actor].group);
        for (number, text) in [(isolation, &mut extra.isolation), (group, &mut extra.group)] {
            match number {
                0 => pools.unset(text),
                _ => pools.set(text, self.text(i64::from(number))?),
            }
        }
        let commit_ns = if flags & Kind::COMMIT_TIME != 0 { Some(self.next(Id::CommitTime)) } else { None };
        extra.commit_time_ns = commit_ns.map(|ahead| op.time_ns.wrapping_add(ahead as u64));
        if flags & Kind::ERROR != 0 {
            let number = self.next(Id::Error).wrapping_add(1);
            pools.set(&mut op.error, self.text(number)?);
        } else {
            pools.unset(&mut op.error);
        }
        if flags & Kind::BESIDE != 0 {
            let rest = self.json(BESIDE_PREFIX)?.extra;
            let extra = &mut op.extra;
            (extra.rebalance_log, extra.leader_epochs, extra.corrupt) = (rest.rebalance_log, rest.leader_epochs, rest.corrupt);
            (extra.version, extra.zxid, extra.reset) = (rest.version, rest.zxid, rest.reset);
        }
        Ok(())
    }

    /// An epoch for each batch, in their order.
    #[inline(never)]
    pub(super) fn epochs(&mut self, op: &mut Op) -> Result<(), Fault> {
        let Op { body, extra: Extra { leader_epochs, .. }, .. } = op;
        match body {
            Body::Poll(polled) => self.epochs_of(polled.as_ref(), leader_epochs),
            Body::Txn(parts) => parts.iter().try_for_each(|part| match part {
                MicroOp::Poll(polled) => self.epochs_of(polled.as_ref(), leader_epochs),
                MicroOp::Send(_) => Ok(()),
            }),
            _ => Ok(()),
        }
    }

    fn epochs_of(&mut self, polled: Option<&Polled>, epochs: &mut BTreeMap<Key, i32>) -> Result<(), Fault> {
        for (key, _) in polled.into_iter().flat_map(|polled| &polled.0) {
            let epoch = self.last_epoch.wrapping_add(self.next(Id::Epoch));
            epochs.insert(*key, i32::try_from(epoch).map_err(|_| format!("{epoch} is no leader epoch"))?);
            self.last_epoch = epoch;
        }
        Ok(())
    }

    /// A text by its number and one.
    pub(super) fn text(&self, number: i64) -> Result<&str, Fault> {
        let range = usize::try_from(number).ok().and_then(|number| self.block.texts.get(number.wrapping_sub(1)));
        range.and_then(|range| self.block.text.get(range.clone())).ok_or_else(|| unknown("text", number))
    }

    /// An op that is all JSON.
    #[cold]
    pub(super) fn whole(&mut self, op: &mut Op, kind: Kind, slot: &mut u32) -> Result<(), Fault> {
        *op = self.json("{")?;
        *slot = ANYTHING;
        if op.op_type == kind.op_type() { Ok(()) } else { Err("an op's JSON has another type than its kind".into()) }
    }

    /// The next JSON text, with what comes before it.
    fn json(&mut self, prefix: &str) -> Result<Op, Fault> {
        let length = usize::try_from(self.next(Id::JsonLengths)).unwrap_or(usize::MAX);
        let range = self.block.json.start..self.block.json.start.saturating_add(length);
        if range.end > self.block.json.end {
            return Err("an op's JSON goes beyond the JSON".into());
        }
        self.json.clear();
        self.json.extend_from_slice(prefix.as_bytes());
        self.json.extend_from_slice(&self.block.bytes[range.clone()]);
        self.block.json.start = range.end;
        Op::read_json(&self.json).map(|(op, _, _)| op).map_err(|error| format!("op {}'s JSON: {error}", self.next_index).into())
    }
}
