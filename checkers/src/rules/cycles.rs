//! `G0`, `G1c` (Adya): cycles of dependencies between committed transactions.
//!
//! Write-write (ww): one transaction's value stands before another's in a key's log. Write-read (wr): one read what the other wrote, at
//! read_committed. `G0` is a cycle of ww alone, `G1c` one with a wr. Kafka promises no isolation of writes, so what needs a ww edge is
//! allowed; a `G1c` of wr edges alone is not, for each transaction polls before it asks for its commit. It is shown as a shortest cycle.
//!
//! Counted by strongly connected component: each is one tangle, however many cycles run through it.
//!
//! What this cannot see yet: cycles that need an edge of process order or real time (`-process`, `-realtime`); `reordered`, `dirty-read` and
//! `read-before-send` see what they would accuse the cluster of. Sends outside transactions have no part in it.
//!
//! Memory: 24 bytes for each value that a sending transaction polls, and while the verdict is asked for 40 for each dependency.

use kchaos_core::{Example, Key, Op, OpType, Value, Verdict};

use crate::facts::{Facts, polls};
use crate::graph::{Edge, Graph};
use crate::log::{Id, Isolation};
use crate::rule::{Findings, JudgeOptions, MAX_LISTED, Rule, Spec, cite, example, hears};
use crate::txns::TxnId;

pub(crate) const SPEC: Spec = Spec {
    name: "cycles",
    about: "transactions do not depend on each other in circles",
    anomalies: &["G0", "G1c"],
    stable: false,
    hears: hears::TXN_END,
    build: || Box::new(Cycles::default()),
};

/// Edges of a component from which the shortest cycle is looked for.
const MAX_STARTS: usize = 64;

#[derive(Default)]
struct Cycles {
    reads: Vec<Read>,
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
}

impl Rule for Cycles {
    fn update(&mut self, op: &Op, facts: &Facts) {
        let wanted = facts.txn() != 0 && op.op_type != OpType::Fail && facts.isolation() == Isolation::Committed;
        // Who sends nothing is nobody's dependency.
        if !wanted || facts.sends().is_empty() {
            return;
        }
        for (key, records) in polls(&op.body).flat_map(|polled| &polled.0) {
            let Some(log) = facts.log(*key) else { continue };
            let ids = records.iter().filter_map(|(_, value)| log.find_id(*value)).filter(|id| log.of(*id).is_in_txn());
            self.reads.extend(ids.map(|id| Read { reader: facts.txn(), key: *key, id }));
        }
    }

    fn verdict(&self, facts: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        if facts.txns().is_empty() {
            return findings.verdict();
        }
        let mut dependencies = self.reads(facts);
        let reads = dependencies.len();
        add_writes(facts, &mut dependencies);
        let vertices = u32::try_from(facts.txns().len()).unwrap_or(u32::MAX - 1) + 1;
        let graph = |wanted: std::ops::Range<usize>| {
            let edge = |at: usize| -> Edge { (dependencies[at].from, dependencies[at].to, u32::try_from(at).unwrap_or(u32::MAX)) };
            Graph::new(vertices, wanted.map(edge).collect())
        };
        let (by_reads, by_writes) = (graph(0..reads), graph(reads..dependencies.len()));
        let tangles = by_reads.components();
        report(&mut findings, "G1c", facts, &dependencies, &by_reads, &tangles, |_| true);
        report(&mut findings, "G0", facts, &dependencies, &by_writes, &by_writes.components(), |_| true);
        if reads > 0 {
            let all = graph(0..dependencies.len());
            let known = |component: &Vec<u32>| tangles.iter().any(|tangle| tangle.iter().all(|one| component.binary_search(one).is_ok()));
            let mixed: Vec<_> = all.components().into_iter().filter(|component| !known(component)).collect();
            report(&mut findings, "G1c/with-ww", facts, &dependencies, &all, &mixed, |dependency| dependency.later.is_none());
        }
        findings.verdict()
    }
}

impl Cycles {
    fn reads(&self, facts: &Facts) -> Vec<Dependency> {
        let known = |read: &Read| {
            let written = facts.log(read.key)?.of(read.id);
            let from = Some(written.txn).filter(|txn| *txn != 0 && *txn != read.reader && !written.is_sent_twice())?;
            let both = facts.is_txn_committed(from) && facts.is_txn_committed(read.reader);
            both.then_some(Dependency { from, to: read.reader, key: read.key, value: written.value, later: None })
        };
        self.reads.iter().filter_map(known).collect()
    }
}

/// Each value depends on the one before it in its log, of those that transactions wrote.
fn add_writes(facts: &Facts, dependencies: &mut Vec<Dependency>) {
    for (key, log) in facts.logs() {
        let placed = log.all().filter(|written| written.txn != 0 && written.offset >= 0);
        let mut placed: Vec<_> = placed.filter(|written| !written.is_sent_twice() && facts.is_txn_committed(written.txn)).collect();
        placed.sort_unstable_by_key(|written| (written.offset, written.value));
        for two in placed.windows(2).filter(|two| two[0].txn != two[1].txn && two[0].offset < two[1].offset) {
            let (from, to) = (two[0].txn, two[1].txn);
            dependencies.push(Dependency { from, to, key, value: two[0].value, later: Some(two[1].value) });
        }
    }
}

/// One finding for each component with an edge that the anomaly needs.
fn report(
    findings: &mut Findings<'_>,
    rule: &str,
    facts: &Facts,
    dependencies: &[Dependency],
    graph: &Graph,
    components: &[Vec<u32>],
    needed: impl Fn(&Dependency) -> bool,
) {
    if components.is_empty() {
        return;
    }
    let mut of = vec![u32::MAX; facts.txns().len() + 1];
    for (number, component) in (0..).zip(components) {
        component.iter().for_each(|vertex| of[*vertex as usize] = number);
    }
    let mut starts: Vec<Vec<u32>> = vec![Vec::new(); components.len()];
    for (at, dependency) in (0..).zip(dependencies) {
        let (from, to) = (of[dependency.from as usize], of[dependency.to as usize]);
        if from == to && from != u32::MAX && needed(dependency) && starts[from as usize].len() < MAX_STARTS {
            starts[from as usize].push(at);
        }
    }
    for (component, starts) in components.iter().zip(starts) {
        let cycle = |start: &u32| {
            let Dependency { from, to, .. } = dependencies[*start as usize];
            let mut cycle = graph.way(component, to, from)?;
            cycle.insert(0, *start);
            Some(cycle)
        };
        if let Some(cycle) = starts.iter().filter_map(cycle).min_by_key(Vec::len) {
            findings.add(rule, || told(facts, &cycle.iter().map(|at| dependencies[*at as usize]).collect::<Vec<_>>()));
        }
    }
}

fn told(facts: &Facts, cycle: &[Dependency]) -> Example {
    let name = |txn: TxnId| {
        let op = facts.txns().get(txn).map(|txn| if txn.completed.get().is_some() { txn.completed } else { txn.invoked });
        format!("the transaction{}", cite(op.unwrap_or_default()))
    };
    let step = |step: &Dependency| {
        let Dependency { from, to, key, value, later } = step;
        match later {
            None => format!("{} wrote value {value} of key {key}, which {} polled", name(*from), name(*to)),
            Some(later) => format!("{} wrote value {value} of key {key} before value {later} of {}", name(*from), name(*to)),
        }
    };
    let steps: Vec<_> = cycle.iter().take(MAX_LISTED).map(step).collect();
    let ops: Vec<_> = cycle.iter().filter_map(|step| facts.txns().get(step.from)).flat_map(|txn| [txn.invoked, txn.completed]).collect();
    let values = cycle.iter().take(MAX_LISTED).map(|step| step.value).collect();
    let explanation = format!("{}: none of them can have come first, and one should", steps.join("; "));
    let key = cycle.first().map_or(0, |step| step.key);
    example(key, values, Vec::new(), &ops, explanation)
}
