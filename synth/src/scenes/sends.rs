//! What lands in another order than it was sent in.

use kchaos_core::OpType;

use super::{Scene, Shown};

/// The first is acknowledged without an offset, so that only readers can tell where it landed.
pub(super) fn nonmonotonic_send(scene: &mut Scene<'_, '_>) -> Shown {
    let (process, earlier, later) = (scene.stage.process(), scene.stage.value(), scene.stage.value());
    scene.invoke(process, &[earlier]);
    scene.complete(process, OpType::Ok, &[(earlier, None)]);
    scene.invoke(process, &[later]);
    let offset = scene.append(later);
    scene.complete(process, OpType::Ok, &[(later, Some(offset))]);
    let second = (earlier, scene.append(earlier));
    let reader = scene.stage.process();
    scene.poll(reader, OpType::Ok, &[(later, offset), second]);
    scene.shown(&[earlier, later])
}

/// The same inside one op.
pub(super) fn int_nonmonotonic_send(scene: &mut Scene<'_, '_>) -> Shown {
    let (process, earlier, later) = (scene.stage.process(), scene.stage.value(), scene.stage.value());
    scene.invoke(process, &[earlier, later]);
    let offset = scene.append(later);
    let second = (earlier, scene.append(earlier));
    scene.complete(process, OpType::Ok, &[(earlier, None), (later, Some(offset))]);
    let reader = scene.stage.process();
    scene.poll(reader, OpType::Ok, &[(later, offset), second]);
    scene.shown(&[earlier, later])
}

/// Somebody else's value between the two of one op.
pub(super) fn int_send_skip(scene: &mut Scene<'_, '_>) -> Shown {
    let (process, other) = (scene.stage.process(), scene.stage.process());
    let (first, between, last) = (scene.stage.value(), scene.stage.value(), scene.stage.value());
    scene.invoke(process, &[first, last]);
    scene.invoke(other, &[between]);
    let [at_first, at_between, at_last] = [first, between, last].map(|value| Some(scene.append(value)));
    scene.complete(other, OpType::Ok, &[(between, at_between)]);
    scene.complete(process, OpType::Ok, &[(first, at_first), (last, at_last)]);
    scene.shown(&[between])
}

/// Of one client, pipelined; or of two, one after the other.
pub(super) fn reordered(scene: &mut Scene<'_, '_>) -> Shown {
    let (process, other) = (scene.stage.process(), scene.stage.process());
    let (earlier, later) = (scene.stage.value(), scene.stage.value());
    let offset = scene.end();
    let is_one_client = scene.stage.coin();
    let client = if is_one_client { process } else { other };
    let ack = [scene.send(earlier, Some(offset + 1))];
    scene.invoke(process, &[earlier]);
    if !is_one_client {
        scene.out.sends(process, process, OpType::Ok, ack.into_iter());
    }
    let invoke = [scene.send(later, None)];
    scene.out.sends(other, client, OpType::Invoke, invoke.into_iter());
    if is_one_client {
        scene.out.sends(process, process, OpType::Ok, ack.into_iter());
    }
    let late = [scene.send(later, Some(offset))];
    scene.out.sends(other, client, OpType::Ok, late.into_iter());
    scene.append(later);
    scene.append(earlier);
    scene.shown(&[earlier, later])
}
