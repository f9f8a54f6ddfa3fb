//! `G1b` (Adya's intermediate read): a value of a committed transaction is missing strictly inside the range that one poll returned.
//!
//! A poll that ends midway is legal: only a gap with a later record of the same poll behind it counts. Readers of committed stop before an
//! open transaction and readers of uncommitted are given everything, so at neither isolation may a committed value be left out. Keys in the
//! op's rebalance log are exempt, as are offsets below the log's start. Such a gap is an `int-poll-skip` as well.
//!
//! Counted by value. Gaps are everywhere (each transaction's marker leaves one), and all readers see the same ones: each is kept once.

use std::collections::BTreeSet;

use kchaos_core::{Key, Offset, Op, OpType, Verdict};

use crate::facts::{Facts, polls};
use crate::hash::IntMap;
use crate::log::{Isolation, OpRef};
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example, hears};

pub(crate) const SPEC: Spec = Spec {
    name: "intermediate-read",
    about: "one poll leaves out nothing of a committed transaction that lies between what it returned",
    anomalies: &["G1b"],
    stable: true,
    hears: hears::ENDS_OF_POLLS,
    build: || Box::new(IntermediateRead::default()),
};

#[derive(Default)]
struct IntermediateRead {
    /// What was passed over inside one poll, by the first op that did so.
    gaps: IntMap<(Key, Offset, Offset), OpRef>,
}

impl Rule for IntermediateRead {
    fn update(&mut self, op: &Op, facts: &Facts) {
        if op.op_type == OpType::Invoke || facts.txns().is_empty() {
            return;
        }
        for polled in polls(&op.body) {
            for (key, records) in &polled.0 {
                for two in records.windows(2) {
                    let (from, to) = (two[0].0, two[1].0);
                    let gap = from >= 0 && from.checked_add(1).is_some_and(|next| next < to);
                    if gap && !op.extra.rebalance_log.iter().any(|event| event.keys.contains(key)) {
                        self.gaps.entry((*key, from, to)).or_insert(OpRef::new(op.index));
                    }
                }
            }
        }
    }

    fn verdict(&self, facts: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        let is_passed = |(key, from, to): &(Key, Offset, Offset)| {
            let from = (*from).max(facts.log_start(*key).saturating_sub(1));
            facts.log(*key).is_some_and(|log| log.is_any_visible_between(from, *to, Isolation::Committed))
        };
        let mut gaps: Vec<_> = self.gaps.iter().map(|(gap, op)| (*gap, *op)).filter(|(gap, _)| is_passed(gap)).collect();
        gaps.sort_unstable_by_key(|((key, from, to), op)| (*key, *from, *to, op.get()));
        let mut told = BTreeSet::new();
        for ((key, from, to), op) in gaps {
            let Some(log) = facts.log(key) else { continue };
            let from_start = from.max(facts.log_start(key).saturating_sub(1));
            let between = log.visible_between(from_start, to, Isolation::Committed);
            let live = between.filter_map(|(offset, slot)| Some((offset, log.live(slot)?)));
            for (offset, written) in live.filter(|(_, written)| written.is_in_txn() && !written.is_sent_twice()) {
                let Some(txn) = facts.txns().get(written.txn).filter(|_| facts.is_txn_committed(written.txn)) else { continue };
                if !told.insert((key, written.value)) {
                    continue;
                }
                findings.add("G1b", || {
                    let explanation = format!(
                        "one poll{} returned offsets {from} and {to} of key {key} and not value {} at offset {offset} between them, which a \
                         committed transaction{} wrote: it should have returned it",
                        cite(op),
                        written.value,
                        cite(txn.completed),
                    );
                    example(key, vec![written.value], vec![from, offset, to], &[txn.invoked, txn.completed, op], explanation)
                });
            }
        }
        findings.verdict()
    }
}
