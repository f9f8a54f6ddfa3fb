//! What ZooKeeper must not show a session.

use serde_json::json;

use super::{Scene, Shown};
use crate::registers::{Register, Registers};

/// `None` if it is no scene of registers.
pub(super) fn play(name: &str, scene: &mut Scene<'_, '_>, registers: &mut Registers) -> Option<Shown> {
    Some(match name {
        "nonlinearizable" => nonlinearizable(scene, registers),
        "watch-violation" => watch_violation(scene, registers),
        "ephemeral-violation" => ephemeral_violation(scene, registers),
        "sequence-violation" => sequence_violation(scene, registers),
        _ => return None,
    })
}

/// Of two writes one after the other, the later has the older version; or one session reads, and then reads what was before.
fn nonlinearizable(scene: &mut Scene<'_, '_>, registers: &mut Registers) -> Shown {
    let Scene { stage, out, key } = scene;
    let (key, first, second) = (*key, stage.value(), stage.value());
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
    scene.shown(&[first, second])
}

/// A watch that its session is told of twice; or of which it is told too late, or never: it has read what the change left.
fn watch_violation(scene: &mut Scene<'_, '_>, registers: &mut Registers) -> Shown {
    let (session, writer, value) = (scene.stage.process(), scene.stage.process(), scene.stage.value());
    let (is_doubled, is_lost) = (scene.stage.coin(), scene.stage.coin());
    let Scene { out, key, .. } = scene;
    let key = *key;
    let held = registers.register(key);
    registers.read(key, held, session, out);
    // A watch is known by the session's number: it sets one only.
    out.nemesis("watch", json!({"watch": session, "event": "set", "client": session, "key": key, "version": held.version}));
    registers.write(key, value, held.version + 1, writer, out);
    let zxid = registers.zxid();
    let fired = || json!({"watch": session, "event": "fired", "zxid": zxid});
    if is_doubled {
        out.nemesis("watch", fired());
        out.nemesis("watch", fired());
    } else {
        registers.read(key, registers.register(key), session, out);
        if !is_lost {
            out.nemesis("watch", fired());
        }
    }
    scene.shown(&[])
}

/// An ephemeral node that is gone while its session lives, or that stays when its session is closed.
fn ephemeral_violation(scene: &mut Scene<'_, '_>, registers: &mut Registers) -> Shown {
    let session = scene.stage.process();
    let node = format!("/workers/{session}");
    let out = &mut *scene.out;
    let created = registers.tick();
    out.nemesis("ephemeral", json!({"node": node, "event": "created", "client": session, "zxid": created}));
    let later = registers.tick();
    if scene.stage.coin() {
        out.nemesis("ephemeral", json!({"node": node, "event": "absent", "zxid": later}));
        out.nemesis("session", json!({"client": session, "event": "alive", "zxid": registers.tick()}));
    } else {
        out.nemesis("session", json!({"client": session, "event": "closed", "zxid": later}));
        out.nemesis("ephemeral", json!({"node": node, "event": "seen", "client": session, "zxid": registers.tick()}));
    }
    Shown { key: None, values: Vec::new() }
}

/// A sequential node with a number that another has, that is less than one known before, or that is gone when all are listed.
fn sequence_violation(scene: &mut Scene<'_, '_>, registers: &mut Registers) -> Shown {
    let parent = format!("/locks/{}", scene.stage.process());
    let (is_doubled, is_late) = (scene.stage.coin(), scene.stage.coin());
    let out = &mut *scene.out;
    let mut made = |ask: i64, number: i64| {
        out.nemesis("sequential", json!({"parent": parent, "event": "asked", "ask": ask}));
        out.nemesis("sequential", json!({"parent": parent, "event": "created", "ask": ask, "number": number, "zxid": registers.tick()}));
    };
    made(1, 7);
    made(2, if is_doubled { 7 } else { 8 - 2 * i64::from(is_late) });
    if !is_doubled && !is_late {
        out.nemesis("sequential", json!({"parent": parent, "event": "listed", "zxid": registers.zxid(), "numbers": [7]}));
    }
    Shown { key: None, values: Vec::new() }
}
