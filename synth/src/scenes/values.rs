//! What is lost, doubled or made up, and what a reader passes over or is given again.

use kchaos_core::OpType;

use super::{Scene, Shown};

/// Acknowledged at an offset that stays empty, and readers go on behind it.
pub(super) fn lost_write(scene: &mut Scene<'_, '_>) -> Shown {
    let (process, lost) = (scene.stage.process(), scene.stage.value());
    scene.invoke(process, &[lost]);
    let offset = scene.stage.world.hole(scene.key);
    scene.complete(process, OpType::Ok, &[(lost, Some(offset))]);
    let next = scene.sent();
    let reader = scene.stage.process();
    scene.poll(reader, OpType::Ok, &[next]);
    scene.shown(&[lost])
}

/// Acknowledged, without an offset, and nowhere.
pub(super) fn unseen(scene: &mut Scene<'_, '_>) -> Shown {
    let (process, value) = (scene.stage.process(), scene.stage.value());
    scene.invoke(process, &[value]);
    scene.complete(process, OpType::Ok, &[(value, None)]);
    scene.shown(&[value])
}

pub(super) fn duplicate(scene: &mut Scene<'_, '_>) -> Shown {
    let first = scene.sent();
    let again = (first.0, scene.append(first.0));
    let reader = scene.stage.process();
    scene.poll(reader, OpType::Ok, &[first, again]);
    scene.shown(&[first.0])
}

/// A poll whose outcome nobody knows shows another value where one was acknowledged.
pub(super) fn inconsistent_offsets(scene: &mut Scene<'_, '_>) -> Shown {
    let (process, other) = (scene.stage.process(), scene.stage.value());
    scene.invoke(process, &[other]);
    let (value, offset) = scene.sent();
    scene.complete(process, OpType::Info, &[(other, None)]);
    let reader = scene.stage.process();
    scene.poll(reader, OpType::Info, &[(other, offset)]);
    scene.shown(&[value, other])
}

pub(super) fn phantom(scene: &mut Scene<'_, '_>) -> Shown {
    let value = scene.stage.value();
    let offset = scene.append(value);
    let reader = scene.stage.process();
    scene.poll(reader, OpType::Ok, &[(value, offset)]);
    scene.shown(&[value])
}

pub(super) fn read_before_send(scene: &mut Scene<'_, '_>) -> Shown {
    let (process, value) = (scene.stage.process(), scene.stage.value());
    let offset = scene.append(value);
    let reader = scene.stage.process();
    scene.poll(reader, OpType::Ok, &[(value, offset)]);
    scene.invoke(process, &[value]);
    scene.complete(process, OpType::Ok, &[(value, Some(offset))]);
    scene.shown(&[value])
}

/// `G1a`: its send failed, and it is in the log.
pub(super) fn aborted_read(scene: &mut Scene<'_, '_>) -> Shown {
    let (process, value) = (scene.stage.process(), scene.stage.value());
    scene.invoke(process, &[value]);
    scene.complete(process, OpType::Fail, &[(value, None)]);
    let offset = scene.append(value);
    let reader = scene.stage.process();
    scene.poll(reader, OpType::Ok, &[(value, offset)]);
    scene.shown(&[value])
}

pub(super) fn poll_skip(scene: &mut Scene<'_, '_>) -> Shown {
    let (first, skipped, last) = (scene.sent(), scene.sent(), scene.sent());
    let reader = scene.stage.process();
    scene.poll(reader, OpType::Ok, &[first]);
    scene.poll(reader, OpType::Ok, &[last]);
    scene.shown(&[skipped.0])
}

/// The last record once more.
pub(super) fn nonmonotonic_poll(scene: &mut Scene<'_, '_>) -> Shown {
    let (first, last) = (scene.sent(), scene.sent());
    let reader = scene.stage.process();
    scene.poll(reader, OpType::Ok, &[first, last]);
    scene.poll(reader, OpType::Ok, &[last]);
    scene.shown(&[])
}

pub(super) fn int_poll_skip(scene: &mut Scene<'_, '_>) -> Shown {
    let (first, skipped, last) = (scene.sent(), scene.sent(), scene.sent());
    let reader = scene.stage.process();
    scene.poll(reader, OpType::Ok, &[first, last]);
    scene.shown(&[skipped.0])
}

pub(super) fn int_nonmonotonic_poll(scene: &mut Scene<'_, '_>) -> Shown {
    let (first, last) = (scene.sent(), scene.sent());
    let reader = scene.stage.process();
    scene.poll(reader, OpType::Ok, &[first, last, last]);
    scene.shown(&[])
}

/// Two consumers who are told no offsets, or their positions would accuse them of more.
pub(super) fn total_order_disagreement(scene: &mut Scene<'_, '_>) -> Shown {
    let (first, second) = (scene.sent().0, scene.sent().0);
    let known = scene.stage.bare.get(&scene.key).copied();
    let (one, other) = known.unwrap_or_else(|| (scene.stage.process(), scene.stage.process()));
    // Always the same two of a key: a checker holds all against the first that it met.
    scene.stage.bare.insert(scene.key, (one, other));
    scene.poll(one, OpType::Ok, &[(first, -1), (second, -1)]);
    scene.poll(other, OpType::Ok, &[(second, -1), (first, -1)]);
    scene.shown(&[first, second])
}
