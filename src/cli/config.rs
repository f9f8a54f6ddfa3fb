//! Flags of presets, and of the commands that show what comes of them.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Format, TestArgs};

#[derive(Clone, Debug, Args)]
pub(crate) struct PresetArgs {
    /// Begin with the options of this preset, a table of --config; what is typed or in the environment goes before (docs/presets.md)
    #[arg(long, value_name = "NAME")]
    pub(crate) preset: Option<String>,
    /// The file of the presets; without --preset nothing of it applies [default: ./kchaos-config.toml]
    #[arg(long, value_name = "FILE", env = "KCHAOS_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// The options that `kchaos test` with the same words would have
    Show(Box<ConfigShowArgs>),
    /// Hold every preset of the file against what `kchaos test` takes, with line and column of what is wrong
    Check(ConfigFileArgs),
    /// The presets of the file, and what each inherits
    List(ConfigFileArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ConfigShowArgs {
    /// Where each value comes from: command line, environment, which line of which preset, default
    #[arg(long)]
    pub(crate) origin: bool,
    /// Also what was left at its default
    #[arg(long)]
    pub(crate) all: bool,
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) test: TestArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigFileArgs {
    /// [default: ./kchaos-config.toml]
    #[arg(long, value_name = "FILE", env = "KCHAOS_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
}
