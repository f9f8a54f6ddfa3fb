//! `stale-leader-ack`: a write acknowledged under a leader epoch that had already been replaced.
//!
//! Legal until the old leader learns of it, so it is ignored; it is evidence for what else is found (a value so acknowledged and then lost
//! was lost by the change of leaders). An epoch had been replaced if a greater one was told, or seen by a consumer, before the send was
//! invoked. Told by:
//!
//! - `leader-epochs` beside a completion that sends and polls nothing: `{"0": 3}`, by key, the leader epoch under which it was acknowledged;
//! - `leader-epochs` beside a completion that polls: the epoch of the last record of the poll, which existed then;
//! - ops `leader-epochs` of the process "nemesis": `{"0": {"leader": 2, "leader_epoch": 4}}`, what the controller had decided by then;
//!   `final-offsets` tell the same.
//!
//! Counted: values. What this cannot see: acknowledgements that tell no epoch, and epochs replaced while the send was on its way.

use kchaos_core::{Body, Key, Offset, Op, OpType, Process, Value, Verdict};

use crate::facts::{Facts, polls};
use crate::hash::IntMap;
use crate::log::OpRef;
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example, hears};
use crate::told::{by_number, number, told};

pub(crate) const SPEC: Spec = Spec {
    name: "stale-leader",
    about: "who is acknowledged is acknowledged by the leader of the current epoch",
    anomalies: &["stale-leader-ack"],
    stable: true,
    hears: hears::SEND_END | hears::TXN_END | hears::POLL_END | hears::NEMESIS,
    build: || Box::new(StaleLeader::default()),
};

#[derive(Clone, Copy)]
struct Epoch {
    epoch: i64,
    op: OpRef,
}

#[derive(Default)]
struct StaleLeader {
    /// The leader epochs of each key that are known to have begun, each with the op that first told of it, while they grew.
    known: IntMap<Key, Vec<Epoch>>,
    stale: Vec<Stale>,
}

struct Stale {
    key: Key,
    value: Value,
    offset: Option<Offset>,
    epoch: i64,
    known: Epoch,
    op: OpRef,
}

impl Rule for StaleLeader {
    fn update(&mut self, op: &Op, facts: &Facts) {
        if op.process == Process::Nemesis {
            for value in ["leader-epochs", "final-offsets"].iter().filter_map(|name| told(op, name)) {
                by_number(value).for_each(|(key, leader)| self.raise(key, number(leader, "leader_epoch"), op));
            }
            return;
        }
        if op.extra.leader_epochs.is_empty() || op.op_type == OpType::Invoke {
            return;
        }
        let polled = polls(&op.body).next().is_some();
        if !polled && matches!(op.body, Body::Send(_) | Body::Txn(_)) {
            self.end(op, facts);
        }
        if polled || op.op_type == OpType::Ok {
            let epochs = op.extra.leader_epochs.iter();
            epochs.for_each(|(key, epoch)| self.raise(*key, Some(i64::from(*epoch)), op));
        }
    }

    fn verdict(&self, _: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        for Stale { key, value, offset, epoch, known, op } in &self.stale {
            findings.add("stale-leader-ack", || {
                let place = offset.map_or_else(String::new, |offset| format!(" at offset {offset}"));
                let explanation = format!(
                    "value {value} of key {key} was acknowledged{place} under leader epoch {epoch}{}, though epoch {} had begun before it was \
                     sent{}: the leader did not know yet that it was replaced",
                    cite(*op),
                    known.epoch,
                    cite(known.op),
                );
                example(*key, vec![*value], offset.iter().copied().collect(), &[known.op, *op], explanation)
            });
        }
        findings.verdict()
    }
}

impl StaleLeader {
    fn raise(&mut self, key: Key, epoch: Option<i64>, op: &Op) {
        let Some(epoch @ 0..) = epoch else { return };
        let known = self.known.entry(key).or_default();
        if known.last().is_none_or(|last| epoch > last.epoch) {
            known.push(Epoch { epoch, op: OpRef::new(op.index) });
        }
    }

    fn end(&mut self, op: &Op, facts: &Facts) {
        let in_txn = matches!(op.body, Body::Txn(_));
        for send in facts.sends() {
            let (key, value) = (send.key, send.value);
            let (Some(epoch), Some(known)) = (op.extra.leader_epochs.get(&key), self.known.get(&key)) else { continue };
            let epoch = i64::from(*epoch);
            let offset = send.offset.filter(|offset| *offset >= 0);
            let acknowledged = op.op_type == OpType::Ok || (op.op_type == OpType::Info && offset.is_some() && !in_txn);
            let written = facts.log(key).and_then(|log| log.find_live(value)).filter(|written| !written.is_sent_twice());
            let Some(invoked) = written.and_then(|written| written.invoked.get()).filter(|_| acknowledged && epoch >= 0) else { continue };
            let before = known.partition_point(|known| known.op.get().is_some_and(|told| told < invoked));
            if let Some(before) = known[..before].last().filter(|before| epoch < before.epoch) {
                self.stale.push(Stale { key, value, offset, epoch, known: *before, op: OpRef::new(op.index) });
            }
        }
    }
}
