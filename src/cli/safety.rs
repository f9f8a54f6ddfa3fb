//! Flags of the commands that look before a run, and of those that end one.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Format, InventoryArg, TestArgs, duration};

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) inventory: InventoryArg,
    /// Show it again every second
    #[arg(long)]
    pub(crate) watch: bool,
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) inventory: InventoryArg,
    /// For these nemeses, separated by commas, or `all` [default: what any of them needs]
    #[arg(long, short = 'n', default_value = "none", value_delimiter = ',')]
    pub(crate) nemesis: Vec<String>,
    /// For the faults of this plan file
    #[arg(long, value_name = "FILE", conflicts_with = "nemesis")]
    pub(crate) plan: Option<PathBuf>,
    /// Consent to a cluster whose environment is "production": its name, typed
    #[arg(long, value_name = "CLUSTER")]
    pub(crate) i_understand: Option<String>,
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// How many of the schedule's faults are shown with their commands
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) show: usize,
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) test: TestArgs,
}

#[derive(Debug, Args)]
pub(crate) struct HealArgs {
    #[command(flatten)]
    pub(crate) inventory: InventoryArg,
    /// Take away the locks of other runs too: only if you know that they are dead
    #[arg(long)]
    pub(crate) break_locks: bool,
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct HaltArgs {
    #[command(flatten)]
    pub(crate) inventory: InventoryArg,
    /// Why, for whoever is refused
    #[arg(long, default_value = "no reason was given")]
    pub(crate) reason: String,
    /// Lift it: runs are let in again
    #[arg(long, conflicts_with_all = ["reason", "wait"])]
    pub(crate) release: bool,
    /// How long to wait until the runs that are stopped have ended
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub(crate) wait: Duration,
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
}
