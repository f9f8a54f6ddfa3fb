//! The lines of Kafka's and ZooKeeper's own daemon logs that tell when something happened. Stamps are UTC in the lab, with milliseconds.

use std::path::Path;

use chrono::NaiveDateTime;

/// A partition's state as a line tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartitionLine {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) leader: i32,
    pub(crate) leader_epoch: i32,
    pub(crate) isr: Vec<i32>,
}

/// A line, and when it was written (ns since 1970).
pub(crate) struct Line {
    pub(crate) at_ns: u64,
    pub(crate) text: String,
}

/// The lines with a stamp of a daemon log in this directory, in their order; what was rotated away in the meantime (every hour) is part of it.
pub(crate) fn lines_of(directory: &Path, name: &str) -> Vec<Line> {
    let files = std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let files = files.filter_map(|entry| Some(entry.ok()?.path()));
    let of_this_log = files.filter(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name)));
    let mut all: Vec<Line> =
        of_this_log.flat_map(|file| lines(&String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default()))).collect();
    all.sort_by_key(|line| line.at_ns);
    all
}

pub(crate) fn lines(text: &str) -> Vec<Line> {
    text.lines().filter_map(|line| Some(Line { at_ns: stamp(line)?, text: line.to_owned() })).collect()
}

fn stamp(line: &str) -> Option<u64> {
    let (stamp, _) = line.strip_prefix('[')?.split_once(']')?;
    let time = NaiveDateTime::parse_from_str(stamp, "%Y-%m-%d %H:%M:%S,%3f").ok()?;
    u64::try_from(time.and_utc().timestamp_nanos_opt()?).ok()
}

impl Line {
    /// state-change.log: a broker learned a partition's state from the controller.
    pub(crate) fn cached(&self) -> Option<PartitionLine> {
        let text = self.text.split_once("] Cached leader info ")?.1;
        Some(PartitionLine {
            topic: between(text, "topicName='", "'")?.to_owned(),
            partition: between(text, "partitionIndex=", ",")?.parse().ok()?,
            leader: between(text, "leader=", ",")?.parse().ok()?,
            leader_epoch: between(text, "leaderEpoch=", ",")?.parse().ok()?,
            isr: between(text, "isr=[", "]")?.split(", ").filter_map(|id| id.parse().ok()).collect(),
        })
    }

    /// state-change.log of the controller: it gave a partition a leader.
    pub(crate) fn brought_online(&self) -> Option<PartitionLine> {
        let text = self.text.split_once("] Changed partition ")?.1;
        let (topic, partition) = text.split_once(" from ")?.0.rsplit_once('-')?;
        let state = text.split_once(" to OnlinePartition with state ")?.1;
        let isr = between(state, "isrWithBrokerEpoch=List(", "), leaderRecoveryState")?;
        Some(PartitionLine {
            topic: topic.to_owned(),
            partition: partition.parse().ok()?,
            leader: between(state, "leader=", ",")?.parse().ok()?,
            leader_epoch: between(state, "leaderEpoch=", ",")?.parse().ok()?,
            isr: isr.split("brokerId=").skip(1).filter_map(|id| id.split(',').next()?.parse().ok()).collect(),
        })
    }

    /// state-change.log of the controller: it found a partition without a leader.
    pub(crate) fn went_offline(&self) -> Option<(String, i32)> {
        let text = self.text.split_once("] Changed partition ")?.1;
        let (topic, partition) = text.split_once(' ')?.0.rsplit_once('-')?;
        text.contains(" to OfflinePartition").then(|| Some((topic.to_owned(), partition.parse().ok()?)))?
    }

    /// controller.log: a new controller begins to give leaders to the partitions that it found without one.
    pub(crate) fn begins_to_elect(&self) -> bool {
        self.text.contains("Triggering online partition state changes")
    }

    /// controller.log: this broker became controller, with this epoch.
    pub(crate) fn became_controller(&self) -> Option<(i32, i32)> {
        let text = self.text.split_once("[Controller id=")?.1;
        let epoch = between(text, "successfully elected as the controller. Epoch incremented to ", " ")?;
        Some((text.split_once(']')?.0.parse().ok()?, epoch.parse().ok()?))
    }

    /// zookeeper.log of the leader.
    pub(crate) fn expired_session(&self) -> Option<&str> {
        between(&self.text, "Expiring session ", ",")
    }

    /// server.log: the session that this broker was given.
    pub(crate) fn own_session(&self) -> Option<&str> {
        between(&self.text, "session id = ", ",")
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    Some(text.split_once(before)?.1.split_once(after)?.0)
}

#[test]
fn lines_of_kafka_3_9_are_read() {
    let log = "[2026-01-02 03:04:05,678] TRACE [Broker id=1] Cached leader info UpdateMetadataPartitionState(topicName='a-b', \
               partitionIndex=2, controllerEpoch=1, leader=3, leaderEpoch=4, isr=[3, 1], zkVersion=1, replicas=[3, 1, 2]) for partition a-b-2\n\
               [2026-01-02 03:04:05,679] INFO [Controller id=1 epoch=1] Changed partition a-b-2 from OfflinePartition to OnlinePartition with \
               state LeaderAndIsr(leader=3, leaderEpoch=4, isrWithBrokerEpoch=List(BrokerState(brokerId=3, brokerEpoch=-1), \
               BrokerState(brokerId=1, brokerEpoch=-1)), leaderRecoveryState=RECOVERED, partitionEpoch=1)\n\
               no stamp\n\
               [2026-01-02 03:04:05,680] INFO [Controller id=2] 2 successfully elected as the controller. Epoch incremented to 7 and so on";
    let lines = lines(log);
    let expect = PartitionLine { topic: "a-b".into(), partition: 2, leader: 3, leader_epoch: 4, isr: vec![3, 1] };
    assert_eq!(lines[0].cached(), Some(expect.clone()));
    assert_eq!(lines[1].brought_online(), Some(expect));
    assert_eq!(lines[2].became_controller(), Some((2, 7)));
    assert_eq!(lines[1].at_ns - lines[0].at_ns, 1_000_000);
}
