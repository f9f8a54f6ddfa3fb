//! What somebody who changes the cluster, or asks its leaders about their logs, must not be told.

use kchaos_core::{Body, Extra, OpType};
use serde_json::{Value as Json, json};

use super::{Scene, Shown};

const RETENTION_MS: u64 = 20_000;
const SLACK_MS: u64 = 1_000;
/// Between two scenes, so that later records have later stamps.
const APART_MS: u64 = 1_000_000;

/// `None` if it is no scene of somebody who asks.
pub(super) fn play(name: &str, scene: &mut Scene<'_, '_>) -> Option<Shown> {
    Some(match name {
        "change-lost" => change_lost(scene),
        "offset-regression" => offset_regression(scene),
        "expired-early" => expired_early(scene),
        "lookup-wrong" => lookup_wrong(scene),
        _ => return None,
    })
}

/// An op that is invoked with a value and completed with more.
fn asks(scene: &mut Scene<'_, '_>, f: &str, asked: Json, answer: Json) {
    let process = scene.stage.process();
    for (op_type, value) in [(OpType::Invoke, asked), (OpType::Ok, answer)] {
        scene.out.line(process, Some(process), op_type, Body::Nemesis { f: f.to_owned(), value }, Extra::default());
    }
}

/// A setting that was acknowledged is not there at the end.
fn change_lost(scene: &mut Scene<'_, '_>) -> Shown {
    let number = scene.stage.process();
    let topic = format!("t{number}");
    let change = json!({"change": "setting", "topic": topic, "name": "file.delete.delay.ms", "to": "5000"});
    asks(scene, "admin", change.clone(), change);
    scene.out.nemesis("admin-final", json!({"broker": number, "topics": {topic.as_str(): {"partitions": 3, "settings": {}}}}));
    Shown { key: None, values: Vec::new() }
}

fn list_offsets(scene: &mut Scene<'_, '_>, at: &Json, answer: &Json) {
    let epoch = scene.stage.observer.epoch(scene.key);
    let asked = json!({"key": scene.key, "at": at, "broker": 1, "leader_epoch": epoch});
    let mut told = asked.clone();
    for (name, value) in answer.as_object().into_iter().flatten() {
        told[name] = value.clone();
    }
    asks(scene, "list-offsets", asked, told);
}

/// When the scene is played, as its brokers stamp records.
fn now_ms(scene: &mut Scene<'_, '_>) -> u64 {
    u64::from(scene.stage.process() + 1) * APART_MS
}

/// The log ends where it did not reach to before.
fn offset_regression(scene: &mut Scene<'_, '_>) -> Shown {
    let now_ms = now_ms(scene);
    let (_, offset) = scene.sent();
    for end in [offset + 1, offset] {
        list_offsets(scene, &json!("end"), &json!({"offset": end, "now_ms": now_ms}));
    }
    scene.shown(&[])
}

/// A record is gone half of its time too soon.
fn expired_early(scene: &mut Scene<'_, '_>) -> Shown {
    let now_ms = now_ms(scene);
    let (_, offset) = scene.sent();
    scene.out.nemesis("log-retention", json!({scene.key.to_string(): {"retention_ms": RETENTION_MS}, "slack_ms": SLACK_MS}));
    let stamp = now_ms - RETENTION_MS / 2;
    list_offsets(scene, &json!(stamp), &json!({"offset": offset, "timestamp_ms": stamp, "now_ms": now_ms}));
    list_offsets(scene, &json!("start"), &json!({"offset": offset + 1, "now_ms": now_ms + 1}));
    scene.shown(&[])
}

/// A time finds a record that is older.
fn lookup_wrong(scene: &mut Scene<'_, '_>) -> Shown {
    let now_ms = now_ms(scene);
    let (_, offset) = scene.sent();
    list_offsets(scene, &json!(now_ms), &json!({"offset": offset, "timestamp_ms": now_ms - 10, "now_ms": now_ms + 1}));
    scene.shown(&[])
}
