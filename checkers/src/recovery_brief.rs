//! What the recovery from faults needs of an op.
//!
//! Why: it must hear of an election no later than of the acks that follow it, and of elections one hears by network. So a run holds its ops back
//! for seconds, and at hundreds of thousands a second whole ops would be most of its memory.

use kchaos_core::{Body, Key, MicroOp, Offset, Op, OpType, Polled, Process};

use serde_json::Value as Json;

use crate::recovery_windows::each_key;
use crate::told::{number, text};

/// A write, begun or ended, or what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brief {
    pub(crate) index: u64,
    pub(crate) time_ns: u64,
    pub(crate) op_type: OpType,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Wrote(Wrote),
    /// The highest offset of each partition.
    Read(Vec<(Key, Offset)>),
    /// A transaction that polled as well.
    Both(Box<(Wrote, Vec<(Key, Offset)>)>),
    /// A client asks that a partition have so many replicas from now on.
    Reassigns(Key, usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrote {
    /// `None`: no client.
    pub(crate) process: Option<u32>,
    pub(crate) intended_ns: Option<u64>,
    /// The broker that acknowledged it, if the client knows.
    pub(crate) broker: Option<i32>,
    pub(crate) keys: Keys,
}

/// The partitions that an op writes to, each once, with the first offset there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    One(Key, Option<Offset>),
    Many(Vec<(Key, Option<Offset>)>),
}

impl Brief {
    /// `None` of what recovery never asks for.
    pub fn of(op: &Op) -> Option<Self> {
        let what = match &op.body {
            Body::Poll(Some(polled)) if op.op_type == OpType::Ok => What::Read(reached(polled).collect()),
            Body::Send(_) | Body::Write { .. } | Body::Cas { .. } => What::Wrote(Wrote::of(op)),
            Body::Txn(parts) => {
                let polls = parts.iter().filter_map(|part| match part {
                    MicroOp::Poll(polled) => polled.as_ref(),
                    MicroOp::Send(_) => None,
                });
                let read: Vec<_> = if op.op_type == OpType::Ok { polls.flat_map(reached).collect() } else { Vec::new() };
                if read.is_empty() { What::Wrote(Wrote::of(op)) } else { What::Both(Box::new((Wrote::of(op), read))) }
            }
            Body::Nemesis { f, value } if f == "admin" && op.op_type == OpType::Invoke => {
                let (key, replicas) = reassigned(value)?;
                What::Reassigns(key, replicas)
            }
            _ => return None,
        };
        Some(Self { index: op.index, time_ns: op.time_ns, op_type: op.op_type, what })
    }

    pub fn time_ns(&self) -> u64 {
        self.time_ns
    }

    pub(crate) fn wrote(&self) -> Option<&Wrote> {
        match &self.what {
            What::Wrote(wrote) => Some(wrote),
            What::Both(both) => Some(&both.0),
            What::Read(_) | What::Reassigns(..) => None,
        }
    }

    pub(crate) fn read(&self) -> &[(Key, Offset)] {
        match &self.what {
            What::Wrote(_) | What::Reassigns(..) => &[],
            What::Both(both) => &both.1,
            What::Read(read) => read,
        }
    }
}

impl Wrote {
    fn of(op: &Op) -> Self {
        let mut keys: Option<Keys> = None;
        each_key(&op.body, |key, offset| match &mut keys {
            None => keys = Some(Keys::One(key, offset)),
            Some(Keys::Many(all)) => all.push((key, offset)),
            Some(Keys::One(first, first_offset)) => keys = Some(Keys::Many(vec![(*first, *first_offset), (key, offset)])),
        });
        Self {
            process: match op.process {
                Process::Client(process) => Some(process),
                Process::Nemesis => None,
            },
            intended_ns: op.extra.intended_ns,
            broker: op.node.as_deref().and_then(|node| node.strip_prefix("kafka:")?.parse().ok()),
            keys: keys.unwrap_or_else(|| Keys::Many(Vec::new())),
        }
    }
}

impl Keys {
    pub(crate) fn each(&self, mut call: impl FnMut(Key, Option<Offset>)) {
        match self {
            Keys::One(key, offset) => call(*key, *offset),
            Keys::Many(all) => all.iter().for_each(|(key, offset)| call(*key, *offset)),
        }
    }
}

/// Told by `{"change": "reassign", "key": 0, "replicas": [1, 2]}`.
fn reassigned(change: &Json) -> Option<(Key, usize)> {
    let is_reassignment = text(change, "change") == Some("reassign");
    let replicas = change.get("replicas").and_then(Json::as_array).filter(|_| is_reassignment)?;
    Some((number(change, "key")?, replicas.len()))
}

fn reached(polled: &Polled) -> impl Iterator<Item = (Key, Offset)> {
    polled.0.iter().filter_map(|(key, records)| Some((*key, records.iter().map(|(offset, _)| *offset).max()?)))
}
