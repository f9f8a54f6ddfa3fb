//! A run: `kchaos test`, as a child.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::super::child;
use super::super::file::{self, Trouble, span_of};
use super::super::options;
use super::super::scene::{Outcome, Scene};
use super::{Kind, Role, Step};
use crate::exit::{self, Failure};

pub(super) const KIND: Kind = Kind { name: "test", about: "A run: a workload, nemeses, a verdict", role: Role::Alone, read };

const ARGS: &str = "args";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    expect: Option<toml::Spanned<String>>,
    #[serde(default)]
    anomalies: Vec<String>,
    /// Read by itself; here for the list of keys.
    #[serde(rename = "args")]
    _args: Option<serde::de::IgnoredAny>,
}

struct Test {
    words: Vec<String>,
    expect: u8,
    anomalies: Vec<String>,
}

fn read(mut table: DeTable<'_>, around: &std::ops::Range<usize>) -> Result<Box<dyn Step>, Trouble> {
    let place = span_of(&table, ARGS);
    let args = match table.remove(ARGS).map(toml::Spanned::into_inner) {
        Some(DeValue::Table(args)) => args,
        None => DeTable::default(),
        Some(_) => return Err(Trouble::at(place, "args is a table: the options of `kchaos test`, without their dashes")),
    };
    let Keys { expect, anomalies, .. } = file::read(table, around)?;
    let words = options::test_words(&args, place.clone(), "suite")
        .map_err(|troubles| troubles.into_iter().next().unwrap_or_else(|| Trouble::at(place, "args")))?;
    let expect = match expect {
        None => exit::VALID,
        Some(name) => exit::code(name.get_ref()).map_err(|why| Trouble::at(name.span(), why))?,
    };
    Ok(Box::new(Test { words, expect, anomalies }))
}

#[async_trait]
impl Step for Test {
    fn command(&self, _scene: &Scene) -> String {
        format!("kchaos test {}", self.words.join(" "))
    }

    async fn run(&self, scene: &mut Scene) -> Result<Outcome, Failure> {
        let runs = scene.directory.join("runs");
        let mut words = vec!["test".to_owned()];
        words.extend(scene.inventory_words());
        words.extend(["--results".to_owned(), runs.display().to_string(), "--progress=plain".to_owned(), "--ci=none".to_owned()]);
        words.extend(self.words.iter().cloned());
        let code = child::kchaos(&words, &scene.transcript, &scene.abort).await?;
        let code = code.and_then(|code| u8::try_from(code).ok());
        let run = runs.join("latest").canonicalize().unwrap_or(runs);
        let Some(code) = code else {
            return Err(Failure {
                code: exit::UNHEALED,
                error: anyhow!("the run was killed; `kchaos heal` mends what it left ({})", run.display()),
            });
        };
        self.outcome(code, &run)
    }
}

impl Test {
    fn outcome(&self, code: u8, run: &Path) -> Result<Outcome, Failure> {
        let verdict = verdict(run, code)?;
        let sentence = verdict["sentence"].as_str().unwrap_or("").to_owned();
        let outcome = if code == self.expect {
            let missing: Vec<&String> = self.anomalies.iter().filter(|name| verdict["anomalies"].get(name.as_str()).is_none()).collect();
            match missing.as_slice() {
                [] if code == exit::VALID => Outcome::valid(sentence.clone()),
                [] => Outcome::valid(format!("{}, as it was expected to be: {sentence}", exit::name(code))),
                _ => Outcome::of(exit::UNKNOWN, format!("{}, but {missing:?} was not found: {sentence}", exit::name(code))),
            }
        } else {
            let expected = exit::name(self.expect);
            // What went well and was to go wrong has shown nothing.
            let own = if code == exit::VALID { exit::UNKNOWN } else { code };
            let text = if self.expect == exit::VALID {
                sentence.clone()
            } else {
                format!("{}, and {expected} was expected: {sentence}", exit::name(code))
            };
            Outcome::of(own, text)
        };
        let outcome = outcome.with("run", run.display().to_string()).with("run_exit_code", code).with("verdict", verdict["valid"].clone());
        Ok(outcome.with("faults", verdict["faults"].clone()))
    }
}

/// What the run left; one that was refused left nothing, and its code says why.
fn verdict(run: &Path, code: u8) -> Result<Value, Failure> {
    let path: PathBuf = run.join("verdict.json");
    match std::fs::read(&path) {
        Ok(text) => Ok(serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))?),
        Err(_) if code != exit::VALID && code != exit::INVALID => Ok(Value::Null),
        Err(error) => Err(Failure::environment(anyhow!("{}: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expect: u8, anomalies: &[&str], code: u8, own: u8, part: &str) {
        let run = tempfile::tempdir().unwrap();
        let verdict = serde_json::json!({"valid": code == 0, "sentence": "It was so.", "anomalies": {"lost-write": {"count": 3}}});
        std::fs::write(run.path().join("verdict.json"), verdict.to_string()).unwrap();
        let test = Test { words: Vec::new(), expect, anomalies: anomalies.iter().map(|name| (*name).to_owned()).collect() };
        let outcome = test.outcome(code, run.path()).unwrap();
        assert_eq!(outcome.code, own, "{}", outcome.text);
        assert!(outcome.text.contains(part), "{}", outcome.text);
    }

    #[test]
    fn a_run_is_held_against_what_was_expected_of_it() {
        check(exit::VALID, &[], exit::VALID, exit::VALID, "It was so.");
        check(exit::VALID, &[], exit::INVALID, exit::INVALID, "It was so.");
        check(exit::INVALID, &["lost-write"], exit::INVALID, exit::VALID, "as it was expected");
        check(exit::INVALID, &["duplicate"], exit::INVALID, exit::UNKNOWN, "\"duplicate\"] was not found");
        check(exit::INVALID, &[], exit::VALID, exit::UNKNOWN, "valid, and invalid was expected");
        check(exit::INVALID, &[], exit::UNHEALED, exit::UNHEALED, "unhealed, and invalid was expected");
    }
}
