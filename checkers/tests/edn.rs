//! Jepsen's EDN says what the JSON lines say, and is judged the same.

mod common;
#[path = "common/edn.rs"]
mod writer;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use common::{history, summary};
use kchaos_checkers::{CheckReport, InputError, JudgeOptions, check_reader, read_ops};
use kchaos_core::{Body, Extra, MicroOp, Op, OpType, Polled, Process, RebalanceEvent, RebalanceType, Send};
use proptest::prelude::*;
use writer::Writer;

const OPS: &str = "\
{:index 0, :time 0, :process 0, :type :invoke, :f :send, :value [[:send 0 1]]}
{:index 1, :time 1000, :process 0, :type :ok, :f :send, :value [[:send 0 [0 1]]]}
{:index 2, :time 2000, :process 1, :type :invoke, :f :poll, :value [[:poll]]}
{:index 3, :time 3000, :process 1, :type :ok, :f :poll, :value [[:poll {0 [[0 1]]}]]}
";

fn read(bytes: &[u8], name: &str) -> Result<CheckReport, InputError> {
    check_reader(bytes, name, JudgeOptions::default())
}

#[track_caller]
fn reads(text: &str, expected: &str) -> CheckReport {
    let report = read(text.as_bytes(), "h.edn").unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(summary(&report), expected, "{text}\n{report:#?}");
    report
}

#[track_caller]
fn refused(text: &str, place: &str, word: &str) {
    let error = read(text.as_bytes(), "h.edn").expect_err(text).to_string();
    assert!(error.starts_with(place) && error.contains(word), "{error}\n{text}");
}

/// The ops of a text, which must all be there.
#[track_caller]
fn ops(text: &str, name: &str) -> Vec<Op> {
    let mut ops = Vec::new();
    let lines = read_ops(text.as_bytes(), name, |op| ops.push(op.clone())).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(lines.truncated, None, "{text}");
    ops
}

/// The one op that has this beside `:process 0`.
#[track_caller]
fn op(rest: &str) -> Op {
    let text = format!("{{:process 0, {rest}}}");
    let mut ops = ops(&text, "h.edn");
    assert_eq!(ops.len(), 1, "{text}");
    ops.remove(0)
}

#[test]
fn every_twin_is_judged_the_same_in_edn() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("histories");
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        let jsonl = std::fs::read_to_string(&path).unwrap();
        let expected = read(jsonl.as_bytes(), "h.jsonl").unwrap();
        for seed in 0..8 {
            let edn = Writer::new(seed).history(&jsonl);
            assert_eq!(read(edn.as_bytes(), "h.edn").unwrap(), expected, "{}\n{edn}", path.display());
        }
        let edn = Writer::new(Writer::JEPSEN).history(&jsonl);
        assert_eq!(read(edn.as_bytes(), "-").unwrap(), expected, "{}: told by its first bytes\n{edn}", path.display());
        count += 1;
    }
    assert!(count >= 30, "{count}");
}

#[test]
fn every_f_is_read_as_jepsen_writes_it() {
    let send = |key, value, offset| Send { key, value, offset };
    let (key, offsets) = (2, BTreeMap::from([(0, 5), (1, 1 << 60)]));
    for (text, body) in [
        (":type :invoke, :f :send, :value [[:send 0 4] [:send 1 -5]]", Body::Send(vec![send(0, 4, None), send(1, -5, None)])),
        (":type :ok, :f :send, :value ([:send 0 [17 4]])", Body::Send(vec![send(0, 4, Some(17))])),
        (":type :info, :f :send, :value [[:send 0 [nil 4]]], :error :timeout", Body::Send(vec![send(0, 4, None)])),
        (":type :fail, :f :send, :value nil", Body::Send(vec![])),
        (":type :invoke, :f :poll, :value [[:poll]]", Body::Poll(None)),
        (
            ":type :ok, :f :poll, :value [[:poll {0 [[1152921504606846976N 4] [7 5]], 1 []}]]",
            Body::Poll(Some(Polled(vec![(0, vec![(1 << 60, 4), (7, 5)]), (1, vec![])]))),
        ),
        (":type :ok, :f :poll, :value ((:poll {}))", Body::Poll(Some(Polled(vec![])))),
        (
            ":type :ok, :f :txn, :value [[:poll {0 ([3 4])}] [:send 0 [5 6]]]",
            Body::Txn(vec![MicroOp::Poll(Some(Polled(vec![(0, vec![(3, 4)])]))), MicroOp::Send(send(0, 6, Some(5)))]),
        ),
        (":type :ok, :f :assign, :value #{0 1}, :seek-to-beginning? true", Body::Assign { keys: vec![0, 1], seek_to_beginning: true }),
        (":type :ok, :f :assign, :value [0 1], :seek-to-beginning? false", Body::Assign { keys: vec![0, 1], seek_to_beginning: false }),
        (":type :invoke, :f :subscribe, :value [0 1]", Body::Subscribe { keys: vec![0, 1] }),
        (":type :ok, :f :commit, :value {0 5, 1 1152921504606846976}, :group \"g\"", Body::Commit(offsets.clone())),
        (":type :invoke, :f :committed, :value [0]", Body::Committed { keys: vec![0], offsets: BTreeMap::new() }),
        (":type :ok, :f :committed, :value {0 5, 1 1152921504606846976, 2 nil}", Body::Committed { keys: vec![0, 1], offsets }),
        (":type :info, :f :crash, :value nil", Body::Crash),
        (":type :invoke, :f :crash", Body::Crash),
        (":type :invoke, :f :read, :value [2 nil]", Body::Read { key, value: None }),
        (":type :ok, :f :read, :value 7", Body::Read { key: 0, value: Some(7) }),
        (":type :ok, :f :write, :value [2 9]", Body::Write { key, value: 9 }),
        (":type :ok, :f :cas, :value [2 [9 10]]", Body::Cas { key, old: 9, new: 10 }),
        (":type :invoke, :f :cas, :value [3 4]", Body::Cas { key: 0, old: 3, new: 4 }),
        (":type :ok, :f :debug-topic-partitions, :value #{1 2}", Body::Unknown { f: "debug-topic-partitions".to_owned() }),
    ] {
        assert_eq!(op(text).body, body, "{text}");
        assert_eq!(op(&text.replace(':', "")).body, body, "{text}: symbols for names");
    }
}

#[test]
fn what_jepsen_writes_beside_an_op_is_kept_or_passed_over() {
    let one = op(concat!(
        r#":type :info, :f :poll, :value [[:poll]], :time 5, :clock-time #inst "2026-01-01T00:00:00Z", :node "n1", :link 3/4, "#,
        r#":error [:kafka-exception "Unexpected \"x\""], :rebalance-log [{:type :revoked, :keys [55 4]} {:keys #{53}}], "#,
        r#":exception #error{:cause nil :via [{:type java.lang.Exception :at [a.B$fn__1 invoke "b.clj" 12]}] :trace []}, "#,
        r#":end-process? true, :context {:workers {:nemesis nil}, :free-threads #{0 :nemesis}}, :ratio 1.5E-3, :c \a"#,
    ));
    assert_eq!(one.error.as_deref(), Some(r#"["kafka-exception","Unexpected \"x\""]"#));
    assert_eq!((one.node.as_deref(), one.time_ns), (Some("n1"), 5));
    let event = |event, keys: &[i64]| RebalanceEvent { event, keys: keys.to_vec() };
    assert_eq!(one.extra.rebalance_log, [event(RebalanceType::Revoked, &[55, 4]), event(RebalanceType::Lost, &[53])]);
    let two = op(":type :ok, :f :crash, :rebalance-log {:before [{:keys [1]}], :during ({:type :partitions-assigned :keys [2]})}");
    assert_eq!(two.extra.rebalance_log, [event(RebalanceType::Lost, &[1]), event(RebalanceType::Assigned, &[2])]);
    assert!(op(":type :ok, :f :crash, :rebalance-log nil").extra.rebalance_log.is_empty());
    assert_eq!(op(":type :fail, :f :crash, :error :timeout").error.as_deref(), Some("timeout"));
    let nemesis = "{:process :nemesis, :type :info, :f :kill, :time 1, :value {\"n1\" :killed, :at 1.5, 3 (nil true)}}";
    let value = serde_json::json!({"n1": "killed", "at": 1.5, "3": [null, true]});
    assert_eq!(ops(nemesis, "h.edn")[0].body, Body::Nemesis { f: "kill".to_owned(), value });
}

#[test]
fn edn_is_found_by_its_name_or_its_first_bytes_packed_or_not() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(OPS.as_bytes()).unwrap();
    let packed = [OPS.as_bytes().to_vec(), gzip.finish().unwrap(), zstd::encode_all(OPS.as_bytes(), 3).unwrap()];
    for (bytes, name) in packed.iter().zip(["h.edn", "h.edn.gz", "h.edn.zst"]) {
        for name in [name, "-", "h.jsonl"] {
            assert_eq!(summary(&read(bytes, name).unwrap()), "valid", "{name}");
        }
    }
    let strings = OPS.replace(':', "");
    assert_eq!(summary(&read(strings.as_bytes(), "h.edn").unwrap()), "valid");
    assert!(read(strings.as_bytes(), "-").is_err(), "symbols for names need the file's name");
    for text in [format!("\n \n{OPS}"), format!("; written by hand\n\n{OPS}"), OPS.replace("{:index", "#jepsen.history.Op{:index")] {
        assert_eq!(summary(&read(text.as_bytes(), "-").unwrap()), "valid", "{text}");
    }
}

#[test]
fn a_list_around_the_ops_is_one_history() {
    let one_line = OPS.replace('\n', " ");
    for text in [
        format!("[{OPS}]"),
        format!("(\n{OPS})\n; end\n"),
        format!("[{one_line}]"),
        one_line.clone(),
        format!("; a comment\n[\n#_ {{:index 9}}\n{OPS}\n]"),
        OPS.replace('\n', "\r\n\r\n"),
    ] {
        reads(&text, "valid");
    }
    let open = reads(&format!("[{OPS}"), "unknown: because: history-truncated");
    assert_eq!(open.ops, 4);
    refused(&format!("[{OPS}]\n{{:index 9}}\n{OPS}"), "h.edn:6:1:", "closed before");
    refused(&format!("[{OPS})\n{{:index 9}}\n"), "h.edn:5:1:", "expected an op, as a map, found ')'");
    refused(&format!("{OPS}[\n{OPS}"), "h.edn:5:1:", "found '['");
}

#[test]
fn a_cut_end_is_dropped_and_reported() {
    let cut = &OPS[..OPS.len() - 20];
    for text in [cut.to_owned(), format!("{cut}\n\n"), format!("[{cut}"), cut.replace('\n', " ")] {
        let report = reads(&text, "unknown: unseen 1; because: no-final-read, history-truncated");
        assert_eq!(report.ops, 3);
    }
    reads(OPS.trim_end(), "valid");
    refused(&format!("{cut}\n{OPS}"), "h.edn:4:", "line ends inside");
}

#[test]
fn what_is_malformed_is_refused_with_its_place() {
    // `^` in what replaces shows the place.
    for (from, to, word) in [
        ("[[:poll]]}", "[[^:pull]]}", "expected \"send\" or \"poll\", found \"pull\""),
        ("[[:poll]]}", "[[:poll]^}", "expected ']', for what began in column 68, found '}'"),
        (":f :poll, :value [[:poll]]}", ":value [[:poll]]^}", "the field \"f\" is missing"),
        ("[0 1]]]}", "[0 ^:x]]]}", "expected a value, found ':'"),
        ("[0 1]]]}", "[0^]]]}", "expected a value, found ']'"),
        ("[0 1]]]}", "[0 1 ^2]]]}", "expected ']', found '2'"),
        (":send 0 1]", ":send #_9 ^nil 1]", "expected a key, found 'n'"),
        (":process 0, :type :ok", ":process ^1.5, :type :ok", "no integer"),
        (":type :ok", ":type ^:okay", "unknown type \"okay\""),
        ("{:index 1", "^:index 1", "expected an op, as a map, found ':'"),
        (":poll {0 [[0 1]]}]]}", ":poll {:x ^[[0 1]]}]]}\n{}", "expected a key, which is an integer, before this value; found \"x\""),
        (":index 2", "^:index 1", "a duplicate index: 1 after 1"),
        (":index 2", "#_{:index 7} ^:index 0", "a decreasing index: 0 after 1"),
        (":index 3, :time 3000", ":time 3000, ^:index 2", "a duplicate index"),
        (":index 2", ":rebalance-log [^{:type :lost}], :index 2", "needs \"type\" (assigned, revoked or lost) and \"keys\""),
        (":index 2", "^:rebalance-log [{:partitions []}], :index 2", "and \"keys\""),
    ] {
        assert!(OPS.contains(from), "{from}");
        let text = OPS.replacen(from, to, 1);
        let before = text.split('^').next().unwrap();
        let (line, column) = (before.matches('\n').count() + 1, before.rsplit('\n').next().unwrap().len() + 1);
        refused(&text.replace('^', ""), &format!("h.edn:{line}:{column}: "), word);
    }
    let bytes = [OPS.as_bytes(), b"{:a \"\xff\"}\n", OPS.as_bytes()].concat();
    assert!(read(&bytes, "h.edn").unwrap_err().to_string().starts_with("h.edn:5:6: malformed history: not valid UTF-8"));
}

#[test]
fn indices_and_times_follow_the_rules_of_json_lines() {
    let report = reads(&OPS.replace(":index 3", ":index 30"), "valid");
    assert_eq!(report.notes, ["ops are renumbered from 0: the indices have gaps, the first at 30, which is op 3 here"]);
    let bare = (0..4)
        .fold(OPS.to_owned(), |text, index| text.replace(&format!(":index {index}, "), "").replace(&format!(":time {index}000, "), ""));
    assert_eq!(reads(&bare.replace(":time 0, ", ""), "valid").notes.len(), 2);
    reads(&OPS.replace(":time 3000", ":time 0"), "valid");
}

#[test]
fn huge_lines_and_offsets_are_read() {
    let records: Vec<_> = (0..200_000_i64).map(|at| format!("[{} {at}]", (1 << 60) + at)).collect();
    let sends: Vec<_> = (0..200_000_i64).map(|at| format!("[:send 0 [{} {at}]]", (1 << 60) + at)).collect();
    let text = format!(
        "{{:process 0 :type :ok :f :send :value [{}]}}\n{{:process 1 :type :ok :f :poll :value [[:poll {{0 [{}]}}]]}}\n",
        sends.join(" "),
        records.join(" ")
    );
    reads(&text, "valid");
}

fn numbers() -> impl Strategy<Value = i64> {
    prop_oneof![0..20_i64, any::<i64>(), Just(1 << 60)]
}

fn sends() -> impl Strategy<Value = Send> {
    (numbers(), numbers(), proptest::option::of(numbers())).prop_map(|(key, value, offset)| Send { key, value, offset })
}

fn polled() -> impl Strategy<Value = Polled> {
    prop::collection::btree_map(numbers(), prop::collection::vec((numbers(), numbers()), 0..4), 0..4)
        .prop_map(|batches| Polled(batches.into_iter().collect()))
}

fn bodies() -> impl Strategy<Value = Body> {
    let keys = || prop::collection::vec(numbers(), 0..4);
    prop_oneof![
        prop::collection::vec(sends(), 0..4).prop_map(Body::Send),
        polled().prop_map(|polled| Body::Poll(Some(polled))),
        prop::collection::vec(prop_oneof![sends().prop_map(MicroOp::Send), polled().prop_map(|one| MicroOp::Poll(Some(one)))], 0..4)
            .prop_map(Body::Txn),
        (keys(), any::<bool>()).prop_map(|(keys, seek_to_beginning)| Body::Assign { keys, seek_to_beginning }),
        keys().prop_map(|keys| Body::Subscribe { keys }),
        prop::collection::btree_map(numbers(), numbers(), 0..4).prop_map(Body::Commit),
        Just(Body::Crash),
        (numbers(), proptest::option::of(numbers())).prop_map(|(key, value)| Body::Read { key, value }),
        (numbers(), numbers(), numbers()).prop_map(|(key, old, new)| Body::Cas { key, old, new }),
        ".{1,6}".prop_map(|f| Body::Unknown { f: format!("x{f}") }),
    ]
}

fn extras() -> impl Strategy<Value = Extra> {
    let event = prop_oneof![Just(RebalanceType::Assigned), Just(RebalanceType::Revoked), Just(RebalanceType::Lost)];
    let event = (event, prop::collection::vec(numbers(), 0..3)).prop_map(|(event, keys)| RebalanceEvent { event, keys });
    let corrupt = prop::collection::vec((numbers(), numbers(), ".*"), 0..3);
    let texts = proptest::option::of(".*");
    (texts, prop::collection::vec(event, 0..3), prop::collection::btree_map(numbers(), any::<i32>(), 0..3), corrupt, any::<bool>())
        .prop_map(|(group, rebalance_log, leader_epochs, corrupt, is_final)| Extra {
            group,
            rebalance_log,
            leader_epochs,
            corrupt,
            is_final,
            ..Extra::default()
        })
}

proptest! {
    #[test]
    fn an_op_survives_being_written_in_edn_and_read(
        body in bodies(), extra in extras(), process in any::<u32>(), error in proptest::option::of(".*"), seed in any::<u64>(), time_ns in 0..i64::MAX as u64,
    ) {
        // A name that Jepsen has as a keyword is no error text.
        let op = Op {
            index: 0, time_ns, process: Process::Client(process), op_type: OpType::Ok, body, error, client: Some(process), node: None, extra,
        };
        let mut json = String::new();
        op.write_json(&mut json);
        let edn = Writer::new(seed).line(&json);
        prop_assert_eq!(ops(&edn, "h.edn"), [op], "{}", edn);
    }

    #[test]
    fn any_bytes_are_judged_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes, "h.edn");
        let _ = read(&bytes, "-");
    }

    #[test]
    fn damaged_edn_is_judged_or_refused(at in 0..OPS.len(), byte in any::<u8>(), cut in any::<bool>(), twice in any::<bool>()) {
        let mut bytes = OPS.as_bytes().to_vec();
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if twice { bytes.extend_from_slice(OPS.as_bytes()) }
        if let Err(error) = read(&bytes, "h.edn") {
            prop_assert!(matches!(error, InputError::Malformed { .. }), "{}", error);
        }
    }
}

#[test]
fn the_json_of_the_contract_is_still_json() {
    let jsonl = history("0 invoke send [[\"send\",0,1]]\n0 ok send [[\"send\",0,[0,1]]]\n");
    assert_eq!(ops(&jsonl, "-").len(), 2);
    assert!(read(jsonl.as_bytes(), "h.edn").is_err(), "the name says what it is");
}
