use proptest::prelude::*;
use serde_json::json;

use crate::{Body, Extra, Line, MicroOp, Op, OpType, PlainSend, PollBegin, Polled, Process, RebalanceEvent, RebalanceType, Send, Spare};

fn read(line: &str) -> Op {
    Op::read_json(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}")).0
}

fn written(op: &Op) -> String {
    let mut line = String::new();
    op.write_json(&mut line);
    line
}

/// `line` is read, and written again it is the same line.
fn same(line: &str) {
    assert_eq!(written(&read(line)), line);
}

/// `line` is no op, and the error names this column and this word.
fn refused(line: &str, column: usize, word: &str) {
    let error = Op::read_json(line.as_bytes()).expect_err(line);
    assert_eq!((error.column, error.message.contains(word)), (column, true), "{line}\n{error}");
}

#[test]
fn every_shape_of_the_contract_is_written_as_it_was_read() {
    for line in [
        r#"{"index":3,"time":120,"process":0,"type":"ok","f":"send","value":[["send",0,[17,4]]]}"#,
        r#"{"index":0,"time":1,"process":0,"type":"invoke","f":"send","value":[["send",0,4],["send",1,-5]]}"#,
        r#"{"index":0,"time":1,"process":0,"type":"info","f":"send","value":[["send",0,[null,4]],["send",0,[8,5]]],"error":"timed out"}"#,
        r#"{"index":0,"time":1,"process":0,"type":"invoke","f":"poll","value":[["poll"]]}"#,
        r#"{"index":0,"time":1,"process":0,"type":"ok","f":"poll","value":[["poll",{"0":[[1152921504606846976,4],[7,5]],"-1":[]}]],"client":7}"#,
        r#"{"index":0,"time":1,"process":0,"type":"fail","f":"poll","value":[["poll",{"0":[[0,4]]}],["poll",{"0":[[1,5]]}]],"final":true}"#,
        r#"{"index":0,"time":1,"process":1,"type":"ok","f":"txn","value":[["poll",{}],["send",0,[3,4]]],"commit-time":99}"#,
        r#"{"index":0,"time":1,"process":1,"type":"ok","f":"assign","value":[0,1],"seek-to-beginning?":true}"#,
        r#"{"index":0,"time":1,"process":1,"type":"ok","f":"subscribe","value":[]}"#,
        r#"{"index":0,"time":1,"process":1,"type":"ok","f":"commit","value":{"0":5},"group":"g\n1"}"#,
        r#"{"index":0,"time":1,"process":1,"type":"invoke","f":"committed","value":[0],"group":"g"}"#,
        r#"{"index":0,"time":1,"process":1,"type":"ok","f":"committed","value":{"0":5},"group":"g"}"#,
        r#"{"index":0,"time":1,"process":1,"type":"info","f":"crash","value":null}"#,
        r#"{"index":0,"time":1,"process":1,"type":"invoke","f":"read","value":[2,null]}"#,
        r#"{"index":0,"time":1,"process":1,"type":"ok","f":"read","value":[2,9],"version":4,"zxid":12884901890}"#,
        r#"{"index":0,"time":1,"process":1,"type":"ok","f":"write","value":[2,9]}"#,
        r#"{"index":0,"time":1,"process":1,"type":"ok","f":"cas","value":[2,[9,10]]}"#,
        r#"{"index":0,"time":1,"process":1,"type":"ok","f":"dance","value":null}"#,
        r#"{"index":0,"time":1,"process":"nemesis","type":"info","f":"kill-leader","value":{"on":["b1"],"proof":1.5}}"#,
        concat!(
            r#"{"index":0,"time":1,"process":1,"type":"ok","f":"poll","value":[["poll",{}]],"intended":8,"#,
            r#""node":"b1","isolation":"read_committed","rebalance-log":[{"type":"assigned","keys":[0]},{"type":"lost","keys":[]}],"#,
            r#""leader-epochs":{"0":4},"corrupt":[[0,17,"crc"]]}"#
        ),
    ] {
        same(line);
    }
}

#[test]
fn what_is_missing_is_told_and_what_is_unknown_is_passed_over() {
    let line =
        br#" { "f":"send", "value":[["send",0,[17,4]]], "new":{"a":[1,{"b":"\u00e9\"}"}]}, "type":"ok", "process":3, "error":["x"] } "#;
    let (op, index, time) = Op::read_json(line).unwrap();
    assert_eq!((index, time, op.process), (None, None, Process::Client(3)));
    assert_eq!(op.body, Body::Send(vec![Send { key: 0, value: 4, offset: Some(17) }]));
    assert_eq!(op.error.as_deref(), Some(r#"["x"]"#));
    let base = r#""process":0,"type":"info","f":"#;
    for (rest, body) in [
        (r#""poll","value":null"#, Body::Poll(None)),
        (r#""poll""#, Body::Poll(None)),
        (r#""send","value":null"#, Body::Send(vec![])),
        (r#""read","value":7"#, Body::Read { key: 0, value: Some(7) }),
        (r#""write","value":7"#, Body::Write { key: 0, value: 7 }),
        (r#""cas","value":[7,8]"#, Body::Cas { key: 0, old: 7, new: 8 }),
        (r#""poll","value":[["poll",{"0":[[null,7]]}]]"#, Body::Poll(Some(Polled(vec![(0, vec![(-1, 7)])])))),
        (r#""dance","value":[1,2]"#, Body::Unknown { f: "dance".to_owned() }),
    ] {
        assert_eq!(read(&format!("{{{base}{rest}}}")).body, body);
    }
}

#[test]
fn a_line_that_is_no_op_is_refused_with_its_column() {
    let op = |rest: &str| format!(r#"{{"process":0,"type":"ok","f":"send",{rest}}}"#);
    refused("", 1, "ends here");
    refused("[1]", 1, "an op");
    refused(r#"{"index":1,"time":2"#, 20, "ends here");
    refused(r#"{"index":-1}"#, 10, "negative");
    refused(r#"{"index":01}"#, 10, "leading zero");
    refused(r#"{"index":1.5}"#, 10, "no integer");
    refused(r#"{"index":92233720368547758079}"#, 10, "64 bits");
    refused(r#"{"type":"okay"}"#, 9, "invoke, ok, fail, info");
    refused(r#"{"process":"zebra"}"#, 12, "nemesis");
    refused(r#"{"process":4294967296}"#, 12, "32 bits");
    refused(r#"{"process":0,"type":"ok"}"#, 25, "\"f\"");
    refused(&op(r#""value":[["send",0,[1]]]"#), 58, "value");
    refused(&op(r#""value":[["append",0,[1,1]]]"#), 47, "append");
    refused(&op(r#""value":[["poll"]]"#), 46, "txn");
    refused(&op(r#""value":null"#), 45, "a list of sends");
    refused(&(op(r#""value":[]"#) + "x"), 48, "end of the line");
    refused(r#"{"process":0,"type":"ok","f":"poll","value":[["poll",{"zero":[]}]]}"#, 62, "key");
    refused("{\"a\":\"\u{1}\"}", 7, "control");
    refused(&format!("{{\"a\":{}", "[".repeat(1_000_000)), 134, "nested deeper");
    assert_eq!(Op::read_json(b"{\"a\":\"\xff\"}").unwrap_err().column, 7);
}

fn numbers() -> impl Strategy<Value = i64> {
    prop_oneof![0..20_i64, any::<i64>(), Just(1 << 60), Just(1_000_000_000_000)]
}

fn sends() -> impl Strategy<Value = Send> {
    (numbers(), numbers(), proptest::option::of(numbers())).prop_map(|(key, value, offset)| Send { key, value, offset })
}

fn polls() -> impl Strategy<Value = Option<Polled>> {
    let batch = (0..4_i64, prop::collection::vec((numbers(), numbers()), 0..4));
    proptest::option::of(prop::collection::vec(batch, 0..4).prop_map(Polled))
}

fn bodies() -> impl Strategy<Value = Body> {
    let keys = || prop::collection::vec(numbers(), 0..4);
    let offsets = || prop::collection::btree_map(numbers(), numbers(), 0..4);
    prop_oneof![
        prop::collection::vec(sends(), 0..4).prop_map(Body::Send),
        polls().prop_map(Body::Poll),
        (keys(), any::<bool>()).prop_map(|(keys, seek_to_beginning)| Body::Assign { keys, seek_to_beginning }),
        keys().prop_map(|keys| Body::Subscribe { keys }),
        offsets().prop_map(Body::Commit),
        offsets().prop_map(|offsets| Body::Committed { keys: offsets.keys().copied().collect(), offsets }),
        Just(Body::Crash),
        (numbers(), proptest::option::of(numbers())).prop_map(|(key, value)| Body::Read { key, value }),
        (numbers(), numbers()).prop_map(|(key, value)| Body::Write { key, value }),
        (numbers(), numbers(), numbers()).prop_map(|(key, old, new)| Body::Cas { key, old, new }),
        ".{1,6}".prop_map(|f| Body::Unknown { f: format!("x{f}") }),
    ]
}

fn extras() -> impl Strategy<Value = Extra> {
    let event = prop_oneof![Just(RebalanceType::Assigned), Just(RebalanceType::Revoked), Just(RebalanceType::Lost)];
    let event = (event, prop::collection::vec(numbers(), 0..3)).prop_map(|(event, keys)| RebalanceEvent { event, keys });
    (
        proptest::option::of(0..i64::MAX as u64),
        proptest::option::of(".*"),
        prop::collection::vec(event, 0..3),
        prop::collection::btree_map(numbers(), any::<i32>(), 0..3),
        prop::collection::vec((numbers(), numbers(), ".*"), 0..3),
        any::<bool>(),
    )
        .prop_map(|(time_ns, text, rebalance_log, leader_epochs, corrupt, is_final)| Extra {
            intended_ns: time_ns,
            commit_time_ns: time_ns,
            group: text.clone(),
            isolation: text.clone(),
            reset: text,
            rebalance_log,
            leader_epochs,
            corrupt,
            version: time_ns.map(|ns| -(ns as i64)),
            zxid: time_ns.map(|ns| ns as i64),
            is_final,
        })
}

proptest! {
    #[test]
    fn an_op_survives_being_written_and_read(
        body in bodies(), extra in extras(), index in 0..i64::MAX as u64, process in any::<u32>(), text in proptest::option::of(".*"),
        op_type in prop_oneof![Just(OpType::Invoke), Just(OpType::Ok), Just(OpType::Fail), Just(OpType::Info)],
    ) {
        // An invoked `committed` speaks of keys, a completed one of offsets.
        let body = match body {
            Body::Committed { keys, .. } if op_type == OpType::Invoke => Body::Committed { keys, offsets: Default::default() },
            other => other,
        };
        let op = Op {
            index, time_ns: index / 2, process: Process::Client(process), op_type, body, error: text.clone(), client: Some(process), node: text, extra,
        };
        let line = written(&op);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{}", line);
        // What an empty poll list is, its shape cannot tell; neither does it matter.
        prop_assert_eq!(Op::read_json(line.as_bytes()).unwrap(), (op, Some(index), Some(index / 2)));
    }

    #[test]
    fn transactions_survive_as_well(parts in prop::collection::vec(prop_oneof![sends().prop_map(MicroOp::Send), polls().prop_map(MicroOp::Poll)], 0..4)) {
        // Two batches of one key in one poll are written as two polls: compared as text.
        let op = Op { body: Body::Txn(parts), ..read(r#"{"index":1,"time":2,"process":0,"type":"ok","f":"crash"}"#) };
        same(&written(&op));
    }

    #[test]
    fn a_damaged_line_never_panics_and_is_read_only_if_it_is_json(body in bodies(), extra in extras(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let op = Op { body, extra, ..read(r#"{"index":1,"time":2,"process":0,"type":"ok","f":"crash"}"#) };
        let mut line = written(&op).into_bytes();
        let at = at.index(line.len());
        if cut { line.truncate(at) } else { line[at] = byte }
        if Op::read_json(&line).is_ok() {
            // serde_json refuses numbers like 1e999, which are JSON all the same.
            let strict = serde_json::from_slice::<serde_json::Value>(&line);
            prop_assert!(strict.as_ref().map_or_else(|error| error.to_string().contains("number out of range"), |_| true));
        }
    }

    #[test]
    fn an_op_that_is_filled_again_is_read_as_a_new_one(
        ops in prop::collection::vec((prop_oneof![bodies(), prop::collection::vec(prop_oneof![sends().prop_map(MicroOp::Send), polls().prop_map(MicroOp::Poll)], 0..4).prop_map(Body::Txn)], extras(), any::<u32>(), any::<bool>(), any::<bool>()), 1..6), at in any::<prop::sample::Index>(), byte in prop_oneof![any::<u8>(), Just(b' '), Just(b'0')],
    ) {
        let (mut again, mut spare) = (Op::default(), Spare::default());
        for (body, extra, process, plain, damage) in ops {
            let extra = if plain { Extra { is_final: extra.is_final, leader_epochs: extra.leader_epochs, commit_time_ns: extra.commit_time_ns, ..Extra::default() } } else { extra };
            let node = Some("kafka:3".to_owned()).filter(|_| process % 3 == 0);
            let op_type = if process % 2 == 0 { OpType::Invoke } else { OpType::Ok };
            let op = Op { index: u64::from(process), time_ns: 7, process: Process::Client(process), op_type, body, extra, node, ..Op::default() };
            let mut line = written(&op).into_bytes();
            if damage {
                let at = at.index(line.len());
                line[at] = byte;
            }
            let told = again.read_json_into(&line, &mut spare);
            match Op::read_json(&line) {
                Ok((op, index, time_ns)) => {
                    prop_assert_eq!(told, Ok((index, time_ns)));
                    prop_assert_eq!(&again, &op, "{}", String::from_utf8_lossy(&line));
                }
                Err(error) => prop_assert_eq!(told, Err(error)),
            }
            read_as_plain(&line);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Op::read_json(&bytes);
    }

    #[test]
    fn json_beside_an_op_is_accepted_exactly_if_it_is_json(text in "[\\[\\]{}:,\"a0-9.eE+ \\\\untrlf-]{0,24}") {
        let line = format!(r#"{{"process":0,"type":"ok","f":"crash","beside":{text}}}"#);
        let strict = serde_json::from_str::<serde_json::Value>(&line).is_ok();
        // serde_json refuses numbers like 1e999, which are JSON all the same.
        prop_assert!(Op::read_json(line.as_bytes()).is_ok() == strict || text.contains(['e', 'E']), "{}", line);
    }
}

#[test]
fn a_nemesis_value_is_kept_as_it_is() {
    let op = read(r#"{"process":"nemesis","type":"info","f":"phase","value":"trouble"}"#);
    assert_eq!(op.body, Body::Nemesis { f: "phase".to_owned(), value: json!("trouble") });
}

#[test]
fn fields_that_stand_twice_and_blanks_are_read_alike_by_both_readers() {
    let head = r#"{"index": 0, "time": 1, "process": 2, "type": "ok", "f": "send", "value": [["send", 0, [17, 4]]]"#;
    let poll = r#"{"index":0,"time":1,"process":2,"type":"ok","f":"poll","value":[["poll",{"0":[[1,2],[null,3]],"1":[]}]]"#;
    let begin = r#"{"index":0,"time":1,"process":2,"type":"invoke","f":"poll","value":[["poll"]]"#;
    for head in [head, poll, begin] {
        for rest in [
            "}",
            r#", "client": 3}"#,
            r#","client":3,"client":5000000000}"#,
            r#","leader-epochs":{"0":1},"leader-epochs":{"1":2}}"#,
            r#","leader-epochs":{},"final":true}"#,
            r#","final":truer}"#,
            r#","intended":00}"#,
            r#","node":"b1"}"#,
            r#","node":"b1","node":"b22","client":1}"#,
            r#","node":"b\n"}"#,
            r#","node":"b1}"#,
            r#","node":null}"#,
            r#","isolation":"read_committed","final":true}"#,
            r#","isolation":"a","isolation":null}"#,
            "\",\"node\":\"\u{e9}\"}",
            "\",\"node\":\"\u{7f}\"}",
            "} ",
            "",
        ] {
            let line = format!("{head}{rest}");
            let mut op = Op::default();
            let told = op.read_json_into(line.as_bytes(), &mut Spare::default());
            match Op::read_json(line.as_bytes()) {
                Ok((same, index, time_ns)) => assert_eq!((op, told), (same, Ok((index, time_ns))), "{line}"),
                Err(error) => assert_eq!(told, Err(error), "{line}"),
            }
            read_as_plain(line.as_bytes());
        }
    }
}

/// Read as a plain send or not, a line says the same.
#[track_caller]
fn read_as_plain(line: &[u8]) {
    let mut op = Op::default();
    let told = op.read_json_or_plain(line, &mut Spare::default());
    match (Op::read_json(line), told) {
        (Ok((same, index, time_ns)), Ok(Line::Plain(plain))) => {
            let same = Op { index: index.unwrap_or(0), time_ns: time_ns.unwrap_or(0), ..same };
            assert_eq!(PlainSend::of(&same), Some(plain), "{}", String::from_utf8_lossy(line));
        }
        (Ok((same, index, time_ns)), Ok(Line::PollBegin(begin))) => {
            let same = Op { index: index.unwrap_or(0), time_ns: time_ns.unwrap_or(0), ..same };
            assert_eq!(PollBegin::of(&same), Some(begin), "{}", String::from_utf8_lossy(line));
        }
        (Ok((same, index, time_ns)), told) => assert_eq!((op, told), (same, Ok(Line::Op(index, time_ns)))),
        (Err(error), told) => assert_eq!(told, Err(error)),
    }
}

#[test]
fn what_says_how_a_value_is_read_does_not_change_after_it() {
    for (line, word) in [
        (r#"{"process":"nemesis","type":"info","f":"read","value":7,"process":5}"#, r#""process" stands twice"#),
        (r#"{"process":5,"type":"info","f":"read","value":7,"process":"nemesis"}"#, r#""process" stands twice"#),
        (r#"{"process":5,"type":"invoke","f":"poll","value":[["poll"]],"type":"ok"}"#, r#""type" stands twice"#),
        (r#"{"process":5,"type":"ok","f":"read","value":7,"f":"write"}"#, r#""f" stands twice"#),
    ] {
        refused(line, line.len(), word);
    }
    same_meaning(
        r#"{"process":4,"type":"ok","f":"read","value":7,"process":5,"type":"ok"}"#,
        r#"{"process":5,"type":"ok","f":"read","value":7}"#,
    );
}

#[track_caller]
fn same_meaning(line: &str, other: &str) {
    assert_eq!(read(line), read(other));
}
