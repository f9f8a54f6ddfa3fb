//! `kchaos conclude`: the end of a run whose kchaos was killed, from what it had written down.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use kchaos_core::Plan;

use crate::cli::{ConcludeArgs, TestArgs};
use crate::exit::{self, Failure};
use crate::run::{self, Abort, Display, Left, Setup, conclude};
use crate::store::RunDirectory;

pub(super) fn run(args: &ConcludeArgs) -> Result<u8, Failure> {
    let plan = super::check::plan(&args.run)?;
    run::refuse_what_is_not_cut_off(&args.run)?;
    let inventory = super::require_inventory(&args.inventory)?;
    let left = Left::read(&args.run)?;
    let setup = Arc::new(Setup::take_up(test_args(args, &plan)?, Arc::clone(&inventory), &plan, &left)?);
    let directory = RunDirectory::of(&args.run);
    let display = Arc::new(Display::new(args.progress));
    display.event(&format!("run {} · cut off {:.1} s after it began · {}", plan.run_id, left.last_s(), args.run.display()));
    let life = async {
        let abort = Abort::new();
        abort.listen_beside(&display).map_err(anyhow::Error::from)?;
        run::life_of_cut_off(Arc::clone(&setup), &directory, plan, left, abort, display).await
    };
    // What cannot be done now is left as it is, and may be tried again.
    let ended = super::within_network(&inventory, life)??;
    let code = conclude(&directory, &setup, ended, args.format)?;
    debug_assert!(exit::PRIORITY.contains(&code));
    Ok(code)
}

/// What was typed for the run; a secret that was typed was not written down.
fn test_args(args: &ConcludeArgs, plan: &Plan) -> Result<TestArgs, Failure> {
    let typed = run::as_typed(plan, &args.properties).context("plan.json").map_err(Failure::usage)?;
    let mut test = typed.ok_or_else(|| Failure::usage(anyhow!("{} is no run of `kchaos test`", args.run.display())))?;
    // Its faults are over, and stand in its plan.
    test.nemesis = vec!["none".into()];
    (test.plan, test.replay) = (None, None);
    Ok(test)
}
