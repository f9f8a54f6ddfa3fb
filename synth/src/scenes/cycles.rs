//! Transactions that depend on each other in a circle, closed by the order of a process or of real time: a long one, and two short ones that
//! are over before it is.

use super::txns::Part;
use super::{Scene, Shown};

/// `None` if it is no such circle.
pub(super) fn play(name: &str, scene: &mut Scene<'_, '_>) -> Option<Shown> {
    Some(match name {
        "G0-process" => of_writes(scene, true),
        "G0-realtime" => of_writes(scene, false),
        "G1c-process" => of_reads(scene, true),
        "G1c-realtime" => of_reads(scene, false),
        _ => return None,
    })
}

/// The long one wrote after the later of the short ones, and before the earlier.
fn of_writes(scene: &mut Scene<'_, '_>, is_one_process: bool) -> Shown {
    let (long, earlier, later) = processes(scene, is_one_process);
    let [a, b, c, d] = [(); 4].map(|()| scene.stage.value());
    let (x, y) = (scene.key, scene.stage.other_key(scene.key));
    let world = &mut scene.stage.world;
    let (at_c, at_a, at_d, at_b) = (world.append(x, c), world.append(x, a), world.append(y, d), world.append(y, b));
    let around = [Part::Send(x, a, Some(at_a)), Part::Send(y, d, Some(at_d))];
    let (first, second) = ([Part::Send(y, b, Some(at_b))], [Part::Send(x, c, Some(at_c))]);
    scene.begin(long, &around);
    for (process, parts) in [(earlier, &first), (later, &second)] {
        scene.begin(process, parts);
        scene.commit(process, parts, Some(scene.out.time_ns));
    }
    scene.mark();
    scene.commit(long, &around, Some(scene.out.time_ns));
    scene.shown(&[a, b, c, d])
}

/// The earlier of the short ones polled what the long one wrote, and that polled what the later one wrote. None tells when it asked for its
/// commit.
fn of_reads(scene: &mut Scene<'_, '_>, is_one_process: bool) -> Shown {
    let (long, earlier, later) = processes(scene, is_one_process);
    let [a, b] = [(); 2].map(|()| scene.stage.value());
    let (x, y) = (scene.key, scene.stage.other_key(scene.key));
    let (at_a, at_b) = (scene.stage.world.append(x, a), scene.stage.world.append(y, b));
    let around = [Part::Send(x, a, Some(at_a)), Part::Poll(vec![(y, b, at_b)])];
    scene.begin(long, &around);
    for (process, parts) in [(earlier, [Part::Poll(vec![(x, a, at_a)])]), (later, [Part::Send(y, b, Some(at_b))])] {
        scene.begin(process, &parts);
        scene.commit(process, &parts, None);
    }
    scene.commit(long, &around, None);
    scene.shown(&[a, b])
}

fn processes(scene: &mut Scene<'_, '_>, is_one_process: bool) -> (u32, u32, u32) {
    let [long, earlier, later] = [(); 3].map(|()| scene.stage.process());
    (long, earlier, if is_one_process { earlier } else { later })
}
