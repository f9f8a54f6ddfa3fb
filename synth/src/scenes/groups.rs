//! What a consumer group forgets, passes over or is given again.

use std::collections::BTreeMap;

use kchaos_core::{Body, Extra, Key, OpType, Value};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::{Scene, Shown};
use crate::groups::extra;

/// How long committed offsets are kept.
const RETENTION_MS: u64 = 600_000;
/// An output is this times the attempt, plus its input.
const MODULUS: Value = 1_000_000_000_000;

/// A group of its own, that only keeps offsets: commits one, and is given less.
pub(super) fn commit_regression(scene: &mut Scene<'_, '_>) -> Shown {
    let (_, last) = (scene.sent(), scene.sent());
    let (process, key) = (scene.stage.process(), Key::from(scene.key));
    let extra = Extra { group: Some("keeper".to_owned()), ..extra() };
    let commit = Body::Commit(BTreeMap::from([(key, last.1 + 1)]));
    scene.out.both(process, commit.clone(), commit, &extra);
    let fetch = |offsets| Body::Committed { keys: vec![key], offsets };
    scene.out.both(process, fetch(BTreeMap::new()), fetch(BTreeMap::from([(key, last.1)])), &extra);
    scene.shown(&[])
}

/// A group of its own commits, and nothing is left of it long before its time.
pub(super) fn offsets_expired(scene: &mut Scene<'_, '_>) -> Shown {
    let last = scene.sent();
    let (process, key) = (scene.stage.process(), Key::from(scene.key));
    let group = format!("keeper-{process}");
    scene.out.nemesis("offsets-retention", json!({"retention_ms": RETENTION_MS, "group": group}));
    let extra = Extra { group: Some(group), ..extra() };
    let commit = Body::Commit(BTreeMap::from([(key, last.1 + 1)]));
    scene.out.both(process, commit.clone(), commit, &extra);
    let fetch = || Body::Committed { keys: vec![key], offsets: BTreeMap::new() };
    scene.out.wait(RETENTION_MS * 1_000_000 / 2);
    scene.out.both(process, fetch(), fetch(), &extra);
    scene.shown(&[])
}

/// A member commits beyond a value that it was never given, and dies; who takes its place begins behind it.
pub(super) fn unprocessed(scene: &mut Scene<'_, '_>, rng: &mut ChaCha8Rng) -> Shown {
    let owner = settled_owner(scene, rng);
    let (value, offset) = scene.sent();
    scene.stage.world.group.commit_at(owner, scene.key, offset + 1, scene.out);
    scene.stage.world.group.crash(owner, &mut scene.stage.processes, rng, scene.out);
    // Somebody outside the group reads it: it is not lost.
    let reader = scene.stage.process();
    scene.poll(reader, OpType::Ok, &[(value, offset)]);
    scene.shown(&[value])
}

/// A member dies before it commits what it was given.
pub(super) fn redelivered(scene: &mut Scene<'_, '_>, rng: &mut ChaCha8Rng) -> Shown {
    let owner = settled_owner(scene, rng);
    scene.sent();
    let group = &mut scene.stage.world.group;
    group.poll_all(owner, scene.out);
    group.crash(owner, &mut scene.stage.processes, rng, scene.out);
    let owner = scene.stage.world.group.owner(scene.key);
    scene.stage.world.group.poll_all(owner, scene.out);
    scene.shown(&[])
}

/// A group of its own makes two outputs of one value, in the key of its inputs.
pub(super) fn processed_twice(scene: &mut Scene<'_, '_>) -> Shown {
    let (input, _) = scene.sent();
    let key = scene.key;
    let group = format!("maker-{}", scene.stage.process());
    scene.out.nemesis("outputs", json!({"group": group, "keys": {key.to_string(): key}, "modulus": MODULUS}));
    let outputs = [1, 2].map(|attempt| MODULUS * attempt + input);
    for output in outputs {
        let process = scene.stage.process();
        scene.invoke(process, &[output]);
        let offset = scene.append(output);
        scene.complete(process, OpType::Ok, &[(output, Some(offset))]);
    }
    scene.shown(&outputs)
}

/// The key's owner, who was given all there is and committed it.
fn settled_owner(scene: &mut Scene<'_, '_>, rng: &mut ChaCha8Rng) -> usize {
    let group = &mut scene.stage.world.group;
    let owner = group.owner(scene.key);
    group.settle(owner, rng, scene.out);
    group.poll_all(owner, scene.out);
    group.settle(owner, rng, scene.out);
    owner
}
