//! Flags of `kchaos coverage`.

use std::path::PathBuf;

use clap::Args;

use super::Format;

#[derive(Debug, Args)]
pub(crate) struct CoverageArgs {
    /// A directory of runs, or one run; runs of suites, selftests and shrinks below it count as well
    #[arg(value_name = "RESULTS", default_value = "results", env = "KCHAOS_RESULTS")]
    pub(crate) results: PathBuf,
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
}
