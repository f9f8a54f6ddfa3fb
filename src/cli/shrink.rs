//! Flags of `kchaos shrink`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Format, InventoryArg, duration, key_value};

#[derive(Debug, Args)]
pub(crate) struct ShrinkArgs {
    /// The directory of a run that failed, or its name below --results (`latest`)
    pub(crate) run: PathBuf,
    /// How often each candidate is tried before it counts as one that holds
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) tries: u32,
    /// Begin no try after this time; the smallest so far is kept
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) budget: Option<Duration>,
    /// Only this anomaly counts as the same failure; may be given several times [default: any of those that the run was found to have]
    #[arg(long, value_name = "NAME")]
    pub(crate) anomaly: Vec<String>,
    /// The candidates in their order, as they would come if nothing smaller failed; does nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) inventory: InventoryArg,
    /// A property of the run's clients that may be a secret, and was not written down
    #[arg(short = 'X', value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) properties: Vec<(String, String)>,
    /// Consent to a cluster whose environment is "production": its name, typed
    #[arg(long, value_name = "CLUSTER")]
    pub(crate) i_understand: Option<String>,
    /// Where it is kept, with its runs
    #[arg(long, default_value = "results", env = "KCHAOS_RESULTS")]
    pub(crate) results: PathBuf,
    /// With json, standard output is shrink.json alone (with --dry-run, the candidates), and everything else goes to standard error
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
}
