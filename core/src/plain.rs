//! The ops that nearly all ops are, in a form that costs little.
//!
//! Why: an [`Op`] can hold anything, and is some 400 bytes. Of a large history nine ops in ten are the beginning or the end of a send of one value, and
//! a judge wants eight numbers of those; the others are polls that returned records and nothing else. So readers hand them on as a [`PlainSend`] or a
//! [`PlainPoll`], where the reader's listener ([`OpSink`]) wants that.

use crate::{Body, Extra, Key, Offset, Op, OpType, Polled, Process, Send, Value};

/// A send of one value. What else may stand beside it (`node`, `error`, `final`) changes no judgement and is left out; an op with a rebalance log
/// or leader epochs is not plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainSend {
    pub index: u64,
    pub time_ns: u64,
    /// `intended_ns`, or else `time_ns`.
    pub start_ns: u64,
    pub send: Send,
    pub process: u32,
    pub client: Option<u32>,
    pub op_type: OpType,
}

impl PlainSend {
    /// `None` if the op is something else.
    #[inline]
    pub fn of(op: &Op) -> Option<Self> {
        let (Process::Client(process), Body::Send(sends)) = (op.process, &op.body) else { return None };
        let [send] = sends[..] else { return None };
        if !op.extra.rebalance_log.is_empty() || !op.extra.leader_epochs.is_empty() {
            return None;
        }
        let start_ns = op.extra.intended_ns.unwrap_or(op.time_ns);
        Some(Self { index: op.index, time_ns: op.time_ns, start_ns, send, process, client: op.client, op_type: op.op_type })
    }

    /// An op that says the same.
    pub fn to_op(&self) -> Op {
        Op {
            index: self.index,
            time_ns: self.time_ns,
            process: Process::Client(self.process),
            op_type: self.op_type,
            body: Body::Send(vec![self.send]),
            client: self.client,
            extra: Extra { intended_ns: Some(self.start_ns), ..Extra::default() },
            ..Op::default()
        }
    }
}

/// An ok poll, key by key. What else may stand beside it (`client`, `node`, `error`, `final`) changes no judgement, and is left out; an op with a
/// group, a rebalance log, leader epochs, corrupt records or a reset is not plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainPoll<'a> {
    pub index: u64,
    pub time_ns: u64,
    pub process: u32,
    pub isolation: Option<&'a str>,
    pub polled: &'a [(Key, Vec<(Offset, Value)>)],
}

impl<'a> PlainPoll<'a> {
    /// `None` if the op is something else.
    #[inline]
    pub fn of(op: &'a Op) -> Option<Self> {
        let (Process::Client(process), Body::Poll(Some(Polled(polled))), OpType::Ok) = (op.process, &op.body, op.op_type) else {
            return None;
        };
        let extra = &op.extra;
        let is_alone = extra.group.is_none() && extra.reset.is_none() && extra.rebalance_log.is_empty();
        if !is_alone || !extra.leader_epochs.is_empty() || !extra.corrupt.is_empty() {
            return None;
        }
        Some(Self { index: op.index, time_ns: op.time_ns, process, isolation: extra.isolation.as_deref(), polled })
    }

    /// An op that says the same.
    pub fn to_op(&self) -> Op {
        Op {
            index: self.index,
            time_ns: self.time_ns,
            process: Process::Client(self.process),
            op_type: OpType::Ok,
            body: Body::Poll(Some(Polled(self.polled.to_vec()))),
            extra: Extra { isolation: self.isolation.map(str::to_owned), ..Extra::default() },
            ..Op::default()
        }
    }
}

/// The invocation of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollBegin {
    pub index: u64,
    pub time_ns: u64,
    pub process: u32,
}

impl PollBegin {
    /// `None` if the op is something else.
    #[inline]
    pub fn of(op: &Op) -> Option<Self> {
        match (op.process, &op.body, op.op_type) {
            (Process::Client(process), Body::Poll(_), OpType::Invoke) if op.extra.rebalance_log.is_empty() => {
                Some(Self { index: op.index, time_ns: op.time_ns, process })
            }
            _ => None,
        }
    }

    /// An op that says the same.
    pub fn to_op(&self) -> Op {
        let (process, body) = (Process::Client(self.process), Body::Poll(None));
        Op { index: self.index, time_ns: self.time_ns, process, op_type: OpType::Invoke, body, ..Op::default() }
    }
}

/// Listens to the ops of a history, in order.
pub trait OpSink {
    /// Whether it takes plain ops as such. Else it is told of all ops as what they are.
    const TAKES_PLAIN: bool;

    fn op(&mut self, op: &Op);
    fn plain_send(&mut self, send: &PlainSend);

    fn plain_poll(&mut self, poll: &PlainPoll<'_>) {
        self.op(&poll.to_op());
    }

    fn poll_begins(&mut self, poll: &PollBegin) {
        self.op(&poll.to_op());
    }
}

/// A listener who wants every op whole.
pub struct EachOp<F>(pub F);

impl<F: FnMut(&Op)> OpSink for EachOp<F> {
    const TAKES_PLAIN: bool = false;

    #[inline]
    fn op(&mut self, op: &Op) {
        (self.0)(op);
    }

    fn plain_send(&mut self, send: &PlainSend) {
        (self.0)(&send.to_op());
    }
}
