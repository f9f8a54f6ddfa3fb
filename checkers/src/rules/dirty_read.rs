//! `dirty-read`: a read_committed poll that completed before the transaction which wrote its value invoked commit (rule R5).
//!
//! Nothing is visible to readers of committed before somebody asked for the commit, whatever the transaction came to later: this also
//! accuses reads of transactions that went on to commit, which [`super::aborted_read`] cannot.
//!
//! A poll inside a transaction completed before that transaction's own commit was invoked, so its time is at most that. Polls of every
//! completion count. Equal times are concurrent, and prove nothing.
//!
//! What this cannot see: transactions whose op tells no `commit-time`, or one that lies outside the op. What an op polled of its own sends
//! is a `precommitted-read`.

use std::collections::BTreeMap;

use kchaos_core::{Key, Op, OpType, Value, Verdict};

use crate::facts::{Facts, polls};
use crate::hash::IntMap;
use crate::log::{Id, Isolation, OpRef};
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example, hears};
use crate::txns::Txn;

pub(crate) const SPEC: Spec = Spec {
    name: "dirty-read",
    about: "readers of committed see nothing before its commit was invoked",
    anomalies: &["dirty-read"],
    stable: true,
    hears: hears::POLL_END | hears::TXN_END,
    build: || Box::new(DirtyRead::default()),
};

#[derive(Default)]
struct DirtyRead {
    /// Values of transactions still open that somebody polled: the earliest such poll.
    early: IntMap<(Key, Id), Poll>,
    dirty: BTreeMap<(Key, Value), Dirty>,
}

#[derive(Clone, Copy)]
struct Dirty {
    poll: Poll,
    txn: Txn,
}

#[derive(Clone, Copy)]
struct Poll {
    at_ns: u64,
    op: OpRef,
}

impl Rule for DirtyRead {
    fn update(&mut self, op: &Op, facts: &Facts) {
        if op.op_type == OpType::Invoke || facts.txns().is_empty() {
            return;
        }
        if facts.txn() != 0 {
            self.close(facts);
        }
        if facts.isolation() == Isolation::Committed && (facts.txn() != 0 || facts.txns().open() > 0) {
            self.read(op, facts);
        }
    }

    fn verdict(&self, facts: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        let told = |((key, value), dirty): (&(Key, Value), &Dirty)| Some((*key, facts.log(*key)?.find(*value)?, *dirty));
        let mut dirty: Vec<_> = self.dirty.iter().filter_map(told).filter(|(_, written, _)| !written.is_sent_twice()).collect();
        dirty.sort_by_key(|(key, written, _)| (*key, written.first()));
        for (key, written, Dirty { poll, txn }) in dirty {
            let Some(commit_ns) = txn.commit_ns() else { continue };
            findings.add("dirty-read", || {
                let explanation = format!(
                    "value {} of key {key} was returned by a read_committed poll{} that completed at {} ns, before its transaction{} invoked \
                     commit at {commit_ns} ns: it should not be seen before",
                    written.value,
                    cite(poll.op),
                    poll.at_ns,
                    cite(txn.completed),
                );
                let offsets = [written.offset].into_iter().filter(|offset| *offset >= 0).collect();
                example(key, vec![written.value], offsets, &[txn.invoked, txn.completed, poll.op], explanation)
            });
        }
        findings.verdict()
    }
}

impl DirtyRead {
    /// The op ended a transaction: which of the polls that saw its values came too early is known now.
    fn close(&mut self, facts: &Facts) {
        let Some(txn) = facts.txns().get(facts.txn()).filter(|_| !self.early.is_empty()) else { return };
        for (key, id, written) in facts.sent(facts.txn()) {
            if let Some(poll) = self.early.remove(&(key, id))
                && txn.commit_ns().is_some_and(|commit_ns| poll.at_ns < commit_ns)
            {
                self.dirty.insert((key, written.value), Dirty { poll, txn: *txn });
            }
        }
    }

    fn read(&mut self, op: &Op, facts: &Facts) {
        let own_commit = facts.txns().get(facts.txn()).and_then(|txn| txn.commit_ns());
        let poll = Poll { at_ns: own_commit.unwrap_or(op.time_ns), op: OpRef::new(op.index) };
        for (key, records) in polls(&op.body).flat_map(|polled| &polled.0) {
            let Some(log) = facts.log(*key) else { continue };
            for (_, value) in records {
                let found = log.find_id(*value).map(|id| (id, log.of(id))).filter(|(_, written)| !written.is_settled());
                let Some((id, written)) = found else {
                    // Settled, or nearly: it committed too late only if the latest of those did.
                    if own_commit.is_some_and(|own| facts.txns().settled_ns().is_some_and(|commit_ns| own < commit_ns)) {
                        log.want(*value);
                    }
                    continue;
                };
                let Some(txn) = facts.txns().get(written.txn).filter(|_| written.txn != facts.txn()) else { continue };
                if txn.is_open() {
                    let earliest = self.early.entry((*key, id)).or_insert(poll);
                    if poll.at_ns < earliest.at_ns {
                        *earliest = poll;
                    }
                } else if own_commit.is_some() && txn.commit_ns().is_some_and(|commit_ns| poll.at_ns < commit_ns) {
                    // Two transactions side by side, of which the writer ended first.
                    self.dirty.entry((*key, *value)).or_insert(Dirty { poll, txn: *txn });
                }
            }
        }
    }
}
