//! `kchaos completions`: from the flags as they are, and the names that they take from the registries.

use clap::builder::PossibleValuesParser;
use clap::{Command, CommandFactory};

use crate::cli::{Cli, CompletionsArgs};
use crate::exit::{self, Failure};

pub(super) fn run(args: &CompletionsArgs) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut shown(), "kchaos", &mut script);
    crate::say_raw!("{}", String::from_utf8_lossy(&script));
    Ok(exit::VALID)
}

/// What a person types: internal commands and flags are left out, and names are known.
fn shown() -> Command {
    let whole = Cli::command();
    let mut command = without_hidden(&whole).version(env!("CARGO_PKG_VERSION"));
    for name in ["test", "plan"] {
        command = command.mut_subcommand(name, with_names);
    }
    command
}

/// clap keeps what is hidden, and has nothing to take it away: so a command is made anew of the rest.
fn without_hidden(command: &Command) -> Command {
    // clap wants names that live for ever, and this process ends soon.
    Command::new(&*command.get_name().to_owned().leak())
        .about(command.get_about().cloned().unwrap_or_default())
        .args(command.get_arguments().filter(|arg| !arg.is_hide_set()).cloned())
        .subcommands(command.get_subcommands().filter(|inner| !inner.is_hide_set()).map(without_hidden))
}

/// In a run itself names are looked up later, with a word on what was meant; a shell can only know them.
fn with_names(command: Command) -> Command {
    let workloads = kchaos_workloads::ALL.iter().map(|spec| spec.name);
    let profiles = kchaos_checkers::PROFILES.iter().map(|profile| profile.name);
    let names = kchaos_nemeses::names().map(|name| &*name.to_string().leak());
    let nemeses: Vec<&'static str> = ["none", "all", "guided"].into_iter().chain(names).collect();
    command
        .mut_arg("workload", |arg| arg.value_parser(PossibleValuesParser::new(workloads)))
        .mut_arg("profile", |arg| arg.value_parser(PossibleValuesParser::new(profiles)))
        .mut_arg("nemesis", |arg| arg.value_parser(PossibleValuesParser::new(nemeses)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;
    use clap_complete::Shell;

    #[test]
    fn every_shell_knows_the_commands_and_the_names_and_no_internal_command() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut shown(), "kchaos", &mut script);
            let script = String::from_utf8(script).unwrap();
            for word in ["doctor", "nemesis", "completions"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
            // elvish's and PowerShell's know no values of flags.
            if [Shell::Bash, Shell::Zsh, Shell::Fish].contains(shell) {
                assert!(script.contains("kill-leader") && script.contains("transactions"), "{shell}");
            }
            for word in ["lab-init", "lab-disk", "--proved", "-l proved"] {
                assert!(!script.contains(word), "{shell} tells of {word}");
            }
        }
    }
}
