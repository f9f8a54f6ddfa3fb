//! `kchaos suite`: a file of steps, from the lab's coming up to one verdict.

use anyhow::anyhow;
use kchaos_cluster::inventory::find_inventory;

use crate::cli::SuiteArgs;
use crate::exit::{self, Failure};
use crate::run::nearest;
use crate::suite::{self, Place, Suite};
use crate::tell::Tell;

pub(super) fn run(args: &SuiteArgs) -> Result<u8, Failure> {
    let mut suite = suite::load(&args.file, args.short)?;
    let place = place(&suite, args)?;
    keep_only(&mut suite, &args.only)?;
    if args.check {
        crate::say!("{}", suite.plan());
        return Ok(exit::VALID);
    }
    let tell = Tell::of(&args.tell)?;
    let code = match &suite.matrix {
        Some(matrix) => suite::live_matrix(&suite, matrix, &place, args),
        None => suite::live(&suite, &place, args),
    }?;
    tell.suite_end(&args.results.join(suite::LATEST));
    Ok(code)
}

/// What is typed wins over the suite, and the suite over where any command would look.
fn place(suite: &Suite, args: &SuiteArgs) -> Result<Place, Failure> {
    if let Some(path) = &args.inventory.inventory {
        if suite.matrix.as_ref().is_some_and(suite::Matrix::has_clusters) {
            return Err(Failure::usage(anyhow!(
                "{}: its [matrix] names its clusters, so --inventory has nothing to say",
                suite.path.display()
            )));
        }
        return Ok(Place::There(path.clone()));
    }
    if suite.lab.is_some() {
        return Ok(Place::Lab);
    }
    if let Some(path) = suite.matrix.as_ref().and_then(suite::Matrix::first_cluster) {
        return Ok(Place::There(path));
    }
    let found = suite.inventory.clone().or_else(|| find_inventory(None)).or_else(kchaos_lab::inventory_path);
    found.map(Place::There).ok_or_else(|| {
        Failure::usage(anyhow!(
            "{}: it has no [lab], and no cluster is named: --inventory FILE, or inventory = in the suite",
            suite.path.display()
        ))
    })
}

fn keep_only(suite: &mut Suite, only: &[String]) -> Result<(), Failure> {
    let (what, known): (_, Vec<&str>) = match &suite.matrix {
        Some(matrix) => ("combination", matrix.names().collect()),
        None => ("step", suite.steps.iter().map(|step| step.name.as_str()).collect()),
    };
    if let Some(unknown) = only.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(Failure::usage(anyhow!("--only {unknown}: the suite has no such {what}{}", nearest(unknown, known.into_iter()))));
    }
    if !only.is_empty() {
        suite.steps.retain(|step| only.contains(&step.name));
        if let Some(matrix) = &mut suite.matrix {
            matrix.keep_only(only);
        }
    }
    Ok(())
}
