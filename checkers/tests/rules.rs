//! What each rule says at its edges. The twins in `histories/` are the plain cases.
//!
//! Each `check` is a history, and the verdict it must get. A comment names what a mutated checker would break it.

mod common;

use common::{check, check_with, judge, summary};
use kchaos_checkers::{FinalRead, JudgeOptions, Profile};

fn complete() -> JudgeOptions {
    JudgeOptions { final_read: FinalRead::Complete, ..JudgeOptions::default() }
}

fn profile(name: &str) -> JudgeOptions {
    JudgeOptions { profile: Profile::named(name).unwrap(), ..JudgeOptions::default() }
}

/// A send by process 0 that was acknowledged.
fn sent(value: i64, offset: i64) -> String {
    format!("0 invoke send [[\"send\",0,{value}]]\n0 ok send [[\"send\",0,[{offset},{value}]]]\n")
}

/// An ok poll of key 0.
fn polled(process: u32, records: &str) -> String {
    format!("{process} invoke poll [[\"poll\"]]\n{process} ok poll [[\"poll\",{{\"0\":[{records}]}}]]\n")
}

mod bare {
    use super::*;

    #[test]
    fn nothing_acknowledged_is_unknown() {
        check("", "unknown: because: nothing-acknowledged");
        check(r#"0 invoke send [["send",0,1]]"#, "unknown: because: nothing-acknowledged");
        check("0 invoke send [[\"send\",0,1]]\n0 info send [[\"send\",0,1]]", "unknown: because: nothing-acknowledged");
        check(&polled(1, ""), "unknown: because: nothing-acknowledged");
    }

    #[test]
    fn acknowledged_and_no_poll_is_unknown_and_the_unread_are_listed() {
        check(&sent(1, 0), "unknown: unseen 1; because: no-final-read");
        check_with(&sent(1, 0), complete(), "invalid: unseen 1; because: no-final-read");
        // A failed poll is no poll.
        let failed = sent(1, 0) + "1 invoke poll [[\"poll\"]]\n1 fail poll [[\"poll\",{\"0\":[[0,1]]}]]";
        check(&failed, "unknown: unseen 1; because: no-final-read");
    }

    #[test]
    fn all_acknowledged_values_read_is_valid() {
        check(&(sent(1, 0) + &polled(1, "[0,1]")), "valid");
        // An info send need not be read, nor a failed one.
        check(&(sent(1, 0) + "2 invoke send [[\"send\",0,2]]\n2 info send [[\"send\",0,2]]\n" + &polled(1, "[0,1]")), "valid");
    }

    #[test]
    fn acknowledged_values_unread_are_listed_and_unknown_unless_the_final_read_was_complete() {
        let unread = sent(1, 0) + &sent(2, 1) + &polled(1, "[0,1]");
        check(&unread, "unknown: unseen 1; because: no-final-read");
        check_with(&unread, complete(), "invalid: unseen 1");
        // Something else invalid decides, and the reason is kept.
        let worse = unread + &polled(2, "[4,1]");
        check(&worse, "invalid: duplicate 1, unseen 1; because: no-final-read");
    }

    #[test]
    fn registers_alone_are_not_judged_yet() {
        check("0 invoke write [0,1]\n0 ok write [0,1]", "unknown: because: not-judged");
    }

    #[test]
    fn unknown_ops_are_skipped_and_counted() {
        let report = judge(&common::history(&(sent(1, 0) + "7 ok dance [1]\n7 ok dance [2]\n" + &polled(1, "[0,1]"))), complete());
        assert_eq!((summary(&report).as_str(), report.unknown_fs["dance"], report.ops), ("valid", 2, 6));
    }
}

mod acknowledgements {
    use super::*;

    #[test]
    fn a_success_without_an_offset_must_still_be_read() {
        let send = "0 invoke send [[\"send\",0,1]]\n0 ok send [[\"send\",0,[null,1]]]\n";
        check_with(&(send.to_owned() + &polled(1, "")), complete(), "invalid: unseen 1");
        check_with(&(send.to_owned() + &polled(1, "[7,1]")), complete(), "valid");
    }

    #[test]
    fn an_offset_inside_an_info_send_acknowledges_that_value_alone() {
        let send = "0 invoke send [[\"send\",0,1],[\"send\",0,2]]\n0 info send [[\"send\",0,[0,1]],[\"send\",0,[null,2]]]\n";
        check_with(&(send.to_owned() + &polled(1, "")), complete(), "invalid: unseen 1");
        check_with(&(send.to_owned() + &polled(1, "[0,1]")), complete(), "valid");
    }

    #[test]
    fn a_send_is_judged_value_by_value_and_a_transaction_as_a_whole() {
        // Offsets are in the transaction, and value 2 stands between 1 and 3: reading 1 and 3 proves 2.
        let op = |f: &str| {
            format!(
                "0 invoke {f} [[\"send\",0,1],[\"send\",0,2],[\"send\",0,3]]\n\
                 0 info {f} [[\"send\",0,[null,1]],[\"send\",0,[null,2]],[\"send\",0,[null,3]]]\n\
                 3 invoke poll [[\"poll\"]]\n3 fail poll [[\"poll\",{{\"0\":[[1,2]]}}]]\n"
            )
        };
        let reads = polled(1, "[0,1]") + &polled(2, "[2,3]") + &sent(9, 3) + &polled(2, "[3,9]");
        // Whoever takes an info send for all-or-nothing would find a lost write here.
        check(&(op("send") + &reads), "valid");
        check(&(op("txn") + &reads), "invalid: lost-write 1");
    }

    #[test]
    fn an_info_transaction_of_which_nothing_was_read_proves_nothing() {
        let txn = "0 invoke txn [[\"send\",0,1],[\"send\",0,2]]\n0 info txn [[\"send\",0,[0,1]],[\"send\",0,[1,2]]]\n";
        check_with(&(txn.to_owned() + &sent(3, 3) + &polled(1, "[3,3]")), complete(), "valid");
        // One that never completed is no different.
        check_with(&("0 invoke txn [[\"send\",0,1]]\n".to_owned() + &sent(3, 3).replace("0 ", "4 ") + &polled(1, "[3,3]")), complete(), "valid");
    }

    #[test]
    fn an_info_transaction_read_uncommitted_is_not_proved() {
        let txn = "0 invoke txn [[\"send\",0,1],[\"send\",0,2]]\n0 info txn [[\"send\",0,[0,1]],[\"send\",0,[1,2]]]\n";
        let read = |isolation: &str| {
            txn.to_owned()
                + &format!("1 invoke poll [[\"poll\"]]\n1 ok poll [[\"poll\",{{\"0\":[[0,1]]}}]] ; \"isolation\":\"{isolation}\"\n")
                + &sent(3, 3)
                + &polled(2, "[3,3]")
        };
        check(&read("read_uncommitted"), "valid");
        check(&read("read_committed"), "invalid: lost-write 1");
    }
}

mod lost_and_unseen {
    use super::*;

    #[test]
    fn the_bound_is_the_greatest_earliest_offset_of_a_read_value() {
        // Value 3 was seen at 5 and at 1: its earliest is 1, so nobody is known to have passed value 2 at 3.
        let base = sent(1, 0) + &sent(2, 3) + "4 invoke send [[\"send\",0,3]]\n4 info send null\n" + &polled(1, "[0,1]");
        check(&(base.clone() + &polled(2, "[5,3]")), "invalid: lost-write 1, unseen 1; because: no-final-read");
        let both = base + &polled(2, "[5,3]") + &polled(3, "[1,3]");
        check(&both, "invalid: duplicate 1, unseen 1; because: no-final-read");
    }

    #[test]
    fn a_value_counts_as_lost_at_the_bound_and_not_beyond_it() {
        // At the same offset as a read value: at the bound.
        let same = sent(1, 4) + "4 invoke send [[\"send\",0,2]]\n4 ok send [[\"send\",0,[4,2]]]\n" + &polled(1, "[4,1]");
        check(&same, "invalid: inconsistent-offsets 1, lost-write 1, unseen 1");
        let beyond = sent(1, 4) + &sent(2, 5) + &polled(1, "[4,1]");
        check(&beyond, "unknown: unseen 1; because: no-final-read");
    }

    #[test]
    fn a_value_that_only_failed_polls_saw_is_unread_and_enters_the_log() {
        let history = "0 invoke send [[\"send\",0,1]]\n0 ok send [[\"send\",0,[null,1]]]\n1 invoke txn [[\"poll\"]]\n\
                       1 fail txn [[\"poll\",{\"0\":[[0,1]]}]]\n"
            .to_owned();
        let reads = "5 invoke send [[\"send\",0,2]]\n5 ok send [[\"send\",0,[1,2]]]\n".to_owned() + &polled(2, "[1,2]");
        check(&(history + &reads), "invalid: lost-write 1, unseen 1; because: no-final-read");
    }

    #[test]
    fn evidence_tells_truncated_late_and_expired_apart() {
        let told = |hint: &str| sent(1, 10) + &sent(2, 17) + &polled(1, "[10,1]") + hint;
        let offsets = |start: u32, end: u32| {
            format!("nemesis info final-offsets {{\"0\":{{\"start\":{start},\"end\":{end},\"leader\":2,\"leader_epoch\":4}}}}\n")
        };
        check(&told(&offsets(0, 15)), "invalid: unseen 1");
        check(&told(&offsets(0, 17)), "invalid: unseen 1");
        check(&told(&offsets(0, 18)), "unknown: unseen 1; because: no-final-read");
        check(&told(&offsets(18, 20)), "valid: ignored: unseen 1");
        check(&told(&offsets(17, 20)), "unknown: unseen 1; because: no-final-read");
        let complete = "nemesis info final-reads {\"complete\":true,\"keys\":{\"0\":{\"next\":18,\"end\":18}}}\n";
        check(&told(&(offsets(0, 18) + complete)), "invalid: unseen 1");
        check(&told(&(offsets(0, 18) + &complete.replace("\"next\":18", "\"next\":17"))), "unknown: unseen 1; because: no-final-read");
        check(&told(&(offsets(0, 18) + &complete.replace("true", "false"))), "unknown: unseen 1; because: no-final-read");
        let report = judge(&common::history(&told(&offsets(0, 15))), JudgeOptions::default());
        assert_eq!(
            report.anomalies["unseen"].examples[0].explanation,
            "value 2 of key 0 was acknowledged at offset 17 (op 3), but the log of key 0 ends at 15 at leader epoch 4: truncated"
        );
    }

    #[test]
    fn what_lies_below_the_log_start_is_not_lost() {
        let hint = |start: u32| format!("nemesis info final-offsets {{\"0\":{{\"start\":{start},\"end\":9}}}}\n");
        let history = sent(1, 3) + &sent(2, 4) + &polled(1, "[4,2]");
        check(&(history.clone() + &hint(4)), "valid: ignored: unseen 1");
        check(&(history + &hint(3)), "invalid: lost-write 1, unseen 1; because: no-final-read");
    }

    #[test]
    fn open_data_of_another_shape_is_passed_over() {
        let history = sent(1, 3) + &polled(1, "[3,1]");
        for hint in ["null", "7", "{\"0\":5,\"x\":{}}", "{\"complete\":\"yes\",\"keys\":[1]}", "[[[]]]"] {
            check(&(history.clone() + "nemesis info final-offsets " + hint + "\nnemesis info final-reads " + hint), "valid");
        }
    }
}

mod log {
    use super::*;

    #[test]
    fn failed_and_info_polls_are_evidence_too() {
        for outcome in ["fail", "info"] {
            let poll = |records: &str| format!("1 invoke txn [[\"poll\"]]\n1 {outcome} txn [[\"poll\",{{\"0\":[{records}]}}]]\n");
            let base = sent(1, 0) + &polled(2, "[0,1]");
            check(&(base.clone() + &poll("[3,1]")), "invalid: duplicate 1");
            check(&(base.clone() + &poll("[0,9]")), "invalid: inconsistent-offsets 1, phantom 1");
            check(&(base.clone() + &poll("[1,9]")), "invalid: phantom 1");
        }
    }

    #[test]
    fn an_acknowledgement_and_a_poll_that_disagree_are_a_duplicate() {
        check(&(sent(1, 5) + &polled(1, "[7,1]")), "invalid: duplicate 1");
        check(&(sent(1, 5) + &polled(1, "[5,1]") + &polled(2, "[5,1]")), "valid");
    }

    #[test]
    fn counts_are_of_values_and_of_offsets() {
        let history = sent(1, 0) + &sent(2, 1) + &polled(1, "[0,1],[1,2]") + &polled(2, "[5,1],[6,2]") + &polled(3, "[9,1]");
        check(&history, "invalid: duplicate 2");
        let history = sent(1, 0) + &sent(2, 1) + &polled(1, "[0,1],[1,2]") + &polled(2, "[0,2],[1,1]");
        check(&history, "invalid: duplicate 2, inconsistent-offsets 2");
    }

    #[test]
    fn the_same_value_of_two_keys_is_two_values() {
        let history = "0 invoke send [[\"send\",0,1],[\"send\",1,1]]\n0 ok send [[\"send\",0,[0,1]],[\"send\",1,[5,1]]]\n\
                       1 invoke poll [[\"poll\"]]\n1 ok poll [[\"poll\",{\"0\":[[0,1]],\"1\":[[5,1]]}]]";
        check(history, "valid");
    }

    #[test]
    fn a_phantom_leaves_all_else_judged() {
        check(&(sent(1, 0) + &sent(2, 1) + &polled(1, "[0,1],[2,99]")), "invalid: int-poll-skip 1, lost-write 1, phantom 1, unseen 1; because: no-final-read");
    }

    #[test]
    fn a_record_that_is_not_what_was_sent_is_a_phantom_however_often_it_is_read() {
        let corrupt = "2 invoke poll [[\"poll\"]]\n2 ok poll [[\"poll\",{}]] ; \"corrupt\":[[0,4,\"checksum\"],[0,5,\"key\"]]\n";
        let history = sent(1, 0) + &polled(1, "[0,1]") + corrupt + corrupt;
        check(&history, "invalid: phantom 2");
    }

    #[test]
    fn a_failed_send_that_an_ok_op_read_is_g1a_and_one_that_a_failed_op_read_is_not() {
        let send = "0 invoke send [[\"send\",0,1]]\n0 fail send [[\"send\",0,1]]\n".to_owned();
        let other = "4 invoke send [[\"send\",0,2]]\n4 ok send [[\"send\",0,[1,2]]]\n".to_owned() + &polled(3, "[1,2]");
        check(&(send.clone() + &other + &polled(1, "[0,1]")), "invalid: G1a 1");
        // Read before it failed.
        let early = "0 invoke send [[\"send\",0,1]]\n".to_owned() + &polled(1, "[0,1]") + "0 fail send [[\"send\",0,1]]\n" + &other;
        check(&early, "invalid: G1a 1");
        check(&(send.clone() + &other + "1 invoke poll [[\"poll\"]]\n1 fail poll [[\"poll\",{\"0\":[[0,1]]}]]"), "valid");
        // An aborted transaction is there to be seen for those who read uncommitted.
        let uncommitted = "1 invoke poll [[\"poll\"]]\n1 ok poll [[\"poll\",{\"0\":[[0,1]]}]] ; \"isolation\":\"read_uncommitted\"\n";
        check(&(send.replace("send [", "txn [") + &other + uncommitted), "valid: ignored: G1a 1");
        check(&(send + &other + uncommitted), "invalid: G1a 1");
    }

    #[test]
    fn a_failed_op_that_polled_its_own_send_is_a_precommitted_read() {
        let op = "1 invoke txn [[\"send\",0,1],[\"poll\"]]\n1 fail txn [[\"send\",0,1],[\"poll\",{\"0\":[[1,1],[1,1]]}]]";
        check(&(sent(9, 0) + &polled(2, "[0,9]") + op), "invalid: int-nonmonotonic-poll 1, precommitted-read 1");
    }

    #[test]
    fn read_before_send_needs_an_invocation() {
        let bare = "1 ok poll [[\"poll\",{\"0\":[[0,1]]}]]\n0 ok send [[\"send\",0,[0,1]]]";
        check(bare, "valid");
        let invoked = "1 ok poll [[\"poll\",{\"0\":[[0,1]]}]]\n0 invoke send [[\"send\",0,1]]\n0 ok send [[\"send\",0,[0,1]]]";
        check(invoked, "unknown: read-before-send 1; because: read-before-send");
        // A violation outranks it.
        check(&(invoked.to_owned() + "\n" + &polled(2, "[3,1]")), "invalid: duplicate 1, read-before-send 1; because: read-before-send");
    }

    #[test]
    fn huge_offsets_and_values_are_offsets_and_values() {
        let base = 1_000_000_000_000_i64;
        let history = sent(i64::MAX, base) + &sent(i64::MIN, base + 2) + &polled(1, &format!("[{base},{}],[{},{}]", i64::MAX, base + 2, i64::MIN));
        check(&history, "valid");
        check(&(sent(1, 1 << 60) + &polled(1, &format!("[{},1]", 1_i64 << 60))), "valid");
        check(&(sent(1, i64::MAX) + &polled(1, &format!("[{},1]", i64::MAX))), "valid");
        // -1 is how clients say that there is no offset.
        check(&(sent(1, -1) + &polled(1, "[-1,1],[null,1]")), "valid");
    }
}

mod poll_order {
    use super::*;

    /// Values 10 + offset at offsets 0 to 4, all read by process 9.
    fn log() -> String {
        let sends: String = (0..5).map(|offset| sent(10 + offset, offset)).collect();
        sends + &polled(9, "[0,10],[1,11],[2,12],[3,13],[4,14]")
    }

    #[test]
    fn the_next_offset_is_right_and_one_more_is_a_skip_and_none_is_a_reread() {
        for (next, expected) in [
            ("[2,12]", "valid"),
            ("[3,13]", "invalid: poll-skip 1"),
            ("[4,14]", "invalid: poll-skip 1"),
            ("[1,11]", "invalid: nonmonotonic-poll 1"),
            ("[0,10],[1,11],[2,12]", "invalid: nonmonotonic-poll 1"),
        ] {
            check(&(log() + &polled(1, "[0,10],[1,11]") + &polled(1, next)), expected);
        }
        for (batch, expected) in [
            ("[1,11],[2,12]", "valid"),
            ("[1,11],[3,13]", "invalid: int-poll-skip 1"),
            ("[1,11],[4,14]", "invalid: int-poll-skip 1"),
            ("[1,11],[1,11]", "invalid: int-nonmonotonic-poll 1"),
            ("[1,11],[0,10]", "invalid: int-nonmonotonic-poll 1"),
        ] {
            check(&(log() + &polled(1, batch)), expected);
        }
    }

    #[test]
    fn holes_are_legal_and_missing_offsets_prove_nothing() {
        let sends: String = [(1, 0), (2, 100), (3, 1_000_000_000_000)].map(|(value, offset)| sent(value, offset)).concat();
        check(&(sends.clone() + &polled(1, "[0,1],[100,2]") + &polled(1, "[1000000000000,3]")), "valid");
        check(&(sends.clone() + &polled(1, "[0,1]") + &polled(1, "[1000000000000,3]") + &polled(2, "[100,2]")), "invalid: poll-skip 1");
        check(&(log() + &polled(1, "[0,10],[null,11]") + &polled(1, "[3,13]")), "valid");
        check(&(log() + &polled(1, "[0,10],[null,11],[3,13]")), "valid");
    }

    #[test]
    fn an_info_send_in_a_gap_that_nobody_read_is_no_skip() {
        let sends = sent(1, 0) + "4 invoke send [[\"send\",0,2]]\n4 info send [[\"send\",0,[null,2]]]\n" + &sent(3, 2);
        check(&(sends.clone() + &polled(1, "[0,1],[2,3]")), "valid");
        check(&(sends + &polled(1, "[0,1],[2,3]") + &polled(2, "[1,2]")), "invalid: int-poll-skip 1");
    }

    #[test]
    fn what_only_readers_of_uncommitted_saw_is_no_skip_for_committed_ones() {
        let txn = "4 invoke txn [[\"send\",0,2]]\n4 fail txn [[\"send\",0,[1,2]]]\n";
        let sends = sent(1, 0) + txn + &sent(3, 2) + &polled(1, "[0,1],[2,3]");
        let read = |isolation: &str| format!("5 ok poll [[\"poll\",{{\"0\":[[1,2]]}}]] ; \"isolation\":\"{isolation}\"\n");
        check(&(sends.clone() + &read("read_uncommitted")), "valid: ignored: G1a 1");
        check(&(sends + &read("read_committed")), "invalid: G1a 1, int-poll-skip 1");
    }

    #[test]
    fn failed_and_info_ops_are_judged_and_do_not_advance() {
        for outcome in ["fail", "info"] {
            let poll = |records: &str| format!("1 invoke txn [[\"poll\"]]\n1 {outcome} txn [[\"poll\",{{\"0\":[{records}]}}]]\n");
            // An abort rewinds: the same records come again.
            check(&(log() + &polled(1, "[0,10]") + &poll("[1,11]") + &polled(1, "[1,11]")), "valid");
            check(&(log() + &polled(1, "[0,10]") + &poll("[1,11]") + &polled(1, "[2,12]")), "invalid: poll-skip 1");
            check(&(log() + &polled(1, "[0,10]") + &poll("[2,12]")), "invalid: poll-skip 1");
            check(&(log() + &polled(1, "[0,10]") + &poll("[0,10]")), "invalid: nonmonotonic-poll 1");
            check(&(log() + &poll("[0,10],[2,12]")), "invalid: int-poll-skip 1");
        }
    }

    #[test]
    fn a_position_survives_assign_for_keys_still_listed() {
        let assign = |keys: &str| format!("1 invoke assign {keys}\n1 ok assign {keys}\n");
        let read = polled(1, "[0,10]");
        check(&(log() + &assign("[0]") + &read + &assign("[0,1]") + &polled(1, "[2,12]")), "invalid: poll-skip 1");
        check(&(log() + &assign("[0]") + &read + &assign("[1]") + &assign("[0]") + &polled(1, "[2,12]")), "valid");
        // A failed assign changes nothing; an info one may have.
        check(&(log() + &read + "1 invoke assign [1]\n1 fail assign [1]\n" + &polled(1, "[2,12]")), "invalid: poll-skip 1");
        check(&(log() + &read + "1 invoke assign [1]\n1 info assign [1]\n" + &polled(1, "[2,12]")), "valid");
        check(&(log() + &read + "1 invoke crash null\n1 info crash null\n" + &polled(1, "[2,12]")), "valid");
    }

    #[test]
    fn a_first_read_is_judged_only_after_seeking_to_the_beginning() {
        let seek = "1 invoke assign [0] ; \"seek-to-beginning?\":true\n1 ok assign [0] ; \"seek-to-beginning?\":true\n";
        check(&(log() + &polled(1, "[1,11]")), "valid");
        check(&(log() + seek + &polled(1, "[0,10]")), "valid");
        check(&(log() + seek + &polled(1, "[1,11]")), "invalid: poll-skip 1");
        check(&(log() + &polled(1, "[3,13]") + seek + &polled(1, "[0,10]")), "valid");
        let start = "nemesis info final-offsets {\"0\":{\"start\":1,\"end\":5}}\n";
        check(&(log() + seek + &polled(1, "[1,11]") + start), "valid");
        check(&(log() + seek + &polled(1, "[2,12]") + start), "invalid: poll-skip 1");
    }

    #[test]
    fn a_subscribed_process_is_judged_only_where_it_logs_rebalances() {
        let subscribe = "1 invoke subscribe [0]\n1 ok subscribe [0]\n".to_owned();
        let poll = |records: &str, rebalances: &str| {
            format!("1 invoke poll [[\"poll\"]]\n1 ok poll [[\"poll\",{{\"0\":[{records}]}}]] ; \"rebalance-log\":[{rebalances}]\n")
        };
        let event = |kind: &str, key: u32| format!("{{\"type\":\"{kind}\",\"keys\":[{key}]}}");
        let base = log() + &subscribe;
        // It logs none: exempt.
        check(&(base.clone() + &poll("[0,10]", "") + &poll("[2,12]", "")), "valid");
        // It logs, and nothing happened to the key since.
        check(&(base.clone() + &poll("[0,10]", &event("assigned", 0)) + &poll("[2,12]", "")), "invalid: poll-skip 1");
        check(&(base.clone() + &poll("[0,10]", &event("assigned", 0)) + &poll("[0,10]", "")), "invalid: nonmonotonic-poll 1");
        // The key was touched since.
        for kind in ["revoked", "lost", "assigned"] {
            let history = base.clone() + &poll("[0,10]", &event("assigned", 0)) + &poll("", &event(kind, 0)) + &poll("[2,12]", "");
            check(&history, "valid");
            let other = base.clone() + &poll("[0,10]", &event("assigned", 0)) + &poll("", &event(kind, 7)) + &poll("[2,12]", "");
            check(&other, "invalid: poll-skip 1");
        }
        // Once it has read again, it is judged again.
        let again = base.clone() + &poll("[0,10]", "") + &poll("[1,11]", &event("assigned", 0)) + &poll("[3,13]", "");
        check(&again, "invalid: poll-skip 1");
        // Revoked in the op that read it, perhaps afterwards.
        check(&(base.clone() + &poll("[0,10]", &event("revoked", 0)) + &poll("[2,12]", "")), "valid");
        // A log that comes later shows that this process logs.
        check(&(base + &poll("[0,10]", "") + &poll("[2,12]", "") + &poll("", &event("revoked", 0))), "invalid: poll-skip 1");
    }

    #[test]
    fn inside_an_op_only_keys_in_its_rebalance_log_are_exempt() {
        let poll = |records: &str, key: u32| {
            format!(
                "1 invoke poll [[\"poll\"]]\n1 ok poll [[\"poll\",{{\"0\":[{records}]}}]] ; \
                 \"rebalance-log\":[{{\"type\":\"assigned\",\"keys\":[{key}]}}]\n"
            )
        };
        check(&(log() + &poll("[0,10],[2,12]", 0)), "valid");
        check(&(log() + &poll("[0,10],[2,12]", 1)), "invalid: int-poll-skip 1");
        check(&(log() + &poll("[2,12],[0,10]", 1)), "invalid: int-nonmonotonic-poll 1");
    }

    #[test]
    fn several_polls_of_one_op_follow_one_another() {
        let op = |first: &str, second: &str| {
            format!("1 invoke txn [[\"poll\"],[\"poll\"]]\n1 ok txn [[\"poll\",{{\"0\":[{first}]}}],[\"poll\",{{\"0\":[{second}]}}]]\n")
        };
        check(&(log() + &op("[0,10]", "[1,11]")), "valid");
        check(&(log() + &op("[0,10]", "[2,12]")), "invalid: int-poll-skip 1");
        check(&(log() + &op("[0,10]", "[0,10]")), "invalid: int-nonmonotonic-poll 1");
    }
}

mod send_order {
    use super::*;

    fn read(records: &str) -> String {
        polled(1, records)
    }

    #[test]
    fn the_later_of_two_sends_lands_at_least_one_further() {
        check(&(sent(1, 5) + &sent(2, 6) + &read("[5,1],[6,2]")), "valid");
        check(&(sent(1, 5) + &sent(2, 4) + &read("[4,2],[5,1]")), "invalid: nonmonotonic-send 1, reordered 1");
        check(&(sent(1, 5) + &sent(2, 5) + &read("[5,1]")), "invalid: inconsistent-offsets 1, lost-write 1, nonmonotonic-send 1, unseen 1");
    }

    #[test]
    fn a_failed_send_between_proves_nothing_and_an_info_one_is_placed_by_polls() {
        let fail = "0 invoke send [[\"send\",0,2]]\n0 fail send [[\"send\",0,[3,2]]]\n";
        check(&(sent(1, 5) + fail + &sent(3, 6) + &read("[5,1],[6,3]")), "valid");
        let info = "0 invoke send [[\"send\",0,2]]\n0 info send [[\"send\",0,[null,2]]]\n";
        check(&(info.to_owned() + &sent(3, 6) + &read("[6,3],[7,2]")), "invalid: nonmonotonic-send 1");
        check(&(info.to_owned() + &sent(3, 6) + &read("[5,2],[6,3]")), "valid");
        // Nobody saw where it landed.
        check(&(info.to_owned() + &sent(3, 6) + &read("[6,3]")), "valid");
        // Without idempotence a late retry may still land.
        check_with(
            &(info.to_owned() + &sent(3, 6) + &read("[6,3],[7,2]")),
            profile("kafka-non-idempotent"),
            "valid: ignored: nonmonotonic-send 1",
        );
    }

    #[test]
    fn inside_an_op_sends_land_in_order() {
        let op = |first: u32, second: u32| {
            format!(
                "0 invoke send [[\"send\",0,1],[\"send\",0,2]]\n0 ok send [[\"send\",0,[{first},1]],[\"send\",0,[{second},2]]]\n\
                 1 invoke poll [[\"poll\"]]\n1 ok poll [[\"poll\",{{\"0\":[[{first},1]]}}]]\n\
                 2 invoke poll [[\"poll\"]]\n2 ok poll [[\"poll\",{{\"0\":[[{second},2]]}}]]\n"
            )
        };
        check(&op(4, 5), "valid");
        check(&op(4, 6), "valid");
        check(&op(5, 4), "invalid: int-nonmonotonic-send 1, reordered 1");
        check_with(&op(5, 4), profile("kafka-non-idempotent"), "valid: ignored: int-nonmonotonic-send 1, reordered 1");
    }
}

mod reordered {
    use super::*;

    /// Two pipelined sends of one client by two lanes, acknowledged at these offsets.
    fn pipelined(first: u32, second: u32, clients: [u32; 2]) -> String {
        let [a, b] = clients;
        format!(
            "0 invoke send [[\"send\",0,1]] ; \"client\":{a}\n5 invoke send [[\"send\",0,2]] ; \"client\":{b}\n\
             5 ok send [[\"send\",0,[{second},2]]] ; \"client\":{b}\n0 ok send [[\"send\",0,[{first},1]]] ; \"client\":{a}\n\
             1 invoke poll [[\"poll\"]]\n1 ok poll [[\"poll\",{{\"0\":[[{first},1]]}}]]\n\
             2 invoke poll [[\"poll\"]]\n2 ok poll [[\"poll\",{{\"0\":[[{second},2]]}}]]\n"
        )
    }

    #[test]
    fn one_clients_pipelined_sends_land_in_the_order_of_sending() {
        check(&pipelined(5, 6, [3, 3]), "valid");
        check(&pipelined(6, 5, [3, 3]), "invalid: reordered 1");
        // Another client, and a restarted one, which is new: concurrent sends may land in any order.
        check(&pipelined(6, 5, [3, 4]), "valid");
        check_with(&pipelined(6, 5, [3, 3]), profile("kafka-non-idempotent"), "valid: ignored: reordered 1");
    }

    #[test]
    fn a_send_that_never_ended_does_not_hide_those_behind_it() {
        let stuck = "7 invoke send [[\"send\",0,9]] ; \"client\":3\n";
        check(&(stuck.to_owned() + &pipelined(6, 5, [3, 3])), "invalid: reordered 1");
        check(&(stuck.to_owned() + &pipelined(5, 6, [3, 3])), "valid");
    }

    #[test]
    fn in_real_time_only_sends_that_did_not_overlap_are_ordered() {
        let overlapping = "0 invoke send [[\"send\",0,1]]\n4 invoke send [[\"send\",0,2]]\n0 ok send [[\"send\",0,[6,1]]]\n4 ok send [[\"send\",0,[5,2]]]\n";
        check(&(overlapping.to_owned() + &polled(1, "[5,2],[6,1]")), "valid");
        let apart = "0 invoke send [[\"send\",0,1]]\n0 ok send [[\"send\",0,[6,1]]]\n4 invoke send [[\"send\",0,2]]\n4 ok send [[\"send\",0,[5,2]]]\n";
        check(&(apart.to_owned() + &polled(1, "[5,2],[6,1]")), "invalid: reordered 1");
        // Equal offsets are another anomaly.
        let equal = apart.replace("[5,2]", "[6,2]");
        check(&(equal + &polled(1, "[6,1]")), "invalid: inconsistent-offsets 1, lost-write 1, unseen 1");
    }

    #[test]
    fn a_poll_proves_that_an_unacknowledged_value_existed() {
        let info = "0 invoke send [[\"send\",0,1]]\n".to_owned() + &polled(1, "[6,1]");
        let later = "4 invoke send [[\"send\",0,2]]\n4 ok send [[\"send\",0,[5,2]]]\n".to_owned() + &polled(2, "[5,2]");
        check(&(info + &later), "invalid: reordered 1");
        // An info send is placed by its poll.
        let later = "4 invoke send [[\"send\",0,2]]\n4 info send [[\"send\",0,[null,2]]]\n".to_owned() + &polled(2, "[5,2]");
        check(&(sent(1, 6) + &polled(1, "[6,1]") + &later), "invalid: reordered 1");
    }

    #[test]
    fn a_phantom_at_a_huge_offset_orders_nothing() {
        check(&(polled(1, "[1152921504606846976,99]") + &sent(1, 0) + &polled(2, "[0,1]")), "invalid: phantom 1");
    }

    #[test]
    fn each_late_value_is_one_pair_whoever_promised_its_order() {
        let history = sent(1, 9) + &sent(2, 3) + &sent(3, 4) + &polled(1, "[3,2],[4,3]") + &polled(2, "[9,1]");
        check(&history, "invalid: nonmonotonic-send 1, reordered 2");
    }
}

#[test]
fn ignored_findings_are_shown_and_harmless() {
    let history = sent(1, 5) + &polled(1, "[5,1]") + &polled(2, "[7,1]");
    check_with(&history, profile("kafka-non-idempotent"), "valid: ignored: duplicate 1");
}

#[test]
fn values_that_are_not_unique_are_said_to_be_so() {
    check(&(sent(1, 0) + &sent(1, 1) + &polled(1, "[0,1],[1,1]")), "invalid: duplicate 1; because: values-not-unique");
}

#[test]
fn a_process_that_overlaps_itself_accuses_nobody() {
    // A process does one thing at a time; a history that breaks this is read by the values its completions name.
    let history = "0 invoke send [[\"send\",0,1]]\n0 invoke send [[\"send\",0,2]]\n0 ok send [[\"send\",0,[0,1]]]\n0 ok send [[\"send\",0,[1,2]]]\n";
    check(&(history.to_owned() + &polled(1, "[0,1],[1,2]")), "valid");
}
