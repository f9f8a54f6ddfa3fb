//! `append`: producers write to the partitions of one topic and consumers read them while it goes on.
//!
//! Key k of the history is partition k of `kchaos-append-<run id>`. Nothing expires from the topic and nothing is compacted, so every
//! acknowledged record must be found at the end.

use kchaos_core::KeyEntry;

use crate::java::{self, JavaClients};
use crate::options::{ClientLibrary, Options};
use crate::properties;
use crate::run::ClientsRun;
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
    fn topic(&self, run_id: &str) -> String {
        self.options.topic.clone().unwrap_or_else(|| format!("kchaos-append-{run_id}"))
    }
}

impl Workload for Append {
    fn keys(&self, run_id: &str) -> Vec<KeyEntry> {
        keys_of(&self.topic(run_id), &self.options)
    }

    fn topics(&self, run_id: &str) -> Vec<TopicSpec> {
        vec![topic_that_keeps_all(self.topic(run_id), &self.options)]
    }

    fn can_be_concluded(&self) -> bool {
        true
    }

    fn start(&self, context: Context) -> Result<Box<dyn Running>, WorkloadError> {
        let keys = self.keys(&context.run_id);
        let options = self.options.clone();
        if options.client == ClientLibrary::Java {
            let clients = JavaClients::new(context.java.as_ref(), &options, context.properties.keys().cloned())?;
            return Ok(Box::new(ClientsRun::start_with(options, keys, context, Box::new(clients))?));
        }
        if context.client_hosts.is_empty() {
            return Ok(Box::new(ClientsRun::start(options, keys, context)?));
        }
        let clients = HostClients::new(&context.client_hosts);
        Ok(Box::new(ClientsRun::start_with(options, keys, context, Box::new(clients))?))
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
    fn a_topic_setting_of_the_user_replaces_ours() {
        let topic_settings = [("min.insync.replicas".to_owned(), "1".to_owned()), ("flush.messages".to_owned(), "1".to_owned())].into();
        let workload = (SPEC.build)(&Options { topic_settings, ..Options::default() }).unwrap();
        let settings = workload.topics("r1").remove(0).settings;
        let of = |name: &str| settings.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect::<Vec<_>>();
        assert_eq!((of("min.insync.replicas"), of("flush.messages"), of("retention.ms")), (vec!["1"], vec!["1"], vec!["-1"]));
    }
}
