//! Whatever is written comes back equal; whatever is damaged is refused.

use std::collections::BTreeMap;

use kchaos_core::{
    Body, Extra, MicroOp, Op, OpSink, OpType, PlainPoll, PlainSend, PollBegin, Polled, Process, RebalanceEvent, RebalanceType, Send,
};
use proptest::prelude::*;

use crate::layout::{COLUMNS, push_varint};
use crate::{ColumnsError, Ops, Reader, Writer, frame, is_columns};

fn op(index: u64, body: Body) -> Op {
    let (process, op_type) = (Process::Client(0), OpType::Invoke);
    Op { index, time_ns: 0, process, op_type, body, error: None, client: None, node: None, extra: Extra::default() }
}

fn written(ops: &[Op], block_ops: usize) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new()).unwrap();
    for (index, op) in ops.iter().enumerate() {
        writer.write(op).unwrap();
        if index % block_ops == block_ops - 1 {
            writer.flush().unwrap();
        }
    }
    writer.finish().unwrap()
}

/// The ops, and why the end is missing.
fn read(bytes: &[u8]) -> Result<(Vec<Op>, Option<String>), ColumnsError> {
    let mut reader = Reader::new(bytes)?;
    let (mut all, mut ops) = (Vec::new(), Ops::new());
    while reader.next_block(&mut ops)? {
        all.extend_from_slice(&ops);
    }
    Ok((all, reader.truncated().map(str::to_owned)))
}

/// What a listener heard who takes plain sends as such.
#[derive(Debug, PartialEq)]
enum Heard {
    Plain(PlainSend),
    /// A poll: what it says, and nothing that is left out.
    Poll(Box<Op>),
    PollBegin(PollBegin),
    Op(Box<Op>),
}

#[derive(Default)]
struct Ears(Vec<Heard>);

impl OpSink for Ears {
    const TAKES_PLAIN: bool = true;

    fn op(&mut self, op: &Op) {
        self.0.push(Heard::Op(Box::new(op.clone())));
    }

    fn plain_send(&mut self, send: &PlainSend) {
        self.0.push(Heard::Plain(*send));
    }

    fn plain_poll(&mut self, poll: &PlainPoll<'_>) {
        self.0.push(Heard::Poll(Box::new(poll.to_op())));
    }

    fn poll_begins(&mut self, poll: &PollBegin) {
        self.0.push(Heard::PollBegin(*poll));
    }
}

/// Told with plain sends as such, a file says the same, or is refused.
#[track_caller]
fn tells_the_same(bytes: &[u8]) {
    let Ok(mut reader) = Reader::new(bytes) else { return };
    let (mut heard, mut scratch) = (Ears::default(), Ops::new());
    let told = loop {
        match reader.tell_block(&mut scratch, &mut heard) {
            Ok(true) => {}
            other => break other.map(drop).map_err(|error| error.to_string()),
        }
    };
    match read(bytes) {
        Ok((ops, truncated)) => {
            assert_eq!((told, reader.truncated().map(str::to_owned), reader.ops()), (Ok(()), truncated, ops.len() as u64));
            assert_eq!(heard.0.len(), ops.len());
            for (heard, op) in heard.0.iter().zip(&ops) {
                match heard {
                    Heard::Plain(plain) => assert_eq!(Some(*plain), PlainSend::of(op)),
                    Heard::Poll(heard) => assert_eq!(Some(&**heard), PlainPoll::of(op).map(|poll| poll.to_op()).as_ref()),
                    Heard::PollBegin(begin) => assert_eq!(Some(*begin), PollBegin::of(op)),
                    Heard::Op(heard) => assert_eq!(**heard, *op),
                }
            }
        }
        Err(_) => assert!(told.is_err()),
    }
}

fn numbered(mut ops: Vec<Op>) -> Vec<Op> {
    ops.iter_mut().zip(0..).for_each(|(op, index)| op.index = index);
    ops
}

/// As histories have them, and as an adversary does.
fn numbers() -> impl Strategy<Value = i64> {
    prop_oneof![6 => 0..6_i64, 1 => any::<i64>(), 1 => Just(1 << 60), 1 => Just(1_000_000_000_000), 1 => Just(i64::MIN), 1 => Just(i64::MAX), 1 => -9..0_i64]
}

fn sends() -> impl Strategy<Value = Send> {
    (numbers(), numbers(), proptest::option::of(numbers())).prop_map(|(key, value, offset)| Send { key, value, offset })
}

fn polls() -> impl Strategy<Value = Option<Polled>> {
    let run = (numbers(), numbers(), 0..300_i64)
        .prop_map(|(offset, value, count)| (0..count).map(|n| (offset.wrapping_add(n), value.wrapping_add(n))).collect::<Vec<_>>());
    let batch = (0..4_i64, prop_oneof![prop::collection::vec((numbers(), numbers()), 0..4), run]);
    proptest::option::of(prop::collection::vec(batch, 0..4).prop_map(Polled))
}

fn bodies() -> impl Strategy<Value = Body> {
    let keys = || prop::collection::vec(numbers(), 0..4);
    let offsets = || prop::collection::btree_map(numbers(), numbers(), 0..4);
    let parts = || prop::collection::vec(prop_oneof![sends().prop_map(MicroOp::Send), polls().prop_map(MicroOp::Poll)], 0..4);
    prop_oneof![
        6 => sends().prop_map(|send| Body::Send(vec![send])),
        2 => prop::collection::vec(sends(), 0..4).prop_map(Body::Send),
        4 => polls().prop_map(Body::Poll),
        3 => parts().prop_map(Body::Txn),
        1 => (keys(), any::<bool>()).prop_map(|(keys, seek_to_beginning)| Body::Assign { keys, seek_to_beginning }),
        1 => keys().prop_map(|keys| Body::Subscribe { keys }),
        1 => offsets().prop_map(Body::Commit),
        1 => offsets().prop_map(|offsets| Body::Committed { keys: offsets.keys().copied().collect(), offsets }),
        1 => Just(Body::Crash),
        1 => (numbers(), proptest::option::of(numbers())).prop_map(|(key, value)| Body::Read { key, value }),
        1 => (numbers(), numbers(), numbers()).prop_map(|(key, old, new)| Body::Cas { key, old, new }),
        1 => (numbers(), numbers()).prop_map(|(key, value)| Body::Write { key, value }),
        1 => ".{1,6}".prop_map(|f| Body::Unknown { f: format!("x{f}") }),
        1 => ".{0,6}".prop_map(|f| Body::Nemesis { f, value: serde_json::json!({"on": ["b1", 1.5]}) }),
    ]
}

fn extras() -> impl Strategy<Value = Extra> {
    let event = prop_oneof![Just(RebalanceType::Assigned), Just(RebalanceType::Revoked), Just(RebalanceType::Lost)];
    let event = (event, prop::collection::vec(numbers(), 0..3)).prop_map(|(event, keys)| RebalanceEvent { event, keys });
    let time_ns = || proptest::option::of(prop_oneof![0..1000_u64, 0..i64::MAX as u64]);
    let number = || proptest::option::weighted(0.1, numbers());
    let some = (
        (time_ns(), time_ns()),
        proptest::option::of("[a-c]"),
        proptest::option::of(".*"),
        prop::collection::vec(event, 0..2),
        prop::collection::btree_map(0..4_i64, any::<i32>(), 0..4),
        prop::collection::vec((numbers(), numbers(), ".*"), 0..2),
        (number(), number()),
        (any::<bool>(), proptest::option::of("[a-c]")),
    );
    let some = some.prop_map(
        |((intended_ns, commit_time_ns), group, isolation, rebalance_log, leader_epochs, corrupt, numbers, (is_final, reset))| {
            let (version, zxid) = numbers;
            Extra { intended_ns, commit_time_ns, group, isolation, rebalance_log, leader_epochs, corrupt, version, zxid, reset, is_final }
        },
    );
    let simple = (time_ns(), any::<bool>()).prop_map(|(intended_ns, is_final)| Extra { intended_ns, is_final, ..Extra::default() });
    prop_oneof![3 => Just(Extra::default()), 2 => simple, 1 => some]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let types = prop_oneof![3 => Just(OpType::Invoke), 3 => Just(OpType::Ok), 1 => Just(OpType::Fail), 1 => Just(OpType::Info)];
    let text = || proptest::option::weighted(0.2, prop_oneof!["[a-c]", ".*"]);
    let (process, client) = (prop_oneof![0..3_u32, any::<u32>()], proptest::option::of(prop_oneof![0..3_u32, any::<u32>()]));
    let one = (bodies(), extras(), types, process, client, prop_oneof![0..1000_u64, 0..i64::MAX as u64], text(), text(), any::<bool>());
    let one = one.prop_map(|(body, extra, op_type, process, client, time_ns, error, node, has_epochs)| {
        let body = match body {
            // An invoked `committed` speaks of keys, a completed one of offsets.
            Body::Committed { keys, .. } if op_type == OpType::Invoke => Body::Committed { keys, offsets: BTreeMap::new() },
            other => other,
        };
        let process = if matches!(body, Body::Nemesis { .. }) { Process::Nemesis } else { Process::Client(process) };
        let mut op = Op { index: 0, time_ns, process, op_type, body, error, client, node, extra };
        if let (Body::Poll(Some(polled)), true) = (&op.body, has_epochs) {
            op.extra.leader_epochs = polled.0.iter().map(|(key, _)| (*key, i32::MIN + *key as i32)).collect();
        }
        op
    });
    // Some are completed as they were invoked.
    let pair = (one, any::<bool>()).prop_map(|(op, twice)| {
        let completed = Op { op_type: OpType::Ok, ..op.clone() };
        let is_committed = matches!(op.body, Body::Committed { .. });
        if twice && !is_committed { vec![Op { op_type: OpType::Invoke, ..op }, completed] } else { vec![op] }
    });
    prop::collection::vec(pair, 0..40).prop_map(|ops| numbered(ops.concat()))
}

proptest! {
    #[test]
    fn what_is_written_is_read(ops in ops(), block_ops in 1..60_usize) {
        let bytes = written(&ops, block_ops);
        prop_assert!(is_columns(&bytes[..8]));
        let (back, truncated) = read(&bytes).unwrap();
        prop_assert_eq!(back.len(), ops.len());
        for (back, op) in back.iter().zip(&ops) {
            prop_assert_eq!(back, op);
        }
        prop_assert_eq!(truncated, None);
        tells_the_same(&bytes);
    }

    #[test]
    fn what_was_read_before_leaves_no_trace(one in ops(), other in ops()) {
        let (one_bytes, other_bytes) = (written(&one, 9), written(&other, 1000));
        let mut used = Ops::new();
        for (bytes, ops) in [(&one_bytes, &one), (&other_bytes, &other), (&one_bytes, &one)] {
            let (mut reader, mut at) = (Reader::new(bytes.as_slice()).unwrap(), 0);
            while reader.next_block(&mut used).unwrap() {
                prop_assert_eq!(&used[..], &ops[at..at + used.len()]);
                at += used.len();
            }
            prop_assert_eq!(at, ops.len());
        }
    }

    #[test]
    fn a_flipped_byte_is_an_error_that_says_where(ops in ops(), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut bytes = written(&ops, 10);
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        tells_the_same(&bytes);
        match read(&bytes) {
            Err(ColumnsError::Foreign | ColumnsError::Version { .. }) => prop_assert!(at < 8),
            Err(ColumnsError::Corrupt { position, .. }) => prop_assert!(position <= at as u64),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn a_cut_file_has_its_whole_blocks_and_says_so(ops in ops(), at in any::<prop::sample::Index>()) {
        let bytes = written(&ops, 10);
        let at = at.index(bytes.len());
        tells_the_same(&bytes[..at]);
        match read(&bytes[..at]) {
            Err(ColumnsError::Foreign) => prop_assert!(at < 8),
            Ok((back, Some(_))) => prop_assert!(back == ops[..back.len()] && back.len().is_multiple_of(10) || back == ops),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    /// A damaged body behind checksums that are right: somebody made it so.
    #[test]
    fn a_forged_block_is_read_or_refused(
        ops in ops(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in any::<prop::sample::Index>(), cuts in any::<bool>(),
    ) {
        let bytes = written(&ops, 1000);
        if bytes.len() <= 32 {
            return Ok(());
        }
        let mut body = bytes[20..bytes.len() - 12].to_vec();
        for (at, byte) in changes {
            // Most of what matters stands at the start.
            let at = at.index(body.len() * 2);
            let at = if at < body.len() { at } else { (at - body.len()) % 200.min(body.len()) };
            body[at] = byte;
        }
        if cuts {
            body.truncate(cut.index(body.len()));
        }
        let forged = [&bytes[..8], &frame::head(0, &body), &body, &frame::end(1, ops.len() as u64)].concat();
        tells_the_same(&forged);
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
        let forged = [b"\xabKCHAOS\x01".as_slice(), &frame::head(0, &bytes), &bytes].concat();
        tells_the_same(&forged);
    }
}

#[test]
fn a_long_history_comes_back_over_block_and_portion_edges() {
    let mut ops = Vec::new();
    for n in 0..50_000_i64 {
        let process = Process::Client((n % 40) as u32);
        let send = |offset| Body::Send(vec![Send { key: n % 7, value: n / 7, offset }]);
        ops.push(Op { time_ns: n as u64 * 1000, process, client: Some(3), ..op(0, send(None)) });
        ops.push(Op { time_ns: n as u64 * 1000 + 10, process, client: Some(3), op_type: OpType::Ok, ..op(0, send(Some(n / 7))) });
        if n % 70 == 69 {
            let polled = (0..7).map(|key| (key, (n / 7 - 9..=n / 7).map(|offset| (offset, offset)).collect())).collect();
            ops.push(Op { process: Process::Client(100), op_type: OpType::Ok, ..op(0, Body::Poll(Some(Polled(polled)))) });
        }
        if n % 1000 == 0 {
            let value = serde_json::json!({"a": n});
            ops.push(Op { process: Process::Nemesis, op_type: OpType::Info, ..op(0, Body::Nemesis { f: "kill".to_owned(), value }) });
        }
    }
    let ops = numbered(ops);
    let bytes = written(&ops, usize::MAX);
    assert_eq!(read(&bytes).unwrap(), (ops, None));
    assert!(bytes.len() < 50_000 * 6, "{} bytes", bytes.len());
}

#[test]
fn ops_that_are_not_dense_are_refused_when_written() {
    let mut writer = Writer::new(Vec::new()).unwrap();
    writer.write(&op(0, Body::Crash)).unwrap();
    let error = writer.write(&op(2, Body::Crash)).unwrap_err();
    assert_eq!(error.to_string(), "op 1 has the index 2: a compact history is dense");
}

#[test]
fn a_block_that_is_missing_or_doubled_is_noticed() {
    let ops = numbered((0..3).map(|_| op(0, Body::Crash)).collect());
    let bytes = written(&ops, 1);
    let block = (bytes.len() - 8 - 12) / 3;
    let [missing, doubled] = [8 + block..8 + 2 * block, 8..8 + block];
    let without = [&bytes[..missing.start], &bytes[missing.end..]].concat();
    let with = [&bytes[..doubled.end], &bytes[doubled.start..]].concat();
    for bytes in [without, with] {
        let error = read(&bytes).unwrap_err().to_string();
        assert!(error.starts_with(&format!("block 1 at byte {}: its head does not match", 8 + block)), "{error}");
    }
    let twice = [bytes.as_slice(), &bytes].concat();
    assert!(read(&twice).unwrap_err().to_string().contains("something follows the end mark"));
}

#[test]
fn numbers_beyond_what_a_block_may_have_are_refused_before_anything_is_allocated() {
    let body = |ops: u64, records: u64, unpacked: u64| {
        let mut body = Vec::new();
        [ops, 0, 0, 0, 0, 0, records].into_iter().for_each(|number| push_varint(&mut body, number));
        // Each column has one number, and says that it unpacks to so much.
        for _ in 0..COLUMNS {
            body.extend_from_slice(&[1, 1]);
            push_varint(&mut body, unpacked);
            body.push(0);
        }
        body.extend_from_slice(&[0, 0, 0, 0]);
        body
    };
    for (body, word) in [
        (body(1 << 40, 0, 1), "beyond what a block may have"),
        (body(0, 0, 1), "beyond what a block may have"),
        (body(1, 1 << 40, 1), "beyond what a block may have"),
        (body(1, 1, 1 << 40), "more than the 134217728 that a block may have"),
        (body(1, 1, u64::MAX), "more than the 134217728 that a block may have"),
        (body(1, 1, 4 << 20), "column 0 unpacks to 0 bytes"),
    ] {
        let file = [b"\xabKCHAOS\x01".as_slice(), &frame::head(0, &body), &body].concat();
        let error = read(&file).unwrap_err().to_string();
        assert!(error.starts_with("block 0 at byte 8: ") && error.contains(word), "{error}");
    }
}

#[test]
fn another_version_and_other_files_are_told_apart() {
    let mut bytes = written(&[], 1);
    assert_eq!(read(&bytes).unwrap(), (vec![], None));
    bytes[7] = 2;
    assert!(is_columns(&bytes));
    assert_eq!(read(&bytes).unwrap_err().to_string(), "version 2 of the compact history: this kchaos reads version 1");
    assert!(!is_columns(b"{\"index\":"));
    assert!(matches!(read(b"{\"index\":0}"), Err(ColumnsError::Foreign)));
}
