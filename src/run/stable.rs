//! Whether every transaction has ended, as the logs tell it: readers of committed are given nothing beyond a partition's last stable offset, which
//! stands at the first record of a transaction that is under way and is the log's end when there is none.
//!
//! Why it is waited for: a final read of what is committed ends there, and would call everything behind it unread. The clients end what they had
//! begun, or fence it, and a coordinator aborts by itself what is left after its timeout. What stands still for longer is a hanging transaction: the
//! looks are in the history (`stable-offsets`), and `lso-stall` judges them.

use std::time::{Duration, Instant};

use kchaos_cluster::protocol;
use serde_json::{Map, Value, json};

use super::finale::try_bounds;
use super::{Live, millis};

const LOOK_EVERY: Duration = Duration::from_millis(500);
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How often a coordinator looks for transactions whose time is over (`transaction.abort.timed.out.transaction.cleanup.interval.ms`).
const COORDINATOR_LOOKS: Duration = Duration::from_secs(10);
/// Of a whole cluster, to write the markers of an abort.
const LIMIT: Duration = Duration::from_secs(30);
const SLACK: Duration = Duration::from_secs(5);

/// Waits until no partition's last stable offset stands below its end, or long enough to call it a stall.
pub(super) async fn wait(live: &Live) {
    let setup = &live.setup;
    if setup.workload.transactional_ids(&setup.run_id).is_empty() {
        return;
    }
    let timeout = Duration::from_millis(u64::from(setup.options.txn_timeout_ms)) + COORDINATOR_LOOKS;
    let deadline = Instant::now() + timeout + LIMIT + SLACK;
    let mut told: Option<Instant> = None;
    loop {
        let is_last = Instant::now() >= deadline;
        // Who cannot be asked now is asked again; `final-reads` tells what was not reached.
        if let Ok(mut look) = look(live).await {
            let stands = look.values().any(|key| key["stable"].as_i64() < key["end"].as_i64());
            if !stands || is_last || told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                told = Some(Instant::now());
                look.insert("limit_ms".into(), json!(millis(LIMIT)));
                look.insert("transaction_timeout_ms".into(), json!(millis(timeout)));
                live.nemesis_op("stable-offsets", Value::Object(look));
            }
            if !stands {
                return;
            }
        }
        if is_last {
            return live.note("a last stable offset stands still: a transaction hangs");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// By key, as the current leaders say: the last stable offset and the high watermark, which is asked first.
async fn look(live: &Live) -> Result<Map<String, Value>, String> {
    let brokers = protocol::Client::new(&live.inventory, protocol::Timeouts::default()).map_err(|error| error.to_string())?;
    let mut found = Map::new();
    for (entry, told) in live.begun_keys().iter().zip(try_bounds(live).await?) {
        let (end, leader_epoch) = (told.bounds.end, told.bounds.leader_epoch);
        let stable = brokers.stable_offset(told.leader, &entry.topic, entry.partition, leader_epoch).await;
        let stable = stable.map_err(|error| error.to_string())?;
        found.insert(entry.key.to_string(), json!({"stable": stable, "end": end, "leader_epoch": leader_epoch}));
    }
    Ok(found)
}
