//! A kchaos that was built to be wrong (docs/mutants.md). It says so at each start, so that nobody takes its verdict for one.

use anyhow::anyhow;
use kchaos_core::mutant;

use crate::exit::{self, Failure};
use crate::slo::METRICS;

/// Every mutant there is, in the order of the registries.
pub(crate) fn all() -> Vec<String> {
    let mut all = kchaos_checkers::mutants();
    // What a run finds beside the checkers.
    let of_runs = ["unexpected-exit", "log-pattern", "config-reverted", "total-order-disagreement", "never-recovered"];
    all.extend(of_runs.map(|name| format!("blind:{name}")));
    all.extend(kchaos_workloads::mutants());
    all.extend(METRICS.iter().map(|(name, _)| format!("slo:{name}")));
    all.extend(["unmeasured", "unseen"].map(|name| format!("slo:{name}")));
    let codes = exit::PRIORITY.into_iter().filter(|code| !matches!(*code, exit::VALID | exit::INTERNAL));
    all.extend(codes.map(|code| format!("exit:{}", exit::name(code))));
    all.extend(kchaos_nemeses::mutants());
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|name| seen.insert(name.clone()));
    all
}

/// Says loudly what this is, and refuses what is no mutant.
pub(crate) fn told() -> Result<(), Failure> {
    let chosen = mutant::chosen();
    let known = all();
    for name in chosen {
        if !known.contains(name) {
            let nearest = known.iter().min_by_key(|known| strsim::damerau_levenshtein(name, known)).cloned().unwrap_or_default();
            let text = format!("{}: there is no mutant \"{name}\"; the nearest is \"{nearest}\" (kchaos list mutants)", mutant::VARIABLE);
            return Err(Failure::usage(anyhow!(text)));
        }
    }
    let what = if chosen.is_empty() { "nothing now".to_owned() } else { chosen.join(", ") };
    eprintln!("kchaos: this kchaos was built to be wrong (feature mutants), and its verdicts are worth nothing; wrong is {what}");
    Ok(())
}
