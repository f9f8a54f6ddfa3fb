//! A run that never was, for tests: small, deterministic, and put through the real analyses, so that what reports show is what runs make.
//!
//! Three brokers, three partitions, three faults (a kill, a pause of the controller, and a cut); writes at a steady rate, and in the
//! invalid variant a few acknowledged ones that nobody ever reads.

use std::collections::BTreeMap;

use kchaos_checkers::latency::Latency;
use kchaos_checkers::recovery::{Recovery, RecoveryLimits};
use kchaos_core::{
    Body, Chosen, Example, Extra, FaultEvent, FaultMoment, Finding, Interval, KeyEntry, Observation, Observed, Op, OpType, Plan,
    PlannedFault, Polled, Process, Proof, Reason, Send, Validity,
};

use super::RunData;
use crate::coverage::{Exercised, Seen, States};
use crate::judged::{CheckerOutcome, EvidenceLine, FaultCount, HostOutcome, HostState, ResourcesUsed, RunVerdict};
use crate::slo::Slo;

const MS: u64 = 1_000_000;
const END_MS: u64 = 112_000;

/// (fault, target, broker, in effect at, mended at, new leader elected after, recovered after)
const FAULTS: &[(&str, i32, u64, u64, u64, u64)] = &[
    ("kill-leader", 1, 12_000, 27_000, 6_310, 7_250),
    ("pause-controller", 2, 46_000, 60_000, 7_020, 7_900),
    ("isolate-leader", 3, 78_000, 91_000, 5_480, 8_640),
];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    Valid,
    Invalid,
    Unknown,
}

/// Pseudo-random and the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }
}

pub(crate) fn run(variant: Variant) -> RunData {
    let (faults, timeline) = (faults(variant), timeline());
    let ops = ops();
    let mut recovery = Recovery::new(RecoveryLimits::default());
    faults.iter().for_each(|event| recovery.fault(event));
    timeline.iter().for_each(|observation| recovery.observation(observation));
    let mut latency = Latency::new(1_795_241_612_000 * MS);
    for op in &ops {
        recovery.op(op);
        latency.op(op);
    }
    let (recovery, _) = recovery.finish();
    let (latency, log) = latency.finish();
    assert!(log.len() > 10_000);
    let in_force = if variant == Variant::Unknown { 2 } else { 3 };
    let mut verdict = RunVerdict {
        ops: ops.len() as u64,
        profile: "kafka".into(),
        faults: FaultCount { required: 3, tried: 3, in_force, mended: 3 },
        load: latency.load.clone(),
        recovery,
        resources: ResourcesUsed {
            cpu_s: 41.3,
            wall_s: 112.0,
            resident_first_mib: 61.0,
            resident_max_mib: 74.0,
            resident_last_mib: 73.0,
            resident: Vec::new(),
        },
        hosts: ["b1", "b2", "b3"].map(host).into(),
        notes: vec!["b2: no files in /var/log/zookeeper".into()],
        coverage: vec![Exercised {
            fault_id: 1,
            nemesis: "kill-leader".into(),
            states: States { isr_shrunk: Seen::No, election: Seen::No, transaction: Seen::Yes, rebalance: Seen::Unknown },
        }],
        ..RunVerdict::default()
    };
    verdict.thresholds = ["recovery.p99<20s", "send.p99<250ms"]
        .map(|text| text.parse::<Slo>().expect("the fixture's promises parse").evaluate(&verdict.recovery, &latency))
        .into();
    judge(&mut verdict, variant, &ops);
    verdict.conclude(vec![]);
    RunData {
        sizes: Vec::new(),
        plan: plan(),
        verdict,
        faults,
        timeline,
        latency,
        files: ["faults.jsonl", "history.jsonl.zst", "latency.hlog", "logs/b1/server.log"].map(|name| (name.to_owned(), 48_123)).into(),
        directory: "20261121T064012Z-append-3-nemeses".into(),
        path: "results/20261121T064012Z-append-3-nemeses".into(),
        missing: vec![],
    }
}

fn host(name: &str) -> HostOutcome {
    HostOutcome { host: name.into(), state: HostState::Clean, what: vec![], command: None }
}

fn plan() -> Plan {
    let entry = |partition: i32| KeyEntry { key: i64::from(partition), topic: "kchaos-20261121064012-1f3a".into(), partition };
    let mut plan = Plan {
        run_id: "20261121064012-1f3a".into(),
        started_at: "2026-11-21T06:40:12Z".into(),
        kchaos_version: "0.1.0".into(),
        command: "kchaos test --workload append --nemesis kill-leader,pause-controller,isolate-leader \
                  --slo recovery.p99<20s --slo send.p99<250ms"
            .split(' ')
            .map(str::to_owned)
            .collect(),
        seed: 3_735_928_559,
        workload: "append".into(),
        nemeses: FAULTS.iter().map(|fault| fault.0.to_owned()).collect(),
        faults_required: 3,
        schedule: FAULTS.iter().map(|fault| planned(fault.0)).collect(),
        keys: (0..3).map(entry).collect(),
        acks: "all".into(),
        idempotence: true,
        isolation: "read_committed".into(),
        consumers_via: "assign".into(),
        inventory: serde_json::json!({"cluster": {"notes": ["ZooKeeper session 6 s, not the default 18 s: the lab was asked for it"]}}),
        ..Plan::default()
    };
    for broker in 1..=3 {
        let settings = [
            ("zookeeper.session.timeout.ms", "6000"),
            ("min.insync.replicas", "2"),
            ("unclean.leader.election.enable", "false"),
            ("broker.id", &broker.to_string()),
        ];
        plan.effective.insert(format!("broker {broker}"), settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }
    let facts = [("kafka", "3.9.1"), ("librdkafka", "2.12.1"), ("machine", "2 cores, Linux 6.18")];
    plan.facts = facts.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    plan.options = [("rate".to_owned(), 300.into()), ("producers".to_owned(), 2.into()), ("consumers".to_owned(), 2.into())].into();
    plan
}

fn planned(nemesis: &str) -> PlannedFault {
    PlannedFault { nemesis: nemesis.into(), wait_ms: 5_000, duration_ms: 13_000, seed: 1, ..PlannedFault::default() }
}

fn at(from_ms: u64, to_ms: u64) -> Interval {
    Interval { after_ns: from_ms * MS, before_ns: to_ms * MS }
}

fn faults(variant: Variant) -> Vec<FaultEvent> {
    let mut events = Vec::new();
    for (index, (nemesis, broker, from, to, _, _)) in FAULTS.iter().enumerate() {
        let chosen = Chosen {
            host: format!("b{broker}"),
            daemon: format!("kafka:{broker}"),
            evidence: format!("leads 1 of 3 partitions according to ZooKeeper, as <broker {broker}> at epoch {}", 4 + index),
            keys_led: vec![index as i64],
        };
        let mut event = |moment, when, proof: Option<(bool, &str)>| {
            events.push(FaultEvent {
                fault_id: index as u32 + 1,
                moment,
                when,
                nemesis: (*nemesis).to_owned(),
                chosen: vec![chosen.clone()],
                effect: None,
                proof: proof.map(|(proved, text)| Proof { proved, text: text.to_owned() }),
                text: (moment == FaultMoment::Note)
                    .then(|| format!("broker {broker} exited with NodeExists while its old session stood; started again")),
            });
        };
        let proved = !(variant == Variant::Unknown && index == 1);
        event(FaultMoment::Asked, at(from - 300, from - 300), None);
        event(FaultMoment::InEffect, at(*from, from + 90), Some((proved, "pid 4711 (start time 88123) is gone; the port refuses")));
        event(FaultMoment::Healing, at(*to, *to), None);
        if index == 0 {
            event(FaultMoment::Note, at(to + 1_500, to + 1_500), None);
        }
        event(
            FaultMoment::Healed,
            at(*to, to + 1_900),
            Some((true, "registered in /brokers/ids again; a connection to port 9092 succeeds")),
        );
    }
    events
}

fn timeline() -> Vec<Observation> {
    let mut timeline = Vec::new();
    let mut saw = |source: &str, when, what| timeline.push(Observation { when, source: source.into(), what });
    let state = |key, leader, leader_epoch, isr: &[i32]| Observed::PartitionState {
        key,
        leader,
        leader_epoch,
        isr: isr.to_vec(),
        controller_epoch: 3,
    };
    let metadata = |key, leader, leader_epoch| Observed::PartitionMetadata { key, leader: Some(leader), leader_epoch, isr: vec![] };
    let mode = |host: &str, mode: &str| Observed::ZooKeeperMode { host: host.into(), mode: mode.into(), zxid: None };
    for key in 0..3 {
        saw("zookeeper:b1", at(0, 40), state(key, Some(key as i32 + 1), 4, &[1, 2, 3]));
        for broker in 1..=3 {
            saw(&format!("broker:{broker}"), at(0, 60), metadata(key, key as i32 + 1, 4));
        }
    }
    saw("zookeeper:b1", at(0, 40), Observed::Controller { broker: Some(2), epoch: Some(3) });
    for (host, role) in [("b1", "follower"), ("b2", "leader"), ("b3", "follower")] {
        saw("zookeeper:b1", at(0, 50), mode(host, role));
    }
    for (index, (_, broker, from, to, elected, _)) in FAULTS.iter().enumerate() {
        let key = index as i64;
        let (gone, next) = (from + elected - 160, broker % 3 + 1);
        saw("zookeeper:b1", at(gone - 12, gone), Observed::BrokerGone { broker: *broker });
        if index > 0 {
            let epoch = 2 + index as i32;
            saw("zookeeper:b1", at(gone + 10, gone + 30), Observed::Controller { broker: None, epoch: Some(epoch) });
            saw("zookeeper:b1", at(gone + 60, gone + 90), Observed::Controller { broker: Some(next), epoch: Some(epoch + 1) });
        }
        if index == 2 {
            saw("zookeeper:b1", at(from + 300, from + 450), mode("b2", "none"));
            saw("zookeeper:b1", at(from + 900, from + 1_050), mode("b3", "leader"));
        }
        let others: Vec<i32> = (1..=3).filter(|other| other != broker).collect();
        for other in 0..3 {
            let (leader, epoch) = if other == key { (next, 5) } else { (other as i32 + 1, 4 + i32::from(other < key)) };
            let leader = if other < key { FAULTS[other as usize].1 % 3 + 1 } else { leader };
            saw("zookeeper:b1", at(from + elected - 20, from + elected), state(other, Some(leader), epoch, &others));
            saw(
                "zookeeper:b1",
                at(to + 4_000 + 300 * other as u64, to + 4_030 + 300 * other as u64),
                state(other, Some(leader), epoch, &[1, 2, 3]),
            );
        }
        for (nth, other) in others.iter().enumerate() {
            let seen = from + elected + 40 + 90 * nth as u64;
            saw(&format!("broker:{other}"), at(seen, seen + 50), metadata(key, next, 5));
        }
    }
    timeline
}

fn ops() -> Vec<Op> {
    let mut dice = Dice(7);
    let mut ops: Vec<Op> = Vec::new();
    let mut push = |time_ns: u64, process, op_type, body, extra| {
        ops.push(Op { index: 0, time_ns, process, op_type, body, error: None, client: Some(1), node: None, extra });
    };
    for (time_ms, phase) in [(0, "before"), (9_000, "trouble"), (96_000, "after"), (104_000, "finale")] {
        push(time_ms * MS, Process::Nemesis, OpType::Info, Body::Nemesis { f: "phase".into(), value: phase.into() }, Extra::default());
    }
    let mut value = 0;
    for tick in 0..100_000 / 10 {
        let due_ms = 100 + tick * 10;
        for key in 0..3i64 {
            value += 1;
            let latency_us = 1_400 + dice.below(2_600) + if dice.below(150) == 0 { dice.below(90_000) } else { 0 };
            let mut done_ns = due_ms * MS + latency_us * 1_000;
            let mut op_type = OpType::Ok;
            let (_, _, from, _, _, recovered) = FAULTS[key as usize];
            if (from..from + recovered).contains(&due_ms) {
                // Those that were due first wait longest; a few are given up.
                done_ns = (from + recovered) * MS + (due_ms - from) * 120_000 + latency_us * 1_000;
                if dice.below(40) == 0 {
                    (done_ns, op_type) = ((due_ms + 5_000) * MS, OpType::Info);
                }
            }
            let process = Process::Client(value as u32);
            let extra = Extra { intended_ns: Some(due_ms * MS), ..Extra::default() };
            let send = |offset| Body::Send(vec![Send { key, value, offset }]);
            push(due_ms * MS + 20_000, process, OpType::Invoke, send(None), extra.clone());
            let offset = (op_type == OpType::Ok).then_some(value);
            push(done_ns, process, op_type, send(offset), extra);
            if op_type == OpType::Ok {
                let polled = Polled(vec![(key, vec![(value, value)])]);
                push(
                    done_ns + (2 + dice.below(9)) * MS,
                    Process::Client(900_000 + key as u32),
                    OpType::Ok,
                    Body::Poll(Some(polled)),
                    Extra::default(),
                );
            }
        }
    }
    push(END_MS * MS, Process::Nemesis, OpType::Info, Body::Nemesis { f: "note".into(), value: "end".into() }, Extra::default());
    ops.sort_by_key(|op| op.time_ns);
    ops.iter_mut().enumerate().for_each(|(index, op)| op.index = index as u64);
    ops
}

fn judge(verdict: &mut RunVerdict, variant: Variant, ops: &[Op]) {
    let mut outcome = |name: &str, valid, text: &str| verdict.checkers.push(CheckerOutcome { name: name.into(), valid, text: text.into() });
    outcome(
        "lost-write",
        if variant == Variant::Invalid { Validity::Invalid } else { Validity::Valid },
        "29,940 acknowledged values against what was read",
    );
    outcome("duplicate", Validity::Valid, "no value at two offsets");
    outcome(
        "final-read",
        if variant == Variant::Unknown { Validity::Unknown } else { Validity::Valid },
        "3 of 3 partitions reread to their end",
    );
    match variant {
        Variant::Valid => {}
        Variant::Unknown => {
            verdict.valid = Validity::Unknown;
            verdict
                .reasons
                .push(Reason { name: "no-effect".into(), text: "fault 2 (pause-controller) was issued and not proved in force".into() });
        }
        Variant::Invalid => {
            verdict.valid = Validity::Invalid;
            let lost: Vec<&Op> = ops
                .iter()
                .filter(|op| op.op_type == OpType::Ok && op.time_ns > 78_000 * MS)
                .filter(|op| matches!(op.body, Body::Send(_)))
                .take(2)
                .collect();
            let examples = lost.iter().map(|op| {
                let Body::Send(sends) = &op.body else { return Example::default() };
                Example {
                    key: Some(sends[0].key),
                    values: vec![sends[0].value],
                    offsets: sends[0].offset.into_iter().collect(),
                    ops: vec![op.index],
                    explanation: format!(
                        "value {} was acknowledged at offset {} and never read, although later offsets were; <it> should have been read",
                        sends[0].value,
                        sends[0].offset.unwrap_or(-1)
                    ),
                    ..Example::default()
                }
            });
            verdict.anomalies.insert("lost-write".into(), Finding { count: 26, examples: examples.collect() });
            verdict.ignored.insert("int-send-skip".into(), Finding { count: 4, examples: vec![Example::default()] });
            show(&mut verdict.anomalies, ops);
            let wanted = verdict.evidence_wanted();
            verdict.evidence = ops
                .iter()
                .filter(|op| wanted.contains(&op.index))
                .map(|op| EvidenceLine {
                    index: op.index,
                    line: format!(
                        r#"{{"index":{},"time":{},"type":"{}","f":"{}","value":[["send",0,[17,"<&>"]]]}}"#,
                        op.index,
                        op.time_ns,
                        op.op_type.name(),
                        op.body.f()
                    ),
                })
                .collect();
        }
    }
}

/// The evidence of those ops, but for the polls that returned what is said to be lost.
fn show(anomalies: &mut BTreeMap<String, Finding>, ops: &[Op]) {
    let lost: Vec<i64> = anomalies.values().flat_map(|finding| &finding.examples).flat_map(|example| example.values.clone()).collect();
    let is_kept = |op: &&Op| !matches!(&op.body, Body::Poll(Some(polled)) if polled.0.iter().flat_map(|(_, records)| records).any(|(_, value)| lost.contains(value)));
    let tell = |each: &mut dyn FnMut(&Op)| -> Result<(), std::convert::Infallible> {
        ops.iter().filter(is_kept).for_each(each);
        Ok(())
    };
    let Ok(()) = kchaos_checkers::add_evidence(anomalies, tell);
}
