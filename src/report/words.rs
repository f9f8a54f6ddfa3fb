//! How numbers and findings are said to people, the same in every report.

use super::anomalies::ANOMALIES;

/// How an anomaly ranks among others: 0 is worst.
pub(crate) fn gravity(name: &str) -> usize {
    ANOMALIES.iter().position(|known| known.name == name).unwrap_or(ANOMALIES.len())
}

/// "26 acknowledged writes were lost".
pub(crate) fn found(name: &str, n: u64) -> String {
    match ANOMALIES.iter().find(|known| known.name == name) {
        Some(known) => format!("{} {}", count(n), if n == 1 { known.one } else { known.several }),
        None => format!("{} × {name}", count(n)),
    }
}

/// What an anomaly means; empty for one that this page does not know.
pub(crate) fn meaning(name: &str) -> &'static str {
    ANOMALIES.iter().find(|known| known.name == name).map_or("", |known| known.meaning)
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
            let known = ANOMALIES.iter().filter(|known| known.name == *anomaly).count();
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
