//! `queue`: producers as in `append`, and a consumer group that processes what they write and commits it, while its members come and go.
//!
//! Why: a user's system is such a group more often than not, and what it fears is not only a lost record but one that the group passes over.
//! So every acknowledged value that lies before a committed offset must have been processed by some member; and at the end the group goes on until
//! it has committed every key to its end, or the run is unknown. What is given to the group again is counted: at-least-once means that.
//!
//! The keys, the producers, the readers beside the group and the final reads are those of `append`.

mod batch;
mod commits;
mod context;
mod group;
mod member;
mod options;
mod probe;
mod run;
mod trouble;

use kchaos_core::KeyEntry;

pub(crate) use commits::document;
pub use options::{GroupAssignor, GroupCommit, GroupOptions, GroupProtocol};

use crate::append::{keys_of, topic_that_keeps_all};
use crate::options::Options;
use crate::topics::TopicSpec;
use crate::{Context, Load, Running, Spec, Workload, WorkloadError};

pub(crate) const SPEC: Spec = Spec {
    name: "queue",
    about: "a consumer group processes and commits what producers write, while members crash, pause, join and leave; nothing may go unprocessed",
    load: Load::PLAIN,
    build: |options| {
        options.check()?;
        options.group.check()?;
        Ok(Box::new(Queue { options: options.clone() }))
    },
};

struct Queue {
    options: Options,
}

impl Queue {
    fn topic(&self, run_id: &str) -> String {
        self.options.topic.clone().unwrap_or_else(|| group(run_id))
    }
}

/// The group is called as the run's own topic is.
fn group(run_id: &str) -> String {
    format!("kchaos-queue-{run_id}")
}

impl Workload for Queue {
    fn keys(&self, run_id: &str) -> Vec<KeyEntry> {
        keys_of(&self.topic(run_id), &self.options)
    }

    fn topics(&self, run_id: &str) -> Vec<TopicSpec> {
        vec![topic_that_keeps_all(self.topic(run_id), &self.options)]
    }

    fn groups(&self, run_id: &str) -> Vec<String> {
        vec![group(run_id)]
    }

    fn refuse_cluster(&self, context: &Context) -> Result<(), WorkloadError> {
        probe::refuse_cluster(&self.options, context)
    }

    fn can_be_concluded(&self) -> bool {
        true
    }

    fn start(&self, context: Context) -> Result<Box<dyn Running>, WorkloadError> {
        let name = group(&context.run_id);
        let (keys, topic) = (self.keys(&context.run_id), self.topic(&context.run_id));
        Ok(Box::new(run::QueueRun::start(self.options.clone(), keys, topic, name, context)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_known_before_the_start_and_key_k_is_partition_k() {
        let workload = (SPEC.build)(&Options::default()).unwrap();
        assert_eq!(workload.groups("r1"), ["kchaos-queue-r1"]);
        assert_eq!(workload.keys("r1")[2], KeyEntry { key: 2, topic: "kchaos-queue-r1".into(), partition: 2 });
        assert_eq!(workload.topics("r1")[0].name, "kchaos-queue-r1");
    }

    #[test]
    fn a_group_that_cannot_work_is_refused() {
        let options = Options { group: GroupOptions { late: 9, ..GroupOptions::default() }, ..Options::default() };
        let error = (SPEC.build)(&options).err().unwrap().to_string();
        assert!(error.contains("group-late must be less than group-members"), "{error}");
    }
}
