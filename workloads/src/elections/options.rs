//! What a user chooses about the workload `elections`.

use serde::{Deserialize, Serialize};

use crate::options::{OptionsError, range};

/// Each topic has as many partitions as `partitions` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ElectionsOptions {
    pub topics: u32,
    /// From one change of the cluster to the next, on average.
    pub interval_ms: u64,
}

impl Default for ElectionsOptions {
    fn default() -> Self {
        Self { topics: 8, interval_ms: 1_000 }
    }
}

impl ElectionsOptions {
    pub(super) fn check(&self) -> Result<(), OptionsError> {
        if !(1..=1_000).contains(&self.topics) {
            return Err(range("elections-topics", "from 1 to 1000", self.topics));
        }
        if self.interval_ms < 50 {
            return Err(range("elections-interval", "at least 50 ms", format!("{} ms", self.interval_ms)));
        }
        Ok(())
    }
}
