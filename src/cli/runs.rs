//! Flags of `kchaos runs`.

use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Subcommand};

use super::Format;
use crate::runs;

#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// The runs, the newest first, those of suites, selftests and shrinks as well
    List(RunsArgs),
    /// One run in short: its verdict, what it was for, what it measured, its files
    Info(InfoArgs),
    /// Remove old runs. Says what it would remove, and removes it with --yes
    Prune(PruneArgs),
    /// Make an archive of a run, to be judged or looked at elsewhere
    Export(ExportArgs),
}

/// Where runs are kept.
#[derive(Debug, Args)]
pub(crate) struct ResultsArg {
    /// Where runs are kept
    #[arg(long, default_value = "results", env = "KCHAOS_RESULTS")]
    pub(crate) results: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RunsArgs {
    #[command(flatten)]
    pub(crate) results: ResultsArg,
    /// Only these: valid, invalid, unknown, environment, aborted, unhealed, threshold, internal, running, cut-off, broken; `failed` is all that did not
    /// end well
    #[arg(long, value_name = "VERDICT", value_delimiter = ',', value_parser = runs::verdict)]
    pub(crate) verdict: Vec<String>,
    /// Only runs of these workloads
    #[arg(long, short = 'w', value_delimiter = ',')]
    pub(crate) workload: Vec<String>,
    /// Only runs with one of these nemeses; `none`: without any
    #[arg(long, short = 'n', value_delimiter = ',')]
    pub(crate) nemesis: Vec<String>,
    /// Only runs that began since: 7d (ago), 2026-11-23, or 2026-11-23T02:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = runs::moment)]
    pub(crate) since: Option<DateTime<Utc>>,
    /// Only the newest so many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// A directory, or a run of --results by its name, the beginning or a part of it
    #[arg(default_value = "latest")]
    pub(crate) run: String,
    #[command(flatten)]
    pub(crate) results: ResultsArg,
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    #[command(flatten)]
    pub(crate) results: ResultsArg,
    /// The newest so many stay; a suite, selftest or shrink counts as one, with all its runs
    #[arg(long, value_name = "N")]
    pub(crate) keep: Option<usize>,
    /// What is older goes: 30d, 2w, 12h
    #[arg(long, value_name = "AGE", value_parser = runs::age)]
    pub(crate) older_than: Option<TimeDelta>,
    /// The oldest go until all together are no larger: 10GiB, 500MB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) max_size: Option<u64>,
    /// What did not end well goes as well. What goes on never does
    #[arg(long)]
    pub(crate) failed_too: bool,
    /// Remove them
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// A directory, or a run of --results by its name, the beginning or a part of it
    #[arg(default_value = "latest")]
    pub(crate) run: String,
    /// A name that ends in .tar.zst or .tar.gz [default: the run's, here, as .tar.zst]
    #[arg(long, short = 'o', value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Replace an archive that is there already
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) results: ResultsArg,
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
}

/// `10GiB`, `500MB`.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let wrong = || format!("\"{text}\" is no size: write 10GiB, 500MB or a number of bytes");
    let number: f64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit = match text[digits..].trim() {
        "" | "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "KiB" => 1_024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        "TiB" => 1_099_511_627_776.0,
        _ => return Err(wrong()),
    };
    Ok((number * unit) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_both_kinds() {
        for (text, bytes) in [("10GiB", 10 << 30), ("500MB", 500_000_000), ("1.5KiB", 1_536), ("7", 7), ("7 B", 7)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["10Gib", "GiB", "-1GB", "10 G", ""] {
            assert!(size(text).unwrap_err().contains("10GiB"), "{text}");
        }
    }
}
