//! `kchaos selftest`: does kchaos see what is known to be wrong, and leave alone what is known to be right?

use anyhow::anyhow;
use serde_json::{Value, json};

use crate::cli::{Format, SelftestArgs};
use crate::exit::{self, Failure};
use crate::run::nearest;
use crate::selftest::{self, Case, Form};

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
        match args.format {
            Format::Text => cases.iter().for_each(|case| crate::say!("{}", told(case))),
            Format::Json => super::say_json(&json(&cases))?,
        }
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
    let form = |name: &str, form: &Form| {
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

/// For programs.
fn json(cases: &[Case]) -> Value {
    let form = |form: &Form| {
        let find: Value =
            form.find.iter().map(|(name, bound)| (name.clone(), json!({"at_least": bound.at_least, "at_most": bound.at_most}))).collect();
        json!({"kafka": form.kafka(), "lab": form.lab, "test": form.words, "plan": form.plan, "expect": exit::name(form.expect),
               "find": find, "find_any": form.find_any, "attempts": form.attempts})
    };
    let case = |case: &Case| {
        json!({"name": case.name, "wrong": case.wrong, "versions": case.versions, "reference": case.reference,
               "bad": form(&case.bad), "twin": form(&case.twin)})
    };
    cases.iter().map(case).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::conform::assert_conforms;

    #[test]
    fn the_list_of_the_corpus_conforms() {
        let cases = selftest::built_in().unwrap_or_else(|failure| panic!("{failure}"));
        let told = json(&cases);
        assert_conforms("selftest-cases", &told);
        assert_eq!(told.as_array().map(Vec::len), Some(cases.len()));
    }
}
