//! Every anomaly where it is hard to see: far out, among holes, with offsets missing, and told by failed ops alone.
//!
//! The twins of `histories/` are the plain cases. Here each is moved and thinned out, and must still say what it says there.

mod common;

use std::collections::BTreeSet;
use std::path::PathBuf;

use common::{check, judge, polled, summary};
use kchaos_checkers::{ALL, JudgeOptions};
use serde_json::{Value, json};

/// Offset n stands at base + n * stride.
const PLACES: [(i64, i64); 6] = [(0, 1), (1, 1), (0, 2), (1_000_000_000_000, 1), (1_000_000_000_000, 1000), (1 << 60, 3)];

fn twins() -> impl Iterator<Item = (&'static str, &'static str, String)> {
    let all = ALL.iter().flat_map(|spec| spec.anomalies).flat_map(|name| [(*name, "bad"), (*name, "good")]);
    all.map(|(name, kind)| {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("histories").join(format!("{name}.{kind}.jsonl"));
        (name, kind, std::fs::read_to_string(path).unwrap())
    })
}

fn judged(history: &str) -> kchaos_checkers::CheckReport {
    judge(history, JudgeOptions::default())
}

/// Calls `sent` with each offset that an acknowledgement tells, `polled` with each of a poll, and `told` with each that stands elsewhere.
fn map_offsets(history: &str, sent: impl Fn(&mut Value), polled: impl Fn(&mut Value), told: impl Fn(&mut Value)) -> String {
    let mut lines = String::new();
    for line in history.lines() {
        let mut op: Value = serde_json::from_str(line).unwrap();
        let f = op["f"].as_str().unwrap().to_owned();
        let value = &mut op["value"];
        match f.as_str() {
            "send" | "txn" | "poll" => value.as_array_mut().into_iter().flatten().for_each(|part| match part[0].as_str() {
                Some("send") if part[2].is_array() => sent(&mut part[2][0]),
                Some("poll") => {
                    let keys = part.get_mut(1).and_then(Value::as_object_mut).into_iter().flatten();
                    keys.flat_map(|(_, records)| records.as_array_mut().unwrap()).for_each(|record| polled(&mut record[0]));
                }
                _ => {}
            }),
            "commit" | "committed" => value.as_object_mut().into_iter().flatten().for_each(|(_, offset)| told(offset)),
            "final-offsets" | "stable-offsets" => {
                let keys = value.as_object_mut().unwrap().iter_mut().filter(|(_, look)| look.is_object());
                for (_, look) in keys {
                    ["start", "end", "stable"].iter().for_each(|name| look.get_mut(name).into_iter().for_each(&told));
                }
            }
            "replica-log" => {
                ["start", "high_watermark"].iter().for_each(|name| told(&mut value[name]));
                for batch in value["batches"].as_array_mut().unwrap() {
                    (0..2).for_each(|at| told(&mut batch[at]));
                }
            }
            _ => {}
        }
        lines += &format!("{op}\n");
    }
    lines
}

#[test]
fn far_out_and_among_holes_every_twin_says_the_same() {
    for (name, kind, history) in twins() {
        let expected = summary(&judged(&history));
        for (base, stride) in PLACES {
            let moved = |offset: &mut Value| {
                if let Some(n @ 0..) = offset.as_i64() {
                    *offset = json!(base + n * stride);
                }
            };
            let history = map_offsets(&history, moved, moved, moved);
            assert_eq!(summary(&judged(&history)), expected, "{name}.{kind} from {base} by {stride}\n{history}");
        }
    }
}

#[test]
fn offsets_that_are_missing_accuse_nobody() {
    let keep = |_: &mut Value| {};
    let take = |offset: &mut Value| *offset = Value::Null;
    for (name, kind, history) in twins() {
        let whole = judged(&history);
        let known: BTreeSet<_> = whole.anomalies.keys().chain(whole.ignored.keys()).cloned().collect();
        for history in
            [map_offsets(&history, take, keep, keep), map_offsets(&history, keep, take, keep), map_offsets(&history, take, take, keep)]
        {
            let report = judged(&history);
            if kind == "good" {
                assert_eq!(summary(&report), "valid", "{name}.{kind}\n{history}");
            }
            for found in report.anomalies.keys().chain(report.ignored.keys()) {
                assert!(known.contains(found), "{name}.{kind} with fewer offsets: {found}\n{history}");
            }
        }
    }
}

/// Values 10 + n at offset n of a place, n from 0 to 4, all read by process 9; value 99 was sent, and nobody knows where it is.
fn log((base, stride): (i64, i64)) -> String {
    let at = |n: i64| base + n * stride;
    let sends: String = (0..5).map(|n| common::sent(10 + n, at(n))).collect();
    let records: Vec<_> = (0..5).map(|n| format!("[{},{}]", at(n), 10 + n)).collect();
    "7 invoke send [[\"send\",0,99]]\n7 info send [[\"send\",0,99]]\n".to_owned() + &sends + &polled(9, &records.join(","))
}

/// An op of process 1 that polled these, given as (n, value), and did not end well; at each place, of each kind.
fn failed(before: &[(i64, i64)], seen: &[(Option<i64>, i64)], expected: &str) {
    for (base, stride) in PLACES {
        let record = |n: Option<i64>, value: i64| format!("[{},{value}]", n.map_or("null".to_owned(), |n| (base + n * stride).to_string()));
        let records = |records: Vec<String>| records.join(",");
        let before = records(before.iter().map(|(n, value)| record(Some(*n), *value)).collect());
        let before = if before.is_empty() { String::new() } else { polled(1, &before) };
        let seen = records(seen.iter().map(|(n, value)| record(*n, *value)).collect());
        for outcome in ["fail", "info"] {
            for (f, own) in [("poll", ""), ("txn", ""), ("txn", "[\"send\",1,50],")] {
                let op = format!("1 invoke {f} [{own}[\"poll\"]]\n1 {outcome} {f} [{own}[\"poll\",{{\"0\":[{seen}]}}]]\n");
                check(&(log((base, stride)) + &before + &op), expected);
            }
        }
    }
}

#[test]
fn a_failed_op_alone_shows_what_is_wrong_with_the_log() {
    failed(&[], &[(Some(1), 11)], "valid");
    for n in [0, 2, 7] {
        // Where the others stand, it is one of two there as well.
        let expected = if n == 7 { "invalid: duplicate 1" } else { "invalid: duplicate 1, inconsistent-offsets 1" };
        failed(&[], &[(Some(n), 11)], expected);
    }
    failed(&[], &[(Some(1), 99)], "invalid: inconsistent-offsets 1");
    failed(&[], &[(Some(7), 99)], "valid");
    failed(&[], &[(Some(7), 98)], "invalid: phantom 1");
    failed(&[], &[(Some(1), 98)], "invalid: inconsistent-offsets 1, phantom 1");
    failed(&[], &[(None, 98)], "invalid: phantom 1");
    failed(&[], &[(None, 11), (None, 99)], "valid");
}

#[test]
fn a_failed_op_alone_shows_polls_out_of_order() {
    let start = [(0, 10), (1, 11)];
    for (n, expected) in [
        (0, "invalid: nonmonotonic-poll 1"),
        (1, "invalid: nonmonotonic-poll 1"),
        (2, "valid"),
        (3, "invalid: poll-skip 1"),
        (4, "invalid: poll-skip 1"),
    ] {
        failed(&start, &[(Some(n), 10 + n)], expected);
        failed(&start, &[(None, 10 + n)], "valid");
        let inside = expected.replace("poll-skip", "int-poll-skip").replace("nonmonotonic-poll", "int-nonmonotonic-poll");
        failed(&start[..1], &[(Some(1), 11), (Some(n), 10 + n)], &inside);
        failed(&start[..1], &[(Some(1), 11), (None, 10 + n)], "valid");
    }
}

#[test]
fn a_failed_op_alone_shows_that_it_read_what_it_had_not_committed() {
    for (base, stride) in PLACES {
        let at = |n: i64| base + n * stride;
        for outcome in ["fail", "info"] {
            for (offset, seen, expected) in [
                (at(5).to_string(), 60, "invalid: precommitted-read 1"),
                ("null".to_owned(), 60, "invalid: precommitted-read 1"),
                // Another's, and one of its own that is another key's.
                (at(4).to_string(), 14, "valid"),
                ("null".to_owned(), 50, "invalid: phantom 1"),
            ] {
                let sends = |offset: &str| format!("[\"send\",0,[{offset},60]],[\"send\",1,[null,50]]");
                let op = format!(
                    "1 invoke txn [[\"send\",0,60],[\"send\",1,50],[\"poll\"]]\n1 {outcome} txn [{},[\"poll\",{{\"0\":[[{offset},{seen}]]}}]]\n",
                    sends(if seen == 60 { &offset } else { "null" })
                );
                check(&(log((base, stride)) + &op), expected);
            }
        }
    }
}

/// At each place: two values, the second `apart` from the first, both read (by readers of their own).
fn apart(distance: i64, write: impl Fn(i64, i64) -> String, expected: &str) {
    for (base, stride) in PLACES {
        let (first, second) = (base + 2 * stride, base + (2 + distance) * stride);
        let reads = polled(5, &format!("[{first},1]")) + &if distance == 0 { String::new() } else { polled(6, &format!("[{second},2]")) };
        check(&(write(first, second) + &reads), expected);
    }
}

#[test]
fn what_is_sent_later_lands_at_least_one_further() {
    let one_by_one = |second_process: u32| {
        move |first: i64, second: i64| {
            let send = |process: u32, value: i64, at: i64| {
                format!("{process} invoke send [[\"send\",0,{value}]]\n{process} ok send [[\"send\",0,[{at},{value}]]]\n")
            };
            send(0, 1, first) + &send(second_process, 2, second)
        }
    };
    let at_once = |first: i64, second: i64| {
        format!("0 invoke send [[\"send\",0,1],[\"send\",0,2]]\n0 ok send [[\"send\",0,[{first},1]],[\"send\",0,[{second},2]]]\n")
    };
    for distance in 1..=2 {
        apart(distance, one_by_one(0), "valid");
        apart(distance, one_by_one(3), "valid");
        apart(distance, at_once, "valid");
    }
    let same = "inconsistent-offsets 1, lost-write 1";
    apart(0, one_by_one(0), &format!("invalid: {same}, nonmonotonic-send 1, unseen 1"));
    apart(0, one_by_one(3), &format!("invalid: {same}, unseen 1"));
    apart(0, at_once, "invalid: inconsistent-offsets 1, int-nonmonotonic-send 1, lost-write 1, unseen 1");
    for distance in -2..=-1 {
        apart(distance, one_by_one(0), "invalid: nonmonotonic-send 1, reordered 1");
        apart(distance, one_by_one(3), "invalid: reordered 1");
        apart(distance, at_once, "invalid: int-nonmonotonic-send 1, reordered 1");
    }
}

#[test]
fn values_of_others_between_the_sends_of_one_op_are_counted() {
    for (base, stride) in PLACES {
        for (distance, expected) in [(1, "valid"), (2, "valid: ignored: int-send-skip 1"), (3, "valid: ignored: int-send-skip 1")] {
            let at = |n: i64| base + n * stride;
            let mut records = vec![format!("[{},1]", at(0)), format!("[{},2]", at(distance))];
            let mut history = format!(
                "0 invoke send [[\"send\",0,1],[\"send\",0,2]]\n4 invoke send [[\"send\",0,7],[\"send\",0,8]]\n\
                 0 ok send [[\"send\",0,[{},1]],[\"send\",0,[{},2]]]\n4 info send null\n",
                at(0),
                at(distance)
            );
            (1..distance).for_each(|n| records.insert(n as usize, format!("[{},{}]", at(n), 6 + n)));
            history += &polled(1, &records.join(","));
            check(&history, expected);
        }
    }
}

#[test]
fn who_read_as_far_as_a_value_and_did_not_see_it_lost_it() {
    for (base, stride) in PLACES {
        for (distance, expected) in [
            (-2, "unknown: unseen 1; because: no-final-read"),
            (-1, "unknown: unseen 1; because: no-final-read"),
            (1, "invalid: lost-write 1, unseen 1; because: no-final-read"),
            (2, "invalid: lost-write 1, unseen 1; because: no-final-read"),
        ] {
            let (lost, read) = (base + 2 * stride, base + (2 + distance) * stride);
            let other = format!("4 invoke send [[\"send\",0,2]]\n0 invoke send [[\"send\",0,1]]\n4 ok send [[\"send\",0,[{read},2]]]\n");
            check(&(other + &format!("0 ok send [[\"send\",0,[{lost},1]]]\n") + &polled(1, &format!("[{read},2]"))), expected);
        }
    }
}

#[test]
fn readers_of_committed_stop_before_an_open_transaction_s_first_offset() {
    for (base, stride) in PLACES {
        for (distance, expected) in [(-2, "valid"), (-1, "valid"), (1, "invalid: lso-passed 1"), (2, "invalid: lso-passed 1")] {
            let (open, read) = (base + 2 * stride, base + (2 + distance) * stride);
            let history = format!(
                "0 invoke txn [[\"send\",0,1]]\n4 invoke send [[\"send\",0,2]]\n4 ok send [[\"send\",0,[{read},2]]]\n{}\
                 0 ok txn [[\"send\",0,[{open},1]]] ; \"commit-time\":4500000\n{}",
                polled(1, &format!("[{read},2]")),
                polled(3, &format!("[{open},1]"))
            );
            check(&history, expected);
        }
    }
}

#[test]
fn only_what_is_missing_inside_a_poll_is_an_intermediate_read() {
    for (base, stride) in PLACES {
        let record = |n: i64| format!("[{},{n}]", base + n * stride);
        let sends = |told: &dyn Fn(i64) -> String| (1..=4).map(told).collect::<Vec<_>>().join(",");
        let txn = format!(
            "0 invoke txn [{}]\n0 ok txn [{}]\n",
            sends(&|n| format!("[\"send\",0,{n}]")),
            sends(&|n| format!("[\"send\",0,{}]", record(n)))
        );
        let polled = |process: u32, numbers: &[i64]| polled(process, &numbers.iter().map(|n| record(*n)).collect::<Vec<_>>().join(","));
        for (numbers, expected) in [
            (&[1, 2, 3, 4][..], "valid"),
            (&[1, 2, 3], "valid"),
            (&[2, 3, 4], "valid"),
            (&[1, 3, 4], "invalid: G1b 1, int-poll-skip 1"),
            (&[1, 4], "invalid: G1b 2, int-poll-skip 1"),
        ] {
            check(&(txn.clone() + &polled(9, &[1, 2, 3, 4]) + &polled(1, numbers)), expected);
        }
    }
}

#[test]
fn each_offset_that_a_group_is_given_again_is_counted() {
    for (base, stride) in PLACES {
        let records =
            |range: std::ops::Range<i64>| range.map(|n| format!("[{},{}]", base + n * stride, 10 + n)).collect::<Vec<_>>().join(",");
        let subscribe = "1 invoke subscribe [0] ; \"group\":\"g\"\n1 ok subscribe [0] ; \"group\":\"g\"\n";
        for (again, expected) in [(3, "valid"), (2, "valid: ignored: redelivered 1"), (1, "valid: ignored: redelivered 2")] {
            check(&(log((base, stride)) + subscribe + &polled(1, &records(0..3)) + &polled(1, &records(again..5))), expected);
        }
    }
}
