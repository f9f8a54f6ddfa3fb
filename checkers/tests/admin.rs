//! Changes of the cluster, against what brokers tell at the end.

mod common;

use common::{check, judge};
use kchaos_checkers::JudgeOptions;

const READ: &str =
    "0 invoke send [[\"send\",0,1]]\n0 ok send [[\"send\",0,[0,1]]]\n1 invoke poll [[\"poll\"]]\n1 ok poll [[\"poll\",{\"0\":[[0,1]]}]]\n";
const LOST: &str = "invalid: change-lost 1";

fn asked(process: u32, how: &str, change: &str) -> String {
    format!("{process} {how} admin {change}\n")
}

fn done(change: &str, how: &str) -> String {
    asked(7, "invoke", change) + &asked(7, how, change)
}

fn setting(to: &str) -> String {
    format!("{{\"change\":\"setting\",\"topic\":\"t\",\"name\":\"n\",\"to\":{to}}}")
}

fn look(broker: u32, topics: &str) -> String {
    format!("nemesis info admin-final {{\"broker\":{broker},\"topics\":{{{topics}}}}}\n")
}

fn shows(settings: &str) -> String {
    look(1, &format!("\"t\":{{\"partitions\":3,\"settings\":{{{settings}}}}}"))
}

#[track_caller]
fn of(lines: &[String], expected: &str) {
    check(&(READ.to_owned() + &lines.concat()), expected);
}

#[test]
fn what_was_acknowledged_last_is_what_a_broker_must_tell() {
    for (told, expected) in [("\"n\":\"5\"", "valid"), ("\"n\":5", "valid"), ("\"n\":\"4\"", LOST), ("", LOST), ("\"m\":\"5\"", LOST)] {
        of(&[done(&setting("\"4\""), "ok"), done(&setting("\"5\""), "ok"), shows(told)], expected);
    }
    of(&[done(&setting("\"5\""), "ok"), done(&setting("null"), "ok"), shows("")], "valid");
    of(&[done(&setting("\"5\""), "ok"), done(&setting("null"), "ok"), shows("\"n\":\"5\"")], LOST);
}

#[test]
fn what_was_refused_binds_nobody_and_what_nobody_knows_may_be_so_at_any_time() {
    for (how, told, expected) in [
        ("fail", "\"n\":\"4\"", "valid"),
        ("fail", "\"n\":\"5\"", LOST),
        ("info", "\"n\":\"4\"", "valid"),
        ("info", "\"n\":\"5\"", "valid"),
        ("info", "\"n\":\"6\"", LOST),
    ] {
        of(&[done(&setting("\"4\""), "ok"), done(&setting("\"5\""), how), shows(told)], expected);
        // One whose completion was never written is info as well.
        let open = if how == "info" { asked(8, "invoke", &setting("\"5\"")) } else { done(&setting("\"5\""), how) };
        of(&[done(&setting("\"4\""), "ok"), open, shows(told)], expected);
    }
    // An unknown one from before the last that was acknowledged may come later still.
    of(&[done(&setting("\"5\""), "info"), done(&setting("\"4\""), "ok"), shows("\"n\":\"5\"")], "valid");
    of(&[done(&setting("\"5\""), "fail"), shows("")], "valid");
}

#[test]
fn topics_that_were_made_deleted_and_grown_are_so_at_the_end() {
    let change = |change: &str, partitions: u32| format!("{{\"change\":\"{change}\",\"topic\":\"t\",\"partitions\":{partitions}}}");
    let (create, grow, delete) = (change("create", 2), change("grow", 3), change("delete", 0));
    let there = |partitions: u32| look(1, &format!("\"t\":{{\"partitions\":{partitions}}}"));
    let gone = || look(1, "\"t\":null");
    of(&[done(&create, "ok"), there(2)], "valid");
    of(&[done(&create, "ok"), there(1)], LOST);
    of(&[done(&create, "ok"), gone()], LOST);
    of(&[done(&create, "info"), gone()], "valid");
    of(&[done(&create, "ok"), done(&grow, "ok"), there(2)], LOST);
    of(&[done(&create, "ok"), done(&grow, "info"), there(2)], "valid");
    of(&[done(&create, "ok"), done(&grow, "info"), there(3)], "valid");
    of(&[done(&grow, "ok"), gone()], LOST);
    of(&[done(&create, "ok"), done(&delete, "ok"), gone()], "valid");
    of(&[done(&create, "ok"), done(&delete, "ok"), there(2)], LOST);
    of(&[done(&create, "ok"), done(&delete, "info"), there(2)], "valid");
    of(&[done(&create, "ok"), done(&delete, "info"), gone()], "valid");
    // Left out: nothing is said of it.
    of(&[done(&create, "ok"), look(1, "\"u\":null")], "valid");
}

#[test]
fn the_last_look_at_each_broker_counts_and_each_is_counted() {
    let change = done(&setting("\"5\""), "ok");
    of(&[change.clone(), shows(""), shows("\"n\":\"5\"")], "valid");
    let other = look(2, "\"t\":{\"settings\":{}}");
    of(&[change.clone(), shows(""), other.clone()], "invalid: change-lost 2");
    of(&[change.clone(), shows("\"n\":\"5\""), other], LOST);
    let report = judge(&common::history(&(READ.to_owned() + &change + &shows(""))), JudgeOptions::default());
    let example = &report.anomalies["change-lost"].examples[0];
    assert_eq!(example.ops, [5, 6]);
    let text = "broker 1 tells (op 6) that n of topic t is not set: it should be \"5\", as was acknowledged (op 5) and never changed again";
    assert_eq!(example.explanation, text);
}

#[test]
fn what_is_malformed_accuses_nobody() {
    let change = done(&setting("\"5\""), "ok");
    for look in
        ["{}", "[]", "{\"broker\":\"x\",\"topics\":{\"t\":null}}", "{\"broker\":1,\"topics\":[]}", "{\"broker\":1,\"topics\":{\"t\":7}}"]
    {
        of(&[change.clone(), format!("nemesis info admin-final {look}\n")], "valid");
    }
    for change in [
        "{}",
        "7",
        "{\"change\":\"setting\",\"topic\":\"t\",\"name\":\"n\"}",
        "{\"change\":\"grow\",\"topic\":\"t\"}",
        "{\"change\":\"melt\"}",
    ] {
        of(&[done(change, "ok"), shows("")], "valid");
    }
}

#[test]
fn a_change_asked_without_end_is_remembered_no_more_and_accuses_nobody() {
    let unknown: String = (0..100).map(|to| asked(100 + to, "invoke", &setting(&format!("\"{to}\"")))).collect();
    of(&[unknown.clone(), done(&setting("\"200\""), "ok"), shows("\"n\":\"300\"")], "valid");
}
