//! Ops of the process "nemesis" as anybody may write them.

use kchaos_core::Body;
use proptest::prelude::*;

const NAMES: &[&str] = &[
    "replica-log",
    "bank-snapshot",
    "superseded",
    "compacted-read",
    "stable-offsets",
    "leader-epochs",
    "controllers",
    "config",
    "config-asked",
    "watch",
    "ephemeral",
    "session",
    "sequential",
    "offsets-retention",
    "admin-final",
    "log-retention",
];

const FIELDS: &[&str] = &[
    "0",
    "1",
    "key",
    "replica",
    "start",
    "high_watermark",
    "batches",
    "accounts",
    "total",
    "last",
    "written",
    "read",
    "superseded",
    "removed",
    "stable",
    "end",
    "limit_ms",
    "leader_epoch",
    "active",
    "epoch",
    "watch",
    "event",
    "client",
    "process",
    "version",
    "zxid",
    "node",
    "parent",
    "ask",
    "number",
    "numbers",
    "retention_ms",
    "broker",
    "topics",
    "partitions",
    "settings",
];

/// What a harness might tell, well-formed here and there.
pub(crate) fn told() -> impl Strategy<Value = Body> {
    use serde_json::{Value as Json, json};
    let names = prop::sample::select(NAMES);
    let fields = || prop::sample::select(FIELDS);
    let scalar = || {
        prop_oneof![
            4 => (0..4_i64).prop_map(|number| json!(number)),
            1 => prop_oneof![Just(i64::MIN), Just(-1), Just(1 << 60), Just(i64::MAX)].prop_map(|number| json!(number)),
            2 => prop::sample::select(vec!["set", "fired", "created", "removed", "seen", "absent", "alive", "closed", "ended", "x"])
                .prop_map(|text| json!(text)),
            1 => any::<bool>().prop_map(|flag| json!(flag)),
            1 => Just(Json::Null),
        ]
    };
    let noise = scalar().prop_recursive(3, 24, 5, move |inner| {
        prop_oneof![
            3 => prop::collection::vec((fields(), inner.clone()), 0..5)
                .prop_map(|fields| Json::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())),
            1 => prop::collection::vec(inner, 0..5).prop_map(Json::Array),
        ]
    });
    let number = || prop_oneof![5 => 0..6_i64, 1 => Just(-1), 1 => Just(i64::MAX), 1 => Just(i64::MIN)];
    let n = || (number(), number(), number(), number());
    let batches = prop::collection::vec(n().prop_map(|(a, b, c, d)| json!([a, b, c, d])), 0..4);
    let formed = (
        n(),
        batches,
        any::<bool>(),
        prop::sample::select(vec!["set", "fired", "created", "removed", "seen", "absent", "alive", "closed", "ended"]),
    );
    let formed = (names.clone(), formed).prop_map(|(f, ((a, b, c, d), batches, flag, event))| {
        let value = match f {
            "replica-log" => json!({"key": 0, "replica": a, "start": b, "high_watermark": c, "batches": batches}),
            "bank-snapshot" => json!({"accounts": {"a": a, "b": b}, "total": c}),
            "superseded" => json!({"0": [a, b]}),
            "compacted-read" => json!({"0": {"last": {"k": {"written": [a, b], "read": [c, d]}}, "superseded": a, "removed": d}}),
            "stable-offsets" => json!({"0": {"stable": a, "end": b, "leader_epoch": c}, "limit_ms": d, "transaction_timeout_ms": 0}),
            "leader-epochs" => json!({"0": {"leader_epoch": a}}),
            "controllers" => json!({"1": {"active": flag, "epoch": a}, "2": {"active": true}, "limit_ms": b}),
            "config" | "config-asked" => json!({"topic:t": {"a": a % 3}}),
            "watch" => json!({"watch": a % 3, "event": event, "client": 0, "key": 0, "version": b, "zxid": c}),
            "ephemeral" => json!({"node": "/x", "event": event, "client": a, "zxid": b}),
            "session" => json!({"client": a, "event": event, "zxid": b}),
            "sequential" if flag => json!({"parent": "/s", "event": "created", "ask": a, "number": b, "zxid": c}),
            "sequential" => {
                json!({"parent": "/s", "event": if a > 2 { "listed" } else { "asked" }, "ask": a, "zxid": c, "numbers": [b, d]})
            }
            _ => json!({"retention_ms": a}),
        };
        (f, value)
    });
    let told = prop_oneof![(names, noise), formed];
    told.prop_map(|(f, value)| Body::Nemesis { f: f.to_owned(), value })
}
