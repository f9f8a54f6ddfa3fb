//! `bank`: processes move money between their accounts, which stand in a compacted topic; each transfer is a transaction of the two new balances.
//!
//! Why: this is what a table in Kafka is, be it a changelog of a stream processor or a store of states. Two promises must hold at once for it: both
//! balances change or none, and of every account the last balance is kept, whatever compaction takes away. What shows that they do is one number.
//!
//! Account a is the record key `k<a>`, on partition a modulo the partitions, so that nearly all transfers span two. Each process (`--producers`) has accounts of its
//! own, so no two write one. A process that was replaced, be it after a commit of unknown outcome or a crash on purpose (`--bank-crashes`),
//! takes its transactional id over, reads its accounts back from the topic's beginning, and goes on from what it finds there.
//!
//! What is judged, beside all that holds for a log of transactions:
//!
//! - **the sum**: every reader cuts the accounts along whole transfers (`fold.rs`) and tells what it has (`bank-snapshot`): `balance-changed`;
//! - **the last value**: whoever reads the topic from its beginning must find the last balance of each account that was committed for certain, or a
//!   later one (`compacted-read`): `lost-write`. That compaction ran at all is shown by superseded records that the final read did not find; if none is
//!   gone, nothing was proved of it.
//!
//! What has a later record of its account behind it may be gone at any time. Before such a later one is committed, the one before it is told as
//! `superseded`, and nobody is accused of having left it out.

mod fold;
mod ledger;
mod note;
mod options;
mod restore;
mod run;
mod teller;

use kchaos_core::KeyEntry;

pub use options::BankOptions;

use crate::append::{keys_of, topic_that_keeps_all};
use crate::options::{Acks, Options, OptionsError};
use crate::topics::TopicSpec;
use crate::transactions::transactional_id;
use crate::{Context, Load, Running, Spec, Workload, WorkloadError};

pub(crate) const SPEC: Spec = Spec {
    name: "bank",
    about: "transfers in transactions between accounts in a compacted topic: the sum never changes, no last balance is lost",
    // Transfers. A process makes one at a time, and takes most of a second to come back after a crash.
    load: Load::at(10.0),
    build: |options| {
        options.check()?;
        options.bank.check(options)?;
        if options.bank.transactions && (!options.idempotence || options.acks != Acks::All) {
            return Err(OptionsError::TransactionsNeedIdempotence);
        }
        Ok(Box::new(Bank { options: options.clone() }))
    },
};

/// Compaction never touches the segment that is written to, and Kafka's own settings would let it begin after a week.
const COMPACTION: [(&str, &str); 4] =
    [("cleanup.policy", "compact"), ("segment.ms", "2000"), ("min.cleanable.dirty.ratio", "0.01"), ("min.compaction.lag.ms", "0")];

struct Bank {
    options: Options,
}

impl Bank {
    fn topic(&self, run_id: &str) -> String {
        self.options.topic.clone().unwrap_or_else(|| format!("kchaos-bank-{run_id}"))
    }
}

impl Workload for Bank {
    fn keys(&self, run_id: &str) -> Vec<KeyEntry> {
        keys_of(&self.topic(run_id), &self.options)
    }

    fn topics(&self, run_id: &str) -> Vec<TopicSpec> {
        let mut options = self.options.clone();
        for (name, value) in COMPACTION {
            options.topic_settings.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        vec![topic_that_keeps_all(self.topic(run_id), &options)]
    }

    fn transactional_ids(&self, run_id: &str) -> Vec<String> {
        let count = if self.options.bank.transactions { self.options.producers as usize } else { 0 };
        (0..count).map(|number| transactional_id(run_id, number)).collect()
    }

    fn start(&self, context: Context) -> Result<Box<dyn Running>, WorkloadError> {
        let keys = self.keys(&context.run_id);
        Ok(Box::new(run::BankRun::start(self.options.clone(), keys, context)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topic_is_compacted_soon_unless_the_user_wants_it_otherwise() {
        let of = |options: &Options, name: &str| {
            let settings = (SPEC.build)(options).unwrap().topics("r1").remove(0).settings;
            settings.into_iter().filter(|(found, _)| found == name).map(|(_, value)| value).collect::<Vec<_>>()
        };
        let mut options = Options::default();
        assert_eq!((of(&options, "cleanup.policy"), of(&options, "segment.ms")), (vec!["compact".into()], vec!["2000".into()]));
        options.topic_settings.insert("segment.ms".into(), "9000".into());
        assert_eq!(of(&options, "segment.ms"), ["9000"]);
    }

    #[test]
    fn what_cannot_work_is_refused_with_what_to_change() {
        let refused = |change: &dyn Fn(&mut Options)| {
            let mut options = Options::default();
            change(&mut options);
            (SPEC.build)(&options).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(refused(&|options| options.bank.accounts = 1).contains("bank-accounts must be from 2 to 64"));
        assert!(refused(&|options| options.bank.crashes = 1.5).contains("bank-crashes must be from 0 to 1"));
        assert!(refused(&|options| options.partitions = 9).contains("partitions must be at most 8"));
        assert!(refused(&|options| options.idempotence = false).contains("transactions need idempotence"));
        assert_eq!(refused(&|options| (options.idempotence, options.bank.transactions) = (false, false)), "");
    }
}
