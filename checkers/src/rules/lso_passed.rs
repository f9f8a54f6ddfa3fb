//! `lso-passed`: a read_committed poll returned an offset beyond one of a transaction whose commit had not been invoked (rule R6).
//!
//! Readers of committed stop at the last stable offset, which is below the first offset of every open transaction; a transaction is open
//! from its first record until its commit is asked for. So a poll that completed before that commit was invoked, and returned a greater
//! offset, passed it. Only transactions that certainly committed count: one that aborted may have been ended earlier by its coordinator.
//!
//! Counted: pairs of a transaction and a key. What this cannot see: transactions without a `commit-time` or with unknown offsets, and
//! polls of more than 4096 steps of progress before an open transaction ends.

use std::collections::{BTreeMap, VecDeque};

use kchaos_core::{Key, Offset, Op, OpType, Value, Verdict};

use crate::facts::{Facts, polls};
use crate::hash::IntMap;
use crate::log::{Isolation, OpRef};
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example, hears};
use crate::txns::{Txn, TxnId};

pub(crate) const SPEC: Spec = Spec {
    name: "lso-passed",
    about: "readers of committed do not pass a transaction before its commit was invoked",
    anomalies: &["lso-passed"],
    stable: true,
    hears: hears::POLL_END | hears::TXN_END,
    build: || Box::new(LsoPassed::default()),
};

const MAX_STEPS: usize = 4096;

#[derive(Default)]
struct LsoPassed {
    /// By key: the polls that got further than all before them, while a transaction was open.
    steps: IntMap<Key, VecDeque<Step>>,
    passed: BTreeMap<(TxnId, Key), Passed>,
}

#[derive(Clone, Copy)]
struct Step {
    offset: Offset,
    at_ns: u64,
    op: OpRef,
}

struct Passed {
    txn: Txn,
    value: Value,
    offset: Offset,
    by: Step,
}

impl Rule for LsoPassed {
    fn update(&mut self, op: &Op, facts: &Facts) {
        if op.op_type == OpType::Invoke || facts.txns().is_empty() {
            return;
        }
        if facts.txn() != 0 {
            self.close(op, facts);
        }
        if facts.isolation() == Isolation::Committed {
            self.read(op, facts);
        }
    }

    fn verdict(&self, facts: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        for ((id, key), Passed { txn, value, offset, by }) in &self.passed {
            // One that is settled committed.
            if facts.txns().get(*id).is_some() && !facts.is_txn_committed(*id) {
                continue;
            }
            findings.add("lso-passed", || {
                let explanation = format!(
                    "a read_committed poll{} that completed at {} ns returned offset {} of key {key}, beyond value {value} at offset {offset}, \
                     whose transaction{} invoked commit at {} ns: it should have stopped before offset {offset}",
                    cite(by.op),
                    by.at_ns,
                    by.offset,
                    cite(txn.completed),
                    txn.commit_ns().unwrap_or_default(),
                );
                example(*key, vec![*value], vec![*offset, by.offset], &[txn.invoked, txn.completed, by.op], explanation)
            });
        }
        findings.verdict()
    }
}

impl LsoPassed {
    fn close(&mut self, op: &Op, facts: &Facts) {
        let Some(txn) = facts.txns().get(facts.txn()).filter(|_| op.op_type != OpType::Fail) else { return };
        let Some(commit_ns) = txn.commit_ns() else { return };
        for send in facts.sends() {
            let Some(steps) = self.steps.get(&send.key) else { continue };
            let seen = || facts.log(send.key).and_then(|log| log.find_live(send.value)).map(|written| written.offset);
            let Some(offset) = send.offset.or_else(seen).filter(|offset| *offset >= 0) else { continue };
            if steps.back().is_none_or(|last| last.offset <= offset) {
                continue;
            }
            let beyond = steps.partition_point(|step| step.offset <= offset);
            let by = steps.range(beyond..).filter(|step| step.at_ns < commit_ns).min_by_key(|step| (step.at_ns, step.offset));
            if let Some(by) = by {
                self.passed.entry((facts.txn(), send.key)).or_insert(Passed { txn: *txn, value: send.value, offset, by: *by });
            }
        }
    }

    fn read(&mut self, op: &Op, facts: &Facts) {
        let own_commit = facts.txns().get(facts.txn()).and_then(|txn| txn.commit_ns());
        let at_ns = own_commit.unwrap_or(op.time_ns);
        for (key, records) in polls(&op.body).flat_map(|polled| &polled.0) {
            let Some(offset) = records.iter().map(|(offset, _)| *offset).max() else { continue };
            let steps = self.steps.entry(*key).or_default();
            if facts.txns().open() == 0 {
                // Who polled before a transaction was begun cannot have passed it.
                steps.clear();
                continue;
            }
            if steps.back().is_none_or(|last| last.offset < offset) {
                if steps.len() >= MAX_STEPS {
                    steps.pop_front();
                }
                steps.push_back(Step { offset, at_ns, op: OpRef::new(op.index) });
            }
        }
    }
}
