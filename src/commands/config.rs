//! `kchaos config`: what comes of a preset, whether the file is right, what there is in it.

use std::path::Path;

use serde_json::{Value, json};

use crate::cli::{ConfigCommand, ConfigFileArgs, ConfigShowArgs, Format};
use crate::exit::{self, Failure};
use crate::preset::show::{self, Origin, Shown};
use crate::preset::{File, file_of};
use crate::run::Setup;

pub(super) fn run(command: &ConfigCommand) -> Result<u8, Failure> {
    match command {
        ConfigCommand::Show(args) => show(args),
        ConfigCommand::Check(args) => check(args),
        ConfigCommand::List(args) => list(args),
    }
}

fn show(args: &ConfigShowArgs) -> Result<u8, Failure> {
    Setup::refuse_wrong_names(&args.test)?;
    let is_told = |shown: &Shown| args.all || shown.origin != Origin::Default;
    let mut options = show::options(&args.test)?;
    let defaults = options.iter().filter(|shown| shown.origin == Origin::Default).count();
    options.retain(is_told);
    match args.format {
        Format::Json => super::say_json(&options)?,
        Format::Text => {
            crate::say_raw!("{}", table(&options, args));
            if !args.all {
                crate::say!("{}{defaults} other options have their defaults: --all shows them", if options.is_empty() { "" } else { "\n" });
            }
        }
    }
    Ok(exit::VALID)
}

fn table(options: &[Shown], args: &ConfigShowArgs) -> String {
    let rows: Vec<(&str, String, String)> = options
        .iter()
        .map(|shown| {
            let origin = if args.origin { shown.origin(args.test.typed.preset.as_ref()) } else { String::new() };
            (shown.option.as_str(), shown.values.join(","), origin)
        })
        .collect();
    let width = |of: fn(&(&str, String, String)) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let (names, values) = (width(|row| row.0.chars().count()), width(|row| row.1.chars().count()).min(60));
    rows.iter().map(|(name, value, origin)| format!("{name:names$}  {value:values$}  {origin}").trim_end().to_owned() + "\n").collect()
}

fn check(args: &ConfigFileArgs) -> Result<u8, Failure> {
    let path = file_of(args.config.as_deref());
    let file = File::read(&path)?;
    file.check()?;
    match args.format {
        Format::Json => crate::say!("{}", checked(&path, &file)),
        Format::Text => crate::say!("{}: {} presets, each is one that kchaos test takes", path.display(), file.presets.len()),
    }
    Ok(exit::VALID)
}

fn list(args: &ConfigFileArgs) -> Result<u8, Failure> {
    let file = File::read(&file_of(args.config.as_deref()))?;
    match args.format {
        Format::Json => super::say_json(&listed(&file))?,
        Format::Text => {
            let width = file.presets.keys().map(String::len).max().unwrap_or(0);
            for (name, preset) in &file.presets {
                let inherits = preset.inherits.as_ref().map(|parent| format!("(inherits {parent}) ")).unwrap_or_default();
                let about = preset.about.as_deref().unwrap_or_default();
                crate::say!("{}", format!("{name:width$}  {inherits}{about}").trim_end());
            }
        }
    }
    Ok(exit::VALID)
}

fn checked(path: &Path, file: &File) -> Value {
    json!({"file": path.display().to_string(), "presets": file.presets.keys().collect::<Vec<_>>()})
}

fn listed(file: &File) -> Value {
    file.presets.iter().map(|(name, preset)| json!({"name": name, "inherits": preset.inherits, "about": preset.about})).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use crate::schema::conform::assert_conforms;

    #[test]
    fn what_is_said_of_presets_conforms() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/kchaos-config.toml");
        let file = File::read(&path).unwrap();
        assert_conforms("config-check", &checked(&path, &file));
        assert_conforms("config-list", &listed(&file));
        let words = ["kchaos", "config", "show", "--preset", "nightly", "--rate", "5", "--all", "--config"];
        let words = words.into_iter().map(Into::into).chain([path.into_os_string()]).collect();
        let Ok(Cli { command: Command::Config(ConfigCommand::Show(args)) }) = crate::preset::parse(words) else {
            panic!("it is understood")
        };
        let options = show::options(&args.test).unwrap();
        let origin_of = |name: &str| options.iter().find(|shown| shown.option == name).map(|shown| shown.origin);
        assert_eq!(["rate", "nemesis", "acks"].map(origin_of), [Origin::CommandLine, Origin::Preset, Origin::Default].map(Some));
        assert_conforms("config-show", &json!(options));
    }
}
