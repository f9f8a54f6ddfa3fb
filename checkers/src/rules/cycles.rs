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
//! cycle needs a dependency that leads back, and lies inside the merged intervals of those. Only such windows are built as graphs; a healthy
//! history has few or none. Real time needs no edge for each pair: a chain of barriers says it (in [`window`]).
//!
//! What this cannot see: sends and polls outside transactions have no part in it. Only transactions that were ok are known to be over, so
//! no edge of process or time leaves another. What was polled before it was sent is the harness's fault (`read-before-send`) and ties nobody
//! to an order in time.
//!
//! Memory: 8 bytes for each transaction, and 24 for each value that one polls (of successive values of one writer, the first alone).

mod window;

use kchaos_core::{Body, Key, Op, OpType, Process, Value, Verdict};

use crate::facts::{Facts, polls};
use crate::log::{Id, Isolation, OpRef, Outcome, Written};
use crate::rule::{Findings, JudgeOptions, Rule, Spec, hears};
use crate::txns::TxnId;
use window::Window;

pub(crate) const SPEC: Spec = Spec {
    name: "cycles",
    about: "transactions do not depend on each other in circles",
    anomalies: &["G0", "G0-process", "G0-realtime", "G1c", "G1c-process", "G1c-realtime"],
    stable: false,
    hears: hears::TXN_INVOKE | hears::TXN_END,
    build: || Box::new(Cycles::default()),
};

#[derive(Default)]
struct Cycles {
    reads: Vec<Read>,
    /// Of each transaction, by its number.
    processes: Vec<Option<u32>>,
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
    process: Option<u32>,
    invoked: Option<u64>,
    completed: Option<u64>,
    /// It was ok: what begins later comes after it.
    ok: bool,
}

/// Where a transaction stands in the order of ends; those that never ended come last.
type Rank = (u64, TxnId);

impl Rule for Cycles {
    fn update(&mut self, op: &Op, facts: &Facts) {
        let (Body::Txn(_), Process::Client(process)) = (&op.body, op.process) else { return };
        let txn = if op.op_type.is_completion() { facts.txn() as usize } else { facts.txns().len() };
        if self.processes.len() <= txn {
            self.processes.resize(txn + 1, None);
        }
        self.processes[txn] = Some(process);
        if !op.op_type.is_completion() || op.op_type == OpType::Fail || facts.isolation() != Isolation::Committed {
            return;
        }
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

    fn verdict(&self, facts: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        let spans = self.spans(facts);
        if spans.is_empty() {
            return findings.verdict();
        }
        let mut windows: Vec<Vec<Dependency>> = vec![Vec::new(); spans.len()];
        let span = |txn| span_of(&spans, rank(facts, txn));
        let within = |from, to| span(to).is_some_and(|to| span(from) == Some(to));
        self.each_dependency(facts, within, |dependency| {
            if let Some(span) = span(dependency.from) {
                windows[span].push(dependency);
            }
        });
        let window = |dependencies| Window::new(dependencies, |txn| self.place(facts, txn));
        for tangle in windows.into_iter().flat_map(|dependencies| window(dependencies).tangled()) {
            window(tangle).judge(facts, &mut findings);
        }
        findings.verdict()
    }
}

impl Cycles {
    fn place(&self, facts: &Facts, txn: TxnId) -> Place {
        let process = self.processes.get(txn as usize).copied().flatten();
        let known = facts.txns().get(txn);
        let at = |of: fn(&crate::txns::Txn) -> OpRef| known.and_then(|txn| of(txn).get());
        let ok = known.is_some_and(|txn| txn.outcome == Outcome::Ok);
        Place { process, invoked: at(|txn| txn.invoked), completed: at(|txn| txn.completed), ok }
    }

    /// Of those between transactions that are `wanted`: reads, and then writes: each value depends on the one before it in its log, of those that transactions wrote.
    fn each_dependency(&self, facts: &Facts, wanted: impl Fn(TxnId, TxnId) -> bool, mut each: impl FnMut(Dependency)) {
        for read in &self.reads {
            let Some(written) = facts.log(read.key).map(|log| log.of(read.id)) else { continue };
            let from = written.txn;
            if from == 0 || from == read.reader || !wanted(from, read.reader) || written.is_sent_twice() {
                continue;
            }
            if facts.is_txn_committed(from) && facts.is_txn_committed(read.reader) {
                let (value, impossible) = (written.value, written.is_polled_early());
                each(Dependency { from, to: read.reader, key: read.key, value, later: None, impossible });
            }
        }
        for (key, log) in facts.logs() {
            let mut before: Option<&Written> = None;
            for written in log.placed().filter(|written| written.txn != 0 && !written.is_sent_twice()) {
                if !facts.is_txn_committed(written.txn) {
                    continue;
                }
                if let Some(before) = before.replace(written).filter(|before| before.txn != written.txn)
                    && wanted(before.txn, written.txn)
                {
                    let (from, to, value, later) = (before.txn, written.txn, before.value, Some(written.value));
                    each(Dependency { from, to, key, value, later, impossible: false });
                }
            }
        }
    }

    /// The merged intervals of dependencies that lead back, in order: nothing outside them is part of a cycle.
    fn spans(&self, facts: &Facts) -> Vec<(Rank, Rank)> {
        let mut back = Vec::new();
        if !facts.txns().is_empty() {
            let leads_back = |from, to| rank(facts, to) < rank(facts, from);
            self.each_dependency(facts, leads_back, |Dependency { from, to, .. }| back.push((rank(facts, to), rank(facts, from))));
        }
        back.sort_unstable();
        let mut spans: Vec<(Rank, Rank)> = Vec::new();
        for (first, last) in back {
            match spans.last_mut().filter(|span| first <= span.1) {
                Some(span) => span.1 = span.1.max(last),
                None => spans.push((first, last)),
            }
        }
        spans
    }
}

fn rank(facts: &Facts, txn: TxnId) -> Rank {
    (facts.txns().get(txn).and_then(|txn| txn.completed.get()).unwrap_or(u64::MAX), txn)
}

fn span_of(spans: &[(Rank, Rank)], rank: Rank) -> Option<usize> {
    let at = spans.partition_point(|(_, last)| *last < rank);
    spans.get(at).filter(|(first, _)| *first <= rank).map(|_| at)
}
