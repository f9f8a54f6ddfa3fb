//! The flags of `kchaos conclude`.

use std::path::PathBuf;

use clap::Args;

use super::{Format, InventoryArg, Progress, key_value};

#[derive(Clone, Debug, Args)]
pub(crate) struct ConcludeArgs {
    /// The run's directory
    pub(crate) run: PathBuf,
    #[command(flatten)]
    pub(crate) inventory: InventoryArg,
    /// A property of the run's clients that may be a secret, and was not written down
    #[arg(short = 'X', value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) properties: Vec<(String, String)>,
    /// How progress is shown on standard error
    #[arg(long, default_value = "auto")]
    pub(crate) progress: Progress,
    /// With json, standard output is verdict.json
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
}
