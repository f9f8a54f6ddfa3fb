//! `elections`: a light load on many partitions, while one more client changes the cluster all the time: leaders are moved, replicas reassigned, topics
//! made, grown and deleted, settings changed.
//!
//! Key k of the history is partition k mod n of topic k / n, of n partitions each; topics that come and go are nobody's keys. Nothing expires from
//! the keys' topics. Each change is an op of a process of its own; what an answer means stands in the table of `admin`.
//!
//! The settings that are changed are none that a fault changes (`change-config`), and none that the run reads back: what is not as it was asked to be
//! at the end is then the cluster's doing. Faults that put back replicas would undo, and be undone by, the changes here: they are refused.

mod lane;
mod looks;
mod options;
mod run;

use kchaos_core::KeyEntry;

use crate::append::topic_that_keeps_all;
use crate::options::Options;
use crate::topics::TopicSpec;
use crate::{Context, Load, Running, Spec, Workload, WorkloadError};

pub use options::ElectionsOptions;

pub(crate) const SPEC: Spec = Spec {
    name: "elections",
    about: "light load on many partitions while leaders, replicas, topics and settings are changed; no write is lost, and what was changed stays so",
    // Over all partitions.
    load: Load::at(240.0),
    build: |options| {
        options.check()?;
        options.elections.check()?;
        if options.topic.is_some() {
            return Err(crate::options::range("topic", "left out: elections has many topics, named after the run", "given"));
        }
        Ok(Box::new(Elections { options: options.clone() }))
    },
};

struct Elections {
    options: Options,
}

impl Elections {
    fn topic(run_id: &str, number: u32) -> String {
        format!("kchaos-elections-{}-{run_id}", number + 1)
    }
}

impl Workload for Elections {
    fn keys(&self, run_id: &str) -> Vec<KeyEntry> {
        let (topics, partitions) = (self.options.elections.topics, self.options.partitions);
        let places = (0..topics).flat_map(|topic| (0..partitions).map(move |partition| (topic, partition)));
        let entry = |(key, (topic, partition)): (i64, (u32, u32))| KeyEntry {
            key,
            topic: Self::topic(run_id, topic),
            partition: i32::try_from(partition).unwrap_or(i32::MAX),
        };
        (0..).zip(places).map(entry).collect()
    }

    fn topics(&self, run_id: &str) -> Vec<TopicSpec> {
        (0..self.options.elections.topics).map(|topic| topic_that_keeps_all(Self::topic(run_id, topic), &self.options)).collect()
    }

    fn start(&self, context: Context) -> Result<Box<dyn Running>, WorkloadError> {
        let keys = self.keys(&context.run_id);
        Ok(Box::new(run::ElectionsRun::start(self.options.clone(), keys, context)?))
    }

    fn clashes_with(&self, nemesis: &str) -> Option<&'static str> {
        let moves_replicas = nemesis == "reassign" || nemesis.starts_with("move-") || nemesis.starts_with("remove-");
        moves_replicas.then_some("it puts replicas back as they were, and elections moves them itself all the time")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_through_the_partitions_of_one_topic_after_the_other() {
        let workload = (SPEC.build)(&Options::default()).unwrap();
        let keys = workload.keys("r1");
        assert_eq!(keys.len(), 24);
        assert_eq!(keys[4], KeyEntry { key: 4, topic: "kchaos-elections-2-r1".into(), partition: 1 });
        let topics = workload.topics("r1");
        assert_eq!((topics.len(), topics[0].partitions), (8, 3));
        assert!(crate::topics::is_ours(&topics[0].name, "r1"));
    }

    #[test]
    fn faults_that_put_replicas_back_are_none_for_it() {
        let workload = (SPEC.build)(&Options::default()).unwrap();
        for (nemesis, clashes) in [("reassign", true), ("move-leader", true), ("remove-leader", true), ("kill-leader", false)] {
            assert_eq!(workload.clashes_with(nemesis).is_some(), clashes, "{nemesis}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_with_what_to_change() {
        let refused = |elections: ElectionsOptions| {
            (SPEC.build)(&Options { elections, ..Options::default() }).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(refused(ElectionsOptions { topics: 0, ..Default::default() }).contains("elections-topics must be from 1 to 1000, not 0"));
        assert!(refused(ElectionsOptions { interval_ms: 1, ..Default::default() }).contains("elections-interval must be at least 50 ms"));
    }
}
