//! Anomalies, each a scene that is played when nothing is in flight: by clients of its own, in one key (two, where it needs two), at the
//! end of the log. What it appends stays in the log, for all readers.

mod asked;
mod cluster;
mod cycles;
mod groups;
mod registers;
mod sends;
mod txns;
mod values;

use std::collections::HashMap;

use kchaos_core::{Extra, Offset, OpType, Send, Value};
use rand_chacha::ChaCha8Rng;

use crate::draw::draw;
use crate::observer::Observer;
use crate::out::{Out, Record};
use crate::registers::Registers;
use crate::txns::Txns;
use crate::world::World;

/// What scenes are played on.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) chooser: ChaCha8Rng,
    pub(crate) observer: Observer,
    pub(crate) processes: u32,
    pub(crate) next_value: Value,
    /// By key: two consumers that are never told offsets.
    bare: HashMap<u32, (u32, u32)>,
}

/// Whose history the scene is played in.
pub(crate) enum With<'c> {
    Producers,
    Txns(&'c mut Txns),
    Registers(&'c mut Registers),
}

/// What an anomaly can be known by.
pub(crate) struct Shown {
    pub(crate) key: Option<u32>,
    pub(crate) values: Vec<Value>,
}

impl Stage {
    pub(crate) fn new(world: World, chooser: ChaCha8Rng, observer: Observer, processes: u32) -> Self {
        Self { world, chooser, observer, processes, next_value: 0, bare: HashMap::new() }
    }

    /// A new process, which is a client of its own.
    pub(crate) fn process(&mut self) -> u32 {
        self.processes += 1;
        self.processes - 1
    }

    pub(crate) fn value(&mut self) -> Value {
        self.next_value += 1;
        self.next_value - 1
    }

    fn key(&mut self) -> u32 {
        draw(&mut self.chooser, self.observer.keys as usize) as u32
    }

    /// Another than this, if there is one.
    fn other_key(&mut self, key: u32) -> u32 {
        let others = self.observer.keys.saturating_sub(1);
        if others == 0 { key } else { (key + 1 + draw(&mut self.chooser, others as usize) as u32) % self.observer.keys }
    }

    fn coin(&mut self) -> bool {
        draw(&mut self.chooser, 2) == 0
    }
}

/// A scene in one key.
struct Scene<'s, 'o> {
    stage: &'s mut Stage,
    out: &'s mut Out<'o>,
    key: u32,
}

impl Scene<'_, '_> {
    fn end(&self) -> Offset {
        self.stage.world.end(self.key)
    }

    fn append(&mut self, value: Value) -> Offset {
        self.stage.world.append(self.key, value)
    }

    fn send(&self, value: Value, offset: Option<Offset>) -> Send {
        Send { key: self.key.into(), value, offset }
    }

    fn invoke(&mut self, process: u32, values: &[Value]) {
        let sends = values.iter().map(|value| self.send(*value, None)).collect::<Vec<_>>();
        self.out.sends(process, process, OpType::Invoke, sends.into_iter());
    }

    fn complete(&mut self, process: u32, op_type: OpType, sends: &[(Value, Option<Offset>)]) {
        let sends = sends.iter().map(|(value, offset)| self.send(*value, *offset)).collect::<Vec<_>>();
        self.out.sends(process, process, op_type, sends.into_iter());
    }

    /// A value that is sent, acknowledged and in the log, by a client of its own.
    fn sent(&mut self) -> (Value, Offset) {
        let (process, value) = (self.stage.process(), self.stage.value());
        self.invoke(process, &[value]);
        let offset = self.append(value);
        self.complete(process, OpType::Ok, &[(value, Some(offset))]);
        (value, offset)
    }

    /// A poll that returns these, in this order.
    fn poll(&mut self, process: u32, op_type: OpType, records: &[(Value, Offset)]) {
        let key = self.key;
        self.out.poll_invoke(process);
        let records = records.iter().map(|(value, offset)| Record { key, offset: *offset, value: *value });
        self.out.poll(process, op_type, records, Extra::default());
    }

    fn shown(&self, values: &[Value]) -> Shown {
        Shown { key: Some(self.key), values: values.to_vec() }
    }
}

/// Plays the scene of this name. What its workload cannot carry was refused before.
pub(crate) fn play(name: &str, stage: &mut Stage, with: With<'_>, rng: &mut ChaCha8Rng, out: &mut Out<'_>) -> Shown {
    let key = stage.key();
    let mut scene = Scene { stage, out, key };
    let scene = &mut scene;
    let own = match with {
        With::Producers => None,
        With::Txns(txns) => txns::play(name, scene, txns).or_else(|| cycles::play(name, scene)),
        With::Registers(registers) => registers::play(name, scene, registers),
    };
    if let Some(shown) = own.or_else(|| cluster::play(name, scene)).or_else(|| asked::play(name, scene)) {
        return shown;
    }
    match name {
        "lost-write" => values::lost_write(scene),
        "unseen" => values::unseen(scene),
        "duplicate" => values::duplicate(scene),
        "inconsistent-offsets" => values::inconsistent_offsets(scene),
        "phantom" => values::phantom(scene),
        "read-before-send" => values::read_before_send(scene),
        "G1a" => values::aborted_read(scene),
        "poll-skip" => values::poll_skip(scene),
        "nonmonotonic-poll" => values::nonmonotonic_poll(scene),
        "int-poll-skip" => values::int_poll_skip(scene),
        "int-nonmonotonic-poll" => values::int_nonmonotonic_poll(scene),
        "total-order-disagreement" => values::total_order_disagreement(scene),
        "nonmonotonic-send" => sends::nonmonotonic_send(scene),
        "int-nonmonotonic-send" => sends::int_nonmonotonic_send(scene),
        "int-send-skip" => sends::int_send_skip(scene),
        "reordered" => sends::reordered(scene),
        "commit-regression" => groups::commit_regression(scene),
        "offsets-expired" => groups::offsets_expired(scene),
        "unprocessed" => groups::unprocessed(scene, rng),
        "redelivered" => groups::redelivered(scene, rng),
        "processed-twice" => groups::processed_twice(scene),
        _ => scene.shown(&[]),
    }
}
