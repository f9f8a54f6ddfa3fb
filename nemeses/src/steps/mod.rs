//! What an operator does to a daemon on purpose, and means to stay: one file each.
//!
//! A step has the life of a fault, so that it is guarded, journalled, leased, proved and told as one. What differs is its mend, which leaves what was
//! changed as it is: mended is that the daemon is up, whichever version or settings it has by now.

use std::collections::BTreeMap;
use std::sync::Arc;

use kchaos_core::Chosen;

use crate::error::FaultError;
use crate::fault::{HostFault, Scope};
use crate::faults::restart;
use crate::ground::Ground;

mod properties;
mod replace_version;
mod set_file;

/// Settings by name; none: taken away, so that the default holds.
pub type Settings = BTreeMap<String, Option<String>>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DaemonStep {
    /// The service's own stop, and its start.
    Restart,
    /// The inventory's command between both.
    ReplaceVersion { version: String },
    /// Lines of the daemon's settings file, which it reads at its next start; `file`: which, if it is not the one that its process was started with.
    SetFile { file: Option<String>, settings: Settings },
}

impl DaemonStep {
    pub(crate) fn scope(&self) -> Scope {
        match self {
            Self::Restart | Self::ReplaceVersion { .. } => Scope::Daemon,
            // Nobody is away for it, and nobody else is to be at work there.
            Self::SetFile { .. } => Scope::Link,
        }
    }

    /// `restart-broker:1`: as events, journals and hosts name it.
    pub(crate) fn name_on(&self, daemon: &str) -> String {
        let name = match self {
            Self::Restart => "restart",
            Self::ReplaceVersion { .. } => "replace-version",
            Self::SetFile { .. } => "set-config",
        };
        format!("{name}-{}", daemon.replacen("kafka:", "broker:", 1))
    }

    pub(crate) async fn plan(&self, ground: Arc<Ground>, chosen: Chosen) -> Result<Box<dyn HostFault>, FaultError> {
        match self {
            Self::Restart => restart::plan(ground, chosen).await,
            Self::ReplaceVersion { version } => replace_version::plan(ground, chosen, version).await,
            Self::SetFile { file, settings } => set_file::plan(ground, chosen, file.as_deref(), settings).await,
        }
    }
}
