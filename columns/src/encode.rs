//! Ops into the columns of one block.
//!
//! Each number is written as what a prediction left over: the next offset of its key, the value that the open op named. A reader makes the same
//! predictions from what it has already read of the block, and of nothing else, so that every block stands alone.

use std::collections::BTreeMap;

use kchaos_core::{Body, Extra, Key, MicroOp, Op, OpType, Polled, Process, Send};

use crate::kind::{Kind, Shape};
use crate::layout::{COLUMNS, Head, Id, KINDS_MAX, KeyState};
use crate::table::{Hashing, Seeded, Texts};

/// What stands before the fields beside an op, so that they are read as an op's.
pub(crate) const BESIDE_PREFIX: &str = r#"{"index":0,"time":0,"process":0,"type":"info","f":"crash","value":null"#;

/// The columns of the block that is being filled.
pub(crate) struct Encoder {
    pub(crate) head: Head,
    pub(crate) columns: Vec<Vec<i64>>,
    /// The values again, predicted over all keys together: the shorter of the two is kept.
    pub(crate) values_together: Vec<i64>,
    /// The offsets and their start again, predicted from values.
    pub(crate) offsets_by_value: Vec<i64>,
    pub(crate) key_shift: Vec<i64>,
    pub(crate) texts: Texts,
    pub(crate) json: Vec<u8>,
    kinds: Hashing<Kind, i64>,
    actors: Hashing<ActorRow, u32>,
    open: Vec<Open>,
    /// Keys and values of open lists: each actor knows its range.
    open_sends: Vec<(u32, i64)>,
    keys: Hashing<Key, u32>,
    states: Vec<State>,
    next_value: i64,
    last_time_ns: u64,
    last_intended_ns: Option<u64>,
    other_node: i64,
    last_epoch: i64,
    line: String,
}

/// Process (-1 is the nemesis), client and one, isolation and group as texts' numbers and one.
type ActorRow = [i64; 4];

#[derive(Clone, Default)]
struct Open {
    key: u32,
    value: i64,
    intended_ns: u64,
    sends: std::ops::Range<usize>,
}

#[derive(Clone, Copy, Default)]
struct State {
    known: KeyState,
    shift: i64,
    has_value: bool,
    has_ack: bool,
    has_poll: bool,
}

/// How many records a block counts for this op.
pub(crate) fn records(op: &Op) -> usize {
    let polled =
        |polled: &Option<Polled>| polled.iter().flat_map(|polled| &polled.0).map(|(_, records)| records.len() + 1).sum::<usize>() + 1;
    match &op.body {
        Body::Send(sends) => sends.len(),
        Body::Poll(one) => polled(one),
        Body::Txn(parts) => parts.iter().map(|part| if let MicroOp::Poll(one) = part { polled(one) } else { 1 }).sum(),
        _ => 0,
    }
}

impl Encoder {
    pub(crate) fn new() -> Self {
        let seed = Seeded::default();
        Self {
            head: Head::default(),
            columns: vec![Vec::new(); COLUMNS],
            values_together: Vec::new(),
            offsets_by_value: Vec::new(),
            key_shift: Vec::new(),
            texts: Texts::default(),
            json: Vec::new(),
            kinds: Hashing::with_hasher(seed.clone()),
            actors: Hashing::with_hasher(seed.clone()),
            open: Vec::new(),
            open_sends: Vec::new(),
            keys: Hashing::with_hasher(seed),
            states: Vec::new(),
            next_value: 0,
            last_time_ns: 0,
            last_intended_ns: None,
            other_node: 0,
            last_epoch: 0,
            line: String::new(),
        }
    }

    /// Empties it for the next block, and keeps its memory.
    pub(crate) fn clear(&mut self) {
        self.columns.iter_mut().for_each(Vec::clear);
        for list in [&mut self.values_together, &mut self.offsets_by_value, &mut self.key_shift] {
            list.clear();
        }
        self.texts.clear();
        self.json.clear();
        self.kinds.clear();
        self.actors.clear();
        self.open.clear();
        self.open_sends.clear();
        self.keys.clear();
        self.states.clear();
        (self.head, self.next_value, self.last_time_ns, self.last_intended_ns) = (Head::default(), 0, 0, None);
        (self.other_node, self.last_epoch) = (0, 0);
    }

    pub(crate) fn push(&mut self, op: &Op) {
        if self.head.ops == 0 {
            (self.head.first_index, self.head.first_time_ns, self.last_time_ns) = (op.index, op.time_ns, op.time_ns);
        }
        self.head.ops += 1;
        let time = op.time_ns.wrapping_sub(self.last_time_ns) as i64;
        self.put(Id::Time, time);
        self.last_time_ns = op.time_ns;
        if !self.push_packed(op) {
            self.push_json(op);
        }
    }

    fn put(&mut self, id: Id, value: i64) {
        self.columns[id as usize].push(value);
    }

    fn push_json(&mut self, op: &Op) {
        let kind = Kind::new(op.op_type, Shape::Json, 0);
        // Kept free for it: see `kind_number`.
        let number = self.kind_number(kind).unwrap_or(0);
        self.put(Id::Kind, number);
        self.put(Id::Actor, 0);
        self.line.clear();
        op.write_json(&mut self.line);
        // The columns have the index and the time, which come first.
        let start = self.line.match_indices(',').nth(1).map_or(0, |(comma, _)| comma + 1);
        self.columns[Id::JsonLengths as usize].push((self.line.len() - start) as i64);
        self.json.extend_from_slice(&self.line.as_bytes()[start..]);
    }

    /// The kind's row in the block's table. The last four rows are for JSON, of each type.
    fn kind_number(&mut self, kind: Kind) -> Option<i64> {
        if let Some(number) = self.kinds.get(&kind) {
            return Some(*number);
        }
        let rows = self.columns[Id::Kinds as usize].len();
        if kind.shape() != Shape::Json && rows + 4 > KINDS_MAX {
            return None;
        }
        self.kinds.insert(kind, rows as i64);
        self.put(Id::Kinds, i64::from(kind.0));
        Some(rows as i64)
    }

    /// `false` if the op is none that has columns; nothing was written then.
    fn push_packed(&mut self, op: &Op) -> bool {
        let (shape, done) = match &op.body {
            Body::Send(sends) => match sends.as_slice() {
                [send] => (Shape::Send, send.offset.is_some()),
                _ => (Shape::Sends, false),
            },
            Body::Poll(polled) => (Shape::Poll, polled.is_some()),
            Body::Txn(_) => (Shape::Txn, false),
            _ => return false,
        };
        let actor = self.actor(op) as usize;
        let mut flags = if done { Kind::DONE } else { 0 };
        if op.op_type.is_completion() && self.is_as_open(op, actor) {
            flags |= Kind::AS_OPEN;
        }
        let beside = self.decorations(op, actor, &mut flags);
        let Some(kind) = self.kind_number(Kind::new(op.op_type, shape, flags)) else { return false };
        self.put(Id::Kind, kind);
        self.put(Id::Actor, actor as i64);
        let has = |flag| flags & flag != 0;
        let node_key = self.body(op, actor, flags);
        if let Some(intended_ns) = op.extra.intended_ns.filter(|_| !has(Kind::INTENDED_AS_OPEN)) {
            let last = *self.last_intended_ns.get_or_insert_with(|| {
                self.head.first_intended_ns = intended_ns;
                intended_ns
            });
            self.put(Id::Intended, intended_ns.wrapping_sub(last) as i64);
            self.last_intended_ns = Some(intended_ns);
            self.open[actor].intended_ns = intended_ns;
        }
        if let Some(node) = &op.node {
            let number = self.texts.number(node) + 1;
            let last = node_key.map_or(&mut self.other_node, |key| &mut self.states[key as usize].known.node);
            let code = if *last == number { 0 } else { number };
            *last = number;
            self.put(Id::Node, code);
        }
        if let Some(commit_ns) = op.extra.commit_time_ns {
            self.put(Id::CommitTime, commit_ns.wrapping_sub(op.time_ns) as i64);
        }
        if let Some(error) = &op.error {
            let number = self.texts.number(error);
            self.put(Id::Error, number);
        }
        if let Some(extra) = beside {
            self.push_beside(extra);
        }
        true
    }

    /// Adds the flags of what stands beside the op, and gives what of it must be JSON.
    fn decorations(&self, op: &Op, actor: usize, flags: &mut u32) -> Option<Extra> {
        let extra = &op.extra;
        let epochs = !extra.leader_epochs.is_empty() && is_of_its_keys(&extra.leader_epochs, &op.body);
        let rest = Extra {
            leader_epochs: if epochs { BTreeMap::new() } else { extra.leader_epochs.clone() },
            rebalance_log: extra.rebalance_log.clone(),
            corrupt: extra.corrupt.clone(),
            version: extra.version,
            zxid: extra.zxid,
            reset: extra.reset.clone(),
            ..Extra::default()
        };
        let is_json = rest != Extra::default();
        let as_open = extra.intended_ns == Some(self.open[actor].intended_ns);
        for (is_so, flag) in [
            (extra.intended_ns.is_some() && !as_open, Kind::INTENDED),
            (as_open, Kind::INTENDED_AS_OPEN),
            (op.node.is_some(), Kind::NODE),
            (extra.is_final, Kind::FINAL),
            (extra.commit_time_ns.is_some(), Kind::COMMIT_TIME),
            (op.error.is_some(), Kind::ERROR),
            (epochs, Kind::EPOCHS),
            (is_json, Kind::BESIDE),
        ] {
            *flags |= if is_so { flag } else { 0 };
        }
        is_json.then_some(rest)
    }

    fn push_beside(&mut self, extra: Extra) {
        let (process, op_type) = (Process::Client(0), OpType::Info);
        let op = Op { index: 0, time_ns: 0, process, op_type, body: Body::Crash, error: None, client: None, node: None, extra };
        self.line.clear();
        op.write_json(&mut self.line);
        let text = self.line.strip_prefix(BESIDE_PREFIX).unwrap_or("}");
        self.columns[Id::JsonLengths as usize].push(text.len() as i64);
        self.json.extend_from_slice(text.as_bytes());
    }

    fn actor(&mut self, op: &Op) -> u32 {
        let process = match op.process {
            Process::Client(number) => i64::from(number),
            Process::Nemesis => -1,
        };
        let mut text = |text: &Option<String>| text.as_ref().map_or(0, |text| self.texts.number(text) + 1);
        let row = [process, op.client.map_or(0, |client| i64::from(client) + 1), text(&op.extra.isolation), text(&op.extra.group)];
        let next = self.open.len() as u32;
        let number = *self.actors.entry(row).or_insert(next);
        if number == next {
            self.open.push(Open::default());
            for (id, value) in [Id::ActorProcess, Id::ActorClient, Id::ActorIsolation, Id::ActorGroup].into_iter().zip(row) {
                self.put(id, value);
            }
        }
        number
    }

    fn key(&mut self, key: Key) -> u32 {
        let next = self.states.len() as u32;
        let number = *self.keys.entry(key).or_insert(next);
        if number == next {
            self.states.push(State::default());
            self.put(Id::Keys, key);
            for id in [Id::KeyValue, Id::KeyAck, Id::KeyPoll, Id::KeyPolledValue] {
                self.put(id, 0);
            }
            self.key_shift.push(0);
        }
        number
    }

    /// Whether the op names what its actor's open op named.
    fn is_as_open(&self, op: &Op, actor: usize) -> bool {
        let open = &self.open[actor];
        let is_key = |number: u32, key: Key| self.columns[Id::Keys as usize].get(number as usize) == Some(&key);
        let is_send = |(key, value): &(u32, i64), send: &Send| *value == send.value && is_key(*key, send.key);
        let mut left = self.open_sends[open.sends.clone()].iter();
        let mut is_next = |send: &Send| left.next().is_some_and(|open| is_send(open, send));
        match &op.body {
            Body::Send(sends) if sends.len() == 1 => is_send(&(open.key, open.value), &sends[0]),
            Body::Send(sends) => sends.iter().all(is_next) && left.next().is_none(),
            Body::Txn(parts) => parts.iter().all(|part| !matches!(part, MicroOp::Send(send) if !is_next(send))) && left.next().is_none(),
            _ => false,
        }
    }

    /// The key whose node is meant, if it is one key's.
    fn body(&mut self, op: &Op, actor: usize, flags: u32) -> Option<u32> {
        let invoked = !op.op_type.is_completion();
        let as_open = flags & Kind::AS_OPEN != 0;
        let epochs = (flags & Kind::EPOCHS != 0).then_some(&op.extra.leader_epochs);
        self.head.records += records(op) as u64;
        match &op.body {
            Body::Send(sends) if sends.len() == 1 => {
                let key = self.send(&sends[0], as_open, invoked);
                if invoked {
                    (self.open[actor].key, self.open[actor].value) = (key, sends[0].value);
                }
                return Some(key);
            }
            Body::Send(sends) => {
                let start = self.list(sends.len());
                for send in sends {
                    self.part(send, as_open, invoked);
                }
                self.opened(actor, start, invoked);
            }
            Body::Txn(parts) => {
                let start = self.list(parts.len());
                for part in parts {
                    match part {
                        MicroOp::Send(send) => self.part(send, as_open, invoked),
                        MicroOp::Poll(polled) => {
                            self.put(Id::Part, 2 + i64::from(polled.is_some()));
                            self.polled(polled.as_ref(), epochs);
                        }
                    }
                }
                self.opened(actor, start, invoked);
            }
            Body::Poll(polled) => self.polled(polled.as_ref(), epochs),
            _ => {}
        }
        None
    }

    fn list(&mut self, parts: usize) -> usize {
        self.put(Id::Parts, parts as i64);
        self.open_sends.len()
    }

    fn part(&mut self, send: &Send, as_open: bool, invoked: bool) {
        self.put(Id::Part, i64::from(send.offset.is_some()));
        let key = self.send(send, as_open, invoked);
        if invoked {
            self.open_sends.push((key, send.value));
        }
    }

    fn opened(&mut self, actor: usize, start: usize, invoked: bool) {
        if invoked {
            self.open[actor].sends = start..self.open_sends.len();
        }
    }

    fn send(&mut self, send: &Send, as_open: bool, invoked: bool) -> u32 {
        let Send { key, value, offset } = *send;
        let number = self.key(key);
        let row = number as usize;
        let state = &mut self.states[row];
        if !as_open {
            self.columns[Id::Key as usize].push(i64::from(number));
            if self.values_together.is_empty() {
                (self.head.first_value, self.next_value) = (value, value);
            }
            if !state.has_value {
                (state.has_value, state.known.value) = (true, value);
                self.columns[Id::KeyValue as usize][row] = value;
            }
            self.columns[Id::Value as usize].push(value.wrapping_sub(state.known.value));
            self.values_together.push(value.wrapping_sub(self.next_value));
            // What was invoked in an earlier block is behind: it tells nothing of the next.
            if invoked {
                (state.known.value, self.next_value) = (value.wrapping_add(1), value.wrapping_add(1));
            }
        }
        if let Some(offset) = offset {
            let shift = offset.wrapping_sub(value);
            if !state.has_ack {
                (state.has_ack, state.known.ack, state.shift) = (true, offset, shift);
                self.columns[Id::KeyAck as usize][row] = offset;
                self.key_shift[row] = shift;
            }
            self.columns[Id::Offset as usize].push(offset.wrapping_sub(state.known.ack));
            self.offsets_by_value.push(shift.wrapping_sub(state.shift));
            (state.known.ack, state.shift) = (offset.wrapping_add(1), shift);
        }
        number
    }

    fn polled(&mut self, polled: Option<&Polled>, epochs: Option<&BTreeMap<Key, i32>>) {
        let Some(Polled(batches)) = polled else { return };
        self.put(Id::Batches, batches.len() as i64);
        for (key, records) in batches {
            let row = self.key(*key) as usize;
            self.put(Id::BatchKey, row as i64);
            let has_gaps = records.windows(2).any(|pair| pair[1].0 != pair[0].0.wrapping_add(1));
            self.put(Id::Length, (records.len() as i64) << 1 | i64::from(has_gaps));
            let state = &mut self.states[row];
            if let Some(epochs) = epochs {
                let epoch = epochs.get(key).map_or(0, |epoch| i64::from(*epoch));
                self.columns[Id::Epoch as usize].push(epoch - self.last_epoch);
                self.last_epoch = epoch;
            }
            let Some((first, value)) = records.first().copied() else { continue };
            if !state.has_poll {
                (state.has_poll, state.known.poll, state.known.polled_value) = (true, first, value);
                self.columns[Id::KeyPoll as usize][row] = first;
                self.columns[Id::KeyPolledValue as usize][row] = value;
            }
            // A reader that is ahead or behind is so in values too.
            let ahead = first.wrapping_sub(state.known.poll);
            self.columns[Id::First as usize].push(ahead);
            self.columns[Id::FirstValue as usize].push(value.wrapping_sub(state.known.polled_value).wrapping_sub(ahead));
            let (mut last_offset, mut last_value) = (first, value);
            for (offset, value) in &records[1..] {
                if has_gaps {
                    self.columns[Id::Gap as usize].push(offset.wrapping_sub(last_offset).wrapping_sub(1));
                }
                self.columns[Id::PolledValue as usize].push(value.wrapping_sub(last_value).wrapping_sub(1));
                (last_offset, last_value) = (*offset, *value);
            }
            (state.known.poll, state.known.polled_value) = (last_offset.wrapping_add(1), last_value.wrapping_add(1));
        }
    }
}

/// Whether there is an epoch for each polled key, and for no other.
fn is_of_its_keys(epochs: &BTreeMap<Key, i32>, body: &Body) -> bool {
    let batches: Vec<Key> = match body {
        Body::Poll(polled) => polled.iter().flat_map(|polled| &polled.0).map(|(key, _)| *key).collect(),
        Body::Txn(parts) => parts
            .iter()
            .filter_map(|part| if let MicroOp::Poll(polled) = part { polled.as_ref() } else { None })
            .flat_map(|polled| &polled.0)
            .map(|(key, _)| *key)
            .collect(),
        _ => return false,
    };
    batches.iter().all(|key| epochs.contains_key(key)) && epochs.keys().all(|key| batches.contains(key))
}
