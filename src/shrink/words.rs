//! The options of a run as it was typed, and as a smaller one is told.

use std::collections::BTreeSet;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, CommandFactory};

use super::candidate::Candidate;
use crate::cli::{Cli, LoadArgs, TestArgs};

/// What the run is told anew: its faults, where it is, where it is kept; and consent, which is given each time.
const OURS: &[&str] = &[
    "nemesis",
    "at_once",
    "plan",
    "replay",
    "faults",
    "nemesis_interval",
    "nemesis_duration",
    "seed",
    "inventory",
    "keep_lab",
    "keep_topic",
    "topic",
    "dry_run",
    "results",
    "progress",
    "tui",
    "metrics",
    "notify",
    "notify_always",
    "ci",
    "i_understand",
];
const TIME_LIMIT: &str = "time_limit";

/// One option, with its words.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Given {
    id: String,
    words: Vec<String>,
}

/// Of `kchaos test`, those that a smaller run has as well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options(Vec<Given>);

impl Options {
    /// Those that stand in a command. Errors are clap's.
    pub(super) fn of(command: &[String]) -> Result<Self, String> {
        let matches = Cli::command().try_get_matches_from(command).map_err(|error| error.to_string())?;
        let Some(("test", matches)) = matches.subcommand() else { return Err("it is no `kchaos test`".to_owned()) };
        let known = TestArgs::augment_args(clap::Command::new("test"));
        let given = known.get_arguments().filter(|arg| !OURS.contains(&arg.get_id().as_str()));
        Ok(Self(given.filter_map(|arg| given_of(arg, matches)).collect()))
    }

    /// A replay has its workload, its load and its kind of kill from the run that it replayed.
    pub(super) fn with_load_of(self, replayed: &Self) -> Self {
        let load = LoadArgs::augment_args(clap::Command::new("load"));
        let mut ids: BTreeSet<String> = load.get_arguments().map(|arg| arg.get_id().to_string()).collect();
        ids.extend(["workload".to_owned(), "kill".to_owned()]);
        let own = self.0.into_iter().filter(|given| !ids.contains(&given.id));
        let theirs = replayed.0.iter().filter(|given| ids.contains(&given.id)).cloned();
        Self(own.chain(theirs).collect())
    }

    /// What a candidate is told; `plan` is where its faults stand.
    pub(super) fn words(&self, candidate: &Candidate, whole: &Candidate, plan: &Path, seed: u64) -> Vec<String> {
        let changed: Vec<(&str, u64)> = candidate
            .clients
            .iter()
            .filter(|(name, count)| whole.clients.get(*name) != Some(count))
            .map(|(name, count)| (*name, *count))
            .collect();
        let is_kept = |given: &&Given| {
            let is_changed = changed.iter().any(|(name, _)| given.id == name.replace('-', "_"));
            let is_replaced = is_changed || (candidate.faults.is_empty() && given.id == TIME_LIMIT);
            !is_replaced
        };
        let mut words: Vec<String> = self.0.iter().filter(is_kept).flat_map(|given| given.words.clone()).collect();
        words.extend(changed.iter().map(|(name, count)| format!("--{name}={count}")));
        if candidate.faults.is_empty() {
            let limit = format!("--time-limit={}ms", candidate.time_limit_ms);
            words.extend(["--nemesis=none".to_owned(), limit, format!("--seed={seed}")]);
        } else {
            words.push(format!("--plan={}", plan.display()));
        }
        words
    }
}

/// As it was typed; what the environment or a default gave is given again by itself.
fn given_of(arg: &clap::Arg, matches: &ArgMatches) -> Option<Given> {
    let id = arg.get_id().as_str();
    if matches.value_source(id) != Some(ValueSource::CommandLine) {
        return None;
    }
    let long = arg.get_long();
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return Some(Given { id: id.to_owned(), words: vec![format!("--{}", long?)] });
    }
    let values = matches.get_raw(id)?.map(|value| value.to_string_lossy().into_owned());
    let words = values.flat_map(|value| match (long, arg.get_short()) {
        (Some(long), _) => vec![format!("--{long}={value}")],
        (None, Some(short)) => vec![format!("-{short}"), value],
        (None, None) => Vec::new(),
    });
    Some(Given { id: id.to_owned(), words: words.collect() })
}

/// As a shell takes them, and without what may be a secret.
pub(super) fn told(words: &[String]) -> String {
    let mut is_property = false;
    let shown = words.iter().map(|word| {
        let shown = if std::mem::take(&mut is_property) { kchaos_workloads::shown_property(word) } else { word.clone() };
        is_property = word == "-X";
        let is_plain = shown.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=./:,+@%".contains(&byte));
        if is_plain && !shown.is_empty() { shown } else { kchaos_cluster::remote::quote(&shown) }
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::candidate::fault;
    use super::*;

    fn options(text: &str) -> Options {
        let command: Vec<String> = text.split(' ').map(str::to_owned).collect();
        Options::of(&command).unwrap_or_else(|why| panic!("{why}"))
    }

    fn candidate(faults: usize, producers: u64) -> Candidate {
        Candidate {
            faults: vec![fault("kill-leader", 0, 500); faults],
            time_limit_ms: 6_500,
            clients: BTreeMap::from([("producers", producers), ("consumers", 2)]),
        }
    }

    #[test]
    fn what_the_run_is_told_anew_is_left_out_and_the_rest_stands_as_typed() {
        let options = options(
            "kchaos test -w append -n kill-leader,pause-leader --faults 4 --acks 1 --idempotence false --seed 3 -i there.toml --fail-fast \
             --results r --client-rack a,b -X linger.ms=5 --slo send.p99<1s --producers 4",
        );
        let words = options.words(&candidate(1, 4), &candidate(2, 4), Path::new("p.toml"), 3).join(" ");
        let expect = "--workload=append --slo=send.p99<1s --fail-fast --producers=4 --acks=1 --idempotence=false --client-rack=a --client-rack=b \
                      -X linger.ms=5 --plan=p.toml";
        assert_eq!(words, expect);
        crate::commands::test_args(&options.words(&candidate(0, 4), &candidate(2, 4), Path::new(""), 3)).unwrap();
    }

    #[test]
    fn what_became_smaller_replaces_what_was_typed() {
        let options = options("kchaos test --producers 4 --time-limit 90s");
        let words = |faults, producers| options.words(&candidate(faults, producers), &candidate(2, 4), Path::new("p.toml"), 3).join(" ");
        assert_eq!(words(1, 2), "--time-limit=90s --producers=2 --plan=p.toml");
        assert_eq!(words(0, 2), "--producers=2 --nemesis=none --time-limit=6500ms --seed=3");
    }

    #[test]
    fn a_plan_that_is_written_is_one_that_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let plan = directory.path().join("p.toml");
        let mut whole = candidate(2, 4);
        whole.faults[1].seed = u64::MAX;
        whole.faults[1].duration_ms = 1_234;
        std::fs::write(&plan, whole.plan_file(u64::MAX, "kchaos test --slo 'send.p99<1s'")).unwrap();
        crate::commands::test_args(&options("kchaos test").words(&whole, &whole, &plan, 3)).unwrap();
    }

    #[test]
    fn a_replay_has_the_load_of_what_it_replayed() {
        let replayed = options("kchaos test -w bank --rate 7 --slo send.p99<1s");
        let replay = options("kchaos test --replay run --fail-fast").with_load_of(&replayed);
        let words = replay.words(&candidate(1, 4), &candidate(1, 4), Path::new("p.toml"), 3).join(" ");
        assert_eq!(words, "--fail-fast --workload=bank --rate=7 --plan=p.toml");
    }

    #[test]
    fn a_line_for_people_is_one_that_a_shell_takes_and_tells_no_secret() {
        let words = ["--slo=send.p99<1s", "-X", "sasl.password=hunter2", "-X", "linger.ms=5"].map(str::to_owned);
        assert_eq!(told(&words), "'--slo=send.p99<1s' -X 'sasl.password=<hidden>' -X linger.ms=5");
    }
}
