//! Where ops go: numbered, timed, and handed on one by one. Nothing is kept.

use std::collections::BTreeMap;

use kchaos_core::{Body, Extra, Key, Offset, Op, OpType, Polled, Process, Send, Value};
use serde_json::Value as Json;

/// A record as a reader gets it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) key: u32,
    pub(crate) offset: Offset,
    pub(crate) value: Value,
}

/// Takes an op; `false` if it wants no more.
pub(crate) type Sink<'a> = dyn FnMut(&Op) -> bool + 'a;

pub(crate) struct Out<'a> {
    sink: &'a mut Sink<'a>,
    /// Of the next op.
    pub(crate) index: u64,
    pub(crate) time_ns: u64,
    pub(crate) is_stopped: bool,
    /// Nobody listens: ops are numbered and timed, and not made.
    pub(crate) is_silent: bool,
    /// Between two sends.
    period_ns: u64,
    /// Nobody did anything for so long.
    waited_ns: u64,
    /// The leader epochs that acknowledgements tell, by key (0 where none stands); `None` if they tell none.
    pub(crate) leader_epochs: Option<BTreeMap<Key, i32>>,
    /// When the next send is due: however many lines come before, they come before then.
    due_ns: u64,
    jitter: u64,
    /// Ops that are written over and over, so that a line costs no allocation.
    send: Op,
    poll: Op,
    /// Lists of records for the next poll.
    spare: Vec<Vec<(Offset, Value)>>,
    /// By key: where it stands in the poll under way, and which poll that was.
    slots: Vec<(u64, u32)>,
    polls: u64,
}

impl<'a> Out<'a> {
    pub(crate) fn new(sink: &'a mut Sink<'a>, keys: u32, rate: u64) -> Self {
        let plain = |body| Op {
            index: 0,
            time_ns: 0,
            process: Process::Client(0),
            op_type: OpType::Invoke,
            body,
            error: None,
            client: None,
            node: None,
            extra: Extra::default(),
        };
        Self {
            sink,
            index: 0,
            time_ns: 0,
            is_stopped: false,
            is_silent: false,
            period_ns: 1_000_000_000 / rate.max(1),
            waited_ns: 0,
            leader_epochs: None,
            due_ns: u64::MAX,
            jitter: 0x9E37_79B9_7F4A_7C15,
            send: plain(Body::Send(Vec::new())),
            poll: plain(Body::Poll(None)),
            spare: Vec::new(),
            slots: vec![(0, 0); keys as usize],
            polls: 0,
        }
    }

    /// So many sends were begun.
    pub(crate) fn pace(&mut self, sends: u64) {
        self.due_ns = sends.saturating_add(1).saturating_mul(self.period_ns).saturating_add(self.waited_ns);
    }

    /// Nothing happens for so long.
    pub(crate) fn wait(&mut self, time_ns: u64) {
        self.waited_ns = self.waited_ns.saturating_add(time_ns);
        self.due_ns = self.due_ns.saturating_add(time_ns);
        self.time_ns = self.time_ns.saturating_add(time_ns);
    }

    /// There are no more sends.
    pub(crate) fn unhurried(&mut self) {
        self.due_ns = u64::MAX;
    }

    /// The index and the time of the next op: later than the one before, and by how much, varies.
    fn tick(&mut self) -> (u64, u64) {
        self.jitter = self.jitter.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let most_ns = if self.due_ns == u64::MAX { self.period_ns } else { self.due_ns.saturating_sub(self.time_ns) };
        self.time_ns += 1 + ((u128::from(self.jitter) * u128::from(most_ns)) >> 64) as u64;
        let index = self.index;
        self.index += 1;
        (index, self.time_ns)
    }

    fn hand(&mut self, op: &Op) {
        if !self.is_stopped && !(self.sink)(op) {
            self.is_stopped = true;
        }
    }

    pub(crate) fn sends(&mut self, process: u32, client: u32, op_type: OpType, sends: impl Iterator<Item = Send>) {
        let (index, time_ns) = self.tick();
        if self.is_silent {
            return;
        }
        // In place: an op is large, and this is done for every second line.
        let op = &mut self.send;
        (op.index, op.time_ns, op.op_type, op.process, op.client) = (index, time_ns, op_type, Process::Client(process), Some(client));
        if op.error.is_some() || matches!(op_type, OpType::Fail | OpType::Info) {
            op.error = error(op_type);
        }
        if let Body::Send(list) = &mut op.body {
            list.clear();
            list.extend(sends);
            if let Some(known) = &self.leader_epochs {
                op.extra.leader_epochs.clear();
                let acknowledged = list.iter().filter(|_| op_type == OpType::Ok);
                op.extra.leader_epochs.extend(acknowledged.map(|send| (send.key, known.get(&send.key).copied().unwrap_or(0))));
            }
        }
        if !self.is_stopped && !(self.sink)(&self.send) {
            self.is_stopped = true;
        }
    }

    pub(crate) fn poll_invoke(&mut self, process: u32) {
        self.line(process, None, OpType::Invoke, Body::Poll(None), Extra::default());
    }

    pub(crate) fn poll(&mut self, process: u32, op_type: OpType, records: impl Iterator<Item = Record>, extra: Extra) {
        let (index, time_ns) = self.tick();
        if self.is_silent {
            return;
        }
        let polled = self.polled(records);
        let mut op = std::mem::take(&mut self.poll);
        (op.index, op.time_ns, op.op_type, op.process) = (index, time_ns, op_type, Process::Client(process));
        (op.error, op.body, op.extra) = (error(op_type), Body::Poll(Some(polled)), extra);
        self.hand(&op);
        if let Body::Poll(Some(Polled(batches))) = &mut op.body {
            self.spare.extend(batches.drain(..).map(|(_, records)| records));
        }
        self.poll = op;
    }

    /// Records by key, keys in the order of their first.
    pub(crate) fn polled(&mut self, records: impl Iterator<Item = Record>) -> Polled {
        let mut batches: Vec<(Key, Vec<(Offset, Value)>)> = match &mut self.poll.body {
            Body::Poll(Some(Polled(batches))) => std::mem::take(batches),
            _ => Vec::new(),
        };
        self.polls += 1;
        for Record { key, offset, value } in records {
            let slot = &mut self.slots[key as usize];
            if slot.0 != self.polls {
                *slot = (self.polls, u32::try_from(batches.len()).unwrap_or(u32::MAX));
                let mut list = self.spare.pop().unwrap_or_default();
                list.clear();
                batches.push((key.into(), list));
            }
            batches[slot.1 as usize].1.push((offset, value));
        }
        Polled(batches)
    }

    pub(crate) fn line(&mut self, process: u32, client: Option<u32>, op_type: OpType, body: Body, extra: Extra) {
        let (index, time_ns) = self.tick();
        if self.is_silent {
            return;
        }
        let error = error(op_type);
        let op = Op { index, time_ns, process: Process::Client(process), op_type, body, error, client, node: None, extra };
        self.hand(&op);
    }

    /// Both lines of an op that succeeds at once.
    pub(crate) fn both(&mut self, process: u32, invoke: Body, ok: Body, extra: &Extra) {
        self.line(process, None, OpType::Invoke, invoke, extra.clone());
        self.line(process, None, OpType::Ok, ok, extra.clone());
    }

    pub(crate) fn nemesis(&mut self, f: &str, value: Json) {
        let (index, time_ns) = self.tick();
        if self.is_silent {
            return;
        }
        let body = Body::Nemesis { f: f.to_owned(), value };
        let (process, op_type) = (Process::Nemesis, OpType::Info);
        let op = Op { index, time_ns, process, op_type, body, error: None, client: None, node: None, extra: Extra::default() };
        self.hand(&op);
    }
}

fn error(op_type: OpType) -> Option<String> {
    match op_type {
        OpType::Invoke | OpType::Ok => None,
        OpType::Fail => Some("refused".to_owned()),
        OpType::Info => Some("timed out".to_owned()),
    }
}
