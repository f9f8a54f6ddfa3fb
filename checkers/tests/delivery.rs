//! Where a consumer group began, and what it owes from there on.

mod common;

use common::{check, check_with, complete, judge, polled, sent};
use kchaos_checkers::JudgeOptions;

const BASES: [i64; 2] = [0, 1_000_000_000_000];

/// Values 10 + n at offsets base + n, n from 0 to 4, all read by process 9.
fn log(base: i64) -> String {
    let sends: String = (0..5).map(|n| sent(10 + n, base + n)).collect();
    sends + &polled(9, &records(base, 0..5))
}

fn records(base: i64, range: std::ops::Range<i64>) -> String {
    range.map(|n| format!("[{},{}]", base + n, 10 + n)).collect::<Vec<_>>().join(",")
}

fn subscribe(process: u32, beside: &str) -> String {
    format!("{process} invoke subscribe [0] ; \"group\":\"g\"{beside}\n{process} ok subscribe [0] ; \"group\":\"g\"{beside}\n")
}

fn commit(process: u32, offset: i64, outcome: &str) -> String {
    let value = format!("commit {{\"0\":{offset}}} ; \"group\":\"g\"\n");
    format!("{process} invoke {value}{process} {outcome} {value}")
}

fn fetch(found: &str) -> String {
    format!("8 invoke committed [0] ; \"group\":\"g\"\n8 ok committed {found} ; \"group\":\"g\"\n")
}

fn logged(process: u32, records: &str, event: &str) -> String {
    let beside = format!("\"rebalance-log\":[{{\"type\":\"{event}\",\"keys\":[0]}}]");
    format!("{process} invoke poll [[\"poll\"]]\n{process} ok poll [[\"poll\",{{\"0\":[{records}]}}]] ; {beside}\n")
}

const EARLIEST: &str = ",\"reset\":\"earliest\"";
const LATEST: &str = ",\"reset\":\"latest\"";
const UNKNOWN: &str = "unknown: unprocessed 1; because: unknown-beginning";

#[test]
fn a_group_that_begins_at_the_end_owes_nothing_before() {
    for base in BASES {
        for (begin, misses, expected) in [(0, 0, "valid"), (1, 1, UNKNOWN), (3, 3, "unknown: unprocessed 3; because: unknown-beginning")] {
            let history =
                |beside: &str| log(base) + &subscribe(1, beside) + &polled(1, &records(base, begin..5)) + &commit(1, base + 5, "ok");
            check(&history(LATEST), "valid");
            check(&history(",\"reset\":\"none\""), "valid");
            check(&history(""), expected);
            let skipped = if misses == 0 { "valid".to_owned() } else { format!("invalid: unprocessed {misses}") };
            check(&history(EARLIEST), &skipped);
        }
    }
}

#[test]
fn a_value_is_owed_below_the_committed_offset_and_not_at_it() {
    for base in BASES {
        // Delivered: 0 and 1. Offset 2 is passed by a commit of 3, and not by one of 2 or 1.
        for (committed, expected) in [(1, "valid"), (2, "valid"), (3, "invalid: unprocessed 1"), (4, "invalid: unprocessed 2")] {
            let history =
                |outcome: &str| log(base) + &subscribe(1, "") + &polled(1, &records(base, 0..2)) + &commit(1, base + committed, outcome);
            check(&history("ok"), expected);
            check(&history("info"), "valid");
            check(&history("fail"), "valid");
        }
    }
}

#[test]
fn holes_and_unknown_offsets_are_not_owed() {
    let sends = sent(1, 0) + &sent(2, 100) + "0 invoke send [[\"send\",0,3]]\n0 ok send [[\"send\",0,[null,3]]]\n";
    let reads = polled(9, "[0,1],[100,2]");
    let group = subscribe(1, EARLIEST) + &polled(1, "[0,1],[100,2]") + &commit(1, 1000, "ok");
    check(&(sends.clone() + &reads + &group), "unknown: unseen 1; because: no-final-read");
    // It was seen at an offset that the group passed.
    check(&(sends + &reads + &polled(9, "[500,3]") + &group), "invalid: unprocessed 1");
}

#[test]
fn a_place_found_or_put_before_the_first_delivery_is_the_beginning() {
    let rest = |from: i64| polled(1, &records(0, from..3)) + &commit(1, 5, "ok");
    for beside in ["", EARLIEST, LATEST] {
        for (found, expected) in [(0, "invalid: unprocessed 4"), (1, "invalid: unprocessed 3"), (2, "invalid: unprocessed 2")] {
            // Given offset 2 alone, of 0 to 4.
            let history = |place: &str| log(0) + place + &subscribe(1, beside) + &rest(2);
            check(&history(&fetch(&format!("{{\"0\":{found}}}"))), expected);
            check(&history(&commit(7, found, "ok")), expected);
        }
    }
    // One that may have been put, after which nothing is lost for sure, is where a group that says earliest owes from.
    let history = |outcome: &str| log(0) + &commit(7, 2, outcome) + &subscribe(1, EARLIEST) + &rest(2);
    check(&history("info"), "invalid: unprocessed 2");
    check(&history("fail"), "invalid: unprocessed 2");
    // A fetch that found nothing is no place; a fetch by another group is another's.
    let nothing = log(0) + &fetch("{}") + &fetch("{\"0\":-1}") + &subscribe(1, EARLIEST) + &rest(2);
    check(&nothing, "invalid: unprocessed 4");
    // What a member committed before it was given anything is not where the group began, though a fetch returns it.
    let early = log(0) + &subscribe(1, EARLIEST) + &commit(1, 2, "ok") + &fetch("{\"0\":2}") + &polled(1, &records(0, 2..3));
    check(&early, "invalid: unprocessed 2");
    let others = log(0) + &fetch("{\"0\":2}").replace("\"g\"", "\"h\"") + &subscribe(1, EARLIEST) + &rest(2);
    check(&others, "invalid: unprocessed 4");
}

#[test]
fn until_something_is_committed_a_new_member_may_begin_anew_at_the_end() {
    let lost = polled(1, &records(0, 0..1)) + "1 invoke crash null\n1 info crash null\n";
    let next = |beside: &str| subscribe(2, beside) + &polled(2, &records(0, 3..5)) + &commit(2, 5, "ok");
    check(&(log(0) + &subscribe(1, "") + &lost + &next("")), "unknown: unprocessed 2; because: unknown-beginning");
    check(&(log(0) + &subscribe(1, LATEST) + &lost + &next(LATEST)), "valid");
    check(&(log(0) + &subscribe(1, EARLIEST) + &lost + &next(EARLIEST)), "invalid: unprocessed 2");
    check(&(log(0) + &subscribe(1, EARLIEST) + &lost + &next(LATEST)), "unknown: unprocessed 2; because: unknown-beginning");
    // The same process, when it joins again.
    let again = subscribe(1, "") + &polled(1, &records(0, 3..5)) + &commit(1, 5, "ok");
    check(&(log(0) + &subscribe(1, "") + &lost + &again), "unknown: unprocessed 2; because: unknown-beginning");
    // Once it has committed, it goes on from there.
    let committed = polled(1, &records(0, 0..1)) + &commit(1, 1, "ok");
    check(&(log(0) + &subscribe(1, LATEST) + &committed + &next(LATEST)), "invalid: unprocessed 2");
}

#[test]
fn a_member_that_logs_its_rebalances_is_known_to_have_gone_on() {
    let other = subscribe(2, LATEST);
    let begin = log(0) + &subscribe(1, LATEST) + &other + &logged(1, &records(0, 1..2), "assigned");
    check(&(begin.clone() + &polled(1, &records(0, 3..5)) + &commit(1, 5, "ok")), "invalid: poll-skip 1, unprocessed 1");
    for event in ["revoked", "lost", "assigned"] {
        check(&(begin.clone() + &logged(1, "", event) + &polled(1, &records(0, 3..5)) + &commit(1, 5, "ok")), "valid");
        check(
            &(begin.clone() + &logged(1, &records(0, 2..4), event) + &commit(1, 5, "ok")),
            if event == "assigned" { "invalid: unprocessed 1" } else { "valid" },
        );
    }
    // It says nothing of rebalances, and is not alone.
    let silent = log(0) + &subscribe(1, "") + &subscribe(2, "") + &polled(1, &records(0, 0..1)) + &polled(1, &records(0, 3..5));
    check(&(silent + &commit(1, 5, "ok")), "unknown: unprocessed 2; because: unknown-beginning");
}

#[test]
fn what_only_failed_polls_gave_is_not_processed_and_what_is_in_doubt_is_not_counted_beside_a_proof() {
    let failed = format!("1 invoke poll [[\"poll\"]]\n1 fail poll [[\"poll\",{{\"0\":[{}]}}]]\n", records(0, 1..2));
    let history = log(0) + &subscribe(1, EARLIEST) + &polled(1, &records(0, 0..1)) + &failed + &commit(1, 2, "ok");
    check(&history, "invalid: unprocessed 1");
    let mixed = log(0) + &subscribe(1, "") + &polled(1, &records(0, 1..2)) + &commit(1, 3, "ok");
    check(&mixed, "invalid: unprocessed 1; because: unknown-beginning");
    let report = judge(&common::history(&mixed), JudgeOptions::default());
    assert_eq!(report.anomalies["unprocessed"].examples[0].values, [12]);
}

#[test]
fn what_a_group_missed_is_found_and_cited_though_everybody_else_passed_it_long_ago() {
    for base in BASES {
        let (count, missed) = (3000, 700);
        let sends: String = (0..count).map(|n| sent(n, base + n)).collect();
        let records = |skip: i64| (0..count).filter(|n| *n != skip).map(|n| format!("[{},{n}]", base + n)).collect::<Vec<_>>().join(",");
        let lines = |skip: i64| {
            sends.clone() + &polled(9, &records(-1)) + &subscribe(1, EARLIEST) + &polled(1, &records(skip)) + &commit(1, base + count, "ok")
        };
        check(&lines(-1), "valid");
        let history = common::history(&lines(missed));
        let reading = kchaos_checkers::Reading { name: "test", threads: 1 };
        let open = || Ok(Box::new(history.as_bytes()) as kchaos_checkers::Input<'_>);
        let report = kchaos_checkers::check(open, reading, JudgeOptions::default()).unwrap();
        assert_eq!(common::summary(&report), "invalid: int-poll-skip 1, unprocessed 1");
        let example = &report.anomalies["unprocessed"].examples[0];
        assert_eq!((&example.values[..], &example.offsets[..]), (&[missed][..], &[base + missed][..]));
        let invoked = missed as u64 * 2;
        assert_eq!(example.ops, [invoked, invoked + 1, count as u64 * 2 + 7]);
    }
}

#[test]
fn what_another_process_of_a_members_client_commits_is_not_where_the_group_began() {
    let member = |line: String| line.replace("\"group\":\"g\"", "\"group\":\"g\",\"client\":4");
    let lane = |client: u32| commit(5, 3, "info").replace("\"group\":\"g\"", &format!("\"group\":\"g\",\"client\":{client}"));
    let history = |client| log(0) + &member(subscribe(1, EARLIEST)) + &lane(client) + &polled(1, &records(0, 3..5)) + &commit(1, 5, "ok");
    check(&history(4), "invalid: unprocessed 3");
    check(&history(6), "valid");
}

#[test]
fn a_group_that_did_not_come_to_the_end_leaves_the_run_unknown() {
    let told = |behind: &str| format!("nemesis info final-groups {{\"group\":\"g\",\"committed\":{{\"0\":5}},\"behind\":[{behind}]}}\n");
    check(&(log(0) + &told("0,1")), "unknown: because: group-behind");
    check(&(log(0) + &told("0,1") + &told("")), "valid");
    check(&(log(0) + "nemesis info final-groups {\"group\":\"g\",\"behind\":7}\n"), "valid");
}

/// Value 10 of key 0 at offset 0, whose outputs stand in key 1; a member of the group was given it by a poll that ended so, and committed past it.
fn made(poll: &str, outputs: &str) -> String {
    let told = "nemesis info outputs {\"group\":\"g\",\"keys\":{\"0\":1},\"modulus\":1000}\n";
    let poll = format!("1 invoke poll [[\"poll\"]]\n1 {poll} poll [[\"poll\",{{\"0\":[[0,10]]}}]]\n");
    told.to_owned() + &sent(10, 0) + &polled(9, "[0,10]") + &subscribe(1, EARLIEST) + outputs + &poll + &commit(1, 1, "ok")
}

fn output(process: u32, value: i64, offset: &str, outcome: &str) -> String {
    let line = |op_type: &str, send: &str| format!("{process} {op_type} txn [[\"send\",1,{send}]]\n");
    line("invoke", &value.to_string()) + &line(outcome, &format!("[{offset},{value}]"))
}

fn read_outputs(records: &str) -> String {
    format!("9 invoke poll [[\"poll\"]]\n9 ok poll [[\"poll\",{{\"1\":[{records}]}}]]\n")
}

#[test]
fn what_only_a_poll_of_unknown_outcome_returned_is_processed_if_its_output_was_committed() {
    let unread = output(3, 1010, "null", "info");
    for poll in ["ok", "info", "fail"] {
        check_with(&(made(poll, &unread) + &read_outputs("[0,1010]")), complete(), "valid");
        check_with(&made(poll, &unread), complete(), "invalid: unprocessed 1");
    }
    // Nobody looked to the end.
    check(&made("info", &unread), "unknown: because: unknown-outputs");
    check(&made("fail", &unread), "invalid: unprocessed 1");
    check(&made("ok", &unread), "valid");
}

#[test]
fn an_input_with_two_committed_outputs_is_processed_twice_however_they_are_known_to_be_committed() {
    let made = |second: &str, read: &str| made("ok", &(output(3, 1010, "0", "ok") + second)) + &read_outputs(read);
    check(&made(&output(4, 2010, "2", "ok"), "[0,1010],[2,2010]"), "invalid: processed-twice 1");
    check(&made(&output(4, 2010, "null", "info"), "[0,1010],[2,2010]"), "invalid: processed-twice 1");
    check(&made(&output(4, 2010, "null", "info"), "[0,1010]"), "valid");
    check(&made(&output(4, 2010, "null", "fail"), "[0,1010]"), "valid");
    // Of another input, and what is none's.
    check(&made(&output(4, 2011, "2", "ok"), "[0,1010],[2,2011]"), "valid");
    check(&made(&output(4, 10, "2", "ok"), "[0,1010],[2,10]"), "valid");
    // Once for each input.
    let three = output(4, 2010, "2", "ok") + &output(5, 3010, "4", "ok");
    check(&made(&three, "[0,1010],[2,2010],[4,3010]"), "invalid: processed-twice 1");
}

#[test]
fn outputs_that_were_packed_are_compared_and_cited_like_others() {
    let (count, twice) = (3_000_i64, 700);
    let told = "nemesis info outputs {\"group\":\"g\",\"keys\":{\"1\":0},\"modulus\":1000000}\n".to_owned();
    let value = |n: i64| if n == count - 1 { 2_000_000 + twice } else { 1_000_000 + n };
    let sends: String = (0..count).map(|n| sent(value(n), n)).collect();
    let records = (0..count).map(|n| format!("[{n},{}]", value(n))).collect::<Vec<_>>().join(",");
    let history = common::history(&(told + &sends + &polled(9, &records)));
    let reading = kchaos_checkers::Reading { name: "test", threads: 1 };
    let open = || Ok(Box::new(history.as_bytes()) as kchaos_checkers::Input<'_>);
    let report = kchaos_checkers::check(open, reading, JudgeOptions::default()).unwrap();
    assert_eq!(common::summary(&report), "invalid: processed-twice 1");
    let example = &report.anomalies["processed-twice"].examples[0];
    assert_eq!((&example.values[..], &example.offsets[..]), (&[1_000_700, 2_000_700][..], &[700, count - 1][..]));
    assert!(example.ops.contains(&(twice as u64 * 2 + 2)) && example.ops.contains(&(count as u64 * 2)), "{:?}", example.ops);
}
