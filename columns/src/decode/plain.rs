//! A block told to a listener who takes plain sends as such: no op is made of nine in ten.

use kchaos_core::{OpSink, OpType, PlainSend, Process, Send};

use super::{Decoder, unknown};
use crate::block::Fault;
use crate::kind::Kind;
use crate::layout::Id;
use crate::ops::{Ops, PORTION_OPS};

/// What may stand beside a plain send.
const BESIDE_PLAIN: u32 = Kind::INTENDED | Kind::INTENDED_AS_OPEN | Kind::NODE;

const SLOTS: usize = 3;

impl Decoder {
    /// Tells of the next of the block. What was told before an error is not to be believed.
    pub(crate) fn tell(&mut self, ops: &mut Ops, sink: &mut impl OpSink) -> Result<(), Fault> {
        let count = self.ops_left.min(PORTION_OPS as u64) as usize;
        self.fill(count);
        ops.grow(SLOTS);
        let Ops { slots, beside, pools, .. } = ops;
        let mut single = 0;
        for position in 0..count {
            let [kind, actor, time] = [self.of_each[0][position], self.of_each[1][position], self.of_each[2][position]];
            let Some(kind) = self.block.kinds.get(kind as usize).copied() else { return Err(unknown("kind", kind)) };
            self.time_ns = self.time_ns.wrapping_add(time as u64);
            let (index, of_kind) = (self.next_index, kind.0 & !Kind::DECORATED);
            self.next_index += 1;
            // What is all JSON has no actor.
            if (of_kind == Kind::INVOKED_SEND || of_kind == Kind::ACKNOWLEDGED_SEND)
                && let Some(known) = self.block.actors.get_mut(actor as usize)
                && let Process::Client(process) = known.process
                && let flags = kind.0 & Kind::DECORATED | known.flags
                && flags & !BESIDE_PLAIN == 0
            {
                let (columns, bytes, keys) = (&mut self.block.columns, &self.block.bytes, &mut self.block.keys);
                let client = known.client;
                let (op_type, send) = if of_kind == Kind::ACKNOWLEDGED_SEND {
                    let left_over = columns[Id::Offset as usize].next(bytes);
                    let Some(state) = keys.get_mut(known.open_key as usize) else { return Err(unknown("key", known.open_key.into())) };
                    let value = known.open_value;
                    let offset = Some(state.acknowledged(value, left_over, self.offsets_by_value));
                    (OpType::Ok, Send { key: state.key, value, offset })
                } else {
                    let number = columns[Id::Key as usize].next(bytes);
                    let left_over = columns[Id::Value as usize].next(bytes);
                    let Some(state) = keys.get_mut(number as usize) else { return Err(unknown("key", number)) };
                    let value = state.sent(left_over, self.values_together.then_some(self.next_value));
                    (state.value, self.next_value) = (value.wrapping_add(1), value.wrapping_add(1));
                    (known.open_key, known.open_value) = (number as u32, value);
                    (OpType::Invoke, Send { key: state.key, value, offset: None })
                };
                let time_ns = self.time_ns;
                let start_ns = if flags == 0 { time_ns } else { self.beside_plain(actor as usize, flags)? };
                sink.plain_send(&PlainSend { index, time_ns, start_ns, send, process, client, op_type });
                single += 1;
                continue;
            }
            // Polls have ops of their own, whose bodies stay what they are.
            let at = match of_kind {
                Kind::INVOKED_POLL => 1,
                Kind::OK_POLL => 2,
                _ => 0,
            };
            let (op, slot) = (&mut slots[at], &mut beside[at]);
            (op.index, op.time_ns) = (index, self.time_ns);
            self.other(op, kind, actor, slot, pools)?;
            sink.op(op);
        }
        self.end_portion(count, single)
    }

    /// When the op was meant to start. Takes what else stands beside it.
    #[inline(always)]
    fn beside_plain(&mut self, actor: usize, flags: u32) -> Result<u64, Fault> {
        if flags & Kind::INTENDED != 0 {
            self.intended_ns = self.intended_ns.wrapping_add(self.next(Id::Intended) as u64);
            self.block.actors[actor].intended_ns = self.intended_ns;
        }
        let open = &self.block.actors[actor];
        let is_intended = flags & (Kind::INTENDED | Kind::INTENDED_AS_OPEN) != 0;
        let start_ns = if is_intended { open.intended_ns } else { self.time_ns };
        if flags & Kind::NODE != 0 {
            let key = open.open_key as usize;
            let code = self.next(Id::Node);
            let last = &mut self.block.keys[key].node;
            if code != 0 {
                *last = code;
            }
            let number = *last;
            self.text(number)?;
        }
        Ok(start_ns)
    }
}
