//! What a checker is made of: a rule, its entry in the registry, and the collector of its findings.

use std::collections::BTreeMap;

use kchaos_core::{Example, Finding, Key, Offset, Op, Value, Verdict, mutant};

use crate::facts::Facts;
use crate::log::OpRef;
use crate::profile::{Profile, Ruling};

/// Whether what is unread at the end had its chance to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FinalRead {
    /// Nobody says; a run's own `final-reads` may.
    #[default]
    Unknown,
    Complete,
}

/// What a check is told beside the history.
#[derive(Clone, Debug)]
pub struct JudgeOptions {
    pub profile: Profile,
    pub final_read: FinalRead,
    /// How many examples of each anomaly are kept. Counts are of all.
    pub examples: usize,
    /// Steps that the search for a legal order of unversioned registers may take, all registers together; beyond them it is unknown.
    pub search_budget: u64,
}

impl Default for JudgeOptions {
    fn default() -> Self {
        Self { profile: Profile::default(), final_read: FinalRead::Unknown, examples: 8, search_budget: 4_000_000 }
    }
}

/// One promise, or a few of one kind, judged over shared [`Facts`].
///
/// `update` sees every op that its [`Spec`] hears of once, after the facts took it in; most rules need nothing but the facts. `verdict` may be asked at any time, and
/// says what would be found if the history ended here. A rule is total: no history makes it panic.
pub(crate) trait Rule: Send {
    fn update(&mut self, _op: &Op, _facts: &Facts) {}
    fn verdict(&self, facts: &Facts, options: &JudgeOptions) -> Verdict;
}

/// Kinds of ops that a rule hears of, as bits: most rules need nothing but the facts, and there are millions of ops.
pub(crate) mod hears {
    // The invocation of a send is 1: nobody wants to hear of it.
    pub(crate) const SEND_END: u16 = 1 << 1;
    // Of sends of one value that are all there is to them, nobody hears: they are nine ops in ten, and what is to know of them stands in the facts.
    // The invocation of a poll is 1 << 2: nobody wants to hear of it either.
    pub(crate) const POLL_END: u16 = 1 << 3;
    pub(crate) const TXN_INVOKE: u16 = 1 << 4;
    /// Of a transaction that polls.
    pub(crate) const TXN_POLL_END: u16 = 1 << 5;
    /// Of one that only sends.
    pub(crate) const TXN_SEND_END: u16 = 1 << 10;
    pub(crate) const TXN_END: u16 = TXN_POLL_END | TXN_SEND_END;
    /// Assign, subscribe, crash.
    pub(crate) const PLACES: u16 = 1 << 6;
    /// Commit, committed.
    pub(crate) const COMMITS: u16 = 1 << 7;
    pub(crate) const REGISTERS: u16 = 1 << 8;
    /// Of the process "nemesis" (and ops of unknown kind).
    pub(crate) const NEMESIS: u16 = 1 << 9;
    /// Ops of any kind that carry a rebalance log.
    pub(crate) const REBALANCES: u16 = 1 << 11;

    pub(crate) const NOTHING: u16 = 0;
    pub(crate) const ENDS_OF_POLLS: u16 = POLL_END | TXN_POLL_END;
}

/// An entry of the registry.
pub struct Spec {
    /// The checker's name: a test case of its own in JUnit.
    pub name: &'static str,
    pub about: &'static str,
    /// The anomalies it may name (ANOMALIES.md).
    pub anomalies: &'static [&'static str],
    /// `true`: what it finds while the run goes on, no later op can undo.
    pub(crate) stable: bool,
    /// The ops that its `update` wants to see: [`hears`].
    pub(crate) hears: u16,
    pub(crate) build: fn() -> Box<dyn Rule>,
}

/// Sorts findings into violations and allowed ones, counts all and keeps the first examples.
pub(crate) struct Findings<'a> {
    options: &'a JudgeOptions,
    verdict: Verdict,
}

/// Several things that one example may list.
pub(crate) const MAX_LISTED: usize = 16;

impl<'a> Findings<'a> {
    pub(crate) fn new(options: &'a JudgeOptions) -> Self {
        Self { options, verdict: Verdict::default() }
    }

    /// `rule` is the anomaly's name or ANOMALY/CASE (see [`crate::profile`]).
    pub(crate) fn add(&mut self, rule: &str, example: impl FnOnce() -> Example) {
        let into = match self.options.profile.ruling(rule) {
            Ruling::Violation => &mut self.verdict.anomalies,
            Ruling::Allowed => &mut self.verdict.ignored,
        };
        add(into, rule, self.options.examples, example);
    }

    /// Legal here whatever the profile says.
    pub(crate) fn ignore(&mut self, anomaly: &str, example: impl FnOnce() -> Example) {
        add(&mut self.verdict.ignored, anomaly, self.options.examples, example);
    }

    /// Says that the anomaly, if it is listed, proves nothing against the cluster: the verdict is unknown for this reason.
    pub(crate) fn unproved(&mut self, anomaly: &str, reason: &str, text: impl Into<String>) {
        if mutant::is("sure", &reason) {
            return;
        }
        if self.verdict.anomalies.contains_key(anomaly) {
            self.verdict.unproved.insert(anomaly.to_owned());
        }
        self.reason(reason, text);
    }

    pub(crate) fn reason(&mut self, name: &str, text: impl Into<String>) {
        self.verdict.reason(name, text);
    }

    pub(crate) fn has(&self, anomaly: &str) -> bool {
        self.verdict.anomalies.contains_key(anomaly)
    }

    pub(crate) fn verdict(self) -> Verdict {
        self.verdict
    }
}

fn add(into: &mut BTreeMap<String, Finding>, rule: &str, limit: usize, example: impl FnOnce() -> Example) {
    let anomaly = rule.split('/').next().unwrap_or(rule);
    if !into.contains_key(anomaly) {
        into.insert(anomaly.to_owned(), Finding::default());
    }
    let Some(finding) = into.get_mut(anomaly) else { return };
    finding.count += 1;
    if finding.examples.len() < limit {
        finding.examples.push(example());
    }
}

/// An example; ops are cited in order, each once.
pub(crate) fn example(key: Key, values: Vec<Value>, offsets: Vec<Offset>, ops: &[OpRef], explanation: String) -> Example {
    Example { key: Some(key), values, offsets, ..example_of_no_key(ops, explanation) }
}

/// An example that speaks of no partition.
pub(crate) fn example_of_no_key(ops: &[OpRef], explanation: String) -> Example {
    let mut ops: Vec<u64> = ops.iter().filter_map(|op| op.get()).collect();
    ops.sort_unstable();
    ops.dedup();
    Example { ops, explanation, ..Example::default() }
}

/// " (op 5)", or nothing where the op is not known.
pub(crate) fn cite(op: OpRef) -> String {
    op.get().map_or_else(String::new, |index| format!(" (op {index})"))
}
