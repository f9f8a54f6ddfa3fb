//! The life of a suite: lab up, steps, what is in force mended, lab down, verdict. However it ends, it takes that way.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, anyhow};
use chrono::{SecondsFormat, Utc};
use kchaos_cluster::inventory::Inventory;
use kchaos_cluster::protocol::{Ask, Client, Timeouts};

use super::report::{LabResult, StepResult, SuiteResult};
use super::scene::{Outcome, Scene};
use super::transcript::Transcript;
use super::{Planned, Suite, child};
use crate::cli::{Format, SuiteArgs};
use crate::commands::{Home, within_network};
use crate::exit::{self, Failure};
use crate::run::{Abort, Mended, millis};
use crate::store::RunDirectory;

/// After these nothing is as the next step would want it.
const LAST: &[u8] = &[exit::ENVIRONMENT, exit::ABORTED, exit::UNHEALED, exit::USAGE, exit::INTERNAL];
pub(crate) const LATEST: &str = "latest-suite";

/// Where the cluster is.
pub(crate) enum Place {
    /// The suite's own, which comes up for it.
    Lab,
    There(PathBuf),
}

/// The whole of it, to the exit code.
pub(crate) fn live(suite: &Suite, place: &Place, args: &SuiteArgs) -> Result<u8, Failure> {
    let (started, began) = (Utc::now(), Instant::now());
    let transcript = Transcript::new(args.format == Format::Json);
    let name = format!("{}-suite-{}", started.format("%Y%m%dT%H%M%SZ"), suite.name);
    let directory = RunDirectory::create_as(&args.results, &name, LATEST)?;
    let path = std::path::absolute(directory.path()).context("the suite's directory")?;
    for inner in ["steps", "runs", "faults"] {
        fs::create_dir(path.join(inner)).with_context(|| format!("make {inner} in {}", path.display()))?;
    }
    directory.write("suite.toml", suite.text.as_bytes())?;
    let mut result = SuiteResult {
        suite: suite.name.clone(),
        description: suite.description.clone(),
        file: suite.path.display().to_string(),
        is_short: suite.is_short,
        started_at: started.to_rfc3339_opts(SecondsFormat::Millis, true),
        kchaos_version: env!("CARGO_PKG_VERSION"),
        directory: directory.path().display().to_string(),
        ..SuiteResult::default()
    };
    transcript.say(&format!(
        "suite {}{} · {} · {}",
        suite.name,
        if suite.is_short { " (short)" } else { "" },
        suite.description,
        path.display()
    ));

    let mut skipped = suite.steps.len();
    let mut is_aborted = false;
    let inventory = match place {
        Place::There(path) => Some(path.clone()),
        Place::Lab => {
            let lab = lab_up(suite.lab.as_deref().unwrap_or_default(), &transcript, &mut is_aborted)?;
            let is_up = lab.code == exit::VALID && !is_aborted;
            result.lab = Some(lab);
            if is_up { kchaos_lab::inventory_path() } else { None }
        }
    };
    if let Some(inventory) = inventory {
        let home = Home::remember();
        let done = do_steps(suite, &inventory, &path, &transcript);
        home.go_back();
        match done {
            Ok(done) => {
                skipped -= done.steps.len();
                is_aborted |= done.is_aborted;
                result.steps = done.steps;
            }
            Err(failure) => result.steps.push(never_begun(&failure)),
        }
    }
    if let Some(lab) = result.lab.as_mut().filter(|lab| lab.code == exit::VALID || is_aborted) {
        lab_down(lab, &transcript)?;
    }
    result.took_ms = millis(began.elapsed());
    result.conclude(skipped, is_aborted);
    directory.write_json("suite.json", &result)?;
    directory.write("junit.xml", result.junit().context("junit.xml")?.as_bytes())?;
    transcript.say(&format!("\n{}", result.table()));
    if args.format == Format::Json {
        crate::commands::say_json(&result)?;
    }
    Ok(result.exit_code)
}

fn never_begun(failure: &Failure) -> StepResult {
    StepResult {
        name: "begin".to_owned(),
        kind: "begin",
        verdict: exit::name(failure.code),
        exit_code: failure.code,
        text: failure.to_string(),
        ..StepResult::default()
    }
}

/// A runtime without threads: who has any cannot enter the lab's network.
pub(super) fn alone<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    Ok(runtime.block_on(work))
}

pub(crate) fn lab_up(words: &[String], transcript: &Transcript, is_aborted: &mut bool) -> Result<LabResult, Failure> {
    let command = format!("kchaos lab up {}", words.join(" "));
    transcript.say(&format!("\n── {command}"));
    let mut lab = LabResult { command, ..LabResult::default() };
    if let Some(other) = kchaos_lab::current() {
        lab.code = exit::ENVIRONMENT;
        lab.trouble =
            Some(format!("a lab is up already ({}): kchaos lab down, or try the suite in it by --inventory", other.inventory.display()));
        return Ok(lab);
    }
    let began = Instant::now();
    let words: Vec<String> = ["lab", "up"].into_iter().map(str::to_owned).chain(words.iter().cloned()).collect();
    let (code, was_aborted) = alone(async {
        let abort = Abort::new();
        abort.listen().context("listen for signals")?;
        let code = child::kchaos(&words, transcript, &abort).await?;
        anyhow::Ok((code, abort.reason().is_some()))
    })??;
    *is_aborted |= was_aborted;
    lab.up_after_ms = Some(millis(began.elapsed()));
    lab.code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::ENVIRONMENT);
    if lab.code != exit::VALID {
        lab.trouble = Some(format!("it did not come up ({})", exit::name(lab.code)));
    }
    Ok(lab)
}

/// Signals do not end this: what it takes down is ours.
pub(crate) fn lab_down(lab: &mut LabResult, transcript: &Transcript) -> Result<(), Failure> {
    transcript.say("\n── kchaos lab down");
    let words = ["lab", "down", "--force"].map(str::to_owned);
    let code = alone(async {
        let deaf = Abort::new();
        deaf.listen().context("listen for signals")?;
        child::kchaos(&words, transcript, &Abort::new()).await
    })??;
    lab.is_down = code == Some(0);
    if !lab.is_down {
        lab.code = exit::UNHEALED;
        lab.trouble = Some("it could not be taken down: kchaos lab down".to_owned());
    } else if lab.trouble.is_some() {
        lab.code = exit::ABORTED;
    }
    Ok(())
}

/// What the steps came to.
struct Done {
    steps: Vec<StepResult>,
    is_aborted: bool,
}

fn do_steps(suite: &Suite, inventory_path: &Path, directory: &Path, transcript: &Transcript) -> Result<Done, Failure> {
    let inventory = Arc::new(Inventory::load(inventory_path).map_err(Failure::usage)?);
    let inventory_path = std::path::absolute(inventory_path).context("the inventory")?;
    within_network(&Arc::clone(&inventory), async {
        let abort = Abort::new();
        abort.listen().context("listen for signals")?;
        let mut scene = Scene::new(inventory, inventory_path, directory.to_owned(), transcript.clone(), abort.clone());
        let mut steps: Vec<StepResult> = Vec::new();
        for (planned, number) in suite.steps.iter().zip(1..) {
            if abort.reason().is_some() || steps.last().is_some_and(|step| LAST.contains(&step.exit_code)) {
                break;
            }
            steps.push(one(planned, number, suite.steps.len(), &mut scene).await?);
        }
        if let Some(step) = end_what_is_held(&mut scene, steps.len() + 1).await {
            steps.push(step);
        }
        if suite.lab.is_none() {
            delete_topics(&scene).await;
        }
        Ok(Done { steps, is_aborted: abort.reason().is_some() })
    })?
}

/// A step, from its heading to its verdict.
async fn one(planned: &Planned, number: usize, of: usize, scene: &mut Scene) -> Result<StepResult, Failure> {
    let output = format!("steps/{number:02}-{}.txt", planned.name);
    let say = scene.transcript.clone();
    say.begin(&scene.directory.join(&output))?;
    say.say(&format!("\n── {number} of {of} · {} · {}", planned.name, planned.kind.name));
    say.say(&format!("   {}", if planned.title.is_empty() { planned.kind.about } else { &planned.title }));
    for by_hand in &planned.by_hand {
        say.say(&format!("   by hand:  {by_hand}"));
    }
    let command = planned.step.command(scene);
    say.say(&format!("   kchaos:   {command}\n"));
    let began = Instant::now();
    let outcome = planned.step.run(scene).await.unwrap_or_else(|failure| Outcome::of(failure.code, failure.to_string()));
    let took = began.elapsed();
    say.say(&format!("   {}: {} ({:.1} s)", exit::name(outcome.code), outcome.text, took.as_secs_f64()));
    say.end();
    Ok(StepResult {
        number,
        name: planned.name.clone(),
        kind: planned.kind.name,
        title: planned.title.clone(),
        by_hand: planned.by_hand.clone(),
        command,
        verdict: exit::name(outcome.code),
        exit_code: outcome.code,
        text: outcome.text,
        took_ms: millis(took),
        output,
        facts: outcome.facts,
    })
}

/// A fault that no step mended. Where it could not be, that is a step of its own in the result.
async fn end_what_is_held(scene: &mut Scene, number: usize) -> Option<StepResult> {
    let held = scene.past.held.take()?;
    scene.transcript.say("\n── mending what is in force");
    let (code, text) = match held.mend().await {
        Mended::Yes => return None,
        Mended::Lapsed => (exit::UNKNOWN, "the fault ended before it was mended".to_owned()),
        Mended::No(why) => (exit::UNHEALED, why),
    };
    let (name, kind) = ("mend-at-the-end".to_owned(), "mend");
    Some(StepResult { number, name, kind, verdict: exit::name(code), exit_code: code, text, ..StepResult::default() })
}

/// Of a cluster that stays. What cannot be deleted is said, and is no verdict on Kafka.
async fn delete_topics(scene: &Scene) {
    let Ok(client) = Client::new(&scene.inventory, Timeouts::default()) else { return };
    for topic in &scene.past.topics {
        let why = match client.ask_once(Ask::Delete { topic }).await {
            Ok(0) => continue,
            Ok(code) => anyhow!("{}", kchaos_cluster::protocol::error_name(code)),
            Err(error) => error.into(),
        };
        scene.transcript.say(&format!("the topic {topic} is still on the cluster: {why}"));
    }
}
