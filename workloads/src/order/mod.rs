//! `order`: an ordering service. Several orderers write envelopes to channels, which are topics of one partition, and each of them reads every
//! channel whole and cuts it into blocks, as the orderers of a blockchain do (Hyperledger Fabric's did it with Kafka).
//!
//! Why: such a system needs nothing of Kafka but the order. Whatever fails, every orderer must see the same envelopes in the same places, and so cut
//! the same blocks; one that joins late or comes back must find again what the others found.
//!
//! - **Envelopes** have sizes of their own, drawn evenly by their logarithm. Large ones come from one more client, one at a time (`large.rs`).
//! - **Time to cut**: an orderer that holds envelopes for longer than the batch's timeout sends TTC-n, where n is the number of the block
//!   that it fills. The first TTC-n in the log cuts block n; later ones say nothing. So when a block is cut stands in the log itself, and no
//!   clock decides (`cutter.rs`).
//! - **Late** orderers start in mid-run, at the beginning of every channel. **Restarts** end an orderer's clients and begin anew a few blocks back, or
//!   at the beginning.
//!
//! What is judged: the log by all rules (lost, duplicate, reordered, skipped; total order), since every orderer's polls stand in the history. And the
//! blocks, by the run: each block that an orderer cuts, be it for the second time, must be the one that was cut first under its number, and at the
//! end all orderers must have come to the same place. A time-to-cut that no orderer can have sent in the log that was read, ahead of its
//! block or with nothing to cut, is a disagreement too.

mod cutter;
mod large;
mod ledger;
mod options;
mod orderer;
mod run;

use kchaos_core::KeyEntry;

pub use options::OrderOptions;

use crate::append::topic_that_keeps_all;
use crate::options::Options;
use crate::topics::TopicSpec;
use crate::{Context, Load, Running, Spec, Workload, WorkloadError};

pub(crate) const SPEC: Spec = Spec {
    name: "order",
    about: "orderers write envelopes of all sizes to channels, read them back and cut blocks, some late or restarted; all must see one order",
    // Envelopes are ten times as large as the records of `append`, and everybody reads them. Those who order read what they write, and need no
    // other readers.
    load: Load { rate: 200.0, producers: 3, consumers: 0 },
    build: |options| {
        options.check()?;
        let order = options.order.clone().unwrap_or_default();
        order.check(options)?;
        Ok(Box::new(Order { options: Options { order: Some(order), ..options.clone() } }))
    },
};

struct Order {
    options: Options,
}

impl Order {
    /// Of a channel that counts from 0.
    fn topic(&self, run_id: &str, channel: u32) -> String {
        match &self.options.topic {
            Some(name) if self.options.partitions == 1 => name.clone(),
            Some(name) => format!("{name}-{}", channel + 1),
            None => format!("kchaos-order-{}-{run_id}", channel + 1),
        }
    }
}

impl Workload for Order {
    fn keys(&self, run_id: &str) -> Vec<KeyEntry> {
        let channels = 0..self.options.partitions;
        channels.map(|channel| KeyEntry { key: i64::from(channel), topic: self.topic(run_id, channel), partition: 0 }).collect()
    }

    fn topics(&self, run_id: &str) -> Vec<TopicSpec> {
        let one = Options { partitions: 1, ..self.options.clone() };
        (0..self.options.partitions).map(|channel| topic_that_keeps_all(self.topic(run_id, channel), &one)).collect()
    }

    fn can_be_concluded(&self) -> bool {
        true
    }

    fn start(&self, context: Context) -> Result<Box<dyn Running>, WorkloadError> {
        let keys = self.keys(&context.run_id);
        Ok(Box::new(run::OrderRun::start(self.options.clone(), keys, context)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_k_is_the_one_partition_of_channel_k() {
        let workload = (SPEC.build)(&Options::default()).unwrap();
        assert_eq!(workload.keys("r1")[1], KeyEntry { key: 1, topic: "kchaos-order-2-r1".into(), partition: 0 });
        let topics = workload.topics("r1");
        assert_eq!(topics.iter().map(|topic| (topic.name.as_str(), topic.partitions)).collect::<Vec<_>>()[2], ("kchaos-order-3-r1", 1));
        assert!(crate::topics::is_ours(&topics[0].name, "r1"));
    }

    #[test]
    fn a_channel_takes_99_mib_in_a_batch_for_values_of_64_kib_less() {
        let order = OrderOptions { large_bytes: 103_743_488, ..OrderOptions::default() };
        let workload = (SPEC.build)(&Options { order: Some(order), ..Options::default() }).unwrap();
        let limit = workload.topics("r1").remove(0).settings.into_iter().find(|(name, _)| name == "max.message.bytes");
        assert_eq!(limit.unwrap().1, (99 * 1024 * 1024).to_string());
    }

    #[test]
    fn what_cannot_work_is_refused_with_what_to_change() {
        let check = |change: &dyn Fn(&mut OrderOptions), words: &str| {
            let mut order = OrderOptions::default();
            change(&mut order);
            let error = (SPEC.build)(&Options { order: Some(order), ..Options::default() }).err().unwrap().to_string();
            assert!(error.contains(words), "{error}");
        };
        check(&|order| order.late = 2, "order-late must be less than the number of orderers (--producers)");
        check(&|order| order.large_bytes = 200_000_000, "order-large-bytes must be 0, or from 10000 to 103743488");
        check(&|order| order.value_bytes_max = 100, "order-value-bytes-max must be from value-bytes (200)");
        check(&|order| order.batch_messages = 0, "order-batch-messages must be at least 1");
    }
}
