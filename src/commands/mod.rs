//! One file a command.

pub(crate) mod check;
mod compare;
mod completions;
mod conclude;
mod config;
mod convert;
mod coverage;
mod discover;
mod doctor;
mod halt;
mod heal;
mod init;
mod install_helper;
mod inventory;
mod lab;
mod list;
mod man;
mod peek;
mod plan;
mod proved;
mod report;
mod runs;
mod schema;
mod selftest;
mod serve;
mod shrink;
mod status;
mod suite;
mod suite_words;
mod synth;
mod test;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use kchaos_cluster::inventory::{Inventory, find_inventory as find};
use serde::Serialize;

use crate::cli::{Command, InventoryArg, InventoryCommand};
use crate::exit::Failure;

pub(crate) use discover::DiscoverArgs;
pub(crate) use install_helper::InstallHelperArgs;
pub(crate) use lab::Home;
pub(crate) use suite_words::{refuse_lab, test_args};

/// Runs a command to its exit code.
pub(crate) fn run(command: Command) -> Result<u8, Failure> {
    match command {
        Command::Test(args) => test::run(*args),
        Command::Suite(args) => suite::run(&args),
        Command::Selftest(args) => selftest::run(&args),
        Command::Shrink(args) => shrink::run(&args),
        Command::Coverage(args) => coverage::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Conclude(args) => conclude::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Synth(args) => synth::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Peek(args) => peek::run(args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Plan(args) => plan::run(*args),
        Command::Heal(args) => heal::run(&args),
        Command::Halt(args) => halt::run(&args),
        Command::Lab(command) => lab::run(command),
        Command::Inventory(InventoryCommand::Check { inventory, format }) => inventory::check(&inventory, format),
        Command::Inventory(InventoryCommand::Discover(args)) => discover::run(&args),
        Command::Inventory(InventoryCommand::InstallHelper(args)) => install_helper::run(&args),
        Command::Config(command) => config::run(&command),
        Command::List(args) => list::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Runs(command) => runs::run(&command),
        Command::Compare(args) => compare::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Worker => kchaos_workloads::serve_worker(std::io::stdin(), std::io::stdout(), Arc::new(crate::clock::HostClock))
            .map(|()| crate::exit::VALID)
            .map_err(|why| Failure::usage(anyhow::anyhow!("{why}"))),
        Command::LabInit { args } => Ok(lab::init(&args)),
        Command::LabDisk { args } => Ok(lab::disk(&args)),
    }
}

/// The inventory that the flag, the environment or the directory names, or that of the lab that is up; `None` if there is none of them.
fn find_inventory(arg: &InventoryArg) -> Result<Option<Arc<Inventory>>, Failure> {
    match find(arg.inventory.as_deref()).or_else(kchaos_lab::inventory_path) {
        Some(path) => load(&path).map(Some),
        None => Ok(None),
    }
}

fn require_inventory(arg: &InventoryArg) -> Result<Arc<Inventory>, Failure> {
    find_inventory(arg)?.ok_or_else(|| {
        Failure::usage(anyhow::anyhow!(
            "no cluster: there is no --inventory, no $KCHAOS_INVENTORY, no ./kchaos.toml and no lab that is up (`kchaos lab up` makes one)"
        ))
    })
}

/// What `--format json` answers with, on standard output.
pub(crate) fn say_json(value: &impl Serialize) -> Result<(), Failure> {
    crate::say!("{}", serde_json::to_string_pretty(value).map_err(anyhow::Error::from)?);
    Ok(())
}

/// A malformed inventory is a matter of configuration; one that is not there as well.
fn load(path: &Path) -> Result<Arc<Inventory>, Failure> {
    Inventory::load(path).map(Arc::new).map_err(Failure::usage)
}

/// Runs async work inside the cluster's network: a lab's hosts are reached from their own namespace only, which is entered before any thread starts.
pub(crate) fn within_network<T>(inventory: &Inventory, work: impl Future<Output = T>) -> Result<T, Failure> {
    if let Some(namespace) = &inventory.cluster.network_namespace {
        kchaos_cluster::netns::enter(namespace).map_err(Failure::environment)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .thread_name("kchaos")
        .build()
        .context("start the runtime")?;
    let result = runtime.block_on(work);
    // What still blocks on a thread of its own must not hold the exit.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    Ok(result)
}
