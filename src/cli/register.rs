//! The flags of the workload `register`.

use std::time::Duration;

use clap::Args;
use kchaos_workloads::RegisterOptions;

use super::duration;
use crate::run::millis;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Registers in ZooKeeper")]
pub(crate) struct RegisterArgs {
    /// Sessions at a time; each lasts for 8 to 22 s
    #[arg(long, default_value_t = 6)]
    pub(crate) sessions: u32,
    /// Znodes that are read and written
    #[arg(long, default_value_t = 4)]
    pub(crate) registers: u32,
    /// What is asked of ZooKeeper, which has bounds of its own
    #[arg(long, default_value = "6s", value_parser = duration)]
    pub(crate) session_timeout: Duration,
    /// Compare-and-sets without the version that makes them so: shows what that mistake costs (exit code 1)
    #[arg(long)]
    pub(crate) unversioned_cas: bool,
}

impl RegisterArgs {
    pub(crate) fn options(&self) -> RegisterOptions {
        let Self { sessions, registers, session_timeout, unversioned_cas } = *self;
        RegisterOptions { sessions, registers, session_timeout_ms: millis(session_timeout), unversioned_cas }
    }
}
