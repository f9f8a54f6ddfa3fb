//! The flags of the workload `offsets`.

use std::time::Duration;

use clap::Args;
use kchaos_workloads::OffsetsOptions;

use super::duration;
use crate::run::millis;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Bounds of logs (workload offsets)")]
pub(crate) struct OffsetsArgs {
    /// From one question to the next, on average: where a log starts, where it ends, which record is the first of a time
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = duration)]
    pub(crate) offsets_interval: Duration,
    /// From one deletion of records to the next, on average
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = duration)]
    pub(crate) offsets_delete_every: Duration,
    /// retention.ms of the topic that expires. Brokers look for what has expired every 5 minutes, unless log.retention.check.interval.ms says otherwise
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = duration)]
    pub(crate) offsets_retention: Duration,
    /// segment.ms of the topics that expire and are compacted
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = duration)]
    pub(crate) offsets_segment: Duration,
}

impl OffsetsArgs {
    pub(crate) fn options(&self) -> OffsetsOptions {
        OffsetsOptions {
            interval_ms: millis(self.offsets_interval),
            delete_every_ms: millis(self.offsets_delete_every),
            retention_ms: millis(self.offsets_retention),
            segment_ms: millis(self.offsets_segment),
        }
    }
}
