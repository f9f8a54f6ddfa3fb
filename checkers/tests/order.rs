//! What the rules of order say at their edges: of polls, of sends, and of real time.

mod common;

use common::{check, check_with, polled, profile, sent};

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
            ("[1,11],[0,10]", "invalid: int-nonmonotonic-poll 1, total-order-disagreement 1"),
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
        // An info op may not have sought.
        check(&(log() + "1 info assign [0] ; \"seek-to-beginning?\":true\n" + &polled(1, "[1,11]")), "valid");
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
        // But not inside an op.
        check(&(base.clone() + &poll("[0,10],[2,12]", "")), "invalid: int-poll-skip 1");
        let two_polls = "1 ok txn [[\"poll\",{\"0\":[[0,10]]}],[\"poll\",{\"0\":[[2,12]]}]]";
        check(&(base.clone() + two_polls), "invalid: int-poll-skip 1");
        // A process that only assigned is not excused by any log.
        check(&(log() + &polled(1, "[0,10]") + &poll("", &event("revoked", 0)) + &poll("[2,12]", "")), "invalid: poll-skip 1");
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
        check(&(log() + &poll("[2,12],[0,10]", 1)), "invalid: int-nonmonotonic-poll 1, total-order-disagreement 1");
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
        // Of two places, which counts is not known.
        check(&(info.to_owned() + &sent(3, 6) + &read("[6,3],[7,2]") + &polled(2, "[5,2]")), "invalid: duplicate 1");
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
        // Its own values are not foreign to it.
        let three = "0 invoke send [[\"send\",0,1],[\"send\",0,2],[\"send\",0,3]]\n0 ok send [[\"send\",0,[5,1]],[\"send\",0,[7,2]],[\"send\",0,[6,3]]]\n";
        check(&(three.to_owned() + &read("[5,1],[6,3],[7,2]")), "invalid: int-nonmonotonic-send 1, reordered 1");
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
    fn a_send_that_ends_after_its_process_crashed_is_not_taken_for_anothers() {
        let crashed =
            "0 invoke send [[\"send\",0,5]]\n0 info crash null\n4 invoke send [[\"send\",1,5]]\n0 ok send [[\"send\",0,[10,5]]]\n";
        let other = "4 ok send [[\"send\",1,[1,5]]]\n4 invoke send [[\"send\",1,6]]\n4 ok send [[\"send\",1,[3,6]]]\n";
        let read = "1 invoke poll [[\"poll\"]]\n1 ok poll [[\"poll\",{\"0\":[[10,5]],\"1\":[[1,5],[3,6]]}]]\n";
        // What a process does first goes another way inside than what it does later.
        check(&(sent(1, 0) + crashed + other + &read.replace("[10,5]", "[0,1],[10,5]")), "valid");
        check(&(crashed.to_owned() + other + read), "valid");
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
    fn what_failed_was_promised_no_place() {
        let failed = "4 invoke txn [[\"send\",0,2]]\n4 fail txn [[\"send\",0,2]]\n5 ok poll [[\"poll\",{\"0\":[[5,2]]}]] ; \"isolation\":\"read_uncommitted\"\n";
        check(&(sent(1, 6) + failed + &polled(1, "[6,1]")), "valid: ignored: G1a 1");
    }

    #[test]
    fn a_client_and_a_process_of_one_number_are_two_senders() {
        let history = "0 invoke send [[\"send\",0,1]]\n5 invoke send [[\"send\",0,2]] ; \"client\":0\n5 ok send [[\"send\",0,[5,2]]] ; \"client\":0\n\
                       0 ok send [[\"send\",0,[6,1]]]\n";
        check(&(history.to_owned() + &polled(1, "[5,2],[6,1]")), "valid");
    }

    #[test]
    fn without_invocations_pipelined_sends_have_no_order() {
        let bare = "0 ok send [[\"send\",0,[6,1]]] ; \"client\":3\n0 ok send [[\"send\",0,[5,2]]] ; \"client\":3\n".to_owned();
        let reads = polled(1, "[5,2],[6,1]");
        check(&(bare.clone() + &reads), "invalid: nonmonotonic-send 1");
        check(&(bare.replace("\"client\":3", "\"node\":\"b1\"") + &reads), "invalid: nonmonotonic-send 1, reordered 1");
    }

    #[test]
    fn a_process_that_crashed_is_a_new_client() {
        let plan = kchaos_core::Plan { acks: "1".to_owned(), idempotence: true, ..Default::default() };
        let options = || kchaos_checkers::JudgeOptions { profile: kchaos_checkers::Profile::derive(&plan).unwrap(), ..Default::default() };
        let history = |between: &str| sent(1, 6) + between + &sent(2, 5) + &polled(1, "[5,2],[6,1]");
        check_with(&history(""), options(), "invalid: nonmonotonic-send 1, reordered 1; ignored: reordered 1");
        check_with(&history("0 info crash null\n"), options(), "invalid: nonmonotonic-send 1; ignored: reordered 1");
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
