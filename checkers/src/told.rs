//! What a run's harness or observer tells in ops of the process "nemesis": open JSON data (docs/history.md).
//!
//! Why so lenient: such data comes from many hands, and one that is malformed says nothing about the cluster. What is absent or has another
//! shape is passed over; it accuses nobody.

use std::time::Duration;

use kchaos_core::{Body, Key, Op, Process};
use serde_json::Value as Json;

/// The data of an op of the process "nemesis", if it is one of this name.
pub(crate) fn told<'a>(op: &'a Op, wanted: &str) -> Option<&'a Json> {
    match (&op.process, &op.body) {
        (Process::Nemesis, Body::Nemesis { f, value }) if f == wanted => Some(value),
        _ => None,
    }
}

/// Entries of an object whose names are integers.
pub(crate) fn by_number(value: &Json) -> impl Iterator<Item = (Key, &Json)> {
    value.as_object().into_iter().flatten().filter_map(|(key, told)| Some((key.parse().ok()?, told)))
}

pub(crate) fn number(value: &Json, name: &str) -> Option<i64> {
    value.get(name).and_then(Json::as_i64)
}

pub(crate) fn text<'a>(value: &'a Json, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Json::as_str)
}

/// A number of milliseconds, in nanoseconds; `default` where it is not told.
pub(crate) fn milliseconds(value: &Json, name: &str, default: Duration) -> u64 {
    let told = value.get(name).and_then(Json::as_u64).map(|ms| ms.saturating_mul(1_000_000));
    told.unwrap_or_else(|| u64::try_from(default.as_nanos()).unwrap_or(u64::MAX))
}

/// A scalar as text, so that `"2"` and `2` are one setting.
pub(crate) fn scalar(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(_) | Json::Bool(_) => Some(value.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}
