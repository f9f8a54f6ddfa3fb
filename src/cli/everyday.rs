//! Flags of what one meets every day and not in a run: completions, manual pages, a first inventory.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clap_complete::Shell;

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell that is to know kchaos' commands, flags and names
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// A page for each command, as kchaos-COMMAND.1 in this directory, which is made [default: the first page, on standard output]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Where to write it
    #[arg(default_value = "kchaos.toml")]
    pub(crate) file: PathBuf,
    /// Fill in what this broker, or these, tell without a login: brokers, the cluster's id, where its ZooKeeper or its controllers are.
    /// With a login on the hosts, `kchaos inventory discover` finds the daemons as well
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', conflicts_with_all = ["manager", "kraft"])]
    pub(crate) from: Vec<String>,
    /// Who starts and stops the daemons
    #[arg(long, value_enum, default_value = "systemd")]
    pub(crate) manager: InitManager,
    /// A cluster without ZooKeeper
    #[arg(long)]
    pub(crate) kraft: bool,
    /// Replace a file that is there
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InitManager {
    /// Commands, as /opt/kafka/bin/kafka-server-start.sh
    Scripts,
    /// Units of the hosts' systemd
    Systemd,
    /// Containers of a Docker engine
    Docker,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// Of what [default: the list of them]
    pub(crate) name: Option<String>,
}
