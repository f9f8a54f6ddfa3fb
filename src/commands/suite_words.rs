//! Whether words that stand in a suite would be taken by the commands that they are for.

use clap::Parser;
use kchaos_lab::LabError;

use super::lab;
use crate::cli::{Cli, Command, LabCommand, TestArgs};
use crate::run::Setup;

/// What `kchaos lab up` would refuse, before anything is done.
pub(crate) fn refuse_lab(words: &[String]) -> Result<(), String> {
    match parsed(&["lab", "up"], words)? {
        Command::Lab(LabCommand::Up(args)) => {
            lab::options(args).map_err(|failure| failure.to_string())?.check().map_err(|error: LabError| error.to_string())
        }
        _ => Err("these are no options of kchaos lab up".to_owned()),
    }
}

/// The options of `kchaos test`, with its names looked up.
pub(crate) fn test_args(words: &[String]) -> Result<Box<TestArgs>, String> {
    match parsed(&["test"], words)? {
        Command::Test(args) => Setup::refuse_wrong_names(&args).map(|()| args).map_err(|failure| failure.to_string()),
        _ => Err("these are no options of kchaos test".to_owned()),
    }
}

/// What clap says, without its frame.
fn parsed(command: &[&str], words: &[String]) -> Result<Command, String> {
    let all = std::iter::once("kchaos").chain(command.iter().copied()).chain(words.iter().map(String::as_str));
    Cli::try_parse_from(all).map(|cli| cli.command).map_err(|error| {
        let text = error.to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        text.split("\n\nFor more").next().unwrap_or(text).trim().replace('\n', "; ")
    })
}
