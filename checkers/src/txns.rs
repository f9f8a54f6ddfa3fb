//! The transactions of a history: what each sent, how it ended, and when its commit was invoked.
//!
//! Why a table: whether a value may be seen depends on its transaction's commit, which the history tells later and elsewhere. Each
//! [`crate::log::Written`] names its transaction; a history without transactions has an empty table.
//!
//! **Invariant of absence:** a time that cannot be (a commit invoked outside its own op) is no evidence: [`Txn::commit_ns`] is then `None`.
//!
//! Memory: 48 bytes for a transaction, 16 for each of its sends.

use kchaos_core::{Key, Op};

use crate::log::{Id, OpRef, Outcome};

/// A transaction's place in the table, plus one; 0 is none.
pub(crate) type TxnId = u32;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Txn {
    pub(crate) invoked: OpRef,
    pub(crate) completed: OpRef,
    begun_ns: u64,
    /// `u64::MAX` where it is not known.
    commit_ns: u64,
    first_send: u32,
    sends: u32,
    pub(crate) outcome: Outcome,
}

impl Txn {
    /// When its commit was invoked, if the history tells and it can be true.
    pub(crate) fn commit_ns(&self) -> Option<u64> {
        (self.commit_ns != u64::MAX).then_some(self.commit_ns)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.outcome == Outcome::Open
    }
}

#[derive(Default)]
pub(crate) struct Txns {
    txns: Vec<Txn>,
    sends: Vec<(Key, Id)>,
    open: u32,
}

impl Txns {
    pub(crate) fn begin(&mut self, op: &Op) -> TxnId {
        let first_send = u32::try_from(self.sends.len()).unwrap_or(u32::MAX);
        let invoked = if op.op_type.is_completion() { OpRef::default() } else { OpRef::new(op.index) };
        let begun_ns = if op.op_type.is_completion() { 0 } else { op.time_ns };
        let completed = OpRef::default();
        let outcome = Outcome::Open;
        self.txns.push(Txn { invoked, completed, begun_ns, commit_ns: u64::MAX, first_send, sends: 0, outcome });
        self.open = self.open.saturating_add(1);
        TxnId::try_from(self.txns.len()).unwrap_or(0)
    }

    /// Adds a send to the transaction that was begun last.
    pub(crate) fn sends(&mut self, key: Key, id: Id) {
        if let Some(txn) = self.txns.last_mut() {
            txn.sends = txn.sends.saturating_add(1);
            self.sends.push((key, id));
        }
    }

    pub(crate) fn end(&mut self, txn: TxnId, op: &Op, outcome: Outcome) {
        let Some(txn) = (txn as usize).checked_sub(1).and_then(|at| self.txns.get_mut(at)) else { return };
        self.open = self.open.saturating_sub(u32::from(txn.is_open()));
        (txn.outcome, txn.completed) = (outcome, OpRef::new(op.index));
        let possible = txn.begun_ns..=op.time_ns;
        txn.commit_ns = op.extra.commit_time_ns.filter(|commit| possible.contains(commit)).unwrap_or(u64::MAX);
    }

    /// Its op will never complete.
    pub(crate) fn abandon(&mut self, txn: TxnId) {
        let open = self.get(txn).is_some_and(Txn::is_open);
        self.open = self.open.saturating_sub(u32::from(open));
        if let Some(txn) = (txn as usize).checked_sub(1).and_then(|at| self.txns.get_mut(at))
            && open
        {
            txn.outcome = Outcome::Info;
        }
    }

    pub(crate) fn get(&self, txn: TxnId) -> Option<&Txn> {
        (txn as usize).checked_sub(1).and_then(|at| self.txns.get(at))
    }

    /// Every transaction, in the order in which the history first speaks of it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TxnId, &Txn)> {
        (1..).zip(&self.txns)
    }

    /// What a transaction sent.
    pub(crate) fn sent(&self, txn: TxnId) -> &[(Key, Id)] {
        let Some(txn) = self.get(txn) else { return &[] };
        let first = txn.first_send as usize;
        self.sends.get(first..first.saturating_add(txn.sends as usize)).unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.txns.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.txns.is_empty()
    }

    /// How many are invoked and not completed.
    pub(crate) fn open(&self) -> u32 {
        self.open
    }
}
