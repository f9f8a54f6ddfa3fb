//! The command line, as clap sees it. What the flags mean for a run stands in `plan`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use kchaos_synth::{Injection, Workload};

use crate::history::HistoryFormat;
use crate::preset::Typed;

mod bank;
mod compare;
mod conclude;
mod config;
mod coverage;
mod elections;
mod everyday;
mod group;
mod lab;
mod load;
mod offsets;
mod order;
mod peek;
mod register;
mod runs;
mod safety;
mod security;
mod selftest;
mod serve;
mod shrink;
mod soak;
mod suite;
mod tell;
mod transactions;
mod values;
mod view;

pub(crate) use compare::CompareArgs;
pub(crate) use conclude::ConcludeArgs;
pub(crate) use config::{ConfigCommand, ConfigFileArgs, ConfigShowArgs, PresetArgs};
pub(crate) use coverage::CoverageArgs;
pub(crate) use everyday::{CompletionsArgs, InitArgs, InitManager, ManArgs, SchemaArgs};
pub(crate) use lab::{LabClock, LabCommand, LabDisks, LabFirewall, LabKraft, LabManagerArg, LabUpArgs, LabZooKeeperTls};
pub(crate) use load::{LoadArgs, named};
pub(crate) use peek::{From, PeekArgs, from as peek_from};
pub(crate) use runs::{ExportArgs, InfoArgs, PruneArgs, RunsArgs, RunsCommand};
pub(crate) use safety::{DoctorArgs, HaltArgs, HealArgs, PlanArgs, StatusArgs};
pub(crate) use security::LabSecurityArg;
pub(crate) use selftest::SelftestArgs;
pub(crate) use serve::ServeArgs;
pub(crate) use shrink::ShrinkArgs;
pub(crate) use suite::SuiteArgs;
pub(crate) use tell::TellArgs;
pub(crate) use values::Time;
pub(crate) use values::duration;
use values::injection;
pub(crate) use values::key_value;
pub(crate) use view::{Progress, ViewArgs};

/// Breaks a real Kafka cluster on purpose while it writes to it and reads from it, and proves from the history what the cluster kept.
#[derive(Debug, Parser)]
#[command(name = "kchaos", version = VERSION, max_term_width = 120, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[cfg(not(feature = "mutants"))]
const VERSION: &str = env!("CARGO_PKG_VERSION");
#[cfg(feature = "mutants")]
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (built to be wrong: feature mutants)");

const EXIT_CODES: &str = "\
Exit codes:
  0    valid: every checker passed, every required fault was in force, enough was acknowledged and read
  1    invalid: a promise was broken, with a counter-example
  2    unknown: nothing was proved
  3    environment: not Kafka's fault (host unreachable, preflight, a refused fault, an unreadable history, a full disk)
  4    aborted and healed
  5    unhealed: something of ours may still be on a host
  6    a threshold (--slo) was missed
  254  usage or configuration
  255  a bug of ours";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a workload against a cluster while nemeses break it, and judge what happened
    Test(Box<TestArgs>),
    /// Bring a cluster up as a file describes it, do its steps one after another, and end with one verdict (docs/suites.md)
    Suite(SuiteArgs),
    /// Does kchaos see what is known to be wrong, and leave alone what is known to be right? On labs of its own (docs/known-bad.md)
    Selftest(SelftestArgs),
    /// Do a run that failed again with less and less of it, and keep the smallest plan that still fails (docs/shrink.md)
    Shrink(ShrinkArgs),
    /// Which faults met which state of the cluster, over all runs of a directory, and what never was tried (docs/coverage.md)
    Coverage(CoverageArgs),
    /// Judge histories or runs again, offline
    Check(CheckArgs),
    /// Read a run to its end whose kchaos was killed, and judge it
    Conclude(ConcludeArgs),
    /// Write a history in another format
    Convert(ConvertArgs),
    /// Write a made-up history: clean, or with anomalies at chosen places
    Synth(Box<SynthArgs>),
    /// Show the cluster: brokers, controller, partitions, ZooKeeper modes
    Status(StatusArgs),
    /// Show what stands in a partition: offsets, times, keys, values, headers, leader epochs, transactions and their markers
    Peek(PeekArgs),
    /// Mend whatever kchaos may have left on the hosts; needs only the inventory and SSH
    Heal(HealArgs),
    /// Look whether this machine, the hosts and the cluster are ready for a run, with the mend for each line that fails
    Doctor(Box<DoctorArgs>),
    /// What `kchaos test` with the same flags would do, host by host, command by command; writes nothing anywhere
    Plan(Box<PlanArgs>),
    /// Stop every run on the cluster, mend, and block new ones until it is lifted (--release)
    Halt(HaltArgs),
    /// A real local cluster on this machine
    #[command(subcommand)]
    Lab(LabCommand),
    /// The inventory: which hosts and daemons there are
    #[command(subcommand)]
    Inventory(InventoryCommand),
    /// Presets of options for `kchaos test`: show what comes of one, check them, list them (docs/presets.md)
    #[command(subcommand)]
    Config(ConfigCommand),
    /// What there is to choose from
    List(ListArgs),
    /// Write a run's report.html again
    Report(ReportArgs),
    /// Write a first inventory, with a word on each setting, and say what to do next
    Init(InitArgs),
    /// The shape of each JSON that kchaos writes, as JSON Schemas
    Schema(SchemaArgs),
    /// What makes a shell complete kchaos' commands, flags and names
    Completions(CompletionsArgs),
    /// The manual, as pages for man
    Man(ManArgs),
    /// The runs of a results directory: list them, look at one, remove old ones, make an archive (docs/results.md)
    #[command(subcommand)]
    Runs(RunsCommand),
    /// Hold a run against one or several of before: throughput, latency, recovery, unavailability; and fail where it became worse (docs/results.md)
    Compare(CompareArgs),
    /// The runs of a results directory in a browser, read-only: table, trend, reports, comparison, daemon logs, a run while it goes on (docs/results.md)
    Serve(ServeArgs),
    /// A client on a host, told by standard input (`kchaos test --client-hosts` starts it)
    #[command(hide = true)]
    Worker,
    /// PID 1 of a lab host
    #[command(hide = true, name = "lab-init")]
    LabInit {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<std::ffi::OsString>,
    },
    /// The process that serves a disk of a lab host
    #[command(hide = true, name = "lab-disk")]
    LabDisk {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<std::ffi::OsString>,
    },
}

#[derive(Clone, Debug, Args)]
pub(crate) struct TestArgs {
    /// What the clients do (`kchaos list workloads`)
    #[arg(long, short = 'w', default_value = "append")]
    pub(crate) workload: String,
    /// What to break: FAULT-TARGET, several separated by commas, `all` there is, `guided` (all, and first what was in force least often in the runs of --results), or `none` (`kchaos list nemeses`)
    #[arg(long, short = 'n', default_value = "none", value_delimiter = ',')]
    pub(crate) nemesis: Vec<String>,
    /// Up to so many faults begin together, a number that the seed draws [default: 1; of `all` and `guided`, 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) at_once: Option<u32>,
    /// Faults at exact times, and steps of an operator such as an upgrade, from a file (docs/plans.md says what stands in it)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["nemesis", "faults", "at_once", "replay"])]
    pub(crate) plan: Option<PathBuf>,
    /// The same faults at the same times as in an earlier run, with its seed, workload, load and kind of kill
    #[arg(long, value_name = "RUN", conflicts_with_all = ["nemesis", "faults", "at_once", "workload"])]
    pub(crate) replay: Option<PathBuf>,
    /// How long the trouble lasts (faults begin within it; the last one is mended after it) [default: 60s; of a plan with steps,
    /// until the last is done]
    #[arg(long, value_parser = duration)]
    pub(crate) time_limit: Option<Duration>,
    /// End the trouble after this many faults, whatever --time-limit says
    #[arg(long)]
    pub(crate) faults: Option<u32>,
    /// Quiet time before each fault, after the cluster was whole again; the seed varies it by a quarter
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub(crate) nemesis_interval: Duration,
    /// How long each fault is held [default: the brokers' session timeout, with ZooKeeper or with the
    /// controllers, and 7 s]
    #[arg(long, value_parser = duration)]
    pub(crate) nemesis_duration: Option<Duration>,
    /// What a kill means where a service manager (systemd, Docker) may revive what was killed
    #[arg(long, default_value = "held-down")]
    pub(crate) kill: KillArg,
    /// After this time without kchaos the hosts mend themselves
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub(crate) lease: Duration,
    /// Seed of every choice [default: drawn, and printed]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// A promise of time, such as 'recovery.p99<20s'; missed: exit code 6. May be given several times
    #[arg(long)]
    pub(crate) slo: Vec<String>,
    /// Stop at the first proved violation
    #[arg(long)]
    pub(crate) fail_fast: bool,
    /// What counts as a violation [default: derived from the run's own settings]
    #[arg(long)]
    pub(crate) profile: Option<String>,
    #[command(flatten)]
    pub(crate) inventory: InventoryArg,
    #[command(flatten)]
    pub(crate) preset: PresetArgs,
    /// Leave the lab that this run brought up
    #[arg(long)]
    pub(crate) keep_lab: bool,
    /// Leave the run's topic on the cluster
    #[arg(long)]
    pub(crate) keep_topic: bool,
    /// Break nothing: say what would be done (as `kchaos plan`)
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// End the run, and mend, when this command succeeds; `sh` runs it on this machine every 5 s. May be given several times
    #[arg(long, value_name = "COMMAND")]
    pub(crate) abort_if: Vec<String>,
    /// Where runs are kept
    #[arg(long, default_value = "results", env = "KCHAOS_RESULTS")]
    pub(crate) results: PathBuf,
    /// How the history is kept
    #[arg(long, default_value = "jsonl")]
    pub(crate) history_format: RunHistory,
    #[command(flatten)]
    pub(crate) view: ViewArgs,
    #[command(flatten)]
    pub(crate) tell: TellArgs,
    /// Let commands on the hosts be run by `sudo sh`, which may do anything (docs/least-privilege.md)
    #[arg(long)]
    pub(crate) allow_sudo_sh: bool,
    /// Consent to a cluster whose environment is "production": its name, typed
    #[arg(long, value_name = "CLUSTER")]
    pub(crate) i_understand: Option<String>,
    // Last: what follows a heading of its own stands under it.
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    #[arg(skip)]
    pub(crate) typed: Typed,
}

impl TestArgs {
    pub(crate) fn time_limit(&self) -> Duration {
        self.time_limit.unwrap_or(Duration::from_secs(60))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KillArg {
    /// Down for the fault's duration: the manager is kept from reviving it, and gets it back as it was
    HeldDown,
    /// A crash: what the manager makes of it is watched and told
    Crash,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct InventoryArg {
    /// The cluster's inventory [default: $KCHAOS_INVENTORY, ./kchaos.toml, the lab that is up, else a new lab]
    #[arg(long, short = 'i', value_name = "FILE")]
    pub(crate) inventory: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Histories (.jsonl, or Jepsen's .edn; plain, gzip or zstd; .kch), run directories, or - for standard input
    #[arg(required = true, value_name = "FILE|RUN")]
    pub(crate) inputs: Vec<PathBuf>,
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
    /// What counts as a violation (`kchaos list profiles`)
    #[arg(long)]
    pub(crate) profile: Option<String>,
    /// `complete`: every acknowledged value had its chance to be read, so what is unread is gone
    #[arg(long)]
    pub(crate) final_read: Option<FinalReadArg>,
    /// Groups process exactly once: an offset that is delivered to a group again is a violation
    #[arg(long)]
    pub(crate) exactly_once: bool,
    /// Show every example of what was found, each with its evidence, and not the first 8
    #[arg(long, conflicts_with = "examples")]
    pub(crate) all: bool,
    /// How many examples of each anomaly are shown, each with its evidence [default: 8, 3 of them with evidence]; counts are of all
    #[arg(long, value_name = "N")]
    pub(crate) examples: Option<usize>,
    /// How many threads read [default: one for each processor]; the verdict does not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: Option<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// A history of any format, a run directory, or - for standard input
    #[arg(value_name = "FILE|RUN")]
    pub(crate) input: PathBuf,
    /// Where to: .jsonl, .jsonl.zst, .jsonl.gz, .edn, .kch or .parquet say the format; - for standard output
    pub(crate) output: PathBuf,
    /// The format, whatever the output's name
    #[arg(long, value_name = "FORMAT")]
    pub(crate) to: Option<HistoryFormat>,
    /// Replace an output that is there already
    #[arg(long)]
    pub(crate) force: bool,
}

/// How a run keeps its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RunHistory {
    /// history.jsonl.zst: JSON lines, compressed
    Jsonl,
    /// history.kch: compact, for long runs; `kchaos convert` makes JSON lines of it
    Columns,
}

impl RunHistory {
    pub(crate) fn file_name(self) -> &'static str {
        match self {
            Self::Jsonl => "history.jsonl.zst",
            Self::Columns => "history.kch",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FinalReadArg {
    Complete,
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct SynthArgs {
    /// What the clients do: log, transactions, groups (subscribe, commit, crash) or registers (read, write, compare-and-set)
    #[arg(long, short = 'w', default_value = "log")]
    pub(crate) workload: Workload,
    /// Values sent; for registers, ops
    #[arg(long, default_value_t = 10_000)]
    pub(crate) sends: u64,
    /// Hide an anomaly (`kchaos list anomalies`): PLACE is a fraction (0.5) or a send's number [default: drawn]. Repeatable
    #[arg(long, value_name = "ANOMALY[@PLACE][xCOUNT]", value_parser = injection)]
    pub(crate) inject: Vec<Injection>,
    /// Seed of every choice: the same options write the same bytes
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// A file, compressed if its name ends in .zst or .gz, or - for standard output
    #[arg(long, short = 'o', default_value = "-")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) shape: ShapeArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Shape")]
pub(crate) struct ShapeArgs {
    /// Keys: partitions, or registers
    #[arg(long, default_value_t = 3)]
    pub(crate) keys: u32,
    #[arg(long, default_value_t = 2)]
    pub(crate) producers: u32,
    /// Sends that one producer keeps open at once; transactional producers or sessions of one client
    #[arg(long, default_value_t = 5)]
    pub(crate) in_flight: u32,
    #[arg(long, default_value_t = 2)]
    pub(crate) consumers: u32,
    /// Records that one poll returns at most
    #[arg(long, default_value_t = 100)]
    pub(crate) poll_records: u32,
    /// Values that one op or transaction sends at most
    #[arg(long, default_value_t = 1)]
    pub(crate) batch: u32,
    /// The first offset of every key
    #[arg(long, default_value_t = 0)]
    pub(crate) base_offset: i64,
    /// Sends per second of the history's own time
    #[arg(long, default_value_t = 10_000)]
    pub(crate) rate: u64,
    /// Fraction of ops whose outcome nobody knows; half of them took effect
    #[arg(long, value_name = "FRACTION", default_value_t = 0.001)]
    pub(crate) info: f64,
    /// Fraction of ops that certainly failed
    #[arg(long, value_name = "FRACTION", default_value_t = 0.001)]
    pub(crate) fail: f64,
    /// Fraction of acknowledgements without an offset
    #[arg(long, value_name = "FRACTION", default_value_t = 0.001)]
    pub(crate) no_offset: f64,
    /// Fraction of records with a hole before them
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0)]
    pub(crate) holes: f64,
    /// Fraction of polls that fail or that nobody knows of
    #[arg(long, value_name = "FRACTION", default_value_t = 0.001)]
    pub(crate) failed_polls: f64,
    /// Producers restarted on the way
    #[arg(long, default_value_t = 0)]
    pub(crate) restarts: u32,
    /// Group members that crash on the way
    #[arg(long, default_value_t = 0)]
    pub(crate) crashes: u32,
    /// Faults that a nemesis logs; with any, the phases of a run as well
    #[arg(long, default_value_t = 0)]
    pub(crate) faults: u32,
    /// Looks of an observer on the way: controllers, leader epochs, replicas, settings, watches, and what else docs/history.md tells of
    #[arg(long, default_value_t = 0)]
    pub(crate) looks: u32,
    /// Reread every key from the start at the end, and tell where the logs end
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) final_read: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum InventoryCommand {
    /// Read it, reach every host, and say what is wrong
    Check {
        #[command(flatten)]
        inventory: InventoryArg,
        #[arg(long, default_value = "text")]
        format: Format,
    },
    /// Write a first one, from what a cluster, its ZooKeeper and its hosts tell
    Discover(crate::commands::DiscoverArgs),
    /// Put the helper on the hosts, by which a user who is not root may break them by fixed verbs (docs/least-privilege.md)
    InstallHelper(crate::commands::InstallHelperArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only one of them; of nemeses, also what the hosts of this cluster can bear, and why not the rest
    pub(crate) what: Option<ListWhat>,
    #[command(flatten)]
    pub(crate) inventory: InventoryArg,
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
    /// The table of docs/faults.md: what of the product was proved where, by the records in this file
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) proved: Option<PathBuf>,
    /// First takes into the file what these runs (or files of their faults) proved
    #[arg(long, value_name = "RUN", hide = true, requires = "proved")]
    pub(crate) from: Vec<PathBuf>,
    /// Of a file of faults, which says nothing of it: where they were proved
    #[arg(long, hide = true, requires = "from")]
    pub(crate) door: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListWhat {
    Workloads,
    Nemeses,
    Checkers,
    Anomalies,
    Profiles,
    /// What can be wrong in this build, on purpose (docs/mutants.md)
    #[cfg(feature = "mutants")]
    Mutants,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The run's directory
    #[arg(default_value = "results/latest")]
    pub(crate) run: PathBuf,
}
