//! What transactions must not show, or must not hide.

use kchaos_core::{Body, Extra, MicroOp, OpType, Polled, Send, Value};

use super::{Scene, Shown};
use crate::txns::Txns;

/// `None` if it is no scene of transactions.
pub(super) fn play(name: &str, scene: &mut Scene<'_, '_>, txns: &mut Txns) -> Option<Shown> {
    Some(match name {
        "precommitted-read" => precommitted_read(scene),
        "dirty-read" => dirty_read(scene),
        "lso-passed" => lso_passed(scene, txns),
        "torn-transaction" => torn_transaction(scene),
        "G1b" => intermediate_read(scene),
        "G0" => write_cycle(scene),
        "G1c" => read_cycle(scene),
        _ => return None,
    })
}

/// A micro-op of a scene's transaction: a send with its key and offset, or a poll of such records.
pub(super) enum Part {
    Send(u32, Value, Option<i64>),
    Poll(Vec<(u32, Value, i64)>),
}

impl Scene<'_, '_> {
    pub(super) fn begin(&mut self, process: u32, parts: &[Part]) {
        let parts = parts.iter().map(|part| match part {
            Part::Send(key, value, _) => MicroOp::Send(Send { key: (*key).into(), value: *value, offset: None }),
            Part::Poll(_) => MicroOp::Poll(None),
        });
        self.out.line(process, Some(process), OpType::Invoke, Body::Txn(parts.collect()), Extra::default());
    }

    pub(super) fn commit(&mut self, process: u32, parts: &[Part], commit_time_ns: Option<u64>) {
        let parts = parts.iter().map(|part| match part {
            Part::Send(key, value, offset) => MicroOp::Send(Send { key: (*key).into(), value: *value, offset: *offset }),
            Part::Poll(records) => {
                let record = |(key, value, offset): &(u32, Value, i64)| ((*key).into(), vec![(*offset, *value)]);
                MicroOp::Poll(Some(Polled(records.iter().map(record).collect())))
            }
        });
        let extra = Extra { commit_time_ns, ..Extra::default() };
        self.out.line(process, Some(process), OpType::Ok, Body::Txn(parts.collect()), extra);
    }

    /// The marker of a transaction that ended.
    pub(super) fn mark(&mut self) {
        self.stage.world.hole(self.key);
    }
}

/// A transaction polls what it sent itself.
fn precommitted_read(scene: &mut Scene<'_, '_>) -> Shown {
    let (process, value, key) = (scene.stage.process(), scene.stage.value(), scene.key);
    let offset = scene.append(value);
    let parts = [Part::Send(key, value, Some(offset)), Part::Poll(vec![(key, value, offset)])];
    scene.begin(process, &parts);
    scene.mark();
    let commit_ns = scene.out.time_ns;
    scene.commit(process, &parts, Some(commit_ns));
    scene.shown(&[value])
}

/// A reader is given a value before its commit is asked for.
fn dirty_read(scene: &mut Scene<'_, '_>) -> Shown {
    let (process, value, key) = (scene.stage.process(), scene.stage.value(), scene.key);
    let offset = scene.append(value);
    let parts = [Part::Send(key, value, Some(offset))];
    scene.begin(process, &parts);
    let reader = scene.stage.process();
    scene.poll(reader, OpType::Ok, &[(value, offset)]);
    scene.mark();
    // Later than the poll, and no later than the line that is next.
    let commit_ns = scene.out.time_ns + 1;
    scene.commit(process, &parts, Some(commit_ns));
    scene.shown(&[value])
}

/// A reader passes an open transaction.
fn lso_passed(scene: &mut Scene<'_, '_>, txns: &mut Txns) -> Shown {
    let (process, value, key) = (scene.stage.process(), scene.stage.value(), scene.key);
    let txn = txns.id();
    let offset = scene.stage.world.append_in(key, value, txn);
    let parts = [Part::Send(key, value, Some(offset))];
    scene.begin(process, &parts);
    let beyond = scene.sent();
    let reader = scene.stage.process();
    scene.poll(reader, OpType::Ok, &[beyond]);
    let commit_ns = scene.out.time_ns + 1;
    scene.stage.world.end_txn(key, txn, true);
    scene.commit(process, &parts, Some(commit_ns));
    scene.shown(&[value])
}

/// Of two values one is in the log and one is not, and readers go on behind both.
fn torn_transaction(scene: &mut Scene<'_, '_>) -> Shown {
    let (process, there, missing) = (scene.stage.process(), scene.stage.value(), scene.stage.value());
    let (key, other) = (scene.key, scene.stage.other_key(scene.key));
    let at_there = scene.stage.world.append(other, there);
    let at_missing = scene.stage.world.hole(key);
    let parts = [Part::Send(other, there, Some(at_there)), Part::Send(key, missing, Some(at_missing))];
    scene.begin(process, &parts);
    scene.mark();
    let commit_ns = scene.out.time_ns;
    scene.commit(process, &parts, Some(commit_ns));
    let next = scene.sent();
    let reader = scene.stage.process();
    scene.poll(reader, OpType::Ok, &[next]);
    scene.shown(&[missing])
}

/// `G1b`: one poll leaves out a value of a transaction and returns what stands behind it.
fn intermediate_read(scene: &mut Scene<'_, '_>) -> Shown {
    let (process, first, hidden, key) = (scene.stage.process(), scene.stage.value(), scene.stage.value(), scene.key);
    let (at_first, at_hidden) = (scene.append(first), scene.append(hidden));
    let parts = [Part::Send(key, first, Some(at_first)), Part::Send(key, hidden, Some(at_hidden))];
    scene.begin(process, &parts);
    scene.mark();
    let commit_ns = scene.out.time_ns;
    scene.commit(process, &parts, Some(commit_ns));
    let last = scene.sent();
    let reader = scene.stage.process();
    scene.poll(reader, OpType::Ok, &[(first, at_first), last]);
    scene.shown(&[hidden])
}

/// `G0`: two transactions, of which each wrote before the other.
fn write_cycle(scene: &mut Scene<'_, '_>) -> Shown {
    let [one, two] = [(); 2].map(|()| scene.stage.process());
    let [a, b, c, d] = [(); 4].map(|()| scene.stage.value());
    let (x, y) = (scene.key, scene.stage.other_key(scene.key));
    let world = &mut scene.stage.world;
    let (at_a, at_c, at_d, at_b) = (world.append(x, a), world.append(x, c), world.append(y, d), world.append(y, b));
    let first = [Part::Send(x, a, Some(at_a)), Part::Send(y, b, Some(at_b))];
    let second = [Part::Send(x, c, Some(at_c)), Part::Send(y, d, Some(at_d))];
    scene.begin(one, &first);
    scene.begin(two, &second);
    scene.mark();
    let commit_ns = scene.out.time_ns;
    scene.commit(one, &first, Some(commit_ns));
    scene.commit(two, &second, Some(commit_ns));
    scene.shown(&[a, b, c, d])
}

/// `G1c`: two transactions, of which each polled what the other wrote. Neither tells when it asked for its commit.
fn read_cycle(scene: &mut Scene<'_, '_>) -> Shown {
    let [one, two] = [(); 2].map(|()| scene.stage.process());
    let [a, b] = [(); 2].map(|()| scene.stage.value());
    let (x, y) = (scene.key, scene.stage.other_key(scene.key));
    let (at_a, at_b) = (scene.stage.world.append(x, a), scene.stage.world.append(y, b));
    let first = [Part::Send(x, a, Some(at_a)), Part::Poll(vec![(y, b, at_b)])];
    let second = [Part::Send(y, b, Some(at_b)), Part::Poll(vec![(x, a, at_a)])];
    scene.begin(one, &first);
    scene.begin(two, &second);
    scene.commit(one, &first, None);
    scene.commit(two, &second, None);
    scene.shown(&[a, b])
}
