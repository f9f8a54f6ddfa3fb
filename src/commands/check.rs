//! `kchaos check`: the judgement of a run, or of any history, offline.

use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::{Context, anyhow};
use kchaos_checkers::{CheckReport, FinalRead, Input, JudgeOptions, PROFILES, Profile, Reading};
use kchaos_core::{Plan, Validity};
use serde_json::json;

use crate::cli::{CheckArgs, FinalReadArg, Format};
use crate::exit::{self, Failure};
use crate::spool::Spool;

pub(super) fn run(args: &CheckArgs) -> Result<u8, Failure> {
    let mut reports = Vec::new();
    // A malformed one of several leaves standard output empty: half an answer would be taken for a whole one.
    for input in &args.inputs {
        reports.push(check(input, args)?);
    }
    match args.format {
        Format::Json => {
            let answer = match reports.as_slice() {
                [one] => json!(one),
                several => json!({"runs": several}),
            };
            super::say_json(&answer)?;
        }
        Format::Text => {
            for (input, report) in args.inputs.iter().zip(&reports) {
                if reports.len() > 1 {
                    crate::say!("{}", input.display());
                }
                let text = match examples(args) {
                    Some(examples) => kchaos_checkers::render_text_of(report, examples),
                    None => kchaos_checkers::render_text(report),
                };
                crate::say_raw!("{text}");
            }
        }
    }
    let codes: Vec<u8> = reports.iter().map(|report| code(report.valid)).collect();
    Ok(exit::strongest(&codes))
}

/// The profile of that name, or an error with the names that there are.
pub(crate) fn profile(name: &str) -> Result<Profile, Failure> {
    Profile::named(name).map_err(|_| {
        let names = PROFILES.iter().map(|profile| profile.name);
        Failure::usage(anyhow!("unknown profile \"{name}\"{}", crate::run::nearest(name, names)))
    })
}

pub(crate) fn code(validity: Validity) -> u8 {
    match validity {
        Validity::Valid => exit::VALID,
        Validity::Invalid => exit::INVALID,
        Validity::Unknown => exit::UNKNOWN,
    }
}

fn examples(args: &CheckArgs) -> Option<usize> {
    if args.all { Some(usize::MAX) } else { args.examples }
}

fn check(input: &Path, args: &CheckArgs) -> Result<CheckReport, Failure> {
    let is_run = input.is_dir();
    let mut options = if is_run { crate::run::judge_options(&plan(input)?)? } else { JudgeOptions::default() };
    if let Some(name) = &args.profile {
        options.profile = profile(name)?;
    }
    if args.exactly_once {
        options.profile = options.profile.exactly_once();
    }
    if args.final_read == Some(FinalReadArg::Complete) {
        options.final_read = FinalRead::Complete;
    }
    if let Some(examples) = examples(args) {
        options.examples = examples;
    }
    let path = if is_run { history(input)? } else { input.to_owned() };
    let threads = args.threads.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let name = path.display().to_string();
    let reading = Reading { name: &name, threads };
    if path.as_os_str() == "-" {
        let mut spool = Spool::default();
        return kchaos_checkers::check(|| spool.open(), reading, options).map_err(Failure::environment);
    }
    let open = || -> io::Result<Input<'static>> { Ok(Box::new(File::open(&path)?)) };
    open().with_context(|| format!("cannot open {name}"))?;
    kchaos_checkers::check(open, reading, options).map_err(Failure::environment)
}

pub(super) fn plan(run: &Path) -> Result<Plan, Failure> {
    let path = run.join("plan.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("{} is no run's directory: cannot read plan.json", run.display()))?;
    Ok(serde_json::from_str(&text).with_context(|| format!("malformed {}", path.display()))?)
}

pub(crate) fn history(run: &Path) -> Result<std::path::PathBuf, Failure> {
    ["history.jsonl.zst", "history.kch", "history.jsonl", "history.jsonl.gz"]
        .iter()
        .map(|name| run.join(name))
        .find(|path| path.exists())
        .ok_or_else(|| Failure::environment(anyhow!("{} holds no history.jsonl.zst", run.display())))
}
