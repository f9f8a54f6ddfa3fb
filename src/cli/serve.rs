//! Flags of `kchaos serve`.

use std::net::SocketAddr;

use clap::Args;

use super::runs::ResultsArg;

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) results: ResultsArg,
    /// Where to answer; of port 0 a free one is taken, and told
    #[arg(long, default_value = "127.0.0.1:8089", value_name = "ADDRESS:PORT")]
    pub(crate) listen: SocketAddr,
    /// Answer to other machines too. There is no password: whoever reaches the address reads every run, with its daemon logs
    #[arg(long)]
    pub(crate) to_anybody: bool,
    /// A name under which this machine is asked, beside its addresses and localhost. May be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) host_name: Vec<String>,
}
