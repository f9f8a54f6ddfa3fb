//! The flags of the workload `elections`.

use std::time::Duration;

use clap::Args;
use kchaos_workloads::ElectionsOptions;

use super::duration;
use crate::run::millis;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Changes of the cluster (workload elections)")]
pub(crate) struct ElectionsArgs {
    /// Topics, each of --partitions partitions
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) elections_topics: u32,
    /// From one change of the cluster to the next, on average: a leader moved, a replica reassigned, a topic made, grown or deleted, a setting changed
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(crate) elections_interval: Duration,
}

impl ElectionsArgs {
    pub(crate) fn options(&self) -> ElectionsOptions {
        ElectionsOptions { topics: self.elections_topics, interval_ms: millis(self.elections_interval) }
    }
}
