//! What a step is carried out on: the run, its engine, and what steps before it have left to be proved.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use kchaos_cluster::inventory::DaemonKind;
use kchaos_cluster::protocol::{Client, Timeouts};
use kchaos_cluster::view::{self, View};
use kchaos_nemeses::{DaemonStep, Engine, FaultError, Settings};

use super::{NotDone, Stepped, whom::Whom};
use crate::run::trouble::{AFTER_REFUSAL, REFUSALS_MAX};
use crate::run::{Live, lock, whole};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A broker that has just come back may not answer at once.
const TOLD_TIMEOUT: Duration = Duration::from_secs(20);
/// For what is asked of the cluster to be what every broker tells.
pub(super) const IN_FORCE_TIMEOUT: Duration = Duration::from_secs(30);

pub(in crate::run) struct Stage<'a> {
    pub(super) live: &'a Live,
    pub(super) engine: &'a Engine,
    pub(super) stepped: &'a Mutex<Stepped>,
    /// By daemon: what stands in its file and it has not been started with yet.
    pub(super) pending: &'a Mutex<BTreeMap<String, Settings>>,
    pub(super) seed: u64,
}

impl Stage<'_> {
    fn stepped(&self) -> MutexGuard<'_, Stepped> {
        lock(self.stepped)
    }

    pub(super) fn client(&self) -> Result<Client, NotDone> {
        Client::new(&self.live.inventory, Timeouts::default())
            .map_err(|error| NotDone::Environment(format!("the cluster cannot be asked: {error}")))
    }

    pub(super) fn brokers(&self) -> Vec<i32> {
        self.live.inventory.daemons_of(DaemonKind::Kafka).map(|(_, daemon)| daemon.id).collect()
    }

    /// All partitions of the cluster, internal ones included.
    pub(super) async fn look(&self, topics: Option<&[String]>) -> Result<View, String> {
        view::look(&self.live.inventory, topics).await.map_err(|error| format!("the cluster cannot be seen: {error}"))
    }

    /// Everybody up and every replica of every topic in sync; the next daemon is not touched before.
    pub(super) async fn in_sync(&self) -> Result<(), NotDone> {
        self.until(self.live.recovery_timeout(), NotDone::NeverRecovered, || self.is_whole(None)).await.map(drop)
    }

    /// Everybody up and these topics in sync, or what is missing.
    pub(super) async fn is_whole(&self, topics: Option<&[String]>) -> Result<View, String> {
        let view = self.look(topics).await?;
        whole::missing(self.live, &view).map_or(Ok(view), Err)
    }

    /// Looks until it is so, at least once; what was lacking at the end of the time is `late`.
    pub(super) async fn until<T, Look: Future<Output = Result<T, String>>>(
        &self,
        within: Duration,
        late: impl FnOnce(String) -> NotDone,
        mut look: impl FnMut() -> Look,
    ) -> Result<T, NotDone> {
        let deadline = Instant::now() + within;
        loop {
            let why = match look().await {
                Ok(seen) => return Ok(seen),
                Err(why) => why,
            };
            if Instant::now() >= deadline {
                return Err(late(why));
            }
            if !self.live.abort.sleep(LOOK_EVERY).await {
                return Err(NotDone::Aborted);
            }
        }
    }

    pub(super) async fn labels(&self, whom: &Whom) -> Result<Vec<String>, NotDone> {
        match (whom.labels(&self.live.inventory), whom) {
            (Some(labels), _) => Ok(labels),
            (None, Whom::Target(target)) => {
                self.engine.whom(target, self.seed).await.map_err(|why| NotDone::Environment(format!("{target}: {why}")))
            }
            (None, _) => Ok(Vec::new()),
        }
    }

    /// A step on one daemon, from its guards until the daemon is up: how it was proved is in the run's fault events.
    pub(super) async fn on_daemon(&self, step: &DaemonStep, daemon: &str) -> Result<(), NotDone> {
        self.stepped().tried += 1;
        let id = self.patiently(step, daemon).await?;
        let healed = self.engine.heal(id).await;
        if self.engine.has_lapsed(id) {
            return Err(NotDone::NotProved(format!("{daemon}: its lease ran out in the middle, so its host did the rest")));
        }
        self.stepped().in_force += 1;
        healed.map_err(|error| NotDone::Environment(error.to_string()))?;
        self.stepped().mended += 1;
        Ok(())
    }

    async fn patiently(&self, step: &DaemonStep, daemon: &str) -> Result<u32, NotDone> {
        let mut refusals = 0;
        loop {
            match self.engine.step(step, daemon, self.seed).await {
                Ok(id) => return Ok(id),
                // What is missing for good is refused by what is no guard: it stays refused, and 9 s are lost.
                Err(FaultError::Refused { reason, .. }) if refusals < REFUSALS_MAX && self.live.abort.sleep(AFTER_REFUSAL).await => {
                    refusals += 1;
                    self.live.note(&format!("{daemon} is put off: {reason}"));
                }
                Err(FaultError::NotProved { text, .. }) => return Err(NotDone::NotProved(format!("{daemon}: {text}"))),
                Err(error) => return Err(NotDone::Environment(format!("{:#}", anyhow::Error::from(error)))),
            }
        }
    }

    pub(super) fn is_pending(&self, daemon: &str, settings: &Settings) {
        lock(self.pending).entry(daemon.to_owned()).or_default().extend(settings.clone());
    }

    /// A daemon that has been started anew says what is in force now; of what it was to be given, some words, or none.
    pub(super) async fn in_force(&self, daemon: &str) -> Result<Option<String>, NotDone> {
        let Some(settings) = lock(self.pending).remove(daemon) else { return Ok(None) };
        let entry = self.live.inventory.daemon_by_label(daemon);
        let Some((_, entry)) = entry.filter(|(_, entry)| entry.kind == DaemonKind::Kafka) else {
            return Ok(Some(format!("{daemon} was started after its settings file had been changed, and tells nobody its settings")));
        };
        let (client, deadline) = (self.client()?, Instant::now() + TOLD_TIMEOUT);
        loop {
            let config = client.broker_config(entry.id).await;
            match config {
                Ok(config) => {
                    let told = settings.iter().map(|(name, wanted)| told(name, wanted.as_deref(), config.get(name)));
                    let told = told.collect::<Result<Vec<_>, _>>();
                    let told = told.map_err(|why| NotDone::NotProved(format!("{daemon} was started anew, and {why}")))?;
                    return Ok(Some(format!("{daemon} says {}", told.join(", "))));
                }
                Err(error) if Instant::now() >= deadline => {
                    return Err(NotDone::NotProved(format!("{daemon} does not tell its settings: {error}")));
                }
                Err(_) => _ = self.live.abort.sleep(LOOK_EVERY).await,
            }
        }
    }
}

type Entry = kchaos_cluster::protocol::ConfigEntry;

/// What a broker says of one setting, if that is what was wanted of it.
pub(super) fn told(name: &str, wanted: Option<&str>, is: Option<&Entry>) -> Result<String, String> {
    use kchaos_cluster::protocol::ConfigSource;
    let Some(wanted) = wanted else {
        return match is {
            Some(entry) if entry.source == ConfigSource::StaticBroker => Err(format!("{name} still stands in its file")),
            _ => Ok(format!("{name} is the default")),
        };
    };
    match is {
        None => Err(format!("{name} is a setting that it does not know")),
        Some(entry) if entry.is_sensitive => Ok(format!("{name} is set (its value is a secret)")),
        Some(Entry { value: Some(value), .. }) if is_same(wanted, value) => Ok(format!("{name} is {value}")),
        Some(entry) => Err(format!("{name} is {} and not {wanted}", entry.value.as_deref().unwrap_or("not told"))),
    }
}

/// A version is told with its internal part by some brokers: 3.9 as 3.9-IV0.
fn is_same(wanted: &str, is: &str) -> bool {
    is == wanted || is.strip_prefix(wanted).is_some_and(|rest| rest.starts_with("-IV"))
}
