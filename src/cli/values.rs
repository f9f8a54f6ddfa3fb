//! Values of flags that are words of ours: times, anomalies and their places, `KEY=VALUE`.

use std::time::Duration;

use kchaos_synth::{INJECTABLE, Injection, InjectionError};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// `500ms`, `18s`, `5m`, `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| format!("\"{text}\" is no duration: write 500ms, 18s, 5m or 1h"))?;
    let seconds = match unit {
        "ms" => number / 1_000.0,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3_600.0,
        "" => return Err(format!("\"{text}\" lacks a unit: ms, s, m or h")),
        other => return Err(format!("unknown unit \"{other}\" in \"{text}\": ms, s, m or h")),
    };
    Duration::try_from_secs_f64(seconds).map_err(|error| format!("\"{text}\": {error}"))
}

/// A duration in a file, as the command line has it: `500ms`, `18s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        duration(&String::deserialize(deserializer)?).map(Self).map_err(Error::custom)
    }
}

/// A time that may be left to whom it concerns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionTimeout(pub(crate) Option<Duration>);

/// A duration, or `unset`.
pub(super) fn session_timeout(text: &str) -> Result<SessionTimeout, String> {
    if text == "unset" { Ok(SessionTimeout(None)) } else { duration(text).map(|asked| SessionTimeout(Some(asked))) }
}

pub(super) fn injection(text: &str) -> Result<Injection, String> {
    text.parse().map_err(|error| match error {
        InjectionError::Unknown { name } => {
            let names = INJECTABLE.iter().map(|anomaly| anomaly.name);
            format!("unknown anomaly \"{name}\"{}", crate::run::nearest(&name, names))
        }
        other => other.to_string(),
    })
}

pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("\"{text}\" is not KEY=VALUE"))?;
    if key.trim().is_empty() {
        return Err(format!("\"{text}\" has no key before the ="));
    }
    Ok((key.trim().to_owned(), value.to_owned()))
}
