//! The lines between kchaos and a worker: words with one space between them, ASCII; bytes and texts in base64, `-` for none.
//!
//! To any: `producer` or `consumer`, `set NAME VALUE` for each property, `key TOPIC PARTITION` for each key in order, `go`. It says
//! `ready KAFKA_VERSION JAVA_VERSION`, or `refused ERROR`. ERROR is `RETRIABLE CLASS MESSAGE`, RETRIABLE 0 or 1.
//!
//! To a producer: `s TICKET KEY RECORD_KEY PAYLOAD`. It says `a TICKET OFFSET` (-1 where it was told none) or `e TICKET STAGE ERROR`; the stage is
//! `send` if the error came before `send()` had returned, otherwise `report`.
//!
//! To a consumer, one after another: `assign KEY:OFFSET …`, `poll TIMEOUT_MS`, `start KEY TIMEOUT_MS`. It says `r KEY OFFSET EPOCH RECORD_KEY PAYLOAD` for
//! each record (epoch -1: not told), then `done` (after a poll of nothing with `KEY:POSITION …`; after `start` with an offset), or
//! `error KIND ERROR`, KIND `range` where there is nothing at a position, `fatal` where the client is dead, otherwise `-`.
//!
//! Of librdkafka's workers (`kchaos worker`) beside that: a producer answers with `d TICKET STAGE CODE STATUS OFFSET BROKER TOOK_NS` (the delivery report, and how
//! long it took by the host's own clock) and says `fatal TEXT` once. To any, at any time: `ping OUR_NS`, answered by `pong OUR_NS THEIR_NS`, and `stalled` (nothing has
//! come for long: the client is told its brokers again). Each says `log LEVEL FACILITY TEXT` of its library.

use std::collections::BTreeMap;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kchaos_core::{KeyEntry, Offset};

pub(crate) const STALLED: &str = "stalled";

/// What a worker is to be.
pub(crate) struct Start<'a> {
    pub(crate) role: &'static str,
    /// May hold secrets, so they are never in its arguments.
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) keys: &'a [KeyEntry],
}

impl Start<'_> {
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let set = self.properties.iter().map(|(name, value)| format!("set {name} {}", BASE64.encode(value)));
        let keys = self.keys.iter().map(|entry| format!("key {} {}", entry.topic, entry.partition));
        std::iter::once(self.role.to_owned()).chain(set).chain(keys).chain(std::iter::once("go".to_owned()))
    }
}

/// An exception.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Thrown {
    pub(crate) is_retriable: bool,
    pub(crate) class: String,
    pub(crate) message: String,
}

/// When a producer's exception came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Before `send()` had returned.
    Send,
    Report,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Acked { ticket: u64, offset: Offset },
    Failed { ticket: u64, stage: Stage, thrown: Thrown },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) key: usize,
    pub(crate) offset: Offset,
    pub(crate) leader_epoch: Option<i32>,
    pub(crate) record_key: Option<Vec<u8>>,
    pub(crate) payload: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Record(Read),
    /// What follows it, not parsed.
    Done(String),
    Error {
        is_out_of_range: bool,
        is_fatal: bool,
        thrown: Thrown,
    },
}

/// The versions of the client and of Java, or why there is no client.
pub(crate) fn ready(line: &str) -> Result<(String, String), String> {
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["ready", kafka, java] => Ok(((*kafka).to_owned(), (*java).to_owned())),
        ["refused", error @ ..] => {
            Err(thrown(error).map_or_else(|| line.to_owned(), |thrown| format!("{}: {}", thrown.class, thrown.message)))
        }
        _ => Err(format!("its worker says {line:?}")),
    }
}

pub(crate) fn send(ticket: u64, key: usize, record_key: &[u8], payload: &[u8]) -> String {
    let mut line = String::with_capacity(40 + (record_key.len() + payload.len()) * 4 / 3);
    line.push_str(&format!("s {ticket} {key} "));
    BASE64.encode_string(record_key, &mut line);
    line.push(' ');
    BASE64.encode_string(payload, &mut line);
    line
}

/// The ticket, key, record key and payload of a send, as the worker hears it.
pub(crate) fn sent(line: &str) -> Option<(u64, usize, Vec<u8>, Vec<u8>)> {
    let words: Vec<&str> = line.split(' ').collect();
    let ["s", ticket, key, record_key, payload] = words.as_slice() else { return None };
    Some((number(ticket)?, number(key)?, BASE64.decode(record_key).ok()?, BASE64.decode(payload).ok()?))
}

pub(crate) fn answer(line: &str) -> Option<Answer> {
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["a", ticket, offset] => Some(Answer::Acked { ticket: number(ticket)?, offset: number(offset)? }),
        ["e", ticket, stage, error @ ..] => {
            let stage = if *stage == "send" { Stage::Send } else { Stage::Report };
            Some(Answer::Failed { ticket: number(ticket)?, stage, thrown: thrown(error)? })
        }
        _ => None,
    }
}

pub(crate) fn said(line: &str) -> Option<Said> {
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["r", key, offset, epoch, record_key, payload] => Some(Said::Record(Read {
            key: number(key)?,
            offset: number(offset)?,
            leader_epoch: Some(number(epoch)?).filter(|epoch| *epoch >= 0),
            record_key: bytes(record_key)?,
            payload: bytes(payload)?,
        })),
        ["done", ..] => Some(Said::Done(line["done".len()..].trim_start().to_owned())),
        ["error", kind, error @ ..] => {
            Some(Said::Error { is_out_of_range: *kind == "range", is_fatal: *kind == "fatal", thrown: thrown(error)? })
        }
        _ => None,
    }
}

/// `KEY:POSITION …`
pub(crate) fn positions(text: &str) -> Vec<(usize, Offset)> {
    let position = |word: &str| word.split_once(':').and_then(|(key, offset)| Some((number(key)?, number(offset)?)));
    text.split(' ').filter_map(position).collect()
}

fn thrown(words: &[&str]) -> Option<Thrown> {
    let [retriable, class, message] = words else { return None };
    let message = String::from_utf8_lossy(&bytes(message)?.unwrap_or_default()).into_owned();
    Some(Thrown { is_retriable: *retriable == "1", class: (*class).to_owned(), message })
}

/// Outer `None`: no base64.
fn bytes(text: &str) -> Option<Option<Vec<u8>>> {
    if text == "-" { Some(None) } else { BASE64.decode(text).ok().map(Some) }
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_told_its_role_its_properties_and_its_keys() {
        let keys = [KeyEntry { key: 0, topic: "t".into(), partition: 2 }];
        let start = Start { role: "producer", properties: [("acks".to_owned(), "all".to_owned())].into(), keys: &keys };
        assert_eq!(start.lines().collect::<Vec<_>>(), ["producer", "set acks YWxs", "key t 2", "go"]);
        assert_eq!(send(7, 0, b"k1", b"x"), "s 7 0 azE= eA==");
        assert_eq!(sent("s 7 0 azE= eA=="), Some((7, 0, b"k1".to_vec(), b"x".to_vec())));
        assert_eq!(sent("s 7 0 azE="), None);
    }

    #[test]
    fn a_worker_that_cannot_make_its_client_says_why() {
        assert_eq!(ready("ready 3.9.1 17.0.15"), Ok(("3.9.1".into(), "17.0.15".into())));
        assert_eq!(ready("refused 0 ConfigException bm8="), Err("ConfigException: no".into()));
        assert!(ready("Error: could not find").unwrap_err().contains("Error: could not find"));
    }

    #[test]
    fn answers_of_a_producer_are_read() {
        assert_eq!(answer("a 17 -1"), Some(Answer::Acked { ticket: 17, offset: -1 }));
        let thrown = Thrown { is_retriable: true, class: "TimeoutException".into(), message: "no".into() };
        assert_eq!(
            answer("e 3 report 1 TimeoutException bm8="),
            Some(Answer::Failed { ticket: 3, stage: Stage::Report, thrown: thrown.clone() })
        );
        assert_eq!(answer("e 3 send 1 TimeoutException bm8="), Some(Answer::Failed { ticket: 3, stage: Stage::Send, thrown }));
        for line in ["", "a", "a 1", "a x 1", "e 1 send 0 X", "e 1 send 0 X !", "b 1 2"] {
            assert_eq!(answer(line), None, "{line}");
        }
    }

    #[test]
    fn answers_of_a_consumer_are_read() {
        let record = Read { key: 1, offset: 5, leader_epoch: Some(3), record_key: None, payload: Some(b"x".to_vec()) };
        assert_eq!(said("r 1 5 3 - eA=="), Some(Said::Record(record.clone())));
        let empty = Read { leader_epoch: None, record_key: Some(Vec::new()), ..record };
        assert_eq!(said("r 1 5 -1  eA=="), Some(Said::Record(empty)));
        assert_eq!(said("done 0:7 1:9"), Some(Said::Done("0:7 1:9".into())));
        assert_eq!(positions("0:7 1:9"), [(0, 7), (1, 9)]);
        assert_eq!(said("done"), Some(Said::Done(String::new())));
        assert!(positions("").is_empty());
        assert!(matches!(said("error range 0 OffsetOutOfRangeException eA=="), Some(Said::Error { is_out_of_range: true, .. })));
        assert_eq!(
            said("r 1 5 3 - "),
            Some(Said::Record(Read { key: 1, offset: 5, leader_epoch: Some(3), record_key: None, payload: Some(vec![]) }))
        );
        assert_eq!(said("r 1 5 3 ?? x"), None);
    }
}
