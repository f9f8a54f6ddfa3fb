//! Flags of the workload `order`: its orderers, their blocks, and how large envelopes are.

use std::time::Duration;

use clap::Args;
use kchaos_workloads::OrderOptions;

use super::duration;
use crate::run::millis;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Ordering service (workload order)")]
pub(crate) struct OrderArgs {
    /// Envelopes have from --value-bytes to so many bytes, drawn evenly by the logarithm
    #[arg(long, value_name = "BYTES", default_value_t = 10_000)]
    pub(crate) order_value_bytes_max: u32,
    /// The greatest of the large envelopes, which one more client sends one at a time: this size, a drawn one, the greatest that fits, and one byte more,
    /// which must be refused. The channels' max.message.bytes is 64 KiB more (at least Kafka's default); at most 103743488 (99 MiB less 64 KiB), 0 for none
    #[arg(long, value_name = "BYTES", default_value_t = 1_000_000)]
    pub(crate) order_large_bytes: u32,
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) order_large_every: Duration,
    /// A block is cut when it has so many envelopes
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) order_batch_messages: u32,
    /// Or would have more bytes than this
    #[arg(long, value_name = "BYTES", default_value_t = 524_288)]
    pub(crate) order_batch_bytes: u32,
    /// Or at the first time-to-cut message, which each orderer sends when its block has waited for so long
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = duration)]
    pub(crate) order_batch_timeout: Duration,
    /// So many of the orderers start 5 to 15 s after the others, at the beginning of every channel
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) order_late: u32,
    /// About once in this time an orderer is restarted, and reads again from some blocks back, or from the beginning; 0s for never
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = duration)]
    pub(crate) order_restart_every: Duration,
}

impl OrderArgs {
    pub(crate) fn options(&self) -> OrderOptions {
        OrderOptions {
            value_bytes_max: self.order_value_bytes_max,
            large_bytes: self.order_large_bytes,
            large_every_ms: millis(self.order_large_every),
            batch_messages: self.order_batch_messages,
            batch_bytes: self.order_batch_bytes,
            batch_timeout_ms: millis(self.order_batch_timeout),
            late: self.order_late,
            restart_every_ms: millis(self.order_restart_every),
        }
    }
}
