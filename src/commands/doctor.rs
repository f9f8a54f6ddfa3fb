//! `kchaos doctor`: everything that a run needs, looked at; nothing is written anywhere.

use clap::Parser;

use crate::cli::{Cli, Command, DoctorArgs, Format, TestArgs};
use crate::doctor::{self, Level};
use crate::exit::{self, Failure};
use crate::run::Setup;

pub(super) fn run(args: &DoctorArgs) -> Result<u8, Failure> {
    let inventory = super::require_inventory(&args.inventory)?;
    let setup = Setup::resolve(test_args(args)?, inventory.clone())?;
    let examined = super::within_network(&inventory, doctor::examine(&setup, true))?;
    match args.format {
        Format::Json => super::say_json(&examined.lines)?,
        Format::Text => crate::say_raw!("{}", doctor::text(&examined.lines)),
    }
    Ok(match examined.worst() {
        Level::Ok | Level::Warning => exit::VALID,
        Level::Fails => exit::ENVIRONMENT,
    })
}

/// Those of a run whose other flags are as they are by themselves.
fn test_args(args: &DoctorArgs) -> Result<TestArgs, Failure> {
    let cli = Cli::try_parse_from(["kchaos", "test"]).map_err(Failure::usage)?;
    let Command::Test(mut test) = cli.command else { return Err(Failure::usage(anyhow::anyhow!("kchaos test is not understood"))) };
    test.nemesis.clone_from(&args.nemesis);
    test.plan.clone_from(&args.plan);
    test.i_understand.clone_from(&args.i_understand);
    test.inventory = args.inventory.clone();
    Ok(*test)
}
