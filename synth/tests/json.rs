//! The fast writer's text is the ordinary writer's.

use kchaos_core::{Body, Extra, MicroOp, Op, OpType, Polled, Process, Send};
use kchaos_synth::{Options, Synth, Workload, write_json};
use proptest::prelude::*;

fn ordinary(op: &Op) -> String {
    let mut line = String::new();
    op.write_json(&mut line);
    line
}

fn fast(op: &Op) -> String {
    let mut line = Vec::new();
    write_json(op, &mut line);
    String::from_utf8(line).unwrap()
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), -200..200_i64, 0..1_000_000_000_000_i64, Just(i64::MIN), Just(i64::MAX)]
}

fn send() -> impl Strategy<Value = Send> {
    (number(), number(), proptest::option::of(number())).prop_map(|(key, value, offset)| Send { key, value, offset })
}

fn polled() -> impl Strategy<Value = Option<Polled>> {
    let records = prop::collection::vec((number(), number()), 0..4);
    proptest::option::of(prop::collection::vec((0..3_i64, records), 0..4).prop_map(Polled))
}

fn body() -> impl Strategy<Value = Body> {
    let part = prop_oneof![send().prop_map(MicroOp::Send), polled().prop_map(MicroOp::Poll)];
    prop_oneof![
        prop::collection::vec(send(), 0..4).prop_map(Body::Send),
        polled().prop_map(Body::Poll),
        prop::collection::vec(part, 0..4).prop_map(Body::Txn),
        (number(), proptest::option::of(number())).prop_map(|(key, value)| Body::Read { key, value }),
        (number(), number()).prop_map(|(key, value)| Body::Write { key, value }),
        (number(), number(), number()).prop_map(|(key, old, new)| Body::Cas { key, old, new }),
        (prop::collection::vec(number(), 0..4), any::<bool>()).prop_map(|(keys, seek)| Body::Assign { keys, seek_to_beginning: seek }),
        prop::collection::btree_map(number(), number(), 0..4).prop_map(Body::Commit),
        Just(Body::Crash),
    ]
}

fn extra() -> impl Strategy<Value = Extra> {
    let time = || proptest::option::of(any::<u64>());
    let number = || proptest::option::of(number());
    (time(), time(), number(), number(), any::<bool>(), proptest::option::weighted(0.1, ".*")).prop_map(
        |(intended_ns, commit_time_ns, version, zxid, is_final, group)| Extra {
            intended_ns,
            commit_time_ns,
            version,
            zxid,
            is_final,
            group,
            ..Extra::default()
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let process = prop_oneof![9 => any::<u32>().prop_map(Process::Client), 1 => Just(Process::Nemesis)];
    let op_type = prop_oneof![Just(OpType::Invoke), Just(OpType::Ok), Just(OpType::Fail), Just(OpType::Info)];
    let text = || proptest::option::weighted(0.1, ".*");
    let client = proptest::option::of(any::<u32>());
    (any::<u64>(), any::<u64>(), process, op_type, body(), client, extra(), text(), text()).prop_map(
        |(index, time_ns, process, op_type, body, client, extra, error, node)| Op {
            index,
            time_ns,
            process,
            op_type,
            body,
            error,
            client,
            node,
            extra,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4000) })]

    #[test]
    fn any_op_is_the_same_line(op in op()) {
        prop_assert_eq!(fast(&op), ordinary(&op));
    }

    #[test]
    fn numbers_of_every_length_are_the_same(digits in 0..20_u32, more in any::<u64>()) {
        let index = more % 10_u64.saturating_pow(digits).max(1);
        let op = Op { index, time_ns: 0, process: Process::Client(0), op_type: OpType::Ok, body: Body::Poll(None), error: None, client: None,
            node: None, extra: Extra::default() };
        prop_assert_eq!(fast(&op), ordinary(&op));
    }
}

#[test]
fn every_line_of_a_history_is_the_same_and_reads_back_as_the_same_op() {
    for workload in Workload::ALL {
        let synth = Synth::new(Options { workload, faults: 2, info: 0.05, batch: 3, sends: 20_000, ..Options::default() }).unwrap();
        synth
            .each(|op| {
                assert_eq!(fast(op), ordinary(op));
                Ok::<_, std::convert::Infallible>(())
            })
            .unwrap();
        let mut lines = Vec::new();
        synth.write(&mut lines).unwrap();
        let mut read = Vec::new();
        kchaos_checkers::read_ops(&lines[..], "synth", |op| read.push(ordinary(op))).unwrap();
        let lines: Vec<&str> = std::str::from_utf8(&lines).unwrap().lines().collect();
        assert_eq!(read.len(), lines.len());
        for (read, line) in read.iter().zip(lines) {
            assert_eq!(read, line);
        }
    }
}
