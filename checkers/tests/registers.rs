//! What is said of registers: by version, by session, and by search.

mod common;

use common::{check, check_with, history, judge, profile};
use kchaos_checkers::JudgeOptions;

#[test]
fn concurrent_ops_may_take_effect_in_either_order() {
    let base = "0 invoke write [0,1]\n0 ok write [0,1]\n0 invoke write [0,2]\n1 invoke read [0,null]\n";
    for (read, expected) in [(1, "valid"), (2, "valid"), (3, "invalid: nonlinearizable 1")] {
        check(&format!("{base}1 ok read [0,{read}]\n0 ok write [0,2]"), expected);
    }
    // Once one reader saw it, a later one must.
    let later = |read: u32| format!("{base}1 ok read [0,2]\n2 invoke read [0,null]\n2 ok read [0,{read}]\n0 ok write [0,2]");
    check(&later(2), "valid");
    check(&later(1), "invalid: nonlinearizable 1");
}

#[test]
fn an_info_write_may_take_effect_late_or_never_and_a_failed_one_not() {
    let base = |outcome: &str| format!("0 invoke write [0,1]\n0 ok write [0,1]\n1 invoke write [0,2]\n1 {outcome} write [0,2]\n");
    let read = |value: u32| format!("2 invoke read [0,null]\n2 ok read [0,{value}]\n");
    check(&(base("info") + &read(1)), "valid");
    check(&(base("info") + &read(1) + &read(2)), "valid");
    check(&(base("info") + &read(2) + &read(1)), "invalid: nonlinearizable 1");
    check(&(base("fail") + &read(2)), "invalid: nonlinearizable 1");
}

#[test]
fn a_compare_and_set_that_was_ok_found_what_it_compared_with() {
    let cas = |old: u32| format!("0 invoke write [0,1]\n0 ok write [0,1]\n1 invoke cas [0,[{old},5]]\n1 ok cas [0,[{old},5]]\n");
    check(&cas(1), "valid");
    check(&cas(2), "invalid: nonlinearizable 1");
}

#[test]
fn a_register_starts_empty_and_keys_are_independent() {
    check("0 invoke read [0,null]\n0 ok read [0,null]", "valid");
    check("0 invoke read null\n0 ok read 4", "invalid: nonlinearizable 1");
    let other = "0 invoke write [1,4]\n0 ok write [1,4]\n0 invoke read [0,null]\n0 ok read [0,4]";
    check(other, "invalid: nonlinearizable 1");
}

#[test]
fn versions_order_writes_and_sessions_read_forward() {
    let write = |process: u32, value: u32, version: u32| {
        format!("{process} invoke write [0,{value}]\n{process} ok write [0,{value}] ; \"version\":{version},\"zxid\":{version}\n")
    };
    let read = |process: u32, value: u32, version: u32| {
        format!("{process} invoke read [0,null]\n{process} ok read [0,{value}] ; \"version\":{version},\"zxid\":{version}\n")
    };
    let base = write(0, 1, 1) + &write(0, 2, 2);
    check(&(base.clone() + &read(1, 2, 2)), "valid");
    // ZooKeeper's reads may be old, a register's not.
    check(&(base.clone() + &read(1, 1, 1)), "valid");
    check_with(&(base.clone() + &read(1, 1, 1)), profile("linearizable"), "invalid: nonlinearizable 1");
    check(&(base.clone() + &read(1, 2, 2) + &read(1, 1, 1)), "invalid: nonlinearizable 1");
    // Own writes are seen.
    check(&(base.clone() + &read(0, 1, 1)), "invalid: nonlinearizable 1");
    check(&(write(0, 1, 2) + &write(1, 2, 1)), "invalid: nonlinearizable 1");
    check(&(write(0, 1, 1) + &write(1, 2, 1)), "invalid: nonlinearizable 1");
    check(&(base + &read(1, 1, 2)), "invalid: nonlinearizable 1");
    // Reads without a zxid are no reads of ZooKeeper.
    let plain = "0 invoke write [0,1]\n0 ok write [0,1] ; \"version\":1\n0 invoke write [0,2]\n0 ok write [0,2] ; \"version\":2\n\
                 1 invoke read [0,null]\n1 ok read [0,1] ; \"version\":1";
    check(plain, "invalid: nonlinearizable 1");
}

#[test]
fn a_search_that_runs_out_is_unknown() {
    let mut lines = String::new();
    for process in 0..140 {
        lines += &format!("{process} invoke write [0,{process}]\n");
    }
    lines += "200 invoke read [0,null]\n200 ok read [0,7]\n201 invoke write [1,1]\n201 ok write [1,1]\n";
    check(&lines, "unknown: because: search-exhausted");
}

#[test]
fn the_smallest_window_is_cited() {
    let quiet: String = (0..50).map(|value| format!("0 invoke write [0,{value}]\n0 ok write [0,{value}]\n")).collect();
    let report = judge(&history(&(quiet + "1 invoke read [0,null]\n1 ok read [0,3]")), JudgeOptions::default());
    let example = &report.anomalies["nonlinearizable"].examples[0];
    assert_eq!(example.ops, [99, 100, 101]);
    assert_eq!(example.explanation, "no legal order of register 0 has room for a read of 3 (op 101): before it could only hold 49");
}
