//! A block told to a listener who takes plain sends and polls as such: of a healthy history hardly any op is made.

use kchaos_core::{Key, Offset, OpSink, OpType, PlainPoll, PlainSend, PollBegin, Send, Value};

use super::{Decoder, unknown};
use crate::block::Fault;
use crate::kind::{Kind, Way};
use crate::layout::Id;
use crate::ops::{KEEP_RECORDS, Ops, TOLD_OPS};

impl Decoder {
    /// Tells of the next of the block. What was told before an error is not to be believed.
    pub(crate) fn tell(&mut self, ops: &mut Ops, sink: &mut impl OpSink) -> Result<(), Fault> {
        let count = self.ops_left.min(TOLD_OPS as u64) as usize;
        self.fill(count);
        ops.grow(1);
        let (first_index, mut time_ns) = (self.next_index, self.time_ns);
        self.next_index += count as u64;
        // Those that count themselves.
        let mut others = 0;
        for position in 0..count {
            let [kind, actor, time] = [self.of_each[0][position], self.of_each[1][position], self.of_each[2][position]];
            let Some((kind, way)) = self.block.kinds.get(kind as usize).copied() else { return Err(unknown("kind", kind)) };
            time_ns = time_ns.wrapping_add(time as u64);
            let index = first_index + position as u64;
            // What is all JSON has no actor.
            let known = self.block.actors.get_mut(actor as usize).filter(|known| known.plain.0 & way.bit() != 0);
            let Some(known) = known else {
                others += 1;
                self.tell_op(kind, actor, (index, time_ns), ops, sink)?;
                continue;
            };
            let process = known.plain.1;
            if way >= Way::PollBegins {
                others += u64::from(way == Way::PollEnds);
                self.tell_poll(way, actor as usize, PollBegin { index, time_ns, process }, ops, sink)?;
                continue;
            }
            let (client, flags) = (known.client, kind.0 & Kind::DECORATED);
            let (columns, bytes, keys) = (&mut self.block.columns, &self.block.bytes, &mut self.block.keys);
            // Two calls, and each knows what it tells of.
            if way == Way::SendEnds {
                let left_over = columns[Id::Offset as usize].next(bytes);
                let Some(state) = keys.get_mut(known.open_key as usize) else { return Err(unknown("key", known.open_key.into())) };
                let value = known.open_value;
                let offset = Some(state.acknowledged(value, left_over, self.offsets_by_value));
                let send = Send { key: state.key, value, offset };
                let start_ns = if flags == 0 { time_ns } else { self.beside_plain(actor as usize, flags, time_ns)? };
                sink.plain_send(&PlainSend { index, time_ns, start_ns, send, process, client, op_type: OpType::Ok });
            } else {
                let number = columns[Id::Key as usize].next(bytes);
                let left_over = columns[Id::Value as usize].next(bytes);
                let Some(state) = keys.get_mut(number as usize) else { return Err(unknown("key", number)) };
                let value = state.sent(left_over, self.values_together.then_some(self.next_value));
                (state.value, self.next_value) = (value.wrapping_add(1), value.wrapping_add(1));
                (known.open_key, known.open_value) = (number as u32, value);
                let send = Send { key: state.key, value, offset: None };
                let start_ns = if flags == 0 { time_ns } else { self.beside_plain(actor as usize, flags, time_ns)? };
                sink.plain_send(&PlainSend { index, time_ns, start_ns, send, process, client, op_type: OpType::Invoke });
            }
        }
        self.time_ns = time_ns;
        self.end_portion(count, count as u64 - others)
    }

    /// One that is not plain.
    #[cold]
    fn tell_op(&mut self, kind: Kind, actor: i64, stamp: (u64, u64), ops: &mut Ops, sink: &mut impl OpSink) -> Result<(), Fault> {
        let Ops { slots, beside, pools, .. } = ops;
        let (op, slot) = (&mut slots[0], &mut beside[0]);
        (op.index, op.time_ns) = stamp;
        self.other(op, kind, actor, slot, pools)?;
        sink.op(op);
        Ok(())
    }

    #[inline(always)]
    fn tell_poll(&mut self, way: Way, actor: usize, begin: PollBegin, ops: &mut Ops, sink: &mut impl OpSink) -> Result<(), Fault> {
        if way == Way::PollBegins {
            sink.poll_begins(&begin);
            return Ok(());
        }
        let PollBegin { index, time_ns, process } = begin;
        let batches = self.plain_batches(&mut ops.polled)?;
        let isolation = match self.block.actors[actor].isolation {
            0 => None,
            number => Some(self.text(i64::from(number))?),
        };
        sink.plain_poll(&PlainPoll { index, time_ns, process, isolation, polled: &ops.polled[..batches] });
        Ok(())
    }

    /// What a poll returned, into lists that are used again and again. Gives how many there are.
    #[inline(always)]
    fn plain_batches(&mut self, polled: &mut Vec<(Key, Vec<(Offset, Value)>)>) -> Result<usize, Fault> {
        let batches = self.batches()? as usize;
        polled.truncate(batches.max(KEEP_RECORDS));
        for at in 0..batches {
            if at == polled.len() {
                polled.push((0, Vec::new()));
            }
            let (key, records) = &mut polled[at];
            records.clear();
            if records.capacity() > KEEP_RECORDS {
                *records = Vec::new();
            }
            *key = self.batch(records)?;
        }
        Ok(batches)
    }

    /// When the op was meant to start. Takes what else stands beside it.
    #[inline(always)]
    fn beside_plain(&mut self, actor: usize, flags: u32, time_ns: u64) -> Result<u64, Fault> {
        if flags & Kind::INTENDED != 0 {
            self.intended_ns = self.intended_ns.wrapping_add(self.next(Id::Intended) as u64);
            self.block.actors[actor].intended_ns = self.intended_ns;
        }
        let open = &self.block.actors[actor];
        let is_intended = flags & (Kind::INTENDED | Kind::INTENDED_AS_OPEN) != 0;
        let start_ns = if is_intended { open.intended_ns } else { time_ns };
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
