//! Clean histories of every shape give no finding; no history makes a checker panic; online and offline say the same.

mod common;
#[path = "common/told.rs"]
mod told;

use std::collections::VecDeque;

use common::summary;
use kchaos_checkers::{FinalRead, Input, Judge, JudgeOptions, Reading, check, check_reader, render_evidence};
use kchaos_core::{Body, Extra, MicroOp, Op, OpType, Polled, Process, RebalanceEvent, RebalanceType, Send};
use proptest::prelude::*;

fn options() -> JudgeOptions {
    JudgeOptions { final_read: FinalRead::Complete, ..JudgeOptions::default() }
}

fn lines(ops: &[Op]) -> String {
    let mut lines = String::new();
    for op in ops {
        op.write_json(&mut lines);
        lines.push('\n');
    }
    lines
}

/// A cluster that keeps every promise: what is landed is in the log, in one order.
#[derive(Default)]
struct Cluster {
    ops: Vec<Op>,
    /// By key: what readers of committed see at each offset.
    logs: Vec<Vec<Option<i64>>>,
    base: i64,
    next_value: i64,
    clients: Vec<Client>,
    readers: Vec<Vec<i64>>,
    next_process: u32,
    txns: [Option<OpenTxn>; 2],
}

/// A transaction under way: its records are in the log, and nobody who reads committed may pass them.
struct OpenTxn {
    sends: Vec<Send>,
    polls: bool,
    landed: bool,
    polled: Polled,
    positions: Vec<i64>,
    commit_ns: Option<u64>,
}

/// An idempotent producer: what it sends lands in the order of sending, and completes in any.
#[derive(Default)]
struct Client {
    number: u32,
    flying: VecDeque<Flight>,
    landed: Vec<Flight>,
}

struct Flight {
    process: u32,
    sends: Vec<Send>,
}

impl Cluster {
    fn new(keys: usize, base: i64) -> Self {
        let clients = (0..3).map(|number| Client { number, ..Client::default() }).collect();
        Self { logs: vec![Vec::new(); keys], base, clients, readers: vec![vec![0; keys]; 4], next_process: 100, ..Self::default() }
    }

    fn op(&mut self, process: u32, client: Option<u32>, op_type: OpType, body: Body) {
        let index = self.ops.len() as u64;
        let process = Process::Client(process);
        let extra = Extra::default();
        self.ops.push(Op { index, time_ns: index * 1000, process, op_type, body, error: None, client, node: None, extra });
    }

    fn sends(&mut self, count: usize, choice: usize) -> Vec<Send> {
        let keys = self.logs.len();
        let sends =
            (0..count).map(|nth| Send { key: ((choice + nth * nth) % keys) as i64, value: self.next_value + nth as i64, offset: None });
        let sends = sends.collect();
        self.next_value += count as i64;
        sends
    }

    fn land(&mut self, sends: &mut [Send], visible: bool) {
        for send in sends {
            let log = &mut self.logs[send.key as usize];
            send.offset = Some(self.base + log.len() as i64);
            log.push(visible.then_some(send.value));
        }
    }

    fn begin(&mut self, client: usize, choice: usize) {
        let sends = self.sends(1 + choice % 3, choice / 3);
        self.next_process += 1;
        let (process, number) = (self.next_process, self.clients[client].number);
        self.op(process, Some(number), OpType::Invoke, Body::Send(sends.clone()));
        self.clients[client].flying.push_back(Flight { process, sends });
    }

    fn arrive(&mut self, client: usize) {
        if let Some(mut flight) = self.clients[client].flying.pop_front() {
            self.land(&mut flight.sends, true);
            self.clients[client].landed.push(flight);
        }
    }

    /// Completes a landed send, or gives up one that has not landed.
    fn complete(&mut self, client: usize, choice: usize) {
        let number = self.clients[client].number;
        if self.clients[client].landed.is_empty() {
            let Some(flight) = self.clients[client].flying.pop_front() else { return };
            let op_type = if choice.is_multiple_of(2) { OpType::Fail } else { OpType::Info };
            self.op(flight.process, Some(number), op_type, Body::Send(flight.sends));
            return;
        }
        let at = choice % self.clients[client].landed.len();
        let Flight { process, mut sends } = self.clients[client].landed.remove(at);
        let op_type = if choice.is_multiple_of(7) { OpType::Info } else { OpType::Ok };
        if choice.is_multiple_of(5) {
            sends.iter_mut().for_each(|send| send.offset = None);
        }
        self.op(process, Some(number), op_type, Body::Send(sends));
    }

    /// A transaction, whole, with its marker.
    fn transact(&mut self, choice: usize) {
        let mut sends = self.sends(1 + choice % 4, choice / 5);
        let process = 50 + (choice % 2) as u32;
        let txn = |sends: &[Send]| Body::Txn(sends.iter().copied().map(MicroOp::Send).collect());
        self.op(process, None, OpType::Invoke, txn(&sends));
        let committed = !choice.is_multiple_of(3);
        self.land(&mut sends, committed);
        for key in 0..self.logs.len() as i64 {
            if sends.iter().any(|send| send.key == key) {
                self.logs[key as usize].push(None);
            }
        }
        let op_type = if choice.is_multiple_of(11) {
            OpType::Info
        } else if committed {
            OpType::Ok
        } else {
            OpType::Fail
        };
        self.op(process, None, op_type, txn(&sends));
    }

    /// The next step of a transaction that others overtake: begun, landed, polled and commit invoked, visible, completed.
    fn step_txn(&mut self, slot: usize, choice: usize) {
        let process = 60 + slot as u32;
        let Some(mut txn) = self.txns[slot].take() else {
            let sends = self.sends(1 + choice % 4, choice / 5);
            let polls = choice.is_multiple_of(3);
            let mut parts: Vec<_> = sends.iter().copied().map(MicroOp::Send).collect();
            parts.extend(polls.then_some(MicroOp::Poll(None)));
            self.op(process, None, OpType::Invoke, Body::Txn(parts));
            let (polled, positions) = (Polled::default(), self.readers[2 + slot].clone());
            self.txns[slot] = Some(OpenTxn { sends, polls, landed: false, polled, positions, commit_ns: None });
            return;
        };
        if !txn.landed {
            self.land(&mut txn.sends, false);
            txn.landed = true;
        } else if txn.commit_ns.is_none() && !choice.is_multiple_of(5) {
            // Its own records count as open: it reads up to them at most.
            self.txns[slot] = Some(txn);
            let (polled, positions) = self.read(2 + slot, 5);
            let Some(mut own) = self.txns[slot].take() else { return };
            if own.polls {
                (own.polled, own.positions) = (polled, positions);
            }
            own.commit_ns = Some(self.ops.len() as u64 * 1000 - 500);
            txn = own;
        } else {
            self.end_txn(process, slot, txn, choice);
            return;
        }
        self.txns[slot] = Some(txn);
    }

    fn end_txn(&mut self, process: u32, slot: usize, txn: OpenTxn, choice: usize) {
        let committed = txn.commit_ns.is_some();
        let mut sends = txn.sends;
        for send in &sends {
            let at = (send.offset.unwrap() - self.base) as usize;
            self.logs[send.key as usize][at] = committed.then_some(send.value);
        }
        for key in 0..self.logs.len() as i64 {
            if sends.iter().any(|send| send.key == key) {
                self.logs[key as usize].push(None);
            }
        }
        let op_type = match (choice % 7, committed) {
            (0, _) => OpType::Info,
            (_, true) => OpType::Ok,
            (_, false) => OpType::Fail,
        };
        if op_type == OpType::Ok {
            self.readers[2 + slot] = txn.positions;
        }
        if choice.is_multiple_of(4) {
            sends.iter_mut().for_each(|send| send.offset = None);
        }
        let mut parts: Vec<_> = sends.into_iter().map(MicroOp::Send).collect();
        parts.extend(txn.polls.then_some(MicroOp::Poll(Some(txn.polled))));
        self.op(process, None, op_type, Body::Txn(parts));
        if let Some(op) = self.ops.last_mut() {
            op.extra.commit_time_ns = txn.commit_ns;
        }
    }

    /// What a reader of committed is given: up to the last stable offset.
    fn read(&self, reader: usize, most: usize) -> (Polled, Vec<i64>) {
        let mut batches = Vec::new();
        let mut positions = self.readers[reader].clone();
        for (key, log) in self.logs.iter().enumerate() {
            let open = self.txns.iter().flatten().filter(|txn| txn.landed).flat_map(|txn| &txn.sends);
            let stable = open.filter(|send| send.key == key as i64).filter_map(|send| send.offset).min();
            let stable = stable.map_or(log.len(), |offset| (offset - self.base) as usize);
            let from = positions[key] as usize;
            let to = stable.min(from.saturating_add(most)).max(from);
            let records: Vec<_> = (from..to).filter_map(|at| log[at].map(|value| (self.base + at as i64, value))).collect();
            positions[key] = to as i64;
            if !records.is_empty() {
                batches.push((key as i64, records));
            }
        }
        (Polled(batches), positions)
    }

    fn poll(&mut self, reader: usize, choice: usize, most: usize) {
        let process = reader as u32;
        self.op(process, None, OpType::Invoke, Body::Poll(None));
        let (polled, positions) = self.read(reader, most);
        let op_type = match choice % 6 {
            0 => OpType::Fail,
            1 => OpType::Info,
            _ => OpType::Ok,
        };
        if op_type == OpType::Ok {
            self.readers[reader] = positions;
        }
        self.op(process, None, op_type, Body::Poll(Some(polled)));
    }

    fn assign(&mut self, reader: usize, seek_to_beginning: bool) {
        let keys: Vec<i64> = (0..self.logs.len() as i64).collect();
        if seek_to_beginning {
            self.readers[reader] = vec![0; self.logs.len()];
        }
        for op_type in [OpType::Invoke, OpType::Ok] {
            self.op(reader as u32, None, op_type, Body::Assign { keys: keys.clone(), seek_to_beginning });
        }
    }

    fn step(&mut self, what: usize, choice: usize) {
        match what % 16 {
            0..=2 => self.begin(choice % 3, choice / 3),
            3..=5 => self.arrive(choice % 3),
            6 | 7 => self.complete(choice % 3, choice / 3),
            8 => self.transact(choice),
            9 | 10 => self.poll(choice % 2, choice / 2, choice % 9),
            12.. => self.step_txn(choice % 2, choice / 2),
            _ => self.assign(choice % 2, choice.is_multiple_of(4)),
        }
    }

    fn finale(mut self) -> Vec<Op> {
        // One acknowledgement, so that there is something to judge.
        self.begin(0, 0);
        while !self.clients[0].flying.is_empty() {
            self.arrive(0);
        }
        while !self.clients[0].landed.is_empty() {
            self.complete(0, 1);
        }
        for slot in 0..self.txns.len() {
            while self.txns[slot].is_some() {
                self.step_txn(slot, 1);
            }
        }
        self.assign(0, true);
        self.poll(0, 2, usize::MAX >> 1);
        self.ops
    }
}

fn anything() -> impl Strategy<Value = Op> {
    let number = || prop_oneof![8 => 0..6_i64, 1 => Just(-1), 1 => Just(1 << 60), 1 => Just(i64::MAX), 1 => Just(i64::MIN)];
    let key = || 0..3_i64;
    let send = (key(), number(), proptest::option::of(number())).prop_map(|(key, value, offset)| Send { key, value, offset });
    let polled = prop::collection::vec((key(), prop::collection::vec((number(), number()), 0..4)), 0..3).prop_map(Polled);
    let keys = || prop::collection::vec(key(), 0..3);
    let body = prop_oneof![
        4 => prop::collection::vec(send.clone(), 0..3).prop_map(Body::Send),
        4 => proptest::option::of(polled.clone()).prop_map(Body::Poll),
        4 => prop::collection::vec(prop_oneof![send.prop_map(MicroOp::Send), proptest::option::of(polled).prop_map(MicroOp::Poll)], 0..4)
            .prop_map(Body::Txn),
        1 => (keys(), any::<bool>()).prop_map(|(keys, seek_to_beginning)| Body::Assign { keys, seek_to_beginning }),
        1 => keys().prop_map(|keys| Body::Subscribe { keys }),
        1 => Just(Body::Crash),
        1 => (key(), number()).prop_map(|(key, value)| Body::Write { key, value }),
        1 => (key(), number(), number()).prop_map(|(key, old, new)| Body::Cas { key, old, new }),
        1 => (key(), proptest::option::of(number())).prop_map(|(key, value)| Body::Read { key, value }),
        1 => (key(), number()).prop_map(|(key, offset)| Body::Commit([(key, offset)].into())),
        1 => (keys(), key(), number()).prop_map(|(keys, key, offset)| Body::Committed { keys, offsets: [(key, offset)].into() }),
        1 => Just(Body::Unknown { f: "dance".to_owned() }),
    ];
    let hint = (number(), number(), any::<bool>()).prop_map(|(start, end, complete)| {
        let (f, value) = if complete {
            ("final-reads", serde_json::json!({"complete": true, "keys": {"0": {"next": start, "end": end}}}))
        } else {
            ("final-offsets", serde_json::json!({"0": {"start": start, "end": end}, "x": 1}))
        };
        Body::Nemesis { f: f.to_owned(), value }
    });
    let hint = prop_oneof![hint, told::told()];
    let op_type = prop_oneof![3 => Just(OpType::Invoke), 4 => Just(OpType::Ok), 1 => Just(OpType::Fail), 1 => Just(OpType::Info)];
    let client = (0..3_u32, body).prop_map(|(process, body)| (Process::Client(process), body));
    let who = prop_oneof![20 => client, 1 => hint.prop_map(|body| (Process::Nemesis, body))];
    (who, op_type, proptest::option::of(0..2_u32), any::<u8>(), key()).prop_map(|((process, body), op_type, client, beside, key)| {
        let mut extra = Extra::default();
        if beside % 16 == 0 {
            let event = if beside > 100 { RebalanceType::Revoked } else { RebalanceType::Assigned };
            extra.rebalance_log.push(RebalanceEvent { event, keys: vec![key] });
        }
        if beside % 16 == 1 {
            extra.corrupt.push((key, i64::from(beside), "crc".to_owned()));
        }
        extra.commit_time_ns = (beside % 8 == 3).then(|| u64::from(beside / 2));
        extra.group = (beside % 4 == 1).then(|| "g".to_owned());
        extra.version = (beside % 4 == 2).then(|| i64::from(beside / 16));
        extra.zxid = (beside % 8 == 2).then(|| i64::from(beside / 8));
        extra.isolation = (beside % 16 == 2).then(|| "read_uncommitted".to_owned());
        extra.reset = (beside % 16 < 2).then(|| if beside > 100 { "earliest" } else { "latest" }.to_owned());
        extra.leader_epochs.extend((beside % 4 == 0).then_some((key, i32::from(beside / 32))));
        Op { index: 0, time_ns: u64::from(beside), process, op_type, body, error: None, client, node: None, extra }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_clean_history_gives_no_finding(
        keys in 1..4_usize,
        base in prop_oneof![Just(0_i64), Just(1_000_000_000_000)],
        steps in prop::collection::vec((any::<usize>(), 0..10_000_usize), 0..120),
    ) {
        let mut cluster = Cluster::new(keys, base);
        for (what, choice) in steps {
            cluster.step(what, choice);
        }
        let history = lines(&cluster.finale());
        let report = check_reader(history.as_bytes(), "clean", options()).unwrap();
        let said = summary(&report);
        let promised_by_nobody = ["int-send-skip", "G0", "G0-process", "G0-realtime", "G1c", "G1c-process", "G1c-realtime"];
        let ignored = report.ignored.keys().all(|name| promised_by_nobody.contains(&name.as_str()));
        prop_assert!((said == "valid" || said.starts_with("valid: ignored: ")) && ignored, "{}\n{}", said, history);
    }

    #[test]
    fn online_and_offline_say_the_same_and_no_history_makes_a_checker_panic(ops in prop::collection::vec(anything(), 0..60)) {
        let mut judge = Judge::new(options());
        let mut text = String::new();
        for (index, mut op) in (0..).zip(ops) {
            op.index = index;
            op.write_json(&mut text);
            text.push('\n');
            // Two batches of one key in one poll are read back as two polls, which means the same.
            judge.update(&op);
            if index % 16 == 0 {
                judge.suspects();
            }
        }
        let online = judge.finish();
        prop_assert!(online.reasons.iter().all(|reason| reason.name != "checker-failed"), "{:?}", online.reasons);
        let offline = check_reader(text.as_bytes(), "offline", options()).unwrap();
        let open = || Ok(Box::new(text.as_bytes()) as Input<'_>);
        let shown = check(open, Reading { name: "shown", threads: 1 }, options()).unwrap();
        // Who else read what a consumer went back to, only a second pass can know.
        let (mut once, mut twice, order) = (offline.clone(), shown.clone(), "total-order-disagreement");
        let [known, more] = [&mut once, &mut twice].map(|report| report.anomalies.remove(order).map_or(0, |finding| finding.count));
        prop_assert!(known <= more);
        prop_assert_eq!(summary(&twice), summary(&once));
        for example in shown.anomalies.values().flat_map(|finding| &finding.examples).filter(|example| !example.ops.is_empty()) {
            let evidence = example.evidence.as_ref().unwrap();
            prop_assert_eq!(evidence.ops.iter().filter(|op| op.cited).count() as u64 + evidence.more_ops, example.ops.len() as u64);
            prop_assert!(render_evidence(evidence, 4).lines().skip(evidence.steps.len()).all(|line| line.chars().count() <= 100));
        }
        prop_assert_eq!(online, offline, "{}", text);
    }

    #[test]
    fn any_bytes_are_judged_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = check_reader(&bytes[..], "noise", options());
    }

    #[test]
    fn a_damaged_history_is_judged_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut cluster = Cluster::new(2, 0);
        for step in 0..40 {
            cluster.step(step * 7, step * 13);
        }
        let mut bytes = lines(&cluster.finale()).into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = check_reader(&bytes[..], "damaged", options());
        let _ = check_reader(&bytes[..at], "cut", options()).unwrap();
    }
}

#[test]
fn a_suspect_is_no_proof_until_it_stays_unread() {
    let mut judge = Judge::new(JudgeOptions::default());
    let op = |process, op_type, body| Op {
        index: 0,
        time_ns: 0,
        process: Process::Client(process),
        op_type,
        body,
        error: None,
        client: None,
        node: None,
        extra: Extra::default(),
    };
    let send = |value, offset| op(0, OpType::Ok, Body::Send(vec![Send { key: 0, value, offset: Some(offset) }]));
    let poll = |process, offset, value| op(process, OpType::Ok, Body::Poll(Some(Polled(vec![(0, vec![(offset, value)])]))));
    for op in [send(1, 0), send(2, 1), poll(1, 1, 2)] {
        judge.update(&op);
    }
    let suspects = judge.suspects();
    assert_eq!(suspects.proved, []);
    assert_eq!(suspects.unread.iter().map(|suspect| (suspect.value, suspect.offset)).collect::<Vec<_>>(), [(1, 0)]);
    judge.update(&poll(2, 0, 1));
    assert_eq!(judge.suspects().unread, []);
    // The harness's own fault is no proof.
    judge.update(&poll(4, 7, 8));
    judge.update(&Op { op_type: OpType::Invoke, ..send(8, 7) });
    assert_eq!(judge.suspects().proved, []);
    judge.update(&poll(3, 9, 1));
    assert_eq!(judge.suspects().proved.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["duplicate"]);
}

#[test]
fn times_that_go_back_by_ages_are_summed_without_overflow() {
    let mut history = String::new();
    for process in 0..6 {
        let send = format!("\"type\":\"invoke\",\"f\":\"send\",\"value\":[[\"send\",0,{process}]]");
        history += &format!("{{\"time\":0,\"process\":{process},{send}}}\n");
    }
    for process in 0..6 {
        let time = if process % 2 == 0 { i64::MAX } else { 0 };
        let send = format!("\"type\":\"ok\",\"f\":\"send\",\"value\":[[\"send\",0,[{process},{process}]]]");
        history += &format!("{{\"time\":{time},\"process\":{process},{send}}}\n");
    }
    let report = check_reader(history.as_bytes(), "ages", options()).unwrap();
    assert_eq!(report.unavailable.total_ns.values().collect::<Vec<_>>(), [&u64::MAX]);
}
