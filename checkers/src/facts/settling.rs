//! What may be forgotten of transactions, and what is settled at the end.

use kchaos_core::{Key, Send};

use crate::log::{Id, Outcome, Written};
use crate::txns::{Txn, TxnId, Txns};

use super::{Facts, Wanted, abandon};

/// What is to become of a transaction that the search for cycles is done with.
struct Judged {
    txn: TxnId,
    committed: bool,
    /// Nothing more need be known of it.
    is_settled: bool,
}

impl Facts {
    /// Forgets what may be forgotten of the transactions that the search for cycles is done with.
    #[cold]
    pub(super) fn settle_txns(&mut self) {
        let mut txns = std::mem::take(&mut self.txns);
        let is_unknown = |txns: &Txns, id| txns.get(id).is_some_and(|txn| txn.outcome == Outcome::Info) && !self.is_committed_of(txns, id);
        let judged: Vec<Judged> = txns.take_passed(is_unknown).into_iter().map(|txn| self.judged(&txns, txn)).collect();
        for Judged { txn, committed, is_settled } in judged {
            for (key, value) in txns.sent(txn).iter().filter(|_| committed) {
                self.logs.get_mut(*key).judged(*value, is_settled);
            }
            txns.judged(txn, is_settled);
        }
        txns.forget();
        self.txns = txns;
        for (_, log) in &mut self.logs.logs {
            log.judged_so_far();
            log.pack_behind();
        }
    }

    fn judged(&self, txns: &Txns, txn: TxnId) -> Judged {
        let committed = self.is_committed_of(txns, txn);
        let mut is_settled = committed;
        for (key, id) in txns.sent(txn).iter().filter(|_| committed) {
            let Some(log) = self.log(*key) else { continue };
            let written = log.of(*id);
            is_settled &= written.txn == txn && log.may_be_settled(*id);
            if log.is_before_judged(written) {
                self.doubt();
            }
        }
        Judged { txn, committed, is_settled }
    }

    /// Called once, when there are no more ops: settles what the reads prove of unknown transactions.
    pub(crate) fn settle(&mut self) {
        if self.txns.has_passed() {
            self.settle_txns();
        }
        self.sends.clear();
        self.invocation.is_open = false;
        let mut open: Vec<u64> = self.open.iter().filter(|(_, doing)| doing.invocation.is_open).map(|(process, _)| process).collect();
        open.sort_unstable();
        for process in open {
            if let Some(doing) = self.open.get_mut(process) {
                abandon(&mut doing.invocation, &mut self.txns, &mut self.unknown_txns);
            }
        }
        for sends in std::mem::take(&mut self.unknown_txns) {
            let read = |send: &Send| self.log(send.key).and_then(|log| log.find_live(send.value));
            // One that is settled had all its values read: nothing more is proved of them.
            if !sends.iter().filter_map(read).any(|written| written.is_read_committed() && !written.is_settled()) {
                continue;
            }
            for send in &sends {
                self.logs.get_mut(send.key).prove(send);
            }
        }
    }

    pub(super) fn sent_of<'a>(&'a self, txns: &'a Txns, txn: TxnId) -> impl Iterator<Item = (Key, Id, &'a Written)> {
        txns.sent(txn).iter().filter_map(|(key, id)| self.log(*key).map(|log| (*key, *id, log.of(*id))))
    }

    pub(super) fn is_committed_of(&self, txns: &Txns, txn: TxnId) -> bool {
        let proved = || self.sent_of(txns, txn).any(|(_, _, written)| written.is_read_committed() && !written.is_sent_twice());
        match txns.get(txn).map(|txn| txn.outcome) {
            Some(Outcome::Ok) => true,
            Some(Outcome::Info | Outcome::Open) => proved(),
            Some(Outcome::Fail) | None => false,
        }
    }

    /// The search for cycles looked at less than there is: what it was done with may be part of others.
    pub(crate) fn doubt(&self) {
        self.doubted.set(true);
    }

    /// What the findings speak of and was forgotten: a pass that keeps it knows it.
    pub(crate) fn wanted(&self) -> Wanted {
        let values = self.logs.logs.iter().map(|(key, log)| (*key, log.wanted())).filter(|(_, values)| !values.is_empty()).collect();
        let doubted = || self.doubted.get() || self.logs.logs.iter().any(|(_, log)| log.is_doubted()) || self.is_any_late();
        Wanted { values, everything: !self.logs.never_pack && doubted() }
    }

    /// A transaction that is not judged committed, and has a value before one that is judged.
    fn is_any_late(&self) -> bool {
        let is_before = |(key, _, written): (Key, Id, &Written)| self.log(key).is_some_and(|log| log.is_before_judged(written));
        let is_late = |(id, txn): (TxnId, &Txn)| !txn.is_judged() && self.is_txn_committed(id) && self.sent(id).any(is_before);
        self.txns.iter().any(is_late)
    }
}
