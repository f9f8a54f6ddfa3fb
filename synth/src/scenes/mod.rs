//! Anomalies, each a scene that is played when nothing is in flight: by clients of its own, in one key (two, where it needs two), at the
//! end of the log. What it appends stays in the log, for all readers.

mod groups;
mod sends;
mod txns;
mod values;

use std::collections::HashMap;

use kchaos_core::{Extra, Offset, OpType, Send, Value};
use rand_chacha::ChaCha8Rng;

use crate::draw::draw;
use crate::out::{Out, Record};
use crate::registers::{Register, Registers};
use crate::txns::Txns;
use crate::world::World;

/// What scenes are played on.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) chooser: ChaCha8Rng,
    keys: u32,
    pub(crate) processes: u32,
    pub(crate) next_value: Value,
    /// By key: two consumers that are never told offsets.
    bare: HashMap<u32, (u32, u32)>,
}

/// What an anomaly can be known by.
pub(crate) struct Shown {
    pub(crate) key: u32,
    pub(crate) values: Vec<Value>,
}

impl Stage {
    pub(crate) fn new(world: World, chooser: ChaCha8Rng, keys: u32, processes: u32) -> Self {
        Self { world, chooser, keys, processes, next_value: 0, bare: HashMap::new() }
    }

    /// A new process, which is a client of its own.
    pub(crate) fn process(&mut self) -> u32 {
        self.processes += 1;
        self.processes - 1
    }

    fn value(&mut self) -> Value {
        self.next_value += 1;
        self.next_value - 1
    }

    fn key(&mut self) -> u32 {
        draw(&mut self.chooser, self.keys as usize) as u32
    }

    /// Another than this, if there is one.
    fn other_key(&mut self, key: u32) -> u32 {
        let others = self.keys.saturating_sub(1);
        if others == 0 { key } else { (key + 1 + draw(&mut self.chooser, others as usize) as u32) % self.keys }
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
        Shown { key: self.key, values: values.to_vec() }
    }
}

/// Plays the scene of this name. What its workload cannot carry was refused before.
pub(crate) fn play(name: &str, stage: &mut Stage, txns: Option<&mut Txns>, rng: &mut ChaCha8Rng, out: &mut Out<'_>) -> Shown {
    let key = stage.key();
    let mut scene = Scene { stage, out, key };
    let scene = &mut scene;
    if let Some(txns) = txns
        && let Some(shown) = txns::play(name, scene, txns)
    {
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
        "unprocessed" => groups::unprocessed(scene, rng),
        "redelivered" => groups::redelivered(scene, rng),
        _ => scene.shown(&[]),
    }
}

/// `nonlinearizable`: of two writes one after the other, the later has the older version; or one session reads, and then reads what was before.
pub(crate) fn register(stage: &mut Stage, registers: &mut Registers, out: &mut Out<'_>) -> Shown {
    let key = stage.key();
    let (first, second) = (stage.value(), stage.value());
    let (writer, other) = (stage.process(), stage.process());
    let Register { version, .. } = registers.register(key);
    if stage.coin() {
        registers.write(key, first, version + 2, writer, out);
        registers.write(key, second, version + 1, other, out);
        // The register goes on from the greater.
        registers.write(key, first, version + 3, writer, out);
    } else {
        registers.write(key, first, version + 1, writer, out);
        let before = registers.register(key);
        registers.write(key, second, version + 2, writer, out);
        registers.read(key, registers.register(key), other, out);
        registers.read(key, before, other, out);
    }
    Shown { key, values: vec![first, second] }
}
