//! `kchaos coverage`: what the runs of a directory exercised.

use anyhow::anyhow;
use serde_json::{Value, json};

use crate::cli::{CoverageArgs, Format};
use crate::coverage::{self, Covered};
use crate::exit::{self, Failure};

pub(super) fn run(args: &CoverageArgs) -> Result<u8, Failure> {
    let covered = coverage::below(&args.results)?;
    if covered.runs == 0 && covered.unread.is_empty() {
        return Err(Failure::usage(anyhow!("{} holds no run that came to its verdict", args.results.display())));
    }
    match args.format {
        Format::Text => crate::say_raw!("{}", coverage::table(&covered)),
        Format::Json => super::say_json(&told(&covered))?,
    }
    Ok(exit::VALID)
}

/// For programs.
fn told(covered: &Covered) -> Value {
    json!({"runs": covered.runs, "exercised": covered.exercised, "unread": covered.unread, "never": coverage::never(covered)})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coverage::Exercised;
    use crate::schema::conform::assert_conforms;

    #[test]
    fn what_was_covered_conforms() {
        assert_conforms("coverage", &told(&Covered::default()));
        let exercised = vec![Exercised { fault_id: 1, nemesis: "kill-leader".to_owned(), ..Exercised::default() }];
        let told = told(&Covered { runs: 1, exercised, unread: vec!["x: it holds no plan.json".to_owned()] });
        assert_conforms("coverage", &told);
        assert!(told["never"].as_array().is_some_and(|never| !never.is_empty() && !never.contains(&json!("kill-leader"))));
    }
}
