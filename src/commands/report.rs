//! `kchaos report`: a run's page written again from its directory alone.

use crate::cli::ReportArgs;
use crate::exit::{self, Failure};
use crate::report::{self, RunData};
use crate::store::write_whole;

pub(super) fn run(args: &ReportArgs) -> Result<u8, Failure> {
    let data = RunData::load(&args.run).map_err(anyhow::Error::from)?;
    let path = args.run.join("report.html");
    write_whole(&path, report::html(&data).as_bytes())?;
    crate::say!("{}", path.display());
    Ok(exit::VALID)
}
