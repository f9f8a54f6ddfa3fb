//! `kchaos selftest`: does kchaos see what is known to be wrong, and leave alone what is known to be right?

use anyhow::anyhow;

use crate::cli::SelftestArgs;
use crate::exit::{self, Failure};
use crate::run::nearest;
use crate::selftest::{self, Case};

pub(super) fn run(args: &SelftestArgs) -> Result<u8, Failure> {
    if let Some(runs) = args.clean {
        refuse_second_lab()?;
        return selftest::live_clean(runs, args);
    }
    let mut cases = match &args.cases {
        Some(directory) => selftest::load(directory)?,
        None => selftest::built_in()?,
    };
    if let Some(unknown) = args.only.iter().find(|name| !cases.iter().any(|case| case.name == **name)) {
        let known = cases.iter().map(|case| case.name.as_str());
        return Err(Failure::usage(anyhow!("--only {unknown}: there is no such case{}", nearest(unknown, known))));
    }
    if !args.only.is_empty() {
        cases.retain(|case| args.only.contains(&case.name));
    }
    if let Some(file) = &args.table {
        crate::say_raw!("{}", selftest::table(&cases, &selftest::read_records(file)?));
        return Ok(exit::VALID);
    }
    if args.list {
        cases.iter().for_each(|case| crate::say!("{}", told(case)));
        return Ok(exit::VALID);
    }
    refuse_second_lab()?;
    selftest::live(&cases, args)
}

/// A selftest makes labs of its own.
fn refuse_second_lab() -> Result<(), Failure> {
    match kchaos_lab::current() {
        None => Ok(()),
        Some(other) => Err(Failure::environment(anyhow!(
            "a lab is up already ({}), and a selftest makes its own: kchaos lab down",
            other.inventory.display()
        ))),
    }
}

fn told(case: &Case) -> String {
    let form = |name: &str, form: &selftest::Form| {
        let plan = form.plan.iter().flat_map(|plan| plan.lines()).filter(|line| !line.is_empty());
        let plan: String = plan.map(|line| format!("\n          {line}")).collect();
        let file = if plan.is_empty() { "" } else { " --plan with" };
        format!("  {name:<5} Kafka {}, {}: kchaos test {}{file}{plan}", form.kafka(), exit::name(form.expect), form.words.join(" "))
    };
    format!(
        "{}\n  {} ({}; {})\n{}\n{}",
        case.name,
        case.wrong,
        case.versions,
        case.reference,
        form("bad", &case.bad),
        form("twin", &case.twin)
    )
}
