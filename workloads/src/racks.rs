//! Readers that say in which rack they are, and who served them.
//!
//! Why: from Kafka 2.4 on a consumer may be sent to a follower in its own rack (KIP-392), whose high watermark is behind its leader's. What is read there must be
//! what the leader would have given. That a follower served is evidence of its own: brokers without a `replica.selector.class` ignore the consumer's
//! rack in silence. So librdkafka is asked twice a second from which broker it fetches each partition, who leads it, and how much came.
//!
//! Limits: what came between two looks that differ is nobody's. A client on another host, and one of Java, is given its rack and not asked. Final reads
//! name no rack, and so are the leader's.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

pub(crate) const PROPERTY: &str = "client.rack";
pub(crate) const STATISTICS: &str = "statistics.interval.ms";
pub(crate) const STATISTICS_MS: &str = "500";

/// What a reader was given, by whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tally {
    rack: String,
    from_followers: u64,
    from_leaders: u64,
    unclear: u64,
}

/// Of all readers of a run, by name. A reader whose client is replaced goes on as itself.
#[derive(Default)]
pub(crate) struct Served(Mutex<BTreeMap<String, Tally>>);

/// One client's looks.
pub(crate) struct Watch {
    reader: String,
    served: Arc<Served>,
    last: Mutex<HashMap<(String, i32), Partition>>,
}

#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    topics: HashMap<String, Topic>,
}

#[derive(Deserialize)]
struct Topic {
    #[serde(default)]
    partitions: HashMap<String, Partition>,
}

/// As librdkafka tells of one (STATISTICS.md).
#[derive(Clone, Copy, Deserialize)]
struct Partition {
    partition: i32,
    /// From whom it fetches.
    broker: i32,
    leader: i32,
    rxmsgs: u64,
}

impl Served {
    pub(crate) fn watch(self: &Arc<Self>, reader: &str, rack: &str) -> Arc<Watch> {
        self.meets(reader, rack);
        Arc::new(Watch { reader: reader.to_owned(), served: Arc::clone(self), last: Mutex::default() })
    }

    /// A reader that is not asked.
    pub(crate) fn meets(&self, reader: &str, rack: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rack.clone_into(&mut all.entry(reader.to_owned()).or_default().rack);
    }

    /// In a sentence; nothing where no reader was in a rack.
    pub(crate) fn told(&self) -> Option<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.is_empty() {
            return None;
        }
        let of = |(reader, tally): (&String, &Tally)| {
            let Tally { rack, from_followers, from_leaders, unclear } = tally;
            let seen = from_followers + from_leaders + unclear;
            if seen == 0 {
                return format!("{reader} in rack {rack}: who served it was not seen");
            }
            let rest = if *unclear > 0 { format!(" ({unclear} while that changed)") } else { String::new() };
            format!("{reader} in rack {rack}: {from_followers} of {seen} records{rest}")
        };
        let readers: Vec<String> = all.iter().map(of).collect();
        Some(format!("fetched from followers: {}; final reads are from leaders", readers.join(", ")))
    }
}

impl Watch {
    /// One look. What is no statistics tells nothing.
    pub(crate) fn hears(&self, json: &[u8]) {
        let Ok(statistics) = serde_json::from_slice::<Statistics>(json) else { return };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut more = Tally::default();
        for (topic, told) in statistics.topics {
            // librdkafka has a partition -1 of its own.
            for now in told.partitions.into_values().filter(|now| now.partition >= 0) {
                let before = last.insert((topic.clone(), now.partition), now);
                let (is_same, had) = before.map_or((true, 0), |before| (now.is_as(before), before.rxmsgs));
                let came = now.rxmsgs.saturating_sub(had);
                match (is_same && now.broker >= 0 && now.leader >= 0, now.broker == now.leader) {
                    (false, _) => more.unclear += came,
                    (true, true) => more.from_leaders += came,
                    (true, false) => more.from_followers += came,
                }
            }
        }
        let mut all = self.served.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = all.entry(self.reader.clone()).or_default();
        tally.from_followers += more.from_followers;
        tally.from_leaders += more.from_leaders;
        tally.unclear += more.unclear;
    }
}

impl Partition {
    fn is_as(self, other: Self) -> bool {
        (self.broker, self.leader) == (other.broker, other.leader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(broker: i32, leader: i32, rxmsgs: u64) -> String {
        format!(
            "{{\"name\":\"c\",\"topics\":{{\"t\":{{\"topic\":\"t\",\"partitions\":{{\"0\":{{\"partition\":0,\"broker\":{broker},\"leader\":{leader},\"rxmsgs\":{rxmsgs}}},\
             \"-1\":{{\"partition\":-1,\"broker\":-1,\"leader\":-1,\"rxmsgs\":0}}}}}}}}}}"
        )
    }

    #[test]
    fn what_came_between_two_looks_that_agree_is_the_brokers_who_was_seen() {
        let served = Arc::new(Served::default());
        assert_eq!(served.told(), None);
        let watch = served.watch("consumer-1", "b");
        for (broker, leader, rxmsgs) in [(1, 1, 0), (1, 1, 10), (2, 1, 15), (2, 1, 40), (2, 3, 41), (2, 3, 50)] {
            watch.hears(look(broker, leader, rxmsgs).as_bytes());
        }
        let expect = "fetched from followers: consumer-1 in rack b: 34 of 50 records (6 while that changed); final reads are from leaders";
        assert_eq!(served.told().as_deref(), Some(expect));
        // Its client was replaced, and counts anew.
        served.watch("consumer-1", "b").hears(look(2, 1, 7).as_bytes());
        assert!(served.told().unwrap().contains("41 of 57 records"));
    }

    #[test]
    fn who_was_not_asked_is_told_as_that() {
        let served = Arc::new(Served::default());
        served.meets("consumer-2", "a");
        served.watch("consumer-1", "b").hears(b"no statistics");
        let told = served.told().unwrap();
        assert!(told.contains("consumer-1 in rack b: who served it was not seen, consumer-2 in rack a: who served"), "{told}");
    }
}
