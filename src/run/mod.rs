//! The life of a run.
//!
//! [`life`] is the whole of it, step by step. What each step does stands in the module of its name; what holds for all of them is that mending
//! comes first: whatever a step returns, or if it panics, every fault is healed before anything else is done with it.

mod abort;
mod admin;
mod analysis;
mod client_log;
mod clients;
mod conclude;
mod conditions;
mod cut_off;
mod daemon_logs;
mod exact;
mod finale;
mod held;
mod hosts;
mod load;
mod metrics;
mod preflight;
mod progress;
mod pulse;
mod replica_logs;
mod resources;
mod rights;
mod schedule;
mod setup;
mod stable;
mod start;
mod steps;
mod trouble;
mod tui;
mod watch;
mod whole;
mod witness;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow};
use kchaos_cluster::cluster::Cluster;
use kchaos_cluster::inventory::Inventory;
use kchaos_cluster::observer::Observer;
use kchaos_core::{Clock, Draft, FaultEvent, FaultMoment, Key, KeyEntry, Observation, Plan, PlannedFault, Recorder};
use kchaos_nemeses::{Doors, Engine, EngineOptions, HostPaths, HostReport};
use kchaos_workloads::{ClientHost, Running};
use serde_json::{Value, json};

pub(crate) use abort::{Abort, AbortReason};
pub(crate) use analysis::{Analysed, judge_options};
pub(crate) use conclude::{conclude, conclude_failed};
pub(crate) use conditions::{refuse_abort_conditions, too_full};
pub(crate) use cut_off::{Left, life as life_of_cut_off, refuse_what_is_not_cut_off};
pub(crate) use daemon_logs::Fetched;
pub(crate) use exact::{as_typed, check_plan, faults_in_force};
pub(crate) use finale::Finale;
pub(crate) use held::{HeldFault, Mended};
pub(crate) use preflight::schedule_of;
pub(crate) use progress::Display;
pub(crate) use resources::Resources;
pub(crate) use schedule::{Guide, millis};
pub(crate) use setup::{Setup, holder, nearest};
pub(crate) use whole::what_is_missing;

use crate::clock::RunClock;
use crate::exit::Failure;
use crate::judged::StepOutcome;
use crate::recorder::{Beginning, FileRecorder};
use crate::store::{Lines, RunDirectory};
use analysis::Analysis;
use client_log::ClientLog;
use pulse::Vitals;
use witness::Witness;

/// How long writes are watched before the trouble, and after it: long enough to be a baseline, short enough to be waited for.
pub(crate) const QUIET: Duration = Duration::from_secs(4);
const CLIENTS_STOP: Duration = Duration::from_secs(20);

/// What every step of a run needs.
pub(crate) struct Live {
    pub(crate) setup: Arc<Setup>,
    pub(crate) inventory: Arc<Inventory>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) doors: Arc<dyn Doors>,
    pub(crate) clock: Arc<RunClock>,
    pub(crate) recorder: Arc<FileRecorder>,
    pub(crate) client_log: Arc<ClientLog>,
    pub(crate) witness: Arc<Witness>,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) display: Arc<Display>,
    pub(crate) abort: Abort,
    pub(crate) keys: Vec<KeyEntry>,
    /// How many of them, the first ones, there are in the end.
    pub(crate) begun: AtomicUsize,
    /// Where its clients run; none: here.
    pub(crate) client_hosts: Vec<Arc<dyn ClientHost>>,
}

/// A workload's clients, shared between the run and its progress line.
pub(crate) type Clients = Arc<Mutex<Box<dyn Running>>>;

/// What the trouble came to.
#[derive(Debug, Default)]
pub(crate) struct Troubles {
    pub(crate) tried: Vec<PlannedFault>,
    /// What became of a plan's steps, and how many daemons they were begun on.
    pub(crate) steps: Vec<StepOutcome>,
    pub(crate) steps_tried: u32,
    pub(crate) in_force: u32,
    /// Proved to be mended.
    pub(crate) mended: u32,
    /// Issued, and not proved to be in force: the verdict is unknown.
    pub(crate) not_proved: Vec<String>,
    /// Failed or refused: not Kafka's fault.
    pub(crate) environment: Vec<String>,
    /// All was mended and the cluster did not come back: what was missing.
    pub(crate) never_recovered: Option<String>,
}

/// All that a run leaves to be judged.
pub(crate) struct Ended {
    pub(crate) plan: Plan,
    pub(crate) analysed: Analysed,
    pub(crate) troubles: Troubles,
    pub(crate) finale: Finale,
    pub(crate) hosts: Vec<HostReport>,
    pub(crate) daemon_logs: Fetched,
    pub(crate) settings_changed: Vec<String>,
    pub(crate) unexpected_exits: Vec<String>,
    pub(crate) resources: Resources,
    pub(crate) recovery_timeout_s: u64,
    pub(crate) abort: Option<AbortReason>,
    /// Nobody wrote in the end, since kchaos had been killed.
    pub(crate) is_cut_off: bool,
    /// What a scraper would have been told last.
    pub(crate) scrape: Option<metrics::Scrape>,
    /// A bug of ours, or the environment's failure, on the way; what could be judged was judged.
    pub(crate) failures: Vec<Failure>,
}

/// A run from its stored plan to everything that can be judged.
pub(crate) async fn life(setup: Arc<Setup>, directory: &RunDirectory, abort: Abort, display: Arc<Display>) -> Result<Ended, Failure> {
    directory.write_json("plan.json", &setup.plan())?;
    let ready = preflight::check(&setup, &display).await?;
    let locks = preflight::Locks::take(&ready.doors, &setup).await?;
    let ended = locked_life(&setup, ready, directory, abort, display).await;
    locks.release().await;
    ended
}

async fn locked_life(
    setup: &Arc<Setup>,
    ready: preflight::Ready,
    directory: &RunDirectory,
    abort: Abort,
    display: Arc<Display>,
) -> Result<Ended, Failure> {
    let mut plan = setup.plan();
    preflight::sweep(&ready.doors, setup, &display).await?;
    preflight::refuse_unhealthy(setup).await?;
    let hosts = hosts::ClientHosts::prepare(setup, &ready.cluster, &ready.doors, &display).await?;
    let mut ended = prepared_life(setup, &ready, directory, (abort, display), &hosts, &mut plan).await;
    hosts.remove(ended.as_mut().ok().map(|ended| &mut ended.hosts)).await;
    ended
}

async fn prepared_life(
    setup: &Arc<Setup>,
    ready: &preflight::Ready,
    directory: &RunDirectory,
    (abort, display): (Abort, Arc<Display>),
    hosts: &hosts::ClientHosts,
    plan: &mut Plan,
) -> Result<Ended, Failure> {
    let books = Books::open(directory, setup, plan, &abort)?;
    let live = Arc::new(Live { client_hosts: hosts.all(), ..ready.live(setup, &books, abort, display) });
    preflight::make_topics(setup, live.context()?).await?;
    let ended = with_topics(&live, &books, plan, directory).await;
    preflight::delete_topics(setup, &live, live.context()?).await;
    let mut ended = ended?;

    ended.scrape = Some(live.source(&books).scrape());
    let (analysed, failures) = books.close(&live);
    ended.analysed = analysed;
    ended.failures.extend(failures);
    plan.schedule.clone_from(&ended.troubles.tried);
    directory.write_json("plan.json", plan)?;
    ended.plan = plan.clone();
    Ok(ended)
}

async fn with_topics(live: &Arc<Live>, books: &Books, plan: &mut Plan, directory: &RunDirectory) -> Result<Ended, Failure> {
    preflight::read_back(&live.setup, plan).await?;
    directory.write_json("plan.json", plan)?;
    let marks = daemon_logs::mark(&live.cluster).await;
    let daemons = preflight::daemons(&live.cluster).await;
    directory.write_json("start.json", &start::Start::of(&daemons, &marks))?;

    let engine = Engine::new(live.doors.clone(), live.engine_options(directory, books)).await.map_err(environment)?;
    let engine = Arc::new(engine);
    live.nemesis_op("config", preflight::told(&plan.effective));
    if let Some(kept) = preflight::kept_for_good(plan) {
        live.nemesis_op("log-retention", kept);
    }
    let observer = Observer::start(live.inventory.clone(), live.keys.clone(), live.clock.clone(), books.observation_sink());
    let clients = live.start_clients()?;
    live.display.scraped_from(live.source(books));
    let watch = watch::start(live, books, &engine, &clients);
    let conditions = conditions::watch(live, &engine);

    let mut failures = Vec::new();
    let trouble = before_and_trouble(live.clone(), engine.clone(), clients.clone(), plan.schedule.clone());
    let troubles = guarded(&mut failures, trouble).await.unwrap_or_default();
    let hosts = engine.heal_all().await;
    let is_lost_cause = troubles.never_recovered.is_some();
    let mut finale = guarded(&mut failures, after_and_finale(live.clone(), clients.clone(), is_lost_cause)).await.unwrap_or_default();
    finale.told.extend(hosts::told_of_lost(&finale.lost, &books.fault_events()));

    drop(conditions);
    observer.stop().await;
    let (settings_now, settings_changed) = preflight::settings_at_the_end(&live.setup, plan).await;
    live.nemesis_op("config", preflight::told(&settings_now));
    let unexpected_exits = preflight::unexpected_exits(&live.cluster, &daemons, &books.fault_events()).await;
    let daemon_logs = daemon_logs::fetch(&live.cluster, &marks, &directory.file("logs")).await;
    let resources = watch.stop().await;
    stop_clients(clients).await;
    Ok(Ended {
        plan: Plan::default(),
        analysed: Analysed::default(),
        finale,
        troubles,
        hosts,
        daemon_logs,
        settings_changed,
        unexpected_exits,
        resources,
        recovery_timeout_s: live.recovery_timeout().as_secs(),
        abort: live.abort.reason(),
        is_cut_off: false,
        scrape: None,
        failures,
    })
}

async fn before_and_trouble(live: Arc<Live>, engine: Arc<Engine>, clients: Clients, schedule: Vec<PlannedFault>) -> Troubles {
    live.phase("before");
    finale::wait_for_first_acks(&live, &clients).await;
    live.abort.sleep(QUIET).await;
    live.phase("trouble");
    trouble::run(&live, &engine, &schedule).await
}

async fn after_and_finale(live: Arc<Live>, clients: Clients, is_lost_cause: bool) -> Finale {
    live.phase("after");
    let patience = Abort::new();
    let mut missing = None;
    if !is_lost_cause {
        missing = match whole::wait(&live, live.recovery_timeout(), &patience).await {
            whole::Whole::Yes => None,
            whole::Whole::No(text) => Some(text),
            whole::Whole::Aborted => Some("aborted".into()),
        };
        let quiet = patience.sleep(QUIET);
        let (_, ()) = tokio::join!(quiet, finale::wait_for_acks_again(&live, &clients));
    }
    live.phase("finale");
    let mut finale = finale::run(&live, clients).await;
    finale.never_whole = missing;
    finale
}

/// Runs a step as a task of its own, so that a panic in it ends the step and not the mending.
async fn guarded<T: Send + 'static>(failures: &mut Vec<Failure>, step: impl Future<Output = T> + Send + 'static) -> Option<T> {
    match tokio::spawn(step).await {
        Ok(value) => Some(value),
        Err(error) => {
            failures.push(Failure { code: crate::exit::INTERNAL, error: anyhow!("a step of the run panicked: {error}") });
            None
        }
    }
}

async fn stop_clients(clients: Clients) {
    // A client that will not end is left on its own thread; everything it acknowledged is in the history by now.
    let stop = tokio::task::spawn_blocking(move || {
        if let Ok(clients) = Arc::try_unwrap(clients) {
            clients.into_inner().unwrap_or_else(PoisonError::into_inner).stop(CLIENTS_STOP);
        }
    });
    let _ = tokio::time::timeout(CLIENTS_STOP + Duration::from_secs(5), stop).await;
}

impl Live {
    /// Those whose topics were there when writing was over: all, unless the workload makes some of them itself.
    pub(crate) fn begun_keys(&self) -> &[KeyEntry] {
        &self.keys[..self.begun.load(Relaxed).min(self.keys.len())]
    }

    pub(crate) fn topics(&self) -> Vec<String> {
        let mut topics: Vec<_> = self.begun_keys().iter().map(|entry| entry.topic.clone()).collect();
        topics.sort();
        topics.dedup();
        topics
    }

    pub(crate) fn recovery_timeout(&self) -> Duration {
        Duration::from_secs(self.inventory.limits.recovery_timeout_s)
    }

    /// A change of phase: an op of the nemesis, so that the history can be judged by itself, and a sync.
    fn phase(&self, name: &str) {
        self.nemesis_op("phase", Value::from(name));
        if let Err(error) = self.recorder.sync() {
            self.abort.raise(AbortReason::Environment(error.to_string()));
        }
        self.vitals.phase(name, self.elapsed().as_secs_f64(), self.limit_of(name).map(|limit| limit.as_secs_f64()));
        self.display.event_at(self.elapsed(), &format!("phase: {name}"));
    }

    fn nemesis_op(&self, f: &str, value: Value) {
        self.recorder.record(Draft::told(f, value));
    }

    /// Something worth knowing, shown and kept.
    fn note(&self, text: &str) {
        self.nemesis_op("note", Value::from(text));
        self.display.event_at(self.elapsed(), text);
    }

    /// What is told to a scraper.
    fn source(&self, books: &Books) -> metrics::Source {
        let setup = &self.setup;
        let (seed, cluster) = (setup.seed.to_string(), &self.inventory.cluster.name);
        let labels = [("run_id", &setup.run_id), ("cluster", cluster), ("workload", &setup.args.workload), ("seed", &seed)];
        metrics::Source {
            run: labels.map(|(name, value)| (name.to_owned(), value.clone())).to_vec(),
            started_at_unix_ns: self.clock.started_at_unix_ns,
            vitals: Arc::clone(&self.vitals),
            analysis: Arc::clone(&books.analysis),
            latencies: Mutex::default(),
        }
    }

    /// As `kafka-topics.sh` would say it: topic and partition.
    fn key_name(&self, key: Key) -> String {
        let entry = self.keys.iter().find(|entry| entry.key == key);
        entry.map_or_else(|| format!("key {key}"), |entry| format!("{}-{}", entry.topic, entry.partition))
    }

    /// How long a phase is to last; some end when something has come about.
    fn limit_of(&self, phase: &str) -> Option<Duration> {
        let args = &self.setup.args;
        let is_timed = phase == "trouble" && args.faults.is_none() && (args.time_limit.is_some() || self.setup.steps.is_empty());
        is_timed.then(|| args.time_limit())
    }

    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.clock.now_ns())
    }

    fn engine_options(self: &Arc<Self>, directory: &RunDirectory, books: &Books) -> EngineOptions {
        EngineOptions {
            run_id: self.setup.run_id.clone(),
            lease: self.setup.args.lease,
            journal_dir: directory.path().to_owned(),
            clock: self.clock.clone(),
            sink: books.fault_sink(self),
            topics: self.keys.clone(),
            groups: self.setup.workload.groups(&self.setup.run_id),
            transactional_ids: self.setup.workload.transactional_ids(&self.setup.run_id),
            holder: holder(),
            kill: self.setup.kill(),
            paths: HostPaths::default(),
        }
    }

    /// What the workload's clients are given; their own words go to `logs/clients.log`.
    fn context(&self) -> Result<kchaos_workloads::Context, Failure> {
        let context = self.setup.context(self.recorder.clone(), self.client_log.clone())?;
        Ok(kchaos_workloads::Context { client_hosts: self.client_hosts.clone(), ..context })
    }

    fn start_clients(&self) -> Result<Clients, Failure> {
        let running = self.setup.workload.start(self.context()?).context("start the workload")?;
        Ok(Arc::new(Mutex::new(running)))
    }
}

const LATENCY_LOG: &str = "latency.hlog";

/// The files of a run that grow, and the analysis that listens to them.
struct Books {
    history: PathBuf,
    recorder: Arc<FileRecorder>,
    client_log: Arc<ClientLog>,
    witness: Arc<Witness>,
    vitals: Arc<Vitals>,
    analysis: Arc<Mutex<Analysis>>,
    faults: Arc<Lines>,
    fault_events: Arc<Mutex<Vec<FaultEvent>>>,
    timeline: Arc<Lines>,
}

impl Books {
    fn open(directory: &RunDirectory, setup: &Setup, plan: &Plan, abort: &Abort) -> Result<Self, Failure> {
        let analysis = Analysis::new(plan, setup.args.fail_fast.then(|| abort.clone()), &directory.file(LATENCY_LOG))?;
        let format = setup.args.history_format;
        Self::of(directory, setup, analysis, Beginning::create(&directory.file(format.file_name()), format)?)
    }

    fn of(directory: &RunDirectory, setup: &Setup, analysis: Analysis, beginning: Beginning) -> Result<Self, Failure> {
        let analysis = Arc::new(Mutex::new(analysis));
        let listening = Arc::clone(&analysis);
        let listener: crate::recorder::Listener = Box::new(move |op| lock(&listening).op(op));
        let history = directory.file(setup.args.history_format.file_name());
        let recorder = Arc::new(FileRecorder::go_on(beginning, setup.clock.clone(), listener)?);
        Ok(Self {
            history,
            witness: Arc::new(Witness::new(recorder.clone())),
            vitals: Arc::default(),
            recorder,
            client_log: Arc::new(ClientLog::create(&directory.file("clients.log"))?),
            analysis,
            faults: Arc::new(Lines::create(&directory.file("faults.jsonl"))?),
            fault_events: Arc::default(),
            timeline: Arc::new(Lines::create(&directory.file("timeline.jsonl"))?),
        })
    }

    fn fault_sink(&self, live: &Arc<Live>) -> Arc<dyn Fn(FaultEvent) + Send + Sync> {
        let (faults, events, analysis, live) =
            (Arc::clone(&self.faults), Arc::clone(&self.fault_events), Arc::clone(&self.analysis), Arc::clone(live));
        Arc::new(move |event| {
            faults.push(&event);
            lock(&analysis).fault(&event);
            live.witness.fault(&event);
            live.vitals.fault(&event);
            if let Some(text) = spoken(&event) {
                live.display.event_at(live.elapsed(), &text);
            }
            live.nemesis_op(if event.nemesis.is_empty() { "note" } else { &event.nemesis }, json!(event));
            lock(&events).push(event);
        })
    }

    fn observation_sink(&self) -> Arc<dyn Fn(Observation) + Send + Sync> {
        let (timeline, analysis, witness) = (Arc::clone(&self.timeline), Arc::clone(&self.analysis), Arc::clone(&self.witness));
        let vitals = Arc::clone(&self.vitals);
        Arc::new(move |observation| {
            timeline.push(&observation);
            vitals.observation(&observation);
            lock(&analysis).observation(&observation);
            witness.observation(&observation);
        })
    }

    fn fault_events(&self) -> Vec<FaultEvent> {
        lock(&self.fault_events).clone()
    }

    /// Ends the files; what could not be written is a failure of the environment.
    fn close(self, live: &Live) -> (Analysed, Vec<Failure>) {
        let mut failures = Vec::new();
        if let Err(error) = live.recorder.close() {
            failures.push(Failure::environment(error));
        }
        for (name, failure) in [("faults.jsonl", self.faults.failure()), ("timeline.jsonl", self.timeline.failure())] {
            failures.extend(failure.map(|text| Failure::environment(anyhow!("cannot write {name}: {text}"))));
        }
        let mut analysis = lock(&self.analysis);
        let analysed = analysis.finish(&self.history);
        failures.extend(analysis.latency_log.failure().map(|text| Failure::environment(anyhow!("cannot write {LATENCY_LOG}: {text}"))));
        (analysed, failures)
    }
}

/// What of a fault's moments is said aloud.
fn spoken(event: &FaultEvent) -> Option<String> {
    let id = event.fault_id;
    let name = &event.nemesis;
    if name.is_empty() {
        return event.text.clone();
    }
    let proof = || event.proof.as_ref().map_or(String::new(), |proof| format!(": {}", proof.text));
    let not = if event.proof.as_ref().is_some_and(|proof| !proof.proved) { "NOT PROVED " } else { "" };
    let chosen = || event.chosen.iter().map(|chosen| format!("{} on {}", chosen.daemon, chosen.host)).collect::<Vec<_>>().join(", ");
    match event.moment {
        FaultMoment::InEffect => Some(format!("fault {id} {name} {not}in force on {}{}", chosen(), proof())),
        FaultMoment::Healed => Some(format!("fault {id} {name} {not}mended{}", proof())),
        FaultMoment::LeaseLapsed => Some(format!("fault {id} {name}: its lease ran out, so it ended by itself")),
        FaultMoment::Failed => Some(format!("fault {id} {name} failed: {}", event.text.as_deref().unwrap_or("no reason given"))),
        FaultMoment::Note => Some(format!("fault {id} {name}: {}", event.text.as_deref().unwrap_or(""))),
        _ => None,
    }
}

fn environment(error: impl Into<anyhow::Error>) -> Failure {
    Failure::environment(error)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
