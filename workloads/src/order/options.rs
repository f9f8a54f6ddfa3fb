//! What a user chooses about the ordering service.

use serde::{Deserialize, Serialize};

use crate::options::{Options, OptionsError, range};

/// 99 MiB less what a batch takes beside the value, generously: with the default of `socket.request.max.bytes` (100 MiB) brokers take no more.
pub(crate) const LARGE_BYTES_MAX: u32 = 99 * 1024 * 1024 - 65_536;
/// librdkafka puts no more into a batch of several; a larger value has a batch of its own.
const VALUE_BYTES_MAX: u32 = 900_000;

/// The ordering service of the workload `order`. There are as many orderers as producers, and as many channels as partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrderOptions {
    /// Envelopes have from `value_bytes` to so many bytes, drawn evenly by the logarithm.
    pub value_bytes_max: u32,
    /// The greatest of the large envelopes; 0 for none. The channels' `max.message.bytes` follows from it.
    pub large_bytes: u32,
    pub large_every_ms: u64,
    /// A block is cut when it holds so many envelopes or bytes, or when its time is over.
    pub batch_messages: u32,
    pub batch_bytes: u32,
    pub batch_timeout_ms: u64,
    /// Orderers that start while the others are at work.
    pub late: u32,
    /// On average one orderer is restarted in this time; 0 for never.
    pub restart_every_ms: u64,
}

impl Default for OrderOptions {
    fn default() -> Self {
        Self {
            value_bytes_max: 10_000,
            large_bytes: 1_000_000,
            large_every_ms: 5_000,
            batch_messages: 50,
            batch_bytes: 512 * 1024,
            batch_timeout_ms: 500,
            late: 1,
            restart_every_ms: 20_000,
        }
    }
}

impl OrderOptions {
    pub(crate) fn check(&self, options: &Options) -> Result<(), OptionsError> {
        if self.value_bytes_max < options.value_bytes || self.value_bytes_max > VALUE_BYTES_MAX {
            let allowed = format!("from value-bytes ({}) to {VALUE_BYTES_MAX}", options.value_bytes);
            return Err(range("order-value-bytes-max", &allowed, self.value_bytes_max));
        }
        if self.large_bytes != 0 && !(self.value_bytes_max..=LARGE_BYTES_MAX).contains(&self.large_bytes) {
            let allowed = format!("0, or from {} to {LARGE_BYTES_MAX}, whose batch brokers take in one request", self.value_bytes_max);
            return Err(range("order-large-bytes", &allowed, self.large_bytes));
        }
        for (option, found) in [
            ("order-batch-messages", u64::from(self.batch_messages)),
            ("order-batch-bytes", u64::from(self.batch_bytes)),
            ("order-batch-timeout", self.batch_timeout_ms),
            ("order-large-every", self.large_every_ms),
        ] {
            if found == 0 {
                return Err(range(option, "at least 1", found));
            }
        }
        if self.late >= options.producers {
            let allowed = "less than the number of orderers (--producers), so that somebody is there from the start";
            return Err(range("order-late", allowed, self.late));
        }
        Ok(())
    }

    /// The greatest value that is meant to be accepted.
    pub(crate) fn greatest_value_bytes(&self) -> u32 {
        self.value_bytes_max.max(self.large_bytes)
    }
}
