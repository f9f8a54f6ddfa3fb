//! The engine: carries each fault through its life, in the order of FAULTS.md, and mends whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kchaos_core::{Chosen, Clock, FaultEvent, FaultMoment, Interval, KeyEntry, NemesisName, Proof};
use tokio::task::{JoinHandle, JoinSet};

use crate::doors::Doors;
use crate::error::{Because, FaultError, HealError};
use crate::faults::cut;
use crate::ground::{Ground, Shared};
use crate::heal::{HealOptions, HostReport, heal_cluster};
use crate::host::{self, CUT, HostPaths, plain};
use crate::journal::{Entry, Intent, Journal, State};
use crate::live::Live;
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

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    journal: Journal,
    live: Mutex<BTreeMap<u32, Arc<Live>>>,
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
    pub async fn new(doors: Arc<dyn Doors>, mut options: EngineOptions) -> Result<Self, FaultError> {
        options.run_id = plain(&options.run_id);
        let journal = Journal::open(&options.journal_dir)
            .map_err(|error| FaultError::environment("undo journal", format!("in {}", options.journal_dir.display()), error))?;
        let mut shared = Shared { doors, options, addresses: BTreeMap::new() };
        shared.addresses = addresses(&shared).await;
        let inner = Arc::new(Inner {
            shared: Arc::new(shared),
            journal,
            live: Mutex::default(),
            next_id: AtomicU32::new(1),
            choosing: tokio::sync::Mutex::default(),
        });
        let renewing = tokio::spawn(renew::keep_renewing(Arc::clone(&inner)));
        Ok(Self { inner, renewing })
    }

    /// Chooses, journals, arms, injects and proves. On an error nothing of it is in force any more; where even that failed it stays in
    /// [`Engine::in_force`] for [`Engine::heal_all`].
    pub async fn inject(&self, name: &NemesisName, seed: u64) -> Result<u32, FaultError> {
        let fault_id = self.inner.next_id.fetch_add(1, Ordering::SeqCst);
        let ground = Arc::new(Ground::new(Arc::clone(&self.inner.shared), fault_id, name.to_string()));
        ground.emit_now(FaultMoment::Asked);
        match self.inner.inject(&ground, name, seed).await {
            Ok(()) => Ok(fault_id),
            Err(error) => {
                let event = ground.event(FaultMoment::Failed, Interval::at(ground.now()));
                ground.emit(FaultEvent { text: Some(chain(&error)), ..event });
                Err(error)
            }
        }
    }

    /// Mends, proves, disarms and closes the journal. A fault that is done, or never was, is mended.
    pub async fn heal(&self, fault_id: u32) -> Result<(), HealError> {
        let live = self.inner.lock().get(&fault_id).cloned();
        match live {
            Some(live) => self.inner.heal(&live).await,
            None => Ok(()),
        }
    }

    /// Mends all that is in force and then sweeps every host of the inventory, whatever fails on the way. A second time it finds them clean.
    pub async fn heal_all(&self) -> Vec<HostReport> {
        let mut tasks = JoinSet::new();
        for live in self.inner.all() {
            let inner = Arc::clone(&self.inner);
            tasks.spawn(async move { inner.heal(&live).await });
        }
        // What could not be mended here is in the state of its host, which the sweep looks at.
        while tasks.join_next().await.is_some() {}
        let options = &self.inner.shared.options;
        let sweep = HealOptions { paths: options.paths.clone(), run_id: Some(options.run_id.clone()) };
        heal_cluster(Arc::clone(&self.inner.shared.doors), sweep).await
    }

    pub fn in_force(&self) -> Vec<InForce> {
        self.inner.all().iter().map(|live| in_force(live)).collect()
    }
}

fn in_force(live: &Live) -> InForce {
    InForce {
        fault_id: live.ground.fault_id,
        nemesis: live.ground.nemesis.clone(),
        chosen: vec![live.chosen.clone()],
        since: *live.since.lock().unwrap_or_else(PoisonError::into_inner),
        lapsed: live.lapsed.load(Ordering::SeqCst),
        healing: live.healing.load(Ordering::SeqCst),
    }
}

impl Inner {
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
        if let Err(what) = self.prepare(&live).await {
            // Nothing has been injected; what was prepared is taken away, and where that fails it is harmless and lies open in the journal.
            if live.disarm().await.is_ok() {
                self.close(&live).await;
            }
            return Err(FaultError::environment(nemesis, format!("could not be prepared on {}", live.fault.host()), Because(what)));
        }
        let result = self.issue(&live).await;
        if result.is_err() {
            // The heal's own error is in the events, and the fault stays in the list.
            let _ = self.heal(&live).await;
        }
        result
    }

    /// Chooses, asks the guards, and plans. From here on the fault counts as planned: whatever happens, its host is mended.
    async fn plan(&self, ground: &Arc<Ground>, spec: &Spec, name: &NemesisName, seed: u64) -> Result<Arc<Live>, FaultError> {
        let nemesis = &ground.nemesis;
        let _one_at_a_time = self.choosing.lock().await;
        let view = self.shared.view().await;
        let view = view.map_err(|error| FaultError::environment(nemesis, "no target could be found", error))?;
        let taken: Vec<Taken> = self.all().iter().map(|live| live.taken.clone()).collect();
        let scene = Scene { inventory: self.shared.doors.inventory(), view: &view, topics: &self.shared.options.topics, taken: &taken };
        let chosen = target::choose(&scene, &name.target, seed).map_err(|reason| FaultError::refused(nemesis, reason))?;
        let next = Taken { host: chosen.host.clone(), daemon: chosen.daemon.clone(), scope: spec.scope };
        target::guard(&scene, &next)
            .map_err(|reason| FaultError::refused(nemesis, format!("{} on {}: {reason}", chosen.daemon, chosen.host)))?;
        let fault = (spec.plan)(Arc::clone(ground), chosen.clone()).await?;
        let live = Arc::new(Live::new(Arc::clone(ground), chosen, next, fault));
        self.lock().insert(ground.fault_id, Arc::clone(&live));
        Ok(live)
    }

    /// Journal here and on the host, then the lease.
    async fn prepare(&self, live: &Live) -> Result<(), String> {
        let undo = live.undo_script(&live.fault.undo());
        let intent =
            Intent { host: live.chosen.host.clone(), daemon: live.chosen.daemon.clone(), evidence: live.chosen.evidence.clone(), undo };
        self.journal.append(self.entry(live, State::Open, vec![intent])).await.map_err(|error| format!("the undo journal: {error}"))?;
        live.keep().await?;
        let event = live.ground.event(FaultMoment::Journalled, Interval::at(live.ground.now()));
        live.ground.emit(FaultEvent { chosen: vec![live.chosen.clone()], ..event });
        live.arm().await?;
        live.ground.emit_now(FaultMoment::Armed);
        Ok(())
    }

    async fn issue(&self, live: &Live) -> Result<(), FaultError> {
        let ground = &live.ground;
        let injected = live.fault.inject().await?;
        if injected.effect == kchaos_core::Effect::default() {
            return Err(FaultError::NotProved { nemesis: ground.nemesis.clone(), text: "it changed nothing".to_owned() });
        }
        *live.since.lock().unwrap_or_else(PoisonError::into_inner) = Some(injected.when);
        let proof = live.fault.proof().await;
        let shown = match &proof {
            Ok(proof) => proof.clone(),
            Err(error) => Proof { proved: false, text: chain(error) },
        };
        let event = ground.event(FaultMoment::InEffect, injected.when);
        ground.emit(FaultEvent { chosen: vec![live.chosen.clone()], effect: Some(injected.effect), proof: Some(shown.clone()), ..event });
        proof?;
        if shown.proved { Ok(()) } else { Err(FaultError::NotProved { nemesis: ground.nemesis.clone(), text: shown.text }) }
    }

    async fn heal(&self, live: &Live) -> Result<(), HealError> {
        let mut done = live.done.lock().await;
        if *done {
            return Ok(());
        }
        let ground = &live.ground;
        // One last look at whether it is still in force: a fault that ended early says so.
        if live.since.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            live.renew(Duration::from_secs(5)).await;
        }
        live.healing.store(true, Ordering::SeqCst);
        ground.emit_now(FaultMoment::Healing);
        let after_ns = ground.now();
        let trouble = live.fault.mend().await.err();
        let proof = live.fault.mended().await;
        let event = ground.event(FaultMoment::Healed, Interval { after_ns, before_ns: ground.now() });
        ground.emit(FaultEvent { chosen: vec![live.chosen.clone()], proof: Some(proof.clone()), text: trouble.clone(), ..event });
        let text = match (proof.proved, trouble) {
            (true, _) => {
                live.disarm().await.err().map(|why| format!("it is mended, and its watchdog and undo script are still there: {why}"))
            }
            (false, None) => Some(proof.text),
            (false, Some(trouble)) => Some(format!("{trouble}; {}", proof.text)),
        };
        if let Some(text) = text {
            // The host's own lease may do better: nobody renews it any more.
            live.abandoned.store(true, Ordering::SeqCst);
            return Err(HealError { fault_id: ground.fault_id, nemesis: ground.nemesis.clone(), host: live.chosen.host.clone(), text });
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

/// By host: the inventory's address and those that the host itself names. One that does not answer is known by the inventory alone.
async fn addresses(shared: &Shared) -> BTreeMap<String, Vec<IpAddr>> {
    let script = shared.caller("").script(&[CUT], "k_facts");
    let mut tasks = JoinSet::new();
    for host in &shared.doors.inventory().hosts {
        let (doors, script, name, address) = (Arc::clone(&shared.doors), script.clone(), host.name.clone(), host.address.clone());
        tasks.spawn(async move {
            let mut known: BTreeSet<IpAddr> = match address.parse() {
                Ok(address) => BTreeSet::from([address]),
                Err(_) => tokio::net::lookup_host((address.as_str(), 0))
                    .await
                    .map(|found| found.map(|one| one.ip()).collect())
                    .unwrap_or_default(),
            };
            if let Ok(remote) = doors.remote(&name).await {
                if let Ok(facts) = host::ask(remote.as_ref(), &script, FACTS_TIMEOUT, "the facts of the host").await {
                    known.extend(cut::addresses(&facts));
                }
            }
            (name, known.into_iter().filter(|address| !address.is_loopback() && !address.is_unspecified()).collect())
        });
    }
    let mut all = BTreeMap::new();
    while let Some(joined) = tasks.join_next().await {
        all.extend(joined);
    }
    all
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
