//! `G1b` (Adya's intermediate read): a value of a committed transaction is missing strictly inside the range that one poll returned.
//!
//! A poll that ends midway is legal: only a gap with a later record of the same poll behind it counts. Readers of committed stop before an
//! open transaction and readers of uncommitted are given everything, so at neither isolation may a committed value be left out, of a
//! transaction that was invoked before the poll ended (or ended, where the history tells no invocation). Keys in the op's rebalance log are
//! exempt, as are offsets below the log's start and superseded ones of a compacted topic. Such a gap is an `int-poll-skip` as well.
//!
//! Counted by value. Gaps are everywhere (each transaction's marker leaves one): those that came to nothing are forgotten with their part of
//! the log.

use std::collections::BTreeSet;

use kchaos_core::Verdict;

use crate::facts::Facts;
use crate::gaps::Gap;
use crate::log::Isolation;
use crate::pages::Slot;
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example, hears};

pub(crate) const SPEC: Spec = Spec {
    name: "intermediate-read",
    about: "one poll leaves out nothing of a committed transaction that lies between what it returned",
    anomalies: &["G1b"],
    stable: true,
    hears: hears::NOTHING,
    build: || Box::new(IntermediateRead),
};

struct IntermediateRead;

impl Rule for IntermediateRead {
    fn verdict(&self, facts: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        let is_passed = |Gap { key, from, to, .. }: &&Gap| facts.is_any_owed_between(*key, *from, *to, Isolation::Committed);
        let mut gaps: Vec<&Gap> = facts.gaps().iter().filter(is_passed).collect();
        // Of all who passed over a value, the first tells.
        gaps.sort_unstable_by_key(|gap| (gap.key, gap.from, gap.to, gap.op.get()));
        let mut told = BTreeSet::new();
        for Gap { key, from, to, op, .. } in gaps.into_iter().copied() {
            let Some(log) = facts.log(key) else { continue };
            for (offset, slot) in facts.owed_between(key, from, to, Isolation::Committed) {
                if matches!(slot, Slot::Packed(_)) || log.live(slot).is_some_and(|written| written.is_settled()) {
                    // Whether a transaction wrote it, and which, is known to a pass that keeps it.
                    log.want(log.value(slot));
                    continue;
                }
                let Some(written) = log.live(slot).filter(|written| written.is_in_txn() && !written.is_sent_twice()) else { continue };
                let Some(txn) = facts.txns().get(written.txn).filter(|_| facts.is_txn_committed(written.txn)) else { continue };
                // Begun after the poll ended, it landed too far ahead (`reordered`): the poll could not return it.
                let is_begun = txn.invoked.get().or(txn.completed.get()) < op.get();
                if !is_begun || !told.insert((key, written.value)) {
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
