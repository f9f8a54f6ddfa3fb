//! What a user chooses about registers.

use serde::{Deserialize, Serialize};

use crate::options::{OptionsError, range};

/// Of the workload `register`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegisterOptions {
    /// Sessions at a time.
    pub sessions: u32,
    /// Znodes that are read and written: each is one key of the history.
    pub registers: u32,
    /// What is asked of the servers, which have bounds of their own for it.
    pub session_timeout_ms: u64,
    /// Compare-and-sets go without the version that makes them so: a mistake that people make, for what it looks like.
    pub unversioned_cas: bool,
}

impl Default for RegisterOptions {
    fn default() -> Self {
        Self { sessions: 6, registers: 4, session_timeout_ms: 6_000, unversioned_cas: false }
    }
}

impl RegisterOptions {
    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        for (option, found, least, greatest) in [
            ("sessions", u64::from(self.sessions), 1, 200),
            ("registers", u64::from(self.registers), 1, 10_000),
            ("session-timeout in ms", self.session_timeout_ms, 100, 600_000),
        ] {
            if found < least || found > greatest {
                return Err(range(option, &format!("from {least} to {greatest}"), found));
            }
        }
        Ok(())
    }
}
