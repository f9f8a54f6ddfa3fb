//! A fault outside of a run: in force until it is mended, with all that a run's faults have: refusals, locks, journal, lease, proof.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use kchaos_cluster::inventory::Inventory;
use kchaos_cluster::view;
use kchaos_core::{Clock, FaultEvent, KeyEntry, NemesisName};
use kchaos_nemeses::{Engine, EngineOptions, FaultError, HostPaths, HostReport, HostState};

use super::preflight::{self, Locks};
use super::{Abort, Display, Setup, holder, lock, spoken};
use crate::cli::{Progress, TestArgs};
use crate::exit::{self, Failure};

/// Whoever is told what goes on, in sentences.
pub(crate) type Say = Arc<dyn Fn(&str) + Send + Sync>;

pub(crate) struct HeldFault {
    setup: Arc<Setup>,
    engine: Engine,
    locks: Locks,
    fault_id: u32,
}

pub(crate) enum Mended {
    Yes,
    /// It ended by itself, before it was mended.
    Lapsed,
    No(String),
}

impl HeldFault {
    /// Brings the first nemesis of `args` into force; `topic` is the one whose leader is meant, none: any.
    pub(crate) async fn begin(
        mut args: TestArgs,
        inventory: &Arc<Inventory>,
        topic: Option<String>,
        journal: &Path,
        say: Say,
        abort: &Abort,
    ) -> Result<Self, Failure> {
        args.typed.command = vec!["kchaos".into(), "suite".into()];
        let setup = Arc::new(Setup::resolve(args, Arc::clone(inventory))?);
        let name = setup.nemeses.first().cloned().ok_or_else(|| Failure::usage(anyhow!("no fault is named")))?;
        let display = Display::new(Progress::None);
        let ready = preflight::check(&setup, &display).await?;
        let topics = keys_of(inventory, topic).await?;
        let locks = Locks::take(&ready.doors, &setup).await?;
        let begun = async {
            preflight::sweep(&ready.doors, &setup, &display).await?;
            let engine = Engine::new(ready.doors.clone(), options(&setup, topics, journal, say)).await.map_err(Failure::environment)?;
            let fault_id = inject(&engine, &name, setup.seed, abort).await;
            Ok((engine, fault_id))
        };
        match begun.await {
            Ok((engine, Ok(fault_id))) => Ok(Self { setup, engine, locks, fault_id }),
            Ok((engine, Err(failure))) => {
                let unhealed = unhealed(&engine.heal_all().await);
                locks.release().await;
                Err(unhealed.map_or(failure, |why| Failure { code: exit::UNHEALED, error: anyhow!(why) }))
            }
            Err(failure) => {
                locks.release().await;
                Err(failure)
            }
        }
    }

    /// What it hit: `kafka:1`.
    pub(crate) fn daemons(&self) -> Vec<String> {
        self.engine.in_force().into_iter().flat_map(|fault| fault.chosen).map(|chosen| chosen.daemon).collect()
    }

    pub(crate) fn told(&self) -> String {
        let chosen = self.engine.in_force().into_iter().flat_map(|fault| fault.chosen);
        chosen.map(|one| format!("{} on {} ({})", one.daemon, one.host, one.evidence)).collect::<Vec<_>>().join(", ")
    }

    /// The earliest moment at which it can have been in force.
    pub(crate) fn in_force_since(&self) -> Option<Instant> {
        let since = self.engine.in_force().into_iter().find_map(|fault| fault.since)?;
        let ago = self.setup.clock.now_ns().saturating_sub(since.after_ns);
        Instant::now().checked_sub(Duration::from_nanos(ago))
    }

    pub(crate) async fn mend(self) -> Mended {
        let healed = self.engine.heal(self.fault_id).await;
        let has_lapsed = self.engine.has_lapsed(self.fault_id);
        let unhealed = unhealed(&self.engine.heal_all().await);
        self.locks.release().await;
        match (unhealed, healed) {
            (Some(why), _) => Mended::No(format!("{why} (mend it: {})", self.setup.heal_command())),
            (None, Err(error)) => Mended::No(error.to_string()),
            (None, Ok(())) if has_lapsed => Mended::Lapsed,
            (None, Ok(())) => Mended::Yes,
        }
    }
}

async fn inject(engine: &Engine, name: &NemesisName, seed: u64, abort: &Abort) -> Result<u32, Failure> {
    let injected = tokio::select! {
        injected = engine.inject(name, seed) => injected,
        () = abort.raised() => return Err(Failure { code: exit::ABORTED, error: anyhow!("ended before {name} was in force") }),
    };
    injected.map_err(|error| {
        let code = if matches!(error, FaultError::NotProved { .. }) { exit::UNKNOWN } else { exit::ENVIRONMENT };
        Failure { code, error: error.into() }
    })
}

fn options(setup: &Arc<Setup>, topics: Vec<KeyEntry>, journal: &Path, say: Say) -> EngineOptions {
    let last = Mutex::new(String::new());
    let sink = move |event: FaultEvent| {
        // Each leg of a fault tells the same.
        if let Some(text) = spoken(&event)
            && std::mem::replace(&mut *lock(&last), text.clone()) != text
        {
            say(&text);
        }
    };
    EngineOptions {
        run_id: setup.run_id.clone(),
        lease: setup.args.lease,
        journal_dir: journal.to_owned(),
        clock: setup.clock.clone(),
        sink: Arc::new(sink),
        topics,
        groups: Vec::new(),
        transactional_ids: Vec::new(),
        holder: holder(),
        kill: setup.kill(),
        paths: HostPaths::default(),
    }
}

async fn keys_of(inventory: &Inventory, topic: Option<String>) -> Result<Vec<KeyEntry>, Failure> {
    let Some(topic) = topic else { return Ok(Vec::new()) };
    let view = view::look(inventory, Some(std::slice::from_ref(&topic))).await.context("look at the cluster")?;
    if view.partitions.is_empty() {
        return Err(Failure::environment(anyhow!("there is no topic {topic}, so nobody leads it")));
    }
    Ok(view
        .partitions
        .into_iter()
        .map(|seen| KeyEntry { key: i64::from(seen.partition), topic: seen.topic, partition: seen.partition })
        .collect())
}

/// What is still on a host, in a sentence.
fn unhealed(hosts: &[HostReport]) -> Option<String> {
    let left = hosts.iter().filter_map(|host| match &host.state {
        HostState::Unhealed(what) => Some(format!("{}: {}", host.host, what.join(", "))),
        HostState::Unreachable(why) => Some(format!("{}: {why}", host.host)),
        _ => None,
    });
    let left: Vec<String> = left.collect();
    if left.is_empty() { None } else { Some(left.join("; ")) }
}
