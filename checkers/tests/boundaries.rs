//! Anomalies of offsets at their exact boundary: 0, 1 and 2 apart, from 0 and far out, side by side and among holes.
//!
//! What `everywhere.rs` does for polls and sends is done here for what ends of logs, groups, transactions and consumers are held against.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use common::{check, judge, polled, summary};
use kchaos_checkers::{ALL, CheckReport, Input, Judge, JudgeOptions, Reading};
use serde_json::Value;

/// Offset n stands at base + n * stride.
const PLACES: [(i64, i64); 5] = [(0, 1), (0, 2), (1_000_000_000_000, 1), (1_000_000_000_000, 1000), (1 << 60, 3)];

fn send(process: u32, value: i64, offset: i64) -> String {
    format!("{process} invoke send [[\"send\",0,{value}]]\n{process} ok send [[\"send\",0,[{offset},{value}]]]\n")
}

/// Calls with what gives the offset of n at a place.
fn everywhere(run: impl Fn(&dyn Fn(i64) -> i64)) {
    for (base, stride) in PLACES {
        run(&|n| base + n * stride);
    }
}

/// Judged as `kchaos check` does it: what was forgotten is looked up by a second pass.
fn twice(history: &str) -> CheckReport {
    let open = || -> std::io::Result<Input<'_>> { Ok(Box::new(history.as_bytes())) };
    kchaos_checkers::check(open, Reading { name: "boundaries", threads: 1 }, JudgeOptions::default()).unwrap()
}

#[track_caller]
fn check_twice(lines: &str, expected: &str) {
    let report = twice(&common::history(lines));
    assert_eq!(summary(&report), expected, "{lines}\n{report:#?}");
}

#[test]
fn one_value_stands_where_it_was_acknowledged_and_nowhere_else() {
    everywhere(|at| {
        for (distance, expected) in [(0, "valid"), (1, "invalid: duplicate 1"), (2, "invalid: duplicate 1"), (-1, "invalid: duplicate 1")] {
            check(&(send(0, 1, at(2)) + &polled(1, &format!("[{},1]", at(2 + distance)))), expected);
        }
    });
}

#[test]
fn two_values_share_no_offset() {
    everywhere(|at| {
        for (distance, expected) in [(0, "invalid: inconsistent-offsets 1"), (1, "valid"), (2, "valid")] {
            // Sent at the same time, so that their order is not promised, and read by consumers of their own.
            let history = format!(
                "0 invoke send [[\"send\",0,1]]\n4 invoke send [[\"send\",0,2]]\n0 ok send [[\"send\",0,[null,1]]]\n4 ok send [[\"send\",0,[null,2]]]\n\
                 1 invoke poll [[\"poll\"]]\n1 ok poll [[\"poll\",{{\"0\":[[{},1]]}}]]\n2 invoke poll [[\"poll\"]]\n2 info poll [[\"poll\",{{\"0\":[[{},2]]}}]]\n",
                at(2),
                at(2 + distance)
            );
            // The second was only seen by a poll of unknown outcome: it is unread, and passed by those at its offset.
            let lost = if distance == 0 { ", lost-write 1, unseen 1" } else { "" };
            let late = if distance == 0 { "" } else { "unknown: unseen 1; because: no-final-read" };
            check(&history, &if late.is_empty() { format!("{expected}{lost}") } else { late.to_owned() });
        }
    });
}

#[test]
fn only_what_was_sent_is_read() {
    everywhere(|at| {
        for value in [8, 9, 10, 11, 12] {
            let expected = if value == 10 { "valid" } else { "invalid: inconsistent-offsets 1, phantom 1, total-order-disagreement 1" };
            check(&(send(0, 10, at(2)) + &polled(1, &format!("[{},10]", at(2))) + &polled(2, &format!("[{},{value}]", at(2)))), expected);
        }
    });
}

#[test]
fn a_fetch_returns_no_less_than_was_committed() {
    everywhere(|at| {
        for (distance, expected) in [(0, "valid"), (1, "valid"), (-1, "invalid: commit-regression 1"), (-2, "invalid: commit-regression 1")]
        {
            let commit = |f: &str, told: String| format!("1 {f} {told} ; \"group\":\"g\"\n");
            let committed = format!("{{\"0\":{}}}", at(2));
            let history = send(0, 1, at(0))
                + &polled(1, &format!("[{},1]", at(0)))
                + &commit("invoke commit", committed.clone())
                + &commit("ok commit", committed)
                + &commit("invoke committed", "[0]".to_owned())
                + &commit("ok committed", format!("{{\"0\":{}}}", at(2) + distance));
            check(&history, expected);
        }
    });
}

#[test]
fn an_unread_value_is_truncated_at_the_end_of_the_log_and_expired_below_its_start() {
    let truncated = "invalid: unseen 1";
    let late = "unknown: unseen 1; because: no-final-read";
    let expired = "valid: ignored: unseen 1";
    everywhere(|at| {
        let history = send(0, 1, at(1)) + &send(0, 2, at(4)) + &polled(1, &format!("[{},1]", at(1)));
        let told = |start: i64, end: i64| {
            format!("nemesis info final-offsets {{\"0\":{{\"start\":{start},\"end\":{end},\"leader\":2,\"leader_epoch\":4}}}}\n")
        };
        for (distance, expected) in [(-2, truncated), (-1, truncated), (0, truncated), (1, late), (2, late)] {
            check(&(history.clone() + &told(0, at(4) + distance)), expected);
        }
        for (distance, expected) in [(-1, late), (0, late), (1, expired), (2, expired)] {
            check(&(history.clone() + &told(at(4) + distance, at(9))), expected);
        }
    });
}

#[test]
fn a_transaction_is_torn_if_a_reader_got_beyond_what_is_missing() {
    let torn = "invalid: lost-write 1, torn-transaction 1, unseen 1; because: no-final-read";
    everywhere(|at| {
        for (distance, expected) in
            [(-2, "unknown: unseen 1; because: no-final-read"), (-1, "unknown: unseen 1; because: no-final-read"), (1, torn), (2, torn)]
        {
            let (missing, read) = (at(3), at(3 + distance));
            // Sent while the transaction was open: no order is promised.
            let history = format!(
                "4 invoke send [[\"send\",0,7]]\n0 invoke txn [[\"send\",0,1],[\"send\",1,1]]\n0 ok txn [[\"send\",0,[{missing},1]],[\"send\",1,[5,1]]]\n\
                 4 ok send [[\"send\",0,[{read},7]]]\n3 invoke poll [[\"poll\"]]\n3 ok poll [[\"poll\",{{\"1\":[[5,1]]}}]]\n"
            );
            check(&(history + &polled(1, &format!("[{read},7]"))), expected);
        }
    });
}

#[test]
fn the_stable_offset_stalls_below_the_high_watermark_and_not_at_it() {
    everywhere(|at| {
        for (distance, expected) in [(0, "valid"), (1, "invalid: lso-stall 1"), (2, "invalid: lso-stall 1")] {
            let look = format!(
                "nemesis info stable-offsets {{\"0\":{{\"stable\":{},\"end\":{},\"leader_epoch\":4}},\"limit_ms\":0,\"transaction_timeout_ms\":0}}\n",
                at(3),
                at(3) + distance
            );
            check(&(send(0, 1, at(0)) + &polled(1, &format!("[{},1]", at(0))) + &look + &look + &look), expected);
        }
    });
}

#[test]
fn an_acknowledgement_is_stale_below_the_epoch_that_was_known() {
    for epoch in [0, 2, 1_000_000] {
        for (distance, expected) in [(0, "valid"), (1, "valid: ignored: stale-leader-ack 1"), (2, "valid: ignored: stale-leader-ack 1")] {
            let history = format!(
                "nemesis info leader-epochs {{\"0\":{{\"leader\":2,\"leader_epoch\":{}}}}}\n0 invoke send [[\"send\",0,1]]\n\
                 0 ok send [[\"send\",0,[7,1]]] ; \"leader-epochs\":{{\"0\":{epoch}}}\n",
                epoch + distance
            );
            check(&(history + &polled(1, "[7,1]")), expected);
        }
    }
}

#[test]
fn a_balance_is_the_same_to_the_last_coin() {
    for sum in [0, 100, 1_000_000_000_000_i64] {
        for (distance, expected) in
            [(0, "valid"), (1, "invalid: balance-changed 1"), (2, "invalid: balance-changed 1"), (-1, "invalid: balance-changed 1")]
        {
            let history = format!("nemesis info bank-snapshot {{\"accounts\":{{\"a\":{},\"b\":7}},\"total\":{sum}}}\n", sum - 7 + distance);
            check(&(send(0, 1, 0) + &polled(1, "[0,1]") + &history), expected);
        }
    }
}

/// Values 0 to `count` - 1; process 1 begins in the middle and goes back, process 2 reads all in order before that or after.
fn going_back(at: &dyn Fn(i64) -> i64, count: i64, from: i64, back_to: i64, other_first: bool) -> String {
    let record = |n: i64| format!("[{},{n}]", at(n));
    let batches = |process: u32, range: std::ops::Range<i64>| {
        let all: Vec<_> = range.map(record).collect();
        all.chunks(70).map(|batch| polled(process, &batch.join(","))).collect::<String>()
    };
    let sends: String = (0..count).map(|n| send(0, n, at(n))).collect();
    // Process 1 is the first to read the upper half: who else read it is known to nobody but the second pass.
    let (upper, back, others) = (batches(1, from..count), batches(1, back_to..back_to + 1), batches(2, 0..count));
    sends + &upper + &if other_first { others + &back } else { back + &others }
}

#[test]
fn who_goes_back_disagrees_with_whoever_reads_on_even_if_it_was_the_first_to_read() {
    let expected = "invalid: nonmonotonic-poll 1, total-order-disagreement 1";
    everywhere(|at| {
        for back_to in 0..3 {
            for other_first in [true, false] {
                check_twice(&going_back(at, 5, 3, back_to, other_first), expected);
            }
        }
    });
    // What it had read before it reads again: that is no other order.
    for (back_to, others) in [(3, true), (4, true), (3, false)] {
        check_twice(&going_back(&|n| n, 5, 3, back_to, others), "invalid: nonmonotonic-poll 1");
    }
    // Nobody else read both.
    let alone = send(0, 1, 0) + &send(0, 2, 1) + &polled(1, "[1,2]") + &polled(1, "[0,1]") + &polled(2, "[0,1]") + &polled(3, "[1,2]");
    check_twice(&alone, "invalid: nonmonotonic-poll 1");
}

#[test]
fn who_goes_back_to_what_everybody_passed_long_ago_is_found_as_well() {
    for (base, stride) in [(0, 1), (1_000_000_000_000, 1), (0, 2)] {
        let history = common::history(&going_back(&|n| base + n * stride, 2000, 1000, 300, true));
        let report = twice(&history);
        assert_eq!(summary(&report), "invalid: nonmonotonic-poll 1, total-order-disagreement 1");
        let mut keeping = Judge::without_packing(JudgeOptions::default());
        kchaos_checkers::tell(&mut keeping, Box::new(history.as_bytes()), Reading { name: "boundaries", threads: 1 }).unwrap();
        assert_eq!(
            keeping.finish().anomalies["total-order-disagreement"].examples[0].ops,
            report.anomalies["total-order-disagreement"].examples[0].ops
        );
    }
}

/// A transaction of unknown outcome turns out to have committed, before another that is forgotten.
#[test]
fn what_one_pass_forgot_makes_its_verdict_unknown_and_a_second_pass_tells() {
    let lines = "0 invoke txn [[\"send\",0,2]]\n0 info txn [[\"send\",0,[null,2]]]\n".to_owned()
        + "4 invoke txn [[\"send\",0,1]]\n4 ok txn [[\"send\",0,[10,1]]]\n"
        + &polled(1, "[10,1]")
        + "4 invoke txn [[\"send\",0,3]]\n4 ok txn [[\"send\",0,[11,3]]]\n"
        + &polled(1, "[11,3]")
        + "4 invoke txn [[\"send\",0,4]]\n4 ok txn [[\"send\",0,[12,4]]]\n"
        + &polled(2, "[5,2],[10,1],[11,3],[12,4]");
    let history = common::history(&lines);
    let tell = |judge: &mut Judge| kchaos_checkers::tell(judge, Box::new(history.as_bytes()), Reading { name: "boundaries", threads: 1 });
    let forgetful = || {
        let mut judge = Judge::forgetful(JudgeOptions::default());
        tell(&mut judge).unwrap();
        judge
    };
    let once = forgetful().finish();
    assert_eq!(summary(&once), "unknown: because: needs-second-pass");
    assert!(once.checkers.iter().any(|checker| checker.reasons == ["needs-second-pass"]));
    assert_eq!(summary(&forgetful().finish_reading_again(|_| Err("no"))), "unknown: because: needs-second-pass");
    assert_eq!(summary(&forgetful().finish_reading_again(|judge| tell(judge).map(drop))), "valid");
}

/// The bad histories, of which no acknowledgement tells an offset any more: what they still show.
#[test]
fn what_polls_alone_show_is_found_without_acknowledged_offsets() {
    let without_offsets = |history: &str| -> String {
        let mut lines = String::new();
        for line in history.lines() {
            let mut op: Value = serde_json::from_str(line).unwrap();
            for part in op["value"].as_array_mut().into_iter().flatten().filter(|part| part[0] == "send" && part[2].is_array()) {
                part[2][0] = Value::Null;
            }
            lines += &format!("{op}\n");
        }
        lines
    };
    let needs_offsets: BTreeSet<&str> = NEEDS_OFFSETS.iter().copied().collect();
    let mut wrong = BTreeMap::new();
    for name in ALL.iter().flat_map(|spec| spec.anomalies).copied() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("histories").join(format!("{name}.bad.jsonl"));
        let report = judge(&without_offsets(&std::fs::read_to_string(path).unwrap()), JudgeOptions::default());
        let is_found = report.anomalies.contains_key(name) || report.ignored.contains_key(name);
        if is_found == needs_offsets.contains(name) {
            wrong.insert(name, summary(&report));
        }
    }
    assert_eq!(wrong, BTreeMap::new());
}

/// Nobody saw where these stand, but those who wrote them; or it was known too late to say what had to come behind.
const NEEDS_OFFSETS: [&str; 4] = ["lost-write", "torn-transaction", "lso-passed", "reordered"];
