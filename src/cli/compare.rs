//! Flags of `kchaos compare`.

use std::path::PathBuf;

use clap::Args;

use super::Format;
use super::runs::ResultsArg;
use crate::compare::FailOn;

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The runs of before, and last the one that is held against them: directories, or runs of --results by their names or parts of them. Several of
    /// before make a band, within which a difference is noise
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<String>,
    /// More runs of before; of a directory of runs (of a suite, say) all that are like the one that is compared. May be given several times
    #[arg(long, value_name = "RUN|DIRECTORY")]
    pub(crate) baseline: Vec<String>,
    /// What must not become worse, such as 'recovery.p99:+20%', 'send.trouble.p99:+50ms' or 'throughput.trouble:-10%'; missed: exit code 6. May be given
    /// several times
    #[arg(long, value_name = "FIGURE:LIMIT")]
    pub(crate) fail_on: Vec<FailOn>,
    /// Compare what is not alike as well
    #[arg(long)]
    pub(crate) anyway: bool,
    /// Write a page as well
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) results: ResultsArg,
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
}
