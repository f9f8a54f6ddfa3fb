//! A run that was cut off (kill -9, a machine that lost its power) is taken up where its history ends: the hosts are mended, everything that is in the
//! topics is read by fresh clients, and the whole is judged as if nothing had been.
//!
//! What was recorded is kept: it is written into a new history, op by op, and the analysis hears it again. What the recorder had not written down
//! yet (docs/history.md: `recorder-cut-off`) is of unknown outcome, as are sends that were open. Nobody writes any more, so a cluster that was in
//! trouble when the run ended has no chance to show that it came back: that is *unknown* then.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::fs::File;
use std::mem::discriminant;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use kchaos_checkers::Reading;
use kchaos_cluster::cluster::Cluster;
use kchaos_cluster::observer::Observer;
use kchaos_core::{Body, FaultEvent, FaultMoment, Key, Observation, Op, OpType, Plan, Process, Send, Value};
use kchaos_nemeses::{Doors, HostReport};
use serde::de::DeserializeOwned;
use serde_json::{Map, json};

use super::abort::Abort;
use super::analysis::Analysis;
use super::start::Start;
use super::{
    Books, Display, Ended, Failure, Finale, Live, Resources, Setup, Troubles, daemon_logs, finale, guarded, hosts, lock, preflight,
    stop_clients, whole,
};
use crate::recorder::Beginning;
use crate::report::read_lines;
use crate::store::RunDirectory;

/// The history as the process that was cut off left it, until the new one is whole.
const CUT: &str = "cut";

/// What is known of a run that was cut off.
#[derive(Default)]
pub(crate) struct Left {
    /// Numbers that were not used.
    pub(crate) processes: u32,
    pub(crate) clients: u32,
    pub(crate) last_ns: u64,
    /// By process, what it had begun: one op, but for commits that go on beside it.
    open: BTreeMap<u32, Vec<Op>>,
    /// By key: all values below were recorded, and some beyond.
    values: BTreeMap<Key, (Value, BTreeSet<Value>)>,
    events: Vec<FaultEvent>,
    /// Of the op that was read last.
    sends: Vec<Send>,
}

impl Left {
    pub(crate) fn last_s(&self) -> f64 {
        self.last_ns as f64 / 1e9
    }

    /// Reads what is there; nothing is changed.
    pub(crate) fn read(run: &Path) -> Result<Self, Failure> {
        let mut left = Self { clients: 1, events: lines(&run.join("faults.jsonl"))?, ..Self::default() };
        each_op(&history(run)?, |op| left.op(op))?;
        if left.last_ns == 0 {
            return Err(Failure::environment(anyhow!(
                "{} was cut off before anything was recorded: there is nothing to conclude",
                run.display()
            )));
        }
        Ok(left)
    }

    fn op(&mut self, op: &Op) {
        self.last_ns = self.last_ns.max(op.time_ns);
        self.clients = self.clients.max(op.client.map_or(0, |client| client + 1));
        let Process::Client(process) = op.process else { return };
        self.processes = self.processes.max(process + 1);
        if op.op_type == OpType::Invoke {
            self.sent(&op.body);
            self.open.entry(process).or_default().push(op.clone());
        } else if let Entry::Occupied(mut open) = self.open.entry(process) {
            if let Some(at) = open.get().iter().position(|begun| discriminant(&begun.body) == discriminant(&op.body)) {
                open.get_mut().remove(at);
            }
            if open.get().is_empty() {
                open.remove();
            }
        }
    }

    fn sent(&mut self, body: &Body) {
        self.sends.clear();
        body.collect_sends(&mut self.sends);
        for send in &self.sends {
            let (next, beyond) = self.values.entry(send.key).or_insert((1, BTreeSet::new()));
            beyond.insert(send.value);
            while beyond.remove(next) {
                *next += 1;
            }
        }
    }

    /// Of each key, the value up to which every send was recorded.
    fn recorded(&self) -> Map<String, serde_json::Value> {
        self.values.iter().map(|(key, (next, _))| (key.to_string(), json!(next - 1))).collect()
    }

    /// What had become of the faults.
    fn troubles(&self, plan: &Plan) -> Troubles {
        let of = |moment: FaultMoment| self.events.iter().filter(move |event| event.moment == moment && !event.nemesis.is_empty());
        let is_proved = |event: &&FaultEvent| event.proof.as_ref().is_none_or(|proof| proof.proved);
        let ids = |events: Vec<&FaultEvent>| events.into_iter().map(|event| event.fault_id).collect::<BTreeSet<u32>>();
        let (begun, in_force) = (ids(of(FaultMoment::InEffect).collect()), ids(of(FaultMoment::InEffect).filter(is_proved).collect()));
        let lapsed = ids(of(FaultMoment::LeaseLapsed).collect());
        let mended = ids(of(FaultMoment::Healed).filter(is_proved).collect());
        Troubles {
            tried: plan.schedule.iter().take(begun.len()).cloned().collect(),
            in_force: count(in_force.difference(&lapsed).count()),
            mended: count(mended.difference(&lapsed).count()),
            not_proved: of(FaultMoment::InEffect)
                .filter(|event| !in_force.contains(&event.fault_id))
                .map(|event| format!("{}: it was not proved", event.nemesis))
                .chain((!plan.steps.is_empty()).then(|| "the steps of its plan: nobody knows which were done".to_owned()))
                .chain(of(FaultMoment::LeaseLapsed).map(|event| format!("{}: it ended before it was mended by us", event.nemesis)))
                .collect(),
            ..Troubles::default()
        }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The history of a run, or what was there before it was begun to be written anew.
fn history(run: &Path) -> Result<std::path::PathBuf, Failure> {
    let whole = crate::commands::check::history(run)?;
    let cut = cut(&whole);
    Ok(if cut.exists() { cut } else { whole })
}

fn cut(history: &Path) -> std::path::PathBuf {
    let mut name = history.as_os_str().to_owned();
    name.push(".");
    name.push(CUT);
    name.into()
}

fn each_op(path: &Path, each: impl FnMut(&Op)) -> Result<(), Failure> {
    let name = path.display().to_string();
    let file = File::open(path).with_context(|| format!("open {name}"))?;
    kchaos_checkers::read(Box::new(file), Reading { name: &name, threads: 1 }, each).map_err(Failure::environment)?;
    Ok(())
}

/// What was never begun holds nothing.
fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, Failure> {
    if path.exists() { read_lines(path).map_err(Failure::environment) } else { Ok(Vec::new()) }
}

/// Refuses a run that goes on, or that has its verdict.
pub(crate) fn refuse_what_is_not_cut_off(run: &Path) -> Result<(), Failure> {
    if run.join("verdict.json").exists() {
        return Err(Failure::usage(anyhow!("{} has its verdict already: `kchaos check` judges it again", run.display())));
    }
    let history = crate::commands::check::history(run)?;
    let file = File::open(&history).with_context(|| format!("open {}", history.display()))?;
    match file.try_lock() {
        Err(std::fs::TryLockError::WouldBlock) => Err(Failure::usage(anyhow!(
            "{} goes on: its history is being written (Ctrl-C ends a run early, with its verdict)",
            run.display()
        ))),
        // A file system without locks cannot say.
        Ok(()) | Err(std::fs::TryLockError::Error(_)) => Ok(()),
    }
}

/// Writes what was recorded into a new history, and lets the analysis hear it as it did when it happened.
pub(super) fn take_over(directory: &RunDirectory, setup: &Setup, left: &Left, analysis: &mut Analysis) -> Result<Beginning, Failure> {
    let format = setup.args.history_format;
    let fresh = directory.file(format.file_name());
    let before = cut(&fresh);
    if !before.exists() {
        std::fs::rename(&fresh, &before).with_context(|| format!("rename {}", fresh.display()))?;
    }
    let mut beginning = Beginning::create(&fresh, format)?;
    let observations: Vec<Observation> = lines(&directory.file("timeline.jsonl"))?;
    let (mut observations, mut events) = (observations.iter().peekable(), left.events.iter().peekable());
    let mut next_index = 0;
    each_op(&before, |op| {
        while let Some(event) = events.next_if(|event| event.when.before_ns <= op.time_ns) {
            analysis.fault(event);
        }
        while let Some(observation) = observations.next_if(|observation| observation.when.before_ns <= op.time_ns) {
            analysis.observation(observation);
        }
        beginning.op(op);
        analysis.op(op);
        next_index = op.index + 1;
    })?;
    events.for_each(|event| analysis.fault(event));
    observations.for_each(|observation| analysis.observation(observation));
    // What was open has no end any more, and had none when the run was cut off.
    let open = left.open.values().flatten();
    for (begun, index) in open.zip(next_index..) {
        let end = Op {
            index,
            time_ns: left.last_ns,
            op_type: OpType::Info,
            error: Some("kchaos was cut off".into()),
            extra: kchaos_core::Extra::default(),
            ..begun.clone()
        };
        beginning.op(&end);
        analysis.op(&end);
    }
    match beginning.failure() {
        Some(error) => Err(Failure::environment(anyhow!("{error}"))),
        None => Ok(beginning),
    }
}

/// From where the run was cut off to everything that can be judged.
pub(crate) async fn life(
    setup: Arc<Setup>,
    directory: &RunDirectory,
    plan: Plan,
    left: Left,
    abort: Abort,
    display: Arc<Display>,
) -> Result<Ended, Failure> {
    let cluster = Cluster::new(Arc::clone(&setup.inventory)).context("use the inventory").map_err(Failure::environment)?;
    let doors = kchaos_nemeses::doors(Arc::new(cluster));
    let locks = preflight::Locks::take_over(&doors, &setup).await?;
    let ended = locked_life(&setup, &doors, directory, plan, left, abort, display).await;
    locks.release().await;
    let ended = ended?;
    // Only now is the new history worth more than the old one.
    let _ = std::fs::remove_file(cut(&directory.file(setup.args.history_format.file_name())));
    Ok(ended)
}

async fn locked_life(
    setup: &Arc<Setup>,
    doors: &Arc<dyn Doors>,
    directory: &RunDirectory,
    plan: Plan,
    left: Left,
    abort: Abort,
    display: Arc<Display>,
) -> Result<Ended, Failure> {
    // First of all: what was broken when the run was cut off still is.
    let hosts = preflight::sweep(doors, setup, &display).await?;
    for left in hosts::remove_left(setup, doors).await {
        display.event(&left);
    }
    let ready = preflight::check(setup, &display).await?;
    let books = Books::take_up(directory, setup, &plan, &left)?;
    let live = Arc::new(ready.live(setup, &books, abort, display));
    live.note(&format!("kchaos was cut off {:.1} s after the run began; it is concluded by other clients", left.last_s()));
    live.nemesis_op("recorder-cut-off", left.recorded().into());
    let mut ended = read_to_the_end(&live, &books, directory, &plan, &left, hosts).await?;
    if let Some(why) = ended.finale.incomplete.as_ref().or(ended.finale.never_whole.as_ref()) {
        return Err(Failure::environment(anyhow!("the run cannot be concluded now, its topics are kept: {why}")));
    }
    preflight::delete_topics(setup, &live, live.context()?).await;
    let (analysed, failures) = books.close(&live);
    ended.analysed = analysed;
    ended.failures.extend(failures);
    ended.plan = plan;
    Ok(ended)
}

async fn read_to_the_end(
    live: &Arc<Live>,
    books: &Books,
    directory: &RunDirectory,
    plan: &Plan,
    left: &Left,
    hosts: Vec<HostReport>,
) -> Result<Ended, Failure> {
    let mut failures = Vec::new();
    let mut finale = Finale::default();
    // In-sync sets that are whole again are part of the recovery.
    let observer = Observer::start(live.inventory.clone(), live.keys.clone(), live.clock.clone(), books.observation_sink());
    let missing = match whole::wait(live, live.recovery_timeout(), &Abort::new()).await {
        whole::Whole::Yes => None,
        whole::Whole::No(text) => Some(text),
        whole::Whole::Aborted => Some("aborted".into()),
    };
    if missing.is_none() {
        live.phase("finale");
        let clients = live.start_clients()?;
        finale = guarded(&mut failures, read(Arc::clone(live), Arc::clone(&clients))).await.unwrap_or_default();
        stop_clients(clients).await;
    }
    finale.never_whole = missing;
    observer.stop().await;
    let (settings_now, settings_changed) = preflight::settings_at_the_end(&live.setup, plan).await;
    live.nemesis_op("config", preflight::told(&settings_now));
    let start: Option<Start> = std::fs::read(directory.file("start.json")).ok().and_then(|text| serde_json::from_slice(&text).ok());
    if start.is_none() {
        finale.unproved.push("how the daemons were when the run began was not written down (start.json)".into());
    }
    let start = start.unwrap_or_default();
    let unexpected_exits = preflight::unexpected_exits(&live.cluster, &start.daemons(), &left.events).await;
    let daemon_logs = daemon_logs::fetch(&live.cluster, &start.marks(), &directory.file("logs")).await;
    Ok(Ended {
        plan: Plan::default(),
        analysed: super::Analysed::default(),
        finale,
        troubles: left.troubles(plan),
        hosts,
        daemon_logs,
        settings_changed,
        unexpected_exits,
        resources: Resources::default(),
        recovery_timeout_s: live.recovery_timeout().as_secs(),
        abort: None,
        is_cut_off: true,
        scrape: None,
        failures,
    })
}

async fn read(live: Arc<Live>, clients: super::Clients) -> Finale {
    finale::run(&live, clients).await
}

impl Books {
    /// The files of a run that was cut off, with what they hold.
    fn take_up(directory: &RunDirectory, setup: &Setup, plan: &Plan, left: &Left) -> Result<Self, Failure> {
        let mut analysis = Analysis::new(plan, None, &directory.file(super::LATENCY_LOG))?;
        let beginning = take_over(directory, setup, left, &mut analysis)?;
        let books = Self::of(directory, setup, analysis, beginning)?;
        lock(&books.fault_events).clone_from(&left.events);
        Ok(books)
    }
}
