//! `queue`: producers as in `append`, and a consumer group that processes what they write and commits it, while its members come and go.
//!
//! Why: a user's system is such a group more often than not, and what it fears is not only a lost record but one that the group passes over.
//! So every acknowledged value that lies before a committed offset must have been processed by some member; and at the end the group goes on until
//! it has committed every key to its end, or the run is unknown. What is given to the group again is counted: at-least-once means that.
//!
//! With `--exactly-once` the members make outputs of what they are given: each acknowledged input must have exactly one committed output, whatever happens
//! to members, brokers and coordinators. The keys of the outputs stand behind those of the inputs.
//!
//! The keys, the producers, the readers beside the group and the final reads are those of `append`.

mod batch;
mod commits;
mod context;
mod group;
mod member;
mod options;
mod outputs;
mod probe;
mod run;
mod transact;
mod trouble;

use kchaos_core::KeyEntry;

#[cfg(feature = "mutants")]
pub(crate) use commits::TABLE as COMMITS;
pub(crate) use commits::document;
pub use options::{GroupAssignor, GroupCommit, GroupOffsetReset, GroupOptions, GroupProtocol};

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
        options.group.check_exactly_once(options)?;
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

    /// With `--exactly-once`.
    fn output_topic(&self, run_id: &str) -> Option<String> {
        let name =
            || self.options.topic.as_ref().map_or_else(|| format!("kchaos-queue-outputs-{run_id}"), |topic| format!("{topic}-outputs"));
        self.options.group.exactly_once.then(name)
    }
}

/// The group is called as the run's own topic is.
fn group(run_id: &str) -> String {
    format!("kchaos-queue-{run_id}")
}

impl Workload for Queue {
    fn keys(&self, run_id: &str) -> Vec<KeyEntry> {
        let mut keys = keys_of(&self.topic(run_id), &self.options);
        let inputs = keys.len() as i64;
        let outputs = self.output_topic(run_id).map(|topic| keys_of(&topic, &self.options)).unwrap_or_default();
        keys.extend(outputs.into_iter().map(|entry| KeyEntry { key: entry.key + inputs, ..entry }));
        keys
    }

    fn topics(&self, run_id: &str) -> Vec<TopicSpec> {
        let names = [self.topic(run_id)].into_iter().chain(self.output_topic(run_id));
        names.map(|name| topic_that_keeps_all(name, &self.options)).collect()
    }

    fn groups(&self, run_id: &str) -> Vec<String> {
        vec![group(run_id)]
    }

    fn transactional_ids(&self, run_id: &str) -> Vec<String> {
        let members = if self.options.group.exactly_once { self.options.group.members as usize } else { 0 };
        (0..members).map(|member| transact::transactional_id(run_id, member)).collect()
    }

    fn refuse_cluster(&self, context: &Context) -> Result<(), WorkloadError> {
        probe::refuse_cluster(&self.options, context)?;
        if self.options.group.exactly_once { transact::refuse_cluster(&self.options, context) } else { Ok(()) }
    }

    fn can_be_concluded(&self) -> bool {
        // Its group writes, and which attempts there were is known to nobody.
        !self.options.group.exactly_once
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
    fn outputs_have_a_topic_whose_keys_stand_behind_those_of_the_inputs() {
        let group = GroupOptions { exactly_once: true, ..GroupOptions::default() };
        let workload = (SPEC.build)(&Options { group, ..Options::default() }).unwrap();
        let keys = workload.keys("r1");
        assert_eq!((keys.len(), &keys[4]), (6, &KeyEntry { key: 4, topic: "kchaos-queue-outputs-r1".into(), partition: 1 }));
        assert_eq!(
            workload.topics("r1").iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(),
            ["kchaos-queue-r1", "kchaos-queue-outputs-r1"]
        );
        assert_eq!(workload.transactional_ids("r1"), ["kchaos-r1-member-1", "kchaos-r1-member-2", "kchaos-r1-member-3"]);
    }

    #[test]
    fn a_group_that_cannot_work_is_refused() {
        let options = Options { group: GroupOptions { late: 9, ..GroupOptions::default() }, ..Options::default() };
        let error = (SPEC.build)(&options).err().unwrap().to_string();
        assert!(error.contains("group-late must be less than group-members"), "{error}");
    }
}
