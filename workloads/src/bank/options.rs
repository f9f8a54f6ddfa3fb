//! What a user chooses about the bank.

use serde::{Deserialize, Serialize};

use crate::options::{Options, OptionsError, range};

/// The bank of the workload `bank`. Its processes are the run's producers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BankOptions {
    /// Accounts of each process.
    pub accounts: u32,
    /// The fraction of transfers in whose middle the process crashes.
    pub crashes: f64,
    /// Without, the two balances of a transfer are two sends.
    pub transactions: bool,
}

impl Default for BankOptions {
    fn default() -> Self {
        Self { accounts: 4, crashes: 0.01, transactions: true }
    }
}

impl BankOptions {
    pub(crate) fn check(&self, options: &Options) -> Result<(), OptionsError> {
        if !(2..=64).contains(&self.accounts) {
            return Err(range("bank-accounts", "from 2 to 64", self.accounts));
        }
        if !(0.0..=1.0).contains(&self.crashes) {
            return Err(range("bank-crashes", "from 0 to 1", self.crashes));
        }
        let accounts = self.accounts.saturating_mul(options.producers);
        if options.partitions > accounts {
            let allowed = format!("at most {accounts}, so that each has an account (--producers times --bank-accounts)");
            return Err(range("partitions", &allowed, options.partitions));
        }
        Ok(())
    }
}
