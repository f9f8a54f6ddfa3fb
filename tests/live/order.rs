//! An ordering service: what a deposed leader takes back is caught, and its safe twin, which orders messages of 99 MiB less 64 KiB as well, is not accused.

use std::collections::BTreeMap;

use kchaos_core::{Body, OpType};

use crate::lab::Lab;
use crate::run::{Finished, a_run_with};

const SEED: &str = "20260705";
/// With it a batch may have 99 MiB.
const LARGE_BYTES: &str = "103743488";
/// What kchaos may take for three orderers and one who sends: a value and a copy of it to send, and two fetched by each reader.
const RESIDENT_MAX_MIB: f64 = 1_100.0;

#[test]
#[ignore = "needs root and the lab"]
fn orderers_lose_what_a_deposed_leader_acknowledged_with_acks_1_and_all_see_one_order_with_acks_all() {
    Lab::that_is_whole();
    let order = |more: &[&str]| {
        let trouble = ["--workload", "order", "--faults", "1", "--nemesis-interval", "1s", "--nemesis-duration", "10s", "--seed", SEED];
        a_run_with("deposed-leader", &trouble).and(&["--order-restart-every", "6s"]).and(more).finish()
    };

    let unsafe_one = order(&["--acks", "1", "--idempotence", "false", "--order-large-bytes", "0"]).ends_with(1);
    let lost = unsafe_one.count_of("lost-write");
    let is_truncated = unsafe_one.explanations("unseen").any(|text| text.contains("truncated"));
    assert!(lost > 0 || is_truncated, "{}", unsafe_one.verdict()["anomalies"]);

    let safe_one = order(&["--order-large-bytes", LARGE_BYTES, "--order-large-every", "6s"]).ends_with(0);
    safe_one.stands_offline();
    let seen = safe_one.what_orderers_did();
    assert!(seen.refused > 0 && seen.restarts > 0, "{seen:?}");
    let large = &safe_one.large_sends();
    assert!(large.0 > 0 && large.1 >= seen.refused, "large sends acknowledged and refused: {large:?}");
    let resident = safe_one.verdict()["resources"]["resident_max_mib"].as_f64().unwrap_or(f64::MAX);
    assert!(resident < RESIDENT_MAX_MIB, "{resident} MiB");
    println!(
        "an ordering service under a deposed leader: acks=1 lost {lost} envelopes; acks=all none of {}, {} of them up to 99 MiB, {} refused for their \
         size, {} restarts; {resident:.0} MiB at most; {:.0} s and {:.0} s",
        safe_one.acknowledged(),
        large.0,
        seen.refused,
        seen.restarts,
        unsafe_one.took.as_secs_f64(),
        safe_one.took.as_secs_f64()
    );
}

#[derive(Debug, Default)]
struct Seen {
    refused: u64,
    restarts: u64,
}

impl Finished {
    /// By the history. Every key's blocks were cut, and all orderers came to the end.
    fn what_orderers_did(&self) -> Seen {
        let mut seen = Seen::default();
        let mut blocks: BTreeMap<String, u64> = BTreeMap::new();
        self.each_op(|op| match &op.body {
            Body::Send(_) if op.op_type == OpType::Fail => {
                seen.refused += u64::from(op.error.as_deref().is_some_and(|error| error.starts_with("MSG_SIZE_TOO_LARGE")));
            }
            Body::Crash if op.op_type == OpType::Info => seen.restarts += 1,
            Body::Nemesis { f, value } if f == "final-blocks" => {
                assert_eq!((&value["disagreements"], &value["behind"]), (&0.into(), &serde_json::json!([])));
                blocks = serde_json::from_value(value["blocks"].clone()).expect("blocks by key");
            }
            _ => {}
        });
        assert!(blocks.len() == 3 && blocks.values().all(|blocks| *blocks > 10), "{blocks:?}");
        seen
    }

    /// Of those above 10 MiB, how many were acknowledged and how many refused.
    fn large_sends(&self) -> (u64, u64) {
        let classes = self.size_classes();
        let of = |name: &str| {
            let large = classes.iter().filter(|class| class["up_to_bytes"].as_u64() > Some(10 << 20));
            large.filter_map(|class| class[name].as_u64()).sum()
        };
        (of("ok"), of("fail"))
    }
}
