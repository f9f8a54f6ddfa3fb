//! `offsets`: producers write and consumers read three topics of which parts go away, while one more client asks the leaders where the logs start and
//! end, and which record is the first of a time.
//!
//! From one topic records are deleted (DeleteRecords), below what the slowest consumer has read as a rule; one expires by time; one is compacted. Each
//! has `partitions` partitions, and the keys of the history go through them in this order. Every record of the compacted topic has a record key of its
//! own, so that each is the latest of its key and compaction must keep all of them. Brokers stamp the records of all three (LogAppendTime), so
//! that what a producer held back is no older than it looks.
//!
//! While logs are read to their end nothing may expire under the reader: retention is put off then, and put back after.

mod lane;
mod options;
mod run;

use kchaos_core::KeyEntry;

use crate::append::topic_that_keeps_all;
use crate::options::Options;
use crate::topics::TopicSpec;
use crate::{Context, Load, Running, Spec, Workload, WorkloadError};

pub use options::OffsetsOptions;

const KINDS: [&str; 3] = ["deleted", "expiring", "compacted"];

pub(crate) const SPEC: Spec = Spec {
    name: "offsets",
    about: "logs are asked for their bounds and for records by time while records are deleted, expire and are compacted; what is to be kept is kept",
    load: Load::at(300.0),
    build: |options| {
        options.check()?;
        options.offsets.check()?;
        if options.topic.is_some() {
            return Err(crate::options::range("topic", "left out: offsets has three topics, named after the run", "given"));
        }
        Ok(Box::new(Offsets { options: options.clone() }))
    },
};

struct Offsets {
    options: Options,
}

fn topic(run_id: &str, kind: &str) -> String {
    format!("kchaos-offsets-{kind}-{run_id}")
}

impl Workload for Offsets {
    fn keys(&self, run_id: &str) -> Vec<KeyEntry> {
        let partitions = i32::try_from(self.options.partitions).unwrap_or(i32::MAX);
        let places = KINDS.iter().flat_map(|kind| (0..partitions).map(move |partition| (topic(run_id, kind), partition)));
        (0..).zip(places).map(|(key, (topic, partition))| KeyEntry { key, topic, partition }).collect()
    }

    fn topics(&self, run_id: &str) -> Vec<TopicSpec> {
        let offsets = &self.options.offsets;
        let own = |kind: &str| -> Vec<(&str, String)> {
            let segment = ("segment.ms", offsets.segment_ms.to_string());
            match kind {
                "expiring" => vec![segment, ("retention.ms", offsets.retention_ms.to_string())],
                "compacted" => vec![segment, ("cleanup.policy", "compact".into()), ("min.cleanable.dirty.ratio", "0.01".into())],
                _ => Vec::new(),
            }
        };
        let spec = |kind: &&str| {
            let mut spec = topic_that_keeps_all(topic(run_id, kind), &self.options);
            for (name, value) in own(kind).into_iter().chain([("message.timestamp.type", "LogAppendTime".to_owned())]) {
                spec.settings.retain(|(other, _)| other != name);
                spec.settings.push((name.to_owned(), value));
            }
            spec
        };
        KINDS.iter().map(spec).collect()
    }

    fn start(&self, context: Context) -> Result<Box<dyn Running>, WorkloadError> {
        let keys = self.keys(&context.run_id);
        Ok(Box::new(run::OffsetsRun::start(self.options.clone(), keys, context)?))
    }

    fn clashes_with(&self, nemesis: &str) -> Option<&'static str> {
        (nemesis == "delete-records").then_some("offsets deletes records itself, and holds the cluster to what it asked for")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_topics_keep_what_each_promises() {
        let workload = (SPEC.build)(&Options::default()).unwrap();
        let keys = workload.keys("r1");
        assert_eq!((keys.len(), keys[4].topic.as_str(), keys[4].partition), (9, "kchaos-offsets-expiring-r1", 1));
        let topics = workload.topics("r1");
        let of = |topic: usize, name: &str| {
            let found: Vec<_> = topics[topic].settings.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect();
            found.join(" and ")
        };
        assert_eq!((of(0, "retention.ms"), of(1, "retention.ms"), of(2, "retention.ms")), ("-1".into(), "20000".into(), "-1".into()));
        assert_eq!((of(0, "cleanup.policy"), of(2, "cleanup.policy")), ("delete".into(), "compact".into()));
        assert!(topics.iter().all(|topic| crate::topics::is_ours(&topic.name, "r1")));
        assert!(workload.clashes_with("delete-records").is_some() && workload.clashes_with("kill-leader").is_none());
    }
}
