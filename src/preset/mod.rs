//! Presets: options of `kchaos test` that are kept in a file under a name, so that what the night runs stands in one place (docs/presets.md).
//!
//! Nothing of the file applies that was not asked for by `--preset`, and a run writes down the command that came of it and not the preset's name: it is
//! repeated, judged again and compared whatever becomes of the file. [`file`] reads and refuses, [`show`] tells where each value comes from.

mod file;
pub(crate) mod show;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, CommandFactory, FromArgMatches};

pub(crate) use file::{File, Setting};

use crate::cli::{Cli, Command, ConfigCommand, TestArgs};
use crate::exit::Failure;

pub(crate) const DEFAULT_FILE: &str = "kchaos-config.toml";
const INVENTORY_VARIABLE: &str = "KCHAOS_INVENTORY";

/// What was typed for a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Typed {
    /// The words, with a preset's options in the place of its name.
    pub(crate) command: Vec<String>,
    pub(crate) preset: Option<Applied>,
}

/// What a preset gave to a command.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
    pub(crate) settings: Vec<Setting>,
}

/// Why there is nothing to run.
pub(crate) enum NotUnderstood {
    Words(clap::Error),
    Preset(Failure),
}

impl From<clap::Error> for NotUnderstood {
    fn from(error: clap::Error) -> Self {
        Self::Words(error)
    }
}

impl From<Failure> for NotUnderstood {
    fn from(failure: Failure) -> Self {
        Self::Preset(failure)
    }
}

/// The command line, with the options of its preset put in.
pub(crate) fn parse(words: Vec<OsString>) -> Result<Cli, NotUnderstood> {
    let (words, applied) = match named(&words) {
        None => (words, None),
        Some(named) => {
            let applied = named.apply()?;
            (put_in(words, &applied), Some(applied))
        }
    };
    let mut cli = Cli::from_arg_matches(&Cli::command().try_get_matches_from(&words)?)?;
    if let Some(test) = test_of(&mut cli.command) {
        let command = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        test.typed = Typed { command, preset: applied };
    }
    Ok(cli)
}

fn test_of(command: &mut Command) -> Option<&mut TestArgs> {
    match command {
        Command::Test(args) => Some(args),
        Command::Plan(args) => Some(&mut args.test),
        Command::Config(ConfigCommand::Show(args)) => Some(&mut args.test),
        _ => None,
    }
}

/// A preset that was asked for, and what was said beside it.
struct Named {
    preset: String,
    file: PathBuf,
    /// The ids of options that were typed or are in the environment.
    said: Vec<String>,
}

/// Loosely: what a preset gives may be what the rest asks for.
fn named(words: &[OsString]) -> Option<Named> {
    // Every command comes by here, the daemons of a lab as well: what has none is not read twice.
    if !words.iter().any(|word| is_flag(&word.to_string_lossy(), "--preset")) {
        return None;
    }
    let matches = Cli::command().ignore_errors(true).try_get_matches_from(words).ok()?;
    let own = innermost(&matches);
    let preset = own.try_get_one::<String>("preset").ok()??.clone();
    let is_said = |id: &&clap::Id| matches!(own.value_source(id.as_str()), Some(ValueSource::CommandLine | ValueSource::EnvVariable));
    let said = own.ids().filter(is_said).map(ToString::to_string);
    let by_variable = inventory_of_environment().map(|_| "inventory".to_owned());
    Some(Named { preset, file: file_of(own.get_one::<PathBuf>("config").map(PathBuf::as_path)), said: said.chain(by_variable).collect() })
}

/// `find_inventory` reads it, and not clap.
fn inventory_of_environment() -> Option<String> {
    std::env::var_os(INVENTORY_VARIABLE).filter(|path| !path.is_empty()).map(|path| path.to_string_lossy().into_owned())
}

/// Of the command itself, behind the names of what it is part of.
fn innermost(mut matches: &ArgMatches) -> &ArgMatches {
    while let Some((_, within)) = matches.subcommand() {
        matches = within;
    }
    matches
}

pub(crate) fn file_of(given: Option<&Path>) -> PathBuf {
    given.map_or_else(|| PathBuf::from(DEFAULT_FILE), Path::to_owned)
}

impl Named {
    fn apply(self) -> Result<Applied, Failure> {
        let file = File::read(&self.file)?;
        let mut settings = file.settings(&self.preset)?;
        settings.retain(|setting| {
            let id = setting.id.as_str();
            !self.said.iter().any(|said| said == id || rule_out(said, id))
        });
        Ok(Applied { name: self.preset, file: self.file, settings })
    }
}

/// The options of `kchaos test`.
pub(crate) fn test_command() -> &'static clap::Command {
    static COMMAND: LazyLock<clap::Command> = LazyLock::new(|| {
        let mut command = TestArgs::augment_args(clap::Command::new("kchaos"));
        command.build();
        command
    });
    &COMMAND
}

/// Whether two options cannot be given together.
fn rule_out(one: &str, other: &str) -> bool {
    let command = test_command();
    let find = |id: &str| command.get_arguments().find(|arg| arg.get_id() == id);
    let (Some(one), Some(other)) = (find(one), find(other)) else { return false };
    let names = |of: &Arg, named: &Arg| command.get_arg_conflicts_with(of).iter().any(|arg| arg.get_id() == named.get_id());
    names(one, other) || names(other, one)
}

/// `--flag`, of which the value is the next word, or `--flag=value`.
fn is_flag(word: &str, flag: &str) -> bool {
    word.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

/// The words without the preset's name and file, and with what it gives at their end.
fn put_in(words: Vec<OsString>, applied: &Applied) -> Vec<OsString> {
    let (mut put, mut is_value) = (Vec::new(), false);
    for word in words {
        if std::mem::take(&mut is_value) {
            continue;
        }
        let text = word.to_string_lossy();
        if ["--preset", "--config"].iter().any(|flag| is_flag(&text, flag)) {
            is_value = !text.contains('=');
        } else {
            put.push(word);
        }
    }
    put.extend(applied.settings.iter().flat_map(|setting| &setting.words).map(OsString::from));
    put
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
[preset.staging]
inventory = 'staging.toml'
results = '/srv/kchaos'
slo = ['recovery.p99<20s']
rate = 1_000
keep-topic = true
X = { 'linger.ms' = 5 }

[preset.nightly]
about = 'what the night does'
inherits = 'staging'
nemesis = ['kill-leader', 'pause-leader']
time-limit = '10m'
keep-topic = false

[preset.exact]
inherits = 'nightly'
plan = 'plans/upgrade.toml'

[preset.told]
notify = 'env:HOOK'
";

    /// The words that a command comes to, in a directory with that file.
    fn words(typed: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.toml");
        std::fs::write(&path, FILE).unwrap();
        for plan in ["plans/upgrade.toml", "other.toml"] {
            let plan = directory.path().join(plan);
            std::fs::create_dir_all(plan.parent().unwrap()).unwrap();
            std::fs::write(plan, "[[fault]]\nat = '5s'\nnemesis = 'kill-leader'\nduration = '10s'\n").unwrap();
        }
        let typed: Vec<OsString> = typed.replace("FILE", &path.display().to_string()).split_whitespace().map(OsString::from).collect();
        match parse(typed) {
            Ok(mut cli) => {
                let test = test_of(&mut cli.command).expect("a command with a test's options");
                test.typed.command.join(" ").replace(&format!("{}/", directory.path().display()), "DIR/")
            }
            Err(NotUnderstood::Words(error)) => error.to_string(),
            Err(NotUnderstood::Preset(failure)) => failure.to_string().replace(&format!("{}/", directory.path().display()), "DIR/"),
        }
    }

    #[track_caller]
    fn comes_to(typed: &str, expect: &str) {
        assert_eq!(words(typed), expect, "{typed}");
    }

    #[test]
    fn a_preset_stands_for_its_options_and_for_what_it_inherits() {
        comes_to(
            "kchaos test --config FILE --preset nightly",
            "kchaos test --nemesis=kill-leader --nemesis=pause-leader --time-limit=10m -X linger.ms=5 --inventory=DIR/staging.toml \
             --rate=1000 --results=/srv/kchaos --slo=recovery.p99<20s",
        );
    }

    #[test]
    fn what_is_typed_goes_before_and_takes_the_place_of_a_whole_list() {
        comes_to(
            "kchaos test --preset=staging --config=FILE --slo throughput>1 --rate 5 -X acks=1 --results here",
            "kchaos test --slo throughput>1 --rate 5 -X acks=1 --results here --inventory=DIR/staging.toml --keep-topic",
        );
    }

    #[test]
    fn what_cannot_stand_together_is_settled_for_whoever_is_nearer() {
        let kept = "-X linger.ms=5 --inventory=DIR/staging.toml --rate=1000 --results=/srv/kchaos --slo=recovery.p99<20s";
        comes_to("kchaos plan --config FILE --preset exact", &format!("kchaos plan --plan=DIR/plans/upgrade.toml --time-limit=10m {kept}"));
        comes_to(
            "kchaos test --config FILE --preset nightly --plan other.toml",
            &format!("kchaos test --plan other.toml --time-limit=10m {kept}"),
        );
        comes_to(
            "kchaos test --config FILE --preset exact -n pause-leader",
            &format!("kchaos test -n pause-leader --time-limit=10m {kept}"),
        );
    }

    #[test]
    fn what_is_typed_may_need_what_the_preset_gives() {
        comes_to("kchaos test --config FILE --preset told --notify-always", "kchaos test --notify-always --notify=env:HOOK");
        assert!(words("kchaos test --notify-always").contains("--notify"), "alone it lacks something");
    }

    #[test]
    fn without_a_preset_the_words_are_as_they_were() {
        comes_to("kchaos test --config nowhere.toml --rate 5", "kchaos test --config nowhere.toml --rate 5");
    }

    #[test]
    fn a_preset_that_is_not_there_is_told_with_what_is() {
        let said = words("kchaos test --config FILE --preset nigthly");
        assert!(said.contains("DIR/c.toml has no preset \"nigthly\": did you mean \"nightly\"?"), "{said}");
        let said = words("kchaos test --config no-such.toml --preset nightly");
        assert!(said.contains("no-such.toml") && said.contains("docs/presets.md"), "{said}");
    }
}
