//! What is to go wrong, and where: `ANOMALY[@PLACE][xCOUNT]`.

use std::str::FromStr;

use crate::options::{Options, Workload};

/// An anomaly that can be written into a history.
#[derive(Debug, PartialEq, Eq)]
pub struct Injectable {
    pub name: &'static str,
    /// The workloads that can carry it.
    pub workloads: &'static [Workload],
    /// What necessarily comes with it, or may, depending on who reads there.
    pub along: &'static [&'static str],
    /// How many keys it needs: in a single one it would be another anomaly.
    pub keys: u32,
}

const LOGS: &[Workload] = &[Workload::Log, Workload::Transactions, Workload::Groups];
const TRANSACTIONS: &[Workload] = &[Workload::Transactions];
const GROUPS: &[Workload] = &[Workload::Groups];
const REGISTERS: &[Workload] = &[Workload::Registers];
const ALL: &[Workload] = &Workload::ALL;

const fn of(name: &'static str, workloads: &'static [Workload], along: &'static [&'static str]) -> Injectable {
    Injectable { name, workloads, along, keys: 1 }
}

const fn of_two_keys(name: &'static str, workloads: &'static [Workload], along: &'static [&'static str]) -> Injectable {
    Injectable { keys: 2, ..of(name, workloads, along) }
}

/// Every anomaly that can be injected, in the order of the checkers.
pub const INJECTABLE: &[Injectable] = &[
    // Whoever read on passed it, and a group that committed further did not process it.
    of("lost-write", LOGS, &["unseen", "poll-skip", "int-poll-skip", "unprocessed"]),
    of("unseen", LOGS, &[]),
    of("duplicate", LOGS, &[]),
    of("inconsistent-offsets", LOGS, &[]),
    of("phantom", LOGS, &[]),
    of("read-before-send", LOGS, &[]),
    of("G1a", LOGS, &[]),
    of("precommitted-read", TRANSACTIONS, &[]),
    of("dirty-read", TRANSACTIONS, &[]),
    of("lso-passed", TRANSACTIONS, &[]),
    of("torn-transaction", TRANSACTIONS, &["lost-write", "unseen", "poll-skip", "int-poll-skip", "G1b"]),
    // A gap inside one poll is both.
    of("G1b", TRANSACTIONS, &["int-poll-skip"]),
    // With a single key, the two transactions stand inside each other.
    of("G0", TRANSACTIONS, &["int-send-skip"]),
    of("G1c", TRANSACTIONS, &[]),
    // With a single key, what the short transactions wrote would be reordered, or close a circle without them.
    of_two_keys("G0-process", TRANSACTIONS, &[]),
    of_two_keys("G0-realtime", TRANSACTIONS, &[]),
    of_two_keys("G1c-process", TRANSACTIONS, &[]),
    of_two_keys("G1c-realtime", TRANSACTIONS, &[]),
    of("lso-stall", LOGS, &[]),
    of("balance-changed", TRANSACTIONS, &[]),
    of("poll-skip", LOGS, &[]),
    of("nonmonotonic-poll", LOGS, &[]),
    of("int-poll-skip", LOGS, &[]),
    of("int-nonmonotonic-poll", LOGS, &[]),
    of("total-order-disagreement", LOGS, &[]),
    of("commit-regression", GROUPS, &[]),
    of("offsets-expired", GROUPS, &[]),
    of("unprocessed", GROUPS, &[]),
    of("redelivered", GROUPS, &[]),
    of("processed-twice", LOGS, &[]),
    of("nonmonotonic-send", LOGS, &[]),
    of("int-nonmonotonic-send", LOGS, &[]),
    of("int-send-skip", LOGS, &[]),
    of("reordered", LOGS, &[]),
    of("replica-divergence", LOGS, &[]),
    of("stale-leader-ack", LOGS, &[]),
    of("nonlinearizable", REGISTERS, &[]),
    of("watch-violation", REGISTERS, &[]),
    of("ephemeral-violation", REGISTERS, &[]),
    of("sequence-violation", REGISTERS, &[]),
    of("two-controllers", ALL, &[]),
    of("config-reverted", ALL, &[]),
    of("change-lost", ALL, &[]),
    of("offset-regression", LOGS, &[]),
    // The final read finds what was told to be gone.
    of("expired-early", LOGS, &["offset-regression"]),
    of("lookup-wrong", LOGS, &[]),
];

/// One `--inject`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Injection {
    pub anomaly: &'static Injectable,
    pub place: Place,
    /// How often; at a chosen place one after the other, else each at a place of its own.
    pub count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    /// Drawn from the seed.
    Random,
    /// Of all sends.
    Fraction(f64),
    /// Before the send of this number, counted from 0.
    Send(u64),
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InjectionError {
    #[error("unknown anomaly \"{name}\": one of {}", names())]
    Unknown { name: String },
    #[error("\"{text}\": the place \"{place}\" is neither a fraction from 0.0 to 1.0 nor a send's number")]
    Place { text: String, place: String },
    #[error("\"{text}\": the count \"{count}\" is not a number from 1 to 1048576")]
    Count { text: String, count: String },
    #[error("{anomaly} at send {place}: there are {sends} sends only")]
    Beyond { anomaly: &'static str, place: u64, sends: u64 },
    #[error("the workload {workload} cannot carry {anomaly}: {} can", either(workloads))]
    Workload { anomaly: &'static str, workload: Workload, workloads: &'static [Workload] },
    #[error("{anomaly} needs {least} keys, and there is one")]
    Keys { anomaly: &'static str, least: u32 },
}

fn names() -> String {
    INJECTABLE.iter().map(|anomaly| anomaly.name).collect::<Vec<_>>().join(", ")
}

pub(crate) fn either(workloads: &[Workload]) -> String {
    workloads.iter().map(|workload| workload.name()).collect::<Vec<_>>().join(" or ")
}

impl Injection {
    /// Of this name, once, wherever the seed says.
    pub fn named(name: &str) -> Result<Self, InjectionError> {
        let anomaly = INJECTABLE.iter().find(|anomaly| anomaly.name == name);
        let anomaly = anomaly.ok_or_else(|| InjectionError::Unknown { name: name.to_owned() })?;
        Ok(Self { anomaly, place: Place::Random, count: 1 })
    }

    pub(crate) fn validate(&self, options: &Options) -> Result<(), InjectionError> {
        let Injectable { name: anomaly, workloads, .. } = *self.anomaly;
        if !workloads.contains(&options.workload) {
            return Err(InjectionError::Workload { anomaly, workload: options.workload, workloads });
        }
        if options.keys < self.anomaly.keys {
            return Err(InjectionError::Keys { anomaly, least: self.anomaly.keys });
        }
        match self.place {
            Place::Send(place) if place > options.sends => Err(InjectionError::Beyond { anomaly, place, sends: options.sends }),
            _ => Ok(()),
        }
    }
}

impl FromStr for Injection {
    type Err = InjectionError;

    fn from_str(text: &str) -> Result<Self, InjectionError> {
        let (rest, count) = match text.rsplit_once('x') {
            Some((rest, digits)) if !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                let count = digits.parse().ok().filter(|count| (1..=1 << 20).contains(count));
                (rest, count.ok_or_else(|| InjectionError::Count { text: text.to_owned(), count: digits.to_owned() })?)
            }
            _ => (text, 1),
        };
        let (name, place) = match rest.split_once('@') {
            Some((name, place)) => {
                let wrong = || InjectionError::Place { text: text.to_owned(), place: place.to_owned() };
                (name, parse_place(place).ok_or_else(wrong)?)
            }
            None => (rest, Place::Random),
        };
        Ok(Self { place, count, ..Self::named(name)? })
    }
}

fn parse_place(text: &str) -> Option<Place> {
    if let Ok(send) = text.parse() {
        return Some(Place::Send(send));
    }
    text.parse().ok().filter(|fraction| (0.0..=1.0).contains(fraction)).map(Place::Fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_injection_is_a_name_a_place_and_a_count() {
        for (text, name, place, count) in [
            ("lost-write", "lost-write", Place::Random, 1),
            ("G1a@0.5", "G1a", Place::Fraction(0.5), 1),
            ("duplicate@17x3", "duplicate", Place::Send(17), 3),
            ("int-poll-skipx2", "int-poll-skip", Place::Random, 2),
            ("unseen@1.0", "unseen", Place::Fraction(1.0), 1),
        ] {
            let injection: Injection = text.parse().unwrap();
            assert_eq!((injection.anomaly.name, injection.place, injection.count), (name, place, count), "{text}");
        }
    }

    #[test]
    fn what_is_no_injection_says_why() {
        for (text, word) in [
            ("lost-rite", "one of lost-write"),
            ("", "unknown anomaly"),
            ("G1a@", "neither a fraction"),
            ("G1a@1.5", "neither a fraction"),
            ("G1a@-3", "neither a fraction"),
            ("G1a@NaN", "neither a fraction"),
            ("G1ax0", "count \"0\""),
            ("G1ax99999999999999", "count"),
        ] {
            let error = text.parse::<Injection>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn a_workload_that_cannot_carry_it_names_one_that_can() {
        let injections = vec![Injection::named("G1b").unwrap()];
        let error = Options { injections, ..Options::default() }.validate().unwrap_err().to_string();
        assert_eq!(error, "the workload log cannot carry G1b: transactions can");
        let injections = vec![Injection::named("G0-process").unwrap()];
        let single = Options { injections, workload: Workload::Transactions, keys: 1, ..Options::default() };
        assert_eq!(single.validate().unwrap_err().to_string(), "G0-process needs 2 keys, and there is one");
    }
}
