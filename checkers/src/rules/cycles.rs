//! `G0`, `G1c` (Adya), and their variants `-process` and `-realtime`: cycles of dependencies between committed transactions.
//!
//! Write-write (ww): one transaction's value stands before another's in a key's log. Write-read (wr): one read what the other wrote, at
//! read_committed. `G0` is a cycle of ww alone, `G1c` one with a wr. A cycle that also needs the order in which one process did its
//! transactions is a `-process`; one that needs real time (one ended before the other was invoked) a `-realtime`.
//!
//! What counts. Kafka promises no isolation of writes, so what needs a ww edge is allowed. A cycle without one is not, of whatever other
//! edges: each transaction polls before it asks for its commit, and nobody sees a value before its commit is asked for, so along wr, process
//! and real time the moment of that asking only grows.
//!
//! Counted by strongly connected component: each is one tangle, however many cycles run through it, and it is named after the fewest kinds
//! of edges that tie a part of it. It is shown as a shortest cycle.
//!
//! How it stays cheap (rule R7): transactions stand in the order in which they ended. An edge of process or time leads forward there, so a
//! cycle needs a dependency that leads back, and lies inside the merged intervals of those ([`order`]). Only such of those are built as graphs
//! ([`window`]) as one sweep cannot show to have no cycle; a healthy history has few or none. Real time needs no edge for each pair: a chain
//! of barriers says it.
//!
//! How it forgets: every few thousand transactions, it judges those that ended first, as far as
//!
//! 1. each of them failed, or is of unknown outcome and nobody read of it, or committed with all its values in their logs and read;
//! 2. each ended before the oldest was begun that is still open;
//! 3. no dependency leads back from a later one.
//!
//! A cycle through one of them and through one that is not of them has an edge into them, from X to T. Not of time: T ended first. T read what
//! X wrote: then X had been sent (else it is doubted here), so it is known, and 3 forbids it if X committed; if X is of unknown outcome, it is
//! doubted here too. Or X has a value before one of T in some log: known, and 3 forbids it; or X was not known to have committed, or where its
//! value stands: then it is doubted as soon as X is judged, or at the end ([`crate::log::KeyLog::is_before_judged`]). Doubted means that the
//! history is read once more and nothing forgotten. By 2 a sound log gives no cause: X was begun after T ended, so its values land beyond
//! T's, or it is of unknown outcome, and no reader of committed passes it before its outcome is known to the log.
//!
//! What this cannot see: sends and polls outside transactions have no part in it. Only transactions that were ok are known to be over, so
//! no edge of process or time leaves another. What was polled before it was sent is the harness's fault (`read-before-send`) and ties nobody
//! to an order in time.
//!
//! Memory: for each transaction that is not judged yet 4 bytes, and 24 for each value that one polls (of successive values of one writer, the
//! first alone); for each in a tangle some 80 bytes. A transaction that never ends holds back all that end after it began.

mod order;
mod window;

use kchaos_core::{Key, Op, OpType, Value, Verdict};

use crate::facts::{Facts, polls};
use crate::log::{Id, Isolation, OpRef, Outcome, Written};
use crate::rule::{Findings, JudgeOptions, Rule, Spec, hears};
use crate::txns::TxnId;
use order::Order;
use window::Window;

pub(crate) const SPEC: Spec = Spec {
    name: "cycles",
    about: "transactions do not depend on each other in circles",
    anomalies: &["G0", "G0-process", "G0-realtime", "G1c", "G1c-process", "G1c-realtime"],
    stable: false,
    hears: hears::TXN_END,
    build: || Box::new(Cycles::default()),
};

#[derive(Default)]
struct Cycles {
    /// By transactions that are not judged yet, of such.
    reads: Vec<Read>,
    /// Of those that are judged.
    tangles: Vec<Tangle>,
    /// When so many have ended, it is time to judge.
    judge_at: usize,
}

struct Read {
    reader: TxnId,
    key: Key,
    id: Id,
}

/// `to` depends on `from`.
#[derive(Clone, Copy)]
struct Dependency {
    from: TxnId,
    to: TxnId,
    key: Key,
    value: Value,
    /// The later value; `None` if the dependency is a read.
    later: Option<Value>,
    /// A read of what was not sent yet.
    impossible: bool,
}

/// A transaction, in the order of the file.
#[derive(Clone, Copy)]
struct Place {
    txn: TxnId,
    process: Option<u32>,
    invoked: OpRef,
    completed: OpRef,
    /// It was ok: what begins later comes after it.
    ok: bool,
}

/// Transactions that depend on each other in circles, and the dependencies between them.
struct Tangle {
    places: Vec<Place>,
    dependencies: Vec<Dependency>,
}

impl Rule for Cycles {
    fn update(&mut self, op: &Op, facts: &Facts) {
        if facts.txn() == 0 {
            return;
        }
        if op.op_type != OpType::Fail && facts.isolation() == Isolation::Committed {
            self.read(op, facts);
        }
        if facts.txns().ended().len() >= self.judge_at.max(facts.judged_min()) && !facts.never_packs() {
            self.judge(facts);
        }
    }

    fn verdict(&self, facts: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        let order = Order::new(facts, &self.reads);
        let late = self.tangles(facts, &order, order.count());
        for Tangle { places, dependencies } in self.tangles.iter().chain(&late) {
            Window::new(places, dependencies).judge(&mut findings);
        }
        findings.verdict()
    }
}

impl Cycles {
    fn read(&mut self, op: &Op, facts: &Facts) {
        for (key, records) in polls(&op.body).flat_map(|polled| &polled.0) {
            let Some(log) = facts.log(*key) else { continue };
            let mut last = 0;
            for id in records.iter().filter_map(|(_, value)| log.find_id(*value)) {
                let written = log.of(id);
                // One value of a writer is as good as many, and one that no transaction sent is nobody's dependency.
                if (written.is_sent() && written.txn == 0) || (written.txn != 0 && written.txn == last) {
                    continue;
                }
                last = if written.is_sent_twice() || written.is_polled_early() { 0 } else { written.txn };
                self.reads.push(Read { reader: facts.txn(), key: *key, id });
            }
        }
    }

    /// Judges the transactions that ended first, as far as nothing more can come to be known of them.
    fn judge(&mut self, facts: &Facts) {
        let order = Order::new(facts, &self.reads);
        let count = order.cut(complete(facts, &order));
        let ended = facts.txns().ended();
        if count > 0 {
            self.tangles.extend(self.tangles(facts, &order, count));
            let is_judged = |txn| (order.place(txn) as usize) < count;
            let mut passed = vec![];
            self.reads.retain(|read| {
                let Some(written) = facts.log(read.key).map(|log| log.of(read.id)) else { return false };
                if is_judged(read.reader) && !is_judged(written.txn) {
                    passed.push((written.is_sent(), written.txn));
                }
                !is_judged(read.reader) && !is_judged(written.txn)
            });
            let is_failed = |txn| facts.txns().get(txn).is_some_and(|txn| txn.outcome == Outcome::Fail || txn.is_judged());
            if passed.into_iter().any(|(is_sent, txn)| !is_sent || (txn != 0 && !is_failed(txn))) {
                facts.doubt();
            }
            facts.txns().passed_to(count);
        }
        let is_unknown = |id: &&TxnId| facts.txns().get(**id).is_some_and(|txn| txn.outcome == Outcome::Info);
        let left = ended.len() - count + ended[..count].iter().filter(is_unknown).count();
        self.judge_at = left + left.max(facts.judged_min());
    }

    /// Among the first `count`.
    fn tangles(&self, facts: &Facts, order: &Order, count: usize) -> Vec<Tangle> {
        let suspicious = order.suspicious(facts, count);
        if !suspicious.contains(&true) {
            return Vec::new();
        }
        let mut windows: Vec<Vec<Dependency>> = vec![Vec::new(); suspicious.len()];
        let span = |txn| order.span_of(txn, count).map(|span| span as usize).filter(|span| suspicious[*span]);
        let within = |from, to| span(to).is_some_and(|to| span(from) == Some(to));
        self.each_dependency(facts, within, |dependency| {
            if let Some(span) = span(dependency.from) {
                windows[span].push(dependency);
            }
        });
        let tangle = |dependencies: Vec<Dependency>| Tangle { places: places(facts, &dependencies), dependencies };
        let windows = windows.into_iter().map(tangle);
        windows.flat_map(|Tangle { places, dependencies }| Window::new(&places, &dependencies).tangled()).map(tangle).collect()
    }

    /// Of those between transactions that are `wanted`: reads, and then writes: each value depends on the one before it in its log, of those that transactions wrote.
    fn each_dependency(&self, facts: &Facts, wanted: impl Fn(TxnId, TxnId) -> bool, mut each: impl FnMut(Dependency)) {
        for read in &self.reads {
            let Some(written) = facts.log(read.key).map(|log| log.of(read.id)) else { continue };
            let from = written.txn;
            if from == 0 || from == read.reader || !wanted(from, read.reader) || written.is_sent_twice() {
                continue;
            }
            let (value, impossible) = (written.value, written.is_polled_early());
            each(Dependency { from, to: read.reader, key: read.key, value, later: None, impossible });
        }
        for (key, log) in facts.logs() {
            let mut before: Option<Written> = None;
            log.each_in_txn(|written| {
                if !facts.is_txn_committed(written.txn) {
                    return;
                }
                if let Some(before) = before.replace(*written).filter(|before| before.txn != written.txn)
                    && wanted(before.txn, written.txn)
                {
                    let (from, to, value, later) = (before.txn, written.txn, before.value, Some(written.value));
                    each(Dependency { from, to, key, value, later, impossible: false });
                }
            });
        }
    }
}

fn places(facts: &Facts, dependencies: &[Dependency]) -> Vec<Place> {
    let mut txns: Vec<TxnId> = dependencies.iter().flat_map(|dependency| [dependency.from, dependency.to]).collect();
    txns.sort_unstable();
    txns.dedup();
    let place = |txn| {
        let known = facts.txns().get(txn)?;
        let (invoked, completed, ok) = (known.invoked, known.completed, known.outcome == Outcome::Ok);
        Some(Place { txn, process: known.process(), invoked, completed, ok })
    };
    txns.into_iter().filter_map(place).collect()
}

/// How many of those that ended first can be judged.
fn complete(facts: &Facts, order: &Order) -> usize {
    let txns = facts.txns();
    let oldest = txns.unended().filter(|(_, txn)| txn.is_open()).filter_map(|(_, txn)| txn.invoked.get()).min();
    let is_complete = |id: &TxnId| {
        let Some(txn) = txns.get(*id) else { return true };
        let is_before = txn.completed.get().is_some_and(|ended| oldest.is_none_or(|begun| ended < begun));
        let may_be = |(key, _, written): (Key, Id, &Written)| {
            written.offset >= 0 && (written.is_read() || facts.log(key).is_some_and(|log| log.is_passed(written.offset)))
        };
        is_before && (order.place(*id) == order::NONE || facts.sent(*id).all(may_be))
    };
    txns.ended().iter().position(|id| !is_complete(id)).unwrap_or(txns.ended().len())
}
