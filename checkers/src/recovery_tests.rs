//! A run in a few lines: faults, what the observer saw, what clients did, all in milliseconds; and what recovery must make of it.

use kchaos_core::{
    Body, Chosen, Extra, FaultEvent, FaultMoment, Interval, Observation, Observed, Offset, Op, OpType, Polled, Process, Proof, Send, Value,
    Verdict,
};

use crate::recovery::{Found, Phase, Recovery, RecoveryLimits, RecoveryReport};

const MS: u64 = 1_000_000;

fn ms(from: u64, to: u64) -> Interval {
    Interval { after_ns: from * MS, before_ns: to * MS }
}

#[derive(Clone, Default)]
struct Scene {
    faults: Vec<FaultEvent>,
    timeline: Vec<Observation>,
    ops: Vec<Op>,
    processes: u32,
}

impl Scene {
    fn fault(&mut self, fault_id: u32, moment: FaultMoment, when: Interval) -> &mut Self {
        let chosen = Chosen { host: "b1".into(), daemon: "kafka:1".into(), evidence: "leads 1 of 1".into(), keys_led: vec![0] };
        self.fault_on(fault_id, moment, when, chosen)
    }

    fn fault_on(&mut self, fault_id: u32, moment: FaultMoment, when: Interval, chosen: Chosen) -> &mut Self {
        let proof = Some(Proof { proved: true, text: "pid gone".into() });
        let nemesis = "kill-leader".to_owned();
        self.faults.push(FaultEvent { fault_id, moment, when, nemesis, chosen: vec![chosen], effect: None, proof, text: None });
        self
    }

    /// Asked at `from`, in effect in `from..to`, mended in `healed..healed + 100`.
    fn broken(&mut self, fault_id: u32, from: u64, to: u64, healed: u64) -> &mut Self {
        self.fault(fault_id, FaultMoment::Asked, ms(from, from));
        self.fault(fault_id, FaultMoment::InEffect, ms(from, to));
        self.fault(fault_id, FaultMoment::Healed, ms(healed, healed + 100))
    }

    fn saw(&mut self, source: &str, when: Interval, what: Observed) -> &mut Self {
        self.timeline.push(Observation { when, source: source.into(), what });
        self
    }

    fn state(&mut self, when: Interval, leader: Option<i32>, leader_epoch: i32, isr: &[i32]) -> &mut Self {
        self.saw("zookeeper:z1", when, Observed::PartitionState { key: 0, leader, leader_epoch, isr: isr.to_vec(), controller_epoch: 1 })
    }

    fn metadata(&mut self, broker: i32, when: Interval, leader: i32, leader_epoch: i32) -> &mut Self {
        let what = Observed::PartitionMetadata { key: 0, leader: Some(leader), leader_epoch, isr: vec![] };
        self.saw(&format!("broker:{broker}"), when, what)
    }

    fn op(&mut self, time_ms: u64, process: u32, op_type: OpType, body: Body) {
        self.ops.push(Op {
            index: 0,
            time_ns: time_ms * MS,
            process: Process::Client(process),
            op_type,
            body,
            error: None,
            client: None,
            node: None,
            extra: Extra::default(),
        });
    }

    fn send(&mut self, invoked: u64, completed: u64, op_type: OpType, value: Value, offset: Option<Offset>) -> &mut Self {
        self.processes += 1;
        let process = self.processes;
        self.op(invoked, process, OpType::Invoke, Body::Send(vec![Send { key: 0, value, offset: None }]));
        self.op(completed, process, op_type, Body::Send(vec![Send { key: 0, value, offset }]));
        self
    }

    fn poll(&mut self, time: u64, offset: Offset, value: Value) -> &mut Self {
        self.op(time, 999, OpType::Ok, Body::Poll(Some(Polled(vec![(0, vec![(offset, value)])]))));
        self
    }

    fn ordered_ops(&self) -> Vec<Op> {
        let mut ops = self.ops.clone();
        ops.sort_by_key(|op| op.time_ns);
        ops.iter_mut().enumerate().for_each(|(index, op)| op.index = index as u64);
        ops
    }

    /// As `kchaos check` does: faults and timeline, then the ops.
    fn offline(&self) -> (RecoveryReport, Verdict) {
        let mut recovery = Recovery::new(RecoveryLimits::default());
        self.faults.iter().for_each(|event| recovery.fault(event));
        self.timeline.iter().for_each(|observation| recovery.observation(observation));
        self.ordered_ops().iter().for_each(|op| recovery.op(op));
        recovery.finish()
    }

    /// As a run does: everything when it is heard of, the timeline `late_ms` late.
    fn online(&self, late_ms: u64) -> (RecoveryReport, Verdict) {
        let mut recovery = Recovery::new(RecoveryLimits::default());
        let (mut faults, mut timeline) = (self.faults.clone(), self.timeline.clone());
        faults.sort_by_key(|event| event.when.before_ns);
        timeline.sort_by_key(|observation| observation.when.before_ns);
        let (mut faults, mut timeline) = (faults.into_iter().peekable(), timeline.into_iter().peekable());
        for op in self.ordered_ops() {
            while let Some(event) = faults.next_if(|event| event.when.before_ns <= op.time_ns) {
                recovery.fault(&event);
            }
            while let Some(observation) = timeline.next_if(|observation| observation.when.before_ns + late_ms * MS <= op.time_ns) {
                recovery.observation(&observation);
            }
            recovery.op(&op);
        }
        faults.for_each(|event| recovery.fault(&event));
        timeline.for_each(|observation| recovery.observation(&observation));
        recovery.finish()
    }
}

/// The leader is killed at 1.0 s; its session goes at 7 s, broker 2 is elected, and the first write is acknowledged at 7.8 s.
fn killed() -> Scene {
    let mut scene = Scene::default();
    scene.state(ms(0, 10), Some(1), 4, &[1, 2, 3]).metadata(2, ms(0, 10), 1, 4).metadata(3, ms(0, 10), 1, 4).metadata(1, ms(0, 10), 1, 4);
    scene.broken(1, 1_000, 1_100, 9_000);
    scene.saw("zookeeper:z1", ms(6_990, 7_010), Observed::BrokerGone { broker: 1 });
    scene.state(ms(7_200, 7_220), Some(2), 5, &[2, 3]);
    scene.metadata(3, ms(7_250, 7_300), 2, 5).metadata(2, ms(7_280, 7_400), 2, 5).metadata(1, ms(10_000, 10_100), 2, 5);
    scene.send(500, 510, OpType::Ok, 1, Some(100)).poll(515, 100, 1);
    // Its ack was on its way when the broker died.
    scene.send(990, 1_120, OpType::Ok, 2, Some(101));
    scene.send(1_200, 3_200, OpType::Info, 3, None).send(1_300, 7_800, OpType::Ok, 4, Some(102)).send(
        7_810,
        7_820,
        OpType::Ok,
        5,
        Some(103),
    );
    scene.poll(7_850, 102, 4).poll(7_900, 103, 5);
    scene.state(ms(11_000, 11_050), Some(2), 5, &[2, 3, 1]);
    scene.send(12_000, 12_010, OpType::Ok, 6, Some(104));
    scene
}

/// Not less than and not more than, in milliseconds; or why it is missing.
type Expected = Result<(u64, u64), &'static str>;

#[track_caller]
fn check(scene: &Scene, expect: &[(Phase, Expected)]) {
    let (report, _) = scene.offline();
    let phases = &report.faults[0].keys[0].phases;
    for (phase, expected) in expect {
        let found = match &phases[phase] {
            Found::Seen(span) => Ok((span.at_least_ns / MS, span.at_most_ns / MS)),
            missing => Err(missing.why().unwrap_or_default().to_owned()),
        };
        assert_eq!(found, expected.map_err(str::to_owned), "{}", phase.name());
    }
    for late_ms in [0, 300, 5_000] {
        assert_eq!(scene.online(late_ms).0, report, "heard {late_ms} ms late");
    }
}

#[test]
fn a_killed_leaders_recovery_falls_into_its_phases() {
    check(
        &killed(),
        &[
            (Phase::Detection, Ok((5_890, 6_010))),
            (Phase::Election, Ok((190, 230))),
            (Phase::Propagation, Ok((30, 100))),
            (Phase::PropagationAll, Ok((60, 200))),
            (Phase::Client, Ok((500, 550))),
            (Phase::Recovery, Ok((6_700, 6_800))),
            (Phase::Read, Ok((50, 50))),
            (Phase::Isr, Ok((2_000, 2_050))),
            (Phase::PreferredLeader, Err("broker 1 did not lead again by the end of the run")),
        ],
    );
}

#[test]
fn writes_are_told_by_the_phase_in_which_they_were_due() {
    let mut scene = killed();
    for (due, acked) in [(6_000, 7_801), (7_100, 7_802), (7_110, 7_803), (7_240, 7_804), (7_500, 7_805), (7_900, 7_905)] {
        scene.send(due, acked, OpType::Ok, i64::from(scene.processes) + 1, None);
    }
    let told = |report: &RecoveryReport| -> Vec<_> {
        report.writes_due.iter().map(|(phase, due)| (*phase, due.n, due.max_ns / (10 * MS))).collect()
    };
    let (report, _) = scene.offline();
    // Those due at 1.3 s and at 6 s; what was under way before the fault, and what was due when all was over, is in no phase.
    let expected = [(Phase::Detection, 2), (Phase::Election, 2), (Phase::Propagation, 1), (Phase::Client, 1)];
    assert_eq!(told(&report).iter().map(|(phase, n, _)| (*phase, *n)).collect::<Vec<_>>(), expected);
    // 6.5 s and 0.305 s, to the hundredth of a decade.
    assert!((650..=666).contains(&told(&report)[0].2) && (30..=32).contains(&told(&report)[3].2), "{:?}", told(&report));
    for late_ms in [0, 300, 5_000] {
        assert_eq!(told(&scene.online(late_ms).0), told(&report), "heard {late_ms} ms late");
    }
    scene.faults[1].proof = None;
    assert!(scene.offline().0.writes_due.is_empty(), "a fault that was not proved has no phases");
}

#[test]
fn an_ack_inside_the_elections_interval_widens_the_first_ack() {
    let mut scene = killed();
    scene.send(1_250, 7_210, OpType::Ok, 7, Some(200));
    check(&scene, &[(Phase::Recovery, Ok((6_110, 6_800)))]);
}

#[test]
fn acks_of_a_deposed_leader_are_not_the_new_ones() {
    let mut scene = killed();
    scene.send(7_100, 7_300, OpType::Ok, 7, Some(200));
    let ack = scene.ops.last_mut().unwrap();
    ack.node = Some("kafka:1".into());
    check(&scene, &[(Phase::Recovery, Ok((6_700, 6_800)))]);
    // The bad twin: a client that does not say who acknowledged.
    scene.ops.last_mut().unwrap().node = None;
    check(&scene, &[(Phase::Recovery, Ok((6_200, 6_300)))]);
}

#[test]
fn an_orderly_stop_has_no_detection_and_counts_from_the_command() {
    let mut scene = Scene::default();
    scene.state(ms(0, 10), Some(1), 4, &[1, 2, 3]).metadata(2, ms(0, 10), 1, 4);
    scene.broken(1, 1_000, 4_000, 9_000);
    scene.state(ms(1_500, 1_520), Some(2), 5, &[2, 3]).metadata(2, ms(1_530, 1_550), 2, 5);
    scene.saw("zookeeper:z1", ms(3_000, 3_010), Observed::BrokerGone { broker: 1 });
    scene.send(1_400, 1_410, OpType::Ok, 1, Some(9)).send(1_450, 1_700, OpType::Ok, 2, Some(10)).send(
        9_500,
        9_510,
        OpType::Ok,
        3,
        Some(11),
    );
    check(
        &scene,
        &[
            (Phase::Detection, Err("an orderly stop: the leader moved before the daemon was gone")),
            (Phase::Election, Ok((500, 520))),
            (Phase::Recovery, Ok((700, 700))),
            (Phase::Isr, Err("the ISR was not whole by the end of the run")),
        ],
    );
}

#[test]
fn a_pause_shorter_than_the_session_has_a_recovery_and_no_election() {
    let mut scene = Scene::default();
    scene.state(ms(0, 10), Some(1), 4, &[1, 2, 3]);
    scene.broken(1, 1_000, 1_100, 4_000);
    scene.send(900, 1_105, OpType::Ok, 1, Some(1)).send(1_090, 4_150, OpType::Ok, 2, Some(2)).send(1_200, 4_160, OpType::Ok, 3, Some(3));
    check(
        &scene,
        &[
            (Phase::Detection, Err("the broker kept its session (with ZooKeeper, or with the controller)")),
            (Phase::Election, Err("the broker kept its session (with ZooKeeper, or with the controller)")),
            (Phase::Recovery, Ok((3_060, 3_160))),
            (Phase::Isr, Err("the ISR never shrank")),
        ],
    );
}

#[test]
fn what_never_came_back_is_unseen_and_never_zero() {
    let mut scene = Scene::default();
    scene.state(ms(0, 10), Some(1), 4, &[1]);
    scene.broken(1, 1_000, 1_100, 4_000);
    scene.saw("zookeeper:z1", ms(6_990, 7_010), Observed::BrokerGone { broker: 1 });
    scene.state(ms(7_200, 7_220), None, 5, &[1]);
    scene.send(900, 910, OpType::Ok, 1, Some(1)).send(1_200, 31_200, OpType::Info, 2, None);
    check(
        &scene,
        &[
            (Phase::Election, Err("no new leader was seen by the end of the run")),
            (Phase::Recovery, Err("no write was acknowledged by the end of the run")),
        ],
    );
    let (report, _) = scene.offline();
    assert_eq!((report.phases[&Phase::Recovery].n, report.phases[&Phase::Recovery].unseen), (0, 1));
}

#[test]
fn a_fault_that_was_not_proved_is_not_in_the_summary() {
    let mut scene = killed();
    scene.faults.iter_mut().for_each(|event| event.proof = Some(Proof { proved: false, text: "pid is there".into() }));
    assert!(scene.offline().0.phases.is_empty());
}

#[test]
fn a_later_fault_on_the_same_partition_ends_the_earlier_ones_scene() {
    let mut scene = Scene::default();
    scene.state(ms(0, 10), Some(1), 4, &[1, 2]).broken(1, 1_000, 1_100, 2_000).broken(2, 5_000, 5_100, 6_000);
    scene.saw("zookeeper:z1", ms(9_000, 9_010), Observed::BrokerGone { broker: 1 }).state(ms(9_100, 9_110), Some(2), 5, &[2]);
    scene.send(1_200, 9_500, OpType::Ok, 1, Some(1));
    let (report, _) = scene.offline();
    let recovery = |fault: usize| report.faults[fault].keys[0].phases[&Phase::Recovery].clone();
    assert_eq!(recovery(0).why(), Some("no write was acknowledged before the next fault"));
    assert_eq!(recovery(1).seen().map(|span| span.at_most_ns / MS), Some(4_500));
}

#[test]
fn a_controller_that_was_hit_is_replaced_and_a_zookeeper_leader_too() {
    let mut scene = killed();
    scene.saw("zookeeper:z1", ms(0, 10), Observed::Controller { broker: Some(1), epoch: Some(7) });
    scene.saw("zookeeper:z1", ms(7_020, 7_060), Observed::Controller { broker: Some(3), epoch: Some(8) });
    let (report, _) = scene.offline();
    let span = report.faults[0].phases[&Phase::Controller].seen().copied();
    assert_eq!(span.map(|span| (span.at_least_ns / MS, span.at_most_ns / MS)), Some((10, 70)));

    let mode = |host: &str, mode: &str| Observed::ZooKeeperMode { host: host.into(), mode: mode.into(), zxid: None };
    let mut scene = Scene::default();
    scene.saw("zookeeper:z2", ms(0, 10), mode("z2", "leader")).saw("zookeeper:z1", ms(0, 10), mode("z1", "follower"));
    let chosen = Chosen { host: "z2".into(), daemon: "zookeeper:2".into(), evidence: "mode leader".into(), keys_led: vec![] };
    scene.fault_on(1, FaultMoment::InEffect, ms(1_000, 1_100), chosen);
    scene.saw("zookeeper:z2", ms(1_050, 1_200), mode("z2", "none")).saw("zookeeper:z1", ms(1_400, 1_500), mode("z1", "leader"));
    let (report, _) = scene.offline();
    let span = report.phases[&Phase::ZookeeperElection];
    assert_eq!((span.n, span.at_most.max_ns / (10 * MS)), (1, 45));
    assert!(report.faults[0].keys.is_empty());
}

#[test]
fn a_zookeeper_leader_that_was_cut_off_and_goes_on_for_a_while_says_nothing_of_how_long_the_election_took() {
    let mode = |host: &str, mode: &str| Observed::ZooKeeperMode { host: host.into(), mode: mode.into(), zxid: None };
    for (given_up, expect) in
        [(ms(1_600, 1_700), Err("the new ZooKeeper leader was there before the old one had given up")), (ms(1_450, 1_700), Ok(0))]
    {
        let mut scene = Scene::default();
        scene.saw("zookeeper:z2", ms(0, 10), mode("z2", "leader")).saw("zookeeper:z1", ms(0, 10), mode("z1", "follower"));
        let chosen = Chosen { host: "z2".into(), daemon: "zookeeper:2".into(), evidence: "mode leader".into(), keys_led: vec![] };
        scene.fault_on(1, FaultMoment::InEffect, ms(1_000, 1_100), chosen);
        scene.saw("zookeeper:z1", ms(1_400, 1_500), mode("z1", "leader")).saw("zookeeper:z2", given_up, mode("z2", "none"));
        let (report, _) = scene.offline();
        let span = match &report.faults[0].phases[&Phase::ZookeeperElection] {
            Found::Seen(span) => Ok(span.at_least_ns),
            Found::NotApplicable { not_applicable } => Err(not_applicable.as_str()),
            Found::Unseen { unseen } => panic!("{unseen}"),
        };
        assert_eq!(span, expect);
    }
}

#[test]
fn a_window_is_open_while_attempts_are_and_counts_at_both_ends() {
    let mut scene = Scene::default();
    // Nothing is acknowledged until 2 s; a quiet stretch; then one attempt fails, and nothing is acknowledged to the end.
    scene.send(100, 2_000, OpType::Ok, 1, Some(0)).send(60_000, 60_010, OpType::Ok, 2, Some(1));
    scene.send(70_000, 71_000, OpType::Fail, 3, None).send(72_000, 75_000, OpType::Info, 4, None);
    let (report, _) = scene.offline();
    let windows: Vec<_> = report
        .unavailable
        .windows
        .iter()
        .map(|window| (window.from_ns / MS, window.to_ns / MS, window.open_at_start, window.open_at_end, window.failed, window.unknown))
        .collect();
    assert_eq!(windows, [(100, 2_000, true, false, 0, 0), (70_000, 75_000, false, true, 1, 1)]);
    assert_eq!(report.unavailable.total_ns[&0], 6_900 * MS);
}

#[test]
fn pipelined_attempts_wait_from_the_ack_before_them_not_from_their_own_start() {
    let mut scene = Scene::default();
    scene.send(0, 100, OpType::Ok, 1, Some(0)).send(10, 5_000, OpType::Ok, 2, Some(1)).send(20, 5_100, OpType::Ok, 3, Some(2));
    let (report, _) = scene.offline();
    let windows: Vec<_> = report.unavailable.windows.iter().map(|window| (window.from_ns / MS, window.to_ns / MS)).collect();
    assert_eq!(windows, [(100, 5_000)]);
}

#[test]
fn never_recovered_is_an_anomaly_after_the_limit_and_a_reason_before_it() {
    for (end_s, anomaly, reason) in [(400, true, false), (200, false, true)] {
        let mut scene = Scene::default();
        scene.state(ms(0, 10), Some(1), 4, &[1, 2]).broken(1, 1_000, 1_100, 4_000);
        scene.send(500, 510, OpType::Ok, 1, Some(0)).send(1_200, end_s * 1_000, OpType::Info, 2, None);
        let (_, verdict) = scene.offline();
        assert_eq!((verdict.anomalies.contains_key("never-recovered"), !verdict.reasons.is_empty()), (anomaly, reason), "{verdict:?}");
    }
    // The good twin: the same, and it is acknowledged.
    let mut scene = Scene::default();
    scene.state(ms(0, 10), Some(1), 4, &[1, 2]).broken(1, 1_000, 1_100, 4_000);
    scene.send(500, 510, OpType::Ok, 1, Some(0)).send(1_200, 5_000, OpType::Ok, 2, Some(1)).send(399_900, 400_000, OpType::Ok, 3, Some(2));
    assert_eq!(scene.offline().1, Verdict::default());
}

#[test]
fn a_partition_that_acknowledged_after_the_last_mend_is_back_whatever_is_open_at_the_end() {
    // Mended at 4 s. The attempt that is never answered is the same; once something was acknowledged before it, and once not.
    for (acked_at_ms, reasons) in [(4_500, 0), (3_500, 1)] {
        let mut scene = Scene::default();
        scene.state(ms(0, 10), Some(1), 4, &[1, 2]).broken(1, 1_000, 1_100, 4_000);
        scene.send(500, acked_at_ms, OpType::Ok, 1, Some(0)).send(5_000, 8_000, OpType::Fail, 2, None);
        let (_, verdict) = scene.offline();
        assert_eq!(verdict.reasons.len(), reasons, "{verdict:?}");
    }
}

#[test]
fn an_isr_is_whole_if_fewer_replicas_were_asked_for() {
    // The one difference: which partition was asked to have two replicas.
    for (key, reasons) in [(0, 0), (1, 1)] {
        let mut scene = Scene::default();
        scene.state(ms(0, 10), Some(1), 4, &[1, 2, 3]).broken(1, 1_000, 1_100, 4_000);
        let value = serde_json::json!({"change": "reassign", "key": key, "replicas": [1, 2]});
        scene.op(5_000, 900, OpType::Invoke, Body::Nemesis { f: "admin".into(), value });
        scene.state(ms(5_000, 5_100), Some(1), 4, &[1, 2]).send(6_000, 7_000, OpType::Ok, 1, Some(0));
        let (_, verdict) = scene.offline();
        assert_eq!(verdict.reasons.len(), reasons, "{verdict:?}");
    }
}

#[test]
fn a_report_survives_its_json() {
    let (report, _) = killed().offline();
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<RecoveryReport>(&json).unwrap(), report);
    assert!(json.contains(r#""preferred-leader":{"not_applicable":"broker 1 did not lead again"#), "{json}");
}
