//! What is known of the cluster and of its clients at a moment. What is not known is *unknown*, and never taken for *no*.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::Context;
use kchaos_core::{Body, Key, Observation, Observed, Op, OpType, Plan, Process, RebalanceType};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Seen {
    Yes,
    No,
    #[default]
    Unknown,
}

/// What a fault met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct States {
    /// A partition of the run had fewer replicas in sync than it has.
    pub(crate) isr_shrunk: Seen,
    /// A partition of the run had no leader, or the cluster no controller.
    pub(crate) election: Seen,
    /// A client of the run was between the first op of a transaction and its end.
    pub(crate) transaction: Seen,
    /// A member of the run's group had joined or given up what it had, and had not been assigned yet.
    pub(crate) rebalance: Seen,
}

/// A state as tables have it: its name, and whether it was met.
pub(crate) type State = (&'static str, fn(&States) -> bool);

pub(crate) const STATES: &[State] = &[
    ("ISR full", |states| states.isr_shrunk == Seen::No),
    ("ISR shrunk", |states| states.isr_shrunk == Seen::Yes),
    ("election", |states| states.election == Seen::Yes),
    ("transaction", |states| states.transaction == Seen::Yes),
    ("rebalance", |states| states.rebalance == Seen::Yes),
];

impl States {
    /// For people.
    pub(crate) fn told(&self) -> String {
        let isr = match self.isr_shrunk {
            Seen::Yes => "ISR shrunk",
            Seen::No => "ISR full",
            Seen::Unknown => "ISR unknown",
        };
        let mut told = vec![isr.to_owned()];
        for (name, seen) in [("election", self.election), ("transaction", self.transaction), ("rebalance", self.rebalance)] {
            match seen {
                Seen::Yes => told.push(name.to_owned()),
                Seen::No => {}
                Seen::Unknown => told.push(format!("{name} unknown")),
            }
        }
        told.join(", ")
    }
}

/// Of several things: one is enough, and all must be known for *no*.
fn any(all: impl Iterator<Item = Seen>) -> Seen {
    all.fold(Seen::No, |sum, one| match (sum, one) {
        (Seen::Yes, _) | (_, Seen::Yes) => Seen::Yes,
        (Seen::Unknown, _) | (_, Seen::Unknown) => Seen::Unknown,
        _ => Seen::No,
    })
}

/// Whether it was so at that moment: by the last state that was seen before it, and by every change that may have been before it.
fn was<'a, T: 'a>(changes: impl Iterator<Item = (&'a Observation, T)>, at: u64, is: impl Fn(&T) -> bool) -> Seen {
    let (mut settled, mut maybe) = (None, Vec::new());
    for (observation, state) in changes {
        if observation.when.before_ns <= at {
            settled = Some(is(&state));
        } else if observation.when.after_ns < at {
            maybe.push(is(&state));
        }
    }
    match settled {
        // A first look that came later: how it was before nobody saw.
        None => Seen::Unknown,
        Some(is) if maybe.iter().any(|other| *other != is) => Seen::Unknown,
        Some(true) => Seen::Yes,
        Some(false) => Seen::No,
    }
}

/// What the controller decided of a partition, change by change.
fn partition(timeline: &[Observation], wanted: Key) -> impl Iterator<Item = (&Observation, (Option<i32>, usize))> {
    timeline.iter().filter_map(move |observation| match &observation.what {
        Observed::PartitionState { key, leader, isr, .. } if *key == wanted => Some((observation, (*leader, isr.len()))),
        _ => None,
    })
}

fn keys(plan: &Plan, timeline: &[Observation], at: u64) -> Vec<Key> {
    // Keys of a run that rotates are all in its plan, and are made on the way.
    let rotates = plan.options.get("rotation").is_some_and(|rotation| !rotation.is_null());
    let is_there = |key: &Key| !rotates || partition(timeline, *key).any(|(observation, _)| observation.when.after_ns < at);
    plan.keys.iter().map(|entry| entry.key).filter(is_there).collect()
}

pub(super) fn isr_shrunk(plan: &Plan, timeline: &[Observation], at: u64) -> Seen {
    let keys = keys(plan, timeline, at);
    let replicas = plan.options.get("replication_factor").and_then(serde_json::Value::as_u64);
    let (Some(replicas), false) = (replicas.and_then(|count| usize::try_from(count).ok()), keys.is_empty()) else {
        return Seen::Unknown;
    };
    any(keys.into_iter().map(|key| was(partition(timeline, key), at, |(_, in_sync)| *in_sync < replicas)))
}

pub(super) fn election(plan: &Plan, timeline: &[Observation], at: u64) -> Seen {
    let controller = timeline.iter().filter_map(|observation| match &observation.what {
        Observed::Controller { broker, .. } => Some((observation, *broker)),
        _ => None,
    });
    let controller = was(controller, at, Option::is_none);
    let leaders = keys(plan, timeline, at).into_iter().map(|key| was(partition(timeline, key), at, |(leader, _)| leader.is_none()));
    any(std::iter::once(controller).chain(leaders))
}

/// Workloads whose clients have neither transactions nor groups.
const PLAIN: &[&str] = &["append", "order", "register", "elections", "offsets"];

/// For each moment whether a transaction was open and whether a rebalance was running, as the clients knew it.
pub(super) fn of_clients(run: &Path, plan: &Plan, moments: &[u64]) -> anyhow::Result<Vec<(Seen, Seen)>> {
    if PLAIN.contains(&plan.workload.as_str()) {
        return Ok(vec![(Seen::No, Seen::No); moments.len()]);
    }
    let path = crate::commands::check::history(run).map_err(|failure| failure.error)?;
    let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut clients = Clients::new(plan, moments);
    kchaos_checkers::read_ops(file, &path.display().to_string(), |op| clients.op(op))?;
    Ok(clients.told())
}

/// Moments, and whether something was so at each.
struct Moments {
    at: Vec<u64>,
    seen: Vec<Seen>,
}

impl Moments {
    fn mark(&mut self, from: u64, to: u64, seen: Seen) {
        for (at, now) in self.at.iter().zip(&mut self.seen) {
            if (from..=to).contains(at) {
                *now = any([*now, seen].into_iter());
            }
        }
    }
}

/// Open transactions and rebalances, op by op.
struct Clients {
    transactions: Moments,
    rebalances: Moments,
    txn_timeout_ns: u64,
    /// When the op that each process has open was invoked.
    open: BTreeMap<Process, (u64, bool)>,
    /// Who waits for partitions since when.
    waiting: BTreeMap<u32, u64>,
}

impl Clients {
    fn new(plan: &Plan, moments: &[u64]) -> Self {
        let group = plan.options.get("group").and_then(|group| group.get("exactly_once"));
        // Transactions of a group that consumes and produces begin and end between its ops.
        let is_untold = ["queue", "soak"].contains(&plan.workload.as_str()) && group == Some(&serde_json::Value::Bool(true));
        let transactions = if is_untold { Seen::Unknown } else { Seen::No };
        let of = |seen| Moments { at: moments.to_vec(), seen: vec![seen; moments.len()] };
        let timeout_ms = plan.options.get("txn_timeout_ms").and_then(serde_json::Value::as_u64).unwrap_or(60_000);
        Self {
            transactions: of(transactions),
            rebalances: of(Seen::No),
            txn_timeout_ns: timeout_ms.saturating_mul(1_000_000),
            open: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    fn op(&mut self, op: &Op) {
        let Process::Client(process) = op.process else { return };
        let is_txn = matches!(op.body, Body::Txn(_));
        if op.op_type == OpType::Invoke {
            self.open.insert(op.process, (op.time_ns, is_txn));
            return;
        }
        let invoked = self.open.remove(&op.process).map_or(op.time_ns, |(invoked, _)| invoked);
        let client = op.client.unwrap_or(process);
        match &op.body {
            Body::Txn(_) => self.transaction(op, invoked),
            Body::Subscribe { .. } if op.op_type == OpType::Ok => {
                self.waiting.insert(client, op.time_ns);
            }
            Body::Poll(_) if !op.extra.rebalance_log.is_empty() => self.rebalance(op, client, invoked),
            Body::Crash => {
                // It waited to its end.
                if let Some(from) = self.waiting.remove(&client) {
                    self.rebalances.mark(from, op.time_ns, Seen::Yes);
                }
            }
            _ => {}
        }
    }

    fn transaction(&mut self, op: &Op, invoked: u64) {
        let ends = op.extra.commit_time_ns.unwrap_or(op.time_ns);
        self.transactions.mark(invoked, ends, Seen::Yes);
        self.transactions.mark(ends, op.time_ns, Seen::Unknown);
        if op.op_type == OpType::Info {
            // Until the coordinator gives up on it.
            self.transactions.mark(op.time_ns, op.time_ns.saturating_add(self.txn_timeout_ns), Seen::Unknown);
        }
    }

    fn rebalance(&mut self, op: &Op, client: u32, invoked: u64) {
        for event in &op.extra.rebalance_log {
            if event.event == RebalanceType::Assigned {
                if let Some(from) = self.waiting.remove(&client) {
                    self.rebalances.mark(from, invoked, Seen::Yes);
                }
            } else {
                self.waiting.insert(client, op.time_ns);
            }
        }
        self.rebalances.mark(invoked, op.time_ns, Seen::Unknown);
    }

    fn told(mut self) -> Vec<(Seen, Seen)> {
        for (invoked, is_txn) in self.open.into_values() {
            if is_txn {
                self.transactions.mark(invoked, u64::MAX, Seen::Unknown);
            }
        }
        for from in self.waiting.into_values() {
            self.rebalances.mark(from, u64::MAX, Seen::Unknown);
        }
        self.transactions.seen.into_iter().zip(self.rebalances.seen).collect()
    }
}

#[cfg(test)]
mod tests {
    use kchaos_core::{Extra, Interval, KeyEntry, RebalanceEvent};
    use serde_json::json;

    use super::*;

    fn plan(workload: &str) -> Plan {
        Plan {
            workload: workload.to_owned(),
            options: BTreeMap::from([("replication_factor".to_owned(), json!(3)), ("txn_timeout_ms".to_owned(), json!(1))]),
            keys: [0, 1].map(|key| KeyEntry { key, topic: "t".to_owned(), partition: 0 }).to_vec(),
            ..Plan::default()
        }
    }

    fn observed(after_ns: u64, before_ns: u64, what: Observed) -> Observation {
        Observation { when: Interval { after_ns, before_ns }, source: "zookeeper:zoo1".to_owned(), what }
    }

    fn state(key: Key, leader: Option<i32>, in_sync: i32) -> Observed {
        Observed::PartitionState { key, leader, leader_epoch: 0, isr: (1..=in_sync).collect(), controller_epoch: 0 }
    }

    fn timeline() -> Vec<Observation> {
        vec![
            observed(0, 10, Observed::Controller { broker: Some(1), epoch: Some(1) }),
            observed(0, 10, state(0, Some(1), 3)),
            observed(0, 10, state(1, Some(2), 3)),
            observed(100, 110, state(1, None, 2)),
            observed(120, 130, state(1, Some(3), 2)),
            observed(200, 210, state(1, Some(3), 3)),
            observed(300, 310, Observed::Controller { broker: None, epoch: Some(1) }),
        ]
    }

    #[test]
    fn what_the_observer_saw_is_told_and_what_it_cannot_have_seen_is_unknown() {
        let (plan, timeline) = (plan("append"), timeline());
        let at = |at| (isr_shrunk(&plan, &timeline, at), election(&plan, &timeline, at));
        assert_eq!(at(5), (Seen::Unknown, Seen::Unknown), "before the first look");
        assert_eq!(at(50), (Seen::No, Seen::No));
        assert_eq!(at(105), (Seen::Unknown, Seen::Unknown), "between two looks");
        assert_eq!(at(115), (Seen::Yes, Seen::Yes));
        assert_eq!(at(125), (Seen::Yes, Seen::Unknown), "shrunk before and after the change");
        assert_eq!(at(150), (Seen::Yes, Seen::No));
        assert_eq!(at(250), (Seen::No, Seen::No));
        assert_eq!(at(320), (Seen::No, Seen::Yes), "no controller");
    }

    #[test]
    fn a_partition_that_nobody_looked_at_leaves_it_unknown_and_so_does_a_run_without_any() {
        let mut with_more = plan("append");
        with_more.keys.push(KeyEntry { key: 2, topic: "t".to_owned(), partition: 2 });
        assert_eq!(isr_shrunk(&with_more, &timeline(), 50), Seen::Unknown);
        assert_eq!(isr_shrunk(&with_more, &timeline(), 115), Seen::Yes, "one is enough");
        with_more.keys.clear();
        assert_eq!(isr_shrunk(&with_more, &timeline(), 50), Seen::Unknown);
    }

    fn clients(workload: &str, moments: &[u64], ops: &[(u64, u32, OpType, Body, Extra)]) -> Vec<(Seen, Seen)> {
        let mut clients = Clients::new(&plan(workload), moments);
        for (time_ns, process, op_type, body, extra) in ops {
            clients.op(&Op {
                time_ns: *time_ns,
                process: Process::Client(*process),
                op_type: *op_type,
                body: body.clone(),
                extra: extra.clone(),
                ..Op::default()
            });
        }
        clients.told()
    }

    #[test]
    fn a_transaction_is_open_until_its_end_is_asked_for() {
        let txn = |time, op_type, commit| (time, 1, op_type, Body::Txn(Vec::new()), Extra { commit_time_ns: commit, ..Extra::default() });
        let ops =
            [txn(10, OpType::Invoke, None), txn(20, OpType::Ok, Some(18)), txn(30, OpType::Invoke, None), txn(40, OpType::Info, None)];
        let seen: Vec<Seen> = clients("transactions", &[5, 15, 19, 25, 35, 45], &ops).into_iter().map(|(open, _)| open).collect();
        assert_eq!(seen, [Seen::No, Seen::Yes, Seen::Unknown, Seen::No, Seen::Yes, Seen::Unknown]);
    }

    #[test]
    fn a_rebalance_runs_from_what_was_given_up_to_what_was_assigned() {
        let poll = |time, op_type, events: &[RebalanceType]| {
            let rebalance_log = events.iter().map(|event| RebalanceEvent { event: *event, keys: vec![0] }).collect();
            (time, 1, op_type, Body::Poll(None), Extra { rebalance_log, ..Extra::default() })
        };
        let ops = [
            (10, 1, OpType::Ok, Body::Subscribe { keys: vec![0] }, Extra::default()),
            poll(20, OpType::Invoke, &[]),
            poll(22, OpType::Ok, &[RebalanceType::Assigned]),
            poll(30, OpType::Invoke, &[]),
            poll(32, OpType::Ok, &[RebalanceType::Revoked]),
            poll(40, OpType::Invoke, &[]),
            poll(42, OpType::Ok, &[RebalanceType::Assigned]),
            (50, 1, OpType::Ok, Body::Subscribe { keys: vec![0] }, Extra::default()),
            (60, 1, OpType::Info, Body::Crash, Extra::default()),
        ];
        let seen: Vec<Seen> =
            clients("queue", &[5, 15, 21, 25, 31, 35, 45, 55, 65], &ops).into_iter().map(|(_, running)| running).collect();
        let (yes, no, unknown) = (Seen::Yes, Seen::No, Seen::Unknown);
        assert_eq!(seen, [no, yes, unknown, no, unknown, yes, no, yes, no]);
    }
}
