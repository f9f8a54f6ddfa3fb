//! `transactions`: producers with transactional ids send to several keys and read in transactions that commit or abort, some of them fenced
//! on purpose, while consumers read what was committed.
//!
//! Key k of the history is partition k of `kchaos-transactions-<run id>`. Each of the run's producers is a client with a transactional id
//! and a consumer of its own; what it reads in a transaction that was not ok it reads again (an abort rewinds). In the middle of a few
//! transactions a second producer takes the id over; the first goes on as a zombie, or vanishes. What an outcome means stands in `outcome`.
//!
//! Live consumers read beside it, committed data by default; with read_uncommitted they, and the polls inside transactions, are shown
//! aborted values too (`G1a`). The finale reads what is committed, whatever the isolation.
//!
//! What this does not do: commit a group's offsets in transactions (`send_offsets_to_transaction`, KIP-447).

pub(crate) mod book;
mod client;
mod outcome;
pub(crate) mod plan;
pub(crate) mod producer;
pub(crate) mod seat;
mod tail;

use kchaos_core::KeyEntry;

#[cfg(feature = "mutants")]
pub(crate) use outcome::TABLE as COMMITS;
pub(crate) use outcome::{Answer, document};

use crate::append::{keys_of, topic_that_keeps_all};
use crate::options::{Acks, Options, OptionsError};
use crate::run::ClientsRun;
use crate::topics::TopicSpec;
use crate::{Context, Load, Running, Spec, Workload, WorkloadError};

pub(crate) const SPEC: Spec = Spec {
    name: "transactions",
    about: "transactions send to several keys and read; what commits is seen whole, what aborts is never seen, zombies are fenced",
    // Transactions. One takes several round trips and writes to the coordinator's log and a marker to each partition, so a client makes a few
    // tens of them a second, and must catch up after an election.
    load: Load::at(20.0),
    build: |options| {
        options.check()?;
        if !options.idempotence || options.acks != Acks::All {
            return Err(OptionsError::TransactionsNeedIdempotence);
        }
        Ok(Box::new(Transactions { options: options.clone() }))
    },
};

struct Transactions {
    options: Options,
}

impl Transactions {
    fn topic(&self, run_id: &str) -> String {
        self.options.topic.clone().unwrap_or_else(|| format!("kchaos-transactions-{run_id}"))
    }
}

/// Of a client that counts from 0.
pub(crate) fn transactional_id(run_id: &str, number: usize) -> String {
    format!("kchaos-{run_id}-txn-{}", number + 1)
}

impl Workload for Transactions {
    fn keys(&self, run_id: &str) -> Vec<KeyEntry> {
        keys_of(&self.topic(run_id), &self.options)
    }

    fn topics(&self, run_id: &str) -> Vec<TopicSpec> {
        vec![topic_that_keeps_all(self.topic(run_id), &self.options)]
    }

    fn transactional_ids(&self, run_id: &str) -> Vec<String> {
        (0..self.options.producers as usize).map(|number| transactional_id(run_id, number)).collect()
    }

    fn can_be_concluded(&self) -> bool {
        true
    }

    fn start(&self, context: Context) -> Result<Box<dyn Running>, WorkloadError> {
        let keys = self.keys(&context.run_id);
        Ok(Box::new(ClientsRun::start_with(self.options.clone(), keys, context, Box::new(client::Clients))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_a_transactional_id_for_each_producer() {
        let workload = (SPEC.build)(&Options { producers: 2, ..Options::default() }).unwrap();
        assert_eq!(workload.transactional_ids("r1"), ["kchaos-r1-txn-1", "kchaos-r1-txn-2"]);
        assert_eq!(workload.keys("r1")[1].topic, "kchaos-transactions-r1");
    }

    #[test]
    fn transactions_without_idempotence_are_refused() {
        for options in
            [Options { idempotence: false, ..Options::default() }, Options { acks: Acks::Leader, idempotence: false, ..Options::default() }]
        {
            let error = (SPEC.build)(&options).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains("transactions need idempotence"), "{error}");
        }
    }
}
