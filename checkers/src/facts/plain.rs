//! Plain sends, taken in by a short way.

use kchaos_core::{OpType, PlainSend};

use super::{Facts, Outcome, outcome};

impl Facts {
    /// Takes in a send that goes as most do; `false`: it does not, nothing was done, and [`Facts::update`] knows what to do. The client of an end
    /// becomes that of its invocation. What [`Facts::sends`] and the others say is of an earlier op.
    #[inline]
    pub(crate) fn plain_send(&mut self, plain: &mut PlainSend) -> bool {
        let PlainSend { index, send, process, op_type, .. } = *plain;
        if self.txns.has_passed() {
            self.settle_txns();
        }
        let Some(invocation) = self.open.get_mut(u64::from(process)) else { return false };
        if op_type == OpType::Invoke {
            if invocation.is_open {
                return false;
            }
            (invocation.is_open, invocation.client, invocation.in_txn, invocation.txn) = (true, plain.client, false, 0);
            invocation.sends.clear();
            let id = self.logs.get_mut(send.key).invoked(send.value, index, false);
            invocation.sends.push((send, id));
        } else {
            let [(asked, id)] = invocation.sends[..] else { return false };
            if !invocation.is_open || invocation.in_txn || (asked.key, asked.value) != (send.key, send.value) {
                return false;
            }
            invocation.is_open = false;
            plain.client = invocation.client;
            let outcome = outcome(op_type, &send);
            self.logs.get_mut(send.key).completed(&send, Some(id), outcome, index, false);
            self.counts.acknowledged_values += u64::from(outcome == Outcome::Ok);
            self.counts.ok_sends += u64::from(op_type == OpType::Ok);
        }
        self.counts.ops += 1;
        true
    }
}
