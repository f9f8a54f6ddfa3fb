//! Each rule hears of the kinds of ops that it wants to hear of: polls inside a transaction, what the harness tells, rebalances beside any op.
//! These are what `deaf:CHECKER/KIND` survived of (docs/mutants.md).

mod common;

use common::{check, polled, sent};

#[test]
fn a_record_that_is_not_what_was_sent_is_a_phantom_in_a_transaction_too() {
    let corrupt = |beside: &str| format!("2 invoke txn [[\"poll\"]]\n2 ok txn [[\"poll\",{{}}]]{beside}\n");
    let read = sent(1, 0) + &polled(1, "[0,1]");
    check(&(read.clone() + &corrupt("")), "valid");
    check(&(read + &corrupt(" ; \"corrupt\":[[0,4,\"checksum\"]]")), "invalid: phantom 1");
}

/// A kchaos that was killed had sent values of which nothing is written: those beyond what it recorded are nobody's crime.
#[test]
fn what_a_recorder_that_was_cut_off_may_have_sent_is_no_phantom_and_what_it_cannot_have_is() {
    let read = |value: i64| sent(1, 0) + &polled(1, &format!("[0,1],[1,{value}]"));
    let cut_off = |told: &str| format!("nemesis info recorder-cut-off {told}\n");
    check(&read(9), "invalid: phantom 1");
    check(&(read(9) + &cut_off("{\"0\":8}")), "valid");
    check(&(read(9) + &cut_off("{\"0\":9}")), "invalid: phantom 1");
    check(&(read(9) + &cut_off("{\"1\":8}")), "valid");
}

#[test]
fn a_transaction_that_read_beyond_an_open_one_passed_the_last_stable_offset() {
    let begun = "0 invoke txn [[\"send\",0,1]]\n2 invoke send [[\"send\",0,2]]\n2 ok send [[\"send\",0,[1,2]]]\n";
    let reads = "1 invoke txn [[\"poll\"]]\n1 ok txn [[\"poll\",{\"0\":[[1,2]]}]]\n";
    let ended = |commit_time: u64| format!("0 ok txn [[\"send\",0,[0,1]]] ; \"commit-time\":{commit_time}\n");
    let all = polled(3, "[0,1],[1,2]");
    check(&(begun.to_owned() + reads + &ended(4_500_000) + &all), "invalid: lso-passed 1");
    check(&(begun.to_owned() + reads + &ended(3_500_000) + &all), "valid");
}

#[test]
fn a_rebalance_beside_any_op_excuses_the_next_poll() {
    let log = (0..5).map(|offset| sent(10 + offset, offset)).collect::<String>() + &polled(9, "[0,10],[1,11],[2,12],[3,13],[4,14]");
    let poll = |records: &str, beside: &str| format!("1 invoke poll [[\"poll\"]]\n1 ok poll [[\"poll\",{{\"0\":[{records}]}}]]{beside}\n");
    let assigned = " ; \"rebalance-log\":[{\"type\":\"assigned\",\"keys\":[0]}]";
    let begun = log + "1 invoke subscribe [0]\n1 ok subscribe [0]\n" + &poll("[0,10]", assigned);
    let committed = |beside: &str| format!("1 invoke commit {{\"0\":1}}\n1 ok commit {{\"0\":1}}{beside}\n");
    check(&(begun.clone() + &committed("") + &poll("[2,12]", "")), "invalid: poll-skip 1");
    check(&(begun + &committed(assigned) + &poll("[2,12]", "")), "valid");
}

#[test]
fn transactions_that_read_in_two_orders_disagree() {
    let read =
        |process: u32, records: &str| format!("{process} invoke txn [[\"poll\"]]\n{process} ok txn [[\"poll\",{{\"0\":[{records}]}}]]\n");
    let both = sent(1, 0) + &sent(2, 1) + &read(1, "[null,1],[null,2]");
    check(&(both.clone() + &read(2, "[null,1],[null,2]")), "valid");
    check(&(both + &read(2, "[null,2],[null,1]")), "invalid: total-order-disagreement 1");
}

#[test]
fn what_a_member_was_given_in_a_transaction_is_processed() {
    let member = |given: &str| {
        sent(1, 0)
            + &sent(2, 1)
            + "1 invoke subscribe [0] ; \"group\":\"g\"\n1 ok subscribe [0] ; \"group\":\"g\"\n1 invoke txn [[\"poll\"]]\n"
            + &format!("1 ok txn [[\"poll\",{{\"0\":[{given}]}}]]\n")
            + "1 invoke commit {\"0\":2} ; \"group\":\"g\"\n1 ok commit {\"0\":2} ; \"group\":\"g\"\n"
            + &polled(2, "[0,1],[1,2]")
    };
    check(&member("[0,1],[1,2]"), "valid");
    check(&member("[0,1]"), "invalid: unprocessed 1");
}

#[test]
fn an_epoch_that_a_transaction_saw_has_begun_and_a_transaction_acknowledged_below_it_is_stale() {
    let seen =
        |epoch: u32| format!("1 invoke txn [[\"poll\"]]\n1 ok txn [[\"poll\",{{\"0\":[[0,1]]}}]] ; \"leader-epochs\":{{\"0\":{epoch}}}\n");
    let acknowledged = "0 invoke txn [[\"send\",0,2]]\n0 ok txn [[\"send\",0,[1,2]]] ; \"leader-epochs\":{\"0\":3}\n".to_owned();
    let rest = acknowledged + &polled(2, "[0,1],[1,2]");
    check(&(sent(1, 0) + &seen(3) + &rest), "valid");
    check(&(sent(1, 0) + &seen(4) + &rest), "valid: ignored: stale-leader-ack 1");
}
