//! `append`: producers write to the partitions of one topic and consumers read them while it goes on.
//!
//! Key k of the history is partition k of `kchaos-append-<run id>`. Nothing expires from the topic and nothing is compacted, so every
//! acknowledged record must be found at the end. With `--rotate-keys` there are generations of such topics (`rotation`), and key k is partition
//! k mod n of topic k / n, of n partitions each.

use std::sync::Arc;

use kchaos_core::KeyEntry;

use crate::aside::{self, Aside};
use crate::java::{self, JavaClients};
use crate::options::{ClientLibrary, Options};
use crate::properties;
use crate::rotation;
use crate::run::{Clients, ClientsRun, Plain};
use crate::topics::TopicSpec;
use crate::worker::HostClients;
use crate::{Context, Load, Running, Spec, Workload, WorkloadError};

pub(crate) const SPEC: Spec = Spec {
    name: "append",
    about: "producers append to partitions, consumers read them; nothing acknowledged may be lost, doubled or reordered",
    load: Load::PLAIN,
    build: |options| {
        options.check()?;
        if options.client == ClientLibrary::Java {
            java::check_properties(options.properties.iter().map(|(name, _)| name.clone()))?;
        }
        Ok(Box::new(Append { options: options.clone() }))
    },
};

struct Append {
    options: Options,
}

impl Append {
    fn topic(&self, run_id: &str, generation: u32) -> String {
        let own = || match self.options.rotation {
            None => format!("kchaos-append-{run_id}"),
            Some(_) => format!("kchaos-append-{}-{run_id}", generation + 1),
        };
        self.options.topic.clone().unwrap_or_else(own)
    }

    fn generations(&self) -> u32 {
        self.options.rotation.map_or(1, |rotation| rotation.generations.max(1))
    }
}

impl Workload for Append {
    fn keys(&self, run_id: &str) -> Vec<KeyEntry> {
        let generations = (0..self.generations()).flat_map(|generation| keys_of(&self.topic(run_id, generation), &self.options));
        (0..).zip(generations).map(|(key, entry)| KeyEntry { key, ..entry }).collect()
    }

    fn topics(&self, run_id: &str) -> Vec<TopicSpec> {
        vec![topic_that_keeps_all(self.topic(run_id, 0), &self.options)]
    }

    fn later_topics(&self, run_id: &str) -> Vec<TopicSpec> {
        (1..self.generations()).map(|generation| topic_that_keeps_all(self.topic(run_id, generation), &self.options)).collect()
    }

    /// Who reads it to the end would have to know which topics were made.
    fn can_be_concluded(&self) -> bool {
        self.options.rotation.is_none()
    }

    fn start(&self, context: Context) -> Result<Box<dyn Running>, WorkloadError> {
        let (keys, later) = (self.keys(&context.run_id), self.later_topics(&context.run_id));
        let options = self.options.clone();
        let admin = (!later.is_empty()).then(|| aside::admin("append with --rotate-keys", &context)).transpose()?;
        let clients: Box<dyn Clients> = match options.client {
            ClientLibrary::Java => Box::new(JavaClients::new(context.java.as_ref(), &options, context.properties.keys().cloned())?),
            ClientLibrary::Librdkafka if context.client_hosts.is_empty() => Box::new(Plain),
            ClientLibrary::Librdkafka => Box::new(HostClients::new(&context.client_hosts)),
        };
        let run = ClientsRun::start_with(options, keys, context, clients)?;
        let Some(admin) = admin else { return Ok(Box::new(run)) };
        let shared = Arc::clone(&run.shared);
        let maker = Aside::spawn("topic-maker", move |over| rotation::make_topics(&shared, admin.as_ref(), &later, &over))?;
        Ok(Box::new(run.beside(maker)))
    }
}

/// Key k is partition k.
pub(crate) fn keys_of(topic: &str, options: &Options) -> Vec<KeyEntry> {
    let partitions = i32::try_from(options.partitions).unwrap_or(i32::MAX);
    (0..partitions).map(|partition| KeyEntry { key: i64::from(partition), topic: topic.to_owned(), partition }).collect()
}

/// Nothing expires and nothing is compacted, unless the user's settings say so.
pub(crate) fn topic_that_keeps_all(name: String, options: &Options) -> TopicSpec {
    let own = [
        ("min.insync.replicas", options.min_insync_replicas.to_string()),
        ("cleanup.policy", "delete".to_owned()),
        ("retention.ms", "-1".to_owned()),
        ("retention.bytes", "-1".to_owned()),
        ("max.message.bytes", properties::message_max_bytes(options).to_string()),
    ];
    let mut settings: Vec<(String, String)> = own.map(|(name, value)| (name.to_owned(), value)).into();
    for (name, value) in &options.topic_settings {
        settings.retain(|(own, _)| own != name);
        settings.push((name.clone(), value.clone()));
    }
    TopicSpec { name, partitions: options.partitions, replication_factor: options.replication_factor, settings }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_k_is_partition_k_of_the_runs_topic() {
        let workload = (SPEC.build)(&Options::default()).unwrap();
        let keys = workload.keys("r1");
        assert_eq!(keys.len(), 3);
        assert_eq!(keys[2], KeyEntry { key: 2, topic: "kchaos-append-r1".into(), partition: 2 });
        assert_eq!(workload.topics("r1")[0].name, "kchaos-append-r1");
    }

    #[test]
    fn keys_that_rotate_are_partitions_of_topics_of_their_own_and_only_the_first_is_there_from_the_start() {
        let rotation = Some(rotation::Rotation { every_ms: 10_000, generations: 3 });
        let workload = (SPEC.build)(&Options { rotation, partitions: 2, ..Options::default() }).unwrap();
        assert_eq!(workload.keys("r1")[3], KeyEntry { key: 3, topic: "kchaos-append-2-r1".into(), partition: 1 });
        let names = |topics: Vec<TopicSpec>| topics.into_iter().map(|topic| topic.name).collect::<Vec<_>>();
        assert_eq!((workload.keys("r1").len(), names(workload.topics("r1"))), (6, vec!["kchaos-append-1-r1".into()]));
        assert_eq!(names(workload.later_topics("r1")), ["kchaos-append-2-r1", "kchaos-append-3-r1"]);
        assert!(!workload.can_be_concluded());
    }

    #[test]
    fn a_topic_setting_of_the_user_replaces_ours() {
        let topic_settings = [("min.insync.replicas".to_owned(), "1".to_owned()), ("flush.messages".to_owned(), "1".to_owned())].into();
        let workload = (SPEC.build)(&Options { topic_settings, ..Options::default() }).unwrap();
        let settings = workload.topics("r1").remove(0).settings;
        let of = |name: &str| settings.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect::<Vec<_>>();
        assert_eq!((of("min.insync.replicas"), of("flush.messages"), of("retention.ms")), (vec!["1"], vec!["1"], vec!["-1"]));
    }
}
