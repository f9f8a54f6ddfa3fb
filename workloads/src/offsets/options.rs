//! What a user chooses about the workload `offsets`.

use serde::{Deserialize, Serialize};

use crate::options::{OptionsError, range};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OffsetsOptions {
    /// From one question to the next, on average.
    pub interval_ms: u64,
    /// From one deletion of records to the next, on average.
    pub delete_every_ms: u64,
    /// `retention.ms` of the topic that expires: no record younger than this may be gone.
    pub retention_ms: u64,
    /// `segment.ms` of the topics that expire and are compacted: an active segment is neither deleted nor compacted.
    pub segment_ms: u64,
}

impl Default for OffsetsOptions {
    fn default() -> Self {
        Self { interval_ms: 100, delete_every_ms: 3_000, retention_ms: 20_000, segment_ms: 3_000 }
    }
}

impl OffsetsOptions {
    pub(super) fn check(&self) -> Result<(), OptionsError> {
        for (option, found, least) in [
            ("offsets-interval", self.interval_ms, 10),
            ("offsets-delete-every", self.delete_every_ms, 100),
            ("offsets-retention", self.retention_ms, 1_000),
            ("offsets-segment", self.segment_ms, 100),
        ] {
            if found < least {
                return Err(range(option, &format!("at least {least} ms"), format!("{found} ms")));
            }
        }
        Ok(())
    }
}
