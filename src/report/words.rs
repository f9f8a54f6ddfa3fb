//! How numbers and findings are said to people, the same in every report.

/// What an anomaly is, in the order of how bad it is to have it: name, one and several of them, and what it means.
const ANOMALIES: &[(&str, &str, &str, &str)] = &[
    (
        "lost-write",
        "acknowledged write was lost",
        "acknowledged writes were lost",
        "The cluster said yes to these writes, later data of the same partition was read, and nobody ever read them.",
    ),
    (
        "unseen",
        "acknowledged write was never read",
        "acknowledged writes were never read",
        "The cluster said yes to these writes, and the final reads, from the start of each partition to its end, did not return them.",
    ),
    (
        "duplicate",
        "write stands in the log more than once",
        "writes stand in the log more than once",
        "One value was read at two or more offsets: a retry was written again.",
    ),
    (
        "inconsistent-offsets",
        "offset held different values",
        "offsets held different values",
        "Different values were seen at one offset: the log was truncated and written anew, or two leaders wrote it.",
    ),
    ("phantom", "value was read that nobody sent", "values were read that nobody sent", "A polled record is not what any client sent."),
    (
        "G1a",
        "failed write was read",
        "failed writes were read",
        "The client was told for certain that the write did not happen, and it was read.",
    ),
    (
        "dirty-read",
        "value was read before its transaction was committed",
        "values were read before their transactions were committed",
        "A reader of committed records was given them before their writer asked for the commit.",
    ),
    (
        "torn-transaction",
        "transaction was kept in part",
        "transactions were kept in part",
        "Some of what a committed transaction wrote is in the log, and the rest never was, though readers passed both.",
    ),
    (
        "G1b",
        "transaction was read in part",
        "transactions were read in part",
        "Inside the range that one poll returned, a value of a committed transaction is missing, and later ones are there.",
    ),
    (
        "lso-passed",
        "record was read beyond an open transaction",
        "records were read beyond an open transaction",
        "A reader of committed records came past the last stable offset: an earlier transaction of the partition had not been ended.",
    ),
    (
        "lso-stall",
        "stretch in which the last stable offset stood still",
        "stretches in which the last stable offset stood still",
        "Every known transaction had ended, and readers of committed records were held up all the same, as by a transaction that nobody ends.",
    ),
    (
        "unprocessed",
        "acknowledged value was passed over by its group",
        "acknowledged values were passed over by their group",
        "The group committed offsets beyond them, and no member processed them.",
    ),
    (
        "balance-changed",
        "look at the bank found another sum",
        "looks at the bank found another sum",
        "Transfers move money and make none: a transfer was done by half.",
    ),
    (
        "total-order-disagreement",
        "record was not the same to two readers",
        "records were not the same to two readers",
        "Two readers of one partition saw different sequences.",
    ),
    (
        "replica-divergence",
        "difference between the logs of two replicas",
        "differences between the logs of two replicas",
        "Below the high watermark replicas hold the same batches; these do not.",
    ),
    (
        "reordered",
        "pair of writes is out of order",
        "pairs of writes are out of order",
        "Offsets are not in the order of sending, or a write that was done before another began stands after it.",
    ),
    (
        "nonmonotonic-send",
        "send landed before an earlier one",
        "sends landed before earlier ones",
        "A later send of one process got a lower offset than an earlier one.",
    ),
    ("poll-skip", "poll skipped records", "polls skipped records", "A consumer moved forward past records that others read."),
    (
        "nonmonotonic-poll",
        "poll went backwards",
        "polls went backwards",
        "A consumer was given records again that it had already been given, without seeking.",
    ),
    (
        "int-poll-skip",
        "poll skipped records within itself",
        "polls skipped records within themselves",
        "One answer of a poll leaves out records in its middle.",
    ),
    (
        "int-nonmonotonic-poll",
        "poll went backwards within itself",
        "polls went backwards within themselves",
        "One answer of a poll is out of order.",
    ),
    (
        "int-nonmonotonic-send",
        "op wrote its values out of order",
        "ops wrote their values out of order",
        "Within one op a later send got a lower offset.",
    ),
    (
        "processed-twice",
        "input was processed twice",
        "inputs were processed twice",
        "A group that makes each output in one transaction with the offset of its input committed two outputs of one input.",
    ),
    (
        "never-recovered",
        "partition never came back",
        "partitions never came back",
        "All faults were mended, and the partition still took no writes, or its replicas were not in sync, long after.",
    ),
    (
        "unexpected-exit",
        "daemon died without our fault",
        "daemons died without our fault",
        "A daemon is not the process it was, and no fault was aimed at it.",
    ),
    (
        "log-pattern",
        "alarming line stands in the daemon logs",
        "alarming lines stand in the daemon logs",
        "FATAL, out of memory, or a crash of the JVM.",
    ),
    (
        "config-reverted",
        "setting changed by itself",
        "settings changed by themselves",
        "A setting that was in force at the start was not at the end.",
    ),
    (
        "change-lost",
        "acknowledged change of the cluster was lost",
        "acknowledged changes of the cluster were lost",
        "A topic that was made, grown or deleted, or a setting that was changed, is not so at the end by the word of a broker.",
    ),
    (
        "expired-early",
        "log began beyond what was to be kept",
        "logs began beyond what was to be kept",
        "Records were gone that nobody had asked to be deleted and that had not reached their retention.",
    ),
    (
        "offset-regression",
        "told bound of a log went back",
        "told bounds of logs went back",
        "A leader told a log to end, or to start, before where it had been told to: what lay between was truncated, or came back.",
    ),
    (
        "lookup-wrong",
        "record found by its time was not the first",
        "records found by their time were not the first",
        "Asked for the first record of a time or later, a leader gave an older one, or passed over one that was there.",
    ),
    (
        "nonlinearizable",
        "answer of a register that no order explains",
        "answers of registers that no order explains",
        "Writes and compare-and-sets take effect one after the other, between their invocation and their answer.",
    ),
    (
        "watch-violation",
        "watch that did not fire as it should",
        "watches that did not fire as they should",
        "A watch fires once, in the order of the changes, and before its session is shown what changed.",
    ),
    (
        "ephemeral-violation",
        "ephemeral node that did not live as long as its session",
        "ephemeral nodes that did not live as long as their session",
        "It was gone while its session lived, or there when its session had been closed.",
    ),
    (
        "sequence-violation",
        "sequential node out of its sequence",
        "sequential nodes out of their sequence",
        "A number was given twice, or out of the order of transactions or of real time, or the node was gone.",
    ),
    (
        "two-controllers",
        "time with two controllers",
        "times with two controllers",
        "Two nodes were active controllers for longer than a handover takes.",
    ),
    (
        "commit-regression",
        "committed offset went back",
        "committed offsets went back",
        "A group was told a smaller offset than one whose commit had been acknowledged before it asked.",
    ),
    (
        "offsets-expired",
        "committed offset expired early",
        "committed offsets expired early",
        "A group's offsets were dropped before their retention was over.",
    ),
    (
        "precommitted-read",
        "own write was read before its commit",
        "own writes were read before their commit",
        "A transaction was given what it had itself written, though it reads committed records alone.",
    ),
    (
        "G0",
        "cycle of writes",
        "cycles of writes",
        "Transactions wrote to several partitions in different orders. Kafka does not isolate writes.",
    ),
    (
        "G0-process",
        "cycle of writes and of one client's order",
        "cycles of writes and of one client's order",
        "The same, with the order in which one client did them.",
    ),
    (
        "G0-realtime",
        "cycle of writes and of real time",
        "cycles of writes and of real time",
        "The same, with what was over before another began.",
    ),
    (
        "G1c",
        "cycle of writes and reads",
        "cycles of writes and reads",
        "Each transaction read or followed what the next one wrote, round to the first.",
    ),
    (
        "G1c-process",
        "cycle of writes, reads and of one client's order",
        "cycles of writes, reads and of one client's order",
        "The same, with the order in which one client did them.",
    ),
    (
        "G1c-realtime",
        "cycle of writes, reads and of real time",
        "cycles of writes, reads and of real time",
        "The same, with what was over before another began.",
    ),
    (
        "int-send-skip",
        "transaction with others' records between its own",
        "transactions with others' records between their own",
        "Between two sends of one transaction stand records of others. Kafka allows it.",
    ),
    (
        "redelivered",
        "record was given to its group again",
        "records were given to their group again",
        "At-least-once means that, and no more is promised unless offsets are part of the transaction.",
    ),
    (
        "stale-leader-ack",
        "write was acknowledged by a leader that had been replaced",
        "writes were acknowledged by a leader that had been replaced",
        "Legal until it learns of it, and evidence for what else was found.",
    ),
    (
        "read-before-send",
        "value was read before it was sent",
        "values were read before they were sent",
        "The clock or the ids of the test itself are wrong.",
    ),
];

/// How an anomaly ranks among others: 0 is worst.
pub(crate) fn gravity(name: &str) -> usize {
    ANOMALIES.iter().position(|(known, ..)| *known == name).unwrap_or(ANOMALIES.len())
}

/// "26 acknowledged writes were lost".
pub(crate) fn found(name: &str, n: u64) -> String {
    match ANOMALIES.iter().find(|(known, ..)| *known == name) {
        Some((_, one, several, _)) => format!("{} {}", count(n), if n == 1 { one } else { several }),
        None => format!("{} × {name}", count(n)),
    }
}

/// What an anomaly means; empty for one that this page does not know.
pub(crate) fn meaning(name: &str) -> &'static str {
    ANOMALIES.iter().find(|(known, ..)| *known == name).map_or("", |(.., meaning)| meaning)
}

/// `74,512`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `8.31 s`, `412 ms`, `1.9 ms`, `850 µs`: three digits that matter.
pub(crate) fn duration(ns: u64) -> String {
    let (value, unit) = match ns {
        0 => return "0 s".to_owned(),
        1..1_000_000 => (ns as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        1_000_000_000..600_000_000_000 => (ns as f64 / 1e9, "s"),
        _ => (ns as f64 / 60e9, "min"),
    };
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}

/// A moment of the run: `41.27 s`, the same digits throughout so that columns align.
pub(crate) fn moment(ns: u64) -> String {
    format!("{:.2} s", ns as f64 / 1e9)
}

/// `1 min 58 s`.
pub(crate) fn long_duration(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

pub(crate) fn bytes(n: u64) -> String {
    match n {
        0..10_000 => format!("{n} B"),
        10_000..10_000_000 => format!("{:.0} kB", n as f64 / 1e3),
        _ => format!("{:.0} MB", n as f64 / 1e6),
    }
}

/// An argument as a shell takes it.
pub(crate) fn shell(argument: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%".contains(c);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_checker_may_find_has_words_and_stands_once() {
        for anomaly in kchaos_checkers::ALL.iter().flat_map(|spec| spec.anomalies) {
            let known = ANOMALIES.iter().filter(|(name, ..)| name == anomaly).count();
            assert_eq!(known, 1, "{anomaly}");
        }
    }

    #[test]
    fn numbers_are_said_with_three_digits_that_matter() {
        for (ns, expect) in [
            (0, "0 s"),
            (850_000, "850 µs"),
            (1_900_000, "1.90 ms"),
            (412_345_678, "412 ms"),
            (8_312_000_000, "8.31 s"),
            (61_240_000_000, "61.2 s"),
            (900_000_000_000, "15.0 min"),
        ] {
            assert_eq!(duration(ns), expect);
        }
        assert_eq!([count(0), count(999), count(74_512), count(1_000_000)], ["0", "999", "74,512", "1,000,000"]);
        assert_eq!(
            [long_duration(59_900_000_000), long_duration(118_000_000_000), long_duration(7_260_000_000_000)],
            ["59 s", "1 min 58 s", "2 h 1 min"]
        );
        assert_eq!(
            [shell("--rate=500"), shell("recovery.p99<20s"), shell("it's"), shell("")],
            ["--rate=500", "'recovery.p99<20s'", "'it'\\''s'", "''"]
        );
    }
}
