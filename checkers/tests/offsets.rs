//! What leaders tell of their logs.

mod common;

use common::check;

const READ: &str =
    "0 invoke send [[\"send\",0,1]]\n0 ok send [[\"send\",0,[0,1]]]\n1 invoke poll [[\"poll\"]]\n1 ok poll [[\"poll\",{\"0\":[[0,1]]}]]\n";
const BACK: &str = "invalid: offset-regression 1";
const EARLY: &str = "invalid: expired-early 1";
const WRONG: &str = "invalid: lookup-wrong 1";

fn ask(process: u32, at: &str, epoch: u32) -> String {
    format!("{process} invoke list-offsets {{\"key\":0,\"at\":{at},\"broker\":1,\"leader_epoch\":{epoch}}}\n")
}

fn answer(process: u32, at: &str, epoch: u32, rest: &str) -> String {
    format!("{process} ok list-offsets {{\"key\":0,\"at\":{at},\"broker\":1,\"leader_epoch\":{epoch},{rest}}}\n")
}

/// At wall clock `now`.
fn bound(at: &str, epoch: u32, offset: i64, now: i64) -> String {
    let at = format!("\"{at}\"");
    ask(2, &at, epoch) + &answer(2, &at, epoch, &format!("\"offset\":{offset},\"now_ms\":{now}"))
}

fn lookup(asked: i64, offset: i64, time: i64, now: i64) -> String {
    let asked = asked.to_string();
    ask(2, &asked, 4) + &answer(2, &asked, 4, &format!("\"offset\":{offset},\"timestamp_ms\":{time},\"now_ms\":{now}"))
}

fn deletion(how: &str, before: i64) -> String {
    let value = format!("{{\"change\":\"delete-records\",\"key\":0,\"before\":{before}}}");
    format!("3 invoke admin {value}\n3 {how} admin {value}\n")
}

fn retention(ms: &str) -> String {
    format!("nemesis info log-retention {{\"0\":{{\"retention_ms\":{ms}}},\"slack_ms\":10}}\n")
}

#[track_caller]
fn of(lines: &[String], expected: &str) {
    check(&(READ.to_owned() + &lines.concat()), expected);
}

#[test]
fn an_end_never_goes_back_at_a_later_epoch_and_an_earlier_epoch_proves_nothing() {
    for (epoch, offset, expected) in [(4, 9, "valid"), (4, 8, BACK), (5, 8, BACK), (5, 10, "valid"), (3, 8, "valid")] {
        of(&[bound("end", 4, 9, 1), bound("end", epoch, offset, 2)], expected);
    }
    // Asked before the other was told.
    let late = [ask(5, "\"end\"", 4), bound("end", 4, 9, 1), answer(5, "\"end\"", 4, "\"offset\":8")];
    of(&late, "valid");
    let finally =
        |epoch: u32, end: i64| format!("nemesis info final-offsets {{\"0\":{{\"start\":0,\"end\":{end},\"leader_epoch\":{epoch}}}}}\n");
    for (epoch, end, expected) in [(4, 9, "valid"), (6, 8, BACK), (3, 8, "valid")] {
        of(&[bound("end", 4, 9, 1), finally(epoch, end)], expected);
    }
}

#[test]
fn a_start_goes_back_from_one_epoch_to_the_next_alone_and_not_below_what_was_deleted() {
    for (epoch, offset, expected) in [(4, 7, "valid"), (4, 6, BACK), (5, 6, "valid"), (5, 5, "valid"), (5, 4, BACK), (4, 4, BACK)] {
        of(&[deletion("ok", 5), deletion("info", 7), bound("start", 4, 7, 1), bound("start", epoch, offset, 2)], expected);
    }
    // A leader that was deposed has not heard of it.
    of(&[bound("end", 5, 9, 1), deletion("ok", 5), bound("start", 4, 4, 2)], "valid");
    for (how, expected) in [("ok", BACK), ("info", "valid"), ("fail", "valid")] {
        of(&[deletion(how, 5), bound("start", 4, 4, 1)], expected);
    }
}

#[test]
fn what_is_kept_for_good_is_gone_where_somebody_asked_for_it_alone() {
    for (start, expected) in [(0, "valid"), (5, "valid"), (6, EARLY)] {
        of(&[retention("null"), deletion("info", 5), bound("start", 4, start, 1)], expected);
        // Nothing is promised of it.
        of(&[deletion("info", 5), bound("start", 4, start, 1)], "valid");
    }
}

#[test]
fn a_record_is_kept_until_its_retention_is_over() {
    // Of time 1000, kept for 500: it may go from 1490 on, with the slack of 10.
    for (now, start, expected) in [(1_489, 4, EARLY), (1_490, 4, "valid"), (1_491, 4, "valid"), (1_400, 3, "valid"), (1_400, 4, EARLY)] {
        of(&[retention("500"), lookup(900, 3, 1_000, 1_001), bound("start", 4, start, now)], expected);
    }
    of(&[retention("500"), lookup(900, 3, 1_000, 1_001), deletion("info", 4), bound("start", 4, 4, 1_002)], "valid");
}

#[test]
fn a_time_finds_the_first_record_of_it_or_later() {
    let known = || [retention("null"), lookup(900, 3, 1_000, 1_001)].concat();
    for (asked, offset, time, expected) in [
        (1_000, 3, 1_000, "valid"),
        (500, 3, 1_000, "valid"),
        (500, 2, 700, "valid"),
        (1_001, 4, 1_002, "valid"),
        (1_001, 4, 1_000, WRONG),
        (1_000, 4, 1_002, WRONG),
        (1_000, -1, -1, WRONG),
        (1_001, -1, -1, "valid"),
    ] {
        of(&[known(), lookup(asked, offset, time, 1_003)], expected);
        // What may be deleted by then need not be found.
        let gone = if expected == WRONG && time != 1_000 { "valid" } else { expected };
        of(&[known(), deletion("info", 4), lookup(asked, offset, time, 1_003)], gone);
    }
    // Told after the question was asked: it may have been written after.
    let late = [retention("null"), ask(5, "900", 4), lookup(900, 3, 1_000, 1_001), answer(5, "900", 4, "\"offset\":-1,\"now_ms\":1002")];
    of(&late, "valid");
}

#[test]
fn what_is_malformed_accuses_nobody() {
    for value in
        ["{}", "7", "{\"key\":0}", "{\"key\":0,\"at\":-7,\"offset\":1,\"leader_epoch\":1}", "{\"key\":0,\"at\":\"end\",\"offset\":\"x\"}"]
    {
        of(&[bound("end", 4, 9, 1), format!("2 invoke list-offsets {value}\n2 ok list-offsets {value}\n")], "valid");
    }
    of(&["nemesis info log-retention {\"0\":{\"retention_ms\":\"x\"}}\n".to_owned(), bound("start", 4, 9, 1)], "valid");
}
