//! The transactions of a history: what each sent, how it ended, and when its commit was invoked.
//!
//! Why a table: whether a value may be seen depends on its transaction's commit, which the history tells later and elsewhere. Each
//! [`crate::log::Written`] names its transaction; a history without transactions has an empty table.
//!
//! **Invariant of absence:** a time that cannot be (a commit invoked outside its own op) is no evidence: [`Txn::commit_ns`] is then `None`.
//!
//! Memory: 40 bytes for a transaction and 16 for each of its sends, until it is settled: it committed, all its values stand in their logs and
//! were read, and the search for cycles is done with it ([`Txns::passed_to`]). Then nothing is left of it; its values are plain values.
//! Others that the search has passed (failed, of unknown outcome, or with a value that is remarkable) are kept apart.

use std::cell::Cell;
use std::collections::BTreeMap;

use kchaos_core::{Key, Op, Process};

use crate::log::{Id, NOBODY, OpRef, Outcome};

/// A transaction's number, from 1 in the order in which the history first speaks of them; 0 is none.
pub(crate) type TxnId = u32;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Txn {
    pub(crate) invoked: OpRef,
    pub(crate) completed: OpRef,
    begun_ns: u64,
    /// `u64::MAX` where it is not known.
    commit_ns: u64,
    /// Its first in [`Txns::sends`], counted from the beginning of time; wraps.
    first_send: u32,
    sends: u32,
    process: u32,
    pub(crate) outcome: Outcome,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The search for cycles has still to look at it.
    Waiting,
    /// Of no part in any cycle that is not known.
    Judged,
    /// Judged, and nothing more may be asked of it.
    Settled,
}

impl Txn {
    /// When its commit was invoked, if the history tells and it can be true.
    pub(crate) fn commit_ns(&self) -> Option<u64> {
        (self.commit_ns != u64::MAX).then_some(self.commit_ns)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.outcome == Outcome::Open
    }

    pub(crate) fn process(&self) -> Option<u32> {
        (self.process != NOBODY).then_some(self.process)
    }

    /// The search for cycles is done with it.
    pub(crate) fn is_judged(&self) -> bool {
        self.stage != Stage::Waiting
    }
}

/// With what it sent.
type Left = (Txn, Box<[(Key, Id)]>);

#[derive(Default)]
pub(crate) struct Txns {
    txns: Vec<Txn>,
    sends: Vec<(Key, Id)>,
    /// How many were before those in `txns`, and before those in `sends`.
    gone: u32,
    gone_sends: u32,
    /// What is left of those.
    left: BTreeMap<TxnId, Left>,
    /// Those of them that never ended.
    left_unended: Vec<TxnId>,
    open: u32,
    /// In the order of their ends: those that the search for cycles has still to look at.
    ended: Vec<TxnId>,
    /// So many of those it has looked at.
    passed: Cell<usize>,
    /// The latest commit of all that were settled.
    settled_ns: Option<u64>,
}

impl Txns {
    pub(crate) fn begin(&mut self, op: &Op) -> TxnId {
        let first_send = self.gone_sends.wrapping_add(self.sends.len() as u32);
        let invoked = if op.op_type.is_completion() { OpRef::default() } else { OpRef::new(op.index) };
        let begun_ns = if op.op_type.is_completion() { 0 } else { op.time_ns };
        let (completed, outcome, stage) = (OpRef::default(), Outcome::Open, Stage::Waiting);
        let process = if let Process::Client(process) = op.process { process } else { NOBODY };
        self.txns.push(Txn { invoked, completed, begun_ns, commit_ns: u64::MAX, first_send, sends: 0, process, outcome, stage });
        self.open = self.open.saturating_add(1);
        self.last()
    }

    /// The transaction that was begun last.
    fn last(&self) -> TxnId {
        u32::try_from(self.txns.len()).ok().and_then(|count| self.gone.checked_add(count)).unwrap_or(0)
    }

    /// Adds a send to the transaction that was begun last.
    pub(crate) fn sends(&mut self, key: Key, id: Id) {
        if let Some(txn) = self.txns.last_mut() {
            txn.sends = txn.sends.saturating_add(1);
            self.sends.push((key, id));
        }
    }

    pub(crate) fn end(&mut self, id: TxnId, op: &Op, outcome: Outcome) {
        let Some(txn) = self.get_mut(id) else { return };
        let was_open = txn.is_open();
        (txn.outcome, txn.completed) = (outcome, OpRef::new(op.index));
        let possible = txn.begun_ns..=op.time_ns;
        txn.commit_ns = op.extra.commit_time_ns.filter(|commit| possible.contains(commit)).unwrap_or(u64::MAX);
        if was_open {
            self.open = self.open.saturating_sub(1);
            self.ended.push(id);
        }
    }

    /// Its op will never complete.
    pub(crate) fn abandon(&mut self, id: TxnId) {
        if let Some(txn) = self.get_mut(id).filter(|txn| txn.is_open()) {
            txn.outcome = Outcome::Info;
            self.open = self.open.saturating_sub(1);
        }
    }

    /// Its place in the table; `Err` if it is not there (any more).
    #[inline]
    fn at(&self, id: TxnId) -> Option<usize> {
        id.checked_sub(self.gone + 1).map(|at| at as usize)
    }

    #[inline]
    pub(crate) fn get(&self, id: TxnId) -> Option<&Txn> {
        match self.at(id) {
            Some(at) => self.txns.get(at).filter(|txn| txn.stage != Stage::Settled),
            None => self.left.get(&id).map(|(txn, _)| txn),
        }
    }

    #[inline]
    fn get_mut(&mut self, id: TxnId) -> Option<&mut Txn> {
        match self.at(id) {
            Some(at) => self.txns.get_mut(at),
            None => self.left.get_mut(&id).map(|(txn, _)| txn),
        }
    }

    /// Every transaction that is not settled, in the order in which the history first speaks of it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TxnId, &Txn)> {
        let table = (self.gone.saturating_add(1)..).zip(&self.txns).filter(|(_, txn)| txn.stage != Stage::Settled);
        self.left.iter().map(|(id, (txn, _))| (*id, txn)).chain(table)
    }

    /// Those that are open, and those that will never end, with their numbers.
    pub(crate) fn unended(&self) -> impl Iterator<Item = (TxnId, &Txn)> {
        let table = (self.gone.saturating_add(1)..).zip(&self.txns).filter(|(_, txn)| txn.completed == OpRef::default());
        self.left_unended.iter().filter_map(|id| self.get(*id).map(|txn| (*id, txn))).chain(table)
    }

    /// What a transaction sent.
    #[inline]
    pub(crate) fn sent(&self, id: TxnId) -> &[(Key, Id)] {
        match self.at(id) {
            Some(at) => self.txns.get(at).map(|txn| self.sent_of(txn)).unwrap_or_default(),
            None => self.left.get(&id).map(|(_, sends)| &sends[..]).unwrap_or_default(),
        }
    }

    fn sent_of(&self, txn: &Txn) -> &[(Key, Id)] {
        let first = txn.first_send.wrapping_sub(self.gone_sends) as usize;
        self.sends.get(first..first.saturating_add(txn.sends as usize)).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.txns.is_empty() && self.gone == 0
    }

    /// How many are invoked and not completed.
    pub(crate) fn open(&self) -> u32 {
        self.open
    }

    /// In the order of their ends, those that the search for cycles has still to look at.
    pub(crate) fn ended(&self) -> &[TxnId] {
        &self.ended
    }

    /// The numbers of those in the table, settled ones among them, and how many there are before.
    pub(crate) fn table(&self) -> (TxnId, usize) {
        (self.gone, self.txns.len())
    }

    /// The search for cycles is done with the first so many that ended. What is settled of them is forgotten before the next op.
    pub(crate) fn passed_to(&self, count: usize) {
        self.passed.set(count.min(self.ended.len()));
    }

    #[inline]
    pub(crate) fn has_passed(&self) -> bool {
        self.passed.get() > 0
    }

    /// Those that it is done with, taken out of the order of ends. Those of unknown outcome, of which the history may show more, stay there
    /// if `is_unknown`.
    pub(crate) fn take_passed(&mut self, is_unknown: impl Fn(&Self, TxnId) -> bool) -> Vec<TxnId> {
        let count = self.passed.take();
        let mut ended = std::mem::take(&mut self.ended);
        let (unknown, passed): (Vec<_>, Vec<_>) = ended.drain(..count).partition(|id| is_unknown(self, *id));
        ended.splice(..0, unknown);
        self.ended = ended;
        passed
    }

    pub(crate) fn judged(&mut self, id: TxnId, is_settled: bool) {
        let Some(txn) = self.get_mut(id) else { return };
        txn.stage = if is_settled { Stage::Settled } else { Stage::Judged };
        if is_settled {
            let commit_ns = txn.commit_ns();
            self.settled_ns = self.settled_ns.max(commit_ns);
            if id <= self.gone {
                self.left.remove(&id);
            }
        }
    }

    /// Gives back the memory of what is settled. Nobody may be waiting before the first that still is.
    pub(crate) fn forget(&mut self) {
        let waits = |txn: &Txn| txn.stage == Stage::Waiting && (txn.is_open() || txn.outcome == Outcome::Ok);
        let count = self.txns.iter().position(waits).unwrap_or(self.txns.len());
        let mut sends = 0;
        for (id, txn) in (self.gone.saturating_add(1)..).zip(&self.txns[..count]) {
            sends += txn.sends as usize;
            if txn.completed == OpRef::default() {
                self.left_unended.push(id);
            }
            if txn.stage != Stage::Settled {
                self.left.insert(id, (*txn, self.sent_of(txn).into()));
            }
        }
        self.txns.drain(..count);
        self.sends.drain(..sends.min(self.sends.len()));
        self.gone = self.gone.saturating_add(count as u32);
        self.gone_sends = self.gone_sends.wrapping_add(sends as u32);
    }

    /// When the last commit of all that were settled was invoked.
    pub(crate) fn settled_ns(&self) -> Option<u64> {
        self.settled_ns
    }
}
