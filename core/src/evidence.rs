//! What a person looks at to believe an accusation: the ops that it cites with a few around them, and the log as it was drawn.
//!
//! Why it stands beside the explanation and not in it: a sentence is for reading, this is for drawing, and each report draws in its own way.

use serde::{Deserialize, Serialize};

use crate::{Key, Offset, OpType, Process, Value};

/// The evidence of one example. What it leaves out, it counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// Of a cycle, one after the other.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<String>,
    /// By index.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ops: Vec<ShownOp>,
    /// Cited ops that are not in `ops`.
    pub more_ops: u64,
    /// Who led the partition from the first cited op to the last, if that changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leaders: Vec<LeaderSeen>,
    /// Changes that are not in `leaders`.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_leaders: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<OffsetLine>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A leader of a partition, when it was first seen with this epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderSeen {
    pub leader: Option<i64>,
    pub leader_epoch: i64,
    pub time_ns: u64,
    /// That told of it.
    pub op: u64,
}

/// What one op did, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownOp {
    pub index: u64,
    pub time_ns: u64,
    /// `process 3 (client 1)`, or `nemesis`.
    pub who: String,
    /// `ok send`.
    pub what: String,
    /// `key 0: value 17 at offset 12`.
    pub text: String,
    /// `false`: it only stands near one that is.
    pub cited: bool,
}

/// A part of a partition's log, offset by offset: who wrote what, who read what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetLine {
    pub key: Key,
    /// Ascending. Offsets at which nothing is known to stand are left out, unless the example speaks of them.
    pub columns: Vec<LineOffset>,
    pub readers: Vec<LineReader>,
    /// Those that are not shown.
    pub more_readers: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineOffset {
    pub offset: Offset,
    /// The example speaks of it.
    pub accused: bool,
    /// Between the one before it and this, something is left out. (Mere holes are not.)
    pub gap: bool,
    /// Nothing, one value, or (`inconsistent-offsets`) several.
    pub held: Vec<Held>,
}

/// A value in the log, and who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub value: Value,
    /// `None`: nobody sent it.
    pub sent: Option<Sent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The op's completion, or its invocation if it never ended.
    pub op: u64,
    pub outcome: Outcome,
}

/// What came of a write, as its writer knew it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Acknowledged,
    Failed,
    /// Nobody knows.
    Info,
    /// It never ended.
    Open,
}

/// One process on its way up the log. If it goes back, it is a reader anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineReader {
    pub process: u32,
    /// From 0: how often it had gone back.
    pub again: u32,
    /// One for each column.
    pub cells: Vec<LineRead>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineRead {
    /// It was not there.
    Absent,
    /// It read before and after this offset, and not this.
    Passed,
    Read {
        op: u64,
        value: Value,
        outcome: Outcome,
    },
}

impl Evidence {
    /// When each of the ops was: seconds, cut and not rounded, to the microsecond if milliseconds do not tell them apart.
    pub fn moments(&self) -> Vec<String> {
        let is_same = |two: &[ShownOp]| two[0].time_ns != two[1].time_ns && two[0].time_ns / 1_000_000 == two[1].time_ns / 1_000_000;
        let decimals = if self.ops.windows(2).any(is_same) { 6 } else { 3 };
        let moment = |time_ns: u64| {
            let mut text = format!("{}.{:09}", time_ns / 1_000_000_000, time_ns % 1_000_000_000);
            text.truncate(text.len() - 9 + decimals);
            text + " s"
        };
        self.ops.iter().map(|op| moment(op.time_ns)).collect()
    }
}

impl LeaderSeen {
    /// In a few words, without the op.
    pub fn words(&self) -> String {
        let who = self.leader.map_or_else(|| "nobody".to_owned(), |broker| format!("broker {broker}"));
        let (seconds, milliseconds) = (self.time_ns / 1_000_000_000, self.time_ns / 1_000_000 % 1_000);
        format!("{who}, leader epoch {}, seen at {seconds}.{milliseconds:03} s", self.leader_epoch)
    }
}

impl Outcome {
    /// For columns: short.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Acknowledged => "ok",
            Outcome::Failed => "failed",
            Outcome::Info => "info",
            Outcome::Open => "open",
        }
    }
}

impl From<OpType> for Outcome {
    fn from(op_type: OpType) -> Self {
        match op_type {
            OpType::Ok => Outcome::Acknowledged,
            OpType::Fail => Outcome::Failed,
            OpType::Info => Outcome::Info,
            OpType::Invoke => Outcome::Open,
        }
    }
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Process::Client(number) => write!(f, "process {number}"),
            Process::Nemesis => f.write_str("nemesis"),
        }
    }
}
