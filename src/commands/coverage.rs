//! `kchaos coverage`: what the runs of a directory exercised.

use anyhow::anyhow;
use serde_json::json;

use crate::cli::{CoverageArgs, Format};
use crate::coverage;
use crate::exit::{self, Failure};

pub(super) fn run(args: &CoverageArgs) -> Result<u8, Failure> {
    let covered = coverage::below(&args.results)?;
    if covered.runs == 0 && covered.unread.is_empty() {
        return Err(Failure::usage(anyhow!("{} holds no run that came to its verdict", args.results.display())));
    }
    match args.format {
        Format::Text => crate::say_raw!("{}", coverage::table(&covered)),
        Format::Json => {
            let told =
                json!({"runs": covered.runs, "exercised": covered.exercised, "unread": covered.unread, "never": coverage::never(&covered)});
            crate::say!("{}", serde_json::to_string_pretty(&told).map_err(anyhow::Error::from)?);
        }
    }
    Ok(exit::VALID)
}
