//! One `kchaos test` as a child, and what its verdict says.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use super::transcript::Transcript;
use super::{alone, child};
use crate::exit::{self, Failure};
use crate::run::Abort;

/// A run that has ended.
pub(crate) struct Ended {
    pub(crate) code: u8,
    /// `verdict.json`, or null.
    pub(crate) verdict: Value,
    /// None: it was refused, and made none.
    pub(crate) directory: Option<PathBuf>,
    pub(crate) took: Duration,
    pub(crate) was_aborted: bool,
}

/// Runs `kchaos test` against this cluster. Its results come below `runs`, what it says into the file `output`.
pub(crate) fn test(inventory: Option<&Path>, runs: &Path, output: &Path, words: &[String]) -> Result<Ended, Failure> {
    let mut all = vec!["test".to_owned()];
    if let Some(inventory) = inventory {
        all.extend(["--inventory".to_owned(), inventory.display().to_string()]);
    }
    all.extend(["--results".to_owned(), runs.display().to_string(), "--progress=none".to_owned(), "--ci=none".to_owned()]);
    all.extend(words.iter().cloned());
    let quiet = Transcript::quiet();
    quiet.begin(output)?;
    let latest = || runs.join("latest").canonicalize().ok();
    let (before, began) = (latest(), Instant::now());
    let (code, was_aborted) = alone(async {
        let abort = Abort::new();
        abort.listen().context("listen for signals")?;
        let code = child::kchaos(&all, &quiet, &abort).await?;
        anyhow::Ok((code, abort.reason().is_some()))
    })??;
    // One that a signal ended may have left something.
    let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::UNHEALED);
    let directory = latest().filter(|run| Some(run) != before.as_ref());
    let verdict = directory.as_ref().and_then(|run| std::fs::read(run.join("verdict.json")).ok());
    let verdict = verdict.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    Ok(Ended { code, verdict, directory, took: began.elapsed(), was_aborted })
}
