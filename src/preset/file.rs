//! The file of the presets: strict, and with line and column of whatever is wrong.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{DEFAULT_FILE, rule_out, test_command};
use crate::commands::test_args;
use crate::exit::Failure;
use crate::run::nearest;
use crate::suite::file::{Trouble, line_and_column, told};
use crate::suite::options::option;

/// What a preset must not say: itself, what is no run, and a consent that somebody has to type.
const REFUSED: &[(&str, &str)] = &[
    ("preset", "a preset begins with another by: inherits = \"NAME\""),
    ("config", "a preset is of this file"),
    ("dry-run", "type --dry-run, or use kchaos plan"),
    ("i-understand", "consent to a production cluster is typed for each run, and is not kept in a file"),
];

/// An option that a preset gives.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// clap's name of it.
    pub(crate) id: String,
    /// As it stands in the file.
    pub(crate) name: String,
    /// None of them: a flag that is off.
    pub(crate) words: Vec<String>,
    pub(crate) preset: String,
    pub(crate) line: usize,
    span: Range<usize>,
}

pub(crate) struct Preset {
    pub(crate) about: Option<String>,
    pub(crate) inherits: Option<String>,
    settings: Vec<Setting>,
    span: Range<usize>,
    inherits_span: Range<usize>,
}

pub(crate) struct File {
    path: PathBuf,
    text: String,
    pub(crate) presets: BTreeMap<String, Preset>,
}

impl File {
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::usage(anyhow!(
                "the presets' file {}: {error} (--config, $KCHAOS_CONFIG or ./{DEFAULT_FILE}; docs/presets.md)",
                path.display()
            ))
        })?;
        Self::parse(path, text)
    }

    fn parse(path: &Path, text: String) -> Result<Self, Failure> {
        match presets(path, &text) {
            Ok(presets) => Ok(Self { path: path.to_owned(), text, presets }),
            Err(troubles) => Err(Failure::usage(anyhow!("{}", told(path, &text, &troubles)))),
        }
    }

    /// The options of a preset with those that it inherits, the nearest first, held against what `kchaos test` takes.
    pub(crate) fn settings(&self, name: &str) -> Result<Vec<Setting>, Failure> {
        if !self.presets.contains_key(name) {
            let near = nearest(name, self.presets.keys().map(String::as_str));
            return Err(Failure::usage(anyhow!("{} has no preset \"{name}\"{near}", self.path.display())));
        }
        let settings = merged(&self.presets, name);
        refuse_wrong(&self.presets[name], &settings)
            .map_err(|trouble| Failure::usage(anyhow!("{}", told(&self.path, &self.text, &[trouble]))))?;
        Ok(settings.into_iter().filter(|setting| !setting.words.is_empty()).collect())
    }

    /// All that is wrong with any preset.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let mut troubles: Vec<Trouble> = Vec::new();
        for (name, preset) in &self.presets {
            if let Err(trouble) = refuse_wrong(preset, &merged(&self.presets, name))
                // What is inherited is wrong once.
                && !troubles.iter().any(|told| told.is_like(&trouble))
            {
                troubles.push(trouble);
            }
        }
        if troubles.is_empty() { Ok(()) } else { Err(Failure::usage(anyhow!("{}", told(&self.path, &self.text, &troubles)))) }
    }
}

fn refuse_wrong(preset: &Preset, settings: &[Setting]) -> Result<(), Trouble> {
    let words: Vec<String> = settings.iter().flat_map(|setting| setting.words.iter().cloned()).collect();
    test_args(&words).map(drop).map_err(|why| {
        let blamed = settings.iter().find(|setting| blames_option(setting, &why));
        let blamed = blamed.or_else(|| settings.iter().find(|setting| blames_value(setting, &why)));
        Trouble::at(blamed.map_or_else(|| preset.span.clone(), |setting| setting.span.clone()), why)
    })
}

fn blames_option(setting: &Setting, why: &str) -> bool {
    let is_end = |rest: &str| !rest.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '-');
    why.split(&format!("--{}", setting.name)).skip(1).any(is_end)
}

/// Names that are looked up are told by their value.
fn blames_value(setting: &Setting, why: &str) -> bool {
    let values = setting.words.iter().filter_map(|word| word.split_once('=')).flat_map(|(_, value)| value.split(','));
    values.into_iter().any(|value| value.len() > 2 && why.contains(value))
}

/// A preset's options and its ancestors': the nearest wins, over what cannot stand beside it too.
fn merged(presets: &BTreeMap<String, Preset>, name: &str) -> Vec<Setting> {
    let (mut settings, mut next): (Vec<Setting>, _) = (Vec::new(), presets.get(name));
    while let Some(preset) = next {
        let is_new = |new: &Setting| {
            let rules = |set: &Setting| set.id == new.id || (!set.words.is_empty() && rule_out(&set.id, &new.id));
            !settings.iter().any(rules)
        };
        let new: Vec<Setting> = preset.settings.iter().filter(|new| is_new(new)).cloned().collect();
        settings.extend(new);
        next = preset.inherits.as_ref().and_then(|parent| presets.get(parent));
    }
    settings
}

fn presets(path: &Path, text: &str) -> Result<BTreeMap<String, Preset>, Vec<Trouble>> {
    let document = DeTable::parse(text).map_err(|error| vec![Trouble::of(&error, &(0..0))])?;
    let (mut presets, mut troubles) = (BTreeMap::new(), Vec::new());
    for (key, value) in document.get_ref() {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("preset", DeValue::Table(all)) => {
                for (name, value) in all {
                    match preset(path, text, name, value) {
                        Ok(preset) => drop(presets.insert(name.get_ref().to_string(), preset)),
                        Err(more) => troubles.extend(more),
                    }
                }
            }
            _ => troubles.push(Trouble::at(key.span(), "here are presets, and nothing else: [preset.NAME]")),
        }
    }
    if troubles.is_empty() {
        troubles.extend(presets.keys().filter_map(|name| refuse_parents(&presets, name)));
    }
    if troubles.is_empty() { Ok(presets) } else { Err(troubles) }
}

/// Every preset that is inherited is there, and none inherits itself.
fn refuse_parents(presets: &BTreeMap<String, Preset>, name: &str) -> Option<Trouble> {
    let own = &presets[name];
    let mut seen = vec![name];
    let mut at = own;
    while let Some(parent) = &at.inherits {
        let Some(next) = presets.get(parent) else {
            let near = nearest(parent, presets.keys().map(String::as_str));
            return Some(Trouble::at(at.inherits_span.clone(), format!("there is no preset \"{parent}\"{near}")));
        };
        if parent == name {
            return Some(Trouble::at(
                own.inherits_span.clone(),
                format!("{name} inherits itself: {}", [&seen[..], &[name]].concat().join(" from ")),
            ));
        }
        if seen.contains(&parent.as_str()) {
            // A circle further up, which is told there.
            return None;
        }
        seen.push(parent);
        at = next;
    }
    None
}

fn preset(
    path: &Path,
    text: &str,
    name: &Spanned<std::borrow::Cow<'_, str>>,
    value: &Spanned<DeValue<'_>>,
) -> Result<Preset, Vec<Trouble>> {
    let DeValue::Table(table) = value.get_ref() else { return Err(vec![Trouble::at(value.span(), "a preset is a table: [preset.NAME]")]) };
    let directory = path.parent().unwrap_or(Path::new(""));
    let (mut about, mut inherits, mut inherits_span) = (None, None, 0..0);
    let (mut settings, mut troubles) = (Vec::<Setting>::new(), Vec::new());
    for (key, value) in table {
        if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == key.get_ref().as_ref()) {
            troubles.push(Trouble::at(key.span(), *why));
            continue;
        }
        match key.get_ref().as_ref() {
            word @ ("about" | "inherits") => match value.get_ref() {
                DeValue::String(said) if word == "about" => about = Some(said.to_string()),
                DeValue::String(parent) => (inherits, inherits_span) = (Some(parent.to_string()), value.span()),
                _ => troubles.push(Trouble::at(value.span(), format!("{word} is a text"))),
            },
            option_name => match option(test_command(), key, value) {
                Ok((arg, _)) if settings.iter().any(|set| arg.get_id() == set.id.as_str()) => {
                    troubles.push(Trouble::at(key.span(), format!("{option_name} is said twice, short and long")));
                }
                Ok((arg, mut words)) => {
                    if arg.get_value_parser().type_id() == TypeId::of::<PathBuf>() {
                        words.iter_mut().for_each(|word| *word = from(directory, word));
                    }
                    let (id, name, preset) = (arg.get_id().to_string(), option_name.to_owned(), name.get_ref().to_string());
                    settings.push(Setting { id, name, words, preset, line: line_and_column(text, key.span().start).0, span: value.span() });
                }
                Err(trouble) => troubles.push(trouble),
            },
        }
    }
    if troubles.is_empty() { Ok(Preset { about, inherits, settings, span: name.span(), inherits_span }) } else { Err(troubles) }
}

/// A path of the file is from where the file is, as in an inventory.
fn from(directory: &Path, word: &str) -> String {
    match word.split_once('=') {
        Some((option, path)) if option.starts_with("--") => format!("{option}={}", directory.join(path).display()),
        _ if word.starts_with('-') => word.to_owned(),
        _ => directory.join(word).display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        match File::parse(Path::new("c.toml"), text.to_owned()) {
            Ok(file) => file.check().expect_err("it is wrong").to_string(),
            Err(failure) => failure.to_string(),
        }
    }

    #[track_caller]
    fn says(text: &str, expect: &str) {
        let said = wrong(text);
        assert!(said.contains(expect), "{said:?} does not say {expect:?}");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_column() {
        says("[preset.a]\nrtae = 5", "c.toml:2:1: unknown option: did you mean \"rate\"?");
        says("[preset.a]\nrate = 'fast'", "c.toml:2:8: ");
        says("[preset.a]\nkeep-topic = 'yes'", "c.toml:2:14: keep-topic is on or off");
        says("[preset.a]\ntime-limit = '60'", "lacks a unit");
        says("[preset.a]\nnemesis = ['kill-leeder']", "c.toml:2:11: ");
        says("[preset.a]\nabout = 5", "c.toml:2:9: about is a text");
        says("rate = 5", "c.toml:1:1: here are presets");
        says("[preset]\na = 5", "c.toml:2:5: a preset is a table");
        says("[preset.a\n", "c.toml:1:");
        says("[preset.a]\nn = 'none'\nnemesis = 'none'", "said twice");
    }

    #[test]
    fn what_is_inherited_has_to_be_there_and_ends_somewhere() {
        says(
            "[preset.nightly]\ninherits = 'stagin'\n[preset.staging]\nrate = 5",
            "c.toml:2:12: there is no preset \"stagin\": did you mean \"staging\"?",
        );
        says("[preset.a]\ninherits = 'a'", "c.toml:2:12: a inherits itself: a from a");
        says("[preset.a]\ninherits = 'b'\n[preset.b]\ninherits = 'a'", "a inherits itself: a from b from a");
        says("[preset.c]\ninherits = 'a'\n[preset.a]\ninherits = 'a'", "c.toml:4:12: a inherits itself");
    }

    #[test]
    fn a_mistake_that_several_inherit_is_told_once() {
        let said = wrong("[preset.a]\nacks = '2'\n[preset.b]\ninherits = 'a'");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("c.toml:2:"), "{said}");
    }

    #[test]
    fn consent_is_not_kept_in_a_file() {
        says("[preset.a]\ni-understand = 'prod'", "c.toml:2:1: consent to a production cluster is typed");
        says("[preset.a]\npreset = 'b'", "inherits = ");
        says("[preset.a]\ndry-run = true", "kchaos plan");
    }
}
