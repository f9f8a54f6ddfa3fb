//! Flags of the workload `queue`: its consumer group.

use std::time::Duration;

use clap::Args;
use kchaos_workloads::GroupOptions;

use super::{duration, named};
use crate::exit::Failure;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Consumer group (workload queue)")]
pub(crate) struct GroupArgs {
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) group_members: u32,
    /// How members commit: sync or async after each batch; by librdkafka's timer what was processed (stored), or what was handed over (auto: its
    /// default, and not safe)
    #[arg(long, value_name = "MODE", default_value = "sync")]
    pub(crate) group_commit: String,
    /// Where a member begins that finds no committed offset, or one that is gone: earliest, or latest (Kafka's default, and not safe)
    #[arg(long, value_name = "WHERE", default_value = "earliest")]
    pub(crate) group_offset_reset: String,
    /// classic, or consumer (KIP-848) where the brokers have it
    #[arg(long, value_name = "PROTOCOL", default_value = "classic")]
    pub(crate) group_protocol: String,
    /// range, roundrobin or cooperative-sticky; with the protocol consumer range or uniform [default: range, or the brokers' own]
    #[arg(long, value_name = "ASSIGNOR")]
    pub(crate) group_assignor: Option<String>,
    /// Static members: one that is back within its session keeps its partitions
    #[arg(long)]
    pub(crate) group_static: bool,
    /// After this time without a heartbeat a member is thrown out; of the classic protocol alone [default: 6s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) group_session_timeout: Option<Duration>,
    /// A member that does not poll for longer leaves the group; a pause lasts longer than this
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) group_max_poll_interval: Duration,
    /// Of librdkafka's timer (auto, stored)
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(crate) group_auto_commit_interval: Duration,
    /// What a member takes for each batch of up to 500 records
    #[arg(long, value_name = "TIME", default_value = "20ms", value_parser = duration)]
    pub(crate) group_processing: Duration,
    /// So many of the members join 5 to 15 s after the others
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) group_late: u32,
    /// About once in this time a member crashes with a batch in hand, without a word to the group; 0s for never
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = duration)]
    pub(crate) group_crash_every: Duration,
    /// The same for members that pause for longer than --group-max-poll-interval, and then go on as if nothing had been
    #[arg(long, value_name = "TIME", default_value = "40s", value_parser = duration)]
    pub(crate) group_pause_every: Duration,
    /// The same for members that leave as they should, and come back
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) group_leave_every: Duration,
    /// Members consume, transform and produce: the outputs of each batch and its offsets are one transaction. Each acknowledged input must have
    /// exactly one committed output
    #[arg(long)]
    pub(crate) exactly_once: bool,
    /// The same with offsets that are committed after the transaction and not in it: a crash in between, or a member that was thrown out, processes
    /// twice
    #[arg(long)]
    pub(crate) exactly_once_unsafe: bool,
}

impl GroupArgs {
    pub(crate) fn options(&self) -> Result<GroupOptions, Failure> {
        Ok(GroupOptions {
            members: self.group_members,
            commit: named("--group-commit", &self.group_commit)?,
            offset_reset: named("--group-offset-reset", &self.group_offset_reset)?,
            protocol: named("--group-protocol", &self.group_protocol)?,
            assignor: self.group_assignor.as_deref().map(|name| named("--group-assignor", name)).transpose()?,
            is_static: self.group_static,
            session_timeout_ms: self.group_session_timeout.map(crate::run::millis),
            max_poll_interval_ms: crate::run::millis(self.group_max_poll_interval),
            auto_commit_interval_ms: crate::run::millis(self.group_auto_commit_interval),
            processing_ms: crate::run::millis(self.group_processing),
            late: self.group_late,
            crash_every_ms: crate::run::millis(self.group_crash_every),
            pause_every_ms: crate::run::millis(self.group_pause_every),
            leave_every_ms: crate::run::millis(self.group_leave_every),
            exactly_once: self.exactly_once || self.exactly_once_unsafe,
            exactly_once_unsafe: self.exactly_once_unsafe,
        })
    }
}
