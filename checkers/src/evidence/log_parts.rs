//! The parts of logs that examples speak of, as a second telling of the history fills them: what stands at an offset, and who read it.

use std::collections::{BTreeMap, HashMap};

use kchaos_core::{Body, Held, Key, MicroOp, Offset, OffsetLine, Op, OpType, Outcome, Polled, Process, Send, Sent, Value};

/// Offsets on either side of an accused one that are looked at.
pub(super) const SPAN: Offset = 16;
/// Of one part of a log. A history may have more; those that came first are kept.
const READERS_MAX: usize = 256;
/// At one offset.
const VALUES_MAX: usize = 8;

pub(super) struct Logs {
    keys: HashMap<Key, Log>,
    /// Acknowledged in a part, by key and value.
    acknowledged: HashMap<(Key, Value), Sent>,
}

#[derive(Default)]
struct Log {
    /// Ascending, without overlap.
    parts: Vec<Part>,
    /// How far each process is.
    places: HashMap<u32, Place>,
}

pub(super) struct Part {
    from: Offset,
    to: Offset,
    pub(super) held: BTreeMap<Offset, Vec<Value>>,
    pub(super) readers: Vec<Reader>,
    pub(super) more_readers: u64,
}

#[derive(Clone, Copy)]
struct Place {
    /// How often it went back, or began anew.
    run: u32,
    last: Option<Offset>,
}

/// One process on one way up this part of the log.
pub(super) struct Reader {
    pub(super) process: u32,
    pub(super) run: u32,
    /// The last offset that it read before this part, or the first in it.
    pub(super) low: Offset,
    /// The last that it read, in this part or beyond.
    pub(super) high: Offset,
    pub(super) cells: BTreeMap<Offset, (u64, Value, Outcome)>,
}

impl Logs {
    /// `accused`: the offsets that the examples speak of.
    pub(super) fn new(accused: impl Iterator<Item = (Key, Offset)>) -> Self {
        let mut all: Vec<_> = accused.collect();
        all.sort_unstable();
        let mut keys: HashMap<Key, Log> = HashMap::new();
        for (key, offset) in all {
            let (from, to) = (offset.saturating_sub(SPAN), offset.saturating_add(SPAN));
            let parts = &mut keys.entry(key).or_default().parts;
            match parts.last_mut().filter(|part| part.to >= from) {
                Some(part) => part.to = to,
                None => parts.push(Part { from, to, held: BTreeMap::new(), readers: Vec::new(), more_readers: 0 }),
            }
        }
        Self { keys, acknowledged: HashMap::new() }
    }

    /// The part of the key's log around an accused offset.
    pub(super) fn part(&self, key: Key, offset: Offset) -> Option<&Part> {
        let log = self.keys.get(&key)?;
        log.part(offset).map(|at| &log.parts[at])
    }

    pub(super) fn update(&mut self, op: &Op) {
        if self.keys.is_empty() || !op.op_type.is_completion() {
            return;
        }
        match &op.body {
            Body::Send(sends) if op.op_type != OpType::Fail => sends.iter().for_each(|send| self.acknowledge(send, op)),
            Body::Poll(polled) => self.poll(polled.as_ref(), op),
            Body::Txn(all) => {
                for one in all {
                    match one {
                        // Whether an unknown transaction's offsets stand, nobody knows before they are read.
                        MicroOp::Send(send) if op.op_type == OpType::Ok => self.acknowledge(send, op),
                        MicroOp::Send(_) => {}
                        MicroOp::Poll(polled) => self.poll(polled.as_ref(), op),
                    }
                }
            }
            Body::Subscribe { .. } | Body::Crash => self.lose_the_place(op.process),
            _ => {}
        }
    }

    fn acknowledge(&mut self, send: &Send, op: &Op) {
        let (Some(offset), Some(log)) = (send.offset, self.keys.get_mut(&send.key)) else { return };
        if let Some(at) = log.part(offset) {
            log.parts[at].hold(offset, send.value);
            self.acknowledged.entry((send.key, send.value)).or_insert(Sent { op: op.index, outcome: Outcome::Acknowledged });
        }
    }

    fn poll(&mut self, polled: Option<&Polled>, op: &Op) {
        let Process::Client(process) = op.process else { return };
        for (key, records) in polled.iter().flat_map(|polled| &polled.0) {
            if let Some(log) = self.keys.get_mut(key) {
                for (offset, value) in records {
                    log.read(process, *offset, (op.index, *value, Outcome::from(op.op_type)));
                }
            }
        }
    }

    /// Where it reads next is not its own choice: what lies between was not passed over.
    fn lose_the_place(&mut self, process: Process) {
        let Process::Client(process) = process else { return };
        for log in self.keys.values_mut() {
            if let Some(place) = log.places.get_mut(&process) {
                *place = Place { run: place.run.saturating_add(1), last: None };
            }
        }
    }

    /// Who sent the values on these lines.
    pub(super) fn senders<'a>(self, lines: impl Iterator<Item = &'a OffsetLine>) -> Senders {
        let mut known = HashMap::new();
        for line in lines {
            for held in line.columns.iter().flat_map(|column| &column.held) {
                let id = (line.key, held.value);
                known.insert(id, self.acknowledged.get(&id).copied());
            }
        }
        let wanting = known.values().any(Option::is_none);
        Senders { known, wanting }
    }
}

impl Log {
    fn part(&self, offset: Offset) -> Option<usize> {
        let at = self.parts.partition_point(|part| part.to < offset);
        self.parts.get(at).filter(|part| part.from <= offset).map(|_| at)
    }

    fn read(&mut self, process: u32, offset: Offset, cell: (u64, Value, Outcome)) {
        let place = self.places.entry(process).or_insert(Place { run: 0, last: None });
        if place.last.is_some_and(|last| offset <= last) {
            *place = Place { run: place.run.saturating_add(1), last: None };
        }
        // The parts that it passed through since its last read, of which this one may be the last.
        let low = place.last.unwrap_or(offset);
        let first = self.parts.partition_point(|part| part.to < low);
        for part in self.parts[first..].iter_mut().take_while(|part| part.from <= offset) {
            part.read(process, place.run, low, offset, cell);
        }
        place.last = Some(offset);
    }
}

impl Part {
    pub(super) fn is_around(&self, offset: Offset) -> bool {
        (self.from..=self.to).contains(&offset)
    }

    fn hold(&mut self, offset: Offset, value: Value) {
        let held = self.held.entry(offset).or_default();
        if held.len() < VALUES_MAX && !held.contains(&value) {
            held.push(value);
        }
    }

    fn read(&mut self, process: u32, run: u32, low: Offset, offset: Offset, cell: (u64, Value, Outcome)) {
        let is_within = self.is_around(offset);
        if is_within {
            self.hold(offset, cell.1);
        }
        let at = match self.readers.iter().rposition(|reader| (reader.process, reader.run) == (process, run)) {
            Some(at) => at,
            None if self.readers.len() < READERS_MAX => {
                self.readers.push(Reader { process, run, low, high: offset, cells: BTreeMap::new() });
                self.readers.len() - 1
            }
            // Counted when it comes into this part.
            None => return self.more_readers += u64::from(low == offset || low < self.from),
        };
        let reader = &mut self.readers[at];
        reader.high = offset;
        if is_within {
            reader.cells.insert(offset, cell);
        }
    }
}

/// Who sent what stands on the lines.
pub(super) struct Senders {
    known: HashMap<(Key, Value), Option<Sent>>,
    wanting: bool,
}

impl Senders {
    /// Some are not known yet: tell the history again.
    pub(super) fn is_wanting(&self) -> bool {
        self.wanting
    }

    pub(super) fn update(&mut self, op: &Op) {
        let mut sent = |send: &Send| {
            let Some(known) = self.known.get_mut(&(send.key, send.value)) else { return };
            let outcome = Outcome::from(op.op_type);
            // What ended outranks what only began.
            if known.is_none_or(|known| known.outcome == Outcome::Open && outcome != Outcome::Open) {
                *known = Some(Sent { op: op.index, outcome });
            }
        };
        match &op.body {
            Body::Send(sends) => sends.iter().for_each(sent),
            Body::Txn(all) => {
                for one in all {
                    if let MicroOp::Send(send) = one {
                        sent(send);
                    }
                }
            }
            _ => {}
        }
    }

    pub(super) fn name(&self, line: &mut OffsetLine) {
        for Held { value, sent } in line.columns.iter_mut().flat_map(|column| &mut column.held) {
            *sent = self.known.get(&(line.key, *value)).copied().flatten();
        }
    }
}
