//! The engine: carries each fault through its life, in the order of FAULTS.md, and mends whatever happens.

mod step;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use kchaos_cluster::protocol::CoordinatorKind;
use kchaos_core::{Chosen, Clock, Effect, FaultEvent, FaultMoment, Interval, KeyEntry, NemesisName, Proof, Target};
use tokio::task::{JoinHandle, JoinSet};

use crate::doors::{Doors, chain};
use crate::error::{Because, FaultError, HealError};
use crate::fault::{Injected, Scope};
use crate::faults::cut;
use crate::ground::{Ground, Shared};
use crate::heal::{HealOptions, HostReport, heal_cluster};
use crate::helper;
use crate::host::{self, CUT, HostPaths, plain};
use crate::journal::{Entry, Intent, Journal, State};
use crate::leg::{Leg, Stage};
use crate::mutants;
use crate::partition;
use crate::rack;
use crate::registry::{self, Spec};
use crate::renew;
use crate::target::{self, Scene, Taken};

const FACTS_TIMEOUT: Duration = Duration::from_secs(10);

/// What `kill` means where a service manager may revive what was killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KillSemantics {
    /// Down for the fault's duration; a revival means that it was not in force.
    #[default]
    HeldDown,
    /// A crash: a revival is noted.
    RevivalAllowed,
}

#[derive(Clone)]
pub struct EngineOptions {
    pub run_id: String,
    /// For people: `user@machine, pid 17`.
    pub holder: String,
    /// How long a host waits for us before it mends itself.
    pub lease: Duration,
    /// The run's directory: `undo-journal.jsonl` lies there.
    pub journal_dir: PathBuf,
    pub clock: Arc<dyn Clock>,
    pub sink: Arc<dyn Fn(FaultEvent) + Send + Sync>,
    /// The run's own topics; none: all partitions of the cluster count.
    pub topics: Vec<KeyEntry>,
    /// Consumer groups and transactional ids of the run's workload: their coordinators are targets.
    pub groups: Vec<String>,
    pub transactional_ids: Vec<String>,
    pub kill: KillSemantics,
    pub paths: HostPaths,
}

/// A fault that something of may be on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    pub fault_id: u32,
    pub nemesis: String,
    pub chosen: Vec<Chosen>,
    /// `None`: not yet in effect.
    pub since: Option<Interval>,
    /// It ended by its lease; it is still to be tidied up.
    pub lapsed: bool,
    pub healing: bool,
}

/// Dropped without `heal_all`, it stops renewing: the hosts then mend themselves.
pub struct Engine {
    inner: Arc<Inner>,
    renewing: JoinHandle<()>,
}

/// A fault from its choice until nothing of it is left.
pub(crate) struct Live {
    ground: Arc<Ground>,
    taken: Vec<Taken>,
    pub(crate) legs: Vec<Arc<Leg>>,
    /// Held while it is being mended, so that two heals do not meet; `true` when nothing of it is left.
    done: tokio::sync::Mutex<bool>,
    since: Mutex<Option<Interval>>,
}

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    journal: Journal,
    live: Mutex<BTreeMap<u32, Arc<Live>>>,
    /// Faults that had ended by themselves when their mending began.
    lapsed: Mutex<BTreeSet<u32>>,
    next_id: AtomicU32,
    /// One choice at a time, so that the guards count with the one before.
    choosing: tokio::sync::Mutex<()>,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

impl Engine {
    /// Asks each host for its addresses, and begins to renew. The hosts must have been locked for this run.
    pub async fn new(doors: Arc<dyn Doors>, options: EngineOptions) -> Result<Self, FaultError> {
        let journal = Journal::open(&options.journal_dir)
            .map_err(|error| FaultError::environment("undo journal", format!("in {}", options.journal_dir.display()), error))?;
        let inner = Arc::new(Inner::new(doors, options, journal).await);
        let renewing = tokio::spawn(renew::keep_renewing(Arc::clone(&inner)));
        Ok(Self { inner, renewing })
    }

    /// Chooses, journals, arms, injects and proves. On an error nothing of it is in force any more; where even that failed it stays in
    /// [`Engine::in_force`] for [`Engine::heal_all`].
    pub async fn inject(&self, name: &NemesisName, seed: u64) -> Result<u32, FaultError> {
        let ground = self.asked(name.to_string(), seed);
        told(&ground, self.inner.inject(&ground, name, seed).await)
    }

    fn asked(&self, name: String, seed: u64) -> Arc<Ground> {
        let fault_id = self.inner.next_id.fetch_add(1, Ordering::SeqCst);
        let ground = Arc::new(Ground::new(Arc::clone(&self.inner.shared), fault_id, name, seed));
        ground.emit_now(FaultMoment::Asked);
        ground
    }

    /// Mends, proves, disarms and closes the journal. A fault that is done, or never was, is mended.
    pub async fn heal(&self, fault_id: u32) -> Result<(), HealError> {
        let live = self.inner.lock().get(&fault_id).cloned();
        match live {
            Some(live) => self.inner.heal(&live).await,
            None => Ok(()),
        }
    }

    /// Mends all that is in force and then sweeps every host of the inventory, whatever fails on the way. A second time it finds them
    /// clean.
    pub async fn heal_all(&self) -> Vec<HostReport> {
        let mut tasks = JoinSet::new();
        for live in self.inner.all() {
            let inner = Arc::clone(&self.inner);
            tasks.spawn(async move { inner.heal(&live).await });
        }
        // What could not be mended here is in the state of its host, which the sweep looks at.
        while tasks.join_next().await.is_some() {}
        let options = &self.inner.shared.options;
        let (paths, run_id, holder) = (options.paths.clone(), Some(options.run_id.clone()), options.holder.clone());
        let sweep = HealOptions { paths, run_id, holder, break_locks: false };
        heal_cluster(Arc::clone(&self.inner.shared.doors), sweep).await
    }

    /// Whether it ended before it was mended. For certain only when it has been healed: its last look may be the one that finds out, where this
    /// process stood still for longer than the fault was to last.
    pub fn has_lapsed(&self, fault_id: u32) -> bool {
        self.inner.lapsed.lock().unwrap_or_else(PoisonError::into_inner).contains(&fault_id)
    }

    pub fn in_force(&self) -> Vec<InForce> {
        self.inner.all().iter().map(|live| in_force(live)).collect()
    }
}

/// Its number, or its failure, which is one of its moments.
fn told(ground: &Ground, result: Result<(), FaultError>) -> Result<u32, FaultError> {
    result.map(|()| ground.fault_id).inspect_err(|error| {
        let event = ground.event(FaultMoment::Failed, Interval::at(ground.now()));
        ground.emit(FaultEvent { text: Some(chain(error)), ..event });
    })
}

fn in_force(live: &Live) -> InForce {
    InForce {
        fault_id: live.ground.fault_id,
        nemesis: live.ground.nemesis.clone(),
        chosen: live.chosen(),
        since: live.since(),
        lapsed: live.legs.iter().any(|leg| leg.has_lapsed()),
        healing: live.legs.iter().any(|leg| leg.stage() == Stage::Healing),
    }
}

impl Inner {
    pub(crate) async fn new(doors: Arc<dyn Doors>, mut options: EngineOptions, journal: Journal) -> Self {
        options.run_id = plain(&options.run_id);
        let mut shared = Shared { doors, options, addresses: BTreeMap::new() };
        shared.addresses = addresses(&shared).await;
        let (shared, next_id) = (Arc::new(shared), AtomicU32::new(1));
        Self { shared, journal, live: Mutex::default(), lapsed: Mutex::default(), next_id, choosing: tokio::sync::Mutex::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Arc<Live>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Live>> {
        self.lock().values().cloned().collect()
    }

    async fn inject(&self, ground: &Arc<Ground>, name: &NemesisName, seed: u64) -> Result<(), FaultError> {
        let nemesis = &ground.nemesis;
        let spec = registry::find(&name.fault).ok_or_else(|| FaultError::refused(nemesis, format!("no fault is called {}", name.fault)))?;
        let live = self.plan(ground, spec, name, seed).await?;
        self.bring_about(&live).await
    }

    /// From planned to proved in force.
    async fn bring_about(&self, live: &Live) -> Result<(), FaultError> {
        let nemesis = &live.ground.nemesis;
        if let Err((host, what)) = self.prepare(live).await {
            // Nothing has been injected. What was prepared is taken away; where that fails it is harmless, and lies open in the journal.
            let undone = join_all(live.legs.iter().map(|leg| leg.disarm())).await;
            if undone.iter().all(Result::is_ok) {
                self.close(live).await;
            }
            return Err(FaultError::environment(nemesis, format!("could not be prepared on {host}"), Because(what)));
        }
        let result = self.issue(live).await;
        if result.is_err() {
            // The heal's own error is in the events, and the fault stays in the list.
            let _ = self.heal(live).await;
        }
        result
    }

    /// Chooses, asks the guards, and plans. From here on the fault counts as planned: whatever happens, its hosts are mended.
    pub(crate) async fn plan(&self, ground: &Arc<Ground>, spec: &Spec, name: &NemesisName, seed: u64) -> Result<Arc<Live>, FaultError> {
        let nemesis = &ground.nemesis;
        let _one_at_a_time = self.choosing.lock().await;
        let view = self.shared.view().await;
        let view = view.map_err(|error| FaultError::environment(nemesis, "no target could be found", error))?;
        let taken: Vec<Taken> = self.all().iter().flat_map(|live| live.taken.clone()).collect();
        let coordinator = self.coordinator(&name.target).await.map_err(|reason| FaultError::refused(nemesis, reason))?;
        let (inventory, topics) = (self.shared.doors.inventory(), &self.shared.options.topics);
        let scene = Scene { inventory, view: &view, topics, taken: &taken, coordinator };
        let chosen = match &name.target {
            target if target.is_rack() => rack::choose(&scene, spec, target, seed),
            target => target::choose(&scene, target, spec.scope, seed),
        };
        let chosen = chosen.map_err(|reason| FaultError::refused(nemesis, reason))?;
        let grudge = partition::grudge(&scene, &name.target, seed);
        let scope = if name.target == Target::Ring { Scope::Link } else { spec.scope };
        let take = |one: &Chosen| Taken { host: one.host.clone(), daemon: one.daemon.clone(), scope };
        let next: Vec<Taken> = chosen.iter().map(take).collect();
        target::guard(&scene, &name.target, &next).map_err(|reason| {
            let named: Vec<String> = chosen.iter().map(|one| format!("{} on {}", one.daemon, one.host)).collect();
            FaultError::refused(nemesis, format!("{}: {reason}", named.join(", ")))
        })?;
        let mut legs = Vec::new();
        let all: Arc<[Chosen]> = chosen.into();
        for (number, one) in all.iter().enumerate() {
            let ground = ground.of_leg(number, &all, grudge.get(&one.host).cloned().unwrap_or_default());
            let fault = (spec.plan)(Arc::clone(&ground), one.clone()).await?;
            let fault = mutants::wrong(spec, &ground, fault);
            legs.push(Arc::new(Leg::new(ground, one.clone(), fault)));
        }
        let live =
            Arc::new(Live { ground: Arc::clone(ground), taken: next, legs, done: tokio::sync::Mutex::new(false), since: Mutex::new(None) });
        self.lock().insert(ground.fault_id, Arc::clone(&live));
        Ok(live)
    }

    /// Asked of the cluster where the target is a coordinator: which broker, and who said so.
    async fn coordinator(&self, target: &Target) -> Result<Option<(i32, String)>, String> {
        let options = &self.shared.options;
        let (kind, names, what) = match target {
            Target::GroupCoordinator => (CoordinatorKind::Group, &options.groups, "consumer group"),
            Target::TxnCoordinator => (CoordinatorKind::Transaction, &options.transactional_ids, "transactional id"),
            _ => return Ok(None),
        };
        let name = names.first().ok_or_else(|| format!("the run's workload has no {what}, so nothing of it has a coordinator"))?;
        let found = self.shared.doors.coordinator(kind, name).await.map_err(|error| error.to_string())?;
        Ok(Some((found, format!("FindCoordinator names broker {found} for the {what} {name}"))))
    }

    /// Journal here and on the hosts, then the leases. The error comes with its host.
    async fn prepare(&self, live: &Live) -> Result<(), (String, String)> {
        let intents = live.legs.iter().map(|leg| Intent {
            host: leg.chosen.host.clone(),
            daemon: leg.chosen.daemon.clone(),
            evidence: leg.chosen.evidence.clone(),
            undo: leg.undo_script(),
        });
        let entry = self.entry(live, State::Open, intents.collect());
        self.journal.append(entry).await.map_err(|error| ("this machine".to_owned(), format!("the undo journal: {error}")))?;
        all_or_first(live, join_all(live.legs.iter().map(|leg| leg.keep())).await)?;
        let event = live.ground.event(FaultMoment::Journalled, Interval::at(self.shared.now()));
        live.ground.emit(FaultEvent { chosen: live.chosen(), ..event });
        all_or_first(live, join_all(live.legs.iter().map(|leg| leg.arm())).await)?;
        live.ground.emit_now(FaultMoment::Armed);
        Ok(())
    }

    /// Injects on all hosts, and proves.
    async fn issue(&self, live: &Live) -> Result<(), FaultError> {
        let nemesis = &live.ground.nemesis;
        let (mut when, mut effect): (Option<Interval>, Effect) = (None, Effect::default());
        for injected in live.inject_legs().await {
            let Injected { when: one, effect: more } = injected?;
            if more == Effect::default() {
                return Err(FaultError::NotProved { nemesis: nemesis.clone(), text: "it changed nothing".to_owned() });
            }
            when = Some(when.map_or(one, |all| around(all, one)));
            effect.pids.extend(more.pids);
            effect.rules.extend(more.rules);
            effect.files.extend(more.files);
            effect.units.extend(more.units);
            effect.settings.extend(more.settings);
        }
        let when = when.ok_or_else(|| FaultError::refused(nemesis, "nobody was chosen"))?;
        *live.since.lock().unwrap_or_else(PoisonError::into_inner) = Some(when);
        live.legs.iter().for_each(|leg| leg.set_stage(Stage::InEffect));
        let proofs = join_all(live.legs.iter().map(|leg| leg.fault.proof())).await;
        let shown = together(proofs.iter().map(|proof| match proof {
            Ok(proof) => proof.clone(),
            Err(error) => Proof { proved: false, text: chain(error) },
        }));
        let event = live.ground.event(FaultMoment::InEffect, when);
        live.ground.emit(FaultEvent { chosen: live.chosen(), effect: Some(effect), proof: Some(shown.clone()), ..event });
        for proof in proofs {
            proof?;
        }
        if shown.proved { Ok(()) } else { Err(FaultError::NotProved { nemesis: nemesis.clone(), text: shown.text }) }
    }

    async fn heal(&self, live: &Live) -> Result<(), HealError> {
        let mut done = live.done.lock().await;
        if *done {
            return Ok(());
        }
        let ground = &live.ground;
        join_all(live.legs.iter().map(|leg| leg.begin_healing())).await;
        if live.legs.iter().any(|leg| leg.has_lapsed()) {
            self.lapsed.lock().unwrap_or_else(PoisonError::into_inner).insert(ground.fault_id);
        }
        ground.emit_now(FaultMoment::Healing);
        let after_ns = ground.now();
        let mends = join_all(live.legs.iter().map(|leg| leg.fault.mend())).await;
        let ended = mends.iter().filter_map(|mend| mend.as_ref().ok()).copied().reduce(around);
        let proofs = join_all(live.legs.iter().map(|leg| leg.fault.mended())).await;
        let when = ended.unwrap_or(Interval { after_ns, before_ns: ground.now() });
        let troubles: Vec<Option<String>> = mends.into_iter().map(Result::err).collect();
        let told: Vec<&str> = troubles.iter().flatten().map(String::as_str).collect();
        let event = ground.event(FaultMoment::Healed, when);
        ground.emit(FaultEvent {
            chosen: live.chosen(),
            proof: Some(together(proofs.iter().cloned())),
            text: (!told.is_empty()).then(|| told.join("; ")),
            ..event
        });
        let mut first_error = None;
        let disarm = async |(leg, proof): (&Arc<Leg>, &Proof)| if proof.proved { leg.disarm().await.err() } else { None };
        let armed = join_all(live.legs.iter().zip(&proofs).map(disarm)).await;
        for ((leg, armed), (proof, trouble)) in live.legs.iter().zip(armed).zip(proofs.into_iter().zip(troubles)) {
            let text = if proof.proved {
                armed.map(|why| format!("it is mended, and its watchdog and undo script are still there: {why}"))
            } else {
                Some(trouble.map_or(proof.text.clone(), |trouble| format!("{trouble}; {}", proof.text)))
            };
            if let Some(text) = text {
                // The host's own lease may do better: nobody renews it any more.
                leg.set_stage(Stage::Over);
                let host = leg.chosen.host.clone();
                first_error.get_or_insert(HealError { fault_id: ground.fault_id, nemesis: ground.nemesis.clone(), host, text });
            }
        }
        if let Some(error) = first_error {
            return Err(error);
        }
        self.close(live).await;
        *done = true;
        ground.emit_now(FaultMoment::Done);
        Ok(())
    }

    /// Nothing of it is left.
    async fn close(&self, live: &Live) {
        if let Err(error) = self.journal.append(self.entry(live, State::Done, Vec::new())).await {
            live.ground.note(format!("the undo journal could not be closed: {error}"));
        }
        self.lock().remove(&live.ground.fault_id);
    }

    fn entry(&self, live: &Live, state: State, hosts: Vec<Intent>) -> Entry {
        Entry {
            time_ns: self.shared.now(),
            run: self.shared.options.run_id.clone(),
            fault_id: live.ground.fault_id,
            nemesis: live.ground.nemesis.clone(),
            state,
            hosts,
        }
    }
}

impl Live {
    fn chosen(&self) -> Vec<Chosen> {
        self.legs.iter().map(|leg| leg.chosen.clone()).collect()
    }

    /// All at once, or one after another up to the first that fails.
    async fn inject_legs(&self) -> Vec<Result<Injected, FaultError>> {
        if self.taken.iter().any(|taken| taken.scope != Scope::OneByOne) {
            return join_all(self.legs.iter().map(|leg| leg.fault.inject())).await;
        }
        let mut all = Vec::new();
        for leg in &self.legs {
            let injected = leg.fault.inject().await;
            let settled = if injected.is_ok() { leg.fault.settled().await } else { Ok(()) };
            let is_last = injected.is_err() || settled.is_err();
            all.push(injected.and_then(|injected| settled.map(|()| injected)));
            if is_last {
                break;
            }
        }
        all
    }

    fn since(&self) -> Option<Interval> {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn all_or_first(live: &Live, results: Vec<Result<(), String>>) -> Result<(), (String, String)> {
    for (leg, result) in live.legs.iter().zip(results) {
        result.map_err(|why| (leg.chosen.host.clone(), why))?;
    }
    Ok(())
}

fn around(one: Interval, other: Interval) -> Interval {
    Interval { after_ns: one.after_ns.min(other.after_ns), before_ns: one.before_ns.max(other.before_ns) }
}

/// Proved is what is proved on every host.
fn together(proofs: impl Iterator<Item = Proof>) -> Proof {
    let proofs: Vec<Proof> = proofs.collect();
    let text = proofs.iter().map(|proof| proof.text.as_str()).collect::<Vec<_>>().join("; ");
    Proof { proved: !proofs.is_empty() && proofs.iter().all(|proof| proof.proved), text }
}

/// By host: the inventory's address, and then those that the host itself names. One that does not answer is known by the inventory alone.
async fn addresses(shared: &Shared) -> BTreeMap<String, Vec<IpAddr>> {
    let script = shared.caller("").script(&[CUT], "k_facts");
    let asked = shared.doors.inventory().hosts.iter().map(async |host| {
        let mut known: Vec<IpAddr> = match host.address.parse() {
            Ok(address) => vec![address],
            Err(_) => tokio::net::lookup_host((host.address.as_str(), 0))
                .await
                .map(|found| found.map(|one| one.ip()).collect())
                .unwrap_or_default(),
        };
        let remote = shared.doors.remote(&host.name);
        if let Ok(facts) = host::ask_as(remote.as_ref(), &script, &helper::words(&[&"facts"]), FACTS_TIMEOUT, "the facts of the host").await
        {
            known.extend(cut::addresses(&facts));
        }
        let mut seen = BTreeSet::new();
        known.retain(|address| !address.is_loopback() && !address.is_unspecified() && seen.insert(*address));
        (host.name.clone(), known)
    });
    join_all(asked).await.into_iter().collect()
}
