//! The flags of the workload `transactions`.

use std::time::Duration;

use clap::Args;

use super::duration;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Transactions")]
pub(crate) struct TxnArgs {
    /// A transaction has from 1 to so many micro-ops: sends, and a poll for every three of them
    #[arg(long, default_value_t = 6, value_name = "MICRO-OPS")]
    pub(crate) txn_size: u32,
    /// The share of transactions that are meant to be aborted
    #[arg(long, default_value_t = 0.2, value_name = "FRACTION")]
    pub(crate) txn_aborts: f64,
    /// The share of transactions in whose middle a second producer takes the transactional id over, so that the first is fenced
    #[arg(long, default_value_t = 0.02, value_name = "FRACTION")]
    pub(crate) txn_zombies: f64,
    /// When the coordinator aborts a transaction that nobody ended (transaction.timeout.ms)
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub(crate) txn_timeout: Duration,
    /// A transaction stays open for so long after its last step, with everything sent, before it is ended: as that of an application that has work to do
    #[arg(long, default_value = "0s", value_parser = duration, value_name = "TIME")]
    pub(crate) txn_pause: Duration,
}
