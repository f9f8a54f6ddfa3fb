//! What is said of transactions at the edges: of time, of isolation, of what committed. The twins in `histories/` are the plain cases.

mod common;

use common::{check, judge, polled, sent};
use kchaos_checkers::JudgeOptions;

/// Lines with times in ns: `3000: 0 ok send …`.
#[track_caller]
fn check_timed(lines: &[(u64, &str)], expected: &str) {
    let mut history = String::new();
    for ((time, _), line) in
        lines.iter().zip(common::history(&lines.iter().map(|(_, line)| format!("{line}\n")).collect::<String>()).lines())
    {
        let (before, after) = line.split_once("\"time\":").unwrap();
        let (_, after) = after.split_once(',').unwrap();
        history += &format!("{before}\"time\":{time},{after}\n");
    }
    assert_eq!(common::summary(&judge(&history, JudgeOptions::default())), expected, "{history}");
}

#[test]
fn a_read_is_dirty_strictly_before_the_commit_was_invoked_and_only_at_read_committed() {
    for (commit, expected) in [(19, "valid"), (20, "valid"), (21, "invalid: dirty-read 1"), (5, "valid"), (31, "valid")] {
        let ended = format!("0 ok txn [[\"send\",0,[0,1]]] ; \"commit-time\":{commit}");
        let poll = "1 ok poll [[\"poll\",{\"0\":[[0,1]]}]]";
        check_timed(&[(10, "0 invoke txn [[\"send\",0,1]]"), (20, poll), (30, &ended)], expected);
        let uncommitted = format!("{poll} ; \"isolation\":\"read_uncommitted\"");
        check_timed(&[(10, "0 invoke txn [[\"send\",0,1]]"), (20, &uncommitted), (30, &ended)], "valid");
    }
}

#[test]
fn a_transaction_polls_before_its_own_commit_whichever_ends_first() {
    let lines = |writer: u64, reader: u64| {
        let writer = format!("0 ok txn [[\"send\",0,[0,1]]] ; \"commit-time\":{writer}");
        let reader = format!("1 ok txn [[\"send\",1,[0,2]],[\"poll\",{{\"0\":[[0,1]]}}]] ; \"commit-time\":{reader}");
        (writer, reader)
    };
    for (writer_at, reader_at, expected) in [(20, 25, "valid"), (25, 20, "invalid: dirty-read 1")] {
        let (writer, reader) = lines(writer_at, reader_at);
        let begin = [(0, "0 invoke txn [[\"send\",0,1]]"), (1, "1 invoke txn [[\"send\",1,2],[\"poll\"]]")];
        let rest = "2 ok poll [[\"poll\",{\"1\":[[0,2]]}]]";
        check_timed(&[begin[0], begin[1], (30, &writer), (40, &reader), (50, rest)], expected);
        check_timed(&[begin[0], begin[1], (30, &reader), (40, &writer), (50, rest)], expected);
    }
}

#[test]
fn a_torn_transaction_needs_readers_past_both() {
    let txn = "0 invoke txn [[\"send\",0,1],[\"send\",1,2]]\n0 ok txn [[\"send\",0,[0,1]],[\"send\",1,[0,2]]]\n".to_owned();
    let reads = txn + &polled(1, "[0,1]");
    check(&reads, "unknown: unseen 1; because: no-final-read");
    let complete = JudgeOptions { final_read: kchaos_checkers::FinalRead::Complete, ..JudgeOptions::default() };
    common::check_with(&reads, complete, "invalid: torn-transaction 1, unseen 1");
}

/// A record lands between two that a poll returned: it is missing from that poll only if its transaction was begun before the poll ended.
#[test]
fn a_poll_leaves_out_only_what_was_begun_before_it_ended() {
    let begun = "5 invoke txn [[\"send\",0,2]]\n";
    let ended = "5 ok txn [[\"send\",0,[1,2]]]\n";
    let txn = |value: i64, offset: i64| format!("0 invoke txn [[\"send\",0,{value}]]\n0 ok txn [[\"send\",0,[{offset},{value}]]]\n");
    let (others, poll, all) = (txn(1, 0) + &txn(3, 2), polled(1, "[0,1],[2,3]"), polled(2, "[0,1],[1,2],[2,3]"));
    check(&format!("{begun}{others}{poll}{ended}{all}"), "invalid: G1b 1, int-poll-skip 1");
    check(&format!("{begun}{others}{ended}{poll}{all}"), "invalid: G1b 1, int-poll-skip 1");
    check(&format!("{others}{poll}{begun}{ended}{all}"), "invalid: int-poll-skip 1, reordered 1; ignored: G0-realtime 1");
    // Where the history tells no invocation, what ended before the poll was begun before.
    check(&format!("{others}{ended}{poll}{all}"), "invalid: G1b 1, int-poll-skip 1");
    check(&format!("{others}{poll}{ended}{all}"), "invalid: int-poll-skip 1");
}

#[test]
fn only_cycles_of_reads_alone_are_a_violation() {
    let txns = |second: &str| {
        format!(
            "0 invoke txn [[\"send\",0,1],[\"send\",1,1]]\n1 invoke txn [[\"send\",1,2],[\"poll\"]]\n\
             0 ok txn [[\"send\",0,[0,1]],[\"send\",1,[null,1]]]\n1 ok txn [[\"send\",1,[null,2]],[\"poll\",{{\"0\":[[0,1]]}}]]\n\
             2 ok poll [[\"poll\",{{\"1\":[{second}]}}]]\n"
        )
    };
    check(&txns("[0,1],[1,2]"), "valid");
    check(&txns("[0,2],[1,1]"), "valid: ignored: G1c 1");
}

#[test]
fn a_cycle_is_explained_step_by_step() {
    let lines = "0 invoke txn [[\"send\",0,1],[\"poll\"]]\n1 invoke txn [[\"send\",1,2],[\"poll\"]]\n\
                 0 ok txn [[\"send\",0,[0,1]],[\"poll\",{\"1\":[[0,2]]}]]\n1 ok txn [[\"send\",1,[0,2]],[\"poll\",{\"0\":[[0,1]]}]]\n";
    let report = judge(&common::history(lines), JudgeOptions::default());
    let example = &report.anomalies["G1c"].examples[0];
    assert_eq!(example.ops, [0, 1, 2, 3]);
    assert_eq!(
        example.explanation,
        "the transaction (op 3) wrote value 2 of key 1, which the transaction (op 2) polled; the transaction (op 2) wrote value 1 of key 0, \
         which the transaction (op 3) polled: none of them can have come first, and one should"
    );
}

#[test]
fn a_fetch_may_return_what_somebody_commits_meanwhile_and_not_less() {
    let commit = |process: u32, offset: u32, outcome: &str| {
        let value = format!("commit {{\"0\":{offset}}} ; \"group\":\"g\"\n");
        format!("{process} invoke {value}{process} {outcome} {value}")
    };
    let fetch = |value: &str| format!("3 invoke committed [0] ; \"group\":\"g\"\n3 ok committed {value} ; \"group\":\"g\"\n");
    let base = sent(1, 0) + &polled(1, "[0,1]") + &commit(1, 7, "ok");
    for (more, fetched, expected) in [
        (String::new(), "{\"0\":7}", "valid"),
        (String::new(), "{\"0\":8}", "valid"),
        (String::new(), "{\"0\":6}", "invalid: commit-regression 1"),
        (String::new(), "{}", "invalid: commit-regression 1"),
        (commit(2, 5, "ok"), "{\"0\":5}", "valid"),
        (commit(2, 5, "info"), "{\"0\":5}", "valid"),
        (commit(2, 5, "info"), "{\"0\":6}", "invalid: commit-regression 1"),
        (commit(2, 5, "fail"), "{\"0\":5}", "invalid: commit-regression 1"),
    ] {
        check(&(base.clone() + &more + &fetch(fetched)), expected);
    }
    let other_group = base + &fetch("{\"0\":6}").replace("\"g\"", "\"h\"");
    check(&other_group, "valid");
}
