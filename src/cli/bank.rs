//! Flags of the workload `bank`: its accounts, and what is taken away from it.

use clap::Args;
use kchaos_workloads::BankOptions;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Bank (workload bank)")]
pub(crate) struct BankArgs {
    /// Accounts of each process (--producers); each is a record key of a compacted topic
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) bank_accounts: u32,
    /// The share of transfers in whose middle the process crashes; its successor reads the accounts back
    #[arg(long, value_name = "FRACTION", default_value_t = 0.01)]
    pub(crate) bank_crashes: f64,
    /// Send the two balances of a transfer without a transaction: money is lost as soon as one of them fails
    #[arg(long)]
    pub(crate) bank_without_transactions: bool,
}

impl BankArgs {
    pub(crate) fn options(&self) -> BankOptions {
        BankOptions { accounts: self.bank_accounts, crashes: self.bank_crashes, transactions: !self.bank_without_transactions }
    }
}
