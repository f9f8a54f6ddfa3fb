//! Where each option of a run comes from.

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory};
use serde::Serialize;

use super::{Applied, INVENTORY_VARIABLE, innermost, inventory_of_environment, test_command};
use crate::cli::{Cli, TestArgs};
use crate::exit::Failure;

/// An option, its value, and who said so.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    pub(crate) option: String,
    /// Several of an option that may be given several times.
    pub(crate) values: Vec<String>,
    pub(crate) origin: Origin,
    /// FILE:LINE of a preset, or the variable's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<String>,
    /// The preset that says so, which may be one that is inherited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) preset: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Origin {
    CommandLine,
    Environment,
    Preset,
    Default,
}

impl Shown {
    /// For people.
    pub(crate) fn origin(&self, applied: Option<&Applied>) -> String {
        let place = self.place.as_deref().unwrap_or_default();
        match self.origin {
            Origin::CommandLine => "command line".to_owned(),
            Origin::Environment => format!("environment, {place}"),
            Origin::Default => "default".to_owned(),
            Origin::Preset => {
                let preset = self.preset.as_deref().unwrap_or_default();
                let is_inherited = applied.is_some_and(|applied| applied.name != preset);
                format!("{place} [preset.{preset}]{}", if is_inherited { ", inherited" } else { "" })
            }
        }
    }
}

/// Every option that has a value, in the order of `--help`; what is a secret is hidden.
pub(crate) fn options(args: &TestArgs) -> Result<Vec<Shown>, Failure> {
    let command = test_command();
    let all = Cli::command().try_get_matches_from(&args.typed.command).map_err(Failure::usage)?;
    let matches = innermost(&all);
    let applied = args.typed.preset.as_ref();
    Ok(command
        .get_arguments()
        .filter(|arg| !["help", "preset", "config"].contains(&arg.get_id().as_str()))
        .filter_map(|arg| shown(arg, matches, applied))
        .collect())
}

fn shown(arg: &clap::Arg, matches: &ArgMatches, applied: Option<&Applied>) -> Option<Shown> {
    let id = arg.get_id().as_str();
    if let ("inventory", None, Some(path)) = (id, matches.value_source(id), inventory_of_environment()) {
        let place = Some(INVENTORY_VARIABLE.to_owned());
        return Some(Shown { option: id.to_owned(), values: vec![path], origin: Origin::Environment, place, preset: None });
    }
    let source = matches.value_source(id)?;
    let values = matches.get_raw(id)?.map(|value| {
        let text = value.to_string_lossy();
        if id == "properties" { kchaos_workloads::shown_property(&text) } else { text.into_owned() }
    });
    let set = applied.and_then(|applied| applied.settings.iter().find(|set| set.id == id).map(|set| (applied, set)));
    let (origin, place, preset) = match (source, set) {
        (ValueSource::CommandLine, Some((applied, set))) => {
            (Origin::Preset, Some(format!("{}:{}", applied.file.display(), set.line)), Some(set.preset.clone()))
        }
        (ValueSource::CommandLine, None) => (Origin::CommandLine, None, None),
        (ValueSource::EnvVariable, _) => (Origin::Environment, arg.get_env().map(|name| name.to_string_lossy().into_owned()), None),
        _ => (Origin::Default, None, None),
    };
    let name = arg.get_long().map_or_else(|| arg.get_short().map(String::from).unwrap_or_default(), ToOwned::to_owned);
    Some(Shown { option: name, values: values.collect(), origin, place, preset })
}
