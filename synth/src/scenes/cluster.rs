//! What an observer of the cluster, or a harness, must not see.

use std::collections::BTreeMap;

use kchaos_core::{Body, Extra, Key, OpType};
use serde_json::json;

use super::{Scene, Shown};

/// Longer than any handover should take.
const TWO_CONTROLLERS_NS: u64 = 90_000_000_000;
/// How long is too long for a last stable offset, when transactions time out, and for how long this one stands.
const STALL_LIMIT_MS: u64 = 300_000;
const TRANSACTION_TIMEOUT_MS: u64 = 60_000;
const STALL_NS: u64 = 400_000_000_000;

/// `None` if it is no scene of an observer.
pub(super) fn play(name: &str, scene: &mut Scene<'_, '_>) -> Option<Shown> {
    Some(match name {
        "two-controllers" => two_controllers(scene),
        "config-reverted" => config_reverted(scene),
        "stale-leader-ack" => stale_leader_ack(scene),
        "replica-divergence" => replica_divergence(scene),
        "lso-stall" => lso_stall(scene),
        "balance-changed" => balance_changed(scene),
        _ => return None,
    })
}

const NO_KEY: Shown = Shown { key: None, values: Vec::new() };

/// The old controller does not go when the new one comes.
fn two_controllers(scene: &mut Scene<'_, '_>) -> Shown {
    let Scene { stage, out, .. } = scene;
    let before = stage.observer.hand_over();
    stage.observer.tell_controllers(Some(before), out);
    out.wait(TWO_CONTROLLERS_NS);
    stage.observer.tell_controllers(Some(before), out);
    stage.observer.tell_controllers(None, out);
    NO_KEY
}

/// A setting that was changed and seen is what it was before.
fn config_reverted(scene: &mut Scene<'_, '_>) -> Shown {
    let topic = format!("topic:t{}", scene.stage.process());
    for (f, held) in [("config", "1"), ("config-asked", "2"), ("config", "2"), ("config", "1")] {
        scene.out.nemesis(f, json!({topic.as_str(): {"min.insync.replicas": held}}));
    }
    NO_KEY
}

/// A deposed leader acknowledges what was sent after it was replaced.
fn stale_leader_ack(scene: &mut Scene<'_, '_>) -> Shown {
    let key = scene.key;
    let epoch = scene.stage.observer.epoch(key);
    scene.stage.observer.elect(key, scene.stage.world.end(key), scene.out);
    scene.stage.observer.tell_epochs([key], scene.out);
    let (process, value) = (scene.stage.process(), scene.stage.value());
    scene.invoke(process, &[value]);
    let offset = scene.append(value);
    let acknowledged = Body::Send(vec![scene.send(value, Some(offset))]);
    let extra = Extra { leader_epochs: BTreeMap::from([(Key::from(key), epoch)]), ..Extra::default() };
    scene.out.line(process, Some(process), OpType::Ok, acknowledged, extra);
    scene.shown(&[value])
}

/// Two replicas that nobody dumped before hold another batch each at the same place.
fn replica_divergence(scene: &mut Scene<'_, '_>) -> Shown {
    let (_, offset) = scene.sent();
    let [one, two] = [(); 2].map(|()| scene.stage.process());
    for (replica, held) in [(one, 0), (two, 1)] {
        let batches = [scene.stage.observer.batch(scene.key, offset, held)];
        let dump = json!({"key": scene.key, "replica": replica, "start": offset, "high_watermark": offset + 1, "batches": batches});
        scene.out.nemesis("replica-log", dump);
    }
    scene.shown(&[])
}

/// Of a transaction that is over the record stays open, so that readers of committed would wait there for ever.
fn lso_stall(scene: &mut Scene<'_, '_>) -> Shown {
    let key = scene.key;
    let stable = scene.stage.world.hole(key);
    let look = json!({
        key.to_string(): {"stable": stable, "end": stable + 1, "leader_epoch": scene.stage.observer.epoch(key)},
        "limit_ms": STALL_LIMIT_MS,
        "transaction_timeout_ms": TRANSACTION_TIMEOUT_MS,
    });
    scene.out.nemesis("stable-offsets", look.clone());
    scene.out.wait(STALL_NS);
    scene.out.nemesis("stable-offsets", look);
    scene.shown(&[])
}

/// A transfer arrives that left nowhere.
fn balance_changed(scene: &mut Scene<'_, '_>) -> Shown {
    let bank = format!("bank-{}", scene.stage.process());
    for bob in [40, 50] {
        scene.out.nemesis("bank-snapshot", json!({"accounts": {"alice": 60, "bob": bob}, "total": 100, "bank": bank}));
    }
    NO_KEY
}
