//! `--fail-on 'recovery.p99:+20%'`: what must not become worse by more than that.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::measure::QUANTILES;
use super::{Row, Unit};
use crate::report::words;

/// One limit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FailOn {
    text: String,
    name: String,
    /// It may not grow by more; else it may not shrink by more.
    is_upward: bool,
    by: By,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    /// 0.2 of what it was.
    Share(f64),
    Nanoseconds(f64),
}

/// Where a limit cannot be read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FailOnError {
    at: usize,
    what: String,
}

impl fmt::Display for FailOnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "at character {}: {}; a limit is FIGURE:+SHARE% or FIGURE:+TIME, as in recovery.p99:+20% or throughput.trouble:-10%",
            self.at + 1,
            self.what
        )
    }
}

impl std::error::Error for FailOnError {}

impl FromStr for FailOn {
    type Err = FailOnError;

    fn from_str(text: &str) -> Result<Self, FailOnError> {
        let wrong = |at: usize, what: &str| FailOnError { at, what: what.to_owned() };
        let colon = text.find(':').ok_or_else(|| wrong(text.chars().count(), "there is no : after the figure's name"))?;
        // Characters, as a person counts them.
        let place = |byte: usize| text[..byte].chars().count();
        let name = text[..colon].trim();
        if name.is_empty() {
            return Err(wrong(0, "there is no figure before the :"));
        }
        let limit = &text[colon + 1..];
        let is_upward = match limit.chars().next() {
            Some('+') => true,
            Some('-') => false,
            _ => return Err(wrong(place(colon + 1), "+ or - says which way is worse")),
        };
        let number = &limit[1..];
        let digits = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
        let value: f64 = number[..digits].parse().map_err(|_| wrong(place(colon + 2), "there is no number"))?;
        let by = match number[digits..].trim() {
            "%" => By::Share(value / 100.0),
            "ms" => By::Nanoseconds(value * 1e6),
            "s" => By::Nanoseconds(value * 1e9),
            "" => return Err(wrong(place(colon + 2 + digits), "the number has no unit (%, ms or s)")),
            other => return Err(wrong(place(colon + 2 + digits), &format!("\"{other}\" is no unit (%, ms or s)"))),
        };
        Ok(Self { text: text.trim().to_owned(), name: name.to_owned(), is_upward, by })
    }
}

/// What became of a limit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Held {
    pub(crate) fail_on: String,
    /// What was not measured is not met.
    pub(crate) is_met: bool,
    /// One sentence.
    pub(crate) text: String,
}

impl FailOn {
    /// By the run's figures. A name that no run can have is an error.
    pub(super) fn hold(&self, rows: &[Row]) -> Result<Held, String> {
        let held = |is_met, text| Ok(Held { fail_on: self.text.clone(), is_met, text });
        let Some(row) = rows.iter().find(|row| row.figure.name == self.name) else {
            if may_be_unmeasured(&self.name) {
                return held(false, format!("{} cannot be called met: {} was measured on neither side", self.text, self.name));
            }
            return Err(unknown(&self.name, rows));
        };
        let (Some(before), Some(now)) = (row.reference(), row.now) else {
            let side = if row.now.is_none() { "in this run" } else { "before" };
            return held(false, format!("{} cannot be called met: {} was not measured {side}", self.text, self.name));
        };
        if matches!(self.by, By::Nanoseconds(_)) && row.figure.unit != Unit::Nanoseconds {
            return Err(format!("--fail-on {}: {} is no time: give a share, as in +20%", self.text, self.name));
        }
        let by = match self.by {
            By::Share(share) => before * share,
            By::Nanoseconds(ns) => ns,
        };
        let is_beyond = if self.is_upward { now > before + by } else { now < before - by };
        // What other runs of before had is no change.
        let is_in_band = row.band().is_some_and(|(least, most)| if self.is_upward { now <= most } else { now >= least });
        let told = |value: f64| row.figure.unit.told(value);
        let change = row.change().map_or_else(String::new, |change| format!(" ({:+.1} %)", change * 100.0));
        let was = format!("{} was {} and is {}{change}", self.name, told(before), told(now));
        match (is_beyond, is_in_band) {
            (false, _) => held(true, format!("{} is met: {was}", self.text)),
            (true, true) => {
                held(true, format!("{} is met: {was}, which one of the {} runs of before had as well", self.text, row.before.len()))
            }
            (true, false) => held(false, format!("{} is missed: {was}", self.text)),
        }
    }
}

/// Names that a run has only if something happened in it.
fn possible() -> impl Iterator<Item = String> {
    let phases = crate::slo::METRICS.iter().map(|(name, _)| *name).filter(|name| !matches!(*name, "send" | "read-lag"));
    let of_phases = phases.flat_map(|phase| QUANTILES.iter().map(move |quantile| format!("{phase}.{quantile}")));
    let by_phase = ["send", "read-lag"].into_iter().flat_map(|op| {
        let phases = ["before", "trouble", "after"];
        phases.into_iter().flat_map(move |phase| QUANTILES.iter().map(move |quantile| format!("{op}.{phase}.{quantile}")))
    });
    let throughput = ["before", "trouble", "after"].into_iter().map(|phase| format!("throughput.{phase}"));
    let others = ["recovery.unseen", "unavailable.total", "unavailable.windows"].into_iter().map(str::to_owned);
    of_phases.chain(by_phase).chain(throughput).chain(others)
}

fn may_be_unmeasured(name: &str) -> bool {
    possible().any(|possible| possible == name)
}

fn unknown(name: &str, rows: &[Row]) -> String {
    let all: Vec<String> = rows.iter().map(|row| row.figure.name.clone()).chain(possible()).collect();
    let nearest = all.iter().max_by_key(|known| (strsim::jaro_winkler(known, name) * 1e6) as u64);
    let nearest = nearest.map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"));
    let shown: Vec<&str> = rows.iter().map(|row| row.figure.name.as_str()).collect();
    let there_are = if shown.is_empty() { String::new() } else { format!(" There are {}", shown.join(", ")) };
    format!("--fail-on: no figure is called \"{name}\"{nearest}{there_are}")
}

/// For people: `+4.2 %`.
pub(super) fn share(change: Option<f64>) -> String {
    match change {
        None => "–".to_owned(),
        Some(change) if change.abs() >= 10.0 => format!("×{}", words::count((change + 1.0).round() as u64)),
        Some(change) => format!("{:+.1} %", change * 100.0).replace('-', "−"),
    }
}
