//! Flags of `kchaos selftest`.

use std::path::PathBuf;

use clap::Args;

use super::Format;

#[derive(Debug, Args)]
pub(crate) struct SelftestArgs {
    /// Only this case, by its name; may be given several times
    #[arg(long, value_name = "CASE")]
    pub(crate) only: Vec<String>,
    /// What there is: each case, what is wrong, and what would be done; does nothing
    #[arg(long)]
    pub(crate) list: bool,
    /// How often each form is done
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// Not the corpus: so many runs of the safe settings under nemeses and seeds drawn at random, none of which may be invalid
    #[arg(long, value_name = "N", conflicts_with_all = ["only", "list", "rounds", "cases", "record"], value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) clean: Option<u32>,
    /// What --clean draws from
    #[arg(long, value_name = "SEED", requires = "clean")]
    pub(crate) seed: Option<u64>,
    /// Cases of a directory, instead of those that are part of kchaos
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) cases: Option<PathBuf>,
    /// Append a line for each run to this file (docs/known-bad.jsonl)
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// The table (Markdown) of what --record wrote to this file; does nothing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["list", "rounds", "clean", "record"])]
    pub(crate) table: Option<PathBuf>,
    /// Where selftests and their runs are kept
    #[arg(long, default_value = "results", env = "KCHAOS_RESULTS")]
    pub(crate) results: PathBuf,
    /// With json, standard output is selftest.json alone (with --list, the cases), and everything else goes to standard error
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
}
