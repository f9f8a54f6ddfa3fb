//! Tables of a file that stand for the options of a command: each long option is a key, so that what `kchaos test` and `kchaos lab up` learn a suite can say
//! at once.

use std::borrow::Cow;
use std::ops::Range;

use clap::{ArgAction, Args};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::Trouble;
use crate::cli::TestArgs;
use crate::commands::test_args;
use crate::run::nearest;

/// The words of a command line. Unknown options are troubles with their place.
pub(super) fn words<A: Args>(table: &DeTable<'_>) -> Result<Vec<String>, Vec<Trouble>> {
    let command = A::augment_args(clap::Command::new("kchaos"));
    let (mut words, mut troubles) = (Vec::new(), Vec::new());
    for (key, value) in table {
        match option(&command, key, value) {
            Ok((_, given)) => words.extend(given),
            Err(trouble) => troubles.push(trouble),
        }
    }
    if troubles.is_empty() { Ok(words) } else { Err(troubles) }
}

/// An option of the command that a key names, long or short, and its words.
pub(crate) fn option<'c>(
    command: &'c clap::Command,
    key: &Spanned<Cow<'_, str>>,
    value: &Spanned<DeValue<'_>>,
) -> Result<(&'c clap::Arg, Vec<String>), Trouble> {
    let name: &str = key.get_ref();
    let is_short = |short| name.chars().eq(std::iter::once(short));
    let Some(arg) = command.get_arguments().find(|arg| arg.get_long() == Some(name) || arg.get_short().is_some_and(is_short)) else {
        let known: Vec<&str> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
        return Err(Trouble::at(key.span(), format!("unknown option{}", nearest(name, known.iter().copied()))));
    };
    let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
    given(name, value, is_flag).map(|words| (arg, words)).map_err(|why| Trouble::at(value.span(), why))
}

/// What whoever has the run done says itself.
const OURS: &[&str] = &["inventory", "results", "progress", "tui", "metrics", "notify", "notify-always", "ci", "dry-run", "keep-lab"];

/// The words of a `kchaos test` that could be asked for; `place` is the table's, `by` who has it done.
pub(crate) fn test_words(args: &DeTable<'_>, place: Range<usize>, by: &str) -> Result<Vec<String>, Vec<Trouble>> {
    if let Some((key, _)) = OURS.iter().find_map(|name| args.get_key_value(*name)) {
        return Err(vec![Trouble::at(key.span(), format!("{} is said by the {by} itself", key.get_ref()))]);
    }
    let words = words::<TestArgs>(args)?;
    test_args(&words).map_err(|why| vec![Trouble::at(place_of(args, &why).unwrap_or(place), why)])?;
    Ok(words)
}

/// The key of the table that clap complains about, by the option's name in what it says.
pub(super) fn place_of(table: &DeTable<'_>, said: &str) -> Option<Range<usize>> {
    let named = |name: &str| if name.chars().count() == 1 { format!("'-{name} ") } else { format!("'--{name} ") };
    table.iter().find(|(key, _)| said.contains(&named(key.get_ref()))).map(|(key, _)| key.span())
}

fn given(name: &str, value: &Spanned<DeValue<'_>>, is_flag: bool) -> Result<Vec<String>, String> {
    let option = |text: String| if name.chars().count() == 1 { vec![format!("-{name}"), text] } else { vec![format!("--{name}={text}")] };
    match value.get_ref() {
        DeValue::Boolean(is_on) if is_flag => Ok(if *is_on { vec![format!("--{name}")] } else { Vec::new() }),
        _ if is_flag => Err(format!("{name} is on or off: true or false")),
        DeValue::Array(all) => {
            let texts = all.iter().map(|one| scalar(one.get_ref()).ok_or_else(|| format!("{name}: a list of texts and numbers")));
            Ok(texts.collect::<Result<Vec<_>, _>>()?.into_iter().flat_map(option).collect())
        }
        DeValue::Table(pairs) => {
            let texts = pairs.iter().map(|(key, one)| {
                let text = scalar(one.get_ref()).ok_or_else(|| format!("{name}: each value is a text, a number or true"))?;
                Ok(format!("{}={text}", key.get_ref()))
            });
            Ok(texts.collect::<Result<Vec<_>, String>>()?.into_iter().flat_map(option).collect())
        }
        one => scalar(one).map(option).ok_or_else(|| format!("{name}: a text, a number, true, a list or a table")),
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.as_str().replace('_', "")),
        DeValue::Float(number) => Some(number.as_str().replace('_', "")),
        DeValue::Boolean(is_on) => Some(is_on.to_string()),
        _ => None,
    }
}
