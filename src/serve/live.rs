//! A run that goes on, as its files tell so far: the last line of each may be half written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use kchaos_core::{FaultEvent, FaultMoment, Key, Observation, Observed};
use serde::de::DeserializeOwned;

/// Of a file that grows without end, so much of its end.
const TAIL_BYTES: u64 = 4 << 20;
/// Seconds that are drawn.
pub(super) const SECONDS_MAX: usize = 300;

/// What completed in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Second {
    pub(super) acknowledged: u64,
    pub(super) p50_ns: u64,
    pub(super) p99_ns: u64,
}

/// How the cluster was when it was seen last.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub(super) controller: Option<i32>,
    pub(super) partitions: BTreeMap<Key, (Option<i32>, i32, Vec<i32>)>,
    pub(super) brokers: BTreeMap<i32, bool>,
    pub(super) zookeepers: BTreeMap<String, String>,
    /// The last moment that anything tells of.
    pub(super) seen_ns: u64,
}

/// One fault, by its moments so far.
#[derive(Debug, Default)]
pub(super) struct Fault {
    pub(super) nemesis: String,
    pub(super) on: String,
    pub(super) in_effect_ns: Option<u64>,
    pub(super) is_proved: bool,
    pub(super) healed_ns: Option<u64>,
    pub(super) note: String,
}

/// Whole lines that parse; what does not is left out, since this is no judgement.
pub(super) fn lines_of<T: DeserializeOwned>(path: &Path) -> Vec<T> {
    let text = tail(path);
    String::from_utf8_lossy(&text).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The end of a file, from the beginning of a line.
pub(super) fn tail(path: &Path) -> Vec<u8> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let from = length.saturating_sub(TAIL_BYTES);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        if from > 0 {
            let first = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
            bytes.drain(..first);
        }
        Ok(bytes)
    };
    read().unwrap_or_default()
}

/// By second of completion, and the phase of the last; of sends, or of whatever this workload does most.
pub(super) fn seconds(log: &[u8]) -> (BTreeMap<u64, Second>, Option<String>) {
    let mut by_op: BTreeMap<String, (u64, BTreeMap<u64, Histogram<u64>>)> = BTreeMap::new();
    let mut phase = None;
    // A line that was cut off ends the reading, so only whole ones are given to it.
    let whole = log.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut deserializer = Deserializer::new();
    for entry in IntervalLogIterator::new(&log[..whole]) {
        let Ok(entry) = entry else { break };
        let LogEntry::Interval(interval) = entry else { continue };
        let Some((op, of)) = interval.tag().and_then(|tag| tag.as_str().split_once('/')) else { continue };
        let bytes = base64::engine::general_purpose::STANDARD.decode(interval.encoded_histogram()).unwrap_or_default();
        let Ok(histogram) = deserializer.deserialize::<u64, _>(&mut bytes.as_slice()) else { continue };
        if op == "read-lag" {
            continue;
        }
        phase = Some(of.to_owned());
        let (n, seconds) = by_op.entry(op.to_owned()).or_default();
        *n += histogram.len();
        let second = interval.start_timestamp().as_secs();
        match seconds.get_mut(&second) {
            Some(known) => _ = known.add(&histogram),
            None => _ = seconds.insert(second, histogram),
        }
    }
    let most = by_op.remove("send").or_else(|| by_op.into_values().max_by_key(|(n, _)| *n));
    let told = |histogram: &Histogram<u64>| Second {
        acknowledged: histogram.len(),
        p50_ns: histogram.value_at_quantile(0.5),
        p99_ns: histogram.value_at_quantile(0.99),
    };
    let seconds = most.map(|(_, seconds)| seconds).unwrap_or_default();
    (seconds.iter().map(|(second, histogram)| (*second, told(histogram))).collect(), phase)
}

pub(super) fn cluster(observations: &[Observation]) -> Cluster {
    let mut cluster = Cluster::default();
    for observation in observations {
        cluster.seen_ns = cluster.seen_ns.max(observation.when.before_ns);
        match &observation.what {
            Observed::Controller { broker, .. } => cluster.controller = *broker,
            Observed::PartitionState { key, leader, leader_epoch, isr, .. } => {
                cluster.partitions.insert(*key, (*leader, *leader_epoch, isr.clone()));
            }
            Observed::BrokerRegistered { broker } => _ = cluster.brokers.insert(*broker, true),
            Observed::BrokerGone { broker } => _ = cluster.brokers.insert(*broker, false),
            Observed::ZooKeeperMode { host, mode, .. } => _ = cluster.zookeepers.insert(host.clone(), mode.clone()),
            _ => {}
        }
    }
    cluster
}

/// In the order in which they were asked for.
pub(super) fn faults(events: &[FaultEvent]) -> BTreeMap<u32, Fault> {
    let mut faults: BTreeMap<u32, Fault> = BTreeMap::new();
    for event in events.iter().filter(|event| !event.nemesis.is_empty()) {
        let fault = faults.entry(event.fault_id).or_default();
        fault.nemesis.clone_from(&event.nemesis);
        if !event.chosen.is_empty() {
            fault.on = event.chosen.iter().map(|chosen| format!("{} on {}", chosen.daemon, chosen.host)).collect::<Vec<_>>().join(", ");
        }
        let is_proved = event.proof.as_ref().is_none_or(|proof| proof.proved);
        match event.moment {
            FaultMoment::InEffect => (fault.in_effect_ns, fault.is_proved) = (Some(event.when.before_ns), is_proved),
            FaultMoment::Healed if is_proved => fault.healed_ns = Some(event.when.before_ns),
            FaultMoment::LeaseLapsed => fault.healed_ns = Some(event.when.before_ns),
            FaultMoment::Failed | FaultMoment::Note => fault.note = event.text.clone().unwrap_or_default(),
            _ => {}
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use kchaos_checkers::latency::Latency;
    use kchaos_core::{Body, Extra, Op, OpType, Process, Send};

    use super::*;

    #[test]
    fn seconds_are_read_from_a_log_that_is_being_written() {
        let mut latency = Latency::new(1_795_399_200_000_000_000);
        for n in 0..200_u64 {
            let op = |op_type, time_ns| Op {
                index: n,
                time_ns,
                process: Process::Client(1),
                op_type,
                body: Body::Send(vec![Send { key: 0, value: n as i64, offset: Some(n as i64) }]),
                error: None,
                client: None,
                node: None,
                extra: Extra::default(),
            };
            latency.op(&op(OpType::Invoke, n * 20_000_000));
            latency.op(&op(OpType::Ok, n * 20_000_000 + 5_000_000));
        }
        let log = latency.take_log();
        let (whole, phase) = seconds(&log);
        assert_eq!(phase.as_deref(), Some("before"));
        assert_eq!(whole.values().map(|second| second.acknowledged).collect::<Vec<_>>(), [50, 50, 50]);
        assert!(whole.values().all(|second| (4_900_000..5_100_000).contains(&second.p99_ns)), "{whole:?}");
        for cut in [0, 10, log.len() / 2, log.len() - 3] {
            assert!(seconds(&log[..cut]).0.len() <= 3, "{cut}");
        }
        assert!(seconds(b"nonsense\nTag=a/b,x,y\n").0.is_empty());
    }
}
