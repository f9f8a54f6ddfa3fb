//! What is said of what a harness or an observer tells (docs/history.md): at the exact boundaries, far out, and where it is malformed.
//! One line of these histories is one millisecond.

mod common;

use common::{check, judge, polled, sent};
use kchaos_checkers::JudgeOptions;

/// Something acknowledged and read, so that there is a verdict: four lines.
fn base() -> String {
    sent(1, 0) + &polled(1, "[0,1]")
}

fn told(f: &str, data: &str) -> String {
    format!("nemesis info {f} {data}\n")
}

#[track_caller]
fn check_told(lines: &str, expected: &str) {
    check(&(base() + lines), expected);
}

mod replicas {
    use super::*;

    fn log(replica: u32, start: i64, high_watermark: i64, batches: &str) -> String {
        told(
            "replica-log",
            &format!("{{\"key\":0,\"replica\":{replica},\"start\":{start},\"high_watermark\":{high_watermark},\"batches\":[{batches}]}}"),
        )
    }

    #[test]
    fn replicas_agree_in_offsets_epochs_and_bytes_below_the_lower_high_watermark() {
        for base in [0, 1_000_000_000_000] {
            let batch =
                |first: i64, last: i64, epoch: u32, digest: &str| format!("[{},{},{epoch},\"{digest}\"]", base + first, base + last);
            let one = log(1, base, base + 9, &[batch(0, 4, 3, "a"), batch(5, 8, 3, "b")].join(","));
            let two = |high_watermark: i64, second: &str| log(2, base, base + high_watermark, &[&batch(0, 4, 3, "a"), second].join(","));
            for (high_watermark, second, expected) in [
                (9, batch(5, 8, 3, "b"), "valid"),
                (9, batch(5, 8, 3, "c"), "invalid: replica-divergence 1"),
                (9, batch(5, 8, 4, "b"), "invalid: replica-divergence 1"),
                (9, batch(5, 7, 3, "b"), "invalid: replica-divergence 1"),
                (9, batch(6, 8, 3, "b"), "invalid: replica-divergence 1"),
                // The batch ends at 8: it is below a watermark of 9, and not of 8.
                (8, batch(5, 8, 3, "c"), "valid"),
                (7, batch(5, 8, 3, "c"), "valid"),
                (10, batch(5, 8, 3, "c"), "invalid: replica-divergence 1"),
            ] {
                check_told(&(one.clone() + &two(high_watermark, &second)), expected);
                check_told(&(two(high_watermark, &second) + &one), expected);
            }
        }
    }

    #[test]
    fn a_batch_that_one_replica_lacks_is_a_difference_and_one_below_its_start_is_not() {
        let all = "[0,0,1,7],[1,1,1,8],[2,2,1,9]";
        check_told(&(log(1, 0, 3, all) + &log(2, 0, 3, "[0,0,1,7],[2,2,1,9]")), "invalid: replica-divergence 1");
        check_told(&(log(1, 0, 3, all) + &log(2, 0, 3, "[0,0,1,7],[1,1,1,8]")), "invalid: replica-divergence 1");
        check_told(&(log(1, 0, 3, all) + &log(2, 0, 2, "[0,0,1,7],[1,1,1,8]")), "valid");
        check_told(&(log(1, 0, 3, all) + &log(2, 1, 3, "[1,1,1,8],[2,2,1,9]")), "valid");
        check_told(&(log(1, 0, 3, all) + &log(2, 0, 3, "[1,1,1,8],[2,2,1,9]")), "invalid: replica-divergence 1");
        // Holes that both have are holes.
        check_told(&(log(1, 0, 100, "[0,0,1,7],[50,60,1,8]") + &log(2, 0, 100, "[0,0,1,7],[50,60,1,8]")), "valid");
    }

    #[test]
    fn pairs_of_replicas_are_counted_by_key_and_a_replica_is_not_held_against_itself() {
        let three = log(1, 0, 1, "[0,0,1,7]") + &log(2, 0, 1, "[0,0,1,8]") + &log(3, 0, 1, "[0,0,1,7]");
        check_told(&three, "invalid: replica-divergence 2");
        check_told(&(log(1, 0, 1, "[0,0,1,7]") + &log(1, 0, 1, "[0,0,1,8]")), "valid");
        check_told(&(log(1, 0, 1, "[0,0,1,7]") + &log(2, 0, 1, "[0,0,1,8]").replace("\"key\":0", "\"key\":1")), "valid");
        // What a later dump mends was wrong all the same.
        check_told(&(three + &log(2, 0, 1, "[0,0,1,7]")), "invalid: replica-divergence 2");
    }
}

mod bank {
    use super::*;

    fn snapshot(accounts: &str, beside: &str) -> String {
        told("bank-snapshot", &format!("{{\"accounts\":{{{accounts}}}{beside}}}"))
    }

    #[test]
    fn the_sum_is_what_was_told_or_what_it_was_first() {
        for (bob, expected) in [(39, "invalid: balance-changed 1"), (40, "valid"), (41, "invalid: balance-changed 1")] {
            check_told(&snapshot(&format!("\"a\":60,\"b\":{bob}"), ",\"total\":100"), expected);
            check_told(&(snapshot("\"a\":100", "") + &snapshot(&format!("\"a\":60,\"b\":{bob}"), "")), expected);
        }
        // A total that is told later counts from then on.
        check_told(
            &(snapshot("\"a\":1", "") + &snapshot("\"a\":1", ",\"total\":2") + &snapshot("\"a\":2", "")),
            "invalid: balance-changed 1",
        );
        check_told(&(snapshot("\"a\":1", "") + &snapshot("\"a\":2", ",\"bank\":\"x\"")), "valid");
        check_told(&(snapshot("\"a\":1", "") + &snapshot("\"a\":2", ",\"isolation\":\"read_uncommitted\"")), "valid");
    }

    #[test]
    fn sums_beyond_64_bits_are_sums_and_a_snapshot_that_is_none_is_passed_over() {
        let most = i64::MAX;
        check_told(&(snapshot(&format!("\"a\":{most},\"b\":{most}"), "") + &snapshot("\"a\":-2", "")), "invalid: balance-changed 1");
        check_told(
            &(snapshot("\"a\":1", "") + &snapshot("\"a\":1.5", "") + &snapshot("\"a\":null", "") + &told("bank-snapshot", "[]")),
            "valid",
        );
    }
}

mod compaction {
    use super::*;

    /// Of key 0: values 1, 2 and 3 at offsets 5, 6 and 7.
    const WRITTEN: &str = "0 invoke txn [[\"send\",0,1],[\"send\",0,2],[\"send\",0,3]]\n\
                           0 ok txn [[\"send\",0,[5,1]],[\"send\",0,[6,2]],[\"send\",0,[7,3]]]\n";

    fn read(process: u32, records: &str) -> String {
        format!("{process} ok assign [0] ; \"seek-to-beginning?\":true\n{process} ok poll [[\"poll\",{{\"0\":[{records}]}}]]\n")
    }

    fn superseded(offsets: &str) -> String {
        told("superseded", &format!("{{\"0\":{offsets}}}"))
    }

    fn compacted_read(last: &str, beside: &str) -> String {
        told("compacted-read", &format!("{{\"0\":{{\"last\":{{{last}}}{beside}}}}}"))
    }

    #[test]
    fn what_a_later_record_superseded_may_be_left_out_and_nothing_else() {
        let all = read(1, "[5,1],[6,2],[7,3]");
        for (offsets, expected) in [
            ("[6]", "valid"),
            ("[5,6]", "valid"),
            ("[5]", "invalid: G1b 1, int-poll-skip 1"),
            ("[7]", "invalid: G1b 1, int-poll-skip 1"),
            ("[]", "invalid: G1b 1, int-poll-skip 1"),
            ("6", "invalid: G1b 1, int-poll-skip 1"),
        ] {
            check(&(WRITTEN.to_owned() + &superseded(offsets) + &all + &read(2, "[5,1],[7,3]")), expected);
        }
        // Whenever it is told.
        check(&(WRITTEN.to_owned() + &all + &read(2, "[5,1],[7,3]") + &superseded("[6]")), "valid");
        check(&(WRITTEN.to_owned() + &all + &read(2, "[6,2],[7,3]") + &superseded("[5]")), "valid");
        check(&(WRITTEN.to_owned() + &all + &read(2, "[6,2],[7,3]") + &superseded("[7]")), "invalid: poll-skip 1");
    }

    #[test]
    fn what_nobody_read_in_time_is_no_loss_if_it_was_superseded() {
        let end = told("final-offsets", "{\"0\":{\"start\":0,\"end\":8}}") + &told("final-reads", "{\"complete\":true,\"keys\":{}}");
        let history = |offsets: &str| WRITTEN.to_owned() + &superseded(offsets) + &read(1, "[5,1],[7,3]") + &end;
        check(&history("[6]"), "valid: ignored: unseen 1");
        check(&history("[5]"), "invalid: G1b 1, int-poll-skip 1, lost-write 1, torn-transaction 1, unseen 1");
        // Beyond the log's end nothing was compacted.
        let short = told("final-offsets", "{\"0\":{\"start\":0,\"end\":6}}");
        check(&(WRITTEN.to_owned() + &superseded("[6,7]") + &read(1, "[5,1]") + &short), "invalid: unseen 2");
    }

    #[test]
    fn of_each_record_key_the_last_record_is_there_or_a_later_one() {
        let begun = WRITTEN.to_owned() + &read(1, "[5,1],[6,2],[7,3]");
        let last = |read: &str| format!("\"a\":{{\"written\":[6,2],\"read\":{read}}}");
        for (read, expected) in [
            ("[6,2]", "valid"),
            ("[7,3]", "valid"),
            ("[5,1]", "invalid: lost-write 1"),
            ("null", "invalid: lost-write 1"),
            // Nothing that anybody could understand.
            ("7", "valid"),
        ] {
            check(&(begun.clone() + &compacted_read(&last(read), "")), expected);
        }
        check(&(begun.clone() + &compacted_read(&last("null"), "").repeat(2)), "invalid: lost-write 1");
        let others = "\"a\":{\"written\":[6,2],\"read\":null},\"b\":{\"written\":[7,3],\"read\":[5,1]}";
        check(&(begun + &compacted_read(others, "")), "invalid: lost-write 2");
    }

    #[test]
    fn where_nothing_was_removed_nothing_is_proved_of_compaction() {
        let begun = WRITTEN.to_owned() + &read(1, "[5,1],[6,2],[7,3]");
        let counted = |superseded: i64, removed: i64| compacted_read("", &format!(",\"superseded\":{superseded},\"removed\":{removed}"));
        check(&(begun.clone() + &counted(2, 1)), "valid");
        check(&(begun.clone() + &counted(2, 0)), "unknown: because: nothing-compacted");
        check(&(begun.clone() + &counted(0, 0)), "unknown: because: nothing-compacted");
        check(&(begun.clone() + &counted(2, 0) + &counted(3, 3)), "valid");
        check(&(begun + &compacted_read("", "")), "valid");
    }
}

mod stable_offsets {
    use super::*;

    const BEGUN: &str = "5 invoke txn [[\"send\",0,7]]\n";
    const READ: &str = "5 ok txn [[\"send\",0,[5,7]]]\n1 ok poll [[\"poll\",{\"0\":[[5,7]]}]]\n";

    fn look(stable: i64, end: i64, epoch: u32, beside: &str) -> String {
        told("stable-offsets", &format!("{{\"0\":{{\"stable\":{stable},\"end\":{end},\"leader_epoch\":{epoch}}},\"limit_ms\":2{beside}}}"))
    }

    fn pause(lines: usize) -> String {
        "nemesis info rest null\n".repeat(lines)
    }

    #[test]
    fn it_stalls_when_it_stands_for_longer_than_the_limit_below_the_high_watermark() {
        for base in [5, 1_000_000_000_000] {
            for (lines, expected) in [(0, "valid"), (1, "valid"), (2, "invalid: lso-stall 1"), (3, "invalid: lso-stall 1")] {
                check_told(&(look(base, base + 1, 4, "") + &pause(lines) + &look(base, base + 1, 4, "")), expected);
                check_told(&(look(base, base + 1, 4, "") + &pause(lines) + &look(base + 1, base + 2, 4, "")), "valid");
                check_told(&(look(base, base, 4, "") + &pause(lines) + &look(base, base, 4, "")), "valid");
            }
        }
        // It counts from the first look at which something stood there.
        check_told(&(look(5, 5, 4, "") + &pause(9) + &look(5, 6, 4, "") + &look(5, 6, 4, "")), "valid");
        // Each place once, however often it is looked at.
        check_told(&(look(5, 6, 4, "") + &(pause(3) + &look(5, 6, 4, "")).repeat(3)), "invalid: lso-stall 1");
    }

    #[test]
    fn only_transactions_begun_before_it_stood_can_hold_it() {
        let stalled = look(5, 6, 4, "") + &pause(3) + &look(5, 6, 4, "");
        check_told(&(BEGUN.to_owned() + &stalled + READ), "valid");
        check_told(&(look(5, 6, 4, "") + BEGUN + &pause(3) + &look(5, 6, 4, "") + READ), "invalid: lso-stall 1");
        // It ended: from then on the limit counts.
        for (lines, expected) in [(1, "valid"), (2, "invalid: lso-stall 1")] {
            check_told(&(BEGUN.to_owned() + &look(5, 9, 4, "") + READ + &pause(lines - 1) + &look(5, 9, 4, "")), expected);
        }
    }

    #[test]
    fn what_was_not_ok_ends_with_its_timeout() {
        for ended in ["5 info txn null\n", "5 fail txn null\n", "5 info crash null\n"] {
            let history =
                |timeout: &str, lines: usize| BEGUN.to_owned() + &look(5, 6, 4, timeout) + ended + &pause(lines) + &look(5, 6, 4, timeout);
            check_told(&history("", 9), "valid");
            check_told(&history(",\"transaction_timeout_ms\":3", 4), "valid");
            check_told(&history(",\"transaction_timeout_ms\":3", 5), "invalid: lso-stall 1");
        }
    }

    #[test]
    fn a_deposed_leader_s_word_and_what_is_no_offset_are_passed_over() {
        check_told(&(look(5, 6, 4, "") + &look(7, 7, 3, "") + &pause(3) + &look(5, 6, 4, "")), "invalid: lso-stall 1");
        check_told(&(look(5, 6, 4, "") + &pause(3) + &look(5, 6, 3, "")), "valid");
        // A new leader on which it stands as well is no excuse.
        check_told(&(look(5, 6, 4, "") + &pause(3) + &look(5, 6, 5, "")), "invalid: lso-stall 1");
        check_told(&(look(-1, 6, 4, "") + &pause(3) + &look(-1, 6, 4, "")), "valid");
    }
}

mod leaders {
    use super::*;

    /// A send of value 2, acknowledged under a leader epoch, while 4 was known before.
    fn acknowledged(before: &str, epoch: i64, between: &str) -> String {
        format!("{before}0 invoke send [[\"send\",0,2]]\n{between}0 ok send [[\"send\",0,[1,2]]] ; \"leader-epochs\":{{\"0\":{epoch}}}\n")
            + &polled(1, "[1,2]")
    }

    #[test]
    fn an_acknowledgement_is_stale_below_an_epoch_that_was_known_before_it_was_sent() {
        let ruled = told("leader-epochs", "{\"0\":{\"leader\":2,\"leader_epoch\":4}}");
        let seen = "2 invoke poll [[\"poll\"]]\n2 ok poll [[\"poll\",{\"0\":[[0,1]]}]] ; \"leader-epochs\":{\"0\":4}\n";
        let ended = told("final-offsets", "{\"0\":{\"start\":0,\"end\":9,\"leader_epoch\":4}}");
        for before in [ruled.as_str(), seen, &ended] {
            for (epoch, expected) in
                [(2, "valid: ignored: stale-leader-ack 1"), (3, "valid: ignored: stale-leader-ack 1"), (4, "valid"), (5, "valid")]
            {
                check_told(&acknowledged(before, epoch, ""), expected);
                // Replaced while it was on its way.
                check_told(&acknowledged("", epoch, before), "valid");
            }
            // Another partition's, and none.
            check_told(&acknowledged(before, -1, ""), "valid");
        }
        check_told(&acknowledged(&ruled.replace("{\"0\":", "{\"1\":"), 3, ""), "valid");
        check_told(&acknowledged(&told("leader-epochs", "{\"0\":4,\"x\":{\"leader_epoch\":4}}"), 3, ""), "valid");
    }

    #[test]
    fn two_controllers_are_too_many_for_longer_than_a_handover() {
        let look = |one: &str, two: &str| told("controllers", &format!("{{\"1\":{one},\"2\":{two},\"limit_ms\":2}}"));
        let (first, second) = ("{\"active\":true,\"epoch\":5}", "{\"active\":true,\"epoch\":6}");
        let pause = |lines: usize| "nemesis info rest null\n".repeat(lines);
        for (lines, expected) in [(0, "valid"), (1, "valid"), (2, "invalid: two-controllers 1"), (9, "invalid: two-controllers 1")] {
            check_told(&(look(first, second) + &pause(lines) + &look(first, second)), expected);
            check_told(&(look(first, "{\"active\":false}") + &pause(lines) + &look(first, second)), "valid");
            // It was another term.
            check_told(&(look(first, second) + &pause(lines) + &look(first, "{\"active\":true,\"epoch\":7}")), "valid");
            check_told(
                &(look(first, second) + &pause(lines) + &look(first, "{\"active\":false,\"epoch\":6}") + &look(first, second)),
                "valid",
            );
        }
        // Left out of a look, one that tells its epoch still holds it.
        let alone = told("controllers", &format!("{{\"1\":{first}}}"));
        check_told(&(look(first, second) + &alone + &pause(1) + &look(first, second)), "invalid: two-controllers 1");
        let (first, second) = ("{\"active\":true}", "{\"active\":true}");
        check_told(&(look(first, second) + &pause(2) + &look(first, second)), "invalid: two-controllers 1");
        check_told(
            &(look(first, second) + &told("controllers", &format!("{{\"1\":{first}}}")) + &pause(1) + &look(first, second)),
            "valid",
        );
    }

    #[test]
    fn looks_at_one_after_the_other_prove_the_time_they_share() {
        let alone = |broker: u32| told("controllers", &format!("{{\"{broker}\":{{\"active\":true,\"epoch\":{broker}}},\"limit_ms\":2}}"));
        let lines = |order: &[u32]| order.iter().map(|broker| alone(*broker)).collect::<String>();
        // 2 from the second line to the last, 1 from the first to the last but one.
        check_told(&lines(&[1, 2, 2, 1, 2]), "valid");
        check_told(&lines(&[1, 2, 2, 2, 1, 2]), "invalid: two-controllers 1");
    }
}

mod settings {
    use super::*;

    fn held(value: &str) -> String {
        told("config", &format!("{{\"broker:1\":{{\"a\":{value},\"b\":1}}}}"))
    }

    fn asked(value: &str) -> String {
        told("config-asked", &format!("{{\"broker:1\":{{\"a\":{value}}}}}"))
    }

    #[test]
    fn a_setting_stays_as_it_was_or_becomes_what_was_asked() {
        check_told(&(held("\"2\"") + &held("2") + &held("\"2\"")), "valid");
        check_told(&(held("\"2\"") + &held("\"1\"") + &held("\"1\"")), "invalid: config-reverted 1");
        check_told(&(held("\"2\"") + &held("null")), "invalid: config-reverted 1");
        check_told(&(held("null") + &held("true")), "invalid: config-reverted 1");
        check_told(&(held("2") + &asked("1") + &held("1")), "valid");
        check_told(&(held("2") + &asked("1") + &held("2")), "valid");
        check_told(&(held("2") + &asked("1") + &held("3")), "invalid: config-reverted 1");
        check_told(&(held("2") + &asked("null") + &held("null")), "valid");
        // Asked for and there: it should stay.
        check_told(&(held("2") + &asked("1") + &held("1") + &held("2")), "invalid: config-reverted 1");
        check_told(&(held("2") + &asked("1") + &asked("3") + &held("3") + &held("1")), "valid");
        // Nobody knows what it was before.
        check_told(&(asked("1") + &held("2") + &held("1")), "valid");
    }

    #[test]
    fn what_a_look_leaves_out_or_cannot_be_read_says_nothing() {
        check_told(&(held("2") + &told("config", "{\"broker:1\":{\"b\":1}}") + &told("config", "{\"broker:2\":{\"a\":7}}")), "valid");
        check_told(&(held("2") + &held("[1]") + &held("{}") + &told("config", "7") + &told("config", "{\"broker:1\":[]}")), "valid");
    }
}

mod sessions {
    use super::*;

    fn watch(id: u32, version: i64) -> String {
        told("watch", &format!("{{\"watch\":{id},\"event\":\"set\",\"client\":3,\"key\":0,\"version\":{version}}}"))
    }

    fn fired(id: u32, zxid: i64) -> String {
        told("watch", &format!("{{\"watch\":{id},\"event\":\"fired\",\"zxid\":{zxid}}}"))
    }

    /// The register is written often enough for any version below to be read.
    fn read(version: i64, client: u32) -> String {
        format!("1 invoke read [0,null]\n1 ok read [0,{version}] ; \"version\":{version},\"zxid\":{},\"client\":{client}\n", version + 50)
    }

    #[test]
    fn a_watch_fires_before_its_session_reads_anything_newer() {
        for (version, expected) in [(3, "valid"), (4, "valid"), (5, "invalid: watch-violation 1"), (6, "invalid: watch-violation 1")] {
            check_told(&(watch(7, 4) + &read(version, 3)), expected);
            check_told(
                &(watch(7, 4) + &read(version, 3) + &fired(7, 55) + &fired(7, 56)),
                if version > 4 { expected } else { "invalid: watch-violation 1" },
            );
            check_told(&(watch(7, 4) + &fired(7, 55) + &read(version, 3)), "valid");
            check_told(&(watch(7, 4) + &read(version, 2)), "valid");
        }
        let report = |lines: String| judge(&common::history(&(base() + &lines)), JudgeOptions::default());
        let why = |lines: String| report(lines).anomalies["watch-violation"].examples[0].explanation.clone();
        assert!(why(watch(7, 4) + &read(5, 3)).contains("never fired"));
        assert!(why(watch(7, 4) + &read(5, 3) + &fired(7, 55)).contains("after a read had returned version 5"));
        assert!(why(watch(7, 4) + &fired(7, 55) + &fired(7, 55)).contains("and again"));
        assert!(why(watch(7, 4) + &watch(8, 4) + &fired(7, 56) + &fired(8, 55)).contains("in their order"));
    }

    #[test]
    fn a_watch_fires_once_for_each_time_that_it_was_set() {
        check_told(&(watch(7, 4) + &fired(7, 55) + &watch(7, 5) + &fired(7, 56)), "valid");
        check_told(&(watch(7, 4) + &fired(7, 55) + &fired(7, 56) + &fired(7, 57)), "invalid: watch-violation 1");
        check_told(&(watch(7, 4) + &fired(9, 55)), "valid");
        // Events of one change, and of servers that tell no zxid.
        check_told(&(watch(7, 4) + &watch(8, 4) + &fired(7, 55) + &fired(8, 55)), "valid");
        check_told(&(watch(7, 4) + &watch(8, 4) + &fired(7, 55) + &fired(8, -1)), "valid");
    }

    #[test]
    fn a_session_without_a_client_is_its_process() {
        let watch = told("watch", "{\"watch\":7,\"event\":\"set\",\"process\":1,\"key\":0,\"version\":4}");
        let read = "1 ok read [0,5] ; \"version\":5\n";
        check_told(&(watch.clone() + read), "invalid: watch-violation 1");
        check_told(&(watch + &read.replace("\"version\":5", "\"version\":5,\"client\":1")), "valid");
    }

    fn node(event: &str, zxid: i64) -> String {
        told("ephemeral", &format!("{{\"node\":\"/x\",\"event\":\"{event}\",\"client\":3,\"zxid\":{zxid}}}"))
    }

    fn session(event: &str, zxid: i64) -> String {
        told("session", &format!("{{\"client\":3,\"event\":\"{event}\",\"zxid\":{zxid}}}"))
    }

    const GONE: &str = "invalid: ephemeral-violation 1";

    #[test]
    fn an_ephemeral_is_there_as_long_as_its_session_lives() {
        for base in [50, 1_000_000_000_000] {
            for (absent, expected) in [(-1, "valid"), (0, GONE), (1, GONE), (2, GONE), (3, "valid")] {
                check_told(&(node("created", base) + &node("absent", base + absent) + &session("alive", base + 2)), expected);
            }
            // Closed at 2: it lived until 1.
            for (absent, expected) in [(0, GONE), (1, GONE), (2, "valid"), (3, "valid")] {
                check_told(&(node("created", base) + &node("absent", base + absent) + &session("closed", base + 2)), expected);
            }
            for (removed, expected) in [(0, GONE), (1, "valid"), (2, "valid"), (3, GONE)] {
                let lines =
                    node("created", base) + &node("absent", base + 2) + &session("alive", base + 5) + &node("removed", base + removed);
                check_told(&lines, expected);
            }
            for (seen, expected) in [(1, "valid"), (2, GONE), (3, GONE)] {
                check_told(&(session("closed", base + 2) + &node("seen", base + seen)), expected);
                check_told(&(session("ended", base + 2) + &node("seen", base + seen)), expected);
            }
            // Ended by 2: nobody knows that it lived until then, unless it was heard of.
            for absent in 1..4 {
                let lines = node("created", base) + &node("absent", base + absent) + &session("ended", base + 2);
                check_told(&lines, "valid");
                check_told(&(lines + &session("alive", base + 2)), if absent < 2 { GONE } else { "valid" });
            }
        }
    }

    #[test]
    fn without_a_zxid_nothing_is_proved_and_each_node_is_counted_once() {
        let unknown = told("ephemeral", "{\"node\":\"/x\",\"event\":\"removed\"}");
        let gone = node("created", 50) + &node("absent", 51) + &node("absent", 52) + &session("alive", 60);
        check_told(&gone, GONE);
        check_told(&(gone.clone() + &unknown), "valid");
        check_told(&gone.replace("\"zxid\":60", "\"zxid\":null"), "valid");
        // It was made again after it had gone, so it had gone twice.
        check_told(&(gone + &node("created", 55) + &node("absent", 56)), "invalid: ephemeral-violation 2");
    }
}

mod sequences {
    use super::*;

    const OUT: &str = "invalid: sequence-violation 1";

    fn asked(ask: i64) -> String {
        told("sequential", &format!("{{\"parent\":\"/s\",\"event\":\"asked\",\"ask\":{ask}}}"))
    }

    fn created(ask: i64, number: i64, zxid: i64) -> String {
        told("sequential", &format!("{{\"parent\":\"/s\",\"event\":\"created\",\"ask\":{ask},\"number\":{number},\"zxid\":{zxid}}}"))
    }

    fn listed(zxid: i64, numbers: &[i64]) -> String {
        told("sequential", &format!("{{\"parent\":\"/s\",\"event\":\"listed\",\"zxid\":{zxid},\"numbers\":{numbers:?}}}"))
    }

    #[test]
    fn a_number_is_given_once_and_is_greater_than_all_that_were_acknowledged_before_it_was_asked_for() {
        for (number, expected) in [(4, OUT), (5, OUT), (6, "valid"), (1_000_000_000_000, "valid")] {
            // The node's transaction is told to be the earlier one too where its number is less, so that only real time speaks.
            let zxid = if number < 5 { 49 } else { 51 };
            check_told(&(asked(1) + &created(1, 5, 50) + &asked(2) + &created(2, number, zxid)), expected);
        }
        // Asked for together, either may be first; their transactions say which.
        check_told(&(asked(1) + &asked(2) + &created(1, 5, 50) + &created(2, 4, 49)), "valid");
        check_told(&(asked(1) + &asked(2) + &created(1, 5, 50) + &created(2, 4, 51)), OUT);
        check_told(&(asked(1) + &asked(2) + &created(1, 5, 50) + &created(2, 6, 50)), "valid");
        // Each parent counts for itself.
        check_told(&(asked(1) + &created(1, 5, 50) + &(asked(2) + &created(2, 5, 51)).replace("/s", "/t")), "valid");
    }

    #[test]
    fn what_was_acknowledged_is_there_when_all_are_listed_as_of_later() {
        let both = asked(1) + &created(1, 5, 50) + &asked(2) + &created(2, 6, 60);
        for (zxid, numbers, expected) in [
            (49, &[][..], "valid"),
            (50, &[], OUT),
            (59, &[5], "valid"),
            (60, &[5], OUT),
            (60, &[6], OUT),
            (60, &[5, 6], "valid"),
            (60, &[4, 5, 6, 7], "valid"),
            (60, &[], "invalid: sequence-violation 2"),
        ] {
            check_told(&(both.clone() + &listed(zxid, numbers)), expected);
            check_told(&(listed(zxid, numbers) + &both), expected);
            // Missed twice, it is counted once.
            check_told(&(both.clone() + &listed(zxid, numbers) + &listed(zxid, numbers)), expected);
        }
    }
}

mod groups {
    use super::*;

    #[test]
    fn an_offset_that_is_gone_before_its_retention_expired_too_early() {
        // The commit is invoked at line 5 and the fetch ends at line 8: three milliseconds.
        let history = |retention: &str, fetched: &str| {
            told("offsets-retention", retention)
                + "3 invoke commit {\"0\":1000000000000} ; \"group\":\"g\"\n3 ok commit {\"0\":1000000000000} ; \"group\":\"g\"\n"
                + &format!("3 invoke committed [0] ; \"group\":\"g\"\n3 ok committed {fetched} ; \"group\":\"g\"\n")
        };
        for (ms, expected) in [
            (2, "valid: ignored: offsets-expired 1"),
            (3, "valid: ignored: offsets-expired 1"),
            (4, "invalid: offsets-expired 1"),
            (1_000_000_000_000_i64, "invalid: offsets-expired 1"),
        ] {
            for fetched in ["{}", "{\"0\":-1}"] {
                check_told(&history(&format!("{{\"retention_ms\":{ms}}}"), fetched), expected);
                check_told(&history(&format!("{{\"retention_ms\":{ms},\"group\":\"g\"}}"), fetched), expected);
                check_told(&history(&format!("{{\"retention_ms\":{ms},\"group\":\"h\"}}"), fetched), "invalid: commit-regression 1");
            }
            let fetched = "{\"0\":999999999999}";
            check_told(&history(&format!("{{\"retention_ms\":{ms}}}"), fetched), "invalid: commit-regression 1");
        }
        check_told(&history("{\"retention_ms\":\"long\"}", "{}"), "invalid: commit-regression 1");
    }
}

mod by_enumeration {
    use super::*;
    use proptest::prelude::*;

    fn count(lines: &str, name: &str) -> u64 {
        let report = judge(&common::history(&(base() + lines)), JudgeOptions::default());
        report.anomalies.get(name).map_or(0, |finding| finding.count)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn ephemerals_are_accused_exactly_where_some_three_events_contradict_each_other(
            events in prop::collection::vec((0..7_u8, 0..2_u32, 0..8_i64), 0..9),
        ) {
            let names = ["created", "removed", "absent", "seen", "alive", "closed", "ended"];
            let line = |(what, client, zxid): &(u8, u32, i64)| {
                let name = names[*what as usize];
                let f = if *what < 4 { "ephemeral" } else { "session" };
                told(f, &format!("{{\"node\":\"/x\",\"event\":\"{name}\",\"client\":{client},\"zxid\":{zxid}}}"))
            };
            let of = |wanted: usize| events.iter().filter(move |(what, ..)| *what as usize == wanted);
            // The first that is told of one zxid, or of one session, counts.
            let closed = |client: u32| of(5).find(|(_, of, _)| *of == client).map(|(.., zxid)| *zxid);
            let ended = |client: u32| of(6).filter(|(_, of, _)| *of == client).map(|(.., zxid)| *zxid).min();
            let over = |client: u32| closed(client).into_iter().chain(ended(client)).min();
            let creator = |zxid: i64| of(0).find(|(.., at)| *at == zxid).map(|(_, client, _)| *client);
            let gone = (0..8).filter(|created| {
                let Some(client) = creator(*created) else { return false };
                of(2).any(|(.., absent)| {
                    let between = |(.., zxid): &&(u8, u32, i64)| (created + 1..=*absent).contains(zxid);
                    let lives = of(4).chain(of(0)).any(|(_, of, zxid)| *of == client && zxid >= absent);
                    created <= absent
                        && of(0).find(between).is_none()
                        && of(1).find(between).is_none()
                        && over(client).is_none_or(|over| over > *absent)
                        && (lives || closed(client).is_some())
                })
            });
            let staying = (0..2).filter(|client| {
                of(3).any(|(_, of, seen)| of == client && over(*client).is_some_and(|over| over <= *seen))
            });
            let lines: String = events.iter().map(line).collect();
            prop_assert_eq!(count(&lines, "ephemeral-violation"), (gone.count() + staying.count()) as u64, "{}", lines);
        }

        #[test]
        fn controllers_are_accused_exactly_where_two_terms_share_more_than_the_limit(
            looks in prop::collection::vec((0..3_u8, 0..3_u8), 0..12), limit in 0..4_usize,
        ) {
            // Of each of two brokers: left out, inactive, or active in the term of its own number.
            let look = |states: [u8; 2]| {
                let told: Vec<_> = (1..).zip(states).filter(|(_, state)| *state > 0).map(|(broker, state)| {
                    format!("\"{broker}\":{{\"active\":{},\"epoch\":{broker}}}", state == 2)
                }).collect();
                super::told("controllers", &format!("{{{}}}", told.into_iter().chain([format!("\"limit_ms\":{limit}")]).collect::<Vec<_>>().join(",")))
            };
            let looks: Vec<[u8; 2]> = looks.into_iter().map(|(one, two)| [one, two]).collect();
            // Every term: from a look that shows it to another, none between inactive; the longest of each.
            let terms = |broker: usize| -> Vec<(usize, usize)> {
                looks.split(|states| states[broker] == 1).scan(0, |at, run| {
                    let from = *at;
                    *at += run.len() + 1;
                    let first = run.iter().position(|states| states[broker] == 2);
                    let last = run.iter().rposition(|states| states[broker] == 2);
                    Some(first.zip(last).map(|(first, last)| (from + first, from + last)))
                }).flatten().collect()
            };
            let pairs = terms(0).into_iter().flat_map(|one| terms(1).into_iter().map(move |two| (one, two)));
            let expected = pairs.filter(|(one, two)| one.1.min(two.1) > one.0.max(two.0) + limit).count();
            let lines: String = looks.iter().map(|states| look(*states)).collect();
            prop_assert_eq!(count(&lines, "two-controllers"), expected as u64, "{}", lines);
        }
    }
}
