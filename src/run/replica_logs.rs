//! What each replica holds on its own disk when all is mended, written into the history (`replica-log`, docs/history.md).
//!
//! Why: that a value was lost is proved by readers; where it went is shown by the replicas. The checkers name, for each truncated offset, where
//! each replica's log ends or what it holds there instead, and hold the replicas against each other below their high watermarks.
//! Only brokers whose data directory the inventory names (`[host.daemon.disk]`) are looked at, and only logs of a size worth the way.

use std::path::Path;
use std::time::Duration;

use kchaos_cluster::inventory::{DaemonKind, Disk};
use kchaos_cluster::remote::{Remote, RemoteFile, fetch_file, list_files};
use kchaos_cluster::segments::{self, Batch};
use kchaos_core::KeyEntry;
use serde_json::{Value, json};

use super::Live;

const TIMEOUT: Duration = Duration::from_secs(20);
/// Of one replica's newest segments: more is for a dump of its own.
const REPLICA_BYTES_MAX: u64 = 8 * 1024 * 1024;
const BATCHES_MAX: usize = 20_000;
const CHECKPOINT_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Called when every replica is in sync and nobody writes. What cannot be had is no evidence, and no error.
pub(super) async fn tell(live: &Live) {
    let keys = keys_of_whole_logs(live);
    for (host, daemon) in live.inventory.daemons_of(DaemonKind::Kafka) {
        let Some(disk) = &daemon.disk else { continue };
        let remote = live.cluster.remote(&host.name);
        match of_broker(&*remote, disk, daemon.id, &keys).await {
            Ok(ops) => ops.into_iter().for_each(|value| live.nemesis_op("replica-log", value)),
            Err(why) => live.note(&format!("the logs on the disk of broker {} were not looked at: {why}", daemon.id)),
        }
    }
}

/// Without those of compacted topics: each replica compacts its own log, in its own time.
fn keys_of_whole_logs(live: &Live) -> Vec<KeyEntry> {
    let topics = live.setup.workload.topics(&live.setup.run_id);
    let is_compacted = |name: &str| {
        let settings = topics.iter().filter(|topic| topic.name == name).flat_map(|topic| &topic.settings);
        settings.into_iter().any(|(name, value)| name == "cleanup.policy" && value.contains("compact"))
    };
    live.begun_keys().iter().filter(|entry| !is_compacted(&entry.topic)).cloned().collect()
}

async fn of_broker(remote: &dyn Remote, disk: &Disk, broker: i32, keys: &[KeyEntry]) -> Result<Vec<Value>, String> {
    let files = list_files(remote, &disk.data_dir, TIMEOUT).await.map_err(|error| error.to_string())?;
    let path = disk.data_dir.join("replication-offset-checkpoint");
    let checkpoint = fetch_file(remote, &path, CHECKPOINT_BYTES_MAX, TIMEOUT).await.map_err(|error| error.to_string())?;
    let checkpoint = String::from_utf8_lossy(&checkpoint.bytes).into_owned();
    let mut told = Vec::new();
    for entry in keys {
        // Below what the replica itself has written down: it may know more, and never less.
        let Some(high_watermark) = segments::checkpoint(&checkpoint, &entry.topic, entry.partition) else { continue };
        let Some((base, batches)) = newest(remote, &disk.data_dir, &files, entry).await? else { continue };
        told.push(told_of(entry, broker, high_watermark, base, &batches));
    }
    Ok(told)
}

/// Where the newest segments begin, by the oldest one's name, and their batches, oldest first; `None` if there is no segment, or if the newest is too
/// long.
async fn newest(remote: &dyn Remote, data_dir: &Path, files: &[RemoteFile], entry: &KeyEntry) -> Result<Option<(i64, Vec<Batch>)>, String> {
    let directory = Path::new(&format!("{}-{}", entry.topic, entry.partition)).to_owned();
    let is_segment = |file: &&RemoteFile| file.path.parent() == Some(&directory) && file.path.extension().is_some_and(|end| end == "log");
    let mut left = REPLICA_BYTES_MAX;
    let mut parts: Vec<Vec<Batch>> = Vec::new();
    let mut base = 0;
    for file in files.iter().filter(is_segment).rev() {
        if file.size_bytes > left {
            break;
        }
        left -= file.size_bytes;
        let fetched =
            fetch_file(remote, &data_dir.join(&file.path), REPLICA_BYTES_MAX, TIMEOUT).await.map_err(|error| error.to_string())?;
        if fetched.is_truncated() {
            break;
        }
        parts.push(segments::batches(&fetched.bytes).0);
        base = base_of(&file.path);
    }
    Ok((!parts.is_empty()).then(|| (base, parts.into_iter().rev().flatten().collect())))
}

/// A segment is named after its first offset.
fn base_of(path: &Path) -> i64 {
    path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()).unwrap_or(0)
}

/// A log of which all has expired has no batch, and starts where its empty segment does.
fn told_of(entry: &KeyEntry, broker: i32, high_watermark: i64, base: i64, batches: &[Batch]) -> Value {
    let kept = &batches[batches.len().saturating_sub(BATCHES_MAX)..];
    let start = kept.first().map_or(base, |batch| batch.first);
    let rows: Vec<Value> = kept.iter().map(|batch| json!([batch.first, batch.last, batch.leader_epoch, batch.crc])).collect();
    json!({"key": entry.key, "replica": broker, "start": start, "high_watermark": high_watermark, "batches": rows})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_is_told_from_where_it_is_known() {
        let batches: Vec<Batch> = (0..25_000).map(|first| Batch { first, last: first, leader_epoch: 1, crc: 7 }).collect();
        let entry = KeyEntry { key: 3, topic: "t".into(), partition: 0 };
        let told = told_of(&entry, 2, 24_000, 0, &batches);
        assert_eq!((told["start"].as_i64(), told["batches"].as_array().map(Vec::len)), (Some(5_000), Some(BATCHES_MAX)));
        assert_eq!(told["batches"][0], json!([5_000, 5_000, 1, 7]));
    }

    #[test]
    fn a_log_of_which_all_has_expired_is_told_from_its_empty_segment_on() {
        let entry = KeyEntry { key: 3, topic: "t".into(), partition: 0 };
        let base = base_of(Path::new("t-0/00000000000000004028.log"));
        let told = told_of(&entry, 2, 4_028, base, &[]);
        assert_eq!((told["start"].as_i64(), told["batches"].as_array().map(Vec::len)), (Some(4_028), Some(0)));
    }
}
