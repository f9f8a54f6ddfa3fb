//! `kchaos test`: a run, from the flags to the exit code.

use std::sync::Arc;

use kchaos_cluster::inventory::Inventory;

use crate::cli::{Format, TestArgs};
use crate::exit::{self, Failure};
use crate::run::{self, Abort, Display, Setup, conclude, conclude_failed};
use crate::store::RunDirectory;
use crate::tell::Tell;

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
    let code = in_cluster(args, &inventory, &home);
    if is_our_lab && !keep_lab {
        home.go_back();
        super::lab::down_after_a_run()?;
    }
    code
}

fn in_cluster(args: TestArgs, inventory: &Arc<Inventory>, home: &super::lab::Home) -> Result<u8, Failure> {
    let results = args.results.clone();
    let tell = Tell::of(&args.tell)?;
    let display = Arc::new(Display::of(&args.view)?);
    let setup = Arc::new(Setup::resolve(args, Arc::clone(inventory))?);
    let directory = RunDirectory::create(&results, &setup.directory_name())?;
    display.event(&format!("run {} · seed {} · {}", setup.run_id, setup.seed, directory.path().display()));
    let life = async {
        let abort = Abort::new();
        abort.listen_beside(&display).map_err(anyhow::Error::from)?;
        display.begin(&setup.title(directory.path()), &abort);
        run::life(Arc::clone(&setup), &directory, abort, Arc::clone(&display)).await
    };
    let ended = super::within_network(inventory, life)?;
    display.end();
    let code = match ended {
        Ok(ended) => conclude(&directory, &setup, ended, Format::Text),
        Err(failure) => conclude_failed(&directory, failure),
    };
    // A lab's network has no way out.
    home.go_back();
    tell.end(directory.path());
    debug_assert!(code.as_ref().is_err() || code.as_ref().is_ok_and(|code| exit::PRIORITY.contains(code)));
    code
}
