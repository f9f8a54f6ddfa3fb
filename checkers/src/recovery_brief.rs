//! What the recovery from faults needs of an op.
//!
//! Why: it must hear of an election no later than of the acks that follow it, and of elections one hears by network. So a run holds its ops back
//! for seconds, and at hundreds of thousands a second whole ops would be most of its memory.

use kchaos_core::{Body, Key, MicroOp, Offset, Op, OpType, Polled, Process};

use crate::recovery_windows::each_key;

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
            What::Read(_) => None,
        }
    }

    pub(crate) fn read(&self) -> &[(Key, Offset)] {
        match &self.what {
            What::Wrote(_) => &[],
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

fn reached(polled: &Polled) -> impl Iterator<Item = (Key, Offset)> {
    polled.0.iter().filter_map(|(key, records)| Some((*key, records.iter().map(|(offset, _)| *offset).max()?)))
}
