//! Flags of whom a run or a suite tells of its end.

use clap::{Args, ValueEnum};

#[derive(Clone, Debug, Args)]
pub(crate) struct TellArgs {
    /// Tell a web hook when the state differs from that of the last of its kind in --results: a run of the same workload, nemeses and cluster, or
    /// the same suite. Its address is a secret: env:NAME or file:PATH (docs/notify.md)
    #[arg(long, value_name = "env:NAME|file:PATH")]
    pub(crate) notify: Option<String>,
    /// Tell it every time
    #[arg(long, requires = "notify")]
    pub(crate) notify_always: bool,
    /// Annotations and a job summary for a CI service (docs/ci.md)
    #[arg(long, default_value = "auto")]
    pub(crate) ci: Ci,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ci {
    /// GitHub's where GITHUB_ACTIONS is true, else none
    Auto,
    /// Workflow commands on standard output, and a summary to $GITHUB_STEP_SUMMARY
    Github,
    None,
}

impl Ci {
    pub(crate) fn is_github(self) -> bool {
        let says_so = || std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true");
        self == Self::Github || (self == Self::Auto && says_so())
    }
}
