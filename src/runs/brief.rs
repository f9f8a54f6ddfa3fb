//! What of `verdict.json` a list needs. Every field may be missing, so that runs of older and of newer versions are read alike.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use kchaos_core::{Reason, Validity};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::judged::{ExitReason, FaultCount};
use crate::slo::SloOutcome;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Brief {
    /// Absent in what is no verdict: nothing is valid because a word is missing.
    pub(crate) valid: Option<Validity>,
    pub(crate) sentence: String,
    pub(crate) exit_code: u8,
    pub(crate) exit_codes: Vec<ExitReason>,
    pub(crate) anomalies: BTreeMap<String, Counted>,
    pub(crate) unproved: BTreeSet<String>,
    pub(crate) reasons: Vec<Reason>,
    pub(crate) thresholds: Vec<SloOutcome>,
    pub(crate) faults: FaultCount,
    /// By phase.
    pub(crate) load: BTreeMap<String, Load>,
    pub(crate) recovery: Recovery,
    pub(crate) resources: Resources,
    pub(crate) notes: Vec<String>,
}

/// How often an anomaly was found.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counted {
    pub(crate) count: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Load {
    pub(crate) ok: u64,
    pub(crate) info: u64,
    pub(crate) fail: u64,
    pub(crate) read: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Recovery {
    /// By the phase's name: `recovery`, `election`.
    pub(crate) phases: BTreeMap<String, Summary>,
    pub(crate) unavailable: Unavailable,
    /// Latency of writes, by the phase of the election in which they were due.
    pub(crate) writes_due: BTreeMap<String, Distribution>,
}

/// Of latencies: `latency.json` and `verdict.json` tell them alike.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Distribution {
    pub(crate) n: u64,
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) max_ns: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Unavailable {
    pub(crate) summary: Summary,
    /// By partition.
    pub(crate) total_ns: BTreeMap<String, u64>,
    /// Without any, no window proves nothing.
    pub(crate) acks: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Summary {
    pub(crate) n: u64,
    /// Spans that were owed and not seen.
    pub(crate) unseen: u64,
    pub(crate) middle: Quantiles,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Quantiles {
    pub(crate) p50_ns: u64,
    pub(crate) p95_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) max_ns: u64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Resources {
    pub(crate) wall_s: f64,
}

impl Brief {
    pub(crate) fn acknowledged(&self) -> u64 {
        self.load.values().map(|load| load.ok).sum()
    }

    /// Of what was measured.
    pub(crate) fn recovery(&self) -> Option<&Summary> {
        self.recovery.phases.get("recovery").filter(|summary| summary.n > 0)
    }
}

/// Why a file of a run says nothing.
#[derive(Debug)]
pub(crate) enum Unread {
    Absent,
    Refused(std::io::Error),
    Malformed(serde_json::Error),
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => write!(f, "is not there"),
            Self::Refused(error) => write!(f, "cannot be read: {error}"),
            Self::Malformed(error) if error.is_eof() => write!(f, "was written by half: {error}"),
            Self::Malformed(error) => write!(f, "is not as kchaos wrote it: {error}"),
        }
    }
}

pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Unread> {
    let text = std::fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Unread::Absent,
        _ => Unread::Refused(error),
    })?;
    serde_json::from_slice(&text).map_err(Unread::Malformed)
}
