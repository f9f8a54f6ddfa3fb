//! `kchaos test`: a run, from the flags to the exit code.

use std::sync::Arc;

use kchaos_cluster::inventory::Inventory;

use crate::cli::TestArgs;
use crate::exit::{self, Failure};
use crate::run::{self, Abort, Display, Setup, conclude, conclude_failed};
use crate::store::RunDirectory;

pub(super) fn run(args: TestArgs) -> Result<u8, Failure> {
    if args.dry_run {
        return super::plan::of_test(args);
    }
    let keep_lab = args.keep_lab;
    // What was typed is checked before a lab is brought up for it.
    let (inventory, is_our_lab) = match super::find_inventory(&args.inventory)? {
        Some(inventory) => (inventory, false),
        None => {
            Setup::refuse_wrong_names(&args)?;
            (super::lab::up_for_a_run()?, true)
        }
    };
    let home = super::lab::Home::remember();
    let code = in_cluster(args, &inventory);
    if is_our_lab && !keep_lab {
        home.go_back();
        super::lab::down_after_a_run()?;
    }
    code
}

fn in_cluster(args: TestArgs, inventory: &Arc<Inventory>) -> Result<u8, Failure> {
    let command = std::env::args().collect();
    let results = args.results.clone();
    let display = Arc::new(Display::new(args.progress));
    let setup = Arc::new(Setup::resolve(args, command, Arc::clone(inventory))?);
    let directory = RunDirectory::create(&results, &setup.directory_name())?;
    display.event(&format!("run {} · seed {} · {}", setup.run_id, setup.seed, directory.path().display()));
    let life = async {
        let abort = Abort::new();
        abort.listen().map_err(anyhow::Error::from)?;
        run::life(Arc::clone(&setup), &directory, abort, Arc::clone(&display)).await
    };
    let ended = super::within_network(inventory, life)?;
    let code = match ended {
        Ok(ended) => conclude(&directory, &setup, ended)?,
        Err(failure) => conclude_failed(&directory, failure)?,
    };
    debug_assert!(exit::PRIORITY.contains(&code));
    Ok(code)
}
