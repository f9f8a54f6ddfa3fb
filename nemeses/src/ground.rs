//! The ground that one fault stands on: its name, its doors, its notes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kchaos_cluster::daemon::{DaemonState, Manager};
use kchaos_cluster::inventory::DaemonEntry;
use kchaos_cluster::remote::{Means, Output, Remote, RemoteError};
use kchaos_cluster::view::View;
use kchaos_core::{Chosen, FaultEvent, FaultMoment, Interval};

use crate::doors::{DoorError, Doors};
use crate::engine::EngineOptions;
use crate::host::{self, Answers, Caller, GUARD};

/// An ordinary command on a host.
pub(crate) const COMMAND_TIMEOUT: Duration = Duration::from_secs(20);
const VIEW_TIMEOUT: Duration = Duration::from_secs(15);
/// Mending is tried again when the way to the host fails: everything in it is idempotent.
const MEND_TRIES: u32 = 3;

/// What all faults of a run share.
pub(crate) struct Shared {
    pub(crate) doors: Arc<dyn Doors>,
    pub(crate) options: EngineOptions,
    /// By host, what it says its own addresses are, beside the inventory's.
    pub(crate) addresses: BTreeMap<String, Vec<IpAddr>>,
}

/// One leg of one fault of a run.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) shared: Arc<Shared>,
    pub(crate) fault_id: u32,
    /// Counts the daemons that the fault chose, from 0.
    leg: usize,
    /// Of a partition: the hosts from which the leg's host is cut.
    pub(crate) cut_from: Arc<BTreeSet<String>>,
    /// Of the fault: for what it draws itself.
    pub(crate) seed: u64,
    pub(crate) nemesis: String,
    /// All whom the fault chose, in the order of its legs.
    #[allow(dead_code, reason = "for faults whose legs know of one another")]
    pub(crate) all: Arc<[Chosen]>,
    noted: Arc<Mutex<HashSet<String>>>,
}

impl Shared {
    pub(crate) fn now(&self) -> u64 {
        self.options.clock.now_ns()
    }

    pub(crate) fn caller<'a>(&'a self, key: &'a str) -> Caller<'a> {
        Caller { paths: &self.options.paths, run: &self.options.run_id, key, owner: &self.options.holder }
    }

    /// A look at the run's topics; of a run without topics, at all.
    pub(crate) async fn view(&self) -> Result<View, DoorError> {
        let mut topics: Vec<String> = self.options.topics.iter().map(|entry| entry.topic.clone()).collect();
        topics.sort_unstable();
        topics.dedup();
        match tokio::time::timeout(VIEW_TIMEOUT, self.doors.view(&topics)).await {
            Ok(view) => view,
            Err(_) => Err(DoorError(format!("the cluster could not be looked at within {} s", VIEW_TIMEOUT.as_secs()))),
        }
    }
}

impl Ground {
    pub(crate) fn new(shared: Arc<Shared>, fault_id: u32, nemesis: String, seed: u64) -> Self {
        Self { shared, fault_id, leg: 0, cut_from: Arc::default(), seed, nemesis, all: Arc::default(), noted: Arc::default() }
    }

    pub(crate) fn of_leg(&self, leg: usize, all: &Arc<[Chosen]>, cut_from: BTreeSet<String>) -> Arc<Self> {
        Arc::new(Self { leg, all: Arc::clone(all), cut_from: Arc::new(cut_from), ..self.clone() })
    }

    /// Names the leg on its host: `RUN-FAULT`, or `RUN-FAULT_LEG` from the second on.
    pub(crate) fn key(&self) -> String {
        format!("{}-{}", self.shared.options.run_id, self.number())
    }

    /// The same, short: for tables and chains.
    pub(crate) fn tag(&self) -> String {
        format!("{}_{}", host::short_hash(&self.shared.options.run_id), self.number())
    }

    fn number(&self) -> String {
        if self.leg == 0 { self.fault_id.to_string() } else { format!("{}_{}", self.fault_id, self.leg) }
    }

    pub(crate) fn now(&self) -> u64 {
        self.shared.now()
    }

    pub(crate) fn event(&self, moment: FaultMoment, when: Interval) -> FaultEvent {
        FaultEvent {
            fault_id: self.fault_id,
            moment,
            when,
            nemesis: self.nemesis.clone(),
            chosen: Vec::new(),
            effect: None,
            proof: None,
            text: None,
        }
    }

    pub(crate) fn emit(&self, event: FaultEvent) {
        (self.shared.options.sink)(event);
    }

    pub(crate) fn emit_now(&self, moment: FaultMoment) {
        self.emit(self.event(moment, Interval::at(self.now())));
    }

    /// Said once, however often it is noticed.
    pub(crate) fn note(&self, text: impl Into<String>) {
        let text = text.into();
        if self.noted.lock().unwrap_or_else(PoisonError::into_inner).insert(text.clone()) {
            let event = self.event(FaultMoment::Note, Interval::at(self.now()));
            self.emit(FaultEvent { text: Some(text), ..event });
        }
    }

    pub(crate) fn script(&self, parts: &[&str], call: &str) -> String {
        self.shared.caller(&self.key()).script(parts, call)
    }

    pub(crate) async fn ask(&self, host: &str, parts: &[&str], call: &str, what: &str) -> Result<Answers, RemoteError> {
        self.ask_as(host, parts, call, &Means::Root, what).await
    }

    /// The same, with how a host's helper is asked for it.
    pub(crate) async fn ask_as(&self, host: &str, parts: &[&str], call: &str, means: &Means, what: &str) -> Result<Answers, RemoteError> {
        let remote = self.shared.doors.remote(host);
        host::ask_as(remote.as_ref(), &self.script(parts, call), means, COMMAND_TIMEOUT, what).await
    }

    /// Does something to the host, if and only if the lease is armed at that moment: should this future be dropped, or its answer be late,
    /// the command may still be on its way when the fault has been healed.
    pub(crate) async fn ask_armed(&self, host: &str, parts: &[&str], body: &str, what: &str) -> Result<Answers, RemoteError> {
        self.ask_armed_as(host, parts, body, &Means::Root, what).await
    }

    pub(crate) async fn ask_armed_as(
        &self,
        host: &str,
        parts: &[&str],
        body: &str,
        means: &Means,
        what: &str,
    ) -> Result<Answers, RemoteError> {
        let call = format!("k_inject() {{\n{body}\n}}\nk_when_armed k_inject");
        self.ask_as(host, &[parts, &[GUARD]].concat(), &call, &self.armed(means), what).await
    }

    fn armed(&self, means: &Means) -> Means {
        means.behind(&["armed", &self.shared.options.run_id, &self.key()])
    }

    /// The same for scripts that are not ours: what it runs, it runs only while the lease is armed.
    pub(crate) fn armed_remote(&self, host: &str) -> WhenArmed<'_> {
        WhenArmed { ground: self, inner: self.shared.doors.remote(host) }
    }

    /// By the door for mending, again if the way to the host fails.
    pub(crate) async fn ask_mending(&self, host: &str, parts: &[&str], call: &str, what: &str) -> Result<Answers, RemoteError> {
        self.ask_mending_as(host, parts, call, &Means::Root, what).await
    }

    pub(crate) async fn ask_mending_as(
        &self,
        host: &str,
        parts: &[&str],
        call: &str,
        means: &Means,
        what: &str,
    ) -> Result<Answers, RemoteError> {
        let script = self.script(parts, call);
        let mut tries = 0;
        loop {
            tries += 1;
            match host::ask_as(self.mending(host).as_ref(), &script, means, COMMAND_TIMEOUT, what).await {
                Err(error) if tries < MEND_TRIES && (host::is_unknown(&error) || matches!(error, RemoteError::Unreachable { .. })) => {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                answer => return answer,
            }
        }
    }

    pub(crate) async fn state(&self, manager: &dyn Manager, host: &str) -> Result<DaemonState, RemoteError> {
        manager.state(self.mending(host).as_ref()).await
    }

    pub(crate) fn mending(&self, host: &str) -> Arc<dyn Remote> {
        self.shared.doors.mending(host)
    }

    pub(crate) fn daemon(&self, host: &str, label: &str) -> Option<&DaemonEntry> {
        let host = self.shared.doors.inventory().hosts.iter().find(|known| known.name == host)?;
        host.daemons.iter().find(|daemon| daemon.label() == label)
    }
}

pub(crate) struct WhenArmed<'a> {
    ground: &'a Ground,
    inner: Arc<dyn Remote>,
}

#[async_trait]
impl Remote for WhenArmed<'_> {
    fn host(&self) -> &str {
        self.inner.host()
    }

    async fn run(&self, script: &str, timeout: Duration) -> Result<Output, RemoteError> {
        self.run_as(script, &Means::Root, timeout).await
    }

    async fn run_as(&self, script: &str, means: &Means, timeout: Duration) -> Result<Output, RemoteError> {
        let said = "k_say \"run=$K_RUN fault=$K_KEY phase=injected status=$_k_status\"";
        let call = format!("k_is_armed || return 1\n(\n{script}\n)\n_k_status=$?\n{said}\nreturn $_k_status");
        self.inner.run_as(&self.ground.script(&[GUARD], &call), &self.ground.armed(means), timeout).await
    }
}
