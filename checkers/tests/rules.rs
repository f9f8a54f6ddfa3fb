//! What each rule says at its edges; those of order stand in `order.rs`. The twins in `histories/` are the plain cases.
//!
//! Each `check` is a history, and the verdict it must get. They were held against mutated checkers: every condition of a rule has a history
//! here that goes wrong without it; where that is not plain from the test's name, a comment says which.

mod common;

use common::{check, check_with, complete, judge, polled, profile, sent, summary};
use kchaos_checkers::JudgeOptions;

mod bare {
    use super::*;

    #[test]
    fn nothing_acknowledged_is_unknown() {
        check("", "unknown: because: nothing-acknowledged");
        check(r#"0 invoke send [["send",0,1]]"#, "unknown: because: nothing-acknowledged");
        check("0 invoke send [[\"send\",0,1]]\n0 info send [[\"send\",0,1]]", "unknown: because: nothing-acknowledged");
        check(&polled(1, ""), "unknown: because: nothing-acknowledged");
        check("0 ok txn [[\"poll\",{}]]", "valid");
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
    fn registers_alone_are_judged_by_their_order_alone() {
        check("0 invoke write [0,1]\n0 ok write [0,1]", "valid");
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
        check_with(
            &("0 invoke txn [[\"send\",0,1]]\n".to_owned() + &sent(3, 3).replace("0 ", "4 ") + &polled(1, "[3,3]")),
            complete(),
            "valid",
        );
    }

    #[test]
    fn a_transaction_that_never_completed_is_proved_by_a_read_as_well() {
        let open = "0 invoke txn [[\"send\",0,1],[\"send\",0,2]]\n3 fail txn [[\"poll\",{\"0\":[[0,1]]}]]\n".to_owned();
        let rest = "4 ok send [[\"send\",0,[3,9]]]\n".to_owned() + &polled(2, "[3,9]");
        check(&(open.clone() + &rest), "valid");
        check(&(open.clone() + &polled(1, "[1,2]") + &rest), "invalid: lost-write 1");
        // Nor does it matter that its process went on.
        check(&(open + &polled(0, "") + &polled(1, "[1,2]") + &rest), "invalid: lost-write 1");
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
        check(&read("read_committed"), "invalid: lost-write 1, torn-transaction 1");
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
    fn a_value_is_lost_only_if_its_last_offset_is_within_the_bound() {
        let history = sent(1, 1) + &sent(2, 5) + &polled(1, "[5,2]") + "3 fail txn [[\"poll\",{\"0\":[[9,1]]}]]\n";
        check(&history, "invalid: duplicate 1, unseen 1; because: no-final-read");
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
        check(&history, "invalid: duplicate 2, inconsistent-offsets 2, total-order-disagreement 1");
    }

    #[test]
    fn the_same_value_of_two_keys_is_two_values() {
        let history = "0 invoke send [[\"send\",0,1],[\"send\",1,1]]\n0 ok send [[\"send\",0,[0,1]],[\"send\",1,[5,1]]]\n\
                       1 invoke poll [[\"poll\"]]\n1 ok poll [[\"poll\",{\"0\":[[0,1]],\"1\":[[5,1]]}]]";
        check(history, "valid");
    }

    #[test]
    fn a_phantom_leaves_all_else_judged() {
        check(
            &(sent(1, 0) + &sent(2, 1) + &polled(1, "[0,1],[2,99]")),
            "invalid: int-poll-skip 1, lost-write 1, phantom 1, unseen 1; because: no-final-read",
        );
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
    fn of_a_value_sent_twice_nobody_knows_which_send_failed() {
        let sends = "0 invoke send [[\"send\",0,1]]\n4 invoke send [[\"send\",0,1]]\n0 fail send [[\"send\",0,1]]\n".to_owned();
        check(&(sends + &sent(2, 1) + &polled(1, "[0,1],[1,2]")), "unknown: because: values-not-unique");
    }

    #[test]
    fn a_failed_op_that_polled_its_own_send_is_a_precommitted_read() {
        let op = "1 invoke txn [[\"send\",0,1],[\"poll\"]]\n1 fail txn [[\"send\",0,1],[\"poll\",{\"0\":[[1,1],[1,1]]}]]";
        check(&(sent(9, 0) + &polled(2, "[0,9]") + op), "invalid: int-nonmonotonic-poll 1, precommitted-read 1");
        let uncommitted = op.replace("[1,1],[1,1]", "[1,1]") + " ; \"isolation\":\"read_uncommitted\"";
        check(&(sent(9, 0) + &polled(2, "[0,9]") + &uncommitted), "valid: ignored: precommitted-read 1");
        // So is it where that is the run's own isolation, and no op says so.
        let plan = kchaos_core::Plan { isolation: "read_uncommitted".to_owned(), idempotence: true, ..Default::default() };
        let options = JudgeOptions { profile: kchaos_checkers::Profile::derive(&plan).unwrap(), ..JudgeOptions::default() };
        check_with(
            &(sent(9, 0) + &polled(2, "[0,9]") + &op.replace("[1,1],[1,1]", "[1,1]")),
            options,
            "valid: ignored: precommitted-read 1",
        );
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
        let history =
            sent(i64::MAX, base) + &sent(i64::MIN, base + 2) + &polled(1, &format!("[{base},{}],[{},{}]", i64::MAX, base + 2, i64::MIN));
        check(&history, "valid");
        check(&(sent(1, 1 << 60) + &polled(1, &format!("[{},1]", 1_i64 << 60))), "valid");
        check(&(sent(1, i64::MAX) + &polled(1, &format!("[{},1]", i64::MAX))), "valid");
        // -1 is how clients say that there is no offset.
        check(&(sent(1, -1) + &polled(1, "[-1,1],[null,1]")), "valid");
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
    let history =
        "0 invoke send [[\"send\",0,1]]\n0 invoke send [[\"send\",0,2]]\n0 ok send [[\"send\",0,[0,1]]]\n0 ok send [[\"send\",0,[1,2]]]\n";
    check(&(history.to_owned() + &polled(1, "[0,1],[1,2]")), "valid");
}
