//! Flags of `kchaos suite`.

use std::path::PathBuf;

use clap::Args;

use super::{Format, InventoryArg, TellArgs};

#[derive(Debug, Args)]
pub(crate) struct SuiteArgs {
    /// The suite (suites/*.toml, docs/suites.md)
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The short form, for CI: what the file says under `short`
    #[arg(long)]
    pub(crate) short: bool,
    /// Only this step (of a matrix: this combination), by its name; the lab comes up and goes down all the same. May be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Read the file, both its forms, say what is wrong with it or what it would do, and do nothing
    #[arg(long)]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) inventory: InventoryArg,
    /// Where suites and their runs are kept
    #[arg(long, default_value = "results", env = "KCHAOS_RESULTS")]
    pub(crate) results: PathBuf,
    /// With json, standard output is suite.json alone, and everything else goes to standard error
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) tell: TellArgs,
}
